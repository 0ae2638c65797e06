"""Findings and how they change: only on transition. Pure.

A finding row exists only if its resource was once non-compliant. Everything is evaluated; what is written is what
became ACTIVE, became RESOLVED, or whose evidence, severity or mute changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from qrie_dagster.times import DAY_MS

# How long the past of a finding is kept: eight weeks, the current one included, and a day for a change of date.
HISTORY_DAYS = 8 * 7 + 1
# A row of one finding that comes and goes all day must stay small.
EPISODES_KEPT = 500

FindingKey: TypeAlias = tuple[str, str]


class State(StrEnum):
    """The two states of a finding."""

    ACTIVE = "ACTIVE"
    RESOLVED = "RESOLVED"


class Reason(StrEnum):
    """Why a finding was resolved."""

    COMPLIANT = "COMPLIANT"
    RESOURCE_DELETED = "RESOURCE_DELETED"
    POLICY_SUSPENDED = "POLICY_SUSPENDED"
    OUT_OF_SCOPE = "OUT_OF_SCOPE"
    ACCOUNT_REMOVED = "ACCOUNT_REMOVED"


class Change(StrEnum):
    """What a transition does to the list of open findings."""

    CREATED = "created"
    REOPENED = "reopened"
    UNMUTED = "unmuted"
    UPDATED = "updated"
    CLOSED = "closed"


class Episode(NamedTuple):
    """One time that a finding was open, with the severity it opened at; ``closed`` None while it is. Times in ms."""

    opened: int
    severity: int
    closed: int | None = None


@dataclass(frozen=True)
class By:
    """The scan that changed a finding last, and how; nobody when people did."""

    scan_id: str
    change: Change


@dataclass(frozen=True)
class Finding:
    """A resource that breaks, or broke, a policy. Times in ms.

    ``describe_time`` is that of the observation the finding rests on. ``muted`` is the id of the rule by which it is
    set aside; only an open finding is. ``episodes`` are the times it was open that a trend still asks for, the oldest
    first. ``by`` is for scans that are made again after they died in the middle.
    """

    arn: str
    policy: str
    account_service: str
    state: State
    severity: int
    evidence: Mapping[str, Any] = field(default_factory=dict)
    first_seen: int = 0
    last_evaluated: int = 0
    describe_time: int = 0
    resolved_at: int | None = None
    resolved_reason: Reason | None = None
    muted: str | None = None
    episodes: tuple[Episode, ...] = ()
    by: By | None = field(default=None, compare=False)

    @property
    def key(self) -> FindingKey:
        """(ARN, policy id)."""
        return self.arn, self.policy

    @property
    def open(self) -> bool:
        """Whether it is ACTIVE."""
        return self.state is State.ACTIVE

    @property
    def history(self) -> tuple[Episode, ...]:
        """Its episodes; of a row that an older qrie wrote without them, the one that it tells of."""
        return self.episodes or (Episode(self.first_seen, self.severity, self.resolved_at),)


@dataclass(frozen=True)
class Violated:
    """The resource, as observed at ``describe_time``, breaks the policy; ``muted`` is the rule that mutes it."""

    arn: str
    policy: str
    account_service: str
    severity: int
    evidence: Mapping[str, Any]
    describe_time: int
    muted: str | None = None


@dataclass(frozen=True)
class Settled:
    """There is a reason why the finding must not be open.

    ``describe_time`` is given where the reason is an observation of the resource.
    """

    arn: str
    policy: str
    reason: Reason
    describe_time: int | None = None


@dataclass(frozen=True)
class Muting:
    """If the finding is open, it is muted by this rule, or by none. No observation: nothing else changes."""

    arn: str
    policy: str
    muted: str | None


Judgement: TypeAlias = Violated | Settled | Muting


@dataclass(frozen=True)
class Transition:
    """A finding before and after; ``judgement`` is why."""

    change: Change
    before: Finding | None
    after: Finding
    judgement: Judgement


def transition(judgement: Judgement, stored: Finding | None, now: int) -> Transition | None:
    """What a judgement changes about the stored finding, None if nothing.

    An observation older than the one the finding rests on changes nothing; the same observation may, because
    policy, scope, severity and mute change on their own.
    """
    if isinstance(judgement, Muting):
        if stored is None or not stored.open or stored.muted == judgement.muted:
            return None
        after = replace(stored, muted=judgement.muted, last_evaluated=now)
        return Transition(_update(stored, after), stored, after, judgement)
    if stored and judgement.describe_time is not None and judgement.describe_time < stored.describe_time:
        return None
    if isinstance(judgement, Settled):
        if stored and stored.open:
            return Transition(Change.CLOSED, stored, _closed(stored, judgement, now), judgement)
        if stored and judgement.reason is Reason.ACCOUNT_REMOVED and stored.describe_time:
            afresh = replace(stored, last_evaluated=now, describe_time=0)
            return Transition(Change.UPDATED, stored, afresh, judgement)
        return None
    opened = Finding(
        judgement.arn,
        judgement.policy,
        judgement.account_service,
        State.ACTIVE,
        judgement.severity,
        judgement.evidence,
        stored.first_seen if stored else now,
        now,
        judgement.describe_time,
        muted=judgement.muted,
        episodes=_episodes(stored, judgement.severity, now),
    )
    if stored is None:
        return Transition(Change.CREATED, None, opened, judgement)
    if not stored.open:
        return Transition(Change.REOPENED, stored, opened, judgement)
    # The name of a deleted bucket may turn up in another account: its finding moves there.
    if _content(stored) != _content(opened):
        return Transition(_update(stored, opened), stored, opened, judgement)
    return None


def _episodes(stored: Finding | None, severity: int, now: int) -> tuple[Episode, ...]:
    """Those of a finding that is open at ``now``, whatever it was before."""
    if stored and stored.open:
        return stored.episodes
    since = now - HISTORY_DAYS * DAY_MS
    earlier = [episode for episode in stored.history if (episode.closed or 0) >= since] if stored else []
    return (*earlier[1 - EPISODES_KEPT :], Episode(now, severity))


def _update(before: Finding, after: Finding) -> Change:
    return Change.UNMUTED if before.muted and not after.muted else Change.UPDATED


def _content(finding: Finding) -> tuple[Any, ...]:
    return finding.account_service, finding.severity, finding.evidence, finding.muted


def _closed(stored: Finding, settled: Settled, now: int) -> Finding:
    *earlier, last = stored.history
    # Should the account come back, it starts afresh: with clocks, maybe, that are behind what they were.
    rests_on = 0 if settled.reason is Reason.ACCOUNT_REMOVED else settled.describe_time or stored.describe_time
    return replace(
        stored,
        state=State.RESOLVED,
        last_evaluated=now,
        describe_time=rests_on,
        resolved_at=now,
        resolved_reason=settled.reason,
        muted=None,
        episodes=(*earlier, last._replace(closed=now)),
    )


def transitions(
    judgements: Mapping[FindingKey, Judgement], stored: Mapping[FindingKey, Finding], now: int
) -> Iterator[Transition]:
    """Everything the judgements change."""
    for key, judgement in judgements.items():
        changed = transition(judgement, stored.get(key), now)
        if changed:
            yield changed
