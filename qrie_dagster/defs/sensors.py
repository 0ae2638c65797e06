"""What follows from what: partitions from the registry, the roll-up from the end of a scan."""

from collections.abc import Iterator

from dagster import (
    AddDynamicPartitionsRequest,
    DagsterRunStatus,
    DefaultSensorStatus,
    DeleteDynamicPartitionsRequest,
    RunRequest,
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
from qrie_dagster.defs.jobs import policy_scan, retire_accounts, roll_up, scan_jobs
from qrie_dagster.defs.overrides import account_schedules
from qrie_dagster.defs.partitions import ACCOUNTS, out_of_step
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.defs.scan_runs import scan_ended, scan_id_of
from qrie_dagster.scan_tags import CHUNKS, RANGE_END, RANGE_START, SCAN_ID, THEN

# Runs of assets that a person started from Dagster's asset pages.
ASSET_JOB = "__ASSET_JOB"


@sensor(
    job=retire_accounts,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Keeps the account partitions equal to the registry, and cleans up after accounts that left.",
)
def account_partitions(context: SensorEvaluationContext, store: StoreResource) -> SensorResult | SkipReason:
    """Add, delete, clean up."""
    accounts = store.open().accounts.all()
    to_add, to_delete = out_of_step(context.instance, [account for account in accounts if account.active])
    left = [account for account in accounts if not account.active and account.retired_ms is None]
    if not (to_add or to_delete or left):
        return SkipReason(f"{sum(account.active for account in accounts)} partitions are in step with the registry.")
    requests: list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest] = []
    if to_add:
        requests.append(ACCOUNTS.build_add_request(to_add))
    if to_delete:
        requests.append(ACCOUNTS.build_delete_request(to_delete))
    return SensorResult(
        dynamic_partitions_requests=requests,
        run_requests=[
            RunRequest(run_key=f"{account.account_id}:{context.last_tick_completion_time}") for account in left[:1]
        ],
    )


def _sum_up(context: RunStatusSensorContext) -> Iterator[RunRequest | SkipReason]:
    """Launch the roll-up once the last run of a scan has ended, however it ended."""
    run = context.dagster_run
    assets = {key for key in run.asset_selection or () if key in _SCANNED}
    if run.job_name not in scan_jobs() and not (run.job_name == ASSET_JOB and assets):
        yield SkipReason(f"{run.job_name} is not a scan.")
        return
    if not scan_ended(context.instance, run):
        yield SkipReason(f"Other runs of scan {scan_id_of(run)} have not ended.")
        return
    scan_id = scan_id_of(run)
    # A run started by a person may be followed by others of the same backfill: each end is summed up.
    key = scan_id if CHUNKS in run.tags else f"{scan_id}:{run.run_id}"
    yield RunRequest(run_key=f"{key}:roll-up", job_name=roll_up.name, tags={SCAN_ID: scan_id})
    if THEN in run.tags:
        yield _follow_up(context, run_key=f"{key}:then")


def _follow_up(context: RunStatusSensorContext, run_key: str) -> RunRequest:
    """The policy scan of the accounts that this run has inventoried."""
    tags = context.dagster_run.tags
    keys = {name: tags[name] for name in (RANGE_START, RANGE_END, "dagster/partition") if name in tags}
    return RunRequest(run_key=run_key, job_name=policy_scan.name, tags=keys)


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
