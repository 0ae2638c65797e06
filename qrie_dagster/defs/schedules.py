"""The beat of the loop: a full inventory every week, a full policy scan every day, a look at its health every hour."""

from collections.abc import Sequence

from dagster import DefaultScheduleStatus, RunRequest, ScheduleEvaluationContext, SkipReason, schedule

from qrie_dagster.defs.jobs import full_inventory, health_checks, policy_scan
from qrie_dagster.defs.partitions import bring_in_step
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.defs.scan_runs import chunk_requests, plan_scan, tick_scan_id
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import ScanKind
from qrie_dagster.settings import settings

NOBODY = SkipReason("No account is active, so nothing was scanned: 'qrie accounts add' registers one.")


def _whole_estate(
    context: ScheduleEvaluationContext, store: StoreResource, kind: ScanKind
) -> Sequence[RunRequest] | SkipReason:
    tables = store.open()
    active = tables.accounts.active()
    partitions = bring_in_step(context.instance, active)
    if not active:
        return NOBODY
    tick = context.scheduled_execution_time
    accounts = [account.account_id for account in active]
    plan_scan(tables, kind, tick, accounts, list(all_services()))
    return chunk_requests(tick_scan_id(kind, tick), partitions, accounts)


@schedule(
    job=full_inventory,
    cron_schedule=settings().inventory_cron,
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="The full inventory of every active account.",
)
def weekly_inventory(context: ScheduleEvaluationContext, store: StoreResource) -> Sequence[RunRequest] | SkipReason:
    """One run per chunk of accounts."""
    return _whole_estate(context, store, ScanKind.INVENTORY)


@schedule(
    job=policy_scan,
    cron_schedule=settings().policy_cron,
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="The full policy scan of every active account, over its last good inventory.",
)
def daily_policy_scan(context: ScheduleEvaluationContext, store: StoreResource) -> Sequence[RunRequest] | SkipReason:
    """One run per chunk of accounts."""
    return _whole_estate(context, store, ScanKind.POLICY)


@schedule(
    job=health_checks,
    cron_schedule="30 * * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Evaluates the asset checks, so that what grows old is seen while no scan runs.",
)
def hourly_health() -> RunRequest:
    """One run."""
    return RunRequest()


schedules = [weekly_inventory, daily_policy_scan, hourly_health]
