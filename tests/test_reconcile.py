import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrie_dagster.inventory.resource_type import Listing, ResourceType, Service
from qrie_dagster.models import ALL_REGIONS, GLOBAL, Collected, ListedScope, Resource
from qrie_dagster.reconcile import Changes, Stored, content_hash, fill_in, reconcile

ACCOUNT = "111111111111"
GLOBAL_TYPE, REGIONAL_TYPE = "AWS::Test::Global", "AWS::Test::Regional"
SERVICE = Service(
    "test",
    "Test",
    types=(
        ResourceType(GLOBAL_TYPE, Listing("list_globals"), "Items[]", "{Arn}", is_global=True, region="Region"),
        ResourceType(REGIONAL_TYPE, Listing("list_regionals"), "Items[]", "{Arn}"),
    ),
)


def resource(arn: str, at: int, *, kind: str = REGIONAL_TYPE, region: str = "eu-west-1", **facts: Any) -> Resource:
    return Resource(ACCOUNT, "test", kind, region, arn, facts, at)


def stored(*resources: Resource) -> dict[str, Stored]:
    return {
        one.arn: Stored(one.arn, one.resource_type, one.region, content_hash(one), one.describe_time)
        for one in resources
    }


def scope(at: int, *, kind: str = REGIONAL_TYPE, region: str = "eu-west-1", error: str | None = None) -> ListedScope:
    return ListedScope(kind, region, at, error)


def collected(resources: list[Resource], *scopes: ListedScope) -> Collected:
    return Collected(ACCOUNT, "test", resources, [*scopes])


def arns(things: tuple[Any, ...]) -> list[str]:
    return [thing.arn for thing in things]


def nothing_changed(changes: Changes) -> bool:
    return not (changes.created or changes.updated or changes.deleted)


def test_what_is_new_is_created() -> None:
    changes = reconcile(SERVICE, collected([resource("a", 10)], scope(10)), {})
    assert arns(changes.created) == ["a"]
    assert (changes.updated, changes.deleted, changes.unchanged, changes.superseded) == ((), (), 0, 0)


def test_what_changed_is_updated() -> None:
    changes = reconcile(SERVICE, collected([resource("a", 20, Size=2)], scope(20)), stored(resource("a", 10, Size=1)))
    assert arns(changes.updated) == ["a"]
    assert changes.unchanged == 0


def test_what_is_the_same_is_not_written() -> None:
    changes = reconcile(SERVICE, collected([resource("a", 20, Size=1)], scope(20)), stored(resource("a", 10, Size=1)))
    assert nothing_changed(changes)
    assert changes.unchanged == 1


def test_what_a_complete_listing_does_not_hold_is_deleted() -> None:
    changes = reconcile(SERVICE, collected([], scope(20)), stored(resource("a", 10)))
    assert arns(changes.deleted) == ["a"]
    assert changes.deleted[0].describe_time == 20
    assert changes.deleted[0].resource_type == REGIONAL_TYPE


def test_nothing_is_deleted_when_the_listing_failed() -> None:
    changes = reconcile(SERVICE, collected([], scope(20, error="AccessDenied")), stored(resource("a", 10)))
    assert nothing_changed(changes)


def test_what_a_failed_listing_did_see_is_written_and_nothing_is_deleted() -> None:
    changes = reconcile(
        SERVICE,
        collected([resource("new", 20), resource("a", 20, Size=2)], scope(20, error="Throttled")),
        stored(resource("a", 10, Size=1), resource("b", 10)),
    )
    assert (arns(changes.created), arns(changes.updated), arns(changes.deleted)) == (["new"], ["a"], [])


def test_one_region_failing_keeps_its_own_and_loses_those_of_others() -> None:
    here, there = resource("here", 10), resource("there", 10, region="us-east-1")
    changes = reconcile(
        SERVICE, collected([], scope(20), scope(20, region="us-east-1", error="timed out")), stored(here, there)
    )
    assert arns(changes.deleted) == ["here"]


def test_one_type_failing_keeps_its_own_in_the_same_region() -> None:
    other = resource("other", 10, kind=GLOBAL_TYPE)
    changes = reconcile(
        SERVICE,
        collected([], scope(20, error="denied"), scope(20, kind=GLOBAL_TYPE, region=GLOBAL)),
        stored(resource("a", 10), other),
    )
    assert arns(changes.deleted) == ["other"]


def test_a_resource_with_a_region_belongs_to_the_global_listing_that_shows_it() -> None:
    bucket = resource("bucket", 10, kind=GLOBAL_TYPE, region="eu-north-1")
    complete = collected([], scope(20, kind=GLOBAL_TYPE, region=GLOBAL))
    failed = collected([], scope(20, kind=GLOBAL_TYPE, region=GLOBAL, error="denied"))
    assert arns(reconcile(SERVICE, complete, stored(bucket)).deleted) == ["bucket"]
    assert nothing_changed(reconcile(SERVICE, failed, stored(bucket)))


def test_nothing_is_deleted_when_the_regions_could_not_be_read() -> None:
    changes = reconcile(
        SERVICE, collected([], scope(20, region=ALL_REGIONS, error="denied")), stored(resource("a", 10))
    )
    assert nothing_changed(changes)
    assert changes.unlisted == ()


def test_a_region_that_is_not_scanned_any_more_is_told_and_kept() -> None:
    changes = reconcile(SERVICE, collected([], scope(20)), stored(resource("a", 10, region="us-east-1")))
    assert changes.deleted == ()
    assert arns(changes.unlisted) == ["a"]


def test_nothing_listed_deletes_nothing() -> None:
    assert nothing_changed(reconcile(SERVICE, collected([]), stored(resource("a", 10))))


@pytest.mark.parametrize("at", [9, 10])
def test_an_observation_that_is_not_newer_does_not_overwrite(at: int) -> None:
    changes = reconcile(SERVICE, collected([resource("a", at, Size=2)], scope(at)), stored(resource("a", 10, Size=1)))
    assert nothing_changed(changes)
    assert changes.superseded == 1


@pytest.mark.parametrize("at", [9, 10])
def test_a_listing_that_is_not_newer_does_not_delete(at: int) -> None:
    changes = reconcile(SERVICE, collected([], scope(at)), stored(resource("a", 10)))
    assert nothing_changed(changes)
    assert changes.superseded == 1


def test_moving_to_another_region_is_a_change() -> None:
    old = resource("bucket", 10, kind=GLOBAL_TYPE, region="eu-west-1")
    new = replace(old, region="us-east-1", describe_time=20)
    assert arns(reconcile(SERVICE, collected([new]), stored(old)).updated) == ["bucket"]


def test_what_is_filled_in_is_taken_from_the_last_known_configuration() -> None:
    partial = replace(resource("a", 20, Name="a"), unread=("Acl", "Policy"))
    filled = fill_in(partial, {"Name": "old", "Acl": {"Owner": "me"}, "Gone": 1})
    assert filled.configuration == {"Name": "a", "Acl": {"Owner": "me"}}
    assert filled.unread == ("Policy",)
    assert filled.describe_time == 20


def test_a_known_absence_is_filled_in_as_absence() -> None:
    filled = fill_in(replace(resource("a", 20), unread=("Policy",)), {"Policy": None})
    assert filled.configuration == {"Policy": None}
    assert filled.unread == ()


def test_filling_in_from_nothing_leaves_it_unknown() -> None:
    partial = replace(resource("a", 20), unread=("Policy",))
    assert fill_in(partial, {}) == partial


def test_unknown_is_not_the_same_as_absent() -> None:
    absent, unknown = resource("a", 10, Policy=None), replace(resource("a", 10), unread=("Policy",))
    missing = resource("a", 10)
    assert len({content_hash(one) for one in (absent, unknown, missing)}) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, Mapping):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    if isinstance(value, list):
        return order.sample([shuffled(inner, order) for inner in value], len(value))
    return value


@given(configuration=st.dictionaries(st.text(max_size=4), JSON, max_size=4), order=st.randoms())
def test_the_hash_does_not_depend_on_the_order_of_keys_and_lists(
    configuration: dict[str, Any], order: random.Random
) -> None:
    again = shuffled(configuration, order)
    one = Resource(ACCOUNT, "test", REGIONAL_TYPE, "eu-west-1", "a", configuration, 1)
    assert content_hash(one) == content_hash(replace(one, configuration=again, describe_time=2))


@given(configuration=st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_the_hash_survives_json(configuration: dict[str, Any]) -> None:
    one = Resource(ACCOUNT, "test", REGIONAL_TYPE, "eu-west-1", "a", configuration, 1)
    assert content_hash(one) == content_hash(replace(one, configuration=json.loads(json.dumps(configuration))))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"A": 1}, {"A": "1"}),
        ({"A": True}, {"A": 1}),
        ({"A": None}, {"A": "null"}),
        ({"A": []}, {"A": {}}),
        ({"A": [1, 1]}, {"A": [1]}),
        ({"A": [[1], [2]]}, {"A": [[1, 2]]}),
        ({"A": {"B": 1}}, {"A": 1, "B": 1}),
    ],
)
def test_different_content_has_different_hashes(one: dict[str, Any], other: dict[str, Any]) -> None:
    base = resource("a", 1)
    assert content_hash(replace(base, configuration=one)) != content_hash(replace(base, configuration=other))


# Worlds: a few resources with times close together, so that older, equal and newer all happen.
REGIONS = ["eu-west-1", "us-east-1", "ap-south-1"]
TIMES = st.integers(1, 6)


def placed(name: str, at: int, size: int) -> Resource:
    """Where a resource is follows from its name: ARNs do not move."""
    number = int(name[1:])
    if name.startswith("g"):
        return resource(name, at, kind=GLOBAL_TYPE, region=REGIONS[number % 3], Size=size)
    return resource(name, at, region=REGIONS[number % 3], Size=size)


NAMES = [f"{kind}{number}" for kind in "gr" for number in range(6)]
INVENTORIES = st.dictionaries(st.sampled_from(NAMES), st.tuples(TIMES, st.integers(0, 2)))


@st.composite
def passes(draw: st.DrawFn) -> Collected:
    """One pass over the account: some scopes tried, some failed half-way, each with one time."""
    scopes: dict[str, ListedScope] = {}
    for kind, region in [(GLOBAL_TYPE, GLOBAL), *((REGIONAL_TYPE, region) for region in REGIONS)]:
        if draw(st.booleans()):
            one = ListedScope(kind, region, draw(TIMES), draw(st.sampled_from([None, "denied"])))
            scopes[one.key] = one
    resources = []
    for name, (_, size) in draw(INVENTORIES).items():
        found = placed(name, 0, size)
        listing = scopes.get(SERVICE.scope_key(found.resource_type, found.region))
        if listing:
            resources.append(replace(found, describe_time=listing.describe_time))
    return Collected(ACCOUNT, "test", resources, list(scopes.values()))


def inventory(content: Mapping[str, tuple[int, int]]) -> dict[str, Stored]:
    return stored(*(placed(name, at, size) for name, (at, size) in content.items()))


def applied(changes: Changes, before: Mapping[str, Stored]) -> dict[str, Stored]:
    gone = {deletion.arn for deletion in changes.deleted}
    return {arn: old for arn, old in before.items() if arn not in gone} | stored(*changes.created, *changes.updated)


@given(seen=passes(), content=INVENTORIES)
def test_nothing_is_deleted_whose_scope_was_not_listed_completely(
    seen: Collected, content: dict[str, tuple[int, int]]
) -> None:
    before = inventory(content)
    complete = {one.key: one for one in seen.scopes if one.complete}
    observed = {one.arn for one in seen.resources}
    for deletion in reconcile(SERVICE, seen, before).deleted:
        old = before[deletion.arn]
        assert deletion.arn not in observed
        assert SERVICE.scope_key(old.resource_type, old.region) in complete


@given(seen=passes(), content=INVENTORIES)
def test_everything_is_deleted_that_a_newer_complete_listing_did_not_hold(
    seen: Collected, content: dict[str, tuple[int, int]]
) -> None:
    before = inventory(content)
    complete = {one.key: one.describe_time for one in seen.scopes if one.complete}
    observed = {one.arn for one in seen.resources}
    due = {
        old.arn
        for old in before.values()
        if old.arn not in observed
        and old.describe_time < complete.get(SERVICE.scope_key(old.resource_type, old.region), 0)
    }
    assert set(arns(reconcile(SERVICE, seen, before).deleted)) == due


@given(seen=passes(), content=INVENTORIES)
def test_the_older_never_overwrites_the_newer(seen: Collected, content: dict[str, tuple[int, int]]) -> None:
    before = inventory(content)
    changes = reconcile(SERVICE, seen, before)
    for written in (*changes.updated, *changes.deleted):
        assert written.describe_time > before[written.arn].describe_time
    assert all(one.arn not in before for one in changes.created)


@given(seen=passes(), content=INVENTORIES)
def test_reconciling_the_same_again_changes_nothing(seen: Collected, content: dict[str, tuple[int, int]]) -> None:
    before = inventory(content)
    after = applied(reconcile(SERVICE, seen, before), before)
    again = reconcile(SERVICE, seen, after)
    assert nothing_changed(again)
    assert applied(again, after) == after


@given(seen=passes(), content=INVENTORIES)
def test_every_observation_is_counted_once(seen: Collected, content: dict[str, tuple[int, int]]) -> None:
    changes = reconcile(SERVICE, seen, inventory(content))
    kept_by_age = changes.superseded
    assert len(changes.created) + len(changes.updated) + changes.unchanged <= len(seen.resources)
    assert len(changes.created) + len(changes.updated) + changes.unchanged + kept_by_age >= len(seen.resources)


@given(content=INVENTORIES, wanted=INVENTORIES)
def test_a_complete_newer_pass_makes_the_store_equal_aws(
    content: dict[str, tuple[int, int]], wanted: dict[str, tuple[int, int]]
) -> None:
    before = inventory(content)
    resources = [placed(name, 10, size) for name, (_, size) in wanted.items()]
    scopes = [ListedScope(GLOBAL_TYPE, GLOBAL, 10), *(ListedScope(REGIONAL_TYPE, region, 10) for region in REGIONS)]
    after = applied(reconcile(SERVICE, Collected(ACCOUNT, "test", resources, scopes), before), before)
    assert {arn: one.content_hash for arn, one in after.items()} == {one.arn: content_hash(one) for one in resources}
