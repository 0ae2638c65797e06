"""What the dashboard and ``qrie status`` show: a few records read, ages computed from now."""

from collections.abc import Mapping
from typing import Any

from qrie_dagster.drift import LISTED, DriftRules, ScopeAge, judge_drift, stale_scopes
from qrie_dagster.models import ScanKind
from qrie_dagster.store import Store
from qrie_dagster.store.summary import rows_of
from qrie_dagster.summary.records import LAST_SCAN
from qrie_dagster.summary.rollup import DASHBOARD, HISTORY
from qrie_dagster.summary.totals import FindingTotals
from qrie_dagster.summary.trend import weekly
from qrie_dagster.times import age_hours, as_datetime

TOP_POLICIES = 10
_SCAN_FIELDS = {
    ScanKind.INVENTORY: ("duration_ms", "resources_found"),
    ScanKind.POLICY: ("duration_ms", "processed_resources", "findings_created", "findings_closed"),
}
_REPAIRED = {
    ScanKind.INVENTORY: ("resources_created", "resources_updated", "resources_deleted"),
    ScanKind.POLICY: ("skipped_resources",),
}


def dashboard(store: Store, rules: DriftRules, now: int) -> dict[str, Any]:
    """The answer of ``GET /summary/dashboard``, in at most two requests, however large the estate."""
    records = store.summary.get_whole([DASHBOARD, HISTORY, *LAST_SCAN.values()])
    board = records.get(DASHBOARD, {})
    findings = FindingTotals(**board.get("findings", {}))
    weeks = weekly(findings, now)
    month = as_datetime(now).strftime("%Y-%m")
    launched = [as_datetime(ms).strftime("%Y-%m") for ms in board.get("policies_launched", ())]
    policies = sorted(findings.policies.items(), key=lambda item: (-item[1].open, -item[1].severity, item[0]))
    return {
        "total_open_findings": findings.open,
        "critical_open_findings": findings.bands.get("critical", 0),
        "high_open_findings": findings.bands.get("high", 0),
        "muted_findings": findings.muted,
        "resolved_this_month": sum(day.closed for date, day in findings.days.items() if date.startswith(month)),
        "active_policies": board.get("active_policies", 0),
        "resources": sum(board.get("resource_types", {}).values()),
        "accounts": board.get("accounts", 0),
        "policies_launched_this_month": launched.count(month),
        "findings_weekly": weeks,
        "top_policies": [
            {"policy_id": name, "open_findings": totals.open, "severity": totals.severity}
            for name, totals in policies[:TOP_POLICIES]
            if totals.open
        ],
        "anti_entropy": anti_entropy(records, rules, now),
    }


def anti_entropy(records: Mapping[str, Mapping[str, Any]], rules: DriftRules, now: int) -> dict[str, Any]:
    """The state of the loop, from the records of ``qrie_summary``. Ages are of ``now`` (ms)."""
    last = {kind: records.get(type_) for kind, type_ in LAST_SCAN.items()}
    board = records.get(DASHBOARD, {})
    ended = {kind: record["timestamp_ms"] if record else None for kind, record in last.items()}
    drift = judge_drift(rules, ended, board.get("accounts", 0), now)
    ages = [ScopeAge(ScanKind(kind), *rest) for kind, *rest in rows_of(board, "scope_ages")]
    stale = stale_scopes(rules, {(age.kind, age.account_id, age.service): age for age in ages}.values(), now)
    return {
        **{LAST_SCAN[kind]: _scan(kind, record, now) for kind, record in last.items()},
        "drift_detected": drift.detected,
        "inventory_drift": drift.inventory,
        "policy_drift": drift.policy,
        "drift_reasons": list(drift.reasons),
        "thresholds": {"inventory_hours": rules.inventory_hours, "policy_hours": rules.policy_hours},
        "stale_scopes": {
            "count": len(stale),
            "oldest": stale[0].as_record(now) if stale else None,
            "first": [scope.as_record(now) for scope in stale[:LISTED]],
        },
        "history": records.get(HISTORY, {}).get("scans", []),
    }


def _scan(kind: ScanKind, record: Mapping[str, Any] | None, now: int) -> dict[str, Any]:
    fields = (*_SCAN_FIELDS[kind], *_REPAIRED[kind], "scan_id", "scan_type", "failed_scopes")
    if record is None:
        return {"timestamp_ms": None, "age_hours": None, **dict.fromkeys(fields)}
    return {
        "timestamp_ms": record["timestamp_ms"],
        "age_hours": age_hours(record["timestamp_ms"], now),
        **{name: record.get(name) for name in fields},
    }
