import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from qrie_dagster.errors import StoreError
from qrie_dagster.inventory.resource_type import Service
from qrie_dagster.models import Collected, ListedScope, Resource, UnknownFactError
from qrie_dagster.reconcile import Changes, Deletion, content_hash, reconcile
from qrie_dagster.store import Store
from qrie_dagster.store.dynamo import Attr, OvertakenError, Write
from qrie_dagster.store.encoding import LARGEST, decode, encode, encode_to_fit
from qrie_dagster.store.resources import reported_deleted
from qrie_dagster.store.tables import ACCOUNTS, RESOURCES


def resource(account_id: str, name: str = "a", at: int = 100, unread: tuple[str, ...] = (), **facts: Any) -> Resource:
    return Resource(account_id, "s3", "AWS::S3::Bucket", "eu-west-1", f"arn:aws:s3:::{name}", facts, at, unread)


def changes(created: tuple[Resource, ...] = (), updated: tuple[Resource, ...] = (), *deleted: Deletion) -> Changes:
    return Changes(created, updated, deleted, 0, 0, ())


# A claim that holds: nobody else scans.
ALONE = Write(ACCOUNTS, {"AccountId": "000000000000"}, "check", condition=Attr("AccountId").not_exists())
OVERTAKEN = replace(ALONE, condition=Attr("AccountId").exists())


def deletion(one: Resource, at: int) -> Deletion:
    return Deletion(one.arn, one.resource_type, at)


def item(store: Store, one: Resource) -> dict[str, Any]:
    found = store.dynamo.get(RESOURCES, {"AccountService": one.account_service, "ARN": one.arn})
    assert found is not None
    return found


def test_a_resource_comes_back_as_it_was_seen(store: Store, account_id: str) -> None:
    one = resource(account_id, Size=1, Ratio=1.5, Open=True, Nothing=None, Tags={"a": "b"}, List=[1, "x", []])
    store.resources.apply(account_id, "s3", changes((one,)), ALONE, 7)
    assert store.resources.get(account_id, "s3", one.arn) == one
    assert list(store.resources.load(account_id, "s3")) == [one]
    assert store.resources.configurations(account_id, "s3", [one.arn, "no such"]) == {one.arn: one.configuration}


def test_what_is_not_known_stays_unknown(store: Store, account_id: str) -> None:
    one = resource(account_id, unread=("Acl",))
    store.resources.write(one, 7)
    found = store.resources.get(account_id, "s3", one.arn)
    assert found == one
    with pytest.raises(UnknownFactError):
        found.fact("Acl")


def test_an_item_has_the_attributes_that_others_read(store: Store, account_id: str) -> None:
    one = resource(account_id, Size=1)
    store.resources.write(one, 7)
    found = item(store, one)
    assert found["AccountService"] == f"{account_id}_s3"
    assert (found["ResourceType"], found["Region"]) == ("AWS::S3::Bucket", "eu-west-1")
    assert (found["DescribeTime"], found["FirstSeenAt"], found["LastSeenAt"]) == (100, 7, 7)
    assert found["ConfigHash"] == content_hash(one)


def test_the_first_sight_is_kept(store: Store, account_id: str) -> None:
    one = resource(account_id)
    store.resources.write(one, 7)
    store.resources.write(replace(one, describe_time=200), 9)
    found = item(store, one)
    assert (found["FirstSeenAt"], found["LastSeenAt"], found["DescribeTime"]) == (7, 9, 200)


@pytest.mark.parametrize("at", [99, 100])
def test_only_a_newer_observation_overwrites(store: Store, account_id: str, at: int) -> None:
    one = resource(account_id, Size=1)
    store.resources.write(one, 7)
    assert store.resources.write(resource(account_id, at=at, Size=2), 8) is None
    assert store.resources.get(account_id, "s3", one.arn) == one


def test_only_an_older_resource_is_deleted(store: Store, account_id: str) -> None:
    one = resource(account_id)
    store.resources.write(one, 7)
    assert not store.resources.delete(account_id, "s3", deletion(one, 99))
    assert not store.resources.delete(account_id, "s3", deletion(one, 100))
    assert store.resources.delete(account_id, "s3", deletion(one, 101))
    assert store.resources.get(account_id, "s3", one.arn) is None
    assert not store.resources.delete(account_id, "s3", deletion(one, 102))


def test_counts_are_of_what_the_table_changed(store: Store, account_id: str) -> None:
    old, newer, gone, unknown = (resource(account_id, name) for name in ("old", "newer", "gone", "unknown"))
    for one in (old, replace(newer, describe_time=300), gone):
        store.resources.write(one, 7)
    later = [replace(one, describe_time=200) for one in (old, newer, resource(account_id, "new"))]
    # One that is thought to be new is stored already: the table knows better.
    applied = store.resources.apply(
        account_id,
        "s3",
        changes((later[0], later[2]), (later[1],), deletion(gone, 200), deletion(newer, 200), deletion(unknown, 201)),
        ALONE,
        8,
    )
    assert (applied.created, applied.updated, applied.deleted, applied.superseded) == (1, 1, 1, 3)
    assert applied.error is None


def test_an_error_in_the_middle_says_what_was_done_by_then(
    store: Store, account_id: str, refuse: Callable[..., None]
) -> None:
    refuse(store.dynamo.client, "UpdateItem", "AccessDeniedException", begin=4)
    applied = store.resources.apply(
        account_id, "s3", changes(tuple(resource(account_id, f"b{n}") for n in range(30))), ALONE, 7
    )
    assert applied.error is not None
    assert "AccessDeniedException" in applied.error
    assert applied.created == len(store.resources.index(account_id, "s3")) == 3


def test_nothing_is_deleted_when_writing_failed(store: Store, account_id: str, refuse: Callable[..., None]) -> None:
    old = resource(account_id, "old")
    store.resources.write(old, 7)
    refuse(store.dynamo.client, "UpdateItem", "AccessDeniedException")
    applied = store.resources.apply(
        account_id, "s3", changes((resource(account_id, "new", at=200),), (), deletion(old, 200)), ALONE, 8
    )
    assert applied.error
    assert applied.deleted == 0
    assert store.resources.get(account_id, "s3", old.arn) == old


def test_services_and_accounts_do_not_mix(store: Store, new_id: Callable[[], str]) -> None:
    mine, other = new_id(), new_id()
    store.resources.write(resource(mine), 7)
    store.resources.write(resource(other), 7)
    store.resources.write(replace(resource(mine), service="s3control"), 7)
    assert [one.account_id for one in store.resources.load(mine, "s3")] == [mine]
    assert len(store.resources.index(mine, "s3")) == 1


def test_more_than_a_megabyte_is_read_to_the_end(
    store: Store, account_id: str, count_calls: Callable[..., Mapping[str, int]]
) -> None:
    many = {
        one.arn: one for one in (resource(account_id, f"b{n:02}", Blob=secrets.token_hex(40_000)) for n in range(50))
    }
    applied = store.resources.apply(account_id, "s3", changes(tuple(many.values())), ALONE, 7)
    assert applied.created == 50
    sent = count_calls(store.dynamo.client)
    assert {one.arn: one for one in store.resources.load(account_id, "s3")} == many
    assert sent["Query"] > 1
    sent.clear()  # type: ignore[attr-defined]
    assert set(store.resources.index(account_id, "s3")) == set(many)
    assert sent["Query"] > 1
    assert store.resources.configurations(account_id, "s3", list(many)) == {
        arn: one.configuration for arn, one in many.items()
    }


def test_what_does_not_fit_is_left_out_and_unknown(store: Store, account_id: str) -> None:
    one = resource(account_id, Name="a", Policy=secrets.token_hex(500_000), Acl="private")
    assert store.resources.write(one, 7) is False
    found = store.resources.get(account_id, "s3", one.arn)
    assert found is not None
    assert found.configuration == {"Name": "a", "Acl": "private"}
    with pytest.raises(UnknownFactError):
        found.fact("Policy")
    assert item(store, one)["TooLarge"] == ["Policy"]


def test_what_does_not_fit_is_not_written_again_until_it_changes(store: Store, account_id: str) -> None:
    one = resource(account_id, Policy=secrets.token_hex(500_000))
    store.resources.write(one, 7)
    collected_again = replace(one, describe_time=200)
    assert store.resources.index(account_id, "s3")[one.arn].content_hash == content_hash(collected_again)


def test_the_largest_keys_are_left_out_first_and_as_few_as_possible() -> None:
    facts = {"Small": "x", "Large": secrets.token_hex(LARGEST), "Larger": secrets.token_hex(LARGEST + 1000)}
    data, left_out = encode_to_fit({**facts, "Middle": secrets.token_hex(1000)})
    assert left_out == ["Large", "Larger"]
    assert set(decode(data)) == {"Small", "Middle"}


def test_much_that_repeats_itself_fits() -> None:
    facts = {"Rules": [{"Protocol": "tcp", "Port": n % 100} for n in range(100_000)]}
    data, left_out = encode_to_fit(facts)
    assert (left_out, decode(data)) == ([], facts)


def test_an_unknown_format_is_refused_in_words() -> None:
    with pytest.raises(StoreError, match="format 02, which this qrie is too old to read"):
        decode(b"\x02" + encode({})[1:])


def test_a_damaged_value_is_refused_in_words() -> None:
    for damaged in (b"", b"\x01", encode({"a": "b" * 50})[:-7], b"\x01not zlib"):
        with pytest.raises(StoreError):
            decode(damaged)


ODD = [
    "snow \u2603 man",
    "\U0001f984",
    "a\u0301 vs \u00e1",
    "\x00\x01\x1f\x7f",
    "\ud800",
    "\udfff\ud800",
    "\u202eright to left",
    "\ufeff",
    '"; DROP \\ \r\n\t',
    "",
]


@pytest.mark.parametrize("odd", ODD)
def test_odd_text_survives(store: Store, account_id: str, odd: str) -> None:
    one = resource(account_id, **{"Name": odd, "Tags": {odd: odd}, "k" + odd: [odd]})
    assert store.resources.write(one, 7) is False
    assert store.resources.get(account_id, "s3", one.arn) == one
    assert store.resources.index(account_id, "s3")[one.arn].content_hash == content_hash(one)


def test_odd_names_of_what_is_unread_or_too_large_can_be_written(store: Store, account_id: str) -> None:
    one = resource(account_id, unread=("\u2603", "\x00"), **{"\U0001f984": secrets.token_hex(400_000)})
    assert store.resources.write(one, 7) is False
    found = store.resources.get(account_id, "s3", one.arn)
    assert found is not None
    assert found.unread == one.unread


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=()), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON)
def test_any_json_value_survives_encoding(value: Any) -> None:
    assert decode(encode(value)) == value


def decimals(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(decimals, value.values()))
    if isinstance(value, list | tuple | set):
        return any(map(decimals, value))
    return isinstance(value, Decimal)


@hypothesis_settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=st.dictionaries(st.text(max_size=3), JSON, max_size=3), at=st.integers(1, 2**53))
def test_no_decimal_ever_comes_back(store: Store, new_id: Callable[[], str], facts: dict[str, Any], at: int) -> None:
    account_id = new_id()
    one = Resource(account_id, "s3", "AWS::S3::Bucket", "eu-west-1", "arn", facts, at)
    store.resources.write(one, at)
    (found,) = store.resources.load(account_id, "s3")
    (indexed,) = store.resources.index(account_id, "s3").values()
    assert found == one
    assert type(found.describe_time) is type(indexed.describe_time) is int
    assert not decimals(found.configuration)
    assert not decimals(item(store, one))


def test_forgetting_a_region_keeps_the_others(store: Store, account_id: str) -> None:
    here, there = resource(account_id, "here"), replace(resource(account_id, "there"), region="us-east-1")
    store.resources.apply(account_id, "s3", changes((here, there)), ALONE, 7)
    assert store.resources.forget_region(account_id, "s3", "us-east-1") == 1
    assert set(store.resources.index(account_id, "s3")) == {here.arn}
    assert store.resources.forget_region(account_id, "s3", "us-east-1") == 0


def test_forgetting_an_account_forgets_its_graves(store: Store, account_id: str) -> None:
    one = resource(account_id)
    store.resources.write(one, 7)
    store.dynamo.transact(reported_deleted(account_id, "s3", "arn:aws:s3:::dead", 100, 7))
    with pytest.raises(OvertakenError):
        store.resources.forget(account_id, "s3", OVERTAKEN)
    assert set(store.resources.index(account_id, "s3")) == {one.arn}
    assert store.resources.forget(account_id, "s3", ALONE) == 1
    assert store.resources.forget(account_id, "s3", ALONE) == 0
    assert store.resources.reported_deletions(account_id, "s3") == {}


def test_what_is_stored_already_changes_only_under_the_claim(store: Store, account_id: str) -> None:
    old, gone, new = (resource(account_id, name, Size=1) for name in ("old", "gone", "new"))
    for one in (old, gone):
        store.resources.write(one, 7)
    # More than go into one transaction.
    many = [replace(resource(account_id, f"gone{n}"), describe_time=100 + 200 * (n % 10 == 0)) for n in range(60)]
    for one in many:
        store.resources.write(one, 7)
    wanted = changes(
        (replace(new, describe_time=200),),
        (replace(old, describe_time=200, configuration={"Size": 2}),),
        *(deletion(one, 200) for one in (gone, *many)),
    )
    applied = store.resources.apply(account_id, "s3", wanted, OVERTAKEN, 8)
    assert applied.overtaken
    assert (applied.created, applied.updated, applied.deleted, applied.error) == (1, 0, 0, None)
    assert store.resources.get(account_id, "s3", old.arn) == old
    assert len(store.resources.index(account_id, "s3")) == 63
    applied = store.resources.apply(account_id, "s3", replace(wanted, created=()), ALONE, 9)
    assert not applied.overtaken
    assert (applied.created, applied.updated, applied.deleted, applied.superseded) == (0, 1, 55, 6)
    assert len(store.resources.index(account_id, "s3")) == 8


def test_large_resources_are_updated_one_after_the_other(store: Store, account_id: str) -> None:
    large = [resource(account_id, f"b{n}", Noise=secrets.token_hex(100_000)) for n in range(45)]
    for one in large:
        store.resources.write(one, 7)
    later = tuple(replace(one, describe_time=200, configuration={**one.configuration, "Size": 2}) for one in large)
    applied = store.resources.apply(account_id, "s3", changes((), later), ALONE, 8)
    assert (applied.updated, applied.error) == (45, None)


def test_what_went_while_it_was_updated_is_new(store: Store, account_id: str) -> None:
    applied = store.resources.apply(account_id, "s3", changes((), (resource(account_id),)), ALONE, 7)
    assert (applied.created, applied.updated) == (1, 0)


def test_what_was_stored_reconciles_to_nothing(store: Store, account_id: str) -> None:
    seen = [resource(account_id, f"b{n}", Size=n, unread=("Acl",) if n % 2 else ()) for n in range(5)]
    pass_ = Collected(account_id, "s3", seen, [ListedScope("AWS::S3::Bucket", "global", 100)])
    service = Service("s3", "S3")
    first = reconcile(service, pass_, store.resources.index(account_id, "s3"))
    assert store.resources.apply(account_id, "s3", first, ALONE, 7).created == 5
    second = reconcile(service, pass_, store.resources.index(account_id, "s3"))
    assert (second.created, second.updated, second.deleted, second.unchanged) == ((), (), (), 5)
