"""The end of a scan: its roll-up, and what is to follow it."""

from collections.abc import Iterator

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRecord,
    RunRequest,
    RunsFilter,
    RunStatusSensorContext,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    run_status_sensor,
    sensor,
)

from qrie_dagster.defs.findings import policy_findings
from qrie_dagster.defs.inventory import inventory_assets
from qrie_dagster.defs.jobs import policy_scan, roll_up, scan_jobs
from qrie_dagster.defs.partitions import ACCOUNTS_NAME, PARTITION
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.defs.scan_runs import ended_for_good, last_to_end, plan_part, scan_id_of
from qrie_dagster.models import ScanKind
from qrie_dagster.scan_tags import CHUNKS, RANGE_END, RANGE_START, SCAN_ID, THEN
from qrie_dagster.store import Store
from qrie_dagster.times import DAY_MS, SECOND_MS, as_datetime, now_ms

# Runs of assets that a person started from Dagster's asset pages.
ASSET_JOB = "__ASSET_JOB"
# How far back overlooked scans are looked for, and how long they are left to the sensors that see each end.
OVERLOOKED_MS = 2 * DAY_MS
GRACE_SECONDS = 120


def _sum_up(context: RunStatusSensorContext, store: StoreResource) -> Iterator[RunRequest | SkipReason]:
    """Launch the roll-up once the last run of a scan has ended, however it ended."""
    run = context.dagster_run
    scan_id = scan_id_of(run)
    if not _is_scan(run):
        yield SkipReason(f"{run.job_name} is not a scan.")
        return
    if CHUNKS in run.tags:
        scan_runs = context.instance.get_run_records(RunsFilter(tags={SCAN_ID: scan_id}), ascending=True)
        last = last_to_end(context.instance, (record for record in scan_runs if _is_scan(record.dagster_run)))
    else:
        last = run if ended_for_good(context.instance, run) else None
    if last is None or last.run_id != run.run_id:
        yield SkipReason(f"Other runs of scan {scan_id} have not ended, or ended later.")
        return
    # A run that a person started or executed again may be the last of its scan once more: each end is summed up.
    key = f"{scan_id}:{run.run_id}"
    yield RunRequest(run_key=f"{key}:roll-up", job_name=roll_up.name, tags={SCAN_ID: scan_id})
    if THEN in run.tags:
        yield from _follow_up(run, context.instance, store.open(), key)


def _follow_up_id(run: DagsterRun) -> str:
    """The id of the scan that follows the one which this run was the last of."""
    return f"{ScanKind.POLICY.value}-after-{run.run_id}"


def _follow_up(run: DagsterRun, instance: DagsterInstance, store: Store, key: str) -> Iterator[RunRequest]:
    """The policy scan of the accounts that were inventoried: of the whole scan, or of a run that is one by itself."""
    plan = store.summary.scan(scan_id_of(run)) if CHUNKS in run.tags else None
    if plan is None:
        keys = {name: run.tags[name] for name in (RANGE_START, RANGE_END, PARTITION) if name in run.tags}
        keys[SCAN_ID] = _follow_up_id(run)
        yield RunRequest(run_key=f"{key}:then", job_name=policy_scan.name, tags=keys)
        return
    active = {account.account_id for account in store.accounts.active()}
    accounts = [account_id for account_id in plan.accounts if account_id in active]
    partitions = instance.get_dynamic_partitions(ACCOUNTS_NAME)
    yield from plan_part(store, _follow_up_id(run), ScanKind.POLICY, accounts, partitions, policy_scan.name)


_SCANNED = {key for asset in (*inventory_assets, policy_findings) for key in asset.keys}
_ENDINGS = {
    DagsterRunStatus.SUCCESS: "scan_succeeded",
    DagsterRunStatus.FAILURE: "scan_failed",
    DagsterRunStatus.CANCELED: "scan_canceled",
}


def _is_scan(run: DagsterRun) -> bool:
    """Whether a run belongs to a scan, be it one that a person started from an asset's page."""
    assets = run.job_name == ASSET_JOB and not _SCANNED.isdisjoint(run.asset_selection or ())
    return assets or run.job_name in scan_jobs()


def _ending_sensor(status: DagsterRunStatus, name: str) -> SensorDefinition:
    return run_status_sensor(
        run_status=status,
        name=name,
        request_jobs=[roll_up, policy_scan],
        minimum_interval_seconds=10,
        default_status=DefaultSensorStatus.RUNNING,
        description=f"Sums up a scan when the last of its runs ends with {status.value}.",
    )(_sum_up)


ending_sensors = [_ending_sensor(status, name) for status, name in _ENDINGS.items()]


@sensor(
    jobs=[roll_up, policy_scan],
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Sums up scans of the last two days that ended and were not, whatever was in the way.",
)
def overlooked_scans(context: SensorEvaluationContext, store: StoreResource) -> Iterator[RunRequest | SkipReason]:
    """Look at the runs themselves. The sensors above are quicker, but see each end once.

    They may look in the moment in which Dagster has not said yet whether it will try a run again, and a roll-up may
    fail as often as it is tried, because DynamoDB is away. Asked for every hour until it is done.
    """
    now = now_ms()
    scans: dict[str, list[RunRecord]] = {}
    summed_up: dict[str, float] = {}
    since = as_datetime(now - OVERLOOKED_MS)
    for record in context.instance.get_run_records(RunsFilter(created_after=since), ascending=True):
        run = record.dagster_run
        if _is_scan(run):
            scans.setdefault(scan_id_of(run), []).append(record)
        elif run.job_name == roll_up.name and run.status not in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
            summed_up[run.tags.get(SCAN_ID, "")] = record.create_timestamp.timestamp()
    overlooked = 0
    for scan_id, records in scans.items():
        last = last_to_end(context.instance, records)
        ended = max(record.end_time or 0 for record in records)
        if last and summed_up.get(scan_id, 0) < ended < now / SECOND_MS - GRACE_SECONDS:
            overlooked += 1
            key = f"{scan_id}:{last.run_id}:overlooked:{as_datetime(now):%Y%m%dT%H}"
            yield RunRequest(run_key=key, job_name=roll_up.name, tags={SCAN_ID: scan_id})
            if THEN in last.tags and _follow_up_id(last) not in scans:
                yield from _follow_up(last, context.instance, store.open(), key)
    if not overlooked:
        yield SkipReason(f"None of {len(scans)} scans was overlooked.")
