from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from qrie_dagster.findings import Episode, Finding, Reason, Settled, State, Violated, transition
from qrie_dagster.policies.policy import band
from qrie_dagster.summary.totals import (
    DayTotals,
    FindingTotals,
    PolicyTotals,
    add_counts,
    add_findings,
    finding_totals,
)
from qrie_dagster.summary.trend import weekly
from qrie_dagster.times import DAY_MS, as_ms

# A Wednesday; its week began on Monday the 16th.
NOW = as_ms(datetime(2025, 6, 18, 15, 30, tzinfo=UTC))


def at(month: int, day: int, hour: int = 12) -> int:
    return as_ms(datetime(2025, month, day, hour, tzinfo=UTC))


def finding(
    name: str, first_seen: int, resolved_at: int | None = None, severity: int = 60, policy: str = "P"
) -> Finding:
    state = State.ACTIVE if resolved_at is None else State.RESOLVED
    reason = None if resolved_at is None else Reason.COMPLIANT
    return Finding(name, policy, "1_s3", state, severity, {}, first_seen, NOW, NOW, resolved_at, reason)


FINDINGS = [
    finding("a", at(6, 17), severity=95),
    finding("a", at(6, 9), severity=50, policy="Q"),
    finding("b", at(6, 9), at(6, 18), severity=90),
    finding("c", at(1, 1), at(6, 10)),
    finding("d", at(1, 1), at(1, 2)),
    finding("e", at(1, 1), severity=24),
]
TYPES = {"a": "Bucket", "b": "Bucket", "e": "Block"}


def test_totals_by_hand() -> None:
    totals = finding_totals(FINDINGS, TYPES, NOW)
    assert totals.policies == {
        "P": PolicyTotals(severity=95, open=2, resolved=3),
        "Q": PolicyTotals(severity=50, open=1, resolved=0),
    }
    assert totals.bands == {"critical": 1, "high": 1, "low": 1}
    assert totals.non_compliant == {"Bucket": 1, "Block": 1}
    assert totals.days == {
        "2025-06-17": DayTotals(first_seen=1, new=1, critical_new=1),
        "2025-06-09": DayTotals(first_seen=2, new=2, critical_new=1),
        "2025-06-18": DayTotals(closed=1),
        "2025-06-10": DayTotals(closed=1),
    }
    assert (totals.open, totals.resolved) == (3, 3)


def test_a_severity_is_that_of_what_is_active() -> None:
    lowered = [finding("a", NOW, severity=40), finding("b", at(1, 1), at(1, 2), severity=90)]
    muted = replace(finding("c", NOW, severity=60), muted="m")
    assert finding_totals(lowered, {}, NOW).policies["P"].severity == 40
    assert finding_totals([*lowered, muted], {}, NOW).policies["P"].severity == 60
    # Only what was resolved is left.
    assert finding_totals(lowered[1:], {}, NOW).policies["P"].severity == 90
    for parts in (lowered, lowered[::-1]):
        assert add_findings([finding_totals([one], {}, NOW) for one in parts], NOW).policies["P"].severity == 40


def test_nothing_totals_nothing() -> None:
    assert finding_totals([], {}, NOW) == FindingTotals() == add_findings([], NOW)


def test_findings_of_resources_that_are_not_stored_are_of_no_type() -> None:
    totals = finding_totals([finding("gone", NOW)], {}, NOW)
    assert (totals.open, totals.non_compliant) == (1, {})


def test_a_day_begins_at_midnight_utc() -> None:
    midnight = as_ms(datetime(2025, 6, 18, tzinfo=UTC))
    totals = finding_totals([finding("a", midnight - 1), finding("b", midnight)], {}, NOW)
    assert {day: counts.new for day, counts in totals.days.items()} == {"2025-06-17": 1, "2025-06-18": 1}


def test_sums_by_hand() -> None:
    one = finding_totals(FINDINGS[:3], TYPES, NOW)
    two = finding_totals(FINDINGS[3:], TYPES, NOW)
    assert add_findings([one, two], NOW) == finding_totals(FINDINGS, TYPES, NOW)
    assert add_findings([one], NOW) == one


def test_summing_changes_no_part() -> None:
    one = finding_totals(FINDINGS, TYPES, NOW)
    before = one.model_copy(deep=True)
    add_findings([one, one], NOW)
    assert one == before


def test_days_that_are_too_old_are_left_out() -> None:
    old = FindingTotals(days={"2020-01-01": DayTotals(new=1), "2025-06-01": DayTotals(new=1)})
    assert set(add_findings([old], NOW).days) == {"2025-06-01"}


def test_counts_are_added_by_name() -> None:
    assert add_counts([{"a": 1}, {"a": 2, "b": 3}, {}]) == {"a": 3, "b": 3}


def test_the_weeks_by_hand() -> None:
    weeks = weekly(finding_totals(FINDINGS, TYPES, NOW), NOW)
    assert [week["week_start"] for week in weeks] == [
        *("2025-04-28", "2025-05-05", "2025-05-12", "2025-05-19", "2025-05-26", "2025-06-02"),
        *("2025-06-09", "2025-06-16"),
    ]
    assert [week["is_current"] for week in weeks] == [False] * 7 + [True]
    # c, d and e are old; d was closed long ago.
    for week in weeks[:6]:
        assert week["total_findings"] == 3
        assert week["open_findings"] == 2
        assert (week["new_findings"], week["closed_findings"], week["critical_new"]) == (0, 0, 0)
    assert weeks[6] == {
        "week_start": "2025-06-09",
        "total_findings": 5,
        "open_findings": 3,
        "new_findings": 2,
        "closed_findings": 1,
        "critical_new": 1,
        "is_current": False,
    }
    assert weeks[7] == {
        "week_start": "2025-06-16",
        "total_findings": 6,
        "open_findings": 3,
        "new_findings": 1,
        "closed_findings": 1,
        "critical_new": 1,
        "is_current": True,
    }


def test_there_are_eight_weeks_even_without_findings() -> None:
    weeks = weekly(FindingTotals(), NOW)
    assert len(weeks) == 8
    assert {(week["total_findings"], week["open_findings"]) for week in weeks} == {(0, 0)}


def by_brute_force(findings: list[Finding], now: int) -> list[dict[str, Any]]:
    """The eight weeks, counted from the rows themselves."""
    today = datetime.fromtimestamp(now / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = today - timedelta(days=today.weekday())
    weeks = []
    for back in range(7, -1, -1):
        start, end = (as_ms(monday - timedelta(weeks=w)) for w in (back, back - 1))
        known = [f for f in findings if f.first_seen < end]
        new = [f for f in known if f.first_seen >= start]
        closed = [f for f in findings if f.resolved_at is not None and f.resolved_at < end]
        weeks.append(
            {
                "week_start": (monday - timedelta(weeks=back)).date().isoformat(),
                "total_findings": len(known),
                "open_findings": len(known) - len(closed),
                "new_findings": len(new),
                "closed_findings": sum((f.resolved_at or 0) >= start for f in closed),
                "critical_new": sum(band(f.severity) == "critical" for f in new),
                "is_current": back == 0,
            }
        )
    return weeks


@st.composite
def rows(draw: st.DrawFn) -> tuple[int, list[Finding]]:
    """A time, and findings of the hundred days before it."""
    now = draw(st.integers(as_ms(datetime(2024, 2, 20, tzinfo=UTC)), as_ms(datetime(2026, 12, 31, tzinfo=UTC))))
    found = []
    for number in range(draw(st.integers(0, 12))):
        first_seen = now - draw(st.integers(0, 70)) * DAY_MS - draw(st.integers(0, DAY_MS))
        resolved_at = draw(st.none() | st.integers(first_seen, now))
        severity = draw(st.sampled_from([10, 60, 90, 100]))
        found.append(finding(f"a{number}", first_seen, resolved_at, severity, draw(st.sampled_from("PQ"))))
    return now, found


# On a Sunday night, the first and the last moment of the oldest week and the moment before it.
SUNDAY = as_ms(datetime(2025, 6, 22, 23, 59, tzinfo=UTC))
OLDEST = as_ms(datetime(2025, 4, 28, tzinfo=UTC))
EDGES = [
    finding("first", OLDEST, OLDEST + 7 * DAY_MS),
    finding("last", OLDEST + 7 * DAY_MS - 1, SUNDAY),
    finding("before", OLDEST - 1, OLDEST),
]


@given(case=rows(), later=st.integers(0, 100 * DAY_MS), cut=st.integers(0, 12))
@example(case=(NOW, FINDINGS), later=0, cut=3)
@example(case=(SUNDAY, EDGES), later=0, cut=1)
@example(case=(NOW, FINDINGS), later=5 * DAY_MS, cut=3)
def test_the_weeks_equal_the_rows_counted_one_by_one(case: tuple[int, list[Finding]], later: int, cut: int) -> None:
    now, findings = case
    parts = [finding_totals(findings[:cut], {}, now), finding_totals(findings[cut:], {}, now)]
    # The totals are kept by the last scan and read some time after it.
    assert weekly(add_findings(parts, now), now + later) == by_brute_force(findings, now + later)


@dataclass
class Open:
    """One time that a finding was open, as somebody would note who watched."""

    since: int
    critical: bool
    until: int = 10**15


@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 9 * DAY_MS), st.sampled_from((0, 40, 95))), max_size=40
    ),
    later=st.integers(0, 100 * DAY_MS),
)
def test_the_weeks_are_those_of_a_history_kept_apart(steps: list[tuple[str, int, int]], later: int) -> None:
    """Findings open, close and open again; 0 is that the resource complies."""
    now, watched, stored = as_ms(datetime(2025, 1, 1, tzinfo=UTC)), {}, {}
    for name, passed, severity in steps:
        now += passed
        key = (name, "P")
        judgement = Violated(*key, "1_s3", severity, {}, now) if severity else Settled(*key, Reason.COMPLIANT, now)
        happened = transition(judgement, stored.get(key), now)
        if happened:
            stored[key] = happened.after
        times: list[Open] = watched.setdefault(key, [])
        is_open = bool(times) and times[-1].until > now
        if severity and not is_open:
            times.append(Open(now, severity >= 90))
        elif not severity and is_open:
            times[-1].until = now
    read = now + later
    weeks = weekly(finding_totals(stored.values(), {}, now), read)
    for week in weeks:
        start = as_ms(datetime.fromisoformat(week["week_start"]).replace(tzinfo=UTC))
        end = start + 7 * DAY_MS
        every = [time for times in watched.values() for time in times]
        new = [time for time in every if start <= time.since < end]
        assert week == {
            "week_start": week["week_start"],
            "total_findings": sum(bool(times) and times[0].since < end for times in watched.values()),
            "open_findings": sum(time.since < end <= time.until for time in every),
            "new_findings": len(new),
            "closed_findings": sum(start <= time.until < end for time in every),
            "critical_new": sum(time.critical for time in new),
            "is_current": week is weeks[-1],
        }


def test_reopening_today_leaves_past_weeks_alone() -> None:
    opened, closed = NOW - 42 * DAY_MS, NOW - 28 * DAY_MS
    before = replace(finding("a", opened, closed), episodes=(Episode(opened, 60, closed),))
    past = weekly(finding_totals([before], {}, NOW), NOW)[:-1]
    again = transition(Violated("a", "P", "1_s3", 60, {}, NOW), before, NOW)
    assert again
    assert weekly(finding_totals([again.after], {}, NOW), NOW)[:-1] == past


@given(case=rows(), cut=st.integers(0, 12))
def test_parts_add_up_to_the_whole(case: tuple[int, list[Finding]], cut: int) -> None:
    now, findings = case
    types = {finding.arn: "Bucket" for finding in findings}
    parts = [finding_totals(findings[:cut], types, now), finding_totals(findings[cut:], types, now)]
    whole = finding_totals(findings, types, now)
    summed = add_findings(parts, now)
    assert summed.model_dump(exclude={"days"}) == whole.model_dump(exclude={"days"})
    assert whole.open == sum(finding.open for finding in findings) == sum(whole.bands.values())


@given(case=rows())
def test_totals_survive_the_store(case: tuple[int, list[Finding]]) -> None:
    now, findings = case
    totals = finding_totals(findings, {}, now)
    assert FindingTotals(**totals.model_dump()) == totals
