"""``qrie_accounts``: who is registered, and how each account's scans went.

Scan state lives in flat attributes ``<Kind>:<service>:<field>``, so that two services never overwrite each other's.

``Claim:<service>:…`` orders scans and late events of one (account, service): before a scan changes the stored
inventory it claims the service with the times of its listings. A claim with older listings is refused, and
a scan whose claim was taken over while it wrote has to look again. Hence an unchanged resource needs no write, yet
an observation older than the last listing can still be recognised as old. Whatever a scan changes of what is stored
already, it changes in transactions that check the claim.

``Departure`` changes whenever an account ceases to be active, and when a scan ends that began before: what it wrote has
to be cleaned up too.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any
from uuid import uuid4

from qrie_dagster.errors import NotFoundError, QrieError
from qrie_dagster.models import Account, AccountStatus, Outcome, ScanKind, ServiceScan
from qrie_dagster.store.dynamo import Attr, ConditionFailedError, Dynamo, DynamoItem, Write
from qrie_dagster.store.encoding import decode, encode
from qrie_dagster.store.tables import ACCOUNTS

_FIELDS = {
    "LastAttempt": "last_attempt",
    "LastSuccess": "last_success",
    "LastError": "last_error",
    "ScanId": "scan_id",
    "Resources": "resources",
}
# What people say about an account, as the table calls it.
_DESCRIPTION = {
    "name": "Name",
    "ou_path": "OuPath",
    "tags": "Tags",
    "regions": "Regions",
    "customer": "Customer",
}
DESCRIPTION = frozenset(_DESCRIPTION)
_PREFIXES = {kind.value.capitalize(): kind for kind in ScanKind}


class AccountTable:
    """The registry."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def all(self) -> list[Account]:
        """Every account ever registered, by id."""
        return sorted(map(_account, self._dynamo.scan(ACCOUNTS, ConsistentRead=True)), key=lambda a: a.account_id)

    def active(self) -> list[Account]:
        """The accounts that scans cover, by id."""
        return [account for account in self.all() if account.active]

    def get(self, account_id: str) -> Account | None:
        """One account, or None."""
        item = self._dynamo.get(ACCOUNTS, {"AccountId": account_id})
        return _account(item) if item else None

    def add(self, account: Account) -> None:
        """Register an account, or one that was removed before. Raises QrieError if it is already registered."""
        condition = Attr("AccountId").not_exists() | Attr("Status").eq("removed")
        try:
            self._dynamo.put(ACCOUNTS, _item(account), condition)
        except ConditionFailedError:
            raise QrieError(
                f"Account {account.account_id} is already registered: 'qrie accounts list' shows it."
            ) from None

    def describe(self, account: Account, said: AbstractSet[str] = DESCRIPTION) -> bool:
        """Change what people say about a registered account, as far as it is ``said``; False if it was removed."""
        try:
            self._dynamo.update(
                ACCOUNTS,
                {"AccountId": account.account_id},
                {_DESCRIPTION[name]: getattr(account, name) for name in said},
                condition=Attr("AccountId").exists() & Attr("Status").ne("removed"),
            )
        except ConditionFailedError:
            return False
        return True

    def set_status(self, account_id: str, status: AccountStatus, at: int = 0, was: AccountStatus | None = None) -> bool:
        """Activate, suspend or remove an account at ``at`` (ms); False if it ``was`` otherwise and is not any more.

        Raises QrieError if it is not registered.
        """
        account = self.get(account_id)
        if account is None:
            raise QrieError(f"Account {account_id} is not registered: 'qrie accounts list' shows those that are.")
        since: dict[str, Any] = {}
        if status != "active":
            since = {"Departure": uuid4().hex}
        # Activating what is active already changes nothing for the scans under way.
        elif not account.active:
            since = {"ActivatedAt": at}
        try:
            self._dynamo.update(
                ACCOUNTS,
                {"AccountId": account_id},
                {"Status": status, **since},
                remove=["RetiredAt"],
                condition=Attr("Status").eq(was) if was else Attr("AccountId").exists(),
            )
        except ConditionFailedError:
            return False
        return True

    def set_schedule(self, account_id: str, overrides: Mapping[str, str]) -> None:
        """Replace an account's own schedule. Raises QrieError if it is not registered."""
        try:
            self._dynamo.update(
                ACCOUNTS,
                {"AccountId": account_id},
                {"ScheduleOverrides": dict(overrides)},
                condition=Attr("AccountId").exists() & Attr("Status").ne("removed"),
            )
        except ConditionFailedError:
            raise NotFoundError(
                f"Account {account_id} is not registered: 'qrie accounts list' shows those that are."
            ) from None

    def recount(self, account_id: str, service: str, resources: int) -> None:
        """Note how many resources are stored of a service now that people dropped some."""
        self._dynamo.update(
            ACCOUNTS,
            {"AccountId": account_id},
            {f"{ScanKind.INVENTORY.value.capitalize()}:{service}:Resources": resources},
            condition=Attr("AccountId").exists(),
        )

    def begin_retiring(self, account_id: str) -> Write:
        """Forget how the scans of an inactive account went; a check that it is still away, and nobody wrote since.

        So policies do not judge what a clean-up has left of its inventory should it come back in the middle. Raises
        QrieError if it is active.
        """
        item = self._dynamo.get(ACCOUNTS, {"AccountId": account_id}) or {}
        departure, seen = item.get("Departure"), Attr("Departure")
        still = Attr("Status").ne("active") & (seen.eq(departure) if departure else seen.not_exists())
        away = Write(ACCOUNTS, {"AccountId": account_id}, "check", condition=Attr("AccountId").exists() & still)
        scans = [name for name in item if ":" in name]
        if item.get("Status") == "active":
            raise _came_back(account_id)
        if scans:
            try:
                self._dynamo.update(ACCOUNTS, away.key, remove=scans, condition=away.condition)
            except ConditionFailedError:
                raise _came_back(account_id) from None
        return away

    def set_retired(self, account_id: str, away: Write, at: int) -> bool:
        """Note that nothing of an inactive account is kept as current; False if a scan wrote since ``away`` was made.

        Raises QrieError if it is active again.
        """
        try:
            self._dynamo.update(ACCOUNTS, away.key, {"RetiredAt": at}, condition=away.condition)
        except ConditionFailedError:
            self.require_inactive(account_id)
            return False
        return True

    def require_inactive(self, account_id: str) -> None:
        """Raises QrieError if an account that is being cleaned up has come back."""
        account = self.get(account_id)
        if account is None or account.active:
            raise _came_back(account_id)

    def begin(self, kind: ScanKind, account_id: str, service: str, scan_id: str, at: int) -> None:
        """Note an attempt. Raises QrieError if the account has left the registry."""
        self._note(kind, account_id, service, {"LastAttempt": at, "ScanId": scan_id})

    def finish(self, kind: ScanKind, outcome: Outcome, token: str | None = None) -> None:
        """Note how an attempt ended.

        Raises ConditionFailedError when ``token`` is given and another scan has claimed the service since.
        """
        condition = Attr(_claim(outcome.service, "Token")).eq(token) if token else None
        fields: dict[str, Any] = {}
        if outcome.succeeded:
            fields = {"LastSuccess": outcome.finished_ms, "Resources": outcome.resources_found}
        if outcome.problems or not outcome.succeeded:
            fields["LastError"] = "; ".join(outcome.problems)[:1000] or "failed"
        remove = () if "LastError" in fields else ("LastError",)
        self._note(kind, outcome.account_id, outcome.service, fields, remove=remove, condition=condition)

    def claim(self, account_id: str, service: str, token: str, listed: Mapping[str, int]) -> bool:
        """Claim a service for the scan ``token``, whose listings began at ``listed`` (scope key to ms).

        False when a listing in it is older than one claimed before, or another scan came first just now: look
        at AWS again. Raises QrieError if the account has left the registry.
        """
        item = self._dynamo.get(ACCOUNTS, {"AccountId": account_id}) or {}
        before, seen = listing_times(item, service)
        if any(at < before.get(scope, 0) for scope, at in listed.items()):
            return False
        unchanged = Attr(_claim(service, "Token"))
        try:
            self._dynamo.update(
                ACCOUNTS,
                {"AccountId": account_id},
                {_claim(service, "Token"): token, _claim(service, "Listed"): encode({**before, **listed})},
                condition=Attr("Status").eq("active") & (unchanged.eq(seen) if seen else unchanged.not_exists()),
            )
        except ConditionFailedError:
            self.require_active(account_id)
            return False
        return True

    def claimed(self, account_id: str, service: str, token: str) -> Write:
        """A check that the claim of the scan ``token`` still holds."""
        own = Attr("Status").eq("active") & Attr(_claim(service, "Token")).eq(token)
        return Write(ACCOUNTS, {"AccountId": account_id}, "check", condition=own)

    def last_listings(self, account_id: str, service: str) -> tuple[dict[str, int], Write]:
        """When each scope of a service was last listed (ms, by scope key), and a check that this is still so.

        Raises QrieError if the account has left the registry.
        """
        item = self._dynamo.get(ACCOUNTS, {"AccountId": account_id}) or {}
        if item.get("Status") != "active":
            raise QrieError(f"Account {account_id} is not an active account: 'qrie accounts list' shows them.")
        times, token = listing_times(item, service)
        seen = Attr(_claim(service, "Token"))
        unchanged = seen.eq(token) if token else seen.not_exists()
        check = Write(ACCOUNTS, {"AccountId": account_id}, "check", condition=Attr("Status").eq("active") & unchanged)
        return times, check

    def _note(
        self,
        kind: ScanKind,
        account_id: str,
        service: str,
        fields: Mapping[str, Any],
        remove: tuple[str, ...] = (),
        condition: Any = None,
    ) -> None:
        prefix = f"{kind.value.capitalize()}:{service}:"
        active = Attr("Status").eq("active")
        try:
            self._dynamo.update(
                ACCOUNTS,
                {"AccountId": account_id},
                {prefix + name: value for name, value in fields.items()},
                remove=[prefix + name for name in remove],
                condition=active & condition if condition is not None else active,
            )
        except ConditionFailedError:
            self.require_active(account_id)
            if condition is None:
                # It was away for a moment.
                raise _left(account_id) from None
            raise

    def require_active(self, account_id: str) -> None:
        """Raises QrieError if the account has left the registry, for the caller to end what it does in it.

        What the caller wrote may be later than the clean-up, or in the part that is done already: that is noted.
        """
        account = self.get(account_id)
        if account is not None and account.active:
            return
        if account is not None:
            # Should it come back just now there is nothing to clean up.
            with suppress(ConditionFailedError):
                self._dynamo.update(
                    ACCOUNTS,
                    {"AccountId": account_id},
                    {"Departure": uuid4().hex},
                    remove=["RetiredAt"],
                    condition=Attr("AccountId").exists() & Attr("Status").ne("active"),
                )
        raise _left(account_id)


def _left(account_id: str) -> QrieError:
    return QrieError(f"Account {account_id} left the registry while it was scanned.")


def _came_back(account_id: str) -> QrieError:
    return QrieError(f"Account {account_id} came back while it was cleaned up: run an inventory scan of it.")


def _claim(service: str, field: str) -> str:
    return f"Claim:{service}:{field}"


def listing_times(item: DynamoItem, service: str) -> tuple[dict[str, int], str | None]:
    """When each scope was last listed (ms, by scope key), and the token of the scan that said so."""
    listed = item.get(_claim(service, "Listed"))
    return (decode(listed) if listed else {}), item.get(_claim(service, "Token"))


def _item(account: Account) -> DynamoItem:
    item: DynamoItem = {
        "AccountId": account.account_id,
        "Name": account.name,
        "OuPath": account.ou_path,
        "Tags": dict(account.tags),
        "Status": account.status,
        "Regions": [*account.regions],
        "Customer": account.customer,
        "ScheduleOverrides": dict(account.schedule_overrides),
        "RegisteredAt": account.registered_ms,
    }
    if account.retired_ms:
        item["RetiredAt"] = account.retired_ms
    if account.activated_ms:
        item["ActivatedAt"] = account.activated_ms
    return item


def _account(item: DynamoItem) -> Account:
    return Account(
        account_id=item["AccountId"],
        name=item.get("Name", ""),
        ou_path=item.get("OuPath", ""),
        tags=item.get("Tags", {}),
        status=item.get("Status", "active"),
        regions=item.get("Regions", []),
        customer=item.get("Customer", ""),
        schedule_overrides=item.get("ScheduleOverrides", {}),
        registered_ms=item.get("RegisteredAt", 0),
        activated_ms=item.get("ActivatedAt", 0),
        retired_ms=item.get("RetiredAt"),
        scans=_scans(item),
    )


def _scans(item: DynamoItem) -> dict[str, dict[str, ServiceScan]]:
    fields: dict[tuple[ScanKind, str], dict[str, Any]] = {}
    for name, value in item.items():
        prefix, _, rest = name.partition(":")
        service, _, field = rest.partition(":")
        if prefix in _PREFIXES and field in _FIELDS:
            fields.setdefault((_PREFIXES[prefix], service), {})[_FIELDS[field]] = value
    scans: dict[str, dict[str, ServiceScan]] = {}
    for (kind, service), values in fields.items():
        scans.setdefault(kind, {})[service] = ServiceScan(**values)
    return scans
