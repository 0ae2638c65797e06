"""The jobs people and schedules start."""

from collections.abc import Iterator

from dagster import AssetSelection, OpExecutionContext, define_asset_job, job, op

from qrie_dagster.defs.checks import health
from qrie_dagster.defs.findings import policy_findings
from qrie_dagster.defs.inventory import inventory_assets
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.defs.summary import summary
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import ScanKind
from qrie_dagster.registry import retire_inactive
from qrie_dagster.scan_tags import THEN

# Of the runs that wait, those that are over soon, or that somebody waits for, go first; the others are at 0.
PRIORITY = "dagster/priority"
SOON = {PRIORITY: "2"}
NEXT = {PRIORITY: "1"}

full_inventory = define_asset_job(
    "full_inventory",
    selection=inventory_assets,
    description="The inventory of every service. Choose all partitions for the whole estate.",
)
service_inventories = [
    define_asset_job(
        f"inventory_{service.name}",
        selection=[inventory],
        description=f"The inventory of {service.display_name} alone.",
    )
    for service, inventory in zip(all_services().values(), inventory_assets, strict=True)
]
policy_scan = define_asset_job(
    "policy_scan",
    selection=[policy_findings],
    tags=NEXT,
    description="Every launched policy over the stored inventory. Choose all partitions for the whole estate.",
)
bootstrap_account = define_asset_job(
    "bootstrap_account",
    selection=inventory_assets,
    tags={THEN: ScanKind.POLICY.value, **NEXT},
    description="The inventory of new accounts, followed by their policy scan. Choose the accounts' partitions.",
)
roll_up = define_asset_job(
    "roll_up",
    selection=AssetSelection.assets(summary) | AssetSelection.checks(health),
    tags=SOON,
    description="Sums up a scan that ended. Started by itself.",
)
health_checks = define_asset_job(
    "health_checks",
    selection=AssetSelection.checks(health),
    tags=SOON,
    description="Looks for what failed, grew old or vanished, without scanning.",
)


@op(description="Resolves the findings of accounts that left, and drops their inventory.")
def retire(context: OpExecutionContext, store: StoreResource) -> None:
    """Clean up after every account that is not active any more."""
    for retired in retire_inactive(store.open()):
        context.log.info("%s", retired)


@job(
    tags=SOON,
    description="Cleans up after accounts that were removed or suspended. Started by itself.",
)
def retire_accounts() -> None:
    """One op."""
    retire()


def scan_jobs() -> Iterator[str]:
    """The names of the jobs whose runs belong to scans."""
    for scan_job in (full_inventory, *service_inventories, policy_scan, bootstrap_account):
        yield scan_job.name
