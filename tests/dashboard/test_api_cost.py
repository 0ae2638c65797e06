"""What an answer costs does not grow with the number of findings."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from dashboard_client import TOKEN, client_of
from dashboard_seed import seed
from hypothesis import given
from hypothesis import strategies as st
from many_findings import many_findings, sum_up
from starlette.testclient import TestClient

from qrie_dagster.dashboard.paging import MAX_QUERIES, Group, Position, fill, walk
from qrie_dagster.models import Account
from qrie_dagster.settings import Settings
from qrie_dagster.store import open_store
from qrie_dagster.store.tables import create_tables
from qrie_dagster.summary.rollup import refresh_dashboard
from qrie_dagster.times import now_ms

ACCOUNT = "111122223333"


@pytest.fixture
def counted(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> tuple[TestClient, Any, Counter]:
    """The API, its store, and the DynamoDB requests its answers cost."""
    settings = make_settings(api_token=TOKEN, dagster_url="http://127.0.0.1:9")
    store = open_store(settings)
    create_tables(store.dynamo)
    calls: Counter[str] = Counter()

    def counting_store(*args: Any) -> Any:
        opened = open_store(*args)
        events = opened.dynamo.client.meta.events
        events.register("before-call.dynamodb.*", lambda model, **_: calls.update([model.name]))
        events.register("after-call.dynamodb.GetItem", lambda parsed, **_: calls.update(["item"] * ("Item" in parsed)))
        return opened

    monkeypatch.setattr("qrie_dagster.dashboard.app.open_store", counting_store)
    return client_of(settings), store, calls


def test_the_dashboard_costs_one_request_whatever_there_is(counted: tuple[TestClient, Any, Counter]) -> None:
    api, store, calls = counted
    store.accounts.add(Account(account_id=ACCOUNT))
    sum_up(store, ACCOUNT, many_findings(ACCOUNT, 100))
    assert api.get("/summary/dashboard").json()["total_open_findings"] == 100
    few = dict(calls)
    calls.clear()
    sum_up(store, ACCOUNT, many_findings(ACCOUNT, 20_000))
    assert api.get("/summary/dashboard").json()["total_open_findings"] == 20_000
    assert dict(calls) == few == {"BatchGetItem": 1}
    for path in ("/summary/findings", "/summary/resources", "/summary/scopes", "/accounts"):
        calls.clear()
        assert api.get(path).status_code == 200
        assert dict(calls) == {"BatchGetItem": 1}, path


def test_health_costs_next_to_nothing(counted: tuple[TestClient, Any, Counter]) -> None:
    """Anybody may ask: the dashboard's record, which may be large, is not read for them."""
    api, store, calls = counted
    refresh_dashboard(store, [Account(account_id=ACCOUNT)], now_ms())
    assert api.get("/healthz").status_code == 200
    assert dict(calls) == {"GetItem": 1}


def test_no_answer_scans_a_table(counted: tuple[TestClient, Any, Counter]) -> None:
    api, store, calls = counted
    seed(store, now_ms(), accounts_count=1, per_service=2, share=1.0)
    for path in api.app.openapi()["paths"]:
        if "{" not in path:
            assert api.get(path, params={"format": "csv"}).status_code == 200
    assert "Scan" not in calls
    calls.clear()
    assert api.get("/findings", params={"account": ACCOUNT, "service": "s3", "page_size": 2}).json()["next_token"]
    assert calls["Query"] == 1


def test_a_request_never_costs_more_than_so_many_queries() -> None:
    groups = [Group(f"{number:012d}", "s3") for number in range(5 * MAX_QUERIES)]
    queries: list[Group] = []

    def only_the_last(group: Group, _wanted: int, _after: list[str]) -> tuple[list[str], list[str]]:
        queries.append(group)
        return (["found"], []) if group == groups[-1] else ([], [])

    position: Position | None = None
    pages = 0
    while True:
        page = fill(groups, only_the_last, 10, position)
        pages += 1
        if page.position is None:
            break
        position = page.position
    assert page.rows == ["found"]
    assert sorted(queries) == groups
    assert pages == 5


@given(
    sizes=st.lists(st.sampled_from([0, 0, 0, 0, 1, 2, 5, 9]), max_size=40),
    wanted=st.integers(1, 7),
    matching=st.integers(1, 3),
)
def test_pages_over_groups_lose_and_double_nothing(sizes: list[int], wanted: int, matching: int) -> None:
    """One row in ``matching`` is of interest; as in DynamoDB, a query may find none and yet not be at the end."""
    groups = [Group(f"{number:012d}", "s3") for number in range(len(sizes))]

    def fetch(group: Group, rows: int, after: list[str]) -> tuple[list[tuple[Group, int]], list[str]]:
        start, size = int(after[0]) if after else 0, sizes[groups.index(group)]
        end = min(start + rows, size)
        found = [(group, number) for number in range(start, end) if number % matching == 0]
        return found, [str(end)] if end < size else []

    everything = [(g, n) for g, size in zip(groups, sizes, strict=True) for n in range(size) if n % matching == 0]
    read: list[tuple[Group, int]] = []
    position: Position | None = None
    while True:
        page = fill(groups, fetch, wanted, position)
        assert len(page.rows) <= wanted
        read += page.rows
        if page.position is None:
            break
        position = page.position
    assert read == everything == list(walk(groups, fetch))
