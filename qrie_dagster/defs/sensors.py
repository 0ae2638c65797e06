"""What follows from what: partitions and first scans from the registry; and all other sensors."""

from collections.abc import Iterator

from dagster import (
    AddDynamicPartitionsRequest,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    DeleteDynamicPartitionsRequest,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from qrie_dagster.defs.alerts import alerts
from qrie_dagster.defs.ended_mutes import ended_mutes
from qrie_dagster.defs.endings import ending_sensors, overlooked_scans
from qrie_dagster.defs.jobs import bootstrap_account, retire_accounts
from qrie_dagster.defs.onboarding import first_scans
from qrie_dagster.defs.overrides import account_schedules
from qrie_dagster.defs.partitions import ACCOUNTS, ACCOUNTS_NAME, out_of_step
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.settings import settings
from qrie_dagster.times import SECOND_MS, now_ms

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


sensors = [
    account_partitions,
    account_schedules,
    alerts,
    ended_mutes,
    *ending_sensors,
    overlooked_scans,
]
