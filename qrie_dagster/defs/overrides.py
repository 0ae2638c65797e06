"""Accounts with a schedule of their own: scans besides those of the whole estate."""

from dagster import DefaultSensorStatus, SensorEvaluationContext, SensorResult, SkipReason, sensor

from qrie_dagster.defs.jobs import full_inventory, policy_scan
from qrie_dagster.defs.partitions import bring_in_step
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.defs.scan_runs import plan_part
from qrie_dagster.models import ScanKind
from qrie_dagster.overrides import due
from qrie_dagster.times import iso, now_ms

_JOBS = {ScanKind.INVENTORY: full_inventory, ScanKind.POLICY: policy_scan}


@sensor(
    jobs=list(_JOBS.values()),
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Scans the accounts whose own schedule ticked; 'qrie accounts schedule' sets one.",
)
def account_schedules(context: SensorEvaluationContext, store: StoreResource) -> SensorResult | SkipReason:
    """One scan per tick, one run per chunk of the accounts that tick together.

    The cursor is how far ticks were looked at (ms). It moves together with the runs that are launched, and a run key
    names accounts and tick: no tick is lost while the daemon is down, and none is scanned twice.
    """
    now = now_ms()
    if context.cursor is None:
        return SensorResult(skip_reason=f"Ticks are followed from {iso(now)} on.", cursor=str(now))
    # Clocks may be set back: then nothing is due until they have caught up.
    since = int(context.cursor)
    tables = store.open()
    active = tables.accounts.active()
    groups = list(due(active, since, now))
    if not groups:
        count = sum(bool(account.schedule_overrides) for account in active)
        reason = SkipReason(f"None of {count} accounts with a schedule of their own is due.")
        return SensorResult(skip_reason=reason, cursor=str(max(since, now)))
    partitions = bring_in_step(context.instance, active)
    requests = [
        request
        for group in groups
        for request in plan_part(tables, group.scan_id, group.kind, group.accounts, partitions, _JOBS[group.kind].name)
    ]
    return SensorResult(run_requests=requests, cursor=str(max(since, now)))
