"""What follows from what: partitions and first scans from the registry, the roll-up from the end of a scan."""

from collections.abc import Iterator

from dagster import (
    AddDynamicPartitionsRequest,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    DeleteDynamicPartitionsRequest,
    RunRequest,
    RunsFilter,
    RunStatusSensorContext,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    run_status_sensor,
    sensor,
)

from qrie_dagster.defs.alerts import alerts
from qrie_dagster.defs.ended_mutes import ended_mutes
from qrie_dagster.defs.findings import policy_findings
from qrie_dagster.defs.inventory import inventory_assets
from qrie_dagster.defs.jobs import bootstrap_account, policy_scan, retire_accounts, roll_up, scan_jobs
from qrie_dagster.defs.onboarding import first_scans
from qrie_dagster.defs.overrides import account_schedules
from qrie_dagster.defs.partitions import ACCOUNTS, ACCOUNTS_NAME, PARTITION, out_of_step
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.defs.scan_runs import ended_last, plan_part, scan_id_of
from qrie_dagster.models import ScanKind
from qrie_dagster.scan_tags import CHUNKS, RANGE_END, RANGE_START, SCAN_ID, THEN
from qrie_dagster.settings import settings
from qrie_dagster.store import Store
from qrie_dagster.times import SECOND_MS, now_ms

# Runs of assets that a person started from Dagster's asset pages.
ASSET_JOB = "__ASSET_JOB"
# After a clean-up that failed, before the next.
CLEAN_UP_REST_SECONDS = 900


@sensor(
    jobs=[retire_accounts, bootstrap_account],
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description=(
        "Keeps the account partitions equal to the registry, has new accounts scanned for the first time, and cleans"
        " up after accounts that left."
    ),
)
def account_partitions(context: SensorEvaluationContext, store: StoreResource) -> SensorResult:
    """Add, delete, scan what is new, clean up.

    The cursor holds the accounts whose first scan was requested and has not begun.
    """
    tables = store.open()
    accounts = tables.accounts.all()
    active = [account for account in accounts if account.active]
    to_add, to_delete = out_of_step(context.instance, active)
    changes: list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest] = []
    if to_add:
        changes.append(ACCOUNTS.build_add_request(to_add))
    if to_delete:
        changes.append(ACCOUNTS.build_delete_request(to_delete))
    requests: list[RunRequest] = []
    asked = (context.cursor or "").split()
    if settings().bootstrap_new_accounts:
        # The order of partitions once the changes are made: that of the ranges of runs.
        kept = [name for name in context.instance.get_dynamic_partitions(ACCOUNTS_NAME) if name not in to_delete]
        requests, asked = first_scans(context.instance, tables, active, [*kept, *to_add], asked)
    if any(not account.active and account.retired_ms is None for account in accounts):
        requests += _clean_up(context.instance)
    nothing = SkipReason(f"{len(active)} accounts are active; there is nothing to change.")
    return SensorResult(
        dynamic_partitions_requests=changes,
        run_requests=requests,
        skip_reason=None if requests or changes else nothing,
        cursor=" ".join(asked),
    )


def _clean_up(instance: DagsterInstance) -> Iterator[RunRequest]:
    """A run that cleans up, unless one is under way or has failed just now."""
    records = instance.get_run_records(RunsFilter(job_name=retire_accounts.name), limit=1)
    for last in records:
        rest = CLEAN_UP_REST_SECONDS if last.dagster_run.status is DagsterRunStatus.FAILURE else 0
        if not last.dagster_run.is_finished or (last.end_time or 0) + rest > now_ms() / SECOND_MS:
            return
    yield RunRequest(job_name=retire_accounts.name)


def _sum_up(context: RunStatusSensorContext, store: StoreResource) -> Iterator[RunRequest | SkipReason]:
    """Launch the roll-up once the last run of a scan has ended, however it ended."""
    run = context.dagster_run
    assets = {key for key in run.asset_selection or () if key in _SCANNED}
    scan_id = scan_id_of(run)
    if run.job_name not in scan_jobs() and not (run.job_name == ASSET_JOB and assets):
        yield SkipReason(f"{run.job_name} is not a scan.")
        return
    if not ended_last(context.instance, run):
        yield SkipReason(f"Other runs of scan {scan_id} have not ended, or ended later.")
        return
    # A run that a person started or executed again may be the last of its scan once more: each end is summed up.
    key = f"{scan_id}:{run.run_id}"
    yield RunRequest(run_key=f"{key}:roll-up", job_name=roll_up.name, tags={SCAN_ID: scan_id})
    if THEN in run.tags:
        yield from _follow_up(context, store.open(), key)


def _follow_up(context: RunStatusSensorContext, store: Store, key: str) -> Iterator[RunRequest]:
    """The policy scan of the accounts that were inventoried: of the whole scan, or of a run that is one by itself."""
    run = context.dagster_run
    plan = store.summary.scan(scan_id_of(run)) if CHUNKS in run.tags else None
    if plan is None:
        keys = {name: run.tags[name] for name in (RANGE_START, RANGE_END, PARTITION) if name in run.tags}
        yield RunRequest(run_key=f"{key}:then", job_name=policy_scan.name, tags=keys)
        return
    active = {account.account_id for account in store.accounts.active()}
    accounts = [account_id for account_id in plan.accounts if account_id in active]
    scan_id = f"{ScanKind.POLICY.value}-after-{run.run_id}"
    partitions = context.instance.get_dynamic_partitions(ACCOUNTS_NAME)
    yield from plan_part(store, scan_id, ScanKind.POLICY, accounts, partitions, policy_scan.name)


_SCANNED = {key for asset in (*inventory_assets, policy_findings) for key in asset.keys}
_ENDINGS = {
    DagsterRunStatus.SUCCESS: "scan_succeeded",
    DagsterRunStatus.FAILURE: "scan_failed",
    DagsterRunStatus.CANCELED: "scan_canceled",
}


def _ending_sensor(status: DagsterRunStatus, name: str) -> SensorDefinition:
    return run_status_sensor(
        run_status=status,
        name=name,
        request_jobs=[roll_up, policy_scan],
        minimum_interval_seconds=10,
        default_status=DefaultSensorStatus.RUNNING,
        description=f"Sums up a scan when the last of its runs ends with {status.value}.",
    )(_sum_up)


sensors = [
    account_partitions,
    account_schedules,
    alerts,
    ended_mutes,
    *(_ending_sensor(status, name) for status, name in _ENDINGS.items()),
]
