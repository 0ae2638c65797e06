"""One inventory asset per AWS service, one partition per account."""

from collections.abc import Iterator
from typing import Never

from dagster import AssetExecutionContext, AssetsDefinition, BackfillPolicy, asset

from qrie_dagster.defs.partitions import ACCOUNTS
from qrie_dagster.defs.resources import AwsResource, StoreResource
from qrie_dagster.defs.scan_runs import open_scan, scan_accounts
from qrie_dagster.inventory.resource_type import Service
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import ScanKind
from qrie_dagster.scan import InventoryScanner
from qrie_dagster.settings import settings

OWNERS = ["team:cloud-security"]


def inventory_asset(service: Service) -> AssetsDefinition:
    """The asset that keeps the inventory of ``service``."""
    kinds = "\n".join(f"- `{kind.name}`" for kind in service.types)

    @asset(
        key=["inventory", service.name],
        partitions_def=ACCOUNTS,
        backfill_policy=BackfillPolicy.multi_run(settings().accounts_per_run),
        # Each account is materialized as it succeeds; the step as a whole has no output of its own.
        output_required=False,
        group_name="inventory",
        owners=OWNERS,
        kinds={"aws", service.name, "dynamodb"},
        tags={"qrie/service": service.name},
        pool="aws",
        description=(
            f"What {service.display_name} holds in each account, reconciled with `qrie_resources`.\n\n{kinds}\n\n"
            "A partition is materialized only when every region and type of the account was listed completely;"
            " otherwise an observation says what failed. Nothing is deleted from what was not listed completely."
        ),
    )
    def inventory(context: AssetExecutionContext, store: StoreResource, aws: AwsResource) -> Iterator[Never]:
        tables = store.open()
        scan = open_scan(context, tables, ScanKind.INVENTORY, [service.name])
        scanner = InventoryScanner(tables, aws.access().enter, aws.concurrency_per_account)
        yield from scan_accounts(
            context, tables, scan, aws.parallel_accounts, lambda account: [scanner.scan(scan, account, service)]
        )

    return inventory


inventory_assets = [inventory_asset(service) for service in all_services().values()]
