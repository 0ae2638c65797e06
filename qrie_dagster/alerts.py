"""What is worth telling people: transitions between how things were and how they are. Pure.

``observe`` compares a situation with what was observed before and queues an event for each transition, for every
channel. ``due`` says which events a channel is to be told now, ``delivered`` and ``failed`` what came of it.

Channels are outside, so exactly-once is impossible: the queue is stored before anything is sent, and an event leaves
it only after its channel has taken it. Each channel is told **at least once**: twice only if qrie dies between a
delivery and its record, or a channel took a message and said it had not.
"""

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from qrie_dagster.drift import DriftRules, judge_drift
from qrie_dagster.models import Account, Opened, ScanKind
from qrie_dagster.policies.policy import band
from qrie_dagster.times import DAY_MS, HOUR_MS, SECOND_MS, age_text, as_datetime, iso

LINES = 5
LINE_LENGTH = 200
# Some chat services refuse more than 2,000 characters.
BODY_LENGTH = 1500
TITLE_LENGTH = 80
EVENTS_KEPT = 100
# Twice what the history holds.
SCANS_KEPT = 400
FIRST_RETRY_MS = 60 * SECOND_MS
LONGEST_RETRY_MS = HOUR_MS

# What chat services and mail clients take for markup or mentions.
_MARKUP = str.maketrans({"<": "‹", ">": "›", "[": "(", "]": ")", "`": "'", "@": "＠"})


class Kind(StrEnum):
    """The transitions that are told."""

    DRIFT = "drift"
    DRIFT_ENDED = "drift_ended"
    STALE = "stale"
    FRESH = "fresh"
    SCAN_FAILED = "scan_failed"
    FINDINGS = "findings"


class Event(BaseModel):
    """Transitions of one kind that were noticed together, the first few in ``lines``, ``more`` besides.

    ``urgent`` ones do not wait for the end of quiet hours. ``at`` is in ms.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    kind: Kind
    at: int
    urgent: bool
    text: str
    lines: tuple[str, ...] = ()
    more: int = 0


class KnownScan(BaseModel):
    """What was queued of a scan that ended ``at`` (ms): that it failed, its new findings by ``<policy>/<severity>``.

    ``of`` is what it covered, ``failing`` the set of scopes that it could not read.
    """

    model_config = ConfigDict(frozen=True)

    at: int = 0
    failed: bool = False
    of: str = ""
    failing: str = ""
    opened: dict[str, int] = Field(default_factory=dict)


class ChannelState(BaseModel):
    """What a channel is still to be told, by event number, and how its last attempts went. Times in ms."""

    model_config = ConfigDict(frozen=True)

    waiting: tuple[int, ...] = ()
    dropped: int = 0
    attempts: int = 0
    failing_since: int | None = None
    next_try: int = 0
    error: str = ""


class AlertState(BaseModel):
    """Everything to be remembered between looks.

    ``drift`` and ``stale`` map what is wrong to since when (ms): a kind of scan; ``<kind>/<account>``. ``scans`` are
    those of the history that were looked at.
    """

    model_config = ConfigDict(frozen=True)

    drift: dict[str, int] = Field(default_factory=dict)
    stale: dict[str, int] = Field(default_factory=dict)
    scans: dict[str, KnownScan] = Field(default_factory=dict)
    events: tuple[Event, ...] = ()
    channels: dict[str, ChannelState] = Field(default_factory=dict)
    next_number: int = 1


class EndedScan(BaseModel):
    """What alerts look at in an entry of the history."""

    scan_id: str
    kind: ScanKind
    timestamp_ms: int
    account_id: str = "all"
    service: str = "all"
    failed_scopes: dict[str, Any] = Field(default_factory=dict)
    opened: tuple[Opened, ...] = ()

    @property
    def of(self) -> str:
        """What it covered: only scans of the same are compared."""
        return f"{self.kind}/{self.account_id}/{self.service}"

    @property
    def failing(self) -> str:
        """The same for the same scopes that could not be read, whatever the reasons; empty if there are none."""
        return str(self.failed_scopes.get("set", ""))

    @property
    def failures(self) -> int:
        """How many (account, service, region) could not be read."""
        return int(self.failed_scopes.get("count", 0))


@dataclass(frozen=True)
class Situation:
    """How things are at ``now`` (ms).

    ``drift`` maps a kind of scan to since when it has drifted (ms) and why. ``accounts`` holds ``<kind>/<account>``
    of every active account, ``stale`` those that are too old, with since when (ms). ``names`` are the accounts'.
    """

    now: int
    drift: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    accounts: Collection[str] = ()
    stale: Mapping[str, int] = field(default_factory=dict)
    scans: Sequence[EndedScan] = ()
    names: Mapping[str, str] = field(default_factory=dict)


def situation(
    rules: DriftRules,
    last: Mapping[ScanKind, int | None],
    ages: Iterable[Sequence[Any]],
    accounts: Sequence[Account],
    scans: Iterable[Mapping[str, Any]],
    now: int,
) -> Situation:
    """How things are, from the last full scans (ms), rows of (kind, account, service, last success …) and the history.

    An account that was never scanned grows stale from when it became active: a new one is not an alert.
    """
    active = {account.account_id: account for account in accounts if account.active}
    verdict = judge_drift(rules, last, len(active), now)
    drift: dict[str, tuple[int, str]] = {}
    for name, _, reason in (reason.partition(": ") for reason in verdict.reasons):
        ended = last.get(ScanKind(name))
        since = now if ended is None else ended + int(rules.hours(ScanKind(name)) * HOUR_MS)
        drift[name] = since, "there never was one" if ended is None else reason
    oldest: dict[str, int] = {}
    for kind, account_id, _service, success, *_ in ages:
        if account_id in active:
            key = f"{kind}/{account_id}"
            at = active[account_id].active_since if success is None else success
            oldest[key] = min(oldest.get(key, at), at)
    stale = {
        key: at + int(rules.hours(_kind(key)) * HOUR_MS)
        for key, at in oldest.items()
        if rules.drifted(_kind(key), at, now)
    }
    names = {account_id: account.name for account_id, account in active.items()}
    return Situation(now, drift, set(oldest), stale, [EndedScan.model_validate(scan) for scan in scans], names)


def _kind(key: str) -> ScanKind:
    return ScanKind(key.partition("/")[0])


def observe(state: AlertState | None, seen: Situation, channels: Collection[str], min_severity: int) -> AlertState:
    """The state after a look, with an event for every transition queued for every channel.

    At the very first look (no state) scans that ended before are no news; what is wrong now is. Observing the same
    situation again changes nothing.
    """
    before = state or AlertState()
    drafts = [*_drift_events(before, seen), *_account_events(before, seen)]
    if state is not None:
        drafts += _scan_events(before, seen, min_severity)
    new = [
        Event(
            number=number,
            kind=kind,
            at=seen.now,
            urgent=urgent,
            text=text,
            lines=tuple(lines[:LINES]),
            more=total - len(lines[:LINES]),
        )
        for number, (kind, urgent, text, lines, total) in enumerate(drafts, start=before.next_number)
    ]
    numbers = tuple(event.number for event in new)
    after = AlertState(
        drift={kind: before.drift.get(kind, since) for kind, (since, _) in seen.drift.items()},
        stale={key: before.stale.get(key, since) for key, since in seen.stale.items()},
        scans=_known_scans(before.scans, seen.scans),
        events=(*before.events, *new),
        channels={
            name: old.model_copy(update={"waiting": old.waiting + numbers})
            for name in channels
            for old in [before.channels.get(name, ChannelState())]
        },
        next_number=before.next_number + len(new),
    )
    return _tidy(after)


# Kind, urgent, text, lines, how many lines there really are.
_Draft = tuple[Kind, bool, str, list[str], int]


def _drift_events(before: AlertState, seen: Situation) -> Iterator[_Draft]:
    for kind, (since, reason) in seen.drift.items():
        if kind not in before.drift:
            yield Kind.DRIFT, True, f"Drift of the {_word(kind)}, since {_when(since)}: {reason}.", [], 0
    for kind, since in before.drift.items():
        if kind not in seen.drift:
            yield Kind.DRIFT_ENDED, True, f"Drift of the {_word(kind)} has ended; it began {_when(since)}.", [], 0


def _account_events(before: AlertState, seen: Situation) -> Iterator[_Draft]:
    for kind in ScanKind:
        new = [key for key in seen.stale if key not in before.stale and _kind(key) is kind]
        # An account that was removed is not fresh.
        fresh = [key for key in before.stale if key not in seen.stale and key in seen.accounts and _kind(key) is kind]
        if new:
            lines = [f"{_account(key, seen)}, since {_when(seen.stale[key])}" for key in new]
            yield Kind.STALE, False, f"{_accounts(new)} without a recent {_word(kind)}.", lines, len(lines)
        if fresh:
            lines = [f"{_account(key, seen)}, was stale since {_when(before.stale[key])}" for key in fresh]
            yield Kind.FRESH, False, f"{_accounts(fresh)} with a recent {_word(kind)} again.", lines, len(lines)


def _scan_events(before: AlertState, seen: Situation, min_severity: int) -> Iterator[_Draft]:
    opened: dict[tuple[str, int], int] = {}
    failing = {known.of: known.failing for known in sorted(before.scans.values(), key=lambda known: known.at)}
    for scan in sorted(seen.scans, key=lambda scan: (scan.timestamp_ms, scan.scan_id)):
        known = before.scans.get(scan.scan_id, KnownScan())
        # What fails for good is told once, and again when something else fails or it had been well in between.
        changed = not scan.failing or scan.failing != failing.get(scan.of)
        failing[scan.of] = scan.failing
        if scan.failures and changed and not known.failed:
            what = "1 scope" if scan.failures == 1 else f"{scan.failures} scopes"
            text = f"{_word(scan.kind).capitalize()}, ended {_when(scan.timestamp_ms)}: {what} could not be read."
            lines = [f"scan {scan.scan_id}", *scan.failed_scopes.get("first", ())]
            yield Kind.SCAN_FAILED, False, text, lines, scan.failures + 1
        for found in scan.opened:
            more = found.count - known.opened.get(_opened_key(found), 0)
            if more > 0 and found.severity >= min_severity:
                opened[found.policy, found.severity] = opened.get((found.policy, found.severity), 0) + more
    for urgent in (True, False):
        counts = {key: count for key, count in opened.items() if (band(key[1]) == "critical") is urgent}
        if counts:
            total = sum(counts.values())
            new = "critical finding" if urgent else "finding"
            lines = [f"{policy} (severity {severity}): {count}" for (policy, severity), count in _worst(counts)]
            yield (
                Kind.FINDINGS,
                urgent,
                f"{total} new {new}{'s' if total > 1 else ''}, seen {_when(seen.now)}.",
                lines,
                len(lines),
            )


def _worst(counts: Mapping[tuple[str, int], int]) -> list[tuple[tuple[str, int], int]]:
    return sorted(counts.items(), key=lambda item: (-item[0][1], -item[1], item[0][0]))


def _known_scans(before: Mapping[str, KnownScan], scans: Iterable[EndedScan]) -> dict[str, KnownScan]:
    """Those of the history and some before it: a look that read an older history forgets none."""
    known = {**before, **{scan.scan_id: _known(scan, before.get(scan.scan_id)) for scan in scans}}
    newest_first = sorted(known.items(), key=lambda item: item[1].at, reverse=True)
    # As in the history, scans of everything are kept longest: there are few of them.
    whole_first = sorted(newest_first, key=lambda item: not item[1].of.endswith("/all/all"))
    return dict(whole_first[:SCANS_KEPT])


def _known(scan: EndedScan, known: KnownScan | None) -> KnownScan:
    """A scan may be summed up again, with more in it; never is less told than before."""
    old = known or KnownScan()
    opened = {_opened_key(found): max(found.count, old.opened.get(_opened_key(found), 0)) for found in scan.opened}
    return KnownScan(
        at=scan.timestamp_ms,
        failed=old.failed or scan.failures > 0,
        of=scan.of,
        failing=scan.failing,
        opened={**old.opened, **opened},
    )


def _opened_key(found: Opened) -> str:
    return f"{found.policy}/{found.severity}"


def _tidy(state: AlertState) -> AlertState:
    """Without the events that nobody waits for, and of the rest only as many as a record can hold."""
    wanted = {number for channel in state.channels.values() for number in channel.waiting}
    events = [event for event in state.events if event.number in wanted]
    surplus = sorted(events, key=lambda event: (event.urgent, event.number))[: max(0, len(events) - EVENTS_KEPT)]
    gone = {event.number for event in surplus}
    channels = {
        name: channel.model_copy(
            update={
                "waiting": tuple(number for number in channel.waiting if number not in gone),
                "dropped": channel.dropped + len(gone & set(channel.waiting)),
            }
        )
        for name, channel in state.channels.items()
    }
    kept = tuple(event for event in events if event.number not in gone)
    return state.model_copy(update={"events": kept, "channels": channels})


def quiet(hours: str | None, now: int) -> bool:
    """Whether ``now`` (ms) is within hours such as ``22-06`` (UTC; the last hour is not part of them)."""
    if not hours:
        return False
    begin, end = (int(hour) for hour in hours.split("-"))
    hour = as_datetime(now).hour
    return begin <= hour < end if begin < end else hour >= begin or hour < end


def due(state: AlertState, channel: str, now: int, quiet_hours: str | None = None) -> list[Event]:
    """What a channel is to be told now, the oldest first."""
    of_channel = state.channels.get(channel, ChannelState())
    if now < of_channel.next_try:
        return []
    waiting = set(of_channel.waiting)
    silent = quiet(quiet_hours, now)
    return [event for event in state.events if event.number in waiting and (event.urgent or not silent)]


def delivered(state: AlertState, channel: str, events: Iterable[Event]) -> AlertState:
    """The state once a channel has taken ``events``."""
    told = {event.number for event in events}
    of_channel = state.channels.get(channel, ChannelState())
    left = tuple(number for number in of_channel.waiting if number not in told)
    return _tidy(state.model_copy(update={"channels": {**state.channels, channel: ChannelState(waiting=left)}}))


def failed(state: AlertState, channel: str, error: str, now: int) -> AlertState:
    """The state once a channel has not taken them: tried again after 1, 2, 4 … minutes, an hour at most."""
    of_channel = state.channels.get(channel, ChannelState())
    wait = min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** min(of_channel.attempts, 10))
    after = of_channel.model_copy(
        update={
            "attempts": of_channel.attempts + 1,
            "failing_since": now if of_channel.failing_since is None else of_channel.failing_since,
            "next_try": now + wait,
            "error": error,
        }
    )
    return state.model_copy(update={"channels": {**state.channels, channel: after}})


@dataclass(frozen=True)
class Message:
    """A short plain text for people. ``title`` is one line."""

    title: str
    body: str


def message(events: Iterable[Event], link: str, dropped: int = 0) -> Message:
    """One message about all of ``events``: what, where, since when, and where to look."""
    ordered = sorted(events, key=lambda event: (not event.urgent, event.number))
    more = f" (and {len(ordered) - 1} more)" if len(ordered) > 1 else ""
    lines = [line for event in ordered for line in _paragraph(event)]
    if sum(len(line) + 1 for line in lines) > BODY_LENGTH:
        lines = [plain(event.text) for event in ordered]
    end = [f"{dropped} earlier alerts could not be kept."] if dropped else []
    title = f"qrie: {plain(ordered[0].text, TITLE_LENGTH).rstrip('.')}{more}"
    return Message(title, "\n".join([*_fitting(lines), *end, "", link]))


def _paragraph(event: Event) -> Iterator[str]:
    yield plain(event.text)
    for line in event.lines:
        yield f"- {plain(line)}"
    if event.more:
        yield f"- and {event.more} more"


def _fitting(lines: Sequence[str]) -> Iterator[str]:
    room = BODY_LENGTH
    for number, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            yield f"and {len(lines) - number} more"
            return
        yield line


def plain(text: str, length: int = LINE_LENGTH) -> str:
    """``text`` on one line, without control characters, and without what a chat service takes for markup."""
    visible = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    line = " ".join(visible.split()).translate(_MARKUP)
    return line if len(line) <= length else line[: length - 1] + "…"


def _word(kind: str) -> str:
    return "inventory scan" if kind == ScanKind.INVENTORY else "policy scan"


def _accounts(keys: Sequence[str]) -> str:
    return f"{len(keys)} account{'s' if len(keys) > 1 else ''}"


def _account(key: str, seen: Situation) -> str:
    account_id = key.partition("/")[2]
    name = seen.names.get(account_id)
    return f"{account_id} {name}" if name else account_id


def _when(ms: int) -> str:
    return f"{as_datetime(ms):%Y-%m-%d %H:%M} UTC"


def trouble(state: AlertState | None, now: int) -> list[str]:
    """A sentence about each channel that cannot be told, but for those that nobody has tried for a day: not in use."""
    return [
        f"Alerts cannot be delivered to {name} for {age_text(channel.failing_since, now)}:"
        f" {channel.error} {len(channel.waiting)} wait; next attempt {iso(channel.next_try)}."
        for name, channel in (state.channels if state else {}).items()
        if channel.failing_since is not None and now - channel.next_try < DAY_MS
    ]
