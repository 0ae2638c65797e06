"""The changing half of the API: policies and scans, with Dagster answering and not."""

import pytest
from dashboard_client import TOKEN, all_rows, client_of
from dashboard_seed import Seeded, full_scan, seed
from fake_dagster import FakeDagster
from starlette.testclient import TestClient

from qrie_dagster.dashboard.app import create_app
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Outcome, ScanKind, ScanType
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store
from qrie_dagster.store.summary import Scan
from qrie_dagster.times import MINUTE_MS, now_ms

POLICY = "S3BucketPublic"


@pytest.fixture
def estate(own_store: Store) -> Seeded:
    """Two accounts with a few resources each, all policies launched."""
    return seed(own_store, now_ms(), accounts_count=2, per_service=3, share=0.8)


@pytest.fixture
def alone(own_settings: Settings, estate: Seeded) -> TestClient:
    """The API with no Dagster to answer it."""
    return client_of(own_settings.model_copy(update={"dagster_url": "http://127.0.0.1:9"}))


def test_launching_a_policy_starts_its_scan(own_api: TestClient, estate: Seeded, dagster: FakeDagster) -> None:
    own_api.delete(f"/policies/{POLICY}")
    scope = {"include_accounts": ["111122223333"], "exclude_tags": {"env": ["dev"]}}
    answer = own_api.post("/policies", json={"policy_id": POLICY, "scope": scope, "severity": 95})
    assert answer.status_code == 201
    body = answer.json()
    assert (body["status"], body["severity"], body["severity_band"]) == ("active", 95, "critical")
    assert body["scope"]["include_accounts"] == ["111122223333"]
    assert body["scope"]["include_ou_paths"] == []
    assert body["scan"]["scan_id"].startswith("policy-")
    (run,) = dagster.launched
    assert (run["jobName"], run["tags"]["qrie/scan_id"]) == ("policy_scan", body["scan"]["scan_id"])
    state = own_api.get(f"/scans/{body['scan']['scan_id']}").json()
    assert (state["scan_type"], state["services"], state["status"]) == ("bootstrap", ["s3"], "running")


def test_launching_without_dagster_launches_all_the_same(alone: TestClient, estate: Seeded) -> None:
    alone.delete(f"/policies/{POLICY}")
    answer = alone.post("/policies", json={"policy_id": POLICY})
    assert answer.status_code == 201
    assert (answer.json()["scan"], answer.json()["waits_for_scan"]) == (None, True)
    assert "could not be started" in answer.json()["message"]
    assert alone.get("/policies", params={"policy_id": POLICY}).json()[0]["status"] == "active"


def test_launching_twice(own_api: TestClient, estate: Seeded) -> None:
    answer = own_api.post("/policies", json={"policy_id": POLICY})
    assert (answer.status_code, "already launched" in answer.json()["message"]) == (409, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"policy_id": "Nonsense"}, 404),
        ({"policy_id": POLICY, "severity": 101}, 400),
        ({"policy_id": POLICY, "severity": True}, 400),
        ({"policy_id": POLICY, "scope": {"include_accounts": ["12"]}}, 400),
        ({"policy_id": POLICY, "scope": {"accounts": []}}, 400),
        ({"policy_id": POLICY, "colour": "red"}, 400),
    ],
)
def test_launches_that_make_no_sense(own_api: TestClient, body: dict[str, object], status: int) -> None:
    answer = own_api.post("/policies", json=body)
    assert answer.status_code == status
    assert answer.json()["message"]
    assert answer.headers["x-request-id"]


def test_a_body_that_is_no_json(own_api: TestClient) -> None:
    answer = own_api.post("/policies", content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, list(answer.json())) == (400, ["message"])


def test_changing_what_concerns_findings_rescans(own_api: TestClient, estate: Seeded, dagster: FakeDagster) -> None:
    answer = own_api.put(f"/policies/{POLICY}", json={"severity": 40}).json()
    assert (answer["severity"], answer["default_severity"]) == (40, 90)
    assert len(dagster.launched) == 1
    answer = own_api.put(f"/policies/{POLICY}", json={"remediation": "Call us."}).json()
    assert (answer["remediation"], answer["severity"], answer["scan"]) == ("Call us.", 40, None)
    assert answer["waits_for_scan"] is False
    assert len(dagster.launched) == 1
    answer = own_api.put(f"/policies/{POLICY}", json={"scope": {"exclude_ou_paths": ["/prod"]}}).json()
    assert answer["scope"]["exclude_ou_paths"] == ["/prod"]
    assert len(dagster.launched) == 2
    answer = own_api.put(f"/policies/{POLICY}", json={"severity": None, "remediation": None}).json()
    assert answer["severity"] == 90
    assert answer["remediation"] == answer["default_remediation"] != "Call us."
    assert answer["scope"]["exclude_ou_paths"] == ["/prod"]


def test_suspending_and_activating(own_api: TestClient, estate: Seeded, dagster: FakeDagster) -> None:
    own_api.put(f"/policies/{POLICY}", json={"severity": 40})
    opened = sum(finding.open and finding.policy == POLICY for finding in estate.findings)
    assert opened
    answer = own_api.put(f"/policies/{POLICY}", json={"status": "suspended"}).json()
    assert (answer["status"], answer["open_findings"]) == ("suspended", 0)
    assert f"{opened} findings" in answer["message"]
    rows = all_rows(own_api, "/findings", "findings", policy=POLICY)
    assert {row["state"] for row in rows} == {"RESOLVED"}
    assert [row["resolved_reason"] for row in rows].count("POLICY_SUSPENDED") == opened
    assert POLICY not in [row["policy_id"] for row in own_api.get("/policies", params={"status": "active"}).json()]
    before = len(dagster.launched)
    answer = own_api.put(f"/policies/{POLICY}", json={"status": "active"}).json()
    assert (answer["status"], answer["severity"]) == ("active", 40)
    assert len(dagster.launched) == before + 1


def test_changing_what_is_not_launched(own_api: TestClient) -> None:
    assert own_api.put(f"/policies/{POLICY}", json={"severity": 1}).status_code == 404
    assert own_api.put("/policies/Nonsense", json={}).status_code == 404
    assert own_api.delete(f"/policies/{POLICY}").status_code == 404
    assert own_api.delete("/policies/Nonsense").status_code == 404


def test_deleting_resolves(own_api: TestClient, estate: Seeded) -> None:
    opened = sum(finding.open and finding.policy == POLICY for finding in estate.findings)
    answer = own_api.delete(f"/policies/{POLICY}")
    assert (answer.status_code, answer.json()["findings_deleted"]) == (200, opened)
    (row,) = own_api.get("/policies", params={"policy_id": POLICY}).json()
    assert (row["status"], row["scope"], row["created_at"], row["updated_at"]) == ("available", None, None, None)
    summary = own_api.get("/summary/findings").json()
    assert next(row for row in summary["policies"] if row["policy"] == POLICY)["open_findings"] == 0


def test_a_scan_of_everything(own_api: TestClient, estate: Seeded, dagster: FakeDagster, own_store: Store) -> None:
    answer = own_api.post("/scans", json={"kind": "inventory"})
    assert answer.status_code == 202
    scan_id = answer.json()["scan_id"]
    assert answer.json()["runs"] == ["run-1"]
    assert dagster.launched[0]["assetSelection"] == [{"path": ["inventory", name]} for name in all_services()]
    under_way = own_api.get("/scans").json()["running"]
    assert [(s["scan_id"], s["scan_type"], s["done"]) for s in under_way] == [(scan_id, "anti-entropy", 0)]
    dagster.active.clear()
    assert own_api.get(f"/scans/{scan_id}").json()["status"] == "summing_up"
    full_scan(own_store, ScanKind.INVENTORY, estate.accounts, now_ms(), 24, scan_id=scan_id)
    state = own_api.get(f"/scans/{scan_id}").json()
    assert (state["status"], state["result"]["resources_updated"]) == ("ended", 2 * len(all_services()))


def test_a_scan_of_one_account_and_service(own_api: TestClient, estate: Seeded, dagster: FakeDagster) -> None:
    body = {"kind": "inventory", "accounts": ["111122223333"], "services": ["s3"]}
    scan_id = own_api.post("/scans", json=body).json()["scan_id"]
    state = own_api.get(f"/scans/{scan_id}").json()
    assert (state["scan_type"], state["planned"], state["accounts"]) == ("bootstrap", 1, 1)
    assert dagster.launched[0]["assetSelection"] == [{"path": ["inventory", "s3"]}]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"kind": "everything"}, 400),
        ({"kind": "inventory", "accounts": ["999999999999"]}, 404),
        ({"kind": "inventory", "accounts": ["1"]}, 400),
        ({"kind": "inventory", "services": ["sqs"]}, 404),
        ({"kind": "policy", "policy_id": "Nonsense"}, 404),
        ({"kind": "inventory", "policy_id": POLICY}, 400),
    ],
)
def test_scans_that_make_no_sense(own_api: TestClient, estate: Seeded, body: dict[str, object], status: int) -> None:
    answer = own_api.post("/scans", json=body)
    assert (answer.status_code, list(answer.json())) == (status, ["message"])


def test_a_scan_that_stands_still_asks_for_the_daemon(
    own_api: TestClient, estate: Seeded, dagster: FakeDagster, own_store: Store
) -> None:
    account = estate.accounts[0].account_id
    started = now_ms() - 20 * MINUTE_MS

    def note(scan_id: str, *, started_ms: int, finished_ms: int | None = None) -> str | None:
        scan = Scan(
            scan_id=scan_id,
            kind=ScanKind.INVENTORY,
            scan_type=ScanType.BOOTSTRAP,
            started_ms=started_ms,
            accounts=(account,),
            services=("iam", "s3"),
        )
        own_store.summary.open_scan(scan)
        if finished_ms:
            outcome = Outcome(account_id=account, service="s3", started_ms=started_ms, finished_ms=finished_ms)
            own_store.summary.record_outcome(scan, outcome)
        state = own_api.get(f"/scans/{scan_id}").json()
        assert [s["note"] for s in own_api.get("/scans").json()["running"]] in ([], [state["note"]])
        text: str | None = state["note"]
        return text

    dagster.active = {"new"}
    assert note("new", started_ms=now_ms()) is None
    dagster.active = {"nothing-done"}
    assert note("nothing-done", started_ms=started) == (
        "Nothing is done after 20 min: is dagster-daemon running, or do other runs come first?"
    )
    dagster.active = {"slow"}
    assert note("slow", started_ms=started, finished_ms=started + MINUTE_MS) is None
    dagster.active = set()
    assert note("not-summed-up", started_ms=started, finished_ms=started + MINUTE_MS) == (
        "Its runs have ended, and in 19 min nobody summed it up: is dagster-daemon running?"
    )
    assert note("soon-summed-up", started_ms=started, finished_ms=now_ms()) is None


ACCOUNT = "111122223333"


def test_the_schedule_of_an_account(own_api: TestClient, estate: Seeded, own_store: Store) -> None:
    def stored() -> dict[str, str]:
        rows = {row["account_id"]: row["schedule_overrides"] for row in own_api.get("/accounts").json()}
        account = own_store.accounts.get(ACCOUNT)
        assert account
        assert rows == {ACCOUNT: account.schedule_overrides, "222233334444": {}}
        return account.schedule_overrides

    assert stored() == {}
    answer = own_api.put(f"/accounts/{ACCOUNT}/schedule", json={"inventory": "0  */6 * * *", "policy": "30 5 * * 1"})
    assert answer.status_code == 200
    assert answer.json()["schedule_overrides"] == stored() == {"inventory": "0 */6 * * *", "policy": "30 5 * * 1"}
    own_api.put(f"/accounts/{ACCOUNT}/schedule", json={"inventory": None, "policy": "30 6 * * 1"})
    assert stored() == {"policy": "30 6 * * 1"}
    own_api.put(f"/accounts/{ACCOUNT}/schedule", json={})
    assert stored() == {}


@pytest.mark.parametrize(
    ("account", "body", "status", "word"),
    [
        (ACCOUNT, {"policy": "every day"}, 400, "five fields"),
        (ACCOUNT, {"policy": "0 0 31 2 *"}, 400, "ticks some day"),
        (ACCOUNT, {"policy": ""}, 400, "five fields"),
        (ACCOUNT, {"inventories": "0 4 * * *"}, 400, "inventories"),
        ("999999999999", {"policy": "0 4 * * *"}, 404, "not registered"),
        ("1", {"policy": "0 4 * * *"}, 400, "account_id"),
    ],
)
def test_schedules_that_make_no_sense(
    own_api: TestClient, estate: Seeded, account: str, body: dict[str, str], status: int, word: str
) -> None:
    answer = own_api.put(f"/accounts/{account}/schedule", json=body)
    assert (answer.status_code, word in answer.json()["message"]) == (status, True)


def test_a_schedule_wants_the_csrf_token(own_settings: Settings, estate: Seeded) -> None:
    visitor = TestClient(create_app(own_settings))
    visitor.post("/login", data={"token": TOKEN}, follow_redirects=False)
    path, body = f"/accounts/{ACCOUNT}/schedule", {"policy": "0 4 * * *"}
    assert visitor.put(path, json=body).status_code == 403
    token = visitor.get("/session").json()["csrf_token"]
    assert visitor.put(path, json=body, headers={"X-CSRF-Token": token}).status_code == 200


def test_a_scan_of_a_suspended_policy(own_api: TestClient, estate: Seeded, dagster: FakeDagster) -> None:
    own_api.put(f"/policies/{POLICY}", json={"status": "suspended"})
    assert own_api.post("/scans", json={"kind": "policy", "policy_id": POLICY}).status_code == 409
    assert not dagster.launched


def test_a_scan_of_nothing(own_api: TestClient) -> None:
    answer = own_api.post("/scans", json={"kind": "inventory"})
    assert (answer.status_code, "No account is active" in answer.json()["message"]) == (409, True)


def test_a_scan_without_dagster(alone: TestClient) -> None:
    answer = alone.post("/scans", json={"kind": "inventory"})
    assert (answer.status_code, "Dagster does not answer" in answer.json()["message"]) == (503, True)
