"""One partition per active account, kept in step with the registry."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from dagster import DagsterInstance, DagsterRunStatus, DynamicPartitionsDefinition, RunsFilter

from qrie_dagster.models import Account
from qrie_dagster.scan_tags import RANGE_START

ACCOUNTS_NAME = "accounts"
ACCOUNTS = DynamicPartitionsDefinition(name=ACCOUNTS_NAME)

_ENDED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
UNFINISHED = [status for status in DagsterRunStatus if status not in _ENDED]
PARTITION = "dagster/partition"
WILL_RETRY = "dagster/will_retry"
RETRIED_BY = "dagster/auto_retry_run_id"
# Dagster launches a retry within seconds; one that has not come by then never will.
RETRY_COMES_WITHIN = timedelta(hours=1)


def out_of_step(instance: DagsterInstance, active: Sequence[Account]) -> tuple[list[str], list[str]]:
    """The partitions to add and to delete so that they equal the active accounts.

    None is to be deleted as long as a run over accounts is unfinished. Dagster looks up the accounts of a run when it
    executes, between the first and the last it was launched with: had one of them been deleted, nothing of the run
    could be scanned; had it come back at the end of the list, everything would be.
    """
    partitions = list(instance.get_dynamic_partitions(ACCOUNTS_NAME))
    wanted = [account.account_id for account in active]
    gone = [account_id for account_id in partitions if account_id not in set(wanted)]
    return (
        [account_id for account_id in wanted if account_id not in set(partitions)],
        [] if gone and _in_use(instance) else gone,
    )


def bring_in_step(instance: DagsterInstance, active: Sequence[Account]) -> list[str]:
    """Make the partitions equal the active accounts; returns them in the order that partition ranges follow.

    Those of accounts that left stay, too, for as long as runs are unfinished.
    """
    to_add, to_delete = out_of_step(instance, active)
    if to_add:
        instance.add_dynamic_partitions(ACCOUNTS_NAME, to_add)
    for account_id in to_delete:
        instance.delete_dynamic_partition(ACCOUNTS_NAME, account_id)
    return list(instance.get_dynamic_partitions(ACCOUNTS_NAME))


def _in_use(instance: DagsterInstance) -> bool:
    """Whether a run over partitions has not ended, or will be tried again."""
    since = datetime.now(UTC) - RETRY_COMES_WITHIN
    failed = RunsFilter(statuses=[DagsterRunStatus.FAILURE], tags={WILL_RETRY: "true"}, updated_after=since)
    runs = [run for run in instance.get_runs(failed) if RETRIED_BY not in run.tags]
    runs += instance.get_runs(RunsFilter(statuses=UNFINISHED))
    return any({RANGE_START, PARTITION} & set(run.tags) for run in runs)
