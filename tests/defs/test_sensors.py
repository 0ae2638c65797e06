"""What follows from what: runs with real records in a real instance, the sensors evaluated as Dagster does."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRequest,
    SensorResult,
    SkipReason,
    build_run_status_sensor_context,
    build_sensor_context,
)

from qrie_dagster.defs import endings, sensors
from qrie_dagster.defs.partitions import ACCOUNTS_NAME, RETRIED_BY, WILL_RETRY, bring_in_step
from qrie_dagster.defs.scan_runs import plan_part
from qrie_dagster.defs.sensors import account_partitions
from qrie_dagster.models import ScanKind, ScanType
from qrie_dagster.registry import new_account, register, set_status
from qrie_dagster.scan_tags import CHUNK, CHUNKS, RANGE_END, RANGE_START, SCAN_ID, THEN
from qrie_dagster.settings import settings
from qrie_dagster.store import Store
from qrie_dagster.times import now_ms

SUCCESS, FAILURE, CANCELED = DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED
_EVENTS = {
    SUCCESS: DagsterEventType.PIPELINE_SUCCESS,
    FAILURE: DagsterEventType.PIPELINE_FAILURE,
    CANCELED: DagsterEventType.PIPELINE_CANCELED,
}
Look = Callable[[], SensorResult]


class Runs:
    """Runs that start and end as they are told to."""

    def __init__(self, instance: DagsterInstance, resources: dict[str, Any]) -> None:
        self.instance, self.resources, self.number = instance, resources, 0

    def start(self, job: str = "full_inventory", **tags: str) -> str:
        self.number += 1
        run_id = f"00000000-0000-4000-8000-{self.number:012d}"
        self.instance.add_run(DagsterRun(job, run_id, status=DagsterRunStatus.STARTED, tags=tags))
        return run_id

    def chunk(self, number: int, **more: str) -> str:
        return self.start(**{SCAN_ID: "s", CHUNK: str(number), CHUNKS: "2", **more})

    def end(self, run_id: str, status: DagsterRunStatus) -> None:
        job = self.run(run_id).job_name
        self.instance.report_dagster_event(DagsterEvent(_EVENTS[status].value, job), run_id)

    def run(self, run_id: str) -> DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run
        return run

    def told(self, run_id: str) -> list[RunRequest]:
        """What the sensor of its ending requests when it hears of a run."""
        run = self.run(run_id)
        context = build_run_status_sensor_context(
            "ending", DagsterEvent(_EVENTS[run.status].value, run.job_name), self.instance, run
        )
        answers = list(endings._sum_up(context, self.resources["store"]))
        return [answer for answer in answers if isinstance(answer, RunRequest)]


@pytest.fixture
def runs(instance: DagsterInstance, resources: dict[str, Any]) -> Runs:
    return Runs(instance, resources)


@pytest.fixture
def look(instance: DagsterInstance, resources: dict[str, Any]) -> Look:
    """``look()``: a tick of the sensor of partitions, its changes and its cursor applied as the daemon does."""
    cursor = ""

    def tick() -> SensorResult:
        nonlocal cursor
        context = build_sensor_context(instance=instance, cursor=cursor, resources={"store": resources["store"]})
        result = account_partitions(context)
        assert isinstance(result, SensorResult)
        for change in result.dynamic_partitions_requests or ():
            if "Add" in type(change).__name__:
                instance.add_dynamic_partitions(ACCOUNTS_NAME, list(change.partition_keys))
            else:
                for key in change.partition_keys:
                    instance.delete_dynamic_partition(ACCOUNTS_NAME, key)
        cursor = result.cursor or ""
        return result

    return tick


def partitions(instance: DagsterInstance) -> list[str]:
    return list(instance.get_dynamic_partitions(ACCOUNTS_NAME))


def launched(result: SensorResult) -> list[str | None]:
    return [request.job_name for request in result.run_requests or ()]


@pytest.fixture
def without_first_scans(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("QRIE_BOOTSTRAP_NEW_ACCOUNTS", "false")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.usefixtures("without_first_scans")
def test_partitions_follow_the_registry(
    instance: DagsterInstance, accounts: list[str], store: Store, look: Look
) -> None:
    assert launched(look()) == []
    assert partitions(instance) == accounts
    assert isinstance(look().skip_reason, SkipReason)
    store.accounts.set_status(accounts[0], "removed")
    assert launched(look()) == ["retire_accounts"], "somebody has to clean up"
    assert partitions(instance) == accounts[1:]
    set_status(store, accounts[0], "removed")
    assert isinstance(look().skip_reason, SkipReason)


@pytest.mark.usefixtures("without_first_scans")
@pytest.mark.parametrize("tag", [RANGE_START, "dagster/partition"])
def test_no_partition_goes_or_moves_under_an_unfinished_run(
    instance: DagsterInstance, accounts: list[str], store: Store, look: Look, runs: Runs, tag: str
) -> None:
    look()
    queued = runs.start(**{tag: accounts[0]})
    store.accounts.set_status(accounts[0], "suspended")
    look()
    assert partitions(instance) == accounts
    assert bring_in_step(instance, store.accounts.active()) == accounts
    store.accounts.set_status(accounts[0], "active")
    look()
    assert partitions(instance) == accounts, "in the same place"

    store.accounts.set_status(accounts[0], "suspended")
    instance.add_run_tags(queued, {WILL_RETRY: "true"})
    runs.end(queued, FAILURE)
    look()
    assert partitions(instance) == accounts, "its retry has not begun"
    instance.add_run_tags(queued, {RETRIED_BY: "another"})
    look()
    assert partitions(instance) == accounts[1:]


@pytest.mark.usefixtures("without_first_scans")
def test_one_clean_up_at_a_time_and_none_right_after_a_failure(
    accounts: list[str], store: Store, look: Look, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.accounts.set_status(accounts[0], "removed")
    assert launched(look()) == ["retire_accounts"]
    run = runs.start("retire_accounts")
    assert launched(look()) == []
    runs.end(run, FAILURE)
    assert launched(look()) == [], "what failed just now would fail again"
    now = now_ms()
    monkeypatch.setattr(sensors, "now_ms", lambda: now + 16 * 60_000)
    assert launched(look()) == ["retire_accounts"]
    monkeypatch.undo()
    runs.end(runs.start("retire_accounts"), SUCCESS)
    assert launched(look()) == ["retire_accounts"], "somebody left while it ran"


def test_new_accounts_are_scanned_once(
    instance: DagsterInstance, accounts: list[str], store: Store, look: Look, runs: Runs, new_id: Callable[[], str]
) -> None:
    [first] = look().run_requests or ()
    assert (first.job_name, first.tags[RANGE_START], first.tags[RANGE_END]) == (
        "bootstrap_account",
        accounts[0],
        accounts[-1],
    )
    plan = store.summary.scan(first.tags[SCAN_ID])
    assert plan
    assert (plan.scan_type, plan.kind, plan.accounts) == (ScanType.BOOTSTRAP, ScanKind.INVENTORY, tuple(accounts))
    assert launched(look()) == [], "requested already"

    new = new_id()
    register(store, [new_account(new)])
    [second] = look().run_requests or ()
    assert (second.tags[RANGE_START], second.tags[RANGE_END]) == (new, new)
    assert partitions(instance)[-1] == new
    for account_id in accounts:
        store.accounts.begin(ScanKind.INVENTORY, account_id, "s3", "s", 1)
    assert launched(look()) == []
    # One that left and comes back starts anew.
    set_status(store, accounts[0], "suspended")
    look()
    set_status(store, accounts[0], "active")
    [third] = look().run_requests or ()
    assert (third.tags[RANGE_START], third.tags[RANGE_END]) == (accounts[0], accounts[0])


def test_accounts_that_a_scan_under_way_covers_are_left_to_it(
    accounts: list[str], store: Store, look: Look, runs: Runs
) -> None:
    plan_part(store, "full", ScanKind.INVENTORY, accounts[:2], accounts, "full_inventory")
    under_way = runs.start(**{SCAN_ID: "full"})
    [request] = look().run_requests or ()
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (accounts[2], accounts[2])
    runs.end(under_way, FAILURE)
    [request] = look().run_requests or ()
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (accounts[0], accounts[1]), "it never got there"


@pytest.mark.parametrize("first", [SUCCESS, FAILURE, CANCELED])
@pytest.mark.parametrize("second", [SUCCESS, FAILURE, CANCELED])
def test_a_scan_is_summed_up_once_however_its_chunks_end(
    runs: Runs, first: DagsterRunStatus, second: DagsterRunStatus
) -> None:
    one, two = runs.chunk(0), runs.chunk(1)
    runs.end(two, first)
    assert runs.told(two) == [], "the other chunk has not ended"
    runs.end(one, second)
    # Both sensors may hear of their runs only now.
    assert runs.told(two) == [], "it was not the last"
    [request] = runs.told(one)
    assert (request.job_name, request.tags[SCAN_ID]) == ("roll_up", "s")


def test_a_chunk_that_has_not_begun_or_will_be_tried_again_is_waited_for(runs: Runs) -> None:
    one = runs.chunk(0)
    runs.end(one, SUCCESS)
    assert runs.told(one) == [], "the other chunk is not even queued"
    dying = runs.chunk(1)
    runs.instance.add_run_tags(dying, {WILL_RETRY: "true"})
    runs.end(dying, FAILURE)
    assert runs.told(dying) == []
    again = runs.chunk(1)
    runs.end(again, SUCCESS)
    assert runs.told(one) == []
    assert len(runs.told(again)) == 1


def test_a_chunk_that_is_executed_again_is_summed_up_again(runs: Runs) -> None:
    one, two = runs.chunk(0), runs.chunk(1)
    runs.end(one, FAILURE)
    runs.end(two, SUCCESS)
    [before] = runs.told(two)
    by_hand = runs.chunk(0)
    assert runs.told(two) == [], "there is more to come"
    runs.end(by_hand, SUCCESS)
    [after] = runs.told(by_hand)
    assert before.run_key != after.run_key
    assert runs.told(one) == runs.told(two) == []


@pytest.fixture
def overlooked(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[RunRequest]]:
    """``overlooked(minutes)``: what the sensor of overlooked scans requests so long after now."""

    def look(minutes: int) -> list[RunRequest]:
        now = now_ms()
        monkeypatch.setattr(endings, "now_ms", lambda: now + minutes * 60_000)
        context = build_sensor_context(instance=runs.instance, resources={"store": runs.resources["store"]})
        return [answer for answer in endings.overlooked_scans(context) if isinstance(answer, RunRequest)]

    return look


def test_a_failure_that_is_not_decided_yet_is_left_and_not_forgotten(
    tmp_path: Path, resources: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "retries").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "retries"), {"run_retries": {"enabled": True}}) as retrying:
        runs = Runs(retrying, resources)
        one, two = runs.chunk(0), runs.chunk(1)
        runs.end(one, SUCCESS)
        # Dagster says whether it tries a run again a moment after it says that it failed.
        monkeypatch.setattr(type(retrying), "add_run_tags", lambda *_: None)
        runs.end(two, FAILURE)
        monkeypatch.undo()
        assert runs.told(two) == []
        retrying.add_run_tags(two, {WILL_RETRY: "false"})
        assert len(runs.told(two)) == 1


def test_a_scan_that_was_overlooked_is_summed_up_until_it_is_done(
    runs: Runs, overlooked: Callable[[int], list[RunRequest]]
) -> None:
    one, two = runs.chunk(0), runs.chunk(1)
    runs.end(one, SUCCESS)
    assert overlooked(10) == [], "the other chunk has not ended"
    runs.end(two, FAILURE)
    assert overlooked(0) == [], "it may be summed up any moment"
    [request] = overlooked(10)
    assert (request.job_name, request.tags[SCAN_ID]) == ("roll_up", "s")
    assert [again.run_key for again in overlooked(10)] == [request.run_key], "Dagster launches it once"
    failing = runs.start("roll_up", **{SCAN_ID: "s"})
    assert overlooked(10) == []
    runs.end(failing, FAILURE)
    assert [again.run_key != request.run_key for again in overlooked(70)] == [True]
    runs.end(runs.start("roll_up", **{SCAN_ID: "s"}), SUCCESS)
    assert overlooked(70) == []


def test_runs_that_are_no_part_of_a_plan_are_scans_of_their_own(runs: Runs) -> None:
    alone = runs.start()
    runs.end(alone, SUCCESS)
    [request] = runs.told(alone)
    assert request.tags[SCAN_ID] == alone
    retired = runs.start("retire_accounts")
    runs.end(retired, SUCCESS)
    assert runs.told(retired) == []


def test_a_bootstrap_is_followed_by_the_policy_scan_of_all_its_accounts(
    instance: DagsterInstance, accounts: list[str], store: Store, runs: Runs
) -> None:
    bring_in_step(instance, store.accounts.active())
    plan_part(store, "s", ScanKind.INVENTORY, accounts, accounts, "bootstrap_account")
    one, two = runs.chunk(0, **{THEN: "policy"}), runs.chunk(1, **{THEN: "policy"})
    runs.end(one, FAILURE)
    runs.end(two, SUCCESS)
    set_status(store, accounts[2], "suspended")
    assert runs.told(one) == []
    roll_up, policies = runs.told(two)
    assert (roll_up.job_name, policies.job_name) == ("roll_up", "policy_scan")
    plan = store.summary.scan(policies.tags[SCAN_ID])
    assert plan
    assert (plan.kind, plan.scan_type, plan.accounts) == (ScanKind.POLICY, ScanType.BOOTSTRAP, tuple(accounts[:2]))
    assert (policies.tags[RANGE_START], policies.tags[RANGE_END]) == (accounts[0], accounts[1])

    alone = runs.start("bootstrap_account", **{THEN: "policy", RANGE_START: accounts[0], RANGE_END: accounts[1]})
    runs.end(alone, SUCCESS)
    [_, policies] = runs.told(alone)
    assert policies.tags == {
        RANGE_START: accounts[0],
        RANGE_END: accounts[1],
        SCAN_ID: f"policy-after-{alone}",
    }
