"""Accounts that leave, and come back, while something else is under way in them."""

import pytest
from tasks import Task
from test_loop import AN_ANIMAL, NEVER, Loop
from world import ACCOUNTS, PLACES

from qrie_dagster import registry
from qrie_dagster.models import ScanKind
from qrie_dagster.store.tables import FINDINGS, RESOURCES
from qrie_dagster.times import DAY_MS

HERE = ACCOUNTS[0]
RED, GREEN = 0, 1
OF_HERE = [place for place in PLACES if place.account_id == HERE]


def clean_up(loop: Loop) -> Task:
    task = Task("clean-up", lambda: list(registry.retire_inactive(loop.store)))
    loop.tasks.append(task)
    return task


def run(loop: Loop, kind: ScanKind, only: tuple[str, ...] = ()) -> Task:
    task = loop.started(kind, HERE, only=only)
    loop.step(task, NEVER)
    return task


@pytest.mark.parametrize("calls", range(1, 45))
@pytest.mark.parametrize("only", [(), ("AnimalRed",)])
@pytest.mark.parametrize("kind", ScanKind)
def test_a_scan_that_ends_after_its_account_left_leaves_nothing(
    loop: Loop, kind: ScanKind, only: tuple[str, ...], calls: int
) -> None:
    """Wherever the clean-up is by then."""
    loop.change(AN_ANIMAL, GREEN)
    run(loop, ScanKind.INVENTORY)
    run(loop, ScanKind.POLICY)
    loop.change(AN_ANIMAL, RED)
    if kind is ScanKind.POLICY:
        run(loop, ScanKind.INVENTORY)
    late = loop.started(kind, HERE, only=only)
    loop.step(late, f"query {RESOURCES}")
    loop.step(late, 1)
    loop.move("removed")
    cleaning = clean_up(loop)
    loop.step(cleaning, calls)
    loop.step(late, NEVER)
    loop.step(cleaning, NEVER)
    list(registry.retire_inactive(loop.store))
    loop._nothing_is_kept(HERE)


@pytest.mark.parametrize("calls", range(1, 40))
def test_an_account_that_comes_back_while_it_is_cleaned_up_loses_nothing_it_has_since(loop: Loop, calls: int) -> None:
    loop.move("suspended")
    cleaning = clean_up(loop)
    loop.step(cleaning, calls)
    loop.move("active")
    # Policies have nothing to judge by until there is an inventory.
    run(loop, ScanKind.POLICY)
    assert run(loop, ScanKind.INVENTORY).result.succeeded
    assert run(loop, ScanKind.POLICY).result.succeeded
    loop.step(cleaning, NEVER)
    assert len(loop.store.resources.index(HERE, "zoo")) == len(OF_HERE)
    judged = run(loop, ScanKind.POLICY).result
    assert judged.findings_closed == 0
    assert loop.store.accounts.get(HERE).retired_ms is None


def test_after_a_clock_of_the_future_an_account_starts_afresh(loop: Loop) -> None:
    loop.world.clock += 365 * DAY_MS
    for number in (GREEN, RED, GREEN):
        loop.change(AN_ANIMAL, number)
        run(loop, ScanKind.INVENTORY)
        run(loop, ScanKind.POLICY)
    gone = OF_HERE[1]
    loop.change(gone, 8)
    assert loop._observe(loop.events[-1])
    loop.world.clock -= 365 * DAY_MS
    loop.world.history = {place: [(0, entries[-1][1])] for place, entries in loop.world.history.items()}
    assert run(loop, ScanKind.INVENTORY).result.failed
    loop.move("removed")
    loop.step(clean_up(loop), NEVER)
    loop.move("active")
    loop.events.clear()
    for place in (AN_ANIMAL, gone):
        loop.change(place, RED)
    loop.events.clear()
    run(loop, ScanKind.INVENTORY)
    run(loop, ScanKind.POLICY)
    # What the other account has is of the future, too.
    keys = {key for key, item in loop.dynamo.tables[FINDINGS].items() if item["State"] == "ACTIVE" and HERE in key[0]}
    assert {(AN_ANIMAL.arn, "AnimalRed"), (gone.arn, "AnimalRed")} <= keys
    assert set(loop.store.resources.index(HERE, "zoo")) == {place.arn for place in OF_HERE}


@pytest.mark.parametrize(("behind", "waits"), [(1, True), (9_000, True), (11_000, False)])
def test_clocks_that_differ_a_little_are_waited_for(loop: Loop, behind: int, waits: bool) -> None:
    loop.change(AN_ANIMAL, GREEN)
    run(loop, ScanKind.INVENTORY)
    last = max(loop.store.accounts.last_listings(HERE, "zoo")[0].values())
    loop.world.clock = last - behind - 20
    outcome = run(loop, ScanKind.INVENTORY).result
    assert outcome.succeeded is waits
    loop.world.clock = last + 60_000
