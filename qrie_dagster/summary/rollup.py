"""The roll-up: what the end of a scan changes in ``qrie_summary``. Running it again changes nothing."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qrie_dagster.drift import ScopeAge, scope_ages
from qrie_dagster.errors import NotFoundError
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account
from qrie_dagster.store import Store
from qrie_dagster.store.encoding import encode_in_parts
from qrie_dagster.summary.records import LAST_SCAN, ScanRecord, scan_record
from qrie_dagster.summary.totals import FindingTotals, add_counts, add_findings
from qrie_dagster.times import DAY_MS

DASHBOARD = "dashboard"
HISTORY = "history"
REGISTRY = "registry"
HISTORY_DAYS = 28
HISTORY_LENGTH = 200
# DynamoDB takes items of 400 KB.
HISTORY_BYTES = 300_000
# What a reader can be asked to wait for; an error is whole where it happened, in the account's own item.
AGE_RECORDS = 30
ERROR_LENGTHS = (120, 20)


@dataclass(frozen=True)
class RollUp:
    """What a roll-up found and wrote; ``written`` if the scan is now the last full one of its kind."""

    record: ScanRecord
    written: bool
    dashboard: dict[str, Any]


def roll_up(store: Store, scan_id: str, now: int) -> RollUp:
    """Sum up a scan that ended: the ``last_*`` record if it was complete, the history, the dashboard record.

    Raises NotFoundError for a scan nobody knows, StoreError when the store does not answer.
    """
    scan = store.summary.scan(scan_id)
    if scan is None:
        raise NotFoundError(f"There is no scan {scan_id!r} in {store.dynamo.name('summary')}.")
    accounts = store.accounts.all()
    ids = {account.account_id for account in accounts} | set(scan.accounts)
    record = scan_record(scan, store.summary.outcomes(scan_id, sorted(ids)), accounts, list(all_services()))
    written = record.complete and store.summary.put_newest(LAST_SCAN[scan.kind], record.as_record())
    append_history(store, record, now)
    return RollUp(record, written, refresh_dashboard(store, accounts, now))


def append_history(store: Store, record: ScanRecord, now: int) -> None:
    """Put a scan in the history, in the place of an earlier record of the same scan."""
    entry = record.as_history()

    def appended(history: dict[str, Any]) -> dict[str, Any]:
        since = now - HISTORY_DAYS * DAY_MS
        kept = [
            old
            for old in history.get("scans", ())
            if old["scan_id"] != entry["scan_id"] and old["timestamp_ms"] >= since
        ]
        return {"scans": sorted(_fitting(_most_wanted(kept, entry)), key=_ended, reverse=True)}

    store.summary.change(HISTORY, appended)


def _ended(scan: Mapping[str, Any]) -> int:
    ended: int = scan["timestamp_ms"]
    return ended


def _most_wanted(kept: Iterable[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The newest first, but complete ones before all others: accounts' own schedules may tick every hour."""
    newest_first = sorted(kept, key=_ended, reverse=True)
    whole = [scan for scan in newest_first if scan.get("complete")][: HISTORY_LENGTH // 2]
    rest = [scan for scan in newest_first if scan not in whole]
    return [entry, *whole, *rest][:HISTORY_LENGTH]


def _fitting(scans: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The first of ``scans``, as many as one record holds."""
    size = 0
    for scan in scans:
        size += len(json.dumps(scan))
        if size > HISTORY_BYTES:
            return
        yield scan


def refresh_dashboard(store: Store, accounts: list[Account], now: int) -> dict[str, Any]:
    """Sum up all accounts' totals into the dashboard record, and return it.

    Reads one record per account, whatever the number of resources and findings.
    """
    parts = store.summary.parts(account.account_id for account in accounts)
    resources = [value for part in parts.values() for (name, _), value in part.items() if name == "Resources"]
    findings = [
        FindingTotals(**value) for part in parts.values() for (name, _), value in part.items() if name == "Findings"
    ]
    launched = store.policies.all()
    ages = scope_ages(accounts, all_services())
    record: dict[str, Any] = {
        "timestamp_ms": now,
        "accounts": sum(account.active for account in accounts),
        "resource_types": add_counts(resources),
        "findings": add_findings(findings, now).model_dump(),
        "active_policies": sum(policy.active for policy in launched),
        "policies_launched": [policy.created_ms for policy in launched],
    }
    # So that no reader has to go through the table of accounts.
    registry = encode_in_parts([account.model_dump(mode="json", exclude={"scans"}) for account in accounts])
    store.summary.put_rows(REGISTRY, {"timestamp_ms": now}, "Accounts", registry)
    # Of two roll-ups at once, the one that began to read later knows more.
    return store.summary.put_rows(DASHBOARD, record, "scope_ages", _age_parts(ages))


def _age_parts(ages: Sequence[ScopeAge]) -> list[bytes]:
    """Ages are judged when the dashboard is read: stored are the times, and errors as long as there is room for."""
    parts: list[bytes] = []
    for length in ERROR_LENGTHS:
        parts = encode_in_parts(
            [
                [a.kind.value, a.account_id, a.service, a.last_success, a.last_error and a.last_error[:length]]
                for a in ages
            ]
        )
        if len(parts) <= AGE_RECORDS:
            break
    return parts
