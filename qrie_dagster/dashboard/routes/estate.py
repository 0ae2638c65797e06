"""What there is: accounts, services, resources; and whether qrie is well."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, HTTPException, Path, Query

from qrie_dagster import registry
from qrie_dagster.dashboard.answers import AccountRow, Health, ResourcePage, ResourceRow, ScheduleGiven, ServiceRow
from qrie_dagster.dashboard.context import Context, Estate
from qrie_dagster.dashboard.links import asset_url
from qrie_dagster.dashboard.queries import (
    DEFAULT_PAGE_SIZE,
    AccountQuery,
    ChangedSince,
    NextToken,
    PageSize,
    ResourceQuery,
    Resources,
    ServiceQuery,
    since_ms,
)
from qrie_dagster.drift import ScopeAge
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, ScanKind
from qrie_dagster.times import iso


def routes(context: Context) -> APIRouter:
    """The routes over ``context``."""
    router = APIRouter(tags=["estate"])
    resources = Resources(context)

    @router.get("/healthz")
    def healthz() -> Health:
        """Whether the store answers."""
        # There is no such record, and so nothing to pay for: that there is an answer is the answer.
        context.store.summary.get("healthz")
        return Health()

    @router.get("/accounts")
    def accounts() -> list[AccountRow]:
        """The registered accounts and how far qrie is with each; removed ones are left out."""
        estate = context.estate()
        return [
            _account(account, estate, context.settings.dagster_ui)
            for account in estate.accounts
            if account.status != "removed"
        ]

    @router.put("/accounts/{account_id}/schedule")
    def schedule(account_id: Annotated[str, Path(pattern=r"^[0-9]{12}$")], given: ScheduleGiven) -> AccountRow:
        """Replace an account's own schedule: scans of it besides those of all accounts."""
        registry.set_schedule(context.store, account_id, given.model_dump(exclude_none=True))
        estate = context.estate()
        account = next(account for account in estate.accounts if account.account_id == account_id)
        return _account(account, estate, context.settings.dagster_ui)

    @router.get("/services")
    def services(supported: Annotated[bool, Query()] = True) -> list[ServiceRow]:  # noqa: ARG001
        """The services qrie inventories. There are no others to list, ``supported`` or not."""
        return [
            ServiceRow(
                service_name=service.name,
                display_name=service.display_name,
                resource_types=[kind.name for kind in service.types],
            )
            for service in all_services().values()
        ]

    @router.get("/resources")
    def list_resources(
        account: AccountQuery = None,
        type: Annotated[str | None, Query(description="Such as AWS::S3::Bucket.")] = None,
        service: ServiceQuery = None,
        changed_since: ChangedSince = None,
        page_size: PageSize = DEFAULT_PAGE_SIZE,
        next_token: NextToken = None,
    ) -> ResourcePage:
        """The inventory, by account, service and ARN."""
        query = ResourceQuery(account, service, type, since_ms(changed_since))
        rows, token = resources.page(query, page_size, next_token)
        return ResourcePage(resources=rows, next_token=token)

    @router.get("/resources/{account_service}")
    def one_resource(account_service: str, arn: Annotated[str, Query(min_length=1, max_length=1024)]) -> ResourceRow:
        """One resource."""
        account_id, _, service = account_service.partition("_")
        found = resources.one(account_id, service, arn) if service in all_services() else None
        if found is None:
            raise HTTPException(404, f"{arn} is not in the inventory of {account_service}.")
        return found

    return router


Onboarding: TypeAlias = Literal["ready", "waiting", "failing", "inactive"]


def _account(account: Account, estate: Estate, dagster_url: str) -> AccountRow:
    ages = {kind: [estate.ages.get((kind, account.account_id, name)) for name in all_services()] for kind in ScanKind}
    onboarding, note = _onboarding(account, ages)
    return AccountRow(
        account_id=account.account_id,
        name=account.name,
        ou=account.ou_path,
        status=account.status,
        customer=account.customer,
        regions=account.regions,
        tags=account.tags,
        registered_at=iso(account.registered_ms or None),
        onboarding=onboarding,
        onboarding_note=note,
        last_inventory_at=iso(_oldest(ages[ScanKind.INVENTORY])),
        last_policy_scan_at=iso(_oldest(ages[ScanKind.POLICY])),
        schedule_overrides=account.schedule_overrides,
        dagster_url=asset_url(dagster_url, "policy_findings", account.account_id),
    )


def _oldest(ages: Sequence[ScopeAge | None]) -> int | None:
    """When the service that was not scanned for longest was; None if one never was."""
    ends = [age.last_success if age else None for age in ages]
    known = [end for end in ends if end is not None]
    return min(known) if len(known) == len(ends) else None


def _onboarding(account: Account, ages: Mapping[ScanKind, Sequence[ScopeAge | None]]) -> tuple[Onboarding, str]:
    if not account.active:
        return "inactive", f"The account is {account.status}; nothing of it is scanned."
    error = next((age.last_error for kind in ScanKind for age in ages[kind] if age and age.last_error), None)
    if error:
        return "failing", error
    for kind, what in ((ScanKind.INVENTORY, "inventory"), (ScanKind.POLICY, "policy scan")):
        missing = [name for name, age in zip(all_services(), ages[kind], strict=True) if not (age and age.last_success)]
        if missing:
            return "waiting", f"Waits for its first {what} of {', '.join(missing)}."
    return "ready", "Inventoried and judged."
