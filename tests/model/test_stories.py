"""The narrowest races, told one by one: what random examples meet too rarely."""

import pytest
from test_loop import A_KEEPER, AN_ANIMAL, NEVER, Loop, state_of
from world import ACCOUNTS, Fault

from qrie_dagster.models import ScanKind
from qrie_dagster.store.tables import ACCOUNTS as ACCOUNTS_TABLE
from qrie_dagster.store.tables import FINDINGS, RESOURCES

RED, GREEN, GONE = 0, 1, 8
EXPIRED, VALID = 4, 2


def full(loop: Loop, kind: ScanKind = ScanKind.INVENTORY) -> None:
    loop.step(loop.started(kind, ACCOUNTS[0]), NEVER)
    loop.nothing_known_is_forgotten()


def finding(loop: Loop, policy: str = "AnimalRed") -> str:
    item = loop.dynamo.tables[FINDINGS].get((AN_ANIMAL.arn, policy))
    return item["State"] if item else "none"


def stored(loop: Loop) -> bool:
    return (f"{ACCOUNTS[0]}_zoo", AN_ANIMAL.arn) in loop.dynamo.tables[RESOURCES]


def test_a_listing_that_failed_later_still_saw_what_it_saw(loop: Loop) -> None:
    loop.change(AN_ANIMAL, GREEN)
    loop.change(AN_ANIMAL, RED)
    loop.break_aws(operation="list_animals", region="eu-west-1", page=1, times=1)
    full(loop)
    # That it was green for a moment, before it was seen red.
    loop.deliver(0, again=False)


def test_what_a_scan_could_not_read_does_not_undo_what_an_event_told(loop: Loop) -> None:
    loop.change(A_KEEPER, VALID)
    loop.world.faults.append(Fault("get_licence", code="AccessDenied", times=NEVER))
    loop.break_aws(operation="list_keepers", page=1, times=1)
    task = loop.started(ScanKind.INVENTORY, ACCOUNTS[0])
    loop.step(task, f"batch_get {RESOURCES}")
    loop.step(task, 1)
    # The listing of keepers is not complete, so an event older than it counts.
    loop.deliver(0, again=False)
    loop.step(task, NEVER)


def test_an_event_that_was_checked_before_a_scan_claimed_is_checked_again(loop: Loop) -> None:
    loop.change(AN_ANIMAL, GREEN)
    event = loop.events.pop()
    loop.change(AN_ANIMAL, RED)
    loop.events.clear()
    told: list[bool] = []
    transact = loop.dynamo.transact

    def scan_first(writes: list) -> None:
        loop.dynamo.transact = transact
        full(loop)
        transact(writes)

    loop.dynamo.transact = scan_first
    told.append(loop._observe(event))
    assert told == [False]


def test_an_older_evaluation_does_not_close_what_a_newer_one_opened(loop: Loop) -> None:
    loop.change(AN_ANIMAL, GREEN)
    full(loop)
    older = loop.started(ScanKind.POLICY, ACCOUNTS[0])
    loop.step(older, f"put {FINDINGS}")
    loop.change(AN_ANIMAL, 4)
    full(loop)
    full(loop, ScanKind.POLICY)
    assert finding(loop) == "ACTIVE"
    loop.step(older, NEVER)
    assert finding(loop) == "ACTIVE"


def test_a_resource_that_came_back_keeps_its_finding(loop: Loop) -> None:
    loop.change(AN_ANIMAL, GONE)
    full(loop)
    older = loop.started(ScanKind.POLICY, ACCOUNTS[0])
    loop.step(older, f"put {FINDINGS}")
    loop.change(AN_ANIMAL, 4)
    full(loop)
    full(loop, ScanKind.POLICY)
    loop.step(older, NEVER)
    assert finding(loop) == "ACTIVE"


@pytest.mark.parametrize("call", range(2, 7))
def test_a_resource_that_appears_during_an_evaluation_keeps_its_finding(loop: Loop, call: int) -> None:
    loop.change(AN_ANIMAL, GONE)
    full(loop)
    full(loop, ScanKind.POLICY)
    older = loop.started(ScanKind.POLICY, ACCOUNTS[0])
    loop.step(older, call)
    loop.change(AN_ANIMAL, RED)
    full(loop)
    full(loop, ScanKind.POLICY)
    loop.step(older, NEVER)
    assert finding(loop) == "ACTIVE"


def test_a_deletion_told_while_a_scan_writes_is_not_undone(loop: Loop) -> None:
    loop.change(AN_ANIMAL, GONE)
    full(loop)
    loop.change(AN_ANIMAL, GREEN)
    task = loop.started(ScanKind.INVENTORY, ACCOUNTS[0])
    loop.step(task, f"query {RESOURCES}")
    loop.change(AN_ANIMAL, GONE)
    loop.deliver(len(loop.events) - 1, again=True)
    loop.step(task, NEVER)
    assert not stored(loop)
    # The same event again, and the one of its creation after that of its deletion.
    for number in range(len(loop.events)):
        loop.deliver(number, again=True)
    assert not stored(loop)


def test_an_event_out_of_order_does_not_bring_back_the_deleted(loop: Loop) -> None:
    loop.change(AN_ANIMAL, GREEN)
    loop.change(AN_ANIMAL, GONE)
    created, deleted = loop.events
    assert loop._observe(deleted)
    assert not loop._observe(created)
    assert not stored(loop)
    loop.change(AN_ANIMAL, RED)
    assert loop._observe(loop.events[-1])
    assert stored(loop)


def test_a_scan_that_was_overtaken_while_it_wrote_looks_again(loop: Loop) -> None:
    loop.change(AN_ANIMAL, GONE)
    full(loop)
    loop.change(AN_ANIMAL, RED)
    task = loop.started(ScanKind.INVENTORY, ACCOUNTS[0])
    loop.step(task, f"update {ACCOUNTS_TABLE}")
    loop.step(task, f"update {RESOURCES}")
    loop.change(AN_ANIMAL, GONE)
    full(loop)
    assert not stored(loop)
    loop.step(task, NEVER)
    assert not stored(loop)
    assert task.result.succeeded
    assert state_of(AN_ANIMAL, RED)


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize(("before", "back"), [(RED, RED), (RED, None), (GREEN, GREEN)])
def test_a_scan_that_was_overtaken_undoes_nothing_that_a_later_one_saw(
    loop: Loop, before: int, back: int | None, dies: bool
) -> None:
    """What the later scan saw just as it is stored, it had no reason to write."""
    loop.change(AN_ANIMAL, before)
    full(loop)
    full(loop, ScanKind.POLICY)
    was = finding(loop)
    # Seen as gone, or changed, by a scan that is slow to say so.
    loop.change(AN_ANIMAL, GONE if back is not None else GREEN)
    slow = loop.started(ScanKind.INVENTORY, ACCOUNTS[0])
    loop.step(slow, f"transact {ACCOUNTS_TABLE}")
    loop.change(AN_ANIMAL, before)
    full(loop)
    loop.step(slow, 1)
    full(loop, ScanKind.POLICY)
    assert stored(loop)
    assert finding(loop) == was
    if dies:
        slow.kill()
    loop.step(slow, NEVER)
    full(loop, ScanKind.POLICY)
    assert stored(loop)
    assert finding(loop) == was


def test_a_burial_undoes_nothing_that_a_later_scan_saw(loop: Loop) -> None:
    loop.change(AN_ANIMAL, GONE)
    full(loop)
    loop.change(AN_ANIMAL, RED)
    slow = loop.started(ScanKind.INVENTORY, ACCOUNTS[0])
    loop.step(slow, f"update {RESOURCES}")
    loop.change(AN_ANIMAL, GONE)
    loop.deliver(len(loop.events) - 1, again=False)
    loop.step(slow, f"transact {ACCOUNTS_TABLE}")
    loop.change(AN_ANIMAL, RED)
    full(loop)
    loop.step(slow, 1)
    slow.kill()
    assert stored(loop)
