"""Real Dagster runs over a network and an AWS that fail: nothing is lost, nothing invented, and it is said."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from real_dagster import Estate, Questions, eventually

from qrie_dagster.demo import truth
from qrie_dagster.demo.stack import Stack, running_stack
from qrie_dagster.inventory.services import all_services
from qrie_dagster.launch import Dagster
from qrie_dagster.models import ScanKind
from qrie_dagster.policy_changes import launch_all
from qrie_dagster.settings import load_settings
from qrie_dagster.store.summary import Scan
from qrie_dagster.summary.records import LAST_INVENTORY_SCAN

sys.path.insert(0, str(Path(__file__).parents[1]))
from fault_proxy import Call, Fault, FaultProxy, sometimes

pytestmark = pytest.mark.e2e
ATTEMPTS = 5
EXTERNAL_ID = "canary-of-the-external-id"


@pytest.fixture(scope="module")
def proxy(estate: Estate) -> Iterator[FaultProxy]:
    with FaultProxy().running(estate.endpoint) as running:
        yield running


@pytest.fixture(scope="module")
def stack(estate: Estate, proxy: FaultProxy) -> Iterator[Stack]:
    """qrie behind the proxy, after a first scan in which all was well."""
    launch_all(estate.store)
    more = {
        "QRIE_AWS_MAX_ATTEMPTS": str(ATTEMPTS),
        "QRIE_AWS_TIMEOUT_SECONDS": "3",
        "QRIE_EXTERNAL_ID": EXTERNAL_ID,
    }
    with running_stack(proxy.url, estate.home, **more) as running:
        for kind in ScanKind:
            follow(estate, running, kind)
        yield running


@pytest.fixture(autouse=True)
def _all_is_well_in_the_end(proxy: FaultProxy) -> Iterator[None]:
    proxy.well()
    yield
    proxy.well()


def launch(estate: Estate, stack: Stack, kind: ScanKind, *only: Sequence[str]) -> tuple[Dagster, Scan]:
    """Start a scan through Dagster, ``only`` of some accounts and services."""
    dagster = Dagster(load_settings(dagster_url=stack.dagster_url))
    return dagster, dagster.launch(estate.store, kind, *only).scan


def follow(estate: Estate, stack: Stack, kind: ScanKind, *only: Sequence[str]) -> dict[str, Any]:
    """Start a scan and wait for its end; its entry in the history."""
    dagster, scan = launch(estate, stack, kind, *only)
    *_, last = dagster.follow(estate.store, scan)
    assert last.summary is not None
    return last.summary


def stored(estate: Estate) -> dict[str, set[str]]:
    return {a: {arn for s in all_services() for arn in estate.store.resources.index(a, s)} for a in estate.accounts}


def last_scan(estate: Estate) -> dict[str, Any]:
    return estate.store.summary.get(LAST_INVENTORY_SCAN) or {}


def statuses(stack: Stack, scan_id: str) -> list[str]:
    runs = Questions(stack).runs(qrie__scan_id=scan_id)
    return [run["status"] for run in runs if run["jobName"] != "roll_up"]


def test_a_denied_account_is_named_and_hides_nobody_else(estate: Estate, stack: Stack, proxy: FaultProxy) -> None:
    denied, *others = estate.accounts
    before = stored(estate)
    questions = Questions(stack)

    def deny(call: Call) -> Fault | None:
        return (
            Fault(status=403, code="AccessDenied") if (call.operation, call.account) == ("AssumeRole", denied) else None
        )

    proxy.rule = deny
    done = follow(estate, stack, ScanKind.INVENTORY)

    assert done["complete"], "every account was attempted"
    assert done["failed_scopes"]["count"] == len(all_services())
    assert all(line.startswith(f"{denied}/") and "AccessDenied" in line for line in done["failed_scopes"]["first"])
    assert done["resources_deleted"] == 0
    assert stored(estate) == before
    asset = questions.asset("inventory", "s3")
    runs = {run["runId"] for run in questions.runs(qrie__scan_id=done["scan_id"])}
    new = [event["partition"] for event in asset["assetMaterializations"] if event["runId"] in runs]
    assert sorted(new) == others
    [told] = [event for event in asset["assetObservations"] if event["partition"] == denied]
    assert f"role/QrieReadOnly-{denied}" in told["description"]
    scan = (estate.store.accounts.get(denied) or pytest.fail("gone")).scan(ScanKind.INVENTORY, "s3")
    assert scan.last_error is not None
    assert "AccessDenied" in scan.last_error


def test_one_call_in_ten_fails_and_the_result_is_exact(estate: Estate, stack: Stack, proxy: FaultProxy) -> None:
    account = estate.accounts[1]
    estate.client(account, "s3").delete_bucket(Bucket=f"logs-{account}")
    estate.client(account, "s3").create_bucket(Bucket=f"late-{account}")
    lot = sometimes(0.1, Fault(status=500), Fault(cut="reset"), Fault(cut="torn"), Fault(cut="emptied"))

    def rough(call: Call) -> Fault | None:
        fault = lot(call)
        # What the database has done and not told of is repeated, and is no change then: counts would not be exact.
        return Fault(status=500) if fault and call.service == "dynamodb" else fault

    proxy.rule = rough

    done = follow(estate, stack, ScanKind.INVENTORY)

    assert sum(proxy.failed.values()) > 10
    assert done["failed_scopes"]["count"] == 0
    assert (done["resources_created"], done["resources_deleted"]) == (1, 1)
    assert stored(estate) == truth.inventory(estate.endpoint, estate.accounts)


def test_nothing_is_deleted_when_aws_is_away_and_the_scan_does_not_count(
    estate: Estate, stack: Stack, proxy: FaultProxy
) -> None:
    before, last = stored(estate), last_scan(estate)
    proxy.rule = lambda call: None if call.service == "dynamodb" else Fault(cut="reset")
    done = follow(estate, stack, ScanKind.INVENTORY)
    assert not done["complete"]
    assert done["failed_scopes"]["count"] == len(estate.accounts) * len(all_services())
    assert statuses(stack, done["scan_id"]) == ["FAILURE"]
    assert stored(estate) == before
    assert last_scan(estate) == last, "its age goes on growing, into drift"


def test_a_throttled_store_only_makes_it_slower(estate: Estate, stack: Stack, proxy: FaultProxy) -> None:
    lot = sometimes(0.15, Fault(status=400, code="ProvisionedThroughputExceededException"))
    proxy.rule = lambda call: lot(call) if call.service == "dynamodb" else None
    for kind in ScanKind:
        done = follow(estate, stack, kind)
        assert done["failed_scopes"]["count"] == 0
        assert done["complete"]
    assert sum(proxy.failed.values()) > 10


def test_a_region_that_hangs_fails_alone(estate: Estate, stack: Stack, proxy: FaultProxy) -> None:
    hanging, other = estate.accounts[:2]
    before = stored(estate)

    def hang(call: Call) -> Fault | None:
        return Fault(delay=60) if (call.service, call.account, call.region) == ("rds", hanging, "eu-west-1") else None

    proxy.rule = hang
    done = follow(estate, stack, ScanKind.INVENTORY, [hanging, other], ["rds"])

    assert done["failed_scopes"]["count"] == 1
    [line] = done["failed_scopes"]["first"]
    assert line.startswith(f"{hanging}/rds/eu-west-1: ")
    assert "ReadTimeoutError" in line
    assert stored(estate) == before
    # Every call was made again as often as the setting says, and no more.
    hung = {call.operation: count for call, count in proxy.seen.items() if hang(call)}
    assert set(hung.values()) == {ATTEMPTS}, hung


def test_a_killed_worker_is_noticed_and_the_next_scan_repairs(estate: Estate, stack: Stack, proxy: FaultProxy) -> None:
    finished, account = estate.accounts[0], estate.accounts[2]
    last = last_scan(estate)
    estate.client(account, "s3").create_bucket(Bucket=f"killed-{account}")
    # Of the first service that the worker looks at.
    volume = estate.client(finished, "ec2").create_volume(AvailabilityZone="eu-west-1a", Size=1)["VolumeId"]
    proxy.rule = lambda call: Fault(delay=20) if call.account == account else None
    questions = Questions(stack)
    dagster, scan = launch(estate, stack, ScanKind.INVENTORY)

    # Dagster starts a run whose process died once more, under the same scan: that one is killed as well.
    for attempt in (1, 2):
        runs = eventually(lambda n=attempt: runs_of(questions, scan.scan_id, n), f"attempt {attempt}")
        eventually(lambda: any(call.account == account for call in list(proxy.seen)), "the middle of the scan")
        eventually(lambda: any(volume in arn for arn in stored(estate)[finished]), "what the first attempt writes")
        os.kill(eventually(lambda run=runs[0]: questions.process(run["runId"]), "its process"), signal.SIGKILL)
        proxy.seen.clear()
    proxy.well()
    *_, ended = dagster.follow(estate.store, scan)

    assert statuses(stack, scan.scan_id) == ["FAILURE", "FAILURE"]
    assert ended.summary is not None
    assert not ended.summary["complete"]
    assert any("not attempted" in line for line in ended.summary["failed_scopes"]["first"])
    # Written by the attempt that died first, and told all the same.
    assert ended.summary["resources_created"] == 1
    assert last_scan(estate) == last
    left = estate.store.accounts.get(account) or pytest.fail("gone")
    assert all((left.scan(ScanKind.INVENTORY, name).last_success or 0) < scan.started_ms for name in all_services())

    repaired = follow(estate, stack, ScanKind.INVENTORY)
    assert repaired["complete"]
    assert (repaired["resources_created"], repaired["failed_scopes"]["count"]) == (1, 0)
    assert stored(estate) == truth.inventory(estate.endpoint, estate.accounts)


def runs_of(questions: Questions, scan_id: str, attempts: int) -> list[dict[str, Any]]:
    """The runs of a scan, newest first, once there have been so many."""
    runs = [run for run in questions.runs(qrie__scan_id=scan_id) if run["jobName"] != "roll_up"]
    return runs if len(runs) == attempts else []


def test_nothing_dagster_keeps_holds_a_secret(estate: Estate, stack: Stack) -> None:
    files = [path for path in estate.home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    for path in files:
        kept = path.read_bytes()
        assert EXTERNAL_ID.encode() not in kept, path
        assert stack.token.encode() not in kept, path
