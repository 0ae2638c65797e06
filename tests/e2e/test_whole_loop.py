"""The loop as it runs by itself: schedules tick, scans are cut into runs, ends are summed up, drift comes and goes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from real_dagster import Estate, Questions, copy_storage, eventually

from qrie_dagster.demo.stack import Stack, running_stack
from qrie_dagster.launch import Dagster
from qrie_dagster.models import ScanKind
from qrie_dagster.policy_changes import launch_all
from qrie_dagster.settings import load_settings
from qrie_dagster.summary.records import LAST_SCAN
from qrie_dagster.times import HOUR_MS, now_ms

pytestmark = pytest.mark.e2e
SHORT_HOURS = 0.04


def at(seconds: int) -> str:
    """A cron expression that ticks once, at the full minute before so many seconds have passed."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return f"{moment.minute} {moment.hour} {moment.day} {moment.month} *"


@pytest.fixture(scope="module")
def stack(estate: Estate) -> Iterator[Stack]:
    """qrie with both schedules about to tick, two accounts to a run."""
    launch_all(estate.store)
    crons = {"QRIE_INVENTORY_CRON": at(150), "QRIE_POLICY_CRON": at(210)}
    with running_stack(estate.endpoint, estate.home, QRIE_ACCOUNTS_PER_RUN="2", **crons) as running:
        yield running


def record(estate: Estate, kind: ScanKind) -> dict[str, object]:
    found = estate.store.summary.get(LAST_SCAN[kind])
    return found or {}


def dashboard(stack: Stack) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {stack.token}"}
    answer = httpx.get(f"{stack.dashboard_url}/summary/dashboard", headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())["anti_entropy"]


def test_the_loop_runs_by_itself(estate: Estate, stack: Stack) -> None:
    dagster = Questions(stack)
    assert dashboard(stack)["drift_detected"] is True
    assert dashboard(stack)["drift_reasons"] == ["inventory: never_scanned", "policy: never_scanned"]

    eventually(lambda: record(estate, ScanKind.INVENTORY), "the scheduled inventory")
    inventory = record(estate, ScanKind.INVENTORY)
    eventually(lambda: record(estate, ScanKind.POLICY), "the scheduled policy scan")
    policy = record(estate, ScanKind.POLICY)

    # Five accounts, two to a run.
    chunks = [
        run for run in dagster.runs(qrie__scan_id=str(inventory["scan_id"])) if run["jobName"] == "full_inventory"
    ]
    assert [run["status"] for run in chunks] == ["SUCCESS"] * 3
    assert inventory["scan_type"] == "anti-entropy"
    assert inventory["failed_scopes"] == {"count": 0, "first": []}
    assert int(str(inventory["resources_found"])) >= 15
    assert inventory["resources_created"] == inventory["resources_found"]
    # Each account: two buckets without versioning, without MFA delete and so on, one volume.
    assert int(str(policy["findings_created"])) >= 5 * 5

    # Every number is the same in Dagster as in DynamoDB, and each scan was summed up exactly once.
    for kind, stored in ((ScanKind.INVENTORY, inventory), (ScanKind.POLICY, policy)):
        asset = f"{kind.value}_scan"
        shown = eventually(lambda asset=asset: dagster.metadata(asset), f"{asset} in Dagster")
        compared = {name: value for name, value in stored.items() if name not in ("Type", "failed_scopes")}
        assert {name: shown[name] for name in compared} == compared
        roll_ups = [run for run in dagster.runs(qrie__scan_id=str(stored["scan_id"])) if run["jobName"] == "roll_up"]
        assert len(roll_ups) == 1
        assert len(dagster.asset(asset)["assetMaterializations"]) == 1
        eventually(lambda asset=asset: dagster.freshness(asset) == "HEALTHY", f"{asset} fresh")

    for service in ("s3", "ec2", "iam", "rds"):
        assert dagster.materialized("inventory", service) == set(estate.accounts)
    assert dagster.materialized("policy_findings") == set(estate.accounts)
    assert dashboard(stack)["drift_detected"] is False
    assert dashboard(stack)["stale_scopes"]["count"] == 0


def test_a_narrower_scan_leaves_the_last_full_one_as_it_was(estate: Estate, stack: Stack) -> None:
    before = eventually(lambda: record(estate, ScanKind.INVENTORY), "the scheduled inventory")
    account = estate.accounts[0]
    estate.client(account, "s3").delete_bucket(Bucket=f"logs-{account}")
    estate.client(account, "s3").create_bucket(Bucket=f"new-{account}")

    dagster = Dagster(load_settings(dagster_url=stack.dagster_url))
    launched = dagster.launch(estate.store, ScanKind.INVENTORY, [account], ["s3"])
    *_, last = dagster.follow(estate.store, launched.scan)

    assert last.summary is not None
    assert last.summary["scan_type"] == "bootstrap"
    assert (last.summary["resources_created"], last.summary["resources_deleted"]) == (1, 1)
    arns = estate.store.resources.index(account, "s3")
    assert f"arn:aws:s3:::new-{account}" in arns
    assert f"arn:aws:s3:::logs-{account}" not in arns
    assert record(estate, ScanKind.INVENTORY) == before
    assert len(Questions(stack).asset("inventory_scan")["assetMaterializations"]) == 1


def test_an_old_scan_is_drift_and_a_new_one_ends_it(estate: Estate, stack: Stack) -> None:
    """Time is not faked: the same records are looked at with windows that they have outlived."""
    last_ended = [
        int(eventually(lambda kind=kind: record(estate, kind), f"{kind} scan")["timestamp_ms"]) for kind in ScanKind
    ]
    eventually(lambda: now_ms() - max(last_ended) > SHORT_HOURS * HOUR_MS, "the scans growing old")
    home = estate.home.parent / "later"
    copy_storage(estate.home, home)
    windows = {f"QRIE_{kind.name}_DRIFT_HOURS": str(SHORT_HOURS) for kind in ScanKind}
    with running_stack(estate.endpoint, home, **windows) as later:
        questions = Questions(later)
        for kind in ScanKind:
            eventually(lambda kind=kind: questions.freshness(f"{kind.value}_scan") == "DEGRADED", f"{kind.value} drift")
        loop = dashboard(later)
        assert (loop["drift_detected"], loop["inventory_drift"], loop["policy_drift"]) == (True, True, True)
        # One of them has been scanned alone since.
        everything = len(estate.accounts) * 4 * 2
        eventually(lambda: dashboard(later)["stale_scopes"]["count"] == everything, "every scope growing old")

        dagster = Dagster(load_settings(dagster_url=later.dagster_url))
        for kind in ScanKind:
            *_, last = dagster.follow(estate.store, dagster.launch(estate.store, kind).scan)
            assert last.summary is not None
            assert dashboard(later)[f"{kind.value}_drift"] is False
            eventually(lambda kind=kind: questions.freshness(f"{kind.value}_scan") == "HEALTHY", f"{kind.value} fresh")
