from collections.abc import Callable
from typing import Any

import pytest

from qrie_dagster.errors import QrieError, StoreError
from qrie_dagster.findings import Reason, Settled, State, Violated, transitions
from qrie_dagster.models import Account, Outcome, Resource, ScanKind
from qrie_dagster.policy_changes import launch, suspend, update
from qrie_dagster.registry import (
    accounts_from_csv,
    accounts_from_organization,
    missing_from,
    new_account,
    register,
    register_new,
    retire_inactive,
    set_status,
)
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store
from qrie_dagster.summary.rollup import DASHBOARD
from qrie_dagster.times import now_ms


def test_a_new_account_is_registered_now() -> None:
    before = now_ms()
    account = new_account("000000000001", name="a")
    assert before <= account.registered_ms <= now_ms()
    assert (account.name, account.status) == ("a", "active")


@pytest.mark.parametrize("wrong", ["", "1", "12345678901", "1234567890123", "12345678901a", "1234 5678 901"])
def test_a_wrong_account_id_is_explained(wrong: str) -> None:
    with pytest.raises(QrieError, match="is not an AWS account id: it has 12 digits, leading zeros included"):
        new_account(wrong)


def test_another_wrong_fact_is_named() -> None:
    with pytest.raises(QrieError, match=r"status of account 000000000001: .* not 'asleep'"):
        new_account("000000000001", status="asleep")


def test_accounts_from_csv() -> None:
    text = (
        "account_id,name,ou_path,customer,regions,tags\n"
        '000000000001,"Payments, EU",/prod,ACME,eu-west-1 eu-north-1,env=prod; team = pay ;note=a=b;\n'
        "\n"
        "000000000002,,,,,\n"
        "000000000003\n"
    )
    one, two, three = accounts_from_csv(text)
    assert (one.account_id, one.name, one.ou_path, one.customer) == ("000000000001", "Payments, EU", "/prod", "ACME")
    assert one.regions == ["eu-west-1", "eu-north-1"]
    assert one.tags == {"env": "prod", "team": "pay", "note": "a=b"}
    assert (two.name, two.tags, two.regions) == ("", {}, [])
    assert three.account_id == "000000000003"


@pytest.mark.parametrize(
    "text",
    [
        "account_id\n000000000001\n",
        "\ufeffaccount_id\r\n000000000001\r\n",
        "account_id\r000000000001\r",
        "name,account_id\n,000000000001",
        'account_id\n"000000000001"\n',
        "account_id\n 000000000001 \n",
    ],
)
def test_only_the_id_is_required_however_the_file_was_saved(text: str) -> None:
    assert [account.account_id for account in accounts_from_csv(text)] == ["000000000001"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The first line must name the columns, account_id among them"),
        ("000000000001,a\n", "The first line must name the columns, account_id among them"),
        ("account_id;name\n", "not account_id;name"),
        ("AccountId\n000000000001\n", "not AccountId"),
        ("account_id,owner\n000000000001,me\n", "not owner"),
        ("account_id\n000000000001\n1\n", "Line 3: '1' is not an AWS account id"),
        ("account_id,name\n,a\n", "Line 2: '' is not an AWS account id"),
        ("account_id\n000000000001\n000000000001\n", "Line 3: account 000000000001 is there twice"),
        ("account_id\n000000000001,a\n", "Line 2: there are more values than columns"),
        ("account_id,tags\n000000000001,prod\n", "Line 2: tags must be key=value separated by semicolons, not 'prod'"),
        ("account_id,tags\n000000000001,a=b;=c\n", "Line 2: tags must be key=value"),
    ],
)
def test_what_is_wrong_in_a_csv_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(QrieError) as error:
        accounts_from_csv(text)
    assert said in str(error.value)


def test_an_empty_list_of_accounts_is_no_error() -> None:
    assert accounts_from_csv("account_id,name\n") == []


def csv(store: Store, *lines: str) -> dict[str, int]:
    return register(store, accounts_from_csv("\n".join(lines)))


def stored(store: Store, account_id: str) -> Account:
    account = store.accounts.get(account_id)
    assert account is not None
    return account


def test_registering_counts_what_it_did(store: Store, new_id: Callable[[], str]) -> None:
    one, two, three = new_id(), new_id(), new_id()
    assert csv(store, "account_id,name", f"{one},a", f"{two},b") == {
        "added": 2,
        "updated": 0,
        "unchanged": 0,
        "removed": 0,
    }
    assert csv(store, "account_id,name", f"{one},a", f"{two},c", f"{three},d") == {
        "added": 1,
        "updated": 1,
        "unchanged": 1,
        "removed": 0,
    }
    assert csv(store, "account_id,name", f"{one},a", f"{two},c") == {
        "added": 0,
        "updated": 0,
        "unchanged": 2,
        "removed": 0,
    }
    assert stored(store, two).name == "c"
    assert len(store.accounts.all()) == 3


def test_registering_again_changes_what_is_said_and_nothing_else(store: Store, account_id: str) -> None:
    csv(store, "account_id,name,tags,regions", f"{account_id},a,env=prod,eu-west-1")
    store.accounts.finish(ScanKind.INVENTORY, Outcome(account_id=account_id, service="s3", started_ms=1, finished_ms=2))
    before = stored(store, account_id)
    assert csv(store, "account_id,tags", f"{account_id},")["updated"] == 1
    assert stored(store, account_id) == before.model_copy(update={"tags": {}})


def test_importing_again_does_not_wake_a_suspended_account(store: Store, account_id: str) -> None:
    csv(store, "account_id", account_id)
    store.accounts.set_status(account_id, "suspended")
    assert csv(store, "account_id,name", f"{account_id},a")["updated"] == 1
    assert (stored(store, account_id).status, stored(store, account_id).name) == ("suspended", "a")


def test_a_source_that_knows_the_status_changes_it(store: Store, account_id: str) -> None:
    register(store, [new_account(account_id, status="active")])
    assert register(store, [new_account(account_id, status="suspended")])["updated"] == 1
    list(retire_inactive(store))
    assert stored(store, account_id).retired_ms is not None
    assert register(store, [new_account(account_id, status="active")])["updated"] == 1
    assert stored(store, account_id).retired_ms is None


def test_a_removed_account_comes_back_when_it_is_added_and_not_by_an_import(store: Store, account_id: str) -> None:
    csv(store, "account_id", account_id)
    set_status(store, account_id, "removed")
    assert csv(store, "account_id", account_id) == {"added": 0, "updated": 0, "unchanged": 0, "removed": 1}
    assert stored(store, account_id).status == "removed"
    register_new(store, new_account(account_id))
    account = stored(store, account_id)
    assert (account.active, account.retired_ms) == (True, None)


def test_one_account_is_registered_once(store: Store, account_id: str) -> None:
    register_new(store, new_account(account_id))
    with pytest.raises(QrieError, match="already registered"):
        register_new(store, new_account(account_id))


def test_the_dashboard_counts_who_is_registered(store: Store, new_id: Callable[[], str]) -> None:
    one, two = new_id(), new_id()
    csv(store, "account_id", one, two)
    assert (store.summary.get(DASHBOARD) or {})["accounts"] == 2
    set_status(store, one, "removed")
    assert (store.summary.get(DASHBOARD) or {})["accounts"] == 1


def furnish(store: Store, account_id: str) -> None:
    """A bucket and a volume, each with an open finding, and one finding that was resolved long ago."""
    for service in ("s3", "ec2"):
        for name in ("open", "closed"):
            arn = f"arn:aws:{service}:::{name}-{account_id}"
            store.resources.write(Resource(account_id, service, "Kind", "eu-west-1", arn, {}, 100), 100)
            violated = Violated(arn, "P", f"{account_id}_{service}", 90, {}, 100)
            applied = store.findings.apply(transitions({(arn, "P"): violated}, {}, 100), 100)
            if name == "closed":
                (opened,) = applied.written
                settled = Settled(arn, "P", Reason.COMPLIANT, 100)
                store.findings.apply(transitions({(arn, "P"): settled}, {(arn, "P"): opened.after}, 101), 101)


def findings(store: Store, account_id: str) -> dict[str, tuple[State, Any]]:
    return {
        finding.arn.split(":::")[1].split("-")[0] + " " + service: (finding.state, finding.resolved_reason)
        for service in ("s3", "ec2")
        for finding in store.findings.load(account_id, service)
    }


GONE = {
    "open s3": (State.RESOLVED, Reason.ACCOUNT_REMOVED),
    "open ec2": (State.RESOLVED, Reason.ACCOUNT_REMOVED),
    "closed s3": (State.RESOLVED, Reason.COMPLIANT),
    "closed ec2": (State.RESOLVED, Reason.COMPLIANT),
}


@pytest.mark.parametrize("status", ["removed", "suspended"])
def test_an_account_that_leaves_takes_its_findings_and_resources_with_it(
    store: Store, new_id: Callable[[], str], status: Any
) -> None:
    leaves, stays = new_id(), new_id()
    for account_id in (leaves, stays):
        register_new(store, new_account(account_id))
        furnish(store, account_id)
    before = findings(store, stays)
    assert set_status(store, leaves, status) == [f"{leaves}: 2 findings resolved, 4 resources dropped"]
    assert findings(store, leaves) == GONE
    assert store.resources.index(leaves, "s3") == store.resources.index(leaves, "ec2") == {}
    account = stored(store, leaves)
    assert (account.status, account.retired_ms is not None, account.scans) == (status, True, {})
    assert findings(store, stays) == before
    assert len(store.resources.index(stays, "s3")) == 2
    board = store.summary.get(DASHBOARD) or {}
    assert board["findings"]["policies"]["P"]["open"] == 0
    assert board["resource_types"] == {}


def test_cleaning_up_twice_does_nothing_the_second_time(store: Store, account_id: str) -> None:
    register_new(store, new_account(account_id))
    furnish(store, account_id)
    store.accounts.set_status(account_id, "removed")
    assert len(list(retire_inactive(store))) == 1
    before = [list(store.findings.load(account_id, service)) for service in ("s3", "ec2")]
    assert list(retire_inactive(store)) == []
    assert [list(store.findings.load(account_id, service)) for service in ("s3", "ec2")] == before


def test_a_clean_up_that_was_interrupted_goes_on(
    store: Store, account_id: str, before_calls: Callable[..., None]
) -> None:
    register_new(store, new_account(account_id))
    furnish(store, account_id)
    store.accounts.set_status(account_id, "removed")

    def stop(number: int) -> None:
        # Each service's resources go together.
        if number == 2:
            raise QrieError("the power went out")

    before_calls(store.dynamo.client, "TransactWriteItems", stop)
    with pytest.raises(QrieError, match="power"):
        list(retire_inactive(store))
    assert stored(store, account_id).retired_ms is None
    assert len(list(retire_inactive(store))) == 1
    assert findings(store, account_id) == GONE
    assert store.resources.index(account_id, "s3") == store.resources.index(account_id, "ec2") == {}


def test_findings_that_cannot_be_resolved_are_told(store: Store, account_id: str, refuse: Callable[..., None]) -> None:
    register_new(store, new_account(account_id))
    furnish(store, account_id)
    store.accounts.set_status(account_id, "removed")
    refuse(store.dynamo.client, "PutItem", "AccessDeniedException")
    with pytest.raises(QrieError, match=f"{account_id} could not be cleaned up.*AccessDeniedException"):
        list(retire_inactive(store))
    assert stored(store, account_id).retired_ms is None


def test_the_organisation_is_refused_in_words(make_settings: Callable[..., Settings]) -> None:
    # An emulated account without an organisation of its own.
    with pytest.raises(QrieError, match="The organisation's accounts cannot be listed: ListRoots: "):
        accounts_from_organization(make_settings())


def test_what_a_scan_wrote_after_the_clean_up_is_cleaned_up_too(store: Store, account_id: str) -> None:
    register_new(store, new_account(account_id))
    set_status(store, account_id, "removed")
    furnish(store, account_id)
    with pytest.raises(QrieError, match="left the registry"):
        store.accounts.claim(account_id, "s3", "token", {"T/r": 1})
    assert len(list(retire_inactive(store))) == 1
    assert store.resources.index(account_id, "s3") == store.resources.index(account_id, "ec2") == {}
    assert findings(store, account_id) == GONE


@pytest.fixture
def lagging(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store whose index shows findings as they were at first, as it may for a moment after each write."""
    load, seen = store.findings.load, {}

    def first_answer(account_id: str, service: str, state: State | None = None) -> Any:
        if (account_id, service) not in seen:
            seen[account_id, service] = list(load(account_id, service))
        return iter([f for f in seen[account_id, service] if state in (None, f.state)])

    monkeypatch.setattr(store.findings, "load", first_answer)
    return store


def open_finding(store: Store, account_id: str) -> None:
    store.accounts.add(Account(account_id=account_id))
    violated = Violated("arn:aws:s3:::a", "S3BucketPublic", f"{account_id}_s3", 90, {}, 100)
    assert not store.findings.apply(transitions({("arn:aws:s3:::a", "S3BucketPublic"): violated}, {}, 1), 1).error


def test_totals_of_a_removed_account_do_not_wait_for_the_index(lagging: Store, account_id: str) -> None:
    open_finding(lagging, account_id)
    set_status(lagging, account_id, "removed")
    totals = (lagging.summary.get(DASHBOARD) or {})["findings"]["policies"]["S3BucketPublic"]
    assert (totals["open"], totals["resolved"]) == (0, 1)


def test_totals_of_a_suspended_policy_do_not_wait_for_the_index(lagging: Store, account_id: str) -> None:
    open_finding(lagging, account_id)
    launch(lagging, "S3BucketPublic")
    assert suspend(lagging, "S3BucketPublic") == 1
    totals = (lagging.summary.get(DASHBOARD) or {})["findings"]["policies"]["S3BucketPublic"]
    assert (totals["open"], totals["resolved"]) == (0, 1)


def test_an_account_is_active_from_when_it_came_back(store: Store, account_id: str) -> None:
    store.accounts.add(Account(account_id=account_id, registered_ms=5))
    assert store.accounts.active()[0].active_since == 5
    # Active already.
    set_status(store, account_id, "active")
    assert store.accounts.active()[0].active_since == 5
    set_status(store, account_id, "suspended")
    before = now_ms()
    set_status(store, account_id, "active")
    [account] = store.accounts.active()
    assert (account.registered_ms, account.active_since >= before) == (5, True)
    register(store, [Account(account_id=account_id, status="suspended")])
    register(store, [Account(account_id=account_id, status="active")])
    assert store.accounts.active()[0].active_since > account.active_since


def test_an_account_that_cannot_be_cleaned_up_keeps_no_other_from_it(
    store: Store, new_id: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = sorted(new_id() for _ in range(3))
    csv(store, "account_id", one, two, three)
    for account_id in (one, two, three):
        store.accounts.set_status(account_id, "removed")
    forget = store.resources.forget

    def refuse(account_id: str, *more: str) -> int:
        if account_id == two:
            raise StoreError("not today.")
        return forget(account_id, *more)

    monkeypatch.setattr(store.resources, "forget", refuse)
    with pytest.raises(QrieError, match=rf"^Account {two} could not be cleaned up: not today\.$"):
        list(retire_inactive(store))
    assert [stored(store, account_id).retired_ms is None for account_id in (one, two, three)] == [False, True, False]
    monkeypatch.undo()
    assert len(list(retire_inactive(store))) == 1


def test_accounts_missing_from_a_source_are_named(store: Store, new_id: Callable[[], str]) -> None:
    there, gone, asleep, removed = (new_id() for _ in range(4))
    csv(store, "account_id", there, gone, asleep, removed)
    set_status(store, asleep, "suspended")
    set_status(store, removed, "removed")
    missing = missing_from(store, [new_account(there)])
    assert {account.account_id for account in missing} == {gone, asleep}


def test_an_import_does_not_undo_what_was_decided_meanwhile(
    store: Store, account_id: str, before_calls: Callable[..., None]
) -> None:
    csv(store, "account_id,name,customer", f"{account_id},a,ACME")

    def meanwhile(number: int) -> None:
        if number == 1:
            store.accounts.describe(stored(store, account_id).model_copy(update={"customer": "Orchard"}), {"customer"})
            store.accounts.set_status(account_id, "suspended")

    before_calls(store.dynamo.client, "UpdateItem", meanwhile)
    assert csv(store, "account_id,name", f"{account_id},b")["updated"] == 1
    account = stored(store, account_id)
    assert (account.name, account.customer, account.status) == ("b", "Orchard", "suspended")


@pytest.mark.parametrize("said", [{"name": "b"}, {"status": "suspended"}])
def test_an_import_does_not_bring_back_what_was_removed_meanwhile(
    store: Store, account_id: str, before_calls: Callable[..., None], said: dict[str, Any]
) -> None:
    csv(store, "account_id,name", f"{account_id},a")
    before_calls(
        store.dynamo.client,
        "UpdateItem",
        lambda number: store.accounts.set_status(account_id, "removed") if number == 1 else None,
    )
    assert register(store, [new_account(account_id, **said)]) == {
        "added": 0,
        "updated": 0,
        "unchanged": 1,
        "removed": 0,
    }
    assert (stored(store, account_id).name, stored(store, account_id).status) == ("a", "removed")


def test_a_policy_changed_by_two_people_is_what_both_made_of_it(
    store: Store, before_calls: Callable[..., None]
) -> None:
    launch(store, "S3BucketPublic", severity=40)
    before_calls(
        store.dynamo.client,
        "PutItem",
        lambda number: suspend(store, "S3BucketPublic") if number == 1 else None,
    )
    changed = update(store, "S3BucketPublic", severity=50)
    assert (changed.status, changed.severity) == ("suspended", 50)
    assert store.policies.get("S3BucketPublic") == changed
