"""Findings as files: complete, well-formed, and harmless to the programs that open them."""

import csv
import json
from io import StringIO
from typing import Any

import jsonschema
import pytest
from dashboard_seed import Seeded, seed
from py_ocsf_models.events.findings.compliance_finding import ComplianceFinding
from starlette.testclient import TestClient

from qrie_dagster.dashboard.answers import FindingRow
from qrie_dagster.dashboard.export import FORMATS, write_csv
from qrie_dagster.policies.policy import all_policies
from qrie_dagster.store import Store
from qrie_dagster.times import now_ms


def export(api: TestClient, name: str, **filters: str) -> str:
    answer = api.get("/findings/export", params={"format": name, **filters})
    assert answer.status_code == 200, answer.text
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="qrie-findings-')
    assert disposition.endswith(f'.{FORMATS[name].suffix}"')
    return answer.text


def wanted(seeded: Seeded) -> list[tuple[str, str]]:
    return sorted(finding.key for finding in seeded.findings)


def test_csv(api: TestClient, seeded: Seeded) -> None:
    rows = list(csv.DictReader(StringIO(export(api, "csv"))))
    assert sorted((row["arn"], row["policy"]) for row in rows) == wanted(seeded)
    assert json.loads(rows[0]["evidence"])["Facts"]


def a_row(**changes: Any) -> FindingRow:
    values: dict[str, Any] = {
        "arn": "arn:aws:s3:::x",
        "policy": "S3BucketPublic",
        "account_service": "111122223333_s3",
        "severity": 90,
        "state": "ACTIVE",
        "first_seen": "2025-01-01T00:00:00.000Z",
        "last_evaluated": "2025-01-01T00:00:00.000Z",
        "evidence": {},
        "account_id": "111122223333",
        "service": "s3",
        "severity_band": "critical",
        "described_at": "2025-01-01T00:00:00.000Z",
        "resolved_at": None,
        "resolved_reason": None,
        "console_url": None,
        "dagster_url": "",
    }
    return FindingRow(**{**values, **changes})


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_a_formula(start: str) -> None:
    formula = f'{start}HYPERLINK("http://evil.example")'
    text = "".join(write_csv([a_row(arn=formula)], all_policies()))
    (row,) = csv.DictReader(StringIO(text, newline=""))
    assert row["arn"] == f"'{formula}"


def test_json(api: TestClient, seeded: Seeded) -> None:
    rows = json.loads(export(api, "json"))
    assert sorted((row["arn"], row["policy"]) for row in rows) == wanted(seeded)


def test_ocsf(api: TestClient, seeded: Seeded) -> None:
    events = json.loads(export(api, "ocsf"))
    assert len(events) == len(seeded.findings)
    for event in events:
        ComplianceFinding.model_validate(event)
    uids = [event["finding_info"]["uid"] for event in events]
    assert len(set(uids)) == len(uids)


def test_sarif(api: TestClient, seeded: Seeded) -> None:
    log = json.loads(export(api, "sarif"))
    jsonschema.validate(log, SARIF)
    (run,) = log["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(all_policies())
    assert len(run["results"]) == len(seeded.findings)
    assert {result["level"] for result in run["results"] if result["kind"] != "fail"} == {"none"}


@pytest.mark.parametrize("name", list(FORMATS))
def test_nothing_to_export_is_a_file_as_well(api: TestClient, name: str) -> None:
    text = export(api, name, severity="0")
    assert text.splitlines()[0].startswith("arn,") if name == "csv" else json.loads(text) is not None


def test_exports_are_filtered(api: TestClient, seeded: Seeded) -> None:
    rows = json.loads(export(api, "json", state="ACTIVE", severity="critical", account="222233334444"))
    found = [f for f in seeded.findings if f.open and f.severity >= 90 and f.account_service.startswith("2222")]
    assert len(rows) == len(found)


def test_exports_of_one_resource(api: TestClient, seeded: Seeded) -> None:
    arn = seeded.findings[0].arn
    rows = json.loads(export(api, "json", arn=arn))
    assert sorted((row["arn"], row["policy"]) for row in rows) == sorted(f.key for f in seeded.findings if f.arn == arn)
    assert json.loads(export(api, "json", arn=arn, account="999999999999")) == []


def test_exports_say_what_people_said_of_the_policy(own_api: TestClient, own_store: Store) -> None:
    policy = "S3BucketPublic"
    seed(own_store, now_ms(), accounts_count=1, per_service=3, share=1.0)
    own_api.put(f"/policies/{policy}", json={"remediation": "Call the platform team.", "severity": 20})
    events = {event["metadata"]["event_code"]: event for event in json.loads(export(own_api, "ocsf"))}
    assert events[policy]["remediation"]["desc"] == "Call the platform team."
    assert events["EC2UnencryptedEBS"]["remediation"]["desc"] == all_policies()["EC2UnencryptedEBS"].remediation
    rules = {rule["id"]: rule for rule in json.loads(export(own_api, "sarif"))["runs"][0]["tool"]["driver"]["rules"]}
    assert rules[policy]["help"]["text"] == "Call the platform team."
    assert (rules[policy]["defaultConfiguration"]["level"], rules[policy]["properties"]["security-severity"]) == (
        "note",
        "2.0",
    )


def test_a_format_nobody_knows(api: TestClient) -> None:
    assert api.get("/findings/export", params={"format": "xlsx"}).status_code == 400


# What of SARIF 2.1.0 these files use, as its schema has it.
TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "required": ["tool", "results"],
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name"],
                                "properties": {
                                    "rules": {
                                        "uniqueItems": True,
                                        "items": {
                                            "required": ["id"],
                                            "properties": {
                                                "shortDescription": TEXT,
                                                "fullDescription": TEXT,
                                                "help": TEXT,
                                                "defaultConfiguration": {
                                                    "properties": {
                                                        "level": {"enum": ["none", "note", "warning", "error"]}
                                                    }
                                                },
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "items": {
                            "required": ["message", "ruleId"],
                            "properties": {
                                "message": TEXT,
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "kind": {"enum": ["notApplicable", "pass", "fail", "review", "open", "informational"]},
                                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                                "locations": {
                                    "items": {
                                        "properties": {
                                            "physicalLocation": {"required": ["artifactLocation"]},
                                            "logicalLocations": {"type": "array"},
                                        }
                                    }
                                },
                            },
                        }
                    },
                },
            },
        },
    },
}
