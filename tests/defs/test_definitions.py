"""What Dagster sees: partitions, chunks, schedules, sensors, assets and checks, without its processes."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from dagster import (
    AssetKey,
    DagsterInstance,
    RunRequest,
    SkipReason,
    build_schedule_context,
)
from hypothesis import given
from hypothesis import strategies as st

from qrie_dagster.aws import AwsAccess
from qrie_dagster.definitions import defs
from qrie_dagster.defs.checks import COMPLETE, LOSS, STALE, SUBJECTS
from qrie_dagster.defs.partitions import ACCOUNTS_NAME, bring_in_step
from qrie_dagster.defs.scan_runs import chunk_requests, plan_part, plan_scan, tick_scan_id
from qrie_dagster.defs.schedules import daily_policy_scan, weekly_inventory
from qrie_dagster.errors import AwsAccessError
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, Outcome, ScanKind, ScanType
from qrie_dagster.policy_changes import launch_all
from qrie_dagster.scan_tags import CHUNK, CHUNKS, RANGE_END, RANGE_START, SCAN_ID, chunk_tags
from qrie_dagster.store import Store
from qrie_dagster.store.summary import Scan
from qrie_dagster.summary.records import COUNTS, LAST_INVENTORY_SCAN
from qrie_dagster.summary.rollup import roll_up
from qrie_dagster.times import DAY_MS, now_ms

TICK = datetime(2026, 11, 21, tzinfo=UTC)


@given(
    st.lists(st.integers(0, 40).map(str), unique=True).flatmap(
        lambda partitions: st.tuples(
            st.just(partitions), st.sets(st.sampled_from(partitions)) if partitions else st.just(set())
        )
    ),
    st.integers(1, 7),
)
def test_chunks_cover_each_wanted_account_once_and_nobody_else(drawn: tuple[list[str], set[str]], size: int) -> None:
    partitions, wanted = drawn
    covered: list[str] = []
    tags = chunk_tags("scan", partitions, wanted, size)
    for number, chunk in enumerate(tags):
        start, end = partitions.index(chunk[RANGE_START]), partitions.index(chunk[RANGE_END])
        assert end - start < size
        assert (chunk[CHUNK], chunk[CHUNKS]) == (str(number), str(len(tags)))
        covered += partitions[start : end + 1]
    assert sorted(covered) == sorted(wanted)


@pytest.mark.parametrize("schedule", [weekly_inventory, daily_policy_scan])
def test_a_tick_plans_the_whole_estate_once(
    schedule: Any, instance: DagsterInstance, resources: dict[str, Any], accounts: list[str], store: Store
) -> None:
    def tick() -> list[RunRequest]:
        context = build_schedule_context(
            instance=instance, scheduled_execution_time=TICK, resources={"store": resources["store"]}
        )
        requests = schedule(context)
        assert isinstance(requests, list)
        return requests

    [request] = tick()
    assert list(instance.get_dynamic_partitions(ACCOUNTS_NAME)) == accounts
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (accounts[0], accounts[-1])
    plan = store.summary.scan(request.tags[SCAN_ID])
    assert plan is not None
    assert (plan.accounts, plan.services) == (tuple(accounts), tuple(all_services()))
    assert plan.scan_type is ScanType.ANTI_ENTROPY
    # Evaluated again after a crash, the tick asks for the same runs of the same scan.
    assert [again.run_key for again in tick()] == [request.run_key]
    assert store.summary.scan(request.tags[SCAN_ID]) == plan


def test_without_accounts_a_tick_says_so(instance: DagsterInstance, resources: dict[str, Any]) -> None:
    context = build_schedule_context(
        instance=instance, scheduled_execution_time=TICK, resources={"store": resources["store"]}
    )
    skipped = weekly_inventory(context)
    assert isinstance(skipped, SkipReason)
    assert "No account is active" in str(skipped.skip_message)


def execute(job: str, instance: DagsterInstance, resources: dict[str, Any], **tags: str) -> Any:
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance, resources=resources, tags=tags, raise_on_error=False
    )


def materialized(instance: DagsterInstance, *path: str) -> dict[str | None, Any]:
    """The metadata of each partition that was materialized."""
    records = instance.fetch_materializations(AssetKey(list(path)), limit=100).records
    return {record.partition_key: record.asset_materialization.metadata for record in records}


def observed(instance: DagsterInstance, *path: str) -> dict[str | None, str]:
    """What is said of each partition that was observed."""
    records = instance.fetch_observations(AssetKey(list(path)), limit=100).records
    return {
        record.partition_key: record.event_log_entry.dagster_event.asset_observation_data.asset_observation.description
        for record in records
    }


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch, accounts: list[str]) -> str:
    """One account whose role cannot be assumed."""
    enter = AwsAccess.enter

    def refuse(self: AwsAccess, account: Account) -> Any:
        if account.account_id == accounts[1]:
            raise AwsAccessError(f"Cannot assume the role in {account.account_id}: AccessDenied")
        return enter(self, account)

    monkeypatch.setattr(AwsAccess, "enter", refuse)
    return accounts[1]


def test_only_accounts_that_succeed_are_materialized(
    instance: DagsterInstance, resources: dict[str, Any], accounts: list[str], denied: str, store: Store
) -> None:
    instance.add_dynamic_partitions(ACCOUNTS_NAME, accounts)
    tags = {RANGE_START: accounts[0], RANGE_END: accounts[-1]}
    ended = execute("inventory_s3", instance, resources, **tags)
    assert ended.success
    metadata = materialized(instance, "inventory", "s3")
    assert set(metadata) == {account for account in accounts if account != denied}
    assert {"duration_ms", "resources_found", "resources_created"} <= set(metadata[accounts[0]])
    told = observed(instance, "inventory", "s3")
    assert set(told) == {denied}
    assert "AccessDenied" in told[denied]


def test_an_account_with_a_bucket_that_refuses_is_materialized_and_says_so(
    instance: DagsterInstance,
    resources: dict[str, Any],
    accounts: list[str],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    refuse: Callable[..., None],
) -> None:
    instance.add_dynamic_partitions(ACCOUNTS_NAME, accounts[:1])
    enter = AwsAccess.enter

    def denying(self: AwsAccess, account: Account) -> Any:
        session = enter(self, account)
        client = session.client("s3", "us-east-1")
        if not store.resources.index(account.account_id, "s3"):
            client.create_bucket(Bucket=f"mine-{account.account_id}")
        refuse(client, "GetBucketVersioning")
        return session

    monkeypatch.setattr(AwsAccess, "enter", denying)
    tags = {RANGE_START: accounts[0], RANGE_END: accounts[0]}
    assert execute("inventory_s3", instance, resources, **tags).success
    metadata = materialized(instance, "inventory", "s3")[accounts[0]]
    assert "GetBucketVersioning: AccessDenied" in str(metadata["failures"].value)
    assert observed(instance, "inventory", "s3") == {}
    results = checked(instance, resources)
    assert not results["inventory/s3", COMPLETE].passed
    assert "GetBucketVersioning" in str(results["inventory/s3", COMPLETE].metadata["failures"])
    stale = results["inventory/s3", STALE].metadata
    assert stale["stale_scopes"].value == len(accounts) - 1


def test_a_run_in_which_every_account_fails_has_failed(
    instance: DagsterInstance, resources: dict[str, Any], accounts: list[str], denied: str
) -> None:
    instance.add_dynamic_partitions(ACCOUNTS_NAME, accounts)
    ended = execute("inventory_s3", instance, resources, **{RANGE_START: denied, RANGE_END: denied})
    assert not ended.success
    assert materialized(instance, "inventory", "s3") == {}


def checked(instance: DagsterInstance, resources: dict[str, Any]) -> dict[tuple[str, str], Any]:
    ended = execute("health_checks", instance, resources)
    assert ended.success
    return {("/".join(e.asset_key.path), e.check_name): e for e in ended.get_asset_check_evaluations()}


def test_checks_judge_what_scans_recorded(
    instance: DagsterInstance, resources: dict[str, Any], accounts: list[str], store: Store
) -> None:
    launch_all(store)
    now = now_ms()
    for account_id in accounts:
        for service in all_services():
            for kind in ScanKind:
                facts = {"account_id": account_id, "service": service, "resources_found": 9, "resources_before": 9}
                store.accounts.finish(kind, Outcome(**facts, started_ms=now, finished_ms=now))
    results = checked(instance, resources)
    assert {key for key, result in results.items() if not result.passed} == set()
    assert {name for _, name in results} == {COMPLETE, STALE, LOSS, SUBJECTS}

    # One region of one account fails, another account was last scanned nine days ago, a third lost half of its S3.
    facts = {"started_ms": now, "finished_ms": now + 1, "service": "s3"}
    failed = Outcome(account_id=accounts[0], failures=(f"{accounts[0]}/s3/global: AccessDenied",), **facts)
    store.accounts.finish(ScanKind.INVENTORY, failed)
    old = Outcome(account_id=accounts[1], service="ec2", started_ms=0, finished_ms=now - 9 * DAY_MS)
    store.accounts.finish(ScanKind.INVENTORY, old)
    scan = Scan(scan_id="full", kind=ScanKind.INVENTORY, scan_type=ScanType.ANTI_ENTROPY, started_ms=now)
    store.summary.open_scan(scan)
    lost = Outcome(account_id=accounts[2], resources_before=20, resources_deleted=10, **facts)
    store.summary.record_outcome(scan, lost)
    store.summary.put_newest(LAST_INVENTORY_SCAN, {"timestamp_ms": now, "scan_id": "full"})
    for policy in store.policies.all():
        store.policies.delete(policy.policy_id)

    results = checked(instance, resources)
    assert {key for key, result in results.items() if not result.passed} == {
        ("inventory/s3", COMPLETE),
        ("inventory/ec2", STALE),
        ("inventory/s3", LOSS),
        ("policy_findings", SUBJECTS),
    }
    assert accounts[1] in results["inventory/ec2", STALE].description
    assert "AccessDenied" in str(results["inventory/s3", COMPLETE].metadata["failures"])


def test_an_account_that_left_is_said_and_the_scan_complete_for_the_others(
    instance: DagsterInstance, resources: dict[str, Any], accounts: list[str], store: Store
) -> None:
    partitions = bring_in_step(instance, store.accounts.active())
    plan_scan(store, ScanKind.INVENTORY, TICK, accounts, list(all_services()))
    [request] = chunk_requests(tick_scan_id(ScanKind.INVENTORY, TICK), partitions, accounts)
    store.accounts.set_status(accounts[0], "suspended")
    assert execute("full_inventory", instance, resources, **request.tags).success
    assert set(materialized(instance, "inventory", "s3")) == set(accounts[1:])
    assert observed(instance, "inventory", "s3") == {
        accounts[0]: f"{accounts[0]} left the registry before it was scanned."
    }
    done = roll_up(store, request.tags[SCAN_ID], now_ms())
    assert (done.written, done.record.failures) == (True, ())


def test_a_run_keeps_to_the_accounts_of_its_scan(
    instance: DagsterInstance, resources: dict[str, Any], accounts: list[str], store: Store
) -> None:
    instance.add_dynamic_partitions(ACCOUNTS_NAME, accounts)
    [request] = plan_part(store, "some", ScanKind.INVENTORY, accounts[:1], accounts, "full_inventory")
    # Executed again after others have come in between.
    tags = {**request.tags, RANGE_END: accounts[-1]}
    assert execute("inventory_s3", instance, resources, **tags).success
    assert set(materialized(instance, "inventory", "s3")) == {accounts[0]}
    ended = execute("inventory_s3", instance, resources, **{**tags, RANGE_START: accounts[1]})
    assert not ended.success
    [failure] = [event for event in ended.all_events if event.is_step_failure]
    assert "start a new scan" in failure.step_failure_data.error_display_string


def test_the_metadata_of_an_account_are_the_counts_of_its_kind_of_scan(
    instance: DagsterInstance, resources: dict[str, Any], accounts: list[str], store: Store
) -> None:
    launch_all(store)
    instance.add_dynamic_partitions(ACCOUNTS_NAME, accounts)
    tags = {RANGE_START: accounts[0], RANGE_END: accounts[0]}
    execute("full_inventory", instance, resources, **tags)
    execute("policy_scan", instance, resources, **tags)
    inventory, policy = (
        materialized(instance, *path)[accounts[0]] for path in (("inventory", "s3"), ("policy_findings",))
    )
    assert {"resources_found", "resources_unchanged"} <= set(inventory) <= {*COUNTS[ScanKind.INVENTORY], "duration_ms"}
    assert {"findings_created", "skipped_resources"} <= set(policy) <= {*COUNTS[ScanKind.POLICY], "duration_ms"}


def whole(store: Store, accounts: list[str], scan_id: str, ended: int) -> None:
    """A full inventory that ended at ``ended``."""
    scan = Scan(
        scan_id=scan_id,
        kind=ScanKind.INVENTORY,
        scan_type=ScanType.ANTI_ENTROPY,
        # No account was registered after it began.
        started_ms=now_ms(),
        accounts=tuple(accounts),
        services=tuple(all_services()),
    )
    store.summary.open_scan(scan)
    for account_id in accounts:
        for service in all_services():
            outcome = Outcome(account_id=account_id, service=service, started_ms=ended, finished_ms=ended)
            store.summary.record_outcome(scan, outcome)


def test_only_a_scan_that_is_now_the_last_makes_its_asset_fresh(
    instance: DagsterInstance, resources: dict[str, Any], accounts: list[str], store: Store
) -> None:
    def told() -> list[str]:
        records = instance.fetch_materializations(AssetKey("inventory_scan"), limit=100).records
        return [record.asset_materialization.metadata["scan_id"].text for record in reversed(records)]

    now = now_ms()
    whole(store, accounts, "ancient", now - 9 * DAY_MS)
    whole(store, accounts, "old", now - DAY_MS)
    whole(store, accounts, "new", now)
    for scan_id, expected in {
        "ancient": [],
        "old": ["old"],
        "new": ["old", "new"],
    }.items():
        assert execute("roll_up", instance, resources, **{SCAN_ID: scan_id}).success
        assert told() == expected
    # An operator executes roll-ups again.
    for scan_id in ("old", "new"):
        assert execute("roll_up", instance, resources, **{SCAN_ID: scan_id}).success
    assert told() == ["old", "new"]
    assert len(materialized(instance, "dashboard_summary")) == 1


def test_materializing_by_hand_refreshes_the_totals(
    instance: DagsterInstance, resources: dict[str, Any], accounts: list[str]
) -> None:
    assert execute("roll_up", instance, resources).success
    [metadata] = materialized(instance, "dashboard_summary").values()
    assert metadata["accounts"].value == len(accounts)
    assert materialized(instance, "inventory_scan") == {}


def test_a_scan_that_nobody_knows_is_said_once(instance: DagsterInstance, resources: dict[str, Any]) -> None:
    ended = execute("roll_up", instance, resources, **{SCAN_ID: "nonsense"})
    assert not ended.success
    [failure] = [event for event in ended.all_events if event.is_step_failure]
    assert "There is no scan 'nonsense'" in failure.step_failure_data.error_display_string
    assert not [event for event in ended.all_events if event.is_step_up_for_retry]
