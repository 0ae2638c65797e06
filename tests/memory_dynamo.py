"""DynamoDB in memory, as narrow as ``qrie_dagster.store.dynamo.Dynamo``: for tests that need thousands of them.

``tests/store_contract`` runs the same tests on this, on moto and on AWS's own DynamoDB Local.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from qrie_dagster.errors import StoreError
from qrie_dagster.store import Store
from qrie_dagster.store.accounts import AccountTable
from qrie_dagster.store.dynamo import ConditionBase, ConditionFailedError, DynamoItem, TransactionLostError, Write
from qrie_dagster.store.findings import FindingTable
from qrie_dagster.store.launched_policies import LaunchedPolicyTable
from qrie_dagster.store.resources import ResourceTable
from qrie_dagster.store.summary import SummaryTable
from qrie_dagster.store.tables import SHAPES

ITEM_BYTES = 400 * 1024
PAGE = 1_000_000
PREFIX = "memory_"


@dataclass(frozen=True)
class Changed:
    """One item that a write changed."""

    table: str
    key: tuple[str, ...]
    before: DynamoItem | None
    after: DynamoItem | None


def nothing(_operation: str, _table: str) -> None:
    """Neither fault nor delay."""


class MemoryDynamo:
    """``before`` and ``after`` are called around every call and may raise; ``written`` hears of every item written."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[str, ...], DynamoItem]] = {table: {} for table in SHAPES}
        self.before: Callable[[str, str], None] = nothing
        self.after: Callable[[str, str], None] = nothing
        # Whether the answer to a write gets lost, so that the client makes it once more.
        self.repeated: Callable[[str, str], bool] = lambda _operation, _table: False
        self.written: Callable[[Changed], None] = lambda _changed: None
        # How many items a page of a query holds.
        self.page = PAGE
        # By table, what its indexes show while they lag behind it.
        self.behind: dict[str, dict[tuple[str, ...], DynamoItem]] = {}

    def fall_behind(self, table: str) -> None:
        """From now on indexes of the table show what it holds at this moment."""
        self.behind[table] = dict(self.tables[table])

    def name(self, table: str) -> str:
        return PREFIX + table

    @contextmanager
    def explained(self, table: str) -> Iterator[None]:
        yield

    def get(self, table: str, key: Mapping[str, Any], *, consistent: bool = True) -> DynamoItem | None:
        self.before("get", table)
        found = self.tables[table].get(_key(table, key))
        return _copy(found) if found is not None else None

    def put(self, table: str, item: Mapping[str, Any], condition: ConditionBase | None = None) -> None:
        self.before("put", table)
        for _ in range(1 + self.repeated("put", table)):
            self._require(table, item, condition)
            self._store(table, _key(table, item), _stored(item))
        self.after("put", table)

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
        self.before("update", table)
        for _ in range(1 + self.repeated("update", table)):
            self._require(table, key, condition)
            old = self.tables[table].get(_key(table, key), {})
            self._update(table, key, set_ or {}, set_once or {}, remove)
        self.after("update", table)
        return {name: _copy(old[name]) for name in (*(set_ or {}), *(set_once or {}), *remove) if name in old}

    def delete(self, table: str, key: Mapping[str, Any], condition: ConditionBase | None = None) -> None:
        self.before("delete", table)
        for _ in range(1 + self.repeated("delete", table)):
            self._require(table, key, condition)
            self._store(table, _key(table, key), None)
        self.after("delete", table)

    def transact(self, writes: Sequence[Write]) -> None:
        self.before("transact", writes[0].table)
        failed = [number for number, write in enumerate(writes) if not self._allowed(write)]
        if failed:
            raise TransactionLostError(failed)
        for write in writes:
            if write.kind == "put":
                self._store(write.table, _key(write.table, write.key), _stored({**write.key, **write.set_}))
            elif write.kind == "update":
                self._update(write.table, write.key, write.set_, write.set_once, ())
            elif write.kind == "delete":
                self._store(write.table, _key(write.table, write.key), None)
        self.after("transact", writes[0].table)

    def query(self, table: str, condition: ConditionBase, **extra: Any) -> Iterator[DynamoItem]:
        start: DynamoItem | None = None
        while True:
            self.before("query", table)
            items, start = self._page(table, condition, self.page, start, **extra)
            yield from items
            if start is None:
                return

    def scan(self, table: str, **extra: Any) -> Iterator[DynamoItem]:
        self.before("scan", table)
        return iter([_projected(item, **extra) for item in self.tables[table].values()])

    def query_page(
        self, table: str, condition: ConditionBase, limit: int, start: Mapping[str, Any] | None, **extra: Any
    ) -> tuple[list[DynamoItem], DynamoItem | None]:
        self.before("query", table)
        return self._page(table, condition, limit, start, **extra)

    def batch_get(self, table: str, keys: Sequence[Mapping[str, Any]]) -> Iterator[DynamoItem]:
        if keys:
            self.before("batch_get", table)
        found = (self.tables[table].get(_key(table, key)) for key in keys)
        return iter([_copy(item) for item in found if item is not None])

    def _page(
        self, table: str, condition: ConditionBase, limit: int, start: Mapping[str, Any] | None, **extra: Any
    ) -> tuple[list[DynamoItem], DynamoItem | None]:
        index = extra.get("IndexName")
        names = (*SHAPES[table].indexes[index], *SHAPES[table].keys) if index else SHAPES[table].keys
        shown = self.behind.get(table) if index else None
        rows = self.tables[table] if shown is None else shown
        matching = [item for item in rows.values() if holds(condition, item)]
        matching.sort(key=lambda item: _position(names, item), reverse=not extra.get("ScanIndexForward", True))
        if start is not None:
            matching = [item for item in matching if _position(names, item) > _position(names, start)]
        page = matching[:limit]
        only = extra.get("FilterExpression")
        items = [_projected(item, **extra) for item in page if only is None or holds(only, item)]
        last = {name: page[-1][name] for name in names} if page and len(page) == limit else None
        return items, last

    def _allowed(self, write: Write) -> bool:
        return write.condition is None or holds(
            write.condition, self.tables[write.table].get(_key(write.table, write.key), {})
        )

    def _require(self, table: str, key: Mapping[str, Any], condition: ConditionBase | None) -> None:
        if condition is not None and not holds(condition, self.tables[table].get(_key(table, key), {})):
            raise ConditionFailedError

    def _update(
        self,
        table: str,
        key: Mapping[str, Any],
        set_: Mapping[str, Any],
        set_once: Mapping[str, Any],
        remove: Sequence[str],
    ) -> None:
        old = self.tables[table].get(_key(table, key), {})
        new = {**key, **set_once, **old, **set_}
        self._store(
            table, _key(table, key), _stored({name: value for name, value in new.items() if name not in remove})
        )

    def _store(self, table: str, key: tuple[str, ...], after: DynamoItem | None) -> None:
        before = self.tables[table].get(key)
        if before is None and after is None:
            return
        if after is None:
            self.tables[table].pop(key, None)
        else:
            self.tables[table][key] = after
        self.written(Changed(table, key, before, after))


def memory_store(dynamo: MemoryDynamo) -> Store:
    """All of qrie's tables, in memory."""
    edge: Any = dynamo
    return Store(
        edge,
        AccountTable(edge),
        ResourceTable(edge),
        FindingTable(edge),
        LaunchedPolicyTable(edge),
        SummaryTable(edge),
    )


def _key(table: str, item: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(item[name] for name in SHAPES[table].keys)


def _position(names: Sequence[str], item: Mapping[str, Any]) -> tuple[bytes, ...]:
    return tuple(item[name].encode() for name in names)


def _projected(item: DynamoItem, **extra: Any) -> DynamoItem:
    if "ProjectionExpression" not in extra:
        return _copy(item)
    aliases = extra.get("ExpressionAttributeNames", {})
    wanted = [aliases.get(name.strip(), name.strip()) for name in extra["ProjectionExpression"].split(",")]
    return {name: _copy(item[name]) for name in wanted if name in item}


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copy(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(inner) for inner in value]
    return value


def _stored(item: Mapping[str, Any]) -> DynamoItem:
    copied: DynamoItem = _copy(item)
    if _size(copied) > ITEM_BYTES:
        raise StoreError(
            "DynamoDB refused a call: ValidationException: Item size has exceeded the maximum allowed size"
        )
    return copied


def _size(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(len(name) + _size(inner) for name, inner in value.items())
    if isinstance(value, list):
        return sum(map(_size, value))
    return len(value.encode()) if isinstance(value, str) else len(value) if isinstance(value, bytes) else 8


def holds(condition: ConditionBase, item: Mapping[str, Any]) -> bool:
    """Whether a condition of boto3's is true of ``item``, empty for none."""
    expression = condition.get_expression()
    operator, values = expression["operator"], expression["values"]
    if operator == "AND":
        return all(holds(part, item) for part in values)
    if operator == "OR":
        return any(holds(part, item) for part in values)
    if operator == "NOT":
        return not holds(values[0], item)
    name, operands = values[0].name, values[1:]
    if operator == "attribute_not_exists":
        return name not in item
    if name not in item:
        return False
    value = item[name]
    match operator:
        case "attribute_exists":
            return True
        case "=":
            return _equal(value, operands[0])
        case "<>":
            return not _equal(value, operands[0])
        case "IN":
            return value in operands[0]
        case "contains":
            return operands[0] in value
    if type(value) is not type(operands[0]):
        return False
    match operator:
        case "<":
            return bool(value < operands[0])
        case "<=":
            return bool(value <= operands[0])
        case ">":
            return bool(value > operands[0])
        case ">=":
            return bool(value >= operands[0])
        case "BETWEEN":
            return bool(operands[0] <= value <= operands[1])
        case "begins_with":
            return bool(value.startswith(operands[0]))
    raise NotImplementedError(operator)


def _equal(one: Any, other: Any) -> bool:
    """To DynamoDB, unlike to Python, false is not 0."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
