"""Accounts that come and go: registering, importing, removing, and cleaning up after those that left."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from typing import Any

from pydantic import ValidationError

from qrie_dagster.aws import AWS_ERRORS, client_config, explain, own_session
from qrie_dagster.errors import NotFoundError, QrieError
from qrie_dagster.findings import Change, Reason, Settled, transitions
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import GLOBAL, Account, AccountStatus, is_region
from qrie_dagster.overrides import check_overrides
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store
from qrie_dagster.store.accounts import DESCRIPTION
from qrie_dagster.store.dynamo import OvertakenError
from qrie_dagster.store.findings import AppliedFindings
from qrie_dagster.summary.rebuild import rebuild_service
from qrie_dagster.summary.rollup import refresh_dashboard
from qrie_dagster.times import now_ms

# Rounds of a clean-up while scans that began before it still write. The next clean-up goes on.
MAX_ROUNDS = 3

COLUMNS = ("account_id", "name", "ou_path", "customer", "regions", "tags")


def new_account(account_id: str, **facts: Any) -> Account:
    """A validated account, registered now. Raises QrieError saying what is wrong."""
    try:
        account = Account(account_id=account_id, registered_ms=now_ms(), **facts)
    except ValidationError as invalid:
        error = invalid.errors()[0]
        if error["loc"][0] == "account_id":
            raise QrieError(
                f"{account_id!r} is not an AWS account id: it has 12 digits, leading zeros included."
            ) from None
        raise QrieError(f"{error['loc'][0]} of account {account_id}: {error['msg']}, not {error['input']!r}.") from None
    for region in account.regions:
        if not is_region(region):
            raise QrieError(f"regions of account {account_id}: {region!r} is no AWS region such as eu-west-1.")
    if account.ou_path and not account.ou_path.startswith("/"):
        raise QrieError(f"ou_path of account {account_id}: {account.ou_path!r} does not begin with a slash.")
    return account


def accounts_from_csv(text: str) -> list[Account]:
    """Accounts from CSV with a header line; only ``account_id`` is required.

    ``regions`` are separated by spaces, ``tags`` are ``key=value`` separated by semicolons. Raises QrieError naming
    the line.
    """
    reader = csv.DictReader(StringIO(text.lstrip("\ufeff"), newline=None), restkey="surplus")
    unknown = set(reader.fieldnames or ()) - set(COLUMNS)
    if "account_id" not in (reader.fieldnames or ()) or unknown:
        raise QrieError(
            f"The first line must name the columns, account_id among them; known are {', '.join(COLUMNS)}"
            + (f"; not {', '.join(sorted(unknown))}." if unknown else ".")
        )
    accounts: dict[str, Account] = {}
    for row in reader:
        try:
            account = _account_of(row)
        except QrieError as error:
            raise QrieError(f"Line {reader.line_num}: {error}") from None
        if account.account_id in accounts:
            raise QrieError(f"Line {reader.line_num}: account {account.account_id} is there twice.")
        accounts[account.account_id] = account
    return list(accounts.values())


def _account_of(row: dict[str, Any]) -> Account:
    if "surplus" in row:
        raise QrieError("there are more values than columns.")
    given: dict[str, Any] = {name: (value or "").strip() for name, value in row.items()}
    if "regions" in given:
        given["regions"] = given["regions"].split()
    if "tags" in given:
        tags = [pair.partition("=") for pair in given["tags"].split(";") if pair.strip()]
        if not all(separator and key.strip() for key, separator, _ in tags):
            raise QrieError(f"tags must be key=value separated by semicolons, not {given['tags']!r}.")
        given["tags"] = {key.strip(): value.strip() for key, _, value in tags}
    return new_account(**given)


def accounts_from_organization(settings: Settings) -> list[Account]:
    """The accounts of the AWS organisation that qrie's own credentials can see, with OU paths and tags.

    Source: organizations ListRoots, ListChildren-like walks, ListAccountsForParent, ListTagsForResource. Raises
    QrieError when AWS does not tell.
    """
    client = own_session(settings).client(
        "organizations", endpoint_url=settings.endpoint_url, config=client_config(settings)
    )
    try:
        roots = _pages(client, "list_roots", "Roots")
        return [account for root in roots for account in _below(client, root["Id"], "")]
    except AWS_ERRORS as error:
        raise QrieError(f"The organisation's accounts cannot be listed: {explain(error)}") from error


def _below(client: Any, parent: str, path: str) -> Iterator[Account]:
    for found in _pages(client, "list_accounts_for_parent", "Accounts", ParentId=parent):
        tags = _pages(client, "list_tags_for_resource", "Tags", ResourceId=found["Id"])
        # AWS suspends accounts that are being closed. That it has not says nothing about what people decided here.
        closed = {} if found.get("Status", found.get("State")) == "ACTIVE" else {"status": "suspended"}
        yield new_account(
            found["Id"],
            name=found.get("Name", ""),
            ou_path=path or "/",
            tags={tag["Key"]: tag["Value"] for tag in tags},
            **closed,
        )
    for unit in _pages(client, "list_organizational_units_for_parent", "OrganizationalUnits", ParentId=parent):
        yield from _below(client, unit["Id"], f"{path}/{unit['Name']}")


def _pages(client: Any, operation: str, key: str, **params: Any) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator(operation).paginate(**params):
        yield from page[key]


def register(store: Store, accounts: Iterable[Account]) -> dict[str, int]:
    """Add what is new and update what is known; counts of added, updated, unchanged and removed ones left alone.

    Of a known account changes what the source says, an empty value included; what it is silent about stays, the status
    above all. An account that somebody removed comes back by ``register_new`` only.
    """
    known = {account.account_id: account for account in store.accounts.all()}
    counts = {"added": 0, "updated": 0, "unchanged": 0, "removed": 0}
    for account in accounts:
        old = known.get(account.account_id)
        if old is None:
            store.accounts.add(account)
            counts["added"] += 1
            continue
        if old.status == "removed":
            counts["removed"] += 1
            continue
        counts["updated" if _updated(store, old, account) else "unchanged"] += 1
    refresh_dashboard(store, store.accounts.all(), now_ms())
    return counts


def missing_from(store: Store, accounts: Iterable[Account]) -> list[Account]:
    """The accounts that are registered, and not removed, but not among ``accounts``."""
    there = {account.account_id for account in accounts}
    return [a for a in store.accounts.all() if a.status != "removed" and a.account_id not in there]


def _updated(store: Store, old: Account, account: Account) -> bool:
    """Write what the source says; whether that changed anything. One that was removed meanwhile stays so."""
    said = {name for name in account.model_fields_set & DESCRIPTION if getattr(account, name) != getattr(old, name)}
    changed = bool(said) and store.accounts.describe(account, said)
    if "status" in account.model_fields_set and account.status != old.status:
        changed |= store.accounts.set_status(account.account_id, account.status, now_ms(), was=old.status)
    return changed


def register_new(store: Store, account: Account) -> None:
    """Register one account, or one that was removed before. Raises QrieError if it is registered already."""
    store.accounts.add(account)
    refresh_dashboard(store, store.accounts.all(), now_ms())


def set_status(store: Store, account_id: str, status: AccountStatus) -> list[str]:
    """Activate, suspend or remove an account and clean up after it; a line about what was cleaned up.

    Raises QrieError if it is not registered.
    """
    store.accounts.set_status(account_id, status, now_ms())
    lines = list(retire_inactive(store))
    refresh_dashboard(store, store.accounts.all(), now_ms())
    return lines


def set_schedule(store: Store, account_id: str, overrides: Mapping[str, str]) -> dict[str, str]:
    """Replace an account's own schedule (cron by kind of scan, UTC; empty: none), and return it.

    Raises QrieError saying what is wrong.
    """
    try:
        checked = check_overrides(overrides)
    except ValueError as error:
        given = ", ".join(repr(cron) for cron in overrides.values())
        raise QrieError(f"The schedule of account {account_id} {error}; not {given}.") from None
    store.accounts.set_schedule(account_id, checked)
    refresh_dashboard(store, store.accounts.all(), now_ms())
    return checked


def forget_region(store: Store, account_id: str, region: str) -> int:
    """Drop what is stored of a region that is not scanned any more; how many resources.

    The next policy scan resolves their findings. Raises QrieError if the account is not registered, or nothing could
    be such a region.
    """
    if store.accounts.get(account_id) is None:
        raise NotFoundError(f"Account {account_id} is not registered: 'qrie accounts list' shows those that are.")
    if not is_region(region) and region != GLOBAL:
        raise QrieError(f"{region!r} is no AWS region such as eu-west-1.")
    dropped = 0
    for service in all_services():
        of_service = store.resources.forget_region(account_id, service, region)
        if of_service:
            store.accounts.recount(account_id, service, len(store.resources.index(account_id, service)))
            rebuild_service(store, account_id, service)
        dropped += of_service
    if dropped:
        refresh_dashboard(store, store.accounts.all(), now_ms())
    return dropped


def retire_inactive(store: Store) -> Iterator[str]:
    """Clean up after every account that is not active any more, a line about each; safe to run again.

    One that cannot be cleaned up keeps no other from it. Raises QrieError in the end, naming those.
    """
    accounts = store.accounts.all()
    left = [account for account in accounts if not account.active and account.retired_ms is None]
    failed = []
    for account in left:
        try:
            resolved, dropped = retire(store, account)
        except QrieError as error:
            failed.append(f"Account {account.account_id} could not be cleaned up: {error}")
            continue
        yield f"{account.account_id}: {resolved} findings resolved, {dropped} resources dropped"
    if len(failed) < len(left):
        refresh_dashboard(store, store.accounts.all(), now_ms())
    if failed:
        raise QrieError("\n".join(failed))


def retire(store: Store, account: Account) -> tuple[int, int]:
    """Resolve the account's findings as ACCOUNT_REMOVED and drop its inventory; how many of each.

    Nothing is dropped once it is active again. Raises QrieError then, and when the store gives up in the middle; run
    again, it goes on from there.
    """
    resolved = dropped = 0
    for _ in range(MAX_ROUNDS):
        away = store.accounts.begin_retiring(account.account_id)
        try:
            for service in all_services():
                store.accounts.require_inactive(account.account_id)
                applied = _resolve_findings(store, account, service)
                resolved += applied.changes[Change.CLOSED]
                dropped += store.resources.forget(account.account_id, service, away)
                rebuild_service(store, account.account_id, service, applied.now)
        except OvertakenError:
            store.accounts.require_inactive(account.account_id)
            continue
        # Otherwise a scan that began before has written meanwhile.
        if store.accounts.set_retired(account.account_id, away, now_ms()):
            break
    return resolved, dropped


def _resolve_findings(store: Store, account: Account, service: str) -> AppliedFindings:
    now = now_ms()
    stored = {finding.key: finding for finding in store.findings.load(account.account_id, service)}
    settled = {key: Settled(*key, Reason.ACCOUNT_REMOVED) for key in stored}
    applied = store.findings.apply(transitions(settled, stored, now), now)
    if applied.error:
        raise QrieError(applied.error)
    return applied
