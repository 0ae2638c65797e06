"""Observations outside scans, on engines with real transactions."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from qrie_dagster.errors import QrieError
from qrie_dagster.models import Account, Resource
from qrie_dagster.observations import observe, observe_deleted
from qrie_dagster.store import Store
from qrie_dagster.store.tables import RESOURCES

SCOPE = "AWS::S3::Bucket/global"
KIND = "AWS::S3::Bucket"
ARN = "arn:aws:s3:::a"


@pytest.fixture
def registered(store: Store, account_id: str) -> Account:
    account = Account(account_id=account_id)
    store.accounts.add(account)
    return account


def bucket(account: Account, at: int, unread: tuple[str, ...] = (), **facts: object) -> Resource:
    return Resource(account.account_id, "s3", KIND, "eu-west-1", ARN, {"Name": "a", **facts}, at, unread)


def deleted(store: Store, account: Account, at: int) -> bool:
    return observe_deleted(store, account.account_id, "s3", KIND, "eu-west-1", ARN, at)


def stored(store: Store, account: Account) -> Resource | None:
    return store.resources.get(account.account_id, "s3", ARN)


def test_the_newest_observation_stays(store: Store, registered: Account) -> None:
    assert observe(store, bucket(registered, 20, Size=2))
    assert not observe(store, bucket(registered, 10, Size=1))
    assert not observe(store, bucket(registered, 20, Size=2)), "delivered twice"
    assert observe(store, bucket(registered, 30, Size=3))
    assert stored(store, registered) == bucket(registered, 30, Size=3)


def test_what_a_listing_has_overtaken_is_dropped(store: Store, registered: Account) -> None:
    store.accounts.claim(registered.account_id, "s3", "scan", {SCOPE: 100})
    assert not observe(store, bucket(registered, 100))
    assert not deleted(store, registered, 99)
    assert stored(store, registered) is None
    assert observe(store, bucket(registered, 101))
    assert deleted(store, registered, 102)


def test_a_deletion_holds_against_what_is_older_and_gives_way_to_what_is_newer(
    store: Store, registered: Account
) -> None:
    assert observe(store, bucket(registered, 10))
    assert deleted(store, registered, 20)
    assert not observe(store, bucket(registered, 15))
    assert not deleted(store, registered, 20), "delivered twice"
    assert stored(store, registered) is None
    assert observe(store, bucket(registered, 30))
    assert not deleted(store, registered, 25)
    assert stored(store, registered) is not None


def test_tombstones_are_no_resources_and_expire(store: Store, registered: Account) -> None:
    assert deleted(store, registered, 20)
    assert store.resources.index(registered.account_id, "s3") == {}
    assert list(store.resources.load(registered.account_id, "s3")) == []
    [tombstone] = store.dynamo.scan(RESOURCES)
    assert tombstone["AccountService"] == f"{registered.account_id}_s3#deleted"
    assert isinstance(tombstone["ExpiresAt"], int)


def test_what_could_not_be_read_is_taken_from_what_is_known(store: Store, registered: Account) -> None:
    assert observe(store, bucket(registered, 10, Size=1))
    assert observe(store, bucket(registered, 20, ("Size",), Open=True))
    known = stored(store, registered)
    assert known is not None
    assert (known.fact("Size"), known.fact("Open"), known.unread) == (1, True, ())


def test_an_account_that_is_not_active_is_not_written_to(store: Store, registered: Account) -> None:
    store.accounts.set_status(registered.account_id, "suspended")
    with pytest.raises(QrieError, match="not an active account"):
        observe(store, bucket(registered, 10))
    with pytest.raises(QrieError, match="not an active account"):
        deleted(store, registered, 10)


@pytest.mark.parametrize("engine", ["dynamodb-local"], indirect=True)
def test_many_at_once_end_in_the_newest(store: Store, registered: Account) -> None:
    """Transactions on one account get into each other's way: none is lost, none is an error."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: observe(store, bucket(registered, at, Size=at)), range(1, 41)))
    assert stored(store, registered) == bucket(registered, 40, Size=40)
