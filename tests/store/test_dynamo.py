import socket
from collections.abc import Callable
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from boto3.dynamodb.types import Binary

from qrie_dagster.errors import MissingTableError, QrieError, StoreError
from qrie_dagster.findings import Change, Finding, State, Transition, Violated
from qrie_dagster.models import Account
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.store.dynamo import WRITERS, Attr, ConditionFailedError, Key, concurrently, plain
from qrie_dagster.store.tables import RESOURCES, SUMMARY

# One read and one write of each kind that qrie makes of DynamoDB.
CALLS: dict[str, Callable[[Store], Any]] = {
    "Scan": lambda store: store.accounts.all(),
    "GetItem": lambda store: store.accounts.get("111111111111"),
    "Query": lambda store: store.resources.index("111111111111", "s3"),
    "BatchGetItem": lambda store: store.summary.get_many(["x"]),
    "PutItem": lambda store: store.accounts.add(Account(account_id="111111111111")),
    "UpdateItem": lambda store: store.summary.set_part("111111111111", "Resources", "s3", {}),
    "DeleteItem": lambda store: store.policies.delete("x"),
}


@pytest.mark.parametrize("operation", CALLS)
def test_a_refused_call_is_explained(store: Store, refuse: Callable[..., None], operation: str) -> None:
    refuse(store.dynamo.client, operation, "AccessDeniedException")
    with pytest.raises(StoreError) as error:
        CALLS[operation](store)
    said = str(error.value)
    assert said.startswith(f"DynamoDB refused a call on {store.dynamo.prefix}")
    assert f"{operation}: AccessDeniedException: not today" in said
    assert "\n" not in said


@pytest.mark.parametrize("operation", CALLS)
def test_a_missing_table_is_explained_whatever_the_call(empty_store: Store, operation: str) -> None:
    with pytest.raises(MissingTableError, match="run 'qrie tables create'"):
        CALLS[operation](empty_store)


def test_no_credentials_are_explained(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match="No AWS credentials for DynamoDB: set AWS_PROFILE"):
        open_store(make_settings()).accounts.all()


def test_half_of_the_credentials_is_explained(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(QrieError, match="AWS_SECRET_ACCESS_KEY"):
        open_store(make_settings()).accounts.all()


def test_an_unknown_profile_is_explained(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(QrieError, match=r"nobody.*check AWS_PROFILE"):
        open_store(make_settings())


def test_an_endpoint_that_is_down_is_explained(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    with socket.socket() as nobody:
        # Bound, and not listening: connections are refused.
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        store = open_store(make_settings(dynamodb_endpoint_url=f"http://127.0.0.1:{port}"))
        with pytest.raises(StoreError, match=f"DynamoDB does not answer .* at http://127.0.0.1:{port}.*QRIE_REGION"):
            store.accounts.all()


def test_the_endpoint_of_dynamodb_may_differ(make_settings: Callable[..., Settings], moto_endpoint: str) -> None:
    store = open_store(make_settings(endpoint_url="http://127.0.0.1:9", dynamodb_endpoint_url=moto_endpoint))
    with pytest.raises(MissingTableError):
        store.accounts.all()


def test_update_sets_sets_once_and_removes(store: Store) -> None:
    key = {"Type": "x"}
    assert store.dynamo.update(SUMMARY, key, {"a": 1, "b:c": "2"}, set_once={"first": 1}) == {}
    old = store.dynamo.update(SUMMARY, key, {"a": 2}, set_once={"first": 2}, remove=["b:c"])
    assert old["a"] == 1
    assert store.summary.get("x") == {"Type": "x", "a": 2, "first": 1}


def test_update_only_removing(store: Store) -> None:
    store.dynamo.put(SUMMARY, {"Type": "x", "a": 1})
    store.dynamo.update(SUMMARY, {"Type": "x"}, remove=["a", "never there"])
    assert store.summary.get("x") == {"Type": "x"}


def test_a_condition_that_does_not_hold_changes_nothing(store: Store) -> None:
    store.dynamo.put(SUMMARY, {"Type": "x", "a": 1})
    with pytest.raises(ConditionFailedError):
        store.dynamo.update(SUMMARY, {"Type": "x"}, {"a": 3}, condition=Attr("a").eq(2))
    with pytest.raises(ConditionFailedError):
        store.dynamo.put(SUMMARY, {"Type": "x"}, Attr("Type").not_exists())
    with pytest.raises(ConditionFailedError):
        store.dynamo.delete(SUMMARY, {"Type": "x"}, Attr("a").lt(1))
    assert store.summary.get("x") == {"Type": "x", "a": 1}


def test_a_page_of_a_query_tells_where_to_go_on(store: Store) -> None:
    for number in range(5):
        store.dynamo.put(RESOURCES, {"AccountService": "1_s3", "ARN": f"a{number}", "n": number})
    start, seen = None, []
    for _ in range(3):
        items, start = store.dynamo.query_page(RESOURCES, Key("AccountService").eq("1_s3"), 2, start)
        seen.append([item["n"] for item in items])
    assert (seen, start) == ([[0, 1], [2, 3], [4]], None)


def test_more_keys_than_a_batch_takes(store: Store, count_calls: Callable[..., dict[str, int]]) -> None:
    for number in range(0, 230, 10):
        store.summary.put(f"r{number}", {"n": number})
    sent = count_calls(store.dynamo.client)
    found = store.summary.get_many(f"r{number}" for number in range(230))
    assert {record["n"] for record in found.values()} == set(range(0, 230, 10))
    assert sent == {"BatchGetItem": 3}


def test_keys_left_out_are_asked_for_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def half(RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        ((name, wanted),) = RequestItems.items()
        keys = wanted["Keys"]
        asked.append(len(keys))
        now, later = keys[: (len(keys) + 1) // 2], keys[(len(keys) + 1) // 2 :]
        left = {name: {**wanted, "Keys": later}} if later else {}
        return {"Responses": {name: now}, "UnprocessedKeys": left}

    monkeypatch.setattr(store.dynamo.client, "batch_get_item", half)
    monkeypatch.setattr("qrie_dagster.store.dynamo.sleep", lambda _: None)
    assert set(store.summary.get_many("abcde")) == set("abcde")
    assert asked == [5, 2, 1]


def test_keys_left_out_for_ever_are_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        store.dynamo.client,
        "batch_get_item",
        lambda **asked: {"Responses": {}, "UnprocessedKeys": asked["RequestItems"]},
    )
    monkeypatch.setattr("qrie_dagster.store.dynamo.sleep", lambda _: None)
    with pytest.raises(StoreError, match="kept leaving keys"):
        store.summary.get_many("a")


def test_a_record_may_be_asked_for_twice(store: Store) -> None:
    # DynamoDB refuses a batch that names a key twice.
    store.summary.put("a", {"n": 1})
    assert set(store.summary.get_many(["a", "b", "a"])) == {"a"}


def test_values_become_pythons_own() -> None:
    value = {"n": Decimal("1.50"), "l": [Decimal(7), {Decimal(2), Decimal(1)}], "b": Binary(b"x"), "s": {"b", "a"}}
    assert plain(value) == {"n": 1, "l": [7, [1, 2]], "b": b"x", "s": ["a", "b"]}
    assert type(plain(Decimal(7))) is int


def test_concurrently_keeps_the_order_of_answers() -> None:
    assert list(concurrently(lambda n: n * n, range(50))) == [n * n for n in range(50)]
    assert list(concurrently(lambda n: n, [])) == []


def test_concurrently_uses_several_threads() -> None:
    together = Barrier(WRITERS, timeout=30)
    assert len(list(concurrently(lambda _: together.wait(), range(WRITERS)))) == WRITERS


def test_concurrently_yields_what_was_done_before_it_raises() -> None:
    done: list[int] = []

    def write(number: int) -> int:
        if number == 3:
            raise StoreError("full")
        done.append(number)
        return number

    told: list[int] = []
    with pytest.raises(StoreError, match="full"):
        told.extend(concurrently(write, range(1000)))
    # list.extend keeps what came before the error.
    assert told == sorted(done)
    assert 3 not in told


def test_findings_written_before_an_error_are_counted(store: Store, refuse: Callable[..., None]) -> None:
    refuse(store.dynamo.client, "PutItem", "AccessDeniedException", begin=6)
    judgements = [Violated(f"arn{n}", "P", "1_s3", 50, {}, 1) for n in range(40)]
    wanted = [
        Transition(Change.CREATED, None, Finding(j.arn, "P", "1_s3", State.ACTIVE, 50, {}, 9, 9, 1), j)
        for j in judgements
    ]
    applied = store.findings.apply(wanted, 9)
    assert applied.error is not None
    assert "AccessDeniedException" in applied.error
    stored = {finding.arn for finding in store.findings.load("1", "s3")}
    assert {t.after.arn for t in applied.written} == stored
    assert applied.changes == {Change.CREATED: 5}
