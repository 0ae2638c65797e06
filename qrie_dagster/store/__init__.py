"""DynamoDB: one module per table."""

from dataclasses import dataclass

from qrie_dagster.settings import Settings
from qrie_dagster.store.accounts import AccountTable
from qrie_dagster.store.dynamo import Dynamo
from qrie_dagster.store.findings import FindingTable
from qrie_dagster.store.launched_policies import LaunchedPolicyTable
from qrie_dagster.store.resources import ResourceTable
from qrie_dagster.store.summary import SummaryTable


@dataclass(frozen=True)
class Store:
    """All of qrie's tables."""

    dynamo: Dynamo
    accounts: AccountTable
    resources: ResourceTable
    findings: FindingTable
    policies: LaunchedPolicyTable
    summary: SummaryTable


def open_store(settings: Settings, attempts: int | None = None) -> Store:
    """The tables that the settings name. Nothing is read yet.

    ``attempts`` at one call, for readers that would rather fail soon than wait for long.
    """
    dynamo = Dynamo(settings, attempts)
    return Store(
        dynamo,
        AccountTable(dynamo),
        ResourceTable(dynamo),
        FindingTable(dynamo),
        LaunchedPolicyTable(dynamo),
        SummaryTable(dynamo),
    )
