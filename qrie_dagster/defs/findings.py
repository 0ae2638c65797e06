"""The findings of each account: what the launched policies say of its stored inventory."""

from collections.abc import Iterator, Sequence
from typing import Never

from dagster import AssetExecutionContext, BackfillPolicy, asset

from qrie_dagster.defs.inventory import OWNERS, inventory_assets
from qrie_dagster.defs.partitions import ACCOUNTS
from qrie_dagster.defs.resources import AwsResource, StoreResource
from qrie_dagster.defs.scan_runs import open_scan, scan_accounts
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, Outcome, ScanKind
from qrie_dagster.policies.policy import all_policies
from qrie_dagster.scan import PolicyScanner
from qrie_dagster.settings import settings


@asset(
    deps=inventory_assets,
    partitions_def=ACCOUNTS,
    backfill_policy=BackfillPolicy.multi_run(settings().accounts_per_run),
    output_required=False,
    group_name="findings",
    owners=OWNERS,
    kinds={"dynamodb"},
    pool="policies",
    description=(
        "What the launched policies say of each account's inventory, reconciled with `qrie_findings`."
        " Judges the last good inventory and waits for none: a failed inventory neither blocks it nor closes a finding."
    ),
)
def policy_findings(context: AssetExecutionContext, store: StoreResource, aws: AwsResource) -> Iterator[Never]:
    """Evaluate every launched policy over each account of this run."""
    tables = store.open()
    services = all_services()
    scan = open_scan(context, tables, ScanKind.POLICY, list(services))
    scanner = PolicyScanner(tables, all_policies())
    wanted = [service for name, service in services.items() if not scan.services or name in scan.services]

    def scan_one(account: Account) -> Sequence[Outcome]:
        return [scanner.scan(scan, account, service) for service in wanted]

    yield from scan_accounts(context, tables, scan, aws.parallel_accounts, scan_one)
