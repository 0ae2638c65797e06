"""The edge to DynamoDB: plain Python values on this side, errors in words, every page followed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from time import sleep
from typing import Any, Literal, TypeAlias, TypeVar

from boto3.dynamodb.conditions import Attr, ConditionBase, ConditionExpressionBuilder, Key
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
)

from qrie_dagster.aws import error_code, explain, own_session
from qrie_dagster.errors import MissingTableError, StoreError
from qrie_dagster.settings import Settings

DynamoItem: TypeAlias = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")

# Writes under way at once. A single writer leaves most of the time to the network.
WRITERS = 16
BATCH_GET = 100
MAX_BATCH_ROUNDS = 12
# Writes in one transaction. DynamoDB takes 100, and 4 MB of items.
TOGETHER = 25
TOGETHER_BYTES = 3_000_000
# Attempts at a write that met another one of the same item in a transaction; it is over in milliseconds.
MAX_CONFLICTS = 12

__all__ = [
    "Attr",
    "ConditionBase",
    "ConditionFailedError",
    "Dynamo",
    "DynamoItem",
    "Key",
    "OvertakenError",
    "TransactionLostError",
    "Write",
]


class ConditionFailedError(Exception):
    """A conditional write lost: what is stored is not what the writer had seen."""


class TransactionLostError(Exception):
    """A transaction changed nothing; ``failed`` are the positions of the writes whose condition did not hold."""

    def __init__(self, failed: Sequence[int]) -> None:
        super().__init__(f"conditions {list(failed)} of the transaction did not hold")
        self.failed = tuple(failed)


class OvertakenError(Exception):
    """What a writer relies on does not hold any more: nothing further was written."""


@dataclass(frozen=True)
class Write:
    """One part of a transaction: a check that changes nothing, a put, an update or a delete."""

    table: str
    key: Mapping[str, Any]
    kind: Literal["check", "put", "update", "delete"]
    set_: Mapping[str, Any] = field(default_factory=dict)
    set_once: Mapping[str, Any] = field(default_factory=dict)
    condition: ConditionBase | None = None


class Dynamo:
    """One DynamoDB client and the table prefix.

    Every method raises StoreError, in words, for what DynamoDB refuses, and ConditionFailedError for a
    condition that did not hold. Numbers are integers on both sides: nothing above ever sees a Decimal.
    """

    def __init__(self, settings: Settings, attempts: int | None = None) -> None:
        self.prefix = settings.table_prefix
        self.endpoint = settings.dynamodb_endpoint_url or settings.endpoint_url
        self._region = settings.region
        with self.explained(""):
            resource = own_session(settings).resource(
                "dynamodb",
                region_name=settings.region,
                endpoint_url=self.endpoint,
                config=Config(
                    # DynamoDB throttles for seconds at a time while a table grows: keep trying longer than elsewhere.
                    retries={"mode": "standard", "total_max_attempts": attempts or max(10, settings.aws_max_attempts)},
                    connect_timeout=min(5, settings.aws_timeout_seconds),
                    read_timeout=settings.aws_timeout_seconds,
                    max_pool_connections=2 * WRITERS,
                ),
            )
        # The client behind a resource takes and gives plain values and, unlike the resource, is safe to share.
        self.client: Any = resource.meta.client

    def name(self, table: str) -> str:
        """The full name of a table."""
        return self.prefix + table

    def get(self, table: str, key: Mapping[str, Any], *, consistent: bool = True) -> DynamoItem | None:
        """One item, or None."""
        with self.explained(table):
            answer = self.client.get_item(TableName=self.name(table), Key=key, ConsistentRead=consistent)
        return plain(answer["Item"]) if "Item" in answer else None

    def put(self, table: str, item: Mapping[str, Any], condition: ConditionBase | None = None) -> None:
        """Write one item."""
        extra = {"ConditionExpression": condition} if condition is not None else {}
        self._write(table, "put_item", Item=item, **extra)

    def update(
        self,
        table: str,
        key: Mapping[str, Any],
        set_: Mapping[str, Any] | None = None,
        *,
        set_once: Mapping[str, Any] | None = None,
        remove: Sequence[str] = (),
        condition: ConditionBase | None = None,
    ) -> DynamoItem:
        """Set, set-if-absent and remove attributes of one item; returns the old values of what changed."""
        extra = _update_expression(set_ or {}, set_once or {}, remove)
        if condition is not None:
            extra["ConditionExpression"] = condition
        answer = self._write(table, "update_item", Key=key, ReturnValues="UPDATED_OLD", **extra)
        old: DynamoItem = plain(answer.get("Attributes", {}))
        return old

    def delete(self, table: str, key: Mapping[str, Any], condition: ConditionBase | None = None) -> None:
        """Delete one item."""
        extra = {"ConditionExpression": condition} if condition is not None else {}
        self._write(table, "delete_item", Key=key, **extra)

    def transact(self, writes: Sequence[Write]) -> None:
        """Do all of ``writes``, or none of them.

        Raises TransactionLostError if the condition of any of them does not hold.
        """
        items = [_transaction_item(self.name(write.table), write) for write in writes]
        self._write(writes[0].table, "transact_write_items", TransactItems=items)

    def _write(self, table: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """One writing call, made again while a transaction is under way on the same item."""
        if operation != "transact_write_items":
            parameters["TableName"] = self.name(table)
        for attempt in range(MAX_CONFLICTS):
            try:
                with self.explained(table):
                    answer: dict[str, Any] = getattr(self.client, operation)(**parameters)
                    return answer
            except _ConflictError:
                sleep(min(1.0, 0.01 * 2**attempt))
        raise StoreError(f"Transactions kept other writers out of an item of {self.name(table)}: try later.")

    def query(self, table: str, condition: ConditionBase, **extra: Any) -> Iterator[DynamoItem]:
        """All items of a query, page after page."""
        return self._items("query", table, KeyConditionExpression=condition, **extra)

    def scan(self, table: str, **extra: Any) -> Iterator[DynamoItem]:
        """All items of a table, page after page."""
        return self._items("scan", table, **extra)

    def query_page(
        self, table: str, condition: ConditionBase, limit: int, start: Mapping[str, Any] | None, **extra: Any
    ) -> tuple[list[DynamoItem], DynamoItem | None]:
        """One page of a query and the key to go on from, None at the end."""
        if start:
            extra["ExclusiveStartKey"] = start
        with self.explained(table):
            answer = self.client.query(
                TableName=self.name(table), KeyConditionExpression=condition, Limit=limit, **extra
            )
        last = answer.get("LastEvaluatedKey")
        return [plain(item) for item in answer["Items"]], plain(last) if last else None

    def batch_get(self, table: str, keys: Sequence[Mapping[str, Any]]) -> Iterator[DynamoItem]:
        """The items that exist among ``keys``, in no order. Keys DynamoDB left out are asked for again."""
        name = self.name(table)
        for start in range(0, len(keys), BATCH_GET):
            wanted: Any = {name: {"Keys": list(keys[start : start + BATCH_GET]), "ConsistentRead": True}}
            for attempt in range(MAX_BATCH_ROUNDS):
                with self.explained(table):
                    answer = self.client.batch_get_item(RequestItems=wanted)
                yield from map(plain, answer["Responses"].get(name, ()))
                wanted = answer.get("UnprocessedKeys")
                if not wanted:
                    break
                sleep(min(5.0, 0.05 * 2**attempt))
            else:
                raise StoreError(f"DynamoDB kept leaving keys of {name} unread: raise its capacity, or try later.")

    def _items(self, operation: str, table: str, **parameters: Any) -> Iterator[DynamoItem]:
        pages = self.client.get_paginator(operation).paginate(TableName=self.name(table), **parameters)
        with self.explained(table):
            for page in pages:
                yield from map(plain, page["Items"])

    @contextmanager
    def explained(self, table: str) -> Iterator[None]:
        """Turn what botocore raises into StoreError or ConditionFailedError."""
        where = f"{self.name(table)} in {self._region}" + (f" at {self.endpoint}" if self.endpoint else "")
        try:
            yield
        except ClientError as error:
            code = error_code(error)
            if code == "ConditionalCheckFailedException":
                raise ConditionFailedError from error
            if code in ("TransactionCanceledException", "TransactionConflictException"):
                _raise_lost(error)
            if code == "ResourceNotFoundException":
                raise MissingTableError(f"Table {where} does not exist: run 'qrie tables create'.") from error
            raise StoreError(f"DynamoDB refused a call on {where}: {explain(error)}") from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StoreError(
                "No AWS credentials for DynamoDB: set AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
                " or run where an instance role is attached."
            ) from error
        except EndpointConnectionError as error:
            raise StoreError(
                f"DynamoDB does not answer ({where}): check QRIE_REGION, QRIE_ENDPOINT_URL and the network."
            ) from error
        except BotoCoreError as error:
            raise StoreError(f"DynamoDB did not answer a call on {where}: {explain(error)}") from error


class _ConflictError(Exception):
    """Another write of the same item is under way in a transaction."""


def _raise_lost(error: ClientError) -> None:
    """Tell a transaction whose conditions did not hold, and a conflict that passes, from what was refused for good."""
    answer: Mapping[str, Any] = error.response
    codes = [reason.get("Code") for reason in answer.get("CancellationReasons", ())]
    failed = [number for number, code in enumerate(codes) if code == "ConditionalCheckFailed"]
    if failed:
        raise TransactionLostError(failed) from error
    if error_code(error) == "TransactionConflictException" or any(code in _PASSING for code in codes):
        raise _ConflictError from error


# Why a transaction may be cancelled that would succeed a moment later.
_PASSING = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


def _update_expression(
    set_: Mapping[str, Any], set_once: Mapping[str, Any], remove: Sequence[str] = ()
) -> dict[str, Any]:
    """The parameters of an update: set, set if absent, remove."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    clauses: list[str] = []
    for number, (attribute, value) in enumerate({**set_, **set_once}.items()):
        names[f"#s{number}"] = attribute
        values[f":s{number}"] = value
        new = f"if_not_exists(#s{number}, :s{number})" if attribute in set_once else f":s{number}"
        clauses.append(f"#s{number} = {new}")
    expression = "SET " + ", ".join(clauses) if clauses else ""
    if remove:
        names |= {f"#r{number}": attribute for number, attribute in enumerate(remove)}
        expression += " REMOVE " + ", ".join(f"#r{number}" for number in range(len(remove)))
    extra: dict[str, Any] = {"UpdateExpression": expression.strip(), "ExpressionAttributeNames": names}
    if values:
        extra["ExpressionAttributeValues"] = values
    return extra


def _transaction_item(table: str, write: Write) -> dict[str, Any]:
    """``write`` as DynamoDB wants it. boto3 takes condition objects everywhere but in transactions."""
    extra: dict[str, Any] = {}
    if write.kind == "update":
        extra = _update_expression(write.set_, write.set_once)
    if write.condition is not None:
        built = ConditionExpressionBuilder().build_expression(write.condition)
        extra["ConditionExpression"] = built.condition_expression
        names = {**extra.get("ExpressionAttributeNames", {}), **built.attribute_name_placeholders}
        values = {**extra.get("ExpressionAttributeValues", {}), **built.attribute_value_placeholders}
        extra["ExpressionAttributeNames"] = names
        if values:
            extra["ExpressionAttributeValues"] = values
    if write.kind == "put":
        return {"Put": {"TableName": table, "Item": {**write.key, **write.set_}, **extra}}
    verb = {"check": "ConditionCheck", "update": "Update", "delete": "Delete"}[write.kind]
    return {verb: {"TableName": table, "Key": write.key, **extra}}


def plain(value: Any) -> Any:
    """DynamoDB's values as Python's own: Decimal to int, Binary to bytes, sets to sorted lists."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, set):
        return sorted(plain(inner) for inner in value)
    if isinstance(value, Decimal):
        return int(value)
    if hasattr(value, "value") and isinstance(value.value, bytes):
        return value.value
    return value


def concurrently(write: Callable[[T], R], things: Iterable[T]) -> Iterator[R]:
    """``write`` applied to each of ``things`` by several threads.

    After an error nothing more is begun; what was done by then is still yielded, and then the first error raised.
    """
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="dynamodb") as pool:
        futures = [pool.submit(write, thing) for thing in things]
        first: Exception | None = None
        try:
            for future in futures:
                try:
                    done = future.result()
                except CancelledError:
                    continue
                except Exception as error:  # noqa: BLE001 - raised below
                    first = first or error
                    for waiting in futures:
                        waiting.cancel()
                else:
                    yield done
        finally:
            for future in futures:
                future.cancel()
        if first:
            raise first


def while_it_holds(dynamo: Dynamo, check: Write, writes: Sequence[Write]) -> Iterator[bool]:
    """Do ``writes``, of different items, while ``check`` holds: of each whether its own condition held too.

    Raises OvertakenError as soon as ``check`` does not hold.
    """
    for batch in _batches(writes):
        left = list(batch)
        while left:
            try:
                dynamo.transact([check, *left])
            except TransactionLostError as lost:
                if 0 in lost.failed:
                    raise OvertakenError from None
                left = [write for position, write in enumerate(left, 1) if position not in lost.failed]
            else:
                break
        done = set(map(id, left))
        yield from (id(write) in done for write in batch)


def _batches(writes: Sequence[Write]) -> Iterator[list[Write]]:
    batch: list[Write] = []
    size = 0
    for write in writes:
        of_this = sum(len(value) for value in write.set_.values() if isinstance(value, bytes))
        if batch and (len(batch) == TOGETHER or size + of_this > TOGETHER_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(write)
        size += of_this
    if batch:
        yield batch
