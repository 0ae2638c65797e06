"""The reading half of the API: each route, its filters, its pages."""

import itertools
import json
from collections import Counter
from typing import Any

import pytest
from dashboard_client import all_rows
from dashboard_seed import SCRIPT, Seeded
from starlette.testclient import TestClient

from qrie_dagster.findings import State
from qrie_dagster.inventory.services import all_services
from qrie_dagster.policies.policy import all_policies, band
from qrie_dagster.settings import Settings
from qrie_dagster.store import open_store
from qrie_dagster.times import iso, now_ms

ACCOUNT = "222233334444"


def keys(findings: list[Any]) -> list[tuple[str, str]]:
    return sorted((finding["arn"], finding["policy"]) for finding in findings)


def test_healthz_answers_only_if_the_store_does(api: TestClient, seeded_settings: Settings) -> None:
    from dashboard_client import client_of

    assert api.get("/healthz").json() == {"status": "ok"}
    nowhere = seeded_settings.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
    answer = client_of(nowhere).get("/healthz")
    assert answer.status_code == 503
    assert "DynamoDB does not answer" in answer.json()["message"]


def test_healthz_says_that_tables_are_missing(api: TestClient, seeded_settings: Settings) -> None:
    from dashboard_client import client_of

    answer = client_of(seeded_settings.model_copy(update={"table_prefix": "other_"})).get("/healthz")
    assert (answer.status_code, "qrie tables create" in answer.json()["message"]) == (503, True)


def test_links_lead_to_where_people_reach_dagster(seeded_settings: Settings, seeded: Seeded) -> None:
    from dashboard_client import client_of

    api = client_of(seeded_settings.model_copy(update={"dagster_link": "https://dagster.example/"}))
    scan_id = api.get("/scans").json()["scans"][0]["scan_id"]
    stored = seeded.resources[0]
    links = [
        api.get("/session").json()["dagster_url"],
        api.get("/accounts").json()[0]["dagster_url"],
        api.get(f"/scans/{scan_id}").json()["dagster_url"],
        api.get("/findings").json()["findings"][0]["dagster_url"],
        api.get(f"/resources/{stored.account_service}", params={"arn": stored.arn}).json()["dagster_url"],
    ]
    assert [link.split("example")[0] for link in links] == ["https://dagster."] * 5
    assert not any("example//" in link for link in links)


def test_accounts(api: TestClient, seeded: Seeded) -> None:
    rows = api.get("/accounts").json()
    assert [row["account_id"] for row in rows] == [account.account_id for account in seeded.accounts]
    assert rows[0]["ou"] == "/prod/payments"
    assert {row["onboarding"] for row in rows} == {"ready"}
    assert rows[0]["last_inventory_at"].endswith("Z")


def test_services(api: TestClient) -> None:
    rows = api.get("/services", params={"supported": "true"}).json()
    assert {row["service_name"]: row["display_name"] for row in rows}["s3"] == "Amazon S3"
    assert [row["service_name"] for row in rows] == list(all_services())


@pytest.mark.parametrize("size", [1, 7, 100])
def test_pages_of_findings_lose_and_double_none(api: TestClient, seeded: Seeded, size: int) -> None:
    rows = all_rows(api, "/findings", "findings", page_size=size)
    assert keys(rows) == sorted(finding.key for finding in seeded.findings)
    assert [row["account_service"] for row in rows] == sorted(row["account_service"] for row in rows)


@pytest.mark.parametrize("account", [None, ACCOUNT])
@pytest.mark.parametrize("policy", [None, "S3BucketPublic"])
@pytest.mark.parametrize("state", [None, "ACTIVE", "RESOLVED"])
@pytest.mark.parametrize("severity", [None, "critical", "high", "60", "low"])
def test_findings_by_every_filter(
    api: TestClient, seeded: Seeded, account: str | None, policy: str | None, state: str | None, severity: str | None
) -> None:
    given = {"account": account, "policy": policy, "state": state, "severity": severity}
    params = {name: value for name, value in given.items() if value}
    wanted = [
        finding.key
        for finding in seeded.findings
        if account in (None, finding.account_service[:12])
        and policy in (None, finding.policy)
        and state in (None, finding.state.value)
        and severity in (None, band(finding.severity), str(finding.severity))
    ]
    assert keys(all_rows(api, "/findings", "findings", page_size=9, **params)) == sorted(wanted)


def test_a_finding_as_clients_know_it(api: TestClient, seeded: Seeded) -> None:
    stored = next(f for f in seeded.findings if f.state is State.RESOLVED and f.policy == "S3BucketPublic")
    (row,) = api.get("/findings", params={"arn": stored.arn, "policy": stored.policy}).json()["findings"]
    assert row["account_service"] == stored.account_service
    assert (row["state"], row["severity"], row["resolved_reason"]) == ("RESOLVED", 90, "COMPLIANT")
    assert row["first_seen"] == iso(stored.first_seen)
    assert row["last_evaluated"] == row["resolved_at"] == iso(stored.resolved_at)
    assert row["evidence"] == {"Reason": SCRIPT, "Facts": ["=1+1", "AWS::S3::Bucket"]}


def test_findings_changed_since(api: TestClient, seeded: Seeded) -> None:
    times = sorted(finding.last_evaluated for finding in seeded.findings)
    since = times[len(times) // 2]
    rows = all_rows(api, "/findings", "findings", changed_since=iso(since))
    assert len(rows) == sum(at >= since for at in times)


def test_the_state_may_be_written_small(api: TestClient) -> None:
    rows = api.get("/findings", params={"state": "active"}).json()["findings"]
    assert {row["state"] for row in rows} == {"ACTIVE"}


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"account": "12"}, "account"),
        ({"state": "OPEN"}, "state"),
        ({"severity": "bad"}, "severity"),
        ({"severity": "101"}, "severity"),
        ({"page_size": 101}, "page_size"),
        ({"page_size": 0}, "page_size"),
        ({"changed_since": "2025-01-01T00:00:00"}, "changed_since"),
        ({"service": "sqs"}, "sqs"),
    ],
)
def test_filters_that_make_no_sense(api: TestClient, params: dict[str, Any], word: str) -> None:
    answer = api.get("/findings", params=params)
    assert answer.status_code == 400
    assert word in answer.json()["message"]


def test_a_policy_nobody_knows(api: TestClient) -> None:
    answer = api.get("/findings", params={"policy": "Nonsense"})
    assert (answer.status_code, "there are: " in answer.json()["message"]) == (404, True)


@pytest.mark.parametrize("size", [3, 100])
def test_pages_of_resources_lose_and_double_none(api: TestClient, seeded: Seeded, size: int) -> None:
    rows = all_rows(api, "/resources", "resources", page_size=size)
    assert sorted(row["arn"] for row in rows) == sorted(resource.arn for resource in seeded.resources)


@pytest.mark.parametrize("account", [None, ACCOUNT])
@pytest.mark.parametrize("kind", ["AWS::S3::Bucket", "AWS::IAM::User", "AWS::S3::AccountPublicAccessBlock"])
def test_resources_by_every_filter(api: TestClient, seeded: Seeded, account: str | None, kind: str) -> None:
    params = {"type": kind, **({"account": account} if account else {})}
    rows = all_rows(api, "/resources", "resources", page_size=4, **params)
    wanted = [r.arn for r in seeded.resources if r.resource_type == kind and account in (None, r.account_id)]
    assert sorted(row["arn"] for row in rows) == sorted(wanted)


def test_a_resource_as_clients_know_it(api: TestClient, seeded: Seeded) -> None:
    stored = seeded.resources[0]
    row = api.get(f"/resources/{stored.account_service}", params={"arn": stored.arn}).json()
    assert row["account_service"] == f"{stored.account_id}_{stored.service}"
    assert row["configuration"] == stored.configuration
    # Not written since, but the last inventory saw it.
    assert row["last_seen_at"] > row["changed_at"]


@pytest.mark.parametrize("path", ["/resources/222233334444_s3", "/resources/nonsense"])
def test_a_resource_that_is_not_there(api: TestClient, path: str) -> None:
    answer = api.get(path, params={"arn": "arn:aws:s3:::nothing"})
    assert (answer.status_code, "not in the inventory" in answer.json()["message"]) == (404, True)


def test_a_type_nobody_knows(api: TestClient) -> None:
    assert api.get("/resources", params={"type": "AWS::No::Thing"}).status_code == 400


def test_forged_page_tokens(api: TestClient) -> None:
    token = api.get("/findings", params={"page_size": 2}).json()["next_token"]
    forged = ["", "x", "é", token[:-2], token[:-1] + ("A" if token[-1] != "A" else "B"), "A" + token[1:], token + "AA"]
    for wrong in forged:
        answer = api.get("/findings", params={"page_size": 2, "next_token": wrong})
        assert answer.status_code == 400, wrong
        assert "next_token" in answer.json()["message"]


def test_a_page_token_is_good_for_its_own_question_only(api: TestClient) -> None:
    token = api.get("/findings", params={"page_size": 2}).json()["next_token"]
    assert api.get("/findings", params={"page_size": 5, "next_token": token}).status_code == 200
    assert api.get("/findings", params={"next_token": token, "state": "ACTIVE"}).status_code == 400
    assert api.get("/resources", params={"next_token": token}).status_code == 400


def test_a_page_token_of_another_server(api: TestClient, seeded_settings: Settings) -> None:
    from dashboard_client import create_app

    other = seeded_settings.model_copy(update={"api_token": type(seeded_settings.api_token)("x" * 20)})
    client = TestClient(create_app(other), headers={"Authorization": "Bearer " + "x" * 20})
    token = client.get("/findings", params={"page_size": 2}).json()["next_token"]
    assert api.get("/findings", params={"next_token": token}).status_code == 400


def test_policies(api: TestClient, seeded: Seeded) -> None:
    rows = api.get("/policies", params={"status": "active"}).json()
    assert [row["policy_id"] for row in rows] == list(all_policies())
    opened = Counter(finding.policy for finding in seeded.findings if finding.open)
    assert {row["policy_id"]: row["open_findings"] for row in rows if row["open_findings"]} == opened
    assert rows[0]["scope"]["include_accounts"] == []
    assert api.get("/policies", params={"status": "available"}).json() == []
    some = api.get("/policies", params={"services": "s3, rds"}).json()
    assert {row["service"] for row in some} == {"s3", "rds"}
    (one,) = api.get("/policies", params={"policy_id": "RDSPublicAccess"}).json()
    assert (one["severity"], one["category"]) == (90, "network_security") or one["severity"] == 90


@pytest.mark.parametrize("account", [None, ACCOUNT])
def test_summary_of_findings(api: TestClient, seeded: Seeded, account: str | None) -> None:
    summary = api.get("/summary/findings", params={"account": account} if account else {}).json()
    findings = [f for f in seeded.findings if account in (None, f.account_service[:12])]
    bands = Counter(band(finding.severity) for finding in findings if finding.open)
    assert summary["total_findings"] == len(findings)
    assert summary["open_findings"] == sum(finding.open for finding in findings)
    assert summary["resolved_findings"] == sum(not finding.open for finding in findings)
    assert [summary[f"{name}_findings"] for name in ("critical", "high", "medium", "low")] == [
        bands[name] for name in ("critical", "high", "medium", "low")
    ]
    for row in summary["policies"]:
        assert row["total_findings"] == sum(finding.policy == row["policy"] for finding in findings)


@pytest.mark.parametrize("account", [None, ACCOUNT])
def test_summary_of_resources(api: TestClient, seeded: Seeded, account: str | None) -> None:
    summary = api.get("/summary/resources", params={"account": account} if account else {}).json()
    resources = [r for r in seeded.resources if account in (None, r.account_id)]
    open_arns = {finding.arn for finding in seeded.findings if finding.open}
    assert summary["total_resources"] == len(resources)
    for row in summary["resource_types"]:
        of_type = [r.arn for r in resources if r.resource_type == row["resource_type"]]
        assert row["all_resources"] == len(of_type)
        assert row["non_compliant"] == len(open_arns.intersection(of_type))


def test_summary_of_scopes(api: TestClient, seeded: Seeded) -> None:
    answer = api.get("/summary/scopes").json()
    assert (answer["inventory_hours"], answer["policy_hours"]) == (192, 26)
    assert len(answer["scopes"]) == len(seeded.accounts) * len(all_services()) * 2
    assert {(s["kind"], round(s["age_hours"]), s["stale"]) for s in answer["scopes"]} == {
        ("inventory", 60, False),
        ("policy", 5, False),
    }


def test_dashboard(api: TestClient, seeded: Seeded) -> None:
    board = api.get("/summary/dashboard").json()
    assert board["total_open_findings"] == sum(finding.open for finding in seeded.findings)
    assert (board["resources"], board["accounts"]) == (len(seeded.resources), 3)
    loop = board["anti_entropy"]
    assert loop["drift_detected"] is False
    assert loop["last_inventory_scan"]["age_hours"] == 60.0
    assert loop["last_inventory_scan"]["resources_found"] > 0
    assert loop["last_policy_scan"]["findings_closed"] == 0
    assert [len(board["findings_weekly"]), board["findings_weekly"][-1]["is_current"]] == [8, True]
    assert board["findings_weekly"][-1]["open_findings"] == board["total_open_findings"]


def test_the_dashboard_of_an_empty_store(own_api: TestClient) -> None:
    board = own_api.get("/summary/dashboard").json()
    assert board["anti_entropy"]["last_inventory_scan"]["timestamp_ms"] is None
    assert board["anti_entropy"]["drift_detected"] is False
    for path in ("/accounts", "/summary/scopes", "/summary/findings", "/summary/resources", "/resources", "/findings"):
        assert own_api.get(path).status_code == 200


def test_scans_when_dagster_does_not_answer(api: TestClient) -> None:
    answer = api.get("/scans").json()
    assert [scan["kind"] for scan in answer["scans"]] == ["policy", "inventory"]
    assert answer["running"] == []
    assert "Dagster does not answer" in answer["message"]


def test_a_scan_that_ended(api: TestClient) -> None:
    scan_id = api.get("/scans").json()["scans"][0]["scan_id"]
    state = api.get(f"/scans/{scan_id}").json()
    assert (state["status"], state["done"]) == ("ended", state["planned"])
    assert state["result"]["findings_created"] == 3 * len(all_services())


def test_a_scan_nobody_knows(api: TestClient) -> None:
    answer = api.get("/scans/policy-20200101T000000Z")
    assert (answer.status_code, "There is no scan" in answer.json()["message"]) == (404, True)


def test_a_rare_finding_is_found_without_empty_pages(api: TestClient, seeded: Seeded) -> None:
    """The last (account, service) alone has what is asked for: the page before is not empty."""
    last = max(seeded.findings, key=lambda finding: finding.account_service)
    page = api.get("/findings", params={"policy": last.policy, "account": last.account_service[:12]}).json()
    assert page["findings"]
    assert page["next_token"] is None


def test_answers_are_json_and_not_cached(api: TestClient) -> None:
    answer = api.get("/accounts")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.text)


def test_gets_change_nothing(api: TestClient, seeded: Seeded, seeded_settings: Settings) -> None:
    store = open_store(seeded_settings)
    tables = ("accounts", "resources", "findings", "policies", "summary")
    before = [sorted(map(str, store.dynamo.scan(table))) for table in tables]
    for path, size in itertools.product(("/findings", "/resources", "/scans", "/accounts", "/policies"), (5,)):
        api.get(path, params={"page_size": size})
    api.get("/findings/export", params={"format": "csv"})
    assert [sorted(map(str, store.dynamo.scan(table))) for table in tables] == before
    assert now_ms()
