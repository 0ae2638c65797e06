"""``qrie_summary``: what the dashboard shows, and the ledger of each scan.

Besides the records of the contract there are, by ``Type``:
``scan:<id>`` and ``scan:<id>:<account>``, what a scan set out to do and what it did, kept for five weeks;
``account:<id>``, the totals of one account; ``dashboard``, the totals of all, and ``registry``, the accounts, both with
further parts in ``<type>:<number>`` where one record cannot hold them; ``history``, the scans of four weeks;
``mutes``, the rules by which findings are set aside.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from qrie_dagster.errors import StoreError
from qrie_dagster.models import Outcome, ScanKind, ScanType
from qrie_dagster.store.dynamo import Attr, ConditionFailedError, Dynamo, DynamoItem
from qrie_dagster.store.encoding import decode, encode
from qrie_dagster.store.tables import SUMMARY
from qrie_dagster.times import CLOCKS_APART_MS, DAY_MS, now_ms

LEDGER_DAYS = 35
MAX_TRIES = 20


class Scan(BaseModel):
    """What a scan sets out to do. ``started_ms`` is when it was launched.

    ``accounts`` and ``services`` are what it is to cover; ``policies`` restricts a policy scan to some policies.
    """

    model_config = ConfigDict(frozen=True)

    scan_id: str
    kind: ScanKind
    scan_type: ScanType
    started_ms: int
    accounts: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    policies: tuple[str, ...] = Field(default=())


class SummaryTable:
    """Records, and the ledger of scans."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def get(self, type_: str) -> DynamoItem | None:
        """One record, or None."""
        return self._dynamo.get(SUMMARY, {"Type": type_})

    def get_many(self, types: Iterable[str]) -> dict[str, DynamoItem]:
        """The records that exist among ``types``, by type, in as few reads as possible."""
        keys = [{"Type": type_} for type_ in dict.fromkeys(types)]
        return {item["Type"]: item for item in self._dynamo.batch_get(SUMMARY, keys)}

    def put(self, type_: str, record: Mapping[str, Any]) -> None:
        """Write a record."""
        self._dynamo.put(SUMMARY, {"Type": type_, **record})

    def put_newest(self, type_: str, record: Mapping[str, Any]) -> bool:
        """Write a record unless one with a later ``timestamp_ms`` is there; one of the future gives way to any."""
        stored = Attr("timestamp_ms")
        older = Attr("Type").not_exists() | stored.lte(record["timestamp_ms"]) | stored.gt(now_ms() + CLOCKS_APART_MS)
        try:
            self._dynamo.put(SUMMARY, {"Type": type_, **record}, older)
        except ConditionFailedError:
            return False
        return True

    def put_rows(self, type_: str, record: Mapping[str, Any], field: str, parts: Sequence[bytes]) -> dict[str, Any]:
        """Write a record unless a newer one is there, with the parts of a list in ``field``.

        The first part is in the record itself, which is returned; the others are in ``<type>:<number>``.
        """
        first, *others = parts
        for number, part in enumerate(others, start=1):
            self.put_newest(f"{type_}:{number}", {"timestamp_ms": record["timestamp_ms"], field: part})
        whole = {**record, field: first, "Records": len(parts)}
        self.put_newest(type_, whole)
        return whole

    def get_whole(self, types: Iterable[str]) -> dict[str, DynamoItem]:
        """As ``get_many``, with all parts of their lists for ``rows_of``: one request more where there are several."""
        records = self.get_many(types)
        more = {
            f"{type_}:{number}": type_
            for type_, record in records.items()
            for number in range(1, record.get("Records", 1))
        }
        for name, part in self.get_many(more).items():
            records[more[name]].setdefault("More", []).append(part)
        return records

    def change(self, type_: str, change: Callable[[DynamoItem], Mapping[str, Any]]) -> None:
        """Replace a record by a function of what it is now, however many others do the same.

        Raises StoreError if others were always faster.
        """
        for _ in range(MAX_TRIES):
            before = self.get(type_) or {}
            version = before.get("Version")
            same = Attr("Version").eq(version) if version else Attr("Version").not_exists()
            try:
                self._dynamo.put(SUMMARY, {**change(before), "Type": type_, "Version": (version or 0) + 1}, same)
            except ConditionFailedError:
                continue
            return
        raise StoreError(f"The record {type_!r} of {self._dynamo.name(SUMMARY)} kept changing while it was written.")

    def open_scan(self, scan: Scan) -> Scan:
        """Record what a scan sets out to do, once: returns what was recorded first under this id."""
        item = {
            "Type": _scan_type(scan.scan_id),
            "Plan": encode(scan.model_dump(mode="json")),
            "ExpiresAt": _expiry(scan.started_ms),
        }
        try:
            self._dynamo.put(SUMMARY, item, Attr("Type").not_exists())
        except ConditionFailedError:
            return self.scan(scan.scan_id) or scan
        return scan

    def scan(self, scan_id: str) -> Scan | None:
        """What a scan set out to do, None if no such scan is known."""
        item = self.get(_scan_type(scan_id))
        return Scan(**decode(item["Plan"])) if item else None

    def record_outcome(self, scan: Scan, outcome: Outcome) -> None:
        """Note what a scan did in one (account, service), on top of what an attempt before this one did there.

        A run whose process died is started once more under the same scan, and finds done what the first one did.
        """
        key = {"Type": _scan_type(scan.scan_id, outcome.account_id)}
        name = _outcome_name(outcome.service)
        earlier: bytes | None = None
        total = outcome
        for _ in range(MAX_TRIES):
            encoded = encode(total.model_dump(mode="json"))
            same = Attr(name).not_exists() if earlier is None else Attr(name).eq(earlier)
            try:
                self._dynamo.update(
                    SUMMARY, key, {name: encoded, "ExpiresAt": _expiry(scan.started_ms)}, condition=same
                )
            except ConditionFailedError:
                earlier = (self._dynamo.get(SUMMARY, key) or {}).get(name)
                # What this very call wrote when its first answer was lost.
                if earlier == encoded:
                    return
                total = outcome.following(Outcome(**decode(earlier))) if earlier else outcome
                continue
            return
        raise StoreError(f"The outcome of {key['Type']} in {outcome.service} kept changing while it was written.")

    def outcome(self, scan_id: str, account_id: str, service: str) -> Outcome | None:
        """What a scan did so far in one (account, service), None if nothing is recorded."""
        recorded = (self.get(_scan_type(scan_id, account_id)) or {}).get(_outcome_name(service))
        return Outcome(**decode(recorded)) if recorded else None

    def outcomes(self, scan_id: str, accounts: Iterable[str]) -> list[Outcome]:
        """What a scan did so far in the given accounts."""
        records = self.get_many(_scan_type(scan_id, account) for account in accounts)
        return [
            Outcome(**decode(value))
            for record in records.values()
            for name, value in record.items()
            if name.startswith("Outcome:")
        ]

    def set_part(self, account_id: str, part: str, service: str, totals: Mapping[str, Any]) -> None:
        """Replace one part (``Resources`` or ``Findings``) of an account's totals for one service."""
        self._dynamo.update(SUMMARY, {"Type": account_type(account_id)}, {f"{part}:{service}": encode(totals)})

    def parts(self, account_ids: Iterable[str]) -> dict[str, dict[tuple[str, str], Any]]:
        """The totals of some accounts: by account id, then (part, service)."""
        records = self.get_many(account_type(account_id) for account_id in account_ids)
        return {
            type_.partition(":")[2]: {_part_key(name): decode(value) for name, value in record.items() if ":" in name}
            for type_, record in records.items()
        }

    def forget_account(self, account_id: str, part: str, services: Iterable[str]) -> None:
        """Remove one part of an account's totals."""
        self._dynamo.update(
            SUMMARY, {"Type": account_type(account_id)}, remove=[f"{part}:{service}" for service in services]
        )


def rows_of(record: Mapping[str, Any], field: str) -> list[Any]:
    """The list that ``put_rows`` was given, of a record that ``get_whole`` read; empty if there is none.

    Of parts written by two roll-ups at once a row may come twice.
    """
    parts = (record, *record.get("More", ()))
    return [row for part in parts if field in part for row in decode(part[field])]


def account_type(account_id: str) -> str:
    """The ``Type`` of an account's totals."""
    return f"account:{account_id}"


def _part_key(name: str) -> tuple[str, str]:
    part, _, service = name.partition(":")
    return part, service


def _scan_type(scan_id: str, account_id: str = "") -> str:
    return f"scan:{scan_id}:{account_id}" if account_id else f"scan:{scan_id}"


def _outcome_name(service: str) -> str:
    return f"Outcome:{service}"


def _expiry(started_ms: int) -> int:
    """DynamoDB expires items by seconds since the epoch."""
    return (started_ms + LEDGER_DAYS * DAY_MS) // 1000
