"""One partition per active account, kept in step with the registry."""

from collections.abc import Sequence

from dagster import DagsterInstance, DynamicPartitionsDefinition

from qrie_dagster.models import Account

ACCOUNTS_NAME = "accounts"
ACCOUNTS = DynamicPartitionsDefinition(name=ACCOUNTS_NAME)


def out_of_step(instance: DagsterInstance, active: Sequence[Account]) -> tuple[list[str], list[str]]:
    """The partitions to add and to delete so that they equal the active accounts."""
    partitions = list(instance.get_dynamic_partitions(ACCOUNTS_NAME))
    wanted = [account.account_id for account in active]
    return (
        [account_id for account_id in wanted if account_id not in set(partitions)],
        [account_id for account_id in partitions if account_id not in set(wanted)],
    )


def bring_in_step(instance: DagsterInstance, active: Sequence[Account]) -> list[str]:
    """Make the partitions equal the active accounts; returns them in the order that partition ranges follow."""
    to_add, to_delete = out_of_step(instance, active)
    if to_add:
        instance.add_dynamic_partitions(ACCOUNTS_NAME, to_add)
    for account_id in to_delete:
        instance.delete_dynamic_partition(ACCOUNTS_NAME, account_id)
    return list(instance.get_dynamic_partitions(ACCOUNTS_NAME))
