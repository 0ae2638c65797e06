"""When the loop itself has stopped. Nobody else knows the rules: freshness, checks, API and alerts ask here.

Inventory has drifted when the last full inventory is older than its window (8 days by default), policy when the last
full policy scan is (26 hours by default). Exactly at the window is not drift. Never scanned is drift as soon as one
account is registered and active. So is a scan of the future: a clock was wrong, and its age says nothing. Each
(account, service) is judged by the same windows, besides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from qrie_dagster.models import Account, ScanKind
from qrie_dagster.settings import Settings
from qrie_dagster.times import CLOCKS_APART_MS, HOUR_MS, age_hours, age_text

# The share of a window after which Dagster warns: 7.5 days of 8, about 24.4 of 26 hours.
WARN_AFTER = 15 / 16
LISTED = 20


@dataclass(frozen=True)
class DriftRules:
    """The windows, in hours."""

    inventory_hours: float
    policy_hours: float

    @classmethod
    def of(cls, settings: Settings) -> "DriftRules":
        """The windows that the settings name."""
        return cls(settings.inventory_drift_hours, settings.policy_drift_hours)

    def hours(self, kind: ScanKind) -> float:
        """The window of a kind of scan, in hours."""
        return self.inventory_hours if kind is ScanKind.INVENTORY else self.policy_hours

    def window(self, kind: ScanKind) -> timedelta:
        """The age at which a kind of scan has drifted."""
        return timedelta(hours=self.hours(kind))

    def warning(self, kind: ScanKind) -> timedelta:
        """The age at which drift is near."""
        return self.window(kind) * WARN_AFTER

    def drifted(self, kind: ScanKind, last_ms: int | None, now: int) -> bool:
        """Whether a scan that last ended at ``last_ms`` (None: never) is too old, or has not happened yet."""
        return last_ms is None or of_the_future(last_ms, now) or now - last_ms > self.hours(kind) * HOUR_MS


def of_the_future(ms: int, now: int) -> bool:
    """Whether ``ms`` was stamped by a clock that is ahead of this one."""
    return ms > now + CLOCKS_APART_MS


@dataclass(frozen=True)
class Drift:
    """The verdict on the loop, with a reason in words for each kind that drifted."""

    inventory: bool
    policy: bool
    reasons: tuple[str, ...]

    @property
    def detected(self) -> bool:
        """Whether either kind drifted."""
        return self.inventory or self.policy


def judge_drift(rules: DriftRules, last: Mapping[ScanKind, int | None], active_accounts: int, now: int) -> Drift:
    """The verdict from the end of each kind's last full scan (ms, None for never)."""
    drifted: dict[ScanKind, bool] = {}
    reasons: list[str] = []
    for kind in ScanKind:
        ended = last.get(kind)
        drifted[kind] = rules.drifted(kind, ended, now) and (ended is not None or active_accounts > 0)
        if not drifted[kind]:
            continue
        if ended is None:
            reasons.append(f"{kind.value}: never_scanned")
        elif of_the_future(ended, now):
            reasons.append(
                f"{kind.value}: the last full scan is dated {age_text(now, ended)} ahead of the clock of this machine:"
                " set the clocks right and scan again"
            )
        else:
            reasons.append(
                f"{kind.value}: last full scan ended {age_text(ended, now)} ago, the limit is {rules.hours(kind):g} h"
            )
    return Drift(drifted[ScanKind.INVENTORY], drifted[ScanKind.POLICY], tuple(reasons))


@dataclass(frozen=True)
class ScopeAge:
    """When one (account, service) was last scanned with success, for one kind."""

    kind: ScanKind
    account_id: str
    service: str
    last_success: int | None
    last_error: str | None = None

    def as_record(self, now: int) -> dict[str, object]:
        """The scope as the dashboard shows it."""
        return {
            "kind": self.kind.value,
            "account_id": self.account_id,
            "service": self.service,
            "timestamp_ms": self.last_success,
            "age_hours": None if self.last_success is None else age_hours(self.last_success, now),
            "last_error": self.last_error,
        }


def scope_ages(accounts: Iterable[Account], services: Iterable[str]) -> list[ScopeAge]:
    """The age of every (account, service) of the active accounts, for both kinds."""
    services = list(services)
    return [
        ScopeAge(kind, account.account_id, service, scan.last_success, scan.last_error)
        for account in accounts
        if account.active
        for kind in ScanKind
        for service in services
        for scan in [account.scan(kind, service)]
    ]


def stale_scopes(rules: DriftRules, ages: Iterable[ScopeAge], now: int) -> list[ScopeAge]:
    """The scopes that drifted on their own, the oldest first."""
    stale = [age for age in ages if rules.drifted(age.kind, age.last_success, now)]
    return sorted(stale, key=lambda age: (age.last_success or 0, age.account_id, age.service, age.kind))
