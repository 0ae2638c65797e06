"""The five tables: their shape, their creation, and the check that an existing one has that shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import WaiterError

from qrie_dagster.errors import MissingTableError, StoreError
from qrie_dagster.store.dynamo import Dynamo

ACCOUNTS = "accounts"
RESOURCES = "resources"
FINDINGS = "findings"
POLICIES = "policies"
SUMMARY = "summary"
STATE_INDEX = "AccountService-State-index"


@dataclass(frozen=True)
class TableShape:
    """Keys (all strings), indexes by name, and the attribute DynamoDB expires items by."""

    keys: tuple[str, ...]
    indexes: Mapping[str, tuple[str, ...]]
    expires: str | None = None


SHAPES = {
    ACCOUNTS: TableShape(("AccountId",), {}),
    RESOURCES: TableShape(("AccountService", "ARN"), {}, expires="ExpiresAt"),
    FINDINGS: TableShape(("ARN", "Policy"), {STATE_INDEX: ("AccountService", "State")}),
    POLICIES: TableShape(("PolicyId",), {}),
    SUMMARY: TableShape(("Type",), {}, expires="ExpiresAt"),
}


def create_tables(dynamo: Dynamo) -> dict[str, bool]:
    """Create what is missing and wait until it can be used; full name of each table to whether it was created.

    Raises StoreError when a table of that name has another shape: nothing is created then.
    """
    existing = {table: _describe(dynamo, table) for table in SHAPES}
    for table, description in existing.items():
        if description:
            _refuse_other_shape(dynamo.name(table), SHAPES[table], description)
    for table, description in existing.items():
        if not description:
            _create(dynamo, table)
    for table in SHAPES:
        _wait(dynamo, table)
        _expire(dynamo, table)
    return {dynamo.name(table): not description for table, description in existing.items()}


def _describe(dynamo: Dynamo, table: str) -> dict[str, Any] | None:
    try:
        with dynamo.explained(table):
            description: dict[str, Any] = dynamo.client.describe_table(TableName=dynamo.name(table))["Table"]
            return description
    except MissingTableError:
        return None


def _refuse_other_shape(name: str, shape: TableShape, description: dict[str, Any]) -> None:
    wanted = {"": _key_schema(shape.keys)} | {index: _key_schema(keys) for index, keys in shape.indexes.items()}
    found = {"": description["KeySchema"]} | {
        index["IndexName"]: index["KeySchema"] for index in description.get("GlobalSecondaryIndexes", ())
    }
    for index, schema in wanted.items():
        if found.get(index) != schema:
            what = f"index {index}" if index else "key"
            has, wants = _in_words(found.get(index)), _in_words(schema)
            raise StoreError(
                f"Table {name} exists with another {what}: {has} instead of {wants}."
                " It is not qrie's: choose another QRIE_TABLE_PREFIX, or move that table away."
            )
    types = {a["AttributeName"]: a["AttributeType"] for a in description["AttributeDefinitions"]}
    for key in shape.keys:
        if types.get(key) != "S":
            raise StoreError(
                f"Table {name} exists with key {key} of type {types.get(key)} instead of S."
                " It is not qrie's: choose another QRIE_TABLE_PREFIX, or move that table away."
            )


def _in_words(schema: list[dict[str, str]] | None) -> str:
    return " and ".join(f"{key['AttributeName']} ({key['KeyType']})" for key in schema or ()) or "none"


def _key_schema(keys: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)]


def _create(dynamo: Dynamo, table: str) -> None:
    shape = SHAPES[table]
    attributes = sorted({*shape.keys, *(key for keys in shape.indexes.values() for key in keys)})
    indexes = [
        {"IndexName": name, "KeySchema": _key_schema(keys), "Projection": {"ProjectionType": "ALL"}}
        for name, keys in shape.indexes.items()
    ]
    with dynamo.explained(table):
        dynamo.client.create_table(
            TableName=dynamo.name(table),
            KeySchema=_key_schema(shape.keys),
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in attributes],
            BillingMode="PAY_PER_REQUEST",
            **({"GlobalSecondaryIndexes": indexes} if indexes else {}),
        )


def _wait(dynamo: Dynamo, table: str) -> None:
    name = dynamo.name(table)
    waiter = dynamo.client.get_waiter("table_exists")
    try:
        waiter.wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    except WaiterError as error:
        raise StoreError(f"Table {name} is not active after two minutes.") from error


def _expire(dynamo: Dynamo, table: str) -> None:
    expires = SHAPES[table].expires
    if not expires:
        return
    with dynamo.explained(table):
        state = dynamo.client.describe_time_to_live(TableName=dynamo.name(table))["TimeToLiveDescription"]
        if state["TimeToLiveStatus"] == "DISABLED":
            dynamo.client.update_time_to_live(
                TableName=dynamo.name(table),
                TimeToLiveSpecification={"Enabled": True, "AttributeName": expires},
            )
