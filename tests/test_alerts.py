"""What is told: every transition once, to every channel, whatever fails in between."""

from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from qrie_dagster import alerts
from qrie_dagster.alerts import (
    AlertState,
    EndedScan,
    Event,
    Kind,
    Situation,
    delivered,
    due,
    failed,
    message,
    observe,
    plain,
    quiet,
    situation,
    trouble,
)
from qrie_dagster.drift import DriftRules
from qrie_dagster.models import Account, Opened, ScanKind
from qrie_dagster.times import HOUR_MS, SECOND_MS

NOON = 1_700_049_600_000  # 2023-11-15 12:00 UTC
NIGHT = NOON + 11 * HOUR_MS
RULES = DriftRules(192, 26)
CALM = Situation(NOON)
LINK = "https://qrie.example/"


def scan(scan_id: str, failures: int = 0, at: int = NOON, set_: str = "", of: str = "all", **opened: int) -> EndedScan:
    """Opened findings as ``S95=2``: two of severity 95."""
    return EndedScan(
        scan_id=scan_id,
        kind=ScanKind.POLICY,
        timestamp_ms=at,
        account_id=of,
        failed_scopes={"count": failures, "first": [f"acc/s3/{n}: why" for n in range(failures)], "set": set_},
        opened=tuple(Opened(policy="P", severity=int(name[1:]), count=count) for name, count in opened.items()),
    )


def texts(state: AlertState, channel: str = "a", now: int = NOON, hours: str | None = None) -> list[str]:
    return [event.text for event in due(state, channel, now, hours)]


def seen_twice(before: AlertState | None, seen: Situation, severity: int = 90) -> AlertState:
    state = observe(before, seen, ["a"], severity)
    assert observe(state, replace(seen, now=seen.now + 1), ["a"], severity) == state, "the same is no news"
    return state


def test_drift_is_told_when_it_begins_and_when_it_ends() -> None:
    state = seen_twice(None, Situation(NOON, drift={"policy": (NOON - HOUR_MS, "last full scan ended 27 h ago")}))
    assert texts(state) == ["Drift of the policy scan, since 2023-11-15 11:00 UTC: last full scan ended 27 h ago."]
    state = seen_twice(delivered(state, "a", state.events), replace(CALM, now=NOON + HOUR_MS))
    assert texts(state) == ["Drift of the policy scan has ended; it began 2023-11-15 11:00 UTC."]


def test_accounts_are_told_together_and_by_name() -> None:
    keys = [f"inventory/{n:012d}" for n in range(30)]
    names = {"000000000000": "pay"}
    state = seen_twice(None, Situation(NOON, accounts=keys, stale=dict.fromkeys(keys, NOON), names=names))
    [event] = state.events
    assert event.text == "30 accounts without a recent inventory scan."
    assert event.lines[0] == "000000000000 pay, since 2023-11-15 12:00 UTC"
    assert len(event.lines) + event.more == 30
    # One is fresh again, one was removed: of that there is nothing to say.
    state = seen_twice(delivered(state, "a", [event]), Situation(NOON, accounts=keys[:1]))
    assert texts(state) == ["1 account with a recent inventory scan again."]


def test_failed_scans_and_new_findings() -> None:
    state = seen_twice(None, Situation(NOON, scans=[scan("old", 3, S95=7)]))
    assert texts(state) == [], "what ended before anybody looked is no news"
    state = seen_twice(state, Situation(NOON, scans=[scan("old", 3, S95=7), scan("new", 40, S95=2, S89=5, S90=1)]))
    assert texts(state) == [
        "Policy scan, ended 2023-11-15 12:00 UTC: 40 scopes could not be read.",
        "3 new critical findings, seen 2023-11-15 12:00 UTC.",
    ]
    failure, findings = state.events
    assert findings.lines == ("P (severity 95): 2", "P (severity 90): 1")
    assert (failure.lines[0], failure.more) == ("scan new", 40 + 1 - 5)


def test_a_scan_that_is_summed_up_again_tells_only_what_is_more() -> None:
    state = seen_twice(AlertState(), Situation(NOON, scans=[scan("s", 1, S95=2)]))
    state = seen_twice(delivered(state, "a", state.events), Situation(NOON, scans=[scan("s", 2, S95=3)]))
    assert [event.lines for event in state.events] == [("P (severity 95): 1",)]
    state = seen_twice(delivered(state, "a", state.events), Situation(NOON, scans=[scan("s", 0, S95=1)]))
    state = seen_twice(state, Situation(NOON, scans=[scan("s", 2, S95=3)]))
    assert texts(state) == []


def test_what_fails_for_good_is_told_when_it_changes() -> None:
    state, history, told = AlertState(), [], []
    for number, (failing, of) in enumerate(
        [
            ("x", "all"),
            ("x", "all"),
            ("", "one"),
            ("x", "all"),
            ("xy", "all"),
            ("xy", "all"),
            ("", "all"),
            ("xy", "all"),
        ]
    ):
        history.insert(0, scan(f"s{number}", len(failing), NOON + number, set_=failing, of=of))
        state = seen_twice(state, Situation(NOON + number, scans=history))
        told.append(len(texts(state)))
        state = delivered(state, "a", state.events)
    assert told == [1, 0, 0, 0, 1, 0, 0, 1]


def test_a_scan_of_everything_is_remembered_among_hundreds_of_others() -> None:
    first = scan("whole", 1, set_="x")
    state = seen_twice(AlertState(), Situation(NOON, scans=[first]))
    for number in range(3):
        others = [scan(f"o{number}-{n}", at=NOON + 1 + 200 * number + n, of="one") for n in range(200)]
        state = seen_twice(state, Situation(NOON, scans=others))
    state = delivered(state, "a", state.events)
    assert texts(seen_twice(state, Situation(NOON, scans=[scan("next", 1, NOON + 999, set_="x")]))) == []


def test_a_look_at_an_older_history_makes_nothing_new_again() -> None:
    both = Situation(NOON, scans=[scan("s", 1), scan("t", 1)])
    state = seen_twice(AlertState(), both)
    state = delivered(state, "a", state.events)
    assert observe(observe(state, Situation(NOON, scans=[scan("s", 1)]), ["a"], 90), both, ["a"], 90) == state


def test_the_minimum_severity() -> None:
    state = seen_twice(AlertState(), Situation(NOON, scans=[scan("s", S95=1, S50=2, S49=3)]), severity=50)
    assert [(event.urgent, event.lines) for event in state.events] == [
        (True, ("P (severity 95): 1",)),
        (False, ("P (severity 50): 2",)),
    ]


def test_at_night_only_drift_and_critical_findings_are_told() -> None:
    seen = Situation(
        NIGHT,
        drift={"policy": (NOON, "old")},
        accounts=["policy/1"],
        stale={"policy/1": NOON},
        scans=[scan("s", 1, S95=1, S60=1)],
    )
    state = seen_twice(AlertState(), seen, severity=50)
    at_once = due(state, "a", NIGHT, "22-06")
    assert {event.kind for event in at_once} == {Kind.DRIFT, Kind.FINDINGS}
    state = delivered(state, "a", at_once)
    assert due(state, "a", NIGHT, "22-06") == []
    in_the_morning = due(state, "a", NIGHT + 7 * HOUR_MS, "22-06")
    assert {event.kind for event in in_the_morning} == {Kind.STALE, Kind.SCAN_FAILED, Kind.FINDINGS}
    assert not due(delivered(state, "a", in_the_morning), "a", NIGHT + 8 * HOUR_MS, "22-06")


@given(st.integers(0, 23), st.integers(0, 23), st.integers(0, 23))
def test_quiet_hours(begin: int, end: int, hour: int) -> None:
    hours = set()
    at = begin
    while at != end:
        hours.add(at)
        at = (at + 1) % 24
    if hours:
        now = NOON + (hour - 12) * HOUR_MS
        assert quiet(f"{begin:02}-{end:02}", now) is (hour in hours)
        assert quiet(f"{begin:02}-{end:02}", now + HOUR_MS - 1) is (hour in hours)


def test_a_failing_channel_is_tried_later_and_later_and_holds_up_no_other() -> None:
    state = observe(None, Situation(NOON, drift={"policy": (NOON, "old")}), ["a", "b"], 90)
    state = delivered(state, "b", state.events)
    waits, now = [], NOON
    for _ in range(9):
        state = failed(state, "a", "refused.", now)
        wait = state.channels["a"].next_try - now
        assert due(state, "a", now + wait - 1) == []
        assert len(due(state, "a", now + wait)) == 1
        waits.append(wait // (60 * SECOND_MS))
        now += wait
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert due(state, "b", now) == []
    [sentence] = trouble(state, now)
    assert sentence.startswith("Alerts cannot be delivered to a for 4 h 3 min: refused. 1 wait")
    assert trouble(delivered(state, "a", state.events), now) == []
    assert trouble(state, now + 26 * HOUR_MS) == [], "a channel that is not used any more"


def test_a_channel_that_is_new_is_not_told_the_past_and_one_that_is_gone_is_forgotten() -> None:
    drifting = Situation(NOON, drift={"policy": (NOON, "old")})
    state = observe(observe(None, drifting, ["a"], 90), drifting, ["b"], 90)
    assert (list(state.channels), state.events) == (["b"], ())


def test_a_queue_that_grew_too_long_keeps_what_is_urgent_and_says_what_it_lost() -> None:
    state = AlertState()
    for number in range(150):
        seen = Situation(NOON, scans=[scan(f"s{number}", 1, S95=number % 10 == 0)])
        state = observe(state, seen, ["a"], 90)
    events = due(state, "a", NOON)
    assert len(events) == alerts.EVENTS_KEPT
    assert sum(event.kind is Kind.FINDINGS for event in events) == 15
    assert state.channels["a"].dropped == 65
    text = message(events, LINK, 65).body
    assert "65 earlier alerts could not be kept." in text
    assert len(text) < 1800
    assert text.endswith(LINK)


def test_messages_are_plain_and_short() -> None:
    nasty = (
        "a<script>alert(1)</script> <!channel> @everyone [x](http://evil) `b`\r\nSubject: c\u202e\x1b[2J" + "x" * 900
    )
    event = Event(number=1, kind=Kind.SCAN_FAILED, at=NOON, urgent=False, text=nasty, lines=(nasty,) * 5, more=3)
    told = message([event], LINK)
    for text in (told.title, told.body):
        assert not set(text) & set("<>@[]`\r\x1b\u202e")
    assert "\n" not in told.title
    assert len(told.title) < 100
    assert told.body.splitlines()[-3:] == ["- and 3 more", "", LINK]
    assert plain("a  b\n\tc", 4) == "a b…"


def test_a_new_account_is_stale_only_after_a_window() -> None:
    account = Account(account_id="000000000001", registered_ms=NOON)
    rows = [("policy", "000000000001", "s3", None, None), ("policy", "000000000002", "s3", None, None)]

    def stale(now: int) -> dict[str, int]:
        return dict(situation(RULES, dict.fromkeys(ScanKind, NOON), rows, [account], [], now).stale)

    assert stale(NOON + 26 * HOUR_MS) == {}
    assert stale(NOON + 26 * HOUR_MS + 1) == {"policy/000000000001": NOON + 26 * HOUR_MS}


def test_the_oldest_service_speaks_for_its_account_and_drift_is_judged_by_its_owner() -> None:
    account = Account(account_id="000000000001")
    now = NOON + 200 * HOUR_MS
    rows = [("inventory", "000000000001", "s3", now, None), ("inventory", "000000000001", "ec2", NOON, "denied")]
    seen = situation(RULES, {ScanKind.INVENTORY: NOON}, rows, [account], [], now)
    assert seen.stale == {"inventory/000000000001": NOON + 192 * HOUR_MS}
    assert seen.drift == {
        "inventory": (NOON + 192 * HOUR_MS, "last full scan ended 8 days 8 h ago, the limit is 192 h"),
        "policy": (now, "there never was one"),
    }
    suspended = account.model_copy(update={"status": "suspended"})
    nobody = situation(RULES, {}, rows, [suspended], [], now)
    assert [*nobody.drift, *nobody.accounts, *nobody.stale] == []


KEYS = ["inventory/1", "policy/1", "policy/2"]
CHANNELS = ["a", "b"]


@dataclass
class World:
    """An estate to which things happen, and what people should come to know of it."""

    now: int = NOON
    drift: set[str] = field(default_factory=set)
    stale: set[str] = field(default_factory=set)
    scans: list[EndedScan] = field(default_factory=list)
    expected: Counter[str] = field(default_factory=Counter)

    def situation(self) -> Situation:
        drift = dict.fromkeys(self.drift, (self.now, "old"))
        return Situation(self.now, drift, KEYS, dict.fromkeys(self.stale, self.now), list(self.scans))

    def change(self, thing: str) -> None:
        if thing == "scan":
            number = len(self.scans)
            self.scans.append(scan(f"s{number}", number % 3, self.now + number, S95=number % 2, S60=number % 5))
            self.expected["scan_failed"] += number % 3 > 0
            self.expected["findings"] += number % 2 + number % 5
        elif thing in KEYS:
            self.stale ^= {thing}
            self.expected["stale" if thing in self.stale else "fresh"] += 1
        else:
            self.drift ^= {thing}
            self.expected["drift" if thing in self.drift else "drift_ended"] += 1


def transitions(events: list[Event]) -> Counter[str]:
    """How many transitions were told, by kind."""
    told: Counter[str] = Counter()
    for event in events:
        if event.kind is Kind.FINDINGS:
            told[event.kind.value] += sum(int(line.rpartition(": ")[2]) for line in event.lines)
        elif event.kind in (Kind.STALE, Kind.FRESH):
            told[event.kind.value] += len(event.lines)
        else:
            told[event.kind.value] += 1
    return told


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["scan", "inventory", "policy", *KEYS]), max_size=2, unique=True),
            st.fixed_dictionaries({name: st.sampled_from(["taken", "refused", "died"]) for name in CHANNELS}),
            st.integers(1, 120),
            st.booleans(),
        ),
        max_size=25,
    )
)
def test_nothing_is_lost_and_nothing_is_repeated(
    ticks: list[tuple[list[str], dict[str, str], int, bool]],
) -> None:
    """Changes, refusals, deaths between delivery and record, night, restarts: in the end each channel knows all."""
    world = World()
    state = observe(None, world.situation(), CHANNELS, 50)
    told: dict[str, list[Event]] = {name: [] for name in CHANNELS}
    deaths: dict[str, set[int]] = {name: set() for name in CHANNELS}

    def tick(outcomes: dict[str, str], hours: str | None) -> None:
        nonlocal state
        state = observe(state, world.situation(), CHANNELS, 50)
        for name in CHANNELS:
            events = due(state, name, world.now, hours)
            if not events:
                continue
            if outcomes[name] == "refused":
                state = failed(state, name, "no", world.now)
                continue
            told[name] += events
            if outcomes[name] == "died":
                deaths[name] |= {event.number for event in events}
                return
            state = delivered(state, name, events)

    for things, outcomes, minutes, night in ticks:
        for thing in things:
            world.change(thing)
        tick(outcomes, "00-12" if night else None)
        state = AlertState.model_validate_json(state.model_dump_json())
        world.now += minutes * 60 * SECOND_MS
    world.now += 2 * HOUR_MS
    tick(dict.fromkeys(CHANNELS, "taken"), None)

    assert state.events == ()
    for name in CHANNELS:
        repeated = {number for number, count in Counter(e.number for e in told[name]).items() if count > 1}
        assert repeated <= deaths[name], "only a death between delivery and record repeats"
        once = list({event.number: event for event in told[name]}.values())
        assert transitions(once) == +world.expected
