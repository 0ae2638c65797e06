"""A finding as an OCSF 1.5 Compliance Finding (class 2003)."""

from datetime import datetime
from importlib.metadata import version
from typing import Any

from qrie_dagster.dashboard.answers import FindingRow
from qrie_dagster.findings import Reason, State
from qrie_dagster.policies.policy import Policy
from qrie_dagster.times import as_ms

OCSF_VERSION = "1.5.0"
CLASS = 2003
# Create for an open finding, Close for a resolved one.
ACTIVITY = {State.ACTIVE: (1, "Create"), State.RESOLVED: (3, "Close")}
STATUS = {State.ACTIVE: (1, "New"), State.RESOLVED: (4, "Resolved")}
SUPPRESSED = (3, "Suppressed")
SEVERITY = {"critical": (5, "Critical"), "high": (4, "High"), "medium": (3, "Medium"), "low": (2, "Low")}


def compliance_finding(row: FindingRow, policy: Policy | None) -> dict[str, Any]:
    """One event; ``policy`` as it is launched, None if there is no such policy any more."""
    activity_id, activity = ACTIVITY[row.state]
    status_id, status = SUPPRESSED if row.muted else STATUS[row.state]
    severity_id, severity = SEVERITY[row.severity_band]
    partition, region = _where(row.arn)
    return {
        "activity_id": activity_id,
        "activity_name": activity,
        "category_name": "Findings",
        "category_uid": 2,
        "class_name": "Compliance Finding",
        "class_uid": CLASS,
        "type_uid": CLASS * 100 + activity_id,
        "type_name": f"Compliance Finding: {activity}",
        "time": _ms(row.last_evaluated),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "status_detail": row.resolved_reason or row.mute_reason or "",
        "message": policy.description if policy else row.policy,
        "metadata": {
            "version": OCSF_VERSION,
            "profiles": ["cloud"],
            "product": {"name": "qrie", "vendor_name": "qrie", "version": version("qrie-dagster")},
            "event_code": row.policy,
        },
        "cloud": {
            "provider": "AWS",
            "region": region,
            "account": {"uid": row.account_id, "name": row.account_id, "type": "AWS Account", "type_id": 10},
        },
        "finding_info": {
            "uid": f"{row.policy}:{row.account_id}:{row.arn}",
            "title": row.policy,
            "desc": policy.description if policy else "",
            "types": [policy.category.value] if policy else [],
            "first_seen_time": _ms(row.first_seen),
            "created_time": _ms(row.first_seen),
            "modified_time": _ms(row.last_evaluated),
        },
        "compliance": _compliance(row, policy),
        "remediation": {"desc": policy.remediation if policy else ""},
        "resources": [
            {
                "uid": row.arn,
                "name": row.arn.rsplit(":", 1)[-1],
                "type": policy.resource_type if policy else row.service,
                "region": region,
                "cloud_partition": partition,
                "data": {"evidence": row.evidence},
            }
        ],
        "unmapped": {"severity": row.severity},
    }


def _compliance(row: FindingRow, policy: Policy | None) -> dict[str, Any]:
    controls = list(policy.controls) if policy else []
    passed = row.resolved_reason is Reason.COMPLIANT
    status_id, status = (3, "Fail") if row.state is State.ACTIVE else (1, "Pass") if passed else (0, "Unknown")
    return {
        "control": row.policy,
        "requirements": controls,
        "standards": sorted({control.split()[0] for control in controls}),
        "status_id": status_id,
        "status": status,
    }


def _where(arn: str) -> tuple[str, str]:
    parts = [*arn.split(":"), "", "", "", ""]
    return parts[1] or "aws", parts[3] or "global"


def _ms(time: str) -> int:
    return as_ms(datetime.fromisoformat(time))
