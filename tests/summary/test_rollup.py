import json
from collections.abc import Callable
from random import randrange
from secrets import token_hex
from typing import Any

import pytest
from memory_dynamo import MemoryDynamo, memory_store

from qrie_dagster.drift import DriftRules
from qrie_dagster.errors import QrieError
from qrie_dagster.findings import Finding, State
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, Outcome, ScanKind, ScanType, ServiceScan
from qrie_dagster.store import Store
from qrie_dagster.store.launched_policies import LaunchedPolicy
from qrie_dagster.store.summary import Scan, rows_of
from qrie_dagster.summary import rollup
from qrie_dagster.summary.records import LAST_INVENTORY_SCAN, LAST_POLICY_SCAN
from qrie_dagster.summary.rollup import DASHBOARD, HISTORY, REGISTRY, refresh_dashboard, roll_up
from qrie_dagster.summary.status import dashboard
from qrie_dagster.summary.totals import finding_totals
from qrie_dagster.times import DAY_MS

NOW = 1_750_000_000_000


@pytest.fixture
def accounts(store: Store, new_id: Callable[[], str]) -> list[str]:
    ids = [new_id(), new_id()]
    for account_id in ids:
        store.accounts.add(Account(account_id=account_id, registered_ms=1))
    return ids


def run(
    store: Store, scan_id: str, accounts: list[str], kind: ScanKind = ScanKind.INVENTORY, at: int = NOW, **facts: Any
) -> None:
    """Write the ledger of a scan of ``accounts`` that began at ``at`` and took 100 ms."""
    scan = Scan(
        scan_id=scan_id,
        kind=kind,
        scan_type=ScanType.BOOTSTRAP,
        started_ms=at,
        accounts=tuple(accounts),
        services=tuple(all_services()),
    )
    store.summary.open_scan(scan)
    for account_id in accounts:
        for service in all_services():
            outcome = {"account_id": account_id, "service": service, "started_ms": at, "finished_ms": at + 100}
            store.summary.record_outcome(scan, Outcome(**{**outcome, **facts}))


def history(store: Store) -> list[dict[str, Any]]:
    scans: list[dict[str, Any]] = (store.summary.get(HISTORY) or {}).get("scans", [])
    return scans


def test_a_complete_scan_writes_its_last_record(store: Store, accounts: list[str]) -> None:
    run(store, "i1", accounts, resources_found=3)
    rolled = roll_up(store, "i1", NOW + 200)
    assert rolled.record.complete
    last = store.summary.get(LAST_INVENTORY_SCAN)
    assert last == {"Type": LAST_INVENTORY_SCAN, **rolled.record.as_record()}
    assert last["resources_found"] == 3 * 2 * len(all_services())
    assert store.summary.get(LAST_POLICY_SCAN) is None


def test_each_kind_has_its_own_record(store: Store, accounts: list[str]) -> None:
    run(store, "p1", accounts, ScanKind.POLICY, findings_created=1)
    roll_up(store, "p1", NOW + 200)
    assert store.summary.get(LAST_INVENTORY_SCAN) is None
    last = store.summary.get(LAST_POLICY_SCAN) or {}
    assert last["findings_created"] == 2 * len(all_services())


def test_a_narrower_scan_does_not_touch_the_last_record(store: Store, accounts: list[str]) -> None:
    run(store, "i1", accounts)
    roll_up(store, "i1", NOW + 200)
    before = store.summary.get(LAST_INVENTORY_SCAN)
    run(store, "i2", accounts[:1], at=NOW + DAY_MS)
    assert not roll_up(store, "i2", NOW + DAY_MS + 200).record.complete
    assert store.summary.get(LAST_INVENTORY_SCAN) == before
    assert [entry["scan_id"] for entry in history(store)] == ["i2", "i1"]


def test_rolling_up_twice_gives_the_same(store: Store, accounts: list[str]) -> None:
    run(store, "i1", accounts, resources_found=1)
    first = roll_up(store, "i1", NOW + 200)
    records = [store.summary.get(LAST_INVENTORY_SCAN), history(store), store.summary.get(DASHBOARD)]
    assert roll_up(store, "i1", NOW + 200) == first
    assert [store.summary.get(LAST_INVENTORY_SCAN), history(store), store.summary.get(DASHBOARD)] == records


def test_an_older_scan_that_ends_late_does_not_hide_a_newer(store: Store, accounts: list[str]) -> None:
    run(store, "old", accounts, at=NOW)
    run(store, "new", accounts, at=NOW + 1000)
    roll_up(store, "new", NOW + 2000)
    roll_up(store, "old", NOW + 3000)
    assert (store.summary.get(LAST_INVENTORY_SCAN) or {})["scan_id"] == "new"
    assert [entry["scan_id"] for entry in history(store)] == ["new", "old"]


def test_an_account_that_left_while_it_was_scanned_does_not_hold_up_the_scan(store: Store, accounts: list[str]) -> None:
    run(store, "i1", accounts[:1])
    store.accounts.set_status(accounts[1], "removed")
    assert roll_up(store, "i1", NOW + 200).record.complete


def test_an_unknown_scan_is_an_error(store: Store) -> None:
    with pytest.raises(QrieError, match="There is no scan 'nobody'"):
        roll_up(store, "nobody", NOW)


def test_the_history_forgets_after_four_weeks(store: Store, accounts: list[str]) -> None:
    for number in range(4):
        at = NOW + number * 10 * DAY_MS
        run(store, f"i{number}", accounts[:1], at=at)
        roll_up(store, f"i{number}", at + 200)
    assert [entry["scan_id"] for entry in history(store)] == ["i3", "i2", "i1"]


def test_the_history_never_outgrows_its_record(store: Store, accounts: list[str]) -> None:
    # Many small scans in which much failed: a record of DynamoDB holds 400 KB.
    old = [
        {"scan_id": f"s{n}", "timestamp_ms": NOW - n, "failed_scopes": {"first": [token_hex(50) for _ in range(20)]}}
        for n in range(1, 160)
    ]
    store.summary.change(HISTORY, lambda _: {"scans": old})
    for number in range(3):
        run(store, f"i{number}", accounts[:1], failures=tuple(token_hex(2000) for _ in range(20)))
        roll_up(store, f"i{number}", NOW + 200)
    kept = history(store)
    assert {entry["scan_id"] for entry in kept[:3]} == {"i0", "i1", "i2"}
    assert len(kept) > 20
    assert len(json.dumps(kept)) < 380_000


def test_the_history_is_bounded_in_number(store: Store, accounts: list[str]) -> None:
    store.summary.change(
        HISTORY, lambda _: {"scans": [{"scan_id": f"s{n}", "timestamp_ms": NOW - n} for n in range(300)]}
    )
    run(store, "i1", accounts)
    roll_up(store, "i1", NOW + 200)
    assert len(history(store)) == 200
    assert history(store)[0]["scan_id"] == "i1"


def test_scans_of_everything_stay_in_the_history_however_many_others_there_are(
    store: Store, accounts: list[str]
) -> None:
    whole = [{"scan_id": f"w{n}", "timestamp_ms": NOW - n * DAY_MS, "complete": True} for n in range(1, 28)]
    hourly = [{"scan_id": f"h{n}", "timestamp_ms": NOW - n, "complete": False} for n in range(1, 400)]
    store.summary.change(HISTORY, lambda _: {"scans": [*hourly, *whole]})
    run(store, "i1", accounts[:1])
    roll_up(store, "i1", NOW + 200)
    kept = history(store)
    assert len(kept) == 200
    assert [entry["scan_id"] for entry in kept[:3]] == ["i1", "h1", "h2"]
    assert [entry["scan_id"] for entry in kept[-27:]] == [entry["scan_id"] for entry in whole]


def test_the_dashboard_record_is_the_sum_of_all_accounts(store: Store, accounts: list[str]) -> None:
    for number, account_id in enumerate(accounts):
        store.summary.set_part(account_id, "Resources", "s3", {"Bucket": 2 + number})
        findings = [Finding(f"{account_id}-{n}", "P", f"{account_id}_s3", State.ACTIVE, 95, {}, NOW) for n in range(3)]
        totals = finding_totals(findings, {finding.arn: "Bucket" for finding in findings}, NOW)
        store.summary.set_part(account_id, "Findings", "s3", totals.model_dump())
    store.policies.launch(LaunchedPolicy(policy_id="P", created_ms=7))
    store.policies.launch(LaunchedPolicy(policy_id="Q", status="suspended", created_ms=8))
    written = refresh_dashboard(store, store.accounts.all(), NOW)
    assert store.summary.get(DASHBOARD) == {"Type": DASHBOARD, **written}
    assert written["resource_types"] == {"Bucket": 5}
    assert written["findings"]["policies"] == {"P": {"severity": 95, "open": 6, "muted": 0, "resolved": 0}}
    assert written["findings"]["bands"] == {"critical": 6}
    assert (written["accounts"], written["active_policies"], written["policies_launched"]) == (2, 1, [7, 8])


def test_the_dashboard_counts_active_accounts_only(store: Store, accounts: list[str]) -> None:
    store.accounts.set_status(accounts[0], "suspended")
    assert refresh_dashboard(store, store.accounts.all(), NOW)["accounts"] == 1


@pytest.mark.parametrize(("length", "number"), [(30, 100), (150, 10_000), (1000, 10_000)])
def test_the_dashboard_holds_ten_thousand_accounts_that_all_fail(length: int, number: int) -> None:
    """A record of DynamoDB holds 400 KB, which the memory insists on."""
    dynamo = MemoryDynamo()
    memory = memory_store(dynamo)
    accounts = [
        Account(
            account_id=f"{n * 99_999_989 % 10**12:012d}",
            name=token_hex(16),
            ou_path=f"/{token_hex(16)}",
            tags={"owner": token_hex(16)},
            scans={
                kind: {
                    service: ServiceScan(last_success=NOW - randrange(10**9), last_error=token_hex(length // 2))
                    for service in all_services()
                }
                for kind in ScanKind
            },
        )
        for n in range(number)
    ]
    refresh_dashboard(memory, accounts, NOW)
    reads: list[str] = []
    dynamo.before = lambda operation, _table: reads.append(operation)
    loop = dashboard(memory, DriftRules(192, 26), NOW + 20 * DAY_MS)["anti_entropy"]
    assert len(reads) <= 2
    assert loop["stale_scopes"]["count"] == number * 2 * len(all_services())
    assert all(len(stale["last_error"]) == min(length, 120) for stale in loop["stale_scopes"]["first"])
    reads.clear()
    records = memory.summary.get_whole([REGISTRY, DASHBOARD])
    assert len(reads) <= 2
    assert rows_of(records[REGISTRY], "Accounts") == [one.model_dump(exclude={"scans"}) for one in accounts]


def test_errors_are_shortened_where_even_many_records_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "AGE_RECORDS", 1)
    accounts = [
        Account(account_id=f"{n:012d}", scans={ScanKind.POLICY: {"s3": ServiceScan(last_error=token_hex(400))}})
        for n in range(5_000)
    ]
    memory = memory_store(MemoryDynamo())
    refresh_dashboard(memory, accounts, NOW)
    rows = rows_of(memory.summary.get_whole([DASHBOARD])[DASHBOARD], "scope_ages")
    assert {len(error) for *_, error in rows if error} == {20}
