"""The records of a finished scan: one computation for DynamoDB, Dagster's metadata and the dashboard alike."""

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel, ConfigDict

from qrie_dagster.models import Account, Opened, Outcome, ScanKind, ScanType, ScopeFailure
from qrie_dagster.store.summary import Scan

LAST_INVENTORY_SCAN = "last_inventory_scan"
LAST_POLICY_SCAN = "last_policy_scan"
LAST_SCAN = {ScanKind.INVENTORY: LAST_INVENTORY_SCAN, ScanKind.POLICY: LAST_POLICY_SCAN}
FAILURES_LISTED = 20
FAILURE_LENGTH = 300
_NOT_FLAT = {"counts", "failures", "failed_set", "kind", "complete", "failed_scopes", "opened"}

# What each kind of scan counts.
COUNTS = {
    ScanKind.INVENTORY: (
        "resources_found",
        "resources_created",
        "resources_updated",
        "resources_deleted",
        "resources_unchanged",
        "superseded",
    ),
    ScanKind.POLICY: (
        "processed_resources",
        "skipped_resources",
        "findings_created",
        "findings_closed",
        "findings_updated",
        "critical_created",
    ),
}


class ScanRecord(BaseModel):
    """What a scan did, whole. Times in ms; ``failures`` holds the first 20.

    ``failed_set`` is the same for the same account/service/region that failed, whatever the reasons.
    ``complete`` means that every account that was active when the scan began, and every service, was attempted, and
    that every service succeeded somewhere: only such a scan speaks for the whole estate.
    """

    model_config = ConfigDict(frozen=True)

    scan_id: str
    kind: ScanKind
    scan_type: ScanType
    complete: bool
    started_ms: int
    timestamp_ms: int
    duration_ms: int
    account_id: str
    service: str
    accounts_processed: int
    policies_evaluated: int
    failed_scopes: int
    failures: tuple[str, ...]
    failed_set: str
    counts: dict[str, int]
    opened: tuple[Opened, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """The fields of the ``last_*`` records, flat, as the contract names them."""
        record = self.model_dump(mode="json", exclude=_NOT_FLAT)
        if self.kind is ScanKind.INVENTORY:
            del record["policies_evaluated"]
        return {
            **record,
            **self.counts,
            "failed_scopes": {"count": self.failed_scopes, "first": list(self.failures)},
        }

    def as_history(self) -> dict[str, Any]:
        """The scan as one entry of the history, its failures shortened."""
        first = [failure[:FAILURE_LENGTH] for failure in self.failures]
        return {
            **self.as_record(),
            "kind": self.kind.value,
            "complete": self.complete,
            "opened": [opened.model_dump() for opened in self.opened],
            "failed_scopes": {"count": self.failed_scopes, "first": first, "set": self.failed_set},
        }


def scan_record(
    scan: Scan, outcomes: Sequence[Outcome], accounts: Sequence[Account], services: Sequence[str]
) -> ScanRecord:
    """The record of ``scan`` from what it did; ``accounts`` and ``services`` are all that are registered."""
    attempted = {(outcome.account_id, outcome.service) for outcome in outcomes}
    estate = {
        (account.account_id, service)
        for account in accounts
        if account.active and account.active_since <= scan.started_ms
        for service in services
    }
    succeeded = {outcome.service for outcome in outcomes if not outcome.failed}
    whole = bool(estate) and estate <= attempted and not scan.policies
    complete = whole and succeeded >= set(services)
    active = {account.account_id for account in accounts if account.active}
    # An account that left in the meantime is nobody's failure.
    planned = {(account, service) for account in scan.accounts if account in active for service in scan.services}
    failures = sorted({problem for outcome in outcomes for problem in outcome.problems})
    failures += [
        str(ScopeFailure(account, service, "all regions", "not attempted: its run ended before"))
        for account, service in sorted(planned - attempted)
    ]
    ended = max([outcome.finished_ms for outcome in outcomes], default=scan.started_ms)
    return ScanRecord(
        scan_id=scan.scan_id,
        kind=scan.kind,
        scan_type=ScanType.ANTI_ENTROPY if whole else scan.scan_type,
        complete=complete,
        started_ms=scan.started_ms,
        timestamp_ms=ended,
        duration_ms=ended - scan.started_ms,
        account_id=_only({account for account, _ in attempted | planned}, whole),
        service=_only({service for _, service in attempted | planned}, whole),
        accounts_processed=len({outcome.account_id for outcome in outcomes if not outcome.failed}),
        policies_evaluated=len({policy for outcome in outcomes for policy in outcome.policies}),
        failed_scopes=len(failures),
        failures=tuple(failures[:FAILURES_LISTED]),
        failed_set=_digest(failure.partition(": ")[0] for failure in failures),
        counts={name: sum(getattr(outcome, name) for outcome in outcomes) for name in COUNTS[scan.kind]},
        opened=_opened(outcomes),
    )


def _digest(scopes: Iterable[str]) -> str:
    names = "\n".join(sorted(set(scopes)))
    return blake2b(names.encode(), digest_size=8).hexdigest() if names else ""


def _opened(outcomes: Iterable[Outcome]) -> tuple[Opened, ...]:
    counts: Counter[tuple[str, int]] = Counter()
    for outcome in outcomes:
        for opened in outcome.opened:
            counts[opened.policy, opened.severity] += opened.count
    return tuple(Opened(policy=p, severity=s, count=count) for (p, s), count in sorted(counts.items()))


def _only(names: set[str], whole: bool) -> str:
    """The one name; ``all`` for the whole estate; else the names, the first few."""
    if whole or not names:
        return "all"
    first = sorted(names)[:5]
    return ", ".join(first) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
