"""Findings whose mute has ended come back within minutes, not with the next full policy scan."""

from collections.abc import Iterable
from hashlib import blake2b

from dagster import DefaultSensorStatus, SensorEvaluationContext, SensorResult, SkipReason, sensor

from qrie_dagster.defs.jobs import policy_scan
from qrie_dagster.defs.partitions import bring_in_step
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.defs.scan_runs import plan_part
from qrie_dagster.models import ScanKind
from qrie_dagster.mute_changes import overdue
from qrie_dagster.times import as_datetime, now_ms


@sensor(
    job=policy_scan,
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Scans the accounts with findings whose mute has ended: they count, and are told, as open again.",
)
def ended_mutes(context: SensorEvaluationContext, store: StoreResource) -> SensorResult | SkipReason:
    """One policy scan of the accounts concerned; another one after an hour, should it have failed."""
    tables = store.open()
    now = now_ms()
    late = overdue(tables, now)
    if not late.accounts:
        return SkipReason("No finding is muted by a rule that has ended.")
    scan_id = _scan_id(late.rules, now)
    partitions = bring_in_step(context.instance, tables.accounts.active())
    return SensorResult(
        run_requests=plan_part(tables, scan_id, ScanKind.POLICY, late.accounts, partitions, policy_scan.name)
    )


def _scan_id(rules: Iterable[str], now: int) -> str:
    """The same for the same rules within an hour, so that Dagster launches it once."""
    digest = blake2b(" ".join(sorted(rules)).encode(), digest_size=4).hexdigest()
    return f"policy-unmute-{as_datetime(now):%Y%m%dT%H}-{digest}"
