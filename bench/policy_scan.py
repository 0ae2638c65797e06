"""Repeated scans: what an unchanged estate costs, and how memory grows with the number of accounts.

    .venv/bin/python bench/policy_scan.py

The baseline of writes is a scanner that writes all it sees. Memory is the peak of a process of its own that scans some
of the accounts, inventory and policies.
"""

import json
import resource
import subprocess
import sys
import time

from emulated import TableWrites, new_store, organisation_running

from qrie_dagster.aws import AwsAccess
from qrie_dagster.demo.organisation import ACCOUNTS
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, Outcome, ScanKind, ScanType
from qrie_dagster.policies.policy import all_policies
from qrie_dagster.policy_changes import launch_all
from qrie_dagster.registry import register
from qrie_dagster.scan import InventoryScanner, PolicyScanner
from qrie_dagster.settings import load_settings, settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.store.summary import Scan


def scan(store: Store, kind: ScanKind, accounts: list[Account]) -> list[Outcome]:
    """Scan one account after the other, as a worker does."""
    plan = Scan(scan_id=f"bench-{kind}-{time.time_ns()}", kind=kind, scan_type=ScanType.BOOTSTRAP, started_ms=0)
    inventory = InventoryScanner(store, AwsAccess(settings()).enter, settings().concurrency_per_account)
    policies = PolicyScanner(store, all_policies())
    scanner = inventory if kind is ScanKind.INVENTORY else policies
    return [
        scanner.scan(plan, current, service)
        for account in accounts
        for current in [store.accounts.get(account.account_id) or account]
        for service in all_services().values()
    ]


def measure(prefix: str, count: int) -> None:
    """Scan ``count`` accounts and print the peak of memory in MB."""
    store = open_store(load_settings(table_prefix=prefix))
    for kind in ScanKind:
        scan(store, kind, list(ACCOUNTS[1 : 1 + count]))
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def peak(count: int) -> float:
    """The peak of memory, in MB, of a process that scans ``count`` accounts."""
    prefix = f"memory{count}_"
    store = new_store(prefix)
    launch_all(store)
    register(store, ACCOUNTS)
    command = [sys.executable, __file__, prefix, str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print the costs and their ratios."""
    with organisation_running():
        store = new_store("bench_")
        launch_all(store)
        register(store, ACCOUNTS)
        writes = TableWrites(store)
        print(f"{'':28}{'seconds':>10}{'seen':>8}{'items written':>16}")
        for name in ("first", "second, unchanged"):
            for kind, table in ((ScanKind.INVENTORY, "resources"), (ScanKind.POLICY, "findings")):
                started = time.perf_counter()
                outcomes = scan(store, kind, list(ACCOUNTS))
                seconds = time.perf_counter() - started
                seen = sum(o.resources_found + o.processed_resources for o in outcomes)
                print(f"{kind.value + ' scan, ' + name:28}{seconds:>10.1f}{seen:>8}{writes.of(store, table):>16}")
        few, many = peak(2), peak(10)
    print(f"\nPeak memory: {few:.0f} MB for 2 accounts, {many:.0f} MB for 10: {many / few:.2f} times.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1], int(sys.argv[2]))
    else:
        main()
