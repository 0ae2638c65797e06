"""Totals as a pure function of findings and resources, and their sums. Rebuilding them gives the same numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field

from qrie_dagster.findings import HISTORY_DAYS, Finding
from qrie_dagster.policies.policy import band
from qrie_dagster.times import DAY_MS, as_datetime


class PolicyTotals(BaseModel):
    """The findings of one policy. Muted ones are ACTIVE, and not among the open ones here.

    ``severity`` is the highest of those that are ACTIVE, of resolved ones only where no other is left.
    """

    severity: int = 0
    open: int = 0
    muted: int = 0
    resolved: int = 0


class DayTotals(BaseModel):
    """What happened on one day (UTC): findings that were never seen before, that opened, that were resolved.

    What happened later changes nothing about it, but that what is muted now is left out, so that the trend ends with
    what is open. ``critical_new`` opened as critical.
    """

    first_seen: int = 0
    new: int = 0
    closed: int = 0
    critical_new: int = 0


class FindingTotals(BaseModel):
    """The findings of one (account, service), one account or the whole estate.

    A finding is either open, muted or resolved: every other number leaves muted ones out until their mute ends.
    ``bands`` counts open findings by severity band; ``non_compliant`` counts resources with an open finding by
    resource type; ``days`` is by ISO date, for the last eight weeks; ``mutes`` counts muted findings by rule.
    """

    policies: dict[str, PolicyTotals] = Field(default_factory=dict)
    bands: dict[str, int] = Field(default_factory=dict)
    non_compliant: dict[str, int] = Field(default_factory=dict)
    days: dict[str, DayTotals] = Field(default_factory=dict)
    mutes: dict[str, int] = Field(default_factory=dict)

    @property
    def open(self) -> int:
        """Open findings, muted ones left out."""
        return sum(policy.open for policy in self.policies.values())

    @property
    def muted(self) -> int:
        """Muted findings."""
        return sum(policy.muted for policy in self.policies.values())

    @property
    def resolved(self) -> int:
        """Resolved findings."""
        return sum(policy.resolved for policy in self.policies.values())


def finding_totals(findings: Iterable[Finding], types: Mapping[str, str], now: int) -> FindingTotals:
    """The totals of ``findings``; ``types`` gives the resource type of each ARN that is stored."""
    totals = FindingTotals()
    bands: Counter[str] = Counter()
    mutes: Counter[str] = Counter()
    violating: set[str] = set()
    since = now - HISTORY_DAYS * DAY_MS
    for finding in findings:
        one = PolicyTotals(
            severity=finding.severity,
            open=finding.open and not finding.muted,
            muted=finding.muted is not None,
            resolved=not finding.open,
        )
        _add_policy(totals.policies.setdefault(finding.policy, PolicyTotals()), one)
        if finding.muted:
            mutes[finding.muted] += 1
            continue
        if finding.open:
            bands[band(finding.severity)] += 1
            violating.add(finding.arn)
        _add_days(totals, finding, since)
    totals.bands = dict(bands)
    totals.mutes = dict(mutes)
    totals.non_compliant = dict(Counter(types[arn] for arn in violating if arn in types))
    return totals


def _add_days(totals: FindingTotals, finding: Finding, since: int) -> None:
    if finding.first_seen >= since:
        _day(totals, finding.first_seen).first_seen += 1
    for episode in finding.history:
        if episode.opened >= since:
            day = _day(totals, episode.opened)
            day.new += 1
            day.critical_new += band(episode.severity) == "critical"
        if episode.closed is not None and episode.closed >= since:
            _day(totals, episode.closed).closed += 1


def _day(totals: FindingTotals, ms: int) -> DayTotals:
    return totals.days.setdefault(as_datetime(ms).date().isoformat(), DayTotals())


def add_findings(parts: Iterable[FindingTotals], now: int) -> FindingTotals:
    """The sum of ``parts``, without the days that are too old."""
    total = FindingTotals()
    bands: Counter[str] = Counter()
    non_compliant: Counter[str] = Counter()
    mutes: Counter[str] = Counter()
    oldest = (as_datetime(now) - timedelta(days=HISTORY_DAYS)).date().isoformat()
    for part in parts:
        for name, policy in part.policies.items():
            _add_policy(total.policies.setdefault(name, PolicyTotals()), policy)
        for date, day in part.days.items():
            if date >= oldest:
                _add(total.days.setdefault(date, DayTotals()), day)
        bands.update(part.bands)
        non_compliant.update(part.non_compliant)
        mutes.update(part.mutes)
    total.bands = dict(bands)
    total.non_compliant = dict(non_compliant)
    total.mutes = dict(mutes)
    return total


def _add_policy(total: PolicyTotals, part: PolicyTotals) -> None:
    active = [one.severity for one in (total, part) if one.open or one.muted]
    severity = max(active or (total.severity, part.severity))
    _add(total, part)
    total.severity = severity


def _add(total: PolicyTotals | DayTotals, part: PolicyTotals | DayTotals) -> None:
    for name, value in part:
        old: Any = getattr(total, name)
        setattr(total, name, old + value)


def add_counts(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of counts by name."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)
