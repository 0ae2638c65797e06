"""Totals as a pure function of findings and resources, and their sums. Rebuilding them gives the same numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field

from qrie_dagster.findings import Finding
from qrie_dagster.policies.policy import band
from qrie_dagster.times import DAY_MS, as_datetime

# Eight weeks, the current one included, and a day for the change of date during a scan.
DAYS_KEPT = 8 * 7 + 1


class PolicyTotals(BaseModel):
    """The findings of one policy. Muted ones are ACTIVE, and not among the open ones here."""

    severity: int = 0
    open: int = 0
    muted: int = 0
    resolved: int = 0


class DayTotals(BaseModel):
    """What happened on one day (UTC): findings first seen, and findings resolved that are resolved still.

    What is muted now is left out, so that the trend ends with what is open.
    """

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
    since = now - DAYS_KEPT * DAY_MS
    for finding in findings:
        policy = totals.policies.setdefault(finding.policy, PolicyTotals())
        policy.severity = max(policy.severity, finding.severity)
        if finding.muted:
            policy.muted += 1
            mutes[finding.muted] += 1
            continue
        if finding.open:
            policy.open += 1
            bands[band(finding.severity)] += 1
            violating.add(finding.arn)
        else:
            policy.resolved += 1
        if finding.first_seen >= since:
            day = _day(totals, finding.first_seen)
            day.new += 1
            day.critical_new += band(finding.severity) == "critical"
        if finding.resolved_at is not None and finding.resolved_at >= since:
            _day(totals, finding.resolved_at).closed += 1
    totals.bands = dict(bands)
    totals.mutes = dict(mutes)
    totals.non_compliant = dict(Counter(types[arn] for arn in violating if arn in types))
    return totals


def _day(totals: FindingTotals, ms: int) -> DayTotals:
    return totals.days.setdefault(as_datetime(ms).date().isoformat(), DayTotals())


def add_findings(parts: Iterable[FindingTotals], now: int) -> FindingTotals:
    """The sum of ``parts``, without the days that are too old."""
    total = FindingTotals()
    bands: Counter[str] = Counter()
    non_compliant: Counter[str] = Counter()
    mutes: Counter[str] = Counter()
    oldest = (as_datetime(now) - timedelta(days=DAYS_KEPT)).date().isoformat()
    for part in parts:
        for name, policy in part.policies.items():
            _add(total.policies.setdefault(name, PolicyTotals()), policy)
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


def _add(total: PolicyTotals | DayTotals, part: PolicyTotals | DayTotals) -> None:
    for name, value in part:
        old: Any = getattr(total, name)
        setattr(total, name, max(old, value) if name == "severity" else old + value)


def add_counts(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of counts by name."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)
