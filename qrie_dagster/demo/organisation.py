"""The emulated organisation: its accounts, and how they are filled. The same on every run but for ids AWS draws."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from random import Random
from typing import Any

from qrie_dagster.demo import buckets, databases, machines, people
from qrie_dagster.demo.access import client, enter
from qrie_dagster.models import Account

REGIONS = ("us-east-1", "eu-west-1")
THREADS = 4


def _account(account_id: str, name: str, ou_path: str, customer: str = "Halden", **tags: str) -> Account:
    return Account(
        account_id=account_id,
        name=name,
        ou_path=ou_path,
        customer=customer,
        regions=list(REGIONS),
        tags=tags,
    )


# The first one manages the organisation; its number is that of moto's own credentials.
ACCOUNTS: Sequence[Account] = (
    _account("123456789012", "halden-management", "/", env="prod", team="platform"),
    _account("111122223333", "payments-prod", "/prod/payments", env="prod", team="payments"),
    _account("222233334444", "storefront-prod", "/prod/web", env="prod", team="storefront"),
    _account("333344445555", "data-prod", "/prod/data", env="prod", team="données"),
    _account("444455556666", "payments-staging", "/staging/payments", env="staging", team="payments"),
    _account("555566667777", "storefront-staging", "/staging/web", env="staging", team="storefront"),
    _account("666677778888", "security-audit", "/security", env="prod", team="security"),
    _account("777788889999", "network-hub", "/infrastructure", env="prod", team="platform"),
    _account("888899990000", "sandbox-zoë", "/sandbox", env="dev", team="research"),
    _account("000011112222", "orchard-prod", "/customers/orchard", "Orchard Health", env="prod"),
    _account("121212121212", "orchard-dev", "/customers/orchard", "Orchard Health", env="dev"),
    _account("131313131313", "quarry-legacy", "/customers/quarry", "Quarry & Söhne", env="prod"),
)

# How much there is in an account, from 0 (nearly nothing); 2 where nothing is said.
SIZES = {"halden-management": 1, "data-prod": 3, "storefront-prod": 3, "security-audit": 1, "quarry-legacy": 0}
EMPTY = "131313131313"


def name_of(account_id: str) -> str:
    """The name of one of the accounts."""
    return next(account.name for account in ACCOUNTS if account.account_id == account_id)


def build(endpoint: str, progress: Callable[[str], None]) -> None:
    """Create the organisation and everything in its accounts; ``progress`` hears one line for each account."""
    started = time.monotonic()
    _organise(endpoint)
    progress(f"organisation of {len(ACCOUNTS)} accounts")
    with ThreadPoolExecutor(THREADS) as pool:
        filling = {pool.submit(_fill, endpoint, account): account for account in ACCOUNTS}
        for filled in as_completed(filling):
            filled.result()
            account = filling[filled]
            progress(f"{account.account_id} {account.name}: filled after {time.monotonic() - started:.0f} s")


def _organise(endpoint: str) -> None:
    organizations = client(endpoint, "organizations")
    organizations.create_organization(FeatureSet="ALL")
    root = organizations.list_roots()["Roots"][0]["Id"]
    units = {"/": root}
    management, *members = ACCOUNTS
    _tag(organizations, management)
    for account in members:
        answer = organizations.create_account(
            AccountName=account.name,
            Email=f"aws+{account.account_id}@halden.example",
            Tags=[{"Key": key, "Value": value} for key, value in account.tags.items()],
        )
        created = answer["CreateAccountStatus"]["AccountId"]
        unit = _unit(organizations, units, account.ou_path)
        organizations.move_account(AccountId=created, SourceParentId=root, DestinationParentId=unit)


def _tag(organizations: Any, account: Account) -> None:
    organizations.tag_resource(
        ResourceId=account.account_id,
        Tags=[{"Key": key, "Value": value} for key, value in account.tags.items()],
    )


def _unit(organizations: Any, units: dict[str, str], path: str) -> str:
    """The id of the organisational unit at ``path``, created with those above it as needed."""
    if path not in units:
        above, _slash, name = path.rpartition("/")
        parent = _unit(organizations, units, above or "/")
        answer = organizations.create_organizational_unit(ParentId=parent, Name=name)
        units[path] = answer["OrganizationalUnit"]["Id"]
    return units[path]


def _fill(endpoint: str, account: Account) -> None:
    entered = enter(endpoint, account.account_id)
    size = SIZES.get(account.name, 2)
    # One source of chance for each account: the order in which threads work must not matter.
    chance = Random(account.account_id)
    people.fill(entered, account, size, chance)
    buckets.fill(entered, account, size, chance)
    if account.account_id != EMPTY:
        for region in REGIONS:
            machines.fill(entered, account, region, size, chance)
            databases.fill(entered, account, region, size, chance)
