"""Findings as a SARIF 2.1.0 log: a rule for each policy, a result for each finding."""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from qrie_dagster.dashboard.answers import FindingRow
from qrie_dagster.findings import Reason, State
from qrie_dagster.policies.policy import Policy, band

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
SARIF_TAIL = "]}]}\n"


def sarif_head(policies: Iterable[Policy]) -> str:
    """Everything before the first result; ``policies`` as they are launched."""
    driver = {
        "name": "qrie",
        "semanticVersion": version("qrie-dagster"),
        "rules": list(map(_rule, policies)),
    }
    tool = json.dumps({"driver": driver}, ensure_ascii=False)
    return f'{{"$schema":"{SCHEMA}","version":"2.1.0","runs":[{{"tool":{tool},"columnKind":"utf16CodeUnits","results":['


def _rule(policy: Policy) -> dict[str, Any]:
    return {
        "id": policy.id,
        "name": policy.id,
        "shortDescription": {"text": policy.id},
        "fullDescription": {"text": policy.description},
        "help": {"text": policy.remediation},
        "defaultConfiguration": {"level": LEVELS[band(policy.severity)]},
        "properties": {
            # What GitHub sorts by: 0.0 to 10.0.
            "security-severity": f"{policy.severity / 10:.1f}",
            "tags": ["security", policy.category.value, *policy.controls],
        },
    }


def sarif_result(row: FindingRow) -> dict[str, Any]:
    """One finding. A resource is no file: its ARN stands for the path."""
    identity = hashlib.sha256(f"{row.policy}\n{row.account_id}\n{row.arn}".encode()).hexdigest()
    is_open = row.state is State.ACTIVE
    justification = {"justification": row.mute_reason} if row.mute_reason else {}
    return {
        "ruleId": row.policy,
        # Only what fails has a level.
        "level": LEVELS[row.severity_band] if is_open else "none",
        "kind": "fail" if is_open else "pass" if row.resolved_reason is Reason.COMPLIANT else "notApplicable",
        "message": {"text": f"{row.policy} on {row.arn}: {json.dumps(row.evidence, ensure_ascii=False)}"},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": quote(row.arn, safe="/")}},
                "logicalLocations": [{"fullyQualifiedName": row.arn, "kind": "resource"}],
            }
        ],
        # An empty list says that it is known not to be suppressed.
        "suppressions": [{"kind": "external", "status": "accepted", **justification}] if row.muted else [],
        "partialFingerprints": {"finding/v1": identity},
        "properties": {
            "account": row.account_id,
            "severity": row.severity,
            "state": row.state.value,
            "firstSeen": row.first_seen,
            "resolvedAt": row.resolved_at,
            "resolvedReason": row.resolved_reason,
        },
    }
