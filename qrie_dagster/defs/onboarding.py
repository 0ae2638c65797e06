"""The first scan of accounts that nobody has looked at yet."""

from collections.abc import Collection, Sequence
from hashlib import sha256

from dagster import DagsterInstance, RunRequest, RunsFilter

from qrie_dagster.defs.jobs import bootstrap_account
from qrie_dagster.defs.partitions import UNFINISHED
from qrie_dagster.defs.scan_runs import plan_part
from qrie_dagster.models import Account, ScanKind
from qrie_dagster.scan_tags import SCAN_ID
from qrie_dagster.store import Store
from qrie_dagster.times import as_datetime, now_ms


def first_scans(
    instance: DagsterInstance,
    store: Store,
    active: Sequence[Account],
    partitions: Sequence[str],
    asked: Collection[str],
) -> tuple[list[RunRequest], list[str]]:
    """The runs that take the first inventory of accounts, and the accounts that still wait for theirs.

    ``asked`` are those for which runs were requested before: each is requested once, whatever becomes of its run.
    An account that a scan under way is to cover is left to it.
    """
    unseen = [account.account_id for account in active if not _attempted(account)]
    waiting = [account_id for account_id in unseen if account_id in asked]
    wanted = [account_id for account_id in unseen if account_id not in asked]
    if wanted:
        covered = _under_way(instance, store)
        wanted = [account_id for account_id in wanted if account_id not in covered]
    if not wanted:
        return [], waiting
    digest = sha256(" ".join(wanted).encode()).hexdigest()[:8]
    scan_id = f"{ScanKind.INVENTORY.value}-{as_datetime(now_ms()):%Y%m%dT%H%M%SZ}-{digest}"
    requests = plan_part(store, scan_id, ScanKind.INVENTORY, wanted, partitions, bootstrap_account.name)
    return requests, sorted([*waiting, *wanted])


def _attempted(account: Account) -> bool:
    return any(scan.last_attempt for scan in account.scans.get(ScanKind.INVENTORY, {}).values())


def _under_way(instance: DagsterInstance, store: Store) -> set[str]:
    """The accounts of inventories that have not ended."""
    runs = instance.get_runs(RunsFilter(statuses=UNFINISHED))
    plans = [store.summary.scan(scan_id) for scan_id in {run.tags[SCAN_ID] for run in runs if SCAN_ID in run.tags}]
    return {name for plan in plans if plan and plan.kind is ScanKind.INVENTORY for name in plan.accounts}
