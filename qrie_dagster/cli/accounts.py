"""``qrie accounts``."""

from pathlib import Path
from typing import Annotated

import typer

from qrie_dagster.cli.output import say, say_json, say_table
from qrie_dagster.errors import NotFoundError, QrieError
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, AccountStatus, ScanKind
from qrie_dagster.registry import (
    accounts_from_csv,
    accounts_from_organization,
    forget_region,
    missing_from,
    new_account,
    register,
    register_new,
    set_schedule,
    set_status,
)
from qrie_dagster.settings import settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.times import age_text, now_ms

app = typer.Typer(help="The accounts that scans cover.", no_args_is_help=True)

AccountId = Annotated[str, typer.Argument(help="The account's id, 12 digits.")]


@app.command()
def add(
    account_id: AccountId,
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    ou: Annotated[str, typer.Option(help="Path of the organisational unit, such as /prod/payments.")] = "",
    customer: Annotated[str, typer.Option(help="Whose account it is.")] = "",
    region: Annotated[
        list[str] | None, typer.Option(help="A region to scan; all enabled ones if none is given.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag, key=value.")] = None,
) -> None:
    """Register an account."""
    pairs = [text.partition("=") for text in tag or ()]
    if not all(separator for _, separator, _ in pairs):
        raise QrieError("A tag is key=value, such as --tag stage=prod.")
    tags = {key: value for key, _, value in pairs}
    account = new_account(account_id, name=name, ou_path=ou, customer=customer, regions=region or [], tags=tags)
    register_new(open_store(settings()), account)
    say(f"Registered {account_id}. Dagster makes a partition of it within half a minute.")


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Removed accounts too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For other programs.")] = False,
) -> None:
    """Show the registered accounts and when each was last scanned with success."""
    accounts = [account for account in open_store(settings()).accounts.all() if all_ or account.status != "removed"]
    if as_json:
        say_json([account.model_dump(mode="json") for account in accounts])
        return
    now = now_ms()
    say_table(
        f"{len(accounts)} accounts",
        ["account", "name", "OU", "status", "inventory", "policies"],
        [
            [account.account_id, account.name, account.ou_path, account.status]
            + [_age(account, kind, now) for kind in ScanKind]
            for account in accounts
        ],
    )


def _age(account: Account, kind: ScanKind, now: int) -> str:
    """The age of the service that was not scanned for longest."""
    ends = [account.scan(kind, service).last_success for service in all_services()]
    known = [end for end in ends if end is not None]
    return age_text(min(known), now) if len(known) == len(ends) else "never"


@app.command()
def remove(account_id: AccountId) -> None:
    """Stop scanning an account, resolve its findings and drop its inventory."""
    _leave(account_id, "removed")


@app.command()
def suspend(account_id: AccountId) -> None:
    """Like remove, but the account stays listed and can be activated again."""
    _leave(account_id, "suspended")


@app.command()
def activate(account_id: AccountId) -> None:
    """Scan a suspended account again."""
    set_status(open_store(settings()), account_id, "active")
    say(f"{account_id} is active.")


def _leave(account_id: str, status: AccountStatus) -> None:
    for line in set_status(open_store(settings()), account_id, status):
        say(line)
    say(f"{account_id} is {status}.")


@app.command()
def schedule(
    account_id: AccountId,
    inventory: Annotated[str | None, typer.Option(help="When to take its inventory: cron, UTC.")] = None,
    policy: Annotated[str | None, typer.Option(help="When to judge it by the policies: cron, UTC.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Forget the schedule it has, before setting another.")] = False,
) -> None:
    """Scan an account at times of its own, besides the scans of all; without options, show them."""
    store = open_store(settings())
    account = store.accounts.get(account_id)
    if account is None:
        raise NotFoundError(f"Account {account_id} is not registered: 'qrie accounts list' shows those that are.")
    overrides = {} if clear else dict(account.schedule_overrides)
    given = {kind.value: cron for kind, cron in zip(ScanKind, (inventory, policy), strict=True) if cron is not None}
    if clear or given:
        overrides = set_schedule(store, account_id, {**overrides, **given})
    for kind in ScanKind:
        say(f"{kind.value}: {overrides.get(kind.value, 'with all others')}")


@app.command("import")
def import_(
    file: Annotated[Path | None, typer.Argument(help="A CSV file with a column account_id.")] = None,
    organization: Annotated[
        bool, typer.Option("--organization", help="Every account of the AWS organisation.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="With --organization: remove accounts that are not in it any more.")
    ] = False,
) -> None:
    """Register many accounts; what is registered already is updated, what was removed stays so."""
    if organization == (file is not None):
        raise QrieError("Say either a CSV file or --organization.")
    if prune and not organization:
        raise QrieError("--prune goes with --organization: a file need not hold every account.")
    if file is not None:
        try:
            accounts = accounts_from_csv(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise QrieError(f"{file} cannot be read: {error}") from error
    else:
        accounts = accounts_from_organization(settings())
    store = open_store(settings())
    counts = register(store, accounts)
    left_alone = counts.pop("removed")
    say(", ".join(f"{count} {what}" for what, count in counts.items()))
    if left_alone:
        say(f"{left_alone} were removed before and stay so; 'qrie accounts add' brings one back.")
    if organization:
        _tell_missing(store, accounts, prune=prune)


def _tell_missing(store: Store, accounts: list[Account], *, prune: bool) -> None:
    """Say which registered accounts are not in the organisation; remove them if asked to."""
    missing = missing_from(store, accounts)
    for account in missing:
        say(f"{account.account_id} {account.name} is registered, but not in the organisation.")
    if prune:
        for account in missing:
            _leave(account.account_id, "removed")
    elif missing:
        say("'qrie accounts import --organization --prune' removes them.")


@app.command("forget-region")
def forget_region_(
    account_id: AccountId, region: Annotated[str, typer.Argument(help="A region that is not scanned any more.")]
) -> None:
    """Drop what is stored of a region. The next policy scan resolves its findings."""
    dropped = forget_region(open_store(settings()), account_id, region)
    say(f"Dropped {dropped} resources of {account_id} in {region}.")
