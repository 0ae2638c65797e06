from collections.abc import Callable
from typing import Any

import pytest

from qrie_dagster.errors import QrieError
from qrie_dagster.models import Account, Outcome, ScanKind, ServiceScan
from qrie_dagster.store import Store
from qrie_dagster.store.dynamo import ConditionFailedError
from qrie_dagster.store.tables import ACCOUNTS

INVENTORY, POLICY = ScanKind.INVENTORY, ScanKind.POLICY


@pytest.fixture
def account(store: Store, account_id: str) -> Account:
    account = Account(account_id=account_id, registered_ms=5)
    store.accounts.add(account)
    return account


def outcome(account: Account, service: str = "s3", finished: int = 20, **facts: Any) -> Outcome:
    return Outcome(account_id=account.account_id, service=service, started_ms=10, finished_ms=finished, **facts)


def stored(store: Store, account: Account) -> Account:
    found = store.accounts.get(account.account_id)
    assert found is not None
    return found


def test_an_account_comes_back_as_it_was_registered(store: Store, account_id: str) -> None:
    account = Account(
        account_id=account_id,
        name="Zahlungen \u2603 \x00\x1f",
        ou_path="/a/b",
        tags={"empty": "", "ключ": "値"},
        status="suspended",
        regions=["eu-west-1", "eu-west-1"],
        customer="ACME",
        schedule_overrides={"policy": "0 1 * * *"},
        registered_ms=1_750_000_000_000,
        retired_ms=1_750_000_000_001,
    )
    store.accounts.add(account)
    assert store.accounts.get(account_id) == account
    assert store.accounts.all() == [account]


def test_who_is_not_registered_is_not_there(store: Store) -> None:
    assert store.accounts.get("999999999999") is None
    assert store.accounts.all() == []


def test_an_account_is_registered_once(store: Store, account: Account) -> None:
    with pytest.raises(QrieError, match=f"{account.account_id} is already registered"):
        store.accounts.add(account.model_copy(update={"name": "other"}))
    assert stored(store, account).name == ""


def test_a_removed_account_may_be_registered_again(store: Store, account: Account) -> None:
    store.accounts.set_status(account.account_id, "removed")
    store.accounts.add(account)
    assert stored(store, account).active


def test_more_than_a_megabyte_of_accounts_is_read_to_the_end(
    store: Store, new_id: Callable[[], str], count_calls: Callable[..., dict[str, int]]
) -> None:
    ids = sorted(new_id() for _ in range(40))
    for account_id in reversed(ids):
        store.accounts.add(Account(account_id=account_id, tags={"long": "x" * 30_000}))
    sent = count_calls(store.dynamo.client)
    assert [account.account_id for account in store.accounts.all()] == ids
    assert sent["Scan"] > 1


def test_only_active_accounts_are_scanned(store: Store, new_id: Callable[[], str]) -> None:
    ids = [new_id(), new_id(), new_id()]
    for account_id in ids:
        store.accounts.add(Account(account_id=account_id))
    store.accounts.set_status(ids[0], "suspended")
    store.accounts.set_status(ids[1], "removed")
    assert [account.account_id for account in store.accounts.active()] == [ids[2]]
    assert len(store.accounts.all()) == 3


def test_the_status_of_a_stranger_cannot_be_changed(store: Store) -> None:
    with pytest.raises(QrieError, match="999999999999 is not registered"):
        store.accounts.set_status("999999999999", "active")
    assert store.accounts.all() == []


def test_describing_an_account_keeps_how_its_scans_went(store: Store, account: Account) -> None:
    store.accounts.finish(INVENTORY, outcome(account))
    store.accounts.describe(account.model_copy(update={"name": "new", "tags": {"a": "b"}}))
    now = stored(store, account)
    assert (now.name, now.tags) == ("new", {"a": "b"})
    assert now.scan(INVENTORY, "s3").last_success == 20


def test_an_attempt_and_its_success(store: Store, account: Account) -> None:
    store.accounts.begin(INVENTORY, account.account_id, "s3", "scan-1", 10)
    assert stored(store, account).scan(INVENTORY, "s3") == ServiceScan(last_attempt=10, scan_id="scan-1")
    store.accounts.finish(INVENTORY, outcome(account, resources_found=7))
    assert stored(store, account).scan(INVENTORY, "s3") == ServiceScan(
        last_attempt=10, last_success=20, scan_id="scan-1", resources=7
    )


def test_a_failure_keeps_the_last_success_and_a_success_clears_the_error(store: Store, account: Account) -> None:
    store.accounts.finish(INVENTORY, outcome(account, finished=20, resources_found=7))
    store.accounts.finish(INVENTORY, outcome(account, finished=30, failures=("a", "b"), failed=True))
    failed = stored(store, account).scan(INVENTORY, "s3")
    assert (failed.last_success, failed.last_error, failed.resources) == (20, "a; b", 7)
    store.accounts.finish(INVENTORY, outcome(account, finished=40))
    assert stored(store, account).scan(INVENTORY, "s3").last_error is None


def test_a_partial_failure_is_no_success(store: Store, account: Account) -> None:
    store.accounts.finish(INVENTORY, outcome(account, failures=("one region",)))
    scan = stored(store, account).scan(INVENTORY, "s3")
    assert (scan.last_success, scan.last_error) == (None, "one region")


def test_very_many_failures_fit(store: Store, account: Account) -> None:
    store.accounts.finish(INVENTORY, outcome(account, failures=tuple(f"bucket {n}: denied" for n in range(20_000))))
    assert len(stored(store, account).scan(INVENTORY, "s3").last_error or "") <= 1000


def test_services_and_kinds_never_overwrite_each_other(store: Store, account: Account) -> None:
    states = {}
    for number, (kind, service) in enumerate([(k, s) for k in ScanKind for s in ("s3", "ec2", "iam")]):
        store.accounts.begin(kind, account.account_id, service, f"scan-{number}", number)
        store.accounts.finish(kind, outcome(account, service, finished=100 + number, resources_found=number))
        states[kind, service] = ServiceScan(
            last_attempt=number, last_success=100 + number, scan_id=f"scan-{number}", resources=number
        )
    now = stored(store, account)
    assert {key: now.scan(*key) for key in states} == states


@pytest.mark.parametrize("status", ["suspended", "removed"])
def test_an_account_that_left_is_not_written_to(store: Store, account: Account, status: Any) -> None:
    store.accounts.set_status(account.account_id, status)
    before = store.dynamo.get(ACCOUNTS, {"AccountId": account.account_id}) or {}
    for note in (
        lambda: store.accounts.begin(INVENTORY, account.account_id, "s3", "scan", 1),
        lambda: store.accounts.finish(INVENTORY, outcome(account)),
        lambda: store.accounts.finish(INVENTORY, outcome(account), "token"),
        lambda: store.accounts.claim(account.account_id, "s3", "token", {"T/r": 1}),
    ):
        with pytest.raises(QrieError, match=f"{account.account_id} left the registry while it was scanned"):
            note()
        now = store.dynamo.get(ACCOUNTS, {"AccountId": account.account_id}) or {}
        # What it wrote before is to be cleaned up.
        assert now.pop("Departure") != before.pop("Departure")
        assert now == before
        before = store.dynamo.get(ACCOUNTS, {"AccountId": account.account_id}) or {}


def test_an_account_that_was_away_for_a_moment_is_told(
    store: Store, account: Account, before_calls: Callable[..., None]
) -> None:
    store.accounts.set_status(account.account_id, "suspended")

    def come_back(_: int) -> None:
        store.dynamo.update(ACCOUNTS, {"AccountId": account.account_id}, {"Status": "active"})

    before_calls(store.dynamo.client, "GetItem", come_back)
    with pytest.raises(QrieError, match="left the registry while it was scanned"):
        store.accounts.begin(INVENTORY, account.account_id, "s3", "scan", 1)


def test_a_stranger_is_never_registered_by_a_scan(store: Store) -> None:
    with pytest.raises(QrieError, match="left the registry"):
        store.accounts.begin(INVENTORY, "999999999999", "s3", "scan", 1)
    assert store.accounts.get("999999999999") is None


def test_a_retired_account_forgets_its_scans_and_keeps_its_name(store: Store, account: Account) -> None:
    store.accounts.describe(account.model_copy(update={"name": "kept"}))
    store.accounts.claim(account.account_id, "s3", "token", {"T/r": 1})
    store.accounts.finish(INVENTORY, outcome(account), "token")
    store.accounts.set_status(account.account_id, "removed")
    away = store.accounts.begin_retiring(account.account_id)
    assert stored(store, account).scans == {}
    assert store.accounts.set_retired(account.account_id, away, 77)
    now = stored(store, account)
    assert (now.name, now.retired_ms, now.scans) == ("kept", 77, {})
    # It may come back with older clocks than its last claim.
    store.accounts.set_status(account.account_id, "active")
    assert stored(store, account).retired_ms is None
    assert store.accounts.claim(account.account_id, "s3", "other", {"T/r": 0})


def test_an_account_that_came_back_meanwhile_is_not_marked_as_retired(store: Store, account: Account) -> None:
    store.accounts.set_status(account.account_id, "removed")
    away = store.accounts.begin_retiring(account.account_id)
    store.accounts.set_status(account.account_id, "active")
    store.accounts.finish(INVENTORY, outcome(account))
    for retire in (
        lambda: store.accounts.set_retired(account.account_id, away, 77),
        lambda: store.accounts.begin_retiring(account.account_id),
    ):
        with pytest.raises(QrieError, match="came back"):
            retire()
    now = stored(store, account)
    assert now.retired_ms is None
    assert now.scan(INVENTORY, "s3").last_success == 20


def test_an_account_that_left_again_meanwhile_is_not_marked_as_retired(store: Store, account: Account) -> None:
    store.accounts.set_status(account.account_id, "removed")
    away = store.accounts.begin_retiring(account.account_id)
    for status in ("active", "suspended"):
        store.accounts.set_status(account.account_id, status)
    assert not store.accounts.set_retired(account.account_id, away, 77)
    assert stored(store, account).retired_ms is None


def test_a_status_that_is_not_what_it_was_stays(store: Store, account: Account) -> None:
    store.accounts.set_status(account.account_id, "removed")
    assert not store.accounts.set_status(account.account_id, "suspended", was="active")
    assert not store.accounts.describe(account.model_copy(update={"name": "late"}))
    assert (stored(store, account).status, stored(store, account).name) == ("removed", account.name)


def claims(store: Store, account: Account, token: str, **listed: int) -> bool:
    return store.accounts.claim(account.account_id, "s3", token, listed)


def test_a_claim_with_older_listings_is_refused(store: Store, account: Account) -> None:
    assert claims(store, account, "first", a=10, b=10)
    assert not claims(store, account, "late", a=9)
    assert not claims(store, account, "late", a=11, b=9)
    assert claims(store, account, "later", a=11, b=11)


def test_a_claim_for_other_scopes_keeps_the_times_of_all(store: Store, account: Account) -> None:
    assert claims(store, account, "first", a=10)
    assert claims(store, account, "second", b=5)
    assert not claims(store, account, "third", a=9, b=6)


def test_services_are_claimed_apart(store: Store, account: Account) -> None:
    assert claims(store, account, "first", a=10)
    assert store.accounts.claim(account.account_id, "ec2", "second", {"a": 1})
    store.accounts.finish(INVENTORY, outcome(account), "first")


def test_a_scan_that_was_overtaken_notices(store: Store, account: Account) -> None:
    assert claims(store, account, "slow", a=10)
    assert claims(store, account, "fast", a=20)
    with pytest.raises(ConditionFailedError):
        store.accounts.finish(INVENTORY, outcome(account), "slow")
    assert stored(store, account).scan(INVENTORY, "s3").last_success is None
    store.accounts.finish(INVENTORY, outcome(account), "fast")
    assert stored(store, account).scan(INVENTORY, "s3").last_success == 20


def test_of_two_claims_at_once_one_wins(store: Store, account: Account, before_calls: Callable[..., None]) -> None:
    others: list[bool] = []

    def overtaken(number: int) -> None:
        if number == 1:
            others.append(claims(store, account, "other", a=12))

    before_calls(store.dynamo.client, "UpdateItem", overtaken)
    assert not claims(store, account, "mine", a=11)
    assert others == [True]
    with pytest.raises(ConditionFailedError):
        store.accounts.finish(INVENTORY, outcome(account), "mine")
