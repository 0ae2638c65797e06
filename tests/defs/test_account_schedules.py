"""The sensor that follows accounts' own schedules, evaluated as Dagster does."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from dagster import DagsterInstance, SensorResult, SkipReason, build_sensor_context

from qrie_dagster.defs import overrides
from qrie_dagster.defs.overrides import account_schedules
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.errors import QrieError
from qrie_dagster.models import ScanType
from qrie_dagster.registry import new_account, register, set_schedule
from qrie_dagster.scan_tags import CHUNKS, RANGE_END, RANGE_START, SCAN_ID
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store
from qrie_dagster.times import HOUR_MS, SECOND_MS, as_ms

THREE = as_ms(datetime(2025, 3, 1, 3, tzinfo=UTC))
ACCOUNTS = [f"{number:012d}" for number in range(1, 6)]
Tick = Callable[[int, str | None], SensorResult]


@pytest.fixture
def estate(store: Store) -> Store:
    register(store, [new_account(account_id) for account_id in ACCOUNTS])
    for account_id in (ACCOUNTS[0], ACCOUNTS[1], ACCOUNTS[4]):
        set_schedule(store, account_id, {"inventory": "0 4 * * *"})
    set_schedule(store, ACCOUNTS[2], {"policy": "15 4 * * *"})
    return store


@pytest.fixture
def tick(estate: Store, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Iterator[Tick]:
    """``tick(now, cursor)``."""
    resource = StoreResource.of(make_settings())
    with DagsterInstance.ephemeral() as instance:

        def evaluate(now: int, cursor: str | None) -> SensorResult:
            monkeypatch.setattr(overrides, "now_ms", lambda: now)
            with build_sensor_context(instance=instance, cursor=cursor, resources={"store": resource}) as context:
                result = account_schedules(context)
            assert isinstance(result, SensorResult)
            return result

        yield evaluate


def test_a_day(tick: Tick, estate: Store) -> None:
    first = tick(THREE, None)
    assert (first.run_requests or [], first.cursor) == ([], str(THREE)), "what was before is nobody's concern"
    early = tick(THREE + HOUR_MS - 1, first.cursor)
    assert not early.run_requests
    at_four = tick(THREE + HOUR_MS + 20 * SECOND_MS, early.cursor)
    requests = list(at_four.run_requests or ())
    assert [(r.job_name, r.tags[RANGE_START], r.tags[RANGE_END], r.tags[CHUNKS]) for r in requests] == [
        ("full_inventory", ACCOUNTS[0], ACCOUNTS[1], "2"),
        ("full_inventory", ACCOUNTS[4], ACCOUNTS[4], "2"),
    ]
    scan = estate.summary.scan(requests[0].tags[SCAN_ID])
    assert scan
    assert (scan.scan_type, scan.accounts) == (ScanType.BOOTSTRAP, (ACCOUNTS[0], ACCOUNTS[1], ACCOUNTS[4]))
    # The daemon died before it kept the cursor: the run keys are the same, so Dagster launches nothing twice.
    again = tick(THREE + HOUR_MS + 50 * SECOND_MS, early.cursor)
    assert [r.run_key for r in again.run_requests or ()] == [r.run_key for r in requests]
    later = tick(THREE + 2 * HOUR_MS, at_four.cursor)
    assert [(r.job_name, r.tags[RANGE_START]) for r in later.run_requests or ()] == [("policy_scan", ACCOUNTS[2])]
    assert not tick(THREE + 3 * HOUR_MS, later.cursor).run_requests


def test_after_days_without_a_daemon_each_account_is_scanned_once(tick: Tick) -> None:
    late = tick(THREE + 80 * HOUR_MS, str(THREE))
    assert [r.job_name for r in late.run_requests or ()] == ["full_inventory", "full_inventory", "policy_scan"]
    assert isinstance(tick(THREE + 80 * HOUR_MS, late.cursor).skip_reason, SkipReason)


def test_a_clock_that_is_set_back_repeats_nothing(tick: Tick) -> None:
    done = tick(THREE + 2 * HOUR_MS, str(THREE))
    back = tick(THREE, done.cursor)
    assert not back.run_requests
    assert not tick(THREE + 2 * HOUR_MS, back.cursor).run_requests


def test_setting_and_clearing(estate: Store) -> None:
    with pytest.raises(QrieError, match="must be a cron expression"):
        set_schedule(estate, ACCOUNTS[0], {"inventory": "soon"})
    with pytest.raises(QrieError, match="not registered"):
        set_schedule(estate, "999999999999", {})
    set_schedule(estate, ACCOUNTS[0], {})
    overridden = {a.account_id: a.schedule_overrides for a in estate.accounts.all() if a.schedule_overrides}
    assert set(overridden) == {ACCOUNTS[1], ACCOUNTS[2], ACCOUNTS[4]}
    # What an import says of accounts leaves their schedules alone.
    register(estate, [new_account(ACCOUNTS[1], name="renamed")])
    changed = estate.accounts.get(ACCOUNTS[1])
    assert changed
    assert (changed.name, changed.schedule_overrides) == ("renamed", {"inventory": "0 4 * * *"})
