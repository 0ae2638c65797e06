from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrie_dagster.findings import (
    EPISODES_KEPT,
    HISTORY_DAYS,
    Change,
    Episode,
    Finding,
    Judgement,
    Reason,
    Settled,
    State,
    Transition,
    Violated,
    transition,
    transitions,
)
from qrie_dagster.times import DAY_MS

ARN, POLICY, GROUP = "arn:aws:s3:::b", "S3BucketPublic", "111111111111_s3"
KEY = (ARN, POLICY)
NOW = 1_000
OBSERVED = 500

OPEN = Finding(ARN, POLICY, GROUP, State.ACTIVE, 90, {"Acl": "public"}, 100, 200, OBSERVED)
RESOLVED = replace(OPEN, state=State.RESOLVED, last_evaluated=300, resolved_at=300, resolved_reason=Reason.COMPLIANT)


def violated(at: int = OBSERVED, severity: int = 90, **evidence: Any) -> Violated:
    return Violated(ARN, POLICY, GROUP, severity, evidence or {"Acl": "public"}, at)


def changed(judgement: Judgement, before: Finding | None) -> Transition:
    happened = transition(judgement, before, NOW)
    assert happened is not None
    assert happened.before is before
    assert happened.judgement is judgement
    assert happened.after.key == KEY
    return happened


def test_a_first_violation_opens_a_finding() -> None:
    opened = changed(violated(), None)
    assert opened.change is Change.CREATED
    assert opened.after == Finding(
        ARN, POLICY, GROUP, State.ACTIVE, 90, {"Acl": "public"}, NOW, NOW, OBSERVED, episodes=(Episode(NOW, 90),)
    )


def test_the_same_violation_again_changes_nothing() -> None:
    assert transition(violated(), OPEN, NOW) is None
    assert transition(violated(OBSERVED + 1), OPEN, NOW) is None


@pytest.mark.parametrize("at", [OBSERVED, OBSERVED + 1])
def test_other_evidence_updates_it(at: int) -> None:
    updated = changed(violated(at, Policy="public"), OPEN)
    assert updated.change is Change.UPDATED
    assert updated.after == replace(OPEN, evidence={"Policy": "public"}, last_evaluated=NOW, describe_time=at)


def test_another_severity_updates_it_with_the_same_observation() -> None:
    updated = changed(violated(severity=40), OPEN)
    assert updated.change is Change.UPDATED
    assert updated.after == replace(OPEN, severity=40, last_evaluated=NOW)


def test_a_bucket_that_moved_to_another_account_takes_its_finding_with_it() -> None:
    moved = replace(violated(), account_service="222222222222_s3")
    updated = changed(moved, OPEN)
    assert updated.change is Change.UPDATED
    assert updated.after.account_service == "222222222222_s3"


@pytest.mark.parametrize("at", [OBSERVED, OBSERVED + 1])
def test_reopening_clears_the_resolution_and_keeps_the_first_sight(at: int) -> None:
    reopened = changed(violated(at), RESOLVED)
    assert reopened.change is Change.REOPENED
    # The row is of an older qrie: its first time open is told by the row itself.
    episodes = (Episode(OPEN.first_seen, 90, 300), Episode(NOW, 90))
    assert reopened.after == replace(OPEN, last_evaluated=NOW, describe_time=at, episodes=episodes)
    assert (reopened.after.resolved_at, reopened.after.resolved_reason) == (None, None)
    assert reopened.after.first_seen == OPEN.first_seen


@pytest.mark.parametrize("reason", list(Reason))
def test_an_open_finding_is_closed_for_every_reason(reason: Reason) -> None:
    closed = changed(Settled(*KEY, reason), OPEN)
    assert closed.change is Change.CLOSED
    assert closed.after == replace(
        OPEN,
        state=State.RESOLVED,
        last_evaluated=NOW,
        resolved_at=NOW,
        resolved_reason=reason,
        describe_time=0 if reason is Reason.ACCOUNT_REMOVED else OBSERVED,
        episodes=(Episode(OPEN.first_seen, 90, NOW),),
    )


def test_a_compliant_observation_leaves_its_time() -> None:
    closed = changed(Settled(*KEY, Reason.COMPLIANT, OBSERVED + 7), OPEN)
    assert closed.after.describe_time == OBSERVED + 7


@pytest.mark.parametrize("reason", list(Reason))
def test_what_was_never_open_is_not_closed(reason: Reason) -> None:
    assert transition(Settled(*KEY, reason), None, NOW) is None
    assert reason is Reason.ACCOUNT_REMOVED or transition(Settled(*KEY, reason), RESOLVED, NOW) is None


@pytest.mark.parametrize("before", [OPEN, RESOLVED])
def test_after_an_account_was_removed_any_observation_is_newer(before: Finding) -> None:
    gone = Settled(*KEY, Reason.ACCOUNT_REMOVED)
    future = replace(before, describe_time=10**15)
    left = changed(gone, future)
    assert (left.change is Change.CLOSED) is before.open
    assert transition(gone, left.after, NOW) is None
    assert changed(violated(), left.after).change is Change.REOPENED


@pytest.mark.parametrize("stored", [OPEN, RESOLVED])
@pytest.mark.parametrize(
    "judgement", [violated(OBSERVED - 1, Acl="other"), Settled(*KEY, Reason.COMPLIANT, OBSERVED - 1)]
)
def test_an_older_observation_is_ignored(stored: Finding, judgement: Judgement) -> None:
    assert transition(judgement, stored, NOW) is None


def test_what_is_no_observation_is_never_too_old() -> None:
    assert changed(Settled(*KEY, Reason.POLICY_SUSPENDED), replace(OPEN, describe_time=10**15)).after.open is False


def test_a_relaunched_policy_reopens_over_the_same_inventory() -> None:
    suspended = changed(Settled(*KEY, Reason.POLICY_SUSPENDED), OPEN).after
    reopened = changed(violated(), suspended)
    assert reopened.change is Change.REOPENED


def test_the_past_of_a_finding_that_comes_and_goes_is_bounded() -> None:
    finding = OPEN
    for now in range(1_000, 1_000 + 4 * EPISODES_KEPT, 2):
        for judgement in (Settled(*KEY, Reason.POLICY_SUSPENDED), violated()):
            happened = transition(judgement, finding, now)
            assert happened
            finding = happened.after
    assert len(finding.episodes) == EPISODES_KEPT
    # What nobody asks for any more is dropped.
    long_after = now + HISTORY_DAYS * DAY_MS + 1
    closed = transition(Settled(*KEY, Reason.POLICY_SUSPENDED), finding, long_after)
    assert closed
    reopened = transition(violated(), closed.after, long_after)
    assert reopened
    assert reopened.after.episodes == (Episode(now, 90, long_after), Episode(long_after, 90))


def test_only_what_changes_is_told() -> None:
    other = ("arn:aws:s3:::c", POLICY)
    judgements: dict[tuple[str, str], Judgement] = {KEY: violated(), other: Settled(*other, Reason.COMPLIANT, OBSERVED)}
    assert list(transitions(judgements, {KEY: OPEN}, NOW)) == []
    assert [t.change for t in transitions(judgements, {}, NOW)] == [Change.CREATED]


TIMES = st.integers(1, 5)
JUDGEMENTS: st.SearchStrategy[Judgement] = st.one_of(
    st.builds(
        lambda at, severity, fact: violated(at, severity, fact=fact), TIMES, st.sampled_from([40, 90]), st.booleans()
    ),
    st.builds(lambda at: Settled(*KEY, Reason.COMPLIANT, at), TIMES),
    st.builds(lambda reason: Settled(*KEY, reason), st.sampled_from([r for r in Reason if r is not Reason.COMPLIANT])),
)


@given(history=st.lists(JUDGEMENTS, max_size=12))
def test_any_history_keeps_the_promises(history: list[Judgement]) -> None:
    finding: Finding | None = None
    first_seen: int | None = None
    for now, judgement in enumerate(history, start=100):
        happened = transition(judgement, finding, now)
        if happened is None:
            continue
        before, finding = finding, happened.after
        first_seen = first_seen or now
        # A row exists only if it was once open; the first sight never moves; observations never go back.
        assert before is not None or finding.open
        assert finding.first_seen == first_seen
        left = isinstance(judgement, Settled) and judgement.reason is Reason.ACCOUNT_REMOVED
        assert before is None or finding.describe_time >= before.describe_time * (not left)
        assert finding.last_evaluated == now
        assert finding.open is isinstance(judgement, Violated)
        if before and not before.open and left:
            assert (finding.resolved_at, finding.resolved_reason) == (before.resolved_at, before.resolved_reason)
        else:
            assert (finding.resolved_at, finding.resolved_reason) == (
                (None, None) if finding.open else (now, judgement.reason if isinstance(judgement, Settled) else None)
            )
        # Judging the same again, at any later time, changes nothing.
        assert transition(judgement, finding, now + 1_000) is None
