from typing import Any

import pytest

from qrie_dagster.errors import MissingTableError, StoreError
from qrie_dagster.store import Store
from qrie_dagster.store.tables import ACCOUNTS, FINDINGS, RESOURCES, SHAPES, STATE_INDEX, SUMMARY, create_tables


def test_the_first_time_all_tables_are_created(empty_store: Store) -> None:
    created = create_tables(empty_store.dynamo)
    prefix = empty_store.dynamo.prefix
    assert created == {prefix + name: True for name in ("accounts", "resources", "findings", "policies", "summary")}


def test_the_second_time_none(store: Store) -> None:
    store.summary.put("kept", {"x": 1})
    assert set(create_tables(store.dynamo).values()) == {False}
    assert store.summary.get("kept") == {"Type": "kept", "x": 1}


def test_only_what_is_missing_is_created(store: Store) -> None:
    store.dynamo.client.delete_table(TableName=store.dynamo.name(FINDINGS))
    created = create_tables(store.dynamo)
    assert [name for name, new in created.items() if new] == [store.dynamo.name(FINDINGS)]


def described(store: Store, table: str) -> dict[str, Any]:
    description: dict[str, Any] = store.dynamo.client.describe_table(TableName=store.dynamo.name(table))["Table"]
    return description


def keys(schema: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(key["AttributeName"], key["KeyType"]) for key in schema]


def test_the_tables_have_the_keys_that_others_read_by(store: Store) -> None:
    assert {table: keys(described(store, table)["KeySchema"]) for table in SHAPES} == {
        "accounts": [("AccountId", "HASH")],
        "resources": [("AccountService", "HASH"), ("ARN", "RANGE")],
        "findings": [("ARN", "HASH"), ("Policy", "RANGE")],
        "policies": [("PolicyId", "HASH")],
        "summary": [("Type", "HASH")],
    }
    (index,) = described(store, FINDINGS)["GlobalSecondaryIndexes"]
    assert index["IndexName"] == STATE_INDEX == "AccountService-State-index"
    assert keys(index["KeySchema"]) == [("AccountService", "HASH"), ("State", "RANGE")]
    assert index["Projection"] == {"ProjectionType": "ALL"}


def test_the_tables_are_paid_by_request(store: Store) -> None:
    for table in SHAPES:
        assert described(store, table)["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_ledgers_expire(store: Store) -> None:
    state = store.dynamo.client.describe_time_to_live(TableName=store.dynamo.name(SUMMARY))["TimeToLiveDescription"]
    assert (state["TimeToLiveStatus"], state["AttributeName"]) == ("ENABLED", "ExpiresAt")


def foreign_table(store: Store, table: str, keys: list[str], type_: str = "S") -> None:
    store.dynamo.client.create_table(
        TableName=store.dynamo.name(table),
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": type_} for key in keys],
        BillingMode="PAY_PER_REQUEST",
    )


@pytest.mark.parametrize(
    ("table", "keys", "type_", "words"),
    [
        (SUMMARY, ["id"], "S", "another key: id (HASH) instead of Type (HASH)"),
        (RESOURCES, ["AccountService"], "S", "another key: AccountService (HASH) instead of AccountService (HASH) and"),
        (ACCOUNTS, ["AccountId"], "N", "key AccountId of type N instead of S"),
        (FINDINGS, ["ARN", "Policy"], "S", f"another index {STATE_INDEX}: none instead of AccountService (HASH) and"),
    ],
)
def test_a_table_of_another_shape_is_refused_and_nothing_is_created(
    empty_store: Store, table: str, keys: list[str], type_: str, words: str
) -> None:
    foreign_table(empty_store, table, keys, type_)
    with pytest.raises(StoreError) as error:
        create_tables(empty_store.dynamo)
    said = str(error.value)
    assert words in said
    assert empty_store.dynamo.name(table) in said
    assert "QRIE_TABLE_PREFIX" in said
    pages = empty_store.dynamo.client.get_paginator("list_tables").paginate()
    existing = [name for page in pages for name in page["TableNames"]]
    assert [name for name in existing if name.startswith(empty_store.dynamo.prefix)] == [empty_store.dynamo.name(table)]


def test_a_missing_table_is_named_with_the_way_to_create_it(empty_store: Store) -> None:
    with pytest.raises(MissingTableError) as error:
        empty_store.accounts.all()
    assert str(error.value).startswith(f"Table {empty_store.dynamo.name(ACCOUNTS)} in us-east-1 at http://")
    assert "qrie tables create" in str(error.value)
