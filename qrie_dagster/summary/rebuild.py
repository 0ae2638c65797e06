"""Totals computed again from the tables: the same numbers that scans keep, whatever went wrong before."""

from collections import Counter
from collections.abc import Iterator, Mapping

from qrie_dagster.findings import Finding, FindingKey
from qrie_dagster.inventory.services import all_services
from qrie_dagster.store import Store
from qrie_dagster.summary.rollup import refresh_dashboard
from qrie_dagster.summary.totals import finding_totals
from qrie_dagster.times import now_ms


def rebuild_service(
    store: Store, account_id: str, service: str, written: Mapping[FindingKey, Finding] | None = None
) -> None:
    """Compute the totals of one (account, service) from its stored resources and findings.

    ``written`` are findings just written, which the index that findings are read from may not show yet.
    """
    types = {arn: stored.resource_type for arn, stored in store.resources.index(account_id, service).items()}
    findings = {finding.key: finding for finding in store.findings.load(account_id, service)} | dict(written or {})
    totals = finding_totals(findings.values(), types, now_ms())
    store.summary.set_part(account_id, "Findings", service, totals.model_dump())
    store.summary.set_part(account_id, "Resources", service, Counter(types.values()))


def rebuild(store: Store) -> Iterator[str]:
    """Compute all totals and the dashboard record again; yields each account id as it is done."""
    accounts = store.accounts.all()
    for account in accounts:
        for service in all_services():
            rebuild_service(store, account.account_id, service)
        yield account.account_id
    refresh_dashboard(store, accounts, now_ms())
