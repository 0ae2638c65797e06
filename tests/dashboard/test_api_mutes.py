"""Muting over the API: rules in, findings set apart, in every list, number and file."""

import csv
import json
from io import StringIO
from typing import Any

import jsonschema
import pytest
from dashboard_client import all_rows
from dashboard_seed import Seeded, seed
from py_ocsf_models.events.findings.compliance_finding import ComplianceFinding
from starlette.testclient import TestClient
from test_exports import SARIF

from qrie_dagster.store import Store
from qrie_dagster.times import HOUR_MS, iso, now_ms

POLICY = "S3BucketPublic"
WHY = {"reason": "=known", "author": "Ann"}


@pytest.fixture
def estate(own_store: Store) -> Seeded:
    """Two accounts with a few resources each, all policies launched."""
    return seed(own_store, now_ms(), accounts_count=2, per_service=3, share=0.8)


def opened(estate: Seeded, policy: str = POLICY) -> list[tuple[str, str]]:
    return sorted(finding.key for finding in estate.findings if finding.open and finding.policy == policy)


def keys(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((row["arn"], row["policy"]) for row in rows)


def test_muting_and_unmuting(own_api: TestClient, estate: Seeded) -> None:
    before = own_api.get("/summary/findings").json()
    expires = iso(now_ms() + HOUR_MS)
    answer = own_api.post("/mutes", json={**WHY, "policy": POLICY, "expires_at": expires})
    assert answer.status_code == 201
    mute = answer.json()
    assert mute["message"].startswith(f"{len(opened(estate))} findings are muted")
    assert (mute["policy"], mute["expires_at"], mute["ended"]) == (POLICY, expires, False)
    (listed,) = own_api.get("/mutes").json()
    assert listed == {name: value for name, value in mute.items() if name != "message"}
    assert listed["findings"] == len(opened(estate)) > 0

    rows = all_rows(own_api, "/findings", "findings", muted=True)
    assert keys(rows) == opened(estate)
    assert {(row["state"], row["muted"], row["mute_id"], row["mute_reason"]) for row in rows} == {
        ("ACTIVE", True, mute["id"], "=known")
    }
    others = all_rows(own_api, "/findings", "findings", muted=False)
    assert {(row["muted"], row["mute_id"]) for row in others} == {(False, None)}
    assert len(rows) + len(others) == len(estate.findings)
    row = rows[0]
    one = own_api.get("/findings", params={"arn": row["arn"], "muted": True}).json()["findings"]
    assert row in one

    muted = own_api.get("/summary/findings").json()
    assert muted["muted_findings"] == len(rows)
    assert muted["open_findings"] == before["open_findings"] - len(rows)
    assert muted["total_findings"] == before["total_findings"]
    assert muted["critical_findings"] == before["critical_findings"] - len(rows)
    board = own_api.get("/summary/dashboard").json()
    assert (board["total_open_findings"], board["muted_findings"]) == (muted["open_findings"], len(rows))
    assert board["findings_weekly"][-1]["open_findings"] == muted["open_findings"]
    (policy,) = own_api.get("/policies", params={"policy_id": POLICY}).json()
    assert (policy["open_findings"], policy["muted_findings"]) == (0, len(rows))

    answer = own_api.delete(f"/mutes/{mute['id']}")
    assert (answer.status_code, answer.json()["findings_unmuted"]) == (200, len(rows))
    assert own_api.get("/summary/findings").json() == before
    assert own_api.get("/mutes").json() == []
    assert own_api.delete(f"/mutes/{mute['id']}").status_code == 404


def test_a_single_finding(own_api: TestClient, estate: Seeded) -> None:
    arn, policy = opened(estate)[0]
    assert own_api.post("/mutes", json={**WHY, "policy": policy, "arn": arn}).json()["findings"] == 1
    assert keys(all_rows(own_api, "/findings", "findings", muted=True)) == [(arn, policy)]


def test_a_suspended_policy_resolves_muted_findings_too(own_api: TestClient, estate: Seeded) -> None:
    own_api.post("/mutes", json={**WHY, "policy": POLICY})
    own_api.put(f"/policies/{POLICY}", json={"status": "suspended"})
    assert own_api.get("/findings", params={"muted": True}).json()["findings"] == []
    assert own_api.get("/summary/findings").json()["muted_findings"] == 0


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({}, 400, "what it is about"),
        ({"policy": POLICY, "reason": ""}, 400, "reason"),
        ({"policy": POLICY, "reason": "  "}, 400, "needs a reason"),
        ({"policy": POLICY, "author": None}, 400, "author"),
        ({"policy": "Nonsense"}, 404, "Nonsense"),
        ({"account_id": "999999999999"}, 404, "not registered"),
        ({"account_id": "12"}, 400, "account_id"),
        ({"arn": "bucket"}, 400, "ARN pattern"),
        ({"tags": {"team": []}}, 400, "tags"),
        ({"policy": POLICY, "expires_at": "2020-01-01T00:00:00Z"}, 400, "future"),
        ({"policy": POLICY, "expires_at": "9999-12-31T23:59:59-12:00"}, 400, "ten years"),
        ({"policy": POLICY, "expires_at": "2099-01-01"}, 400, "expires_at"),
        ({"policy": POLICY, "colour": "red"}, 400, "colour"),
    ],
)
def test_mutes_that_make_no_sense(own_api: TestClient, body: dict[str, Any], status: int, word: str) -> None:
    answer = own_api.post("/mutes", json={**WHY, **body})
    assert (answer.status_code, word in answer.json()["message"]) == (status, True), answer.text
    assert own_api.get("/mutes").json() == []


def test_exports_carry_it(own_api: TestClient, estate: Seeded) -> None:
    own_api.post("/mutes", json={**WHY, "policy": POLICY})
    wanted = len(opened(estate))

    def export(name: str) -> str:
        return own_api.get("/findings/export", params={"format": name}).text

    rows = [row for row in csv.DictReader(StringIO(export("csv"))) if row["muted"] == "true"]
    assert {(row["policy"], row["mute_reason"]) for row in rows} == {(POLICY, "'=known")}
    assert len(rows) == wanted
    assert sum(row["muted"] for row in json.loads(export("json"))) == wanted

    events = [event for event in json.loads(export("ocsf")) if event["status_id"] == 3]
    assert {(event["status"], event["status_detail"]) for event in events} == {("Suppressed", "=known")}
    assert len(events) == wanted
    ComplianceFinding.model_validate(events[0])

    log = json.loads(export("sarif"))
    jsonschema.validate(log, SARIF)
    results = log["runs"][0]["results"]
    suppressed = [result for result in results if result["suppressions"]]
    assert [result["ruleId"] for result in suppressed] == [POLICY] * wanted
    assert suppressed[0]["suppressions"] == [{"kind": "external", "status": "accepted", "justification": "=known"}]
    assert suppressed[0]["kind"] == "fail"
