"""What AWS, clocks and people do seldom, in the model of ``world.py``."""

from collections.abc import Iterator
from typing import Any

import pytest
import world as aws
from test_loop import AN_ANIMAL, NEVER, Loop, check_counts
from world import ACCOUNTS, PLACES

from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Outcome, ScanKind, Scope
from qrie_dagster.settings import Settings
from qrie_dagster.store.launched_policies import LaunchedPolicy
from qrie_dagster.store.tables import FINDINGS

HERE = ACCOUNTS[0]
HOUR = 3_600_000


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    loop.begin(set(), 0, scanned=True)
    yield loop
    for task in loop.tasks:
        task.kill()
    loop.patch.undo()


def run(loop: Loop, kind: ScanKind = ScanKind.INVENTORY) -> Outcome:
    task = loop.started(kind, HERE)
    loop.step(task, NEVER)
    outcome: Outcome = task.result
    return outcome


def stored(loop: Loop) -> set[str]:
    return set(loop.store.resources.index(HERE, "zoo"))


def states(loop: Loop) -> dict[str, str]:
    return {item["Policy"]: item["State"] for key, item in loop.dynamo.tables[FINDINGS].items() if HERE in key[0]}


def test_a_resource_on_two_pages_is_one_resource(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    once = aws.Client.items
    # Each page begins with the last item of the one before, as when something is created while pages are read.
    monkeypatch.setattr(aws, "PAGE", 2)
    monkeypatch.setattr(
        aws.Client,
        "items",
        lambda self, operation, after: (
            [*[item for item in once(self, operation, "") if item[0] == after], *once(self, operation, after)]
            if after != "b"
            else once(self, operation, after)
        ),
    )
    outcome = run(loop)
    assert outcome.succeeded
    assert outcome.resources_found == outcome.resources_unchanged == len([p for p in PLACES if p.account_id == HERE])


def test_what_has_no_name_fails_its_scope_and_deletes_nothing(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stored(loop)
    monkeypatch.setattr(aws.Client, "list_cages", lambda self: {"Cages": [{"Colour": "red"}]})
    outcome = run(loop)
    assert [failure for failure in outcome.failures if "has no ARN" in failure]
    assert outcome.resources_deleted == 0
    assert stored(loop) == before


@pytest.mark.parametrize("regions", [([], []), ([], ["eu-north-1"])])
def test_no_regions_is_a_failure_and_not_an_empty_account(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, regions: Any
) -> None:
    before = stored(loop)
    monkeypatch.setattr(aws.Session, "regions", lambda self: regions)
    outcome = run(loop)
    assert not outcome.succeeded
    assert stored(loop) == before


def test_an_empty_account_is_fresh_and_has_nothing(loop: Loop) -> None:
    for place in PLACES:
        loop.change(place, 8)
    outcome = run(loop)
    assert outcome.succeeded
    assert (outcome.resources_found, stored(loop)) == (0, set())
    assert run(loop, ScanKind.POLICY).succeeded
    assert set(states(loop).values()) == {"RESOLVED"}


def test_a_clock_set_back_is_told_and_changes_nothing(loop: Loop) -> None:
    before = stored(loop)
    loop.change(AN_ANIMAL, 8)
    loop.world.clock -= HOUR
    outcome = run(loop)
    assert outcome.failed
    assert "the clock of this machine is at least 3" in outcome.failures[0]
    assert stored(loop) == before
    loop.world.clock += HOUR
    assert run(loop).resources_deleted == 1


@pytest.mark.parametrize("calls", range(1, 40))
@pytest.mark.parametrize("kind", ScanKind)
def test_a_scan_made_again_after_its_death_tells_what_both_attempts_did(loop: Loop, kind: ScanKind, calls: int) -> None:
    """Dagster starts a run whose process died once more, under the same scan."""
    alert, closed, *others = [place for place in PLACES if place.account_id == HERE]
    loop.change(alert, 8)
    run(loop)
    run(loop, ScanKind.POLICY)
    loop.change(alert, 0)
    for place in (closed, *others):
        loop.change(place, 7 if place.resource_type != aws.KEEPER else 2)
    if kind is ScanKind.POLICY:
        run(loop)
    first = loop.started(kind, HERE, again="retried")
    loop.step(first, calls)
    first.kill()
    second = loop.started(kind, HERE, again="retried")
    # Its own outcome may tell of more than its own changes.
    second.faulted = True
    loop.step(second, NEVER)
    assert second.result.succeeded
    changes = [*first.changes, *second.changes]
    total = loop.store.summary.outcome("retried", HERE, "zoo")
    assert total
    check_counts(total, changes, loop.dynamo)
    assert total.resources_before == (len(others) + 1 if kind is ScanKind.INVENTORY else 0)
    if kind is ScanKind.POLICY:
        assert (total.findings_created, total.findings_closed) == (1, 6)
        assert [(news.policy, news.count) for news in total.opened] == [("AnimalRed", 1)]
    else:
        assert (total.resources_created, total.resources_updated) == (1, 6)


def test_an_account_that_moves_to_another_customer_keeps_its_inventory(loop: Loop) -> None:
    loop.launch(LaunchedPolicy(policy_id="AnimalRed", scope=Scope(exclude_ou_paths=["/orchard"])))
    before = stored(loop)
    account = loop.store.accounts.get(HERE)
    assert account
    assert states(loop)["AnimalRed"] == "ACTIVE"
    loop.store.accounts.describe(account.model_copy(update={"customer": "Orchard", "ou_path": "/orchard/prod"}))
    # The model knows no scopes.
    loop._finding_written = lambda _changed: None
    assert run(loop, ScanKind.POLICY).succeeded
    item = next(i for k, i in loop.dynamo.tables[FINDINGS].items() if HERE in k[0] and i["Policy"] == "AnimalRed")
    assert (item["State"], item["ResolvedReason"]) == ("RESOLVED", "OUT_OF_SCOPE")
    assert stored(loop) == before


def test_thousands_of_tags_and_odd_characters_go_round_unchanged(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {f"k\u0000{number}\u202e": "ß漢\t🦒" * 8 for number in range(3000)}
    once = aws.Client.list_cages

    def list_cages(self: aws.Client) -> dict[str, Any]:
        return {"Cages": [{**cage, "Tags": tags} for cage in once(self)["Cages"]]}

    monkeypatch.setattr(aws.Client, "list_cages", list_cages)
    assert run(loop).resources_updated == 1
    [cage] = [one for one in loop.store.resources.load(HERE, "zoo") if "Cage" in one.resource_type]
    assert cage.tags == tags
    assert run(loop).resources_updated == 0


@pytest.mark.parametrize(
    ("partition", "region"), [("aws", "us-east-1"), ("aws-cn", "cn-north-1"), ("aws-us-gov", "us-gov-west-1")]
)
def test_arns_and_global_endpoints_follow_the_partition(partition: Any, region: str) -> None:
    assert Settings(partition=partition).role_arn(HERE) == f"arn:{partition}:iam::{HERE}:role/QrieReadOnly-{HERE}"
    for service in all_services().values():
        assert service.global_region[partition] == region
        for kind in service.types:
            # ARNs that AWS itself gives, as those of IAM and RDS, are taken as they are.
            if kind.arn.startswith("arn:"):
                assert kind.arn.startswith("arn:{partition}:"), kind.name
