"""The loop under faults, against a model of AWS: whatever goes wrong, nothing is lost and nothing invented.

Hypothesis draws what happens: AWS changes, its events arrive late, twice, out of order or never, calls fail, scans
run at the same time and are stopped at any call, for good or for a while. The code under test is the real one, from
the collector to the tables; only AWS and DynamoDB are models.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from memory_dynamo import PAGE, Changed, MemoryDynamo, memory_store
from tasks import Crash, OneThread, Task, current, first_done, pause
from world import (
    ACCOUNTS,
    ANIMAL,
    BY_ARN,
    CAGE,
    KEEPER,
    PLACES,
    POLICIES,
    SERVICE,
    Fault,
    Place,
    State,
    World,
    as_resource,
)

from qrie_dagster import observations, registry, scan
from qrie_dagster.errors import QrieError, StoreError
from qrie_dagster.inventory import collector
from qrie_dagster.models import GLOBAL, Account, Collected, Outcome, ScanKind, ScanType
from qrie_dagster.mutes import Mute
from qrie_dagster.policies.policy import Status, Surroundings
from qrie_dagster.reconcile import content_hash
from qrie_dagster.scan import InventoryScanner, PolicyScanner
from qrie_dagster.store import dynamo as edge
from qrie_dagster.store.encoding import decode
from qrie_dagster.store.launched_policies import LaunchedPolicy
from qrie_dagster.store.mutes import change_mutes
from qrie_dagster.store.summary import Scan
from qrie_dagster.store.tables import ACCOUNTS as ACCOUNTS_TABLE
from qrie_dagster.store.tables import FINDINGS, RESOURCES, SUMMARY
from qrie_dagster.summary import rollup
from qrie_dagster.summary.totals import finding_totals

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1500"))
MAX_TASKS = 3
# What policies judge of a resource.
JUDGED = {ANIMAL: "Colour", CAGE: "Colour", KEEPER: "Licence"}
NEVER = 10**9

# Most happens in one account: there things meet.
OF_ONE = [place for place in PLACES if place.account_id == ACCOUNTS[0]]
# Where a scan can be stopped: after so many calls, or ahead of the next call of that name.
POINTS = st.integers(1, 20) | st.sampled_from(
    (
        *("list_animals", "get_licence", f"update {ACCOUNTS_TABLE}", f"query {RESOURCES}", f"update {RESOURCES}"),
        *(f"transact {ACCOUNTS_TABLE}", f"batch_get {RESOURCES}", f"query {FINDINGS}", f"put {FINDINGS}"),
    )
)
A_GHOST = "is stored, but was gone all the time since it was seen to be"
AN_ANIMAL, A_KEEPER = (Place(ACCOUNTS[0], ANIMAL, "eu-west-1", "a"), Place(ACCOUNTS[0], KEEPER, GLOBAL, "a"))
SOME_PLACE = st.sampled_from([*OF_ONE, *PLACES])

AWS_CODES = ("Throttling", "InternalError", "AccessDenied", "ExpiredToken", "no answer")
OPERATIONS = ("assume_role", "describe_regions", "list_animals", "list_cages", "list_keepers", "get_licence")


@dataclass
class StoreFault:
    """What goes wrong with the ``nth`` call of DynamoDB from now, counted among those it is about."""

    kind: str
    nth: int
    table: str | None


@dataclass
class Event:
    """What a consumer saw of a resource, not delivered yet; ``state`` None is a deletion."""

    at: int
    place: Place
    state: State
    unread: tuple[str, ...] = ()


@dataclass
class Known:
    """What the loop has claimed to know of a resource: nothing stored may be older than these times.

    ``exists`` is the time of the last look at whether it is there, ``keys`` those at its parts. ``since`` is the step
    in which whatever found out began.
    """

    exists: int = 0
    keys: dict[str, int] = field(default_factory=dict)
    since: int = 0


class Loop(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.dynamo = MemoryDynamo()
        self.store = memory_store(self.dynamo)
        self.tasks: list[Task] = []
        self.events: list[Event] = []
        self.store_faults: list[StoreFault] = []
        self.known = {place: Known() for place in PLACES}
        self.writer: dict[Place, Task | None] = {}
        self.partly_seen: dict[Place, int] = {}
        self.dirty: set[Place] = set()
        self.steps = 0
        self.scans = 0
        self.suspended_once: set[str] = set()
        self.muted: set[str] = set()
        self.left_once: set[str] = set()
        # A scan died while its account was away, or a clean-up read an index that lagged: something may be kept.
        self.may_keep = False
        self.times_open: dict[tuple[str, ...], list[list[int]]] = {}
        self.launched: dict[str, LaunchedPolicy] = {}
        self.collected: dict[Task, Collected] = {}
        self.patch = pytest.MonkeyPatch()
        self._replace_the_world()
        for account_id in ACCOUNTS:
            self.store.accounts.add(Account(account_id=account_id))
        for policy in POLICIES:
            self.launch(LaunchedPolicy(policy_id=policy))
        self.dynamo.before, self.dynamo.after = self._before, self._after
        self.dynamo.repeated, self.dynamo.written = self._repeated, self._written
        self.world.pause = pause

    def _replace_the_world(self) -> None:
        for module in (registry, rollup):
            self.patch.setattr(module, "all_services", lambda: {SERVICE.name: SERVICE})
        for module in (scan, collector, observations, registry):
            self.patch.setattr(module, "now_ms", self.world.now_ms)
        for module in (collector, edge):
            self.patch.setattr(module, "ThreadPoolExecutor", OneThread)
        self.patch.setattr(collector, "wait", first_done)
        self.patch.setattr(observations, "find_service", lambda _name: SERVICE)
        real_collect = collector.collect

        def collect(*args: Any) -> Collected:
            task = current()
            assert task
            self.collected[task] = real_collect(*args)
            return self.collected[task]

        self.patch.setattr(scan, "collect", collect)

    # What happens at calls of DynamoDB.

    def _due(self, table: str, *kinds: str) -> str | None:
        for fault in self.store_faults:
            if fault.kind in kinds and fault.table in (None, table):
                fault.nth -= 1
                if fault.nth <= 0:
                    self.store_faults.remove(fault)
                    task = current()
                    # What was written and not answered for is counted by nobody, or as superseded.
                    if task and (fault.kind == "answer lost" or (fault.kind, table) == ("repeated", RESOURCES)):
                        task.faulted = True
                    return fault.kind
        return None

    def _before(self, operation: str, table: str) -> None:
        pause(f"{operation} {table}")
        match self._due(table, "refused", "crash before"):
            case "refused":
                raise StoreError("DynamoDB refused a call: ProvisionedThroughputExceededException")
            case "crash before":
                raise Crash

    def _after(self, _operation: str, table: str) -> None:
        match self._due(table, "answer lost", "crash after"):
            case "answer lost":
                raise StoreError("DynamoDB did not answer a call: ReadTimeoutError")
            case "crash after":
                raise Crash

    def _repeated(self, _operation: str, table: str) -> bool:
        return self._due(table, "repeated") is not None

    def _written(self, changed: Changed) -> None:
        task = current()
        if task:
            task.changes.append(changed)
        if changed.table == RESOURCES and not changed.key[0].endswith("#deleted"):
            self._resource_written(changed, task)
        if changed.table == FINDINGS:
            self._finding_written(changed)

    def _resource_written(self, changed: Changed, task: Task | None) -> None:
        place = BY_ARN[changed.key[1]]
        self.writer[place] = task
        self.dirty.add(place)
        before, after = changed.before, changed.after
        if before and after:
            assert after["DescribeTime"] >= before["DescribeTime"], "an older observation replaced a newer one"
        if before and after is None and self._active(place.account_id):
            assert None in self.world.since(place, before["DescribeTime"]), "deleted, but it was there all the time"
            self.known[place].keys.clear()

    def _finding_written(self, changed: Changed) -> None:
        before, after = changed.before, changed.after
        assert after, "a finding was deleted"
        self._noted(changed.key, after)
        if not before or before["State"] != "ACTIVE" or after["State"] != "RESOLVED":
            return
        place, policy = BY_ARN[changed.key[0]], changed.key[1]
        # What was known before whoever closes it began, it knows.
        task = current()
        exists, key_known = task.known.get(place, (0, 0)) if task else (0, 0)
        states = self.world.since(place, max(before["DescribeTime"], key_known))
        match after["ResolvedReason"]:
            case "COMPLIANT":
                assert any(state is not None and not violates(policy, place, state) for state in states)
            case "RESOURCE_DELETED":
                states = self.world.since(place, max(before["DescribeTime"], exists))
                assert None in states, "closed for a deletion that never was"
            case "POLICY_SUSPENDED":
                assert policy in self.suspended_once
            case "ACCOUNT_REMOVED":
                assert place.account_id in self.left_once
            case reason:
                raise AssertionError(f"closed as {reason}")

    def _noted(self, key: tuple[str, ...], after: Mapping[str, Any]) -> None:
        """The past that a row tells is the one that was seen from outside."""
        times = self.times_open.setdefault(key, [])
        is_open = bool(times) and len(times[-1]) == 1
        if after["State"] == "ACTIVE" and not is_open:
            times.append([after["LastEvaluated"]])
        elif after["State"] == "RESOLVED" and is_open:
            times[-1].append(after["ResolvedAt"])
        assert [[opened, *closed] for opened, _severity, *closed in after["Episodes"]] == times

    # What AWS and its events do.

    @initialize(
        missing=st.sets(st.sampled_from(PLACES), max_size=5),
        number=st.integers(0, 7),
        scanned=st.booleans(),
        page=st.sampled_from((PAGE, 3)),
    )
    def begin(self, missing: set[Place], number: int, scanned: bool, page: int = PAGE) -> None:
        self.dynamo.page = page
        for place in PLACES:
            if place not in missing:
                self.change(place, number)
        if scanned:
            self._scan_everything()
            self.events.clear()

    @rule(place=SOME_PLACE, number=st.integers(0, 11))
    def change(self, place: Place, number: int) -> None:
        state = state_of(place, number) if number < 8 else None
        if state != self.world.state(place):
            self.events.append(Event(self.world.put(place, state), place, state))

    @rule(place=SOME_PLACE, partly=st.booleans())
    def look_outside_scans(self, place: Place, partly: bool) -> None:
        state = self.world.state(place)
        if state is not None:
            unread = ("Licence",) if partly and place.resource_type == KEEPER else ()
            self.events.append(Event(self.world.now_ms(), place, state, unread))

    @precondition(lambda self: self.events)
    @rule(number=st.integers(0, 30), again=st.booleans())
    def deliver(self, number: int, again: bool) -> None:
        event = self.events[number % len(self.events)]
        try:
            accepted = self._observe(event)
        except (QrieError, Crash):
            # Not acknowledged: it comes again.
            return
        if not again:
            self.events.remove(event)
        if accepted:
            if event.unread:
                self.partly_seen[event.place] = event.at
            self._now_known(event.place, event.at, event.state, event.unread, self.steps)

    def _observe(self, event: Event) -> bool:
        place = event.place
        if event.state is None:
            return observations.observe_deleted(
                self.store, place.account_id, SERVICE.name, place.resource_type, place.region, place.arn, event.at
            )
        return observations.observe(self.store, as_resource(place, event.state, event.at, event.unread))

    # What goes wrong.

    @rule(
        operation=st.none() | st.sampled_from(OPERATIONS),
        account_id=st.none() | st.sampled_from(ACCOUNTS),
        region=st.none() | st.just("eu-west-1"),
        page=st.none() | st.integers(0, 2),
        name=st.sampled_from((None, None, "a")),
        code=st.sampled_from(AWS_CODES),
        times=st.sampled_from((1, 1, 2, NEVER)),
    )
    def break_aws(self, **facts: Any) -> None:
        self.world.faults.append(Fault(**facts))

    @rule(
        kind=st.sampled_from(("refused", "crash before", "answer lost", "crash after", "repeated")),
        nth=st.integers(1, 12),
        table=st.sampled_from((None, ACCOUNTS_TABLE, RESOURCES, FINDINGS, SUMMARY)),
    )
    def break_store(self, **facts: Any) -> None:
        self.store_faults.append(StoreFault(**facts))

    @rule()
    def let_the_index_lag(self) -> None:
        self.dynamo.fall_behind(FINDINGS)

    @rule()
    def heal(self) -> None:
        self.world.faults.clear()
        self.store_faults.clear()
        self.dynamo.behind.clear()

    @rule(policy=st.sampled_from(sorted(POLICIES)), active=st.booleans())
    def relaunch(self, policy: str, active: bool) -> None:
        if not active:
            self.suspended_once.add(policy)
        self.launch(LaunchedPolicy(policy_id=policy, status="active" if active else "suspended"))

    def launch(self, policy: LaunchedPolicy) -> None:
        """What people want from now on; that the store takes it is not in question here."""
        faults, self.store_faults = self.store_faults, []
        self.store.policies.delete(policy.policy_id)
        self.store.policies.launch(policy)
        self.store_faults = faults
        self.launched[policy.policy_id] = policy

    @rule(policy=st.sampled_from(sorted(POLICIES)), muted=st.booleans())
    def mute(self, policy: str, muted: bool) -> None:
        """People mute a policy, or no longer; what that does to findings at once is left to the scans here."""
        rule = Mute(id=f"mute-{policy}", reason="r", author="a", created_ms=1, policy=policy)
        faults, self.store_faults = self.store_faults, []
        change_mutes(
            self.store.summary,
            lambda rules: [*(old for old in rules if old.id != rule.id), *([rule] if muted else [])],
        )
        self.store_faults = faults
        self.muted = self.muted | {policy} if muted else self.muted - {policy}

    # Accounts that leave, and come back.

    def _active(self, account_id: str) -> bool:
        return bool(self.dynamo.tables[ACCOUNTS_TABLE][(account_id,)]["Status"] == "active")

    @rule(status=st.sampled_from(("active", "active", "suspended", "removed")))
    def move(self, status: Any) -> None:
        """The first account, where things meet."""
        account_id = ACCOUNTS[0]
        faults, self.store_faults = self.store_faults, []
        if status == "active" and self.store.accounts.get(account_id).status == "removed":
            self.store.accounts.add(Account(account_id=account_id, registered_ms=self.world.clock))
        else:
            self.store.accounts.set_status(account_id, status, self.world.clock)
        self.store_faults = faults
        # From here on qrie knows nothing of it, until it is scanned.
        for place in OF_ONE:
            self.known[place] = Known()
        if status != "active":
            self.left_once.add(account_id)

    @precondition(lambda self: len(self.tasks) < MAX_TASKS)
    @rule(calls=st.integers(0, 30))
    def clean_up(self, calls: int) -> None:
        task = Task("clean-up", lambda: list(registry.retire_inactive(self.store)))
        self.tasks.append(task)
        self.step(task, calls)

    # Scans.

    @precondition(lambda self: len(self.tasks) < MAX_TASKS)
    @rule(kind=st.sampled_from(ScanKind), account_id=st.sampled_from(ACCOUNTS), calls=st.integers(0, 30))
    def start(self, kind: ScanKind, account_id: str, calls: int) -> None:
        self.step(self.started(kind, account_id), calls)

    @precondition(lambda self: self.tasks)
    @rule(number=st.integers(0, MAX_TASKS), point=POINTS)
    def go_on(self, number: int, point: int | str) -> None:
        self.step(self.tasks[number % len(self.tasks)], point)

    @precondition(lambda self: self.tasks)
    @rule(number=st.integers(0, MAX_TASKS))
    def finish(self, number: int) -> None:
        self.step(self.tasks[number % len(self.tasks)], NEVER)

    @precondition(lambda self: self.tasks)
    @rule(number=st.integers(0, MAX_TASKS))
    def kill(self, number: int) -> None:
        task = self.tasks[number % len(self.tasks)]
        task.kill()
        self._ended(task)

    @rule(kind=st.sampled_from(ScanKind))
    def full_scan(self, kind: ScanKind) -> None:
        for account_id in ACCOUNTS:
            self.step(self.started(kind, account_id), NEVER)

    def play(self, script: list[tuple[str, bool]]) -> None:
        """What happens, letter by letter."""
        for what, animal in script:
            place = AN_ANIMAL if animal else A_KEEPER
            match what:
                case "flip":
                    state = self.world.state(place)
                    self.change(place, 1 if state is None or state == state_of(place, 4) else 4)
                case "remove":
                    self.change(place, 8)
                case "look":
                    self.look_outside_scans(place, partly=True)
                case "event" | "late event" if self.events:
                    self.deliver(len(self.events) - 1 if what == "event" else 0, again=False)
                case "scan" | "judge":
                    self.step(
                        self.started(ScanKind.INVENTORY if what == "scan" else ScanKind.POLICY, ACCOUNTS[0]), NEVER
                    )
                case "cut the listing":
                    self.break_aws(operation="list_animals" if animal else "list_keepers", page=1)
                case "hide":
                    self.break_aws(operation="get_licence", code="AccessDenied")
            self.nothing_known_is_forgotten()

    def started(self, kind: ScanKind, account_id: str, again: str | None = None, only: tuple[str, ...] = ()) -> Task:
        """A scan, or another attempt of the scan with the id ``again``; ``only`` of these policies."""
        self.scans += 1
        plan = Scan(
            scan_id=again or f"scan-{self.scans}",
            kind=kind,
            scan_type=ScanType.BOOTSTRAP,
            started_ms=self.world.clock,
            accounts=(account_id,),
            services=(SERVICE.name,),
            policies=only,
        )

        def work() -> Outcome:
            account = self.store.accounts.get(account_id)
            assert account
            if kind is ScanKind.INVENTORY:
                scanner = InventoryScanner(self.store, self.world.enter, 1, self.world.sleep)
                return scanner.scan(plan, account, SERVICE)
            return PolicyScanner(self.store, POLICIES).scan(plan, account, SERVICE)

        task = Task(f"{kind} of {account_id}", work)
        task.begun = self.steps
        task.known = {
            place: (known.exists, known.keys.get(JUDGED[place.resource_type], 0)) for place, known in self.known.items()
        }
        self.tasks.append(task)
        return task

    def step(self, task: Task, to: int | str) -> None:
        """So many calls on, or to the next call of that name."""
        if task.ended < NEVER:
            return
        self.may_keep |= task.name == "clean-up" and bool(self.dynamo.behind)
        try:
            if isinstance(to, int):
                task.step(to)
            else:
                task.step_to(to)
        except QrieError:
            # The outcome itself could not be recorded, or an account came back while it was cleaned up.
            task.crashed = True
        if task.dead:
            self._ended(task)

    def _ended(self, task: Task) -> None:
        if task in self.tasks:
            self.tasks.remove(task)
        task.ended = self.steps
        self.may_keep |= task.crashed and not self._active(ACCOUNTS[0])
        outcome: Outcome | None = task.result if isinstance(task.result, Outcome) else None
        collected = self.collected.pop(task, None)
        if outcome is None:
            return
        assert all("qrie broke" not in failure for failure in outcome.failures), outcome.failures
        if not task.faulted:
            check_counts(outcome, task.changes, self.dynamo)
        if outcome.failed or collected is None:
            return
        task.succeeded = True
        self._learnt(collected, task.begun)

    # What is known, and what must therefore hold.

    def _learnt(self, collected: Collected, since: int) -> None:
        complete = {(scope.resource_type, scope.region): scope for scope in collected.scopes if scope.complete}
        seen = {BY_ARN[resource.arn]: resource for resource in collected.resources}
        for place in PLACES:
            if place.account_id != collected.account_id:
                continue
            if place in seen:
                resource = seen[place]
                if not resource.unread:
                    # A consumer that saw only part of it has been there since; the next scan looks at the rest.
                    unread = ("Licence",) if self.partly_seen.get(place, 0) > resource.describe_time else ()
                    self._now_known(place, resource.describe_time, self.world.state(place), unread, since)
            elif (place.resource_type, place.region) in complete:
                self._now_known(place, complete[place.resource_type, place.region].describe_time, None, (), since)

    def _now_known(self, place: Place, at: int, state: State, unread: tuple[str, ...], since: int) -> None:
        known = self.known[place]
        self.dirty.add(place)
        if at > known.exists:
            known.exists, known.since = at, since
        keys = state_of(place, 0) if state is not None else {}
        for key in keys:
            if key not in unread:
                known.keys[key] = max(at, known.keys.get(key, 0))

    @invariant()
    def nothing_known_is_forgotten(self) -> None:
        self.steps += 1
        for place in self.dirty:
            problem = self._problem(place)
            writer = self.writer.get(place)
            # Of scans at the same time one that was overtaken looks again before it ends. If it dies, the next heals.
            if problem == A_GHOST and writer and not writer.succeeded and writer.ended >= self.known[place].since:
                continue
            assert not problem, f"{place}: {problem}"
        self.dirty = {place for place in self.dirty if self._problem(place)}

    def _problem(self, place: Place) -> str:
        known, states = self.known[place], self.world.since(place, self.known[place].exists)
        item = self.dynamo.tables[RESOURCES].get((f"{place.account_id}_{SERVICE.name}", place.arn))
        if item is None:
            return "" if None in states else "is not stored, but was there all the time since it was seen"
        if all(state is None for state in states):
            return A_GHOST
        stored = decode(item["Configuration"])
        for key, at in known.keys.items():
            values = [state[key] for state in self.world.since(place, at) if state is not None]
            if None not in self.world.since(place, at) and key not in stored:
                return f"{key} was known and is not any more"
            if key in stored and values and stored[key] not in values:
                return f"{key} is {stored[key]}, but only {values} since it was read"
        return ""

    # The end.

    def teardown(self) -> None:
        try:
            if self.steps:
                self._end()
        finally:
            for task in self.tasks:
                task.kill()
            self.patch.undo()

    def _end(self) -> None:
        self.heal()
        left = [task for task in self.tasks if "inventory" in task.name]
        for task in [task for task in self.tasks if task not in left]:
            task.kill()
            self._ended(task)
        for account_id in ACCOUNTS:
            if not self._active(account_id):
                # Nobody is away while something is kept of it that nobody will clean up.
                list(registry.retire_inactive(self.store))
                if not self.may_keep:
                    self._nothing_is_kept(account_id)
                self.move("active")
        self._scan_everything()
        self._everything_is_true()
        self.writes = 0
        self.dynamo.written = self._count_writes
        self._scan_everything()
        assert self.writes == 0, "a second scan wrote something"
        for event in self.events:
            assert not self._observe(event), "an event older than the scan was taken for new"
        self.dynamo.written = self._written
        for task in left:
            self.step(task, NEVER)
            self.nothing_known_is_forgotten()
        self._scan_everything(ScanKind.POLICY)
        self._everything_is_true()

    def _nothing_is_kept(self, account_id: str) -> None:
        partition = f"{account_id}_{SERVICE.name}"
        assert not [key for key in self.dynamo.tables[RESOURCES] if key[0].startswith(partition)]
        findings = self.dynamo.tables[FINDINGS].values()
        assert not [f for f in findings if f["AccountService"] == partition and f["State"] == "ACTIVE"]

    def _count_writes(self, changed: Changed) -> None:
        self.writes += changed.table in (RESOURCES, FINDINGS)

    def _scan_everything(self, *kinds: ScanKind) -> None:
        for kind in kinds or tuple(ScanKind):
            for account_id in ACCOUNTS:
                task = self.started(kind, account_id)
                self.step(task, NEVER)
                self.nothing_known_is_forgotten()
                assert task.result.succeeded, task.result.failures

    def _everything_is_true(self) -> None:
        inventory = {
            (BY_ARN[arn], item["ConfigHash"])
            for (partition, arn), item in self.dynamo.tables[RESOURCES].items()
            if not partition.endswith("#deleted")
        }
        there = {place: state for place in PLACES if (state := self.world.state(place)) is not None}
        assert inventory == {(place, content_hash(as_resource(place, state, 0))) for place, state in there.items()}
        open_findings = {key for key, item in self.dynamo.tables[FINDINGS].items() if item["State"] == "ACTIVE"}
        assert open_findings == {
            (place.arn, policy)
            for place, state in there.items()
            for policy, launched in self.launched.items()
            if launched.active and violates(policy, place, state)
        }
        for (_, policy), item in self.dynamo.tables[FINDINGS].items():
            muted = item["State"] == "ACTIVE" and policy in self.muted
            assert item.get("Muted") == (f"mute-{policy}" if muted else None)
        parts = self.store.summary.parts(ACCOUNTS)
        for account_id in ACCOUNTS:
            types = {place.arn: place.resource_type for place in there if place.account_id == account_id}
            findings = self.store.findings.load(account_id, SERVICE.name)
            totals = finding_totals(findings, types, self.world.clock)
            assert parts[account_id]["Findings", SERVICE.name] == totals.model_dump()
            assert sum(parts[account_id]["Resources", SERVICE.name].values()) == len(types)


def state_of(place: Place, number: int) -> Mapping[str, Any]:
    """One of eight states a resource can be in."""
    first, second = ("red", "green")[number % 2], number // 4
    if place.resource_type == KEEPER:
        return {"Shift": first, "Licence": (None, "valid", "expired", "valid")[number // 2]}
    return {"Colour": first, "Size": second}


def violates(policy: str, place: Place, state: Mapping[str, Any]) -> bool:
    """What a fresh evaluation of AWS says."""
    found = POLICIES[policy]
    if found.resource_type != place.resource_type:
        return False
    verdict = found.evaluate(as_resource(place, state, 0), Surroundings(0, {}))
    assert verdict.status is not Status.UNKNOWN
    return verdict.status is Status.VIOLATION


def check_counts(outcome: Outcome, changes: list[Changed], dynamo: MemoryDynamo) -> None:
    """The counts are of what was really changed."""
    found = [c for c in changes if c.table == FINDINGS]
    opened = [c for c in found if c.after and c.after["State"] == "ACTIVE" and not _was_active(c)]
    assert outcome.findings_created == len(opened)
    assert outcome.findings_closed == sum(bool(c.after and c.after["State"] == "RESOLVED") for c in found)
    news = [c for c in found if _is_open(c.after) and not _is_open(c.before)]
    assert Counter({(told.policy, told.severity): told.count for told in outcome.opened}) == Counter(
        (c.key[1], c.after["Severity"]) for c in news if c.after
    )
    assert outcome.findings_updated == len(found) - outcome.findings_created - outcome.findings_closed

    written = [c for c in changes if c.table == RESOURCES]
    created = sum(c.before is None for c in written)
    deleted = sum(c.after is None for c in written)
    rewritten = [c for c in written if c.before and c.after]
    changed = sum(c.before["ConfigHash"] != c.after["ConfigHash"] for c in rewritten if c.before and c.after)
    graves = {key[1]: item["DescribeTime"] for key, item in dynamo.tables[RESOURCES].items() if "#" in key[0]}
    # Written, and removed again because it had been reported deleted: none of that is counted.
    buried = sum(
        bool(c.before and c.after is None and graves.get(c.key[1], 0) > c.before["DescribeTime"]) for c in written
    )
    assert created - buried <= outcome.resources_created <= created
    assert deleted - buried <= outcome.resources_deleted <= deleted
    assert changed - buried <= outcome.resources_updated <= len(rewritten)


def _is_open(item: Mapping[str, Any] | None) -> bool:
    """Whether it counts as open: muted ones do not."""
    return bool(item and item["State"] == "ACTIVE" and "Muted" not in item)


def _was_active(changed: Changed) -> bool:
    return bool(changed.before and changed.before["State"] == "ACTIVE")


TESTED = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=[Phase.generate] if "FUZZ_NO_SHRINK" in os.environ else list(Phase),
)
Loop.TestCase.settings = TESTED
TestLoop: Callable[[], Any] = Loop.TestCase


# One scan, interrupted once: everything in a few letters, so that all that can happen around it does.
# Each is about one animal or one keeper.
HAPPENS = st.sampled_from(
    ("flip", "remove", "event", "late event", "late event", "look", "scan", "judge", "cut the listing", "hide")
)
SCRIPT = st.lists(st.tuples(HAPPENS, st.booleans()), max_size=4)


@TESTED
@given(
    before=SCRIPT,
    kind=st.sampled_from((ScanKind.INVENTORY, ScanKind.INVENTORY, ScanKind.POLICY)),
    point=st.integers(0, 30),
    meanwhile=SCRIPT,
    dies=st.sampled_from((False, False, True)),
    after=SCRIPT,
)
def test_a_scan_interrupted_anywhere(
    before: list[tuple[str, bool]],
    kind: ScanKind,
    point: int,
    meanwhile: list[tuple[str, bool]],
    dies: bool,
    after: list[tuple[str, bool]],
) -> None:
    """At each of its calls, anything can happen; then it goes on, or never does."""
    loop = Loop()
    try:
        loop.begin(set(), 0, scanned=True)
        loop.play(before)
        task = loop.started(kind, ACCOUNTS[0])
        # A policy scan makes a third of the calls.
        loop.step(task, point if kind is ScanKind.INVENTORY else point // 3)
        loop.play(meanwhile)
        if dies:
            task.kill()
        loop.step(task, NEVER)
        loop.nothing_known_is_forgotten()
        loop.play(after)
    finally:
        loop.teardown()
