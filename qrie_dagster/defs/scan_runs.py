"""How scans and Dagster's runs belong together: tags, chunks, and the walk over a run's accounts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from itertools import islice
from typing import Any, Never

from dagster import (
    AssetExecutionContext,
    AssetMaterialization,
    AssetObservation,
    DagsterInstance,
    DagsterRun,
    Failure,
    MetadataValue,
    RunRequest,
    RunsFilter,
)

from qrie_dagster.errors import QrieError
from qrie_dagster.models import Account, Outcome, ScanKind, ScanType
from qrie_dagster.scan_tags import CHUNK, CHUNKS, SCAN_ID, chunk_tags
from qrie_dagster.settings import settings
from qrie_dagster.store import Store
from qrie_dagster.store.summary import Scan
from qrie_dagster.times import as_ms, now_ms

BACKFILL = "dagster/backfill"
WILL_RETRY = "dagster/will_retry"


def tick_scan_id(kind: ScanKind, tick: datetime) -> str:
    """The id of the scan that a schedule's tick launches: the same however often the tick is evaluated."""
    return f"{kind.value}-{tick:%Y%m%dT%H%M%SZ}"


def chunk_requests(scan_id: str, partitions: Sequence[str], wanted: Iterable[str]) -> list[RunRequest]:
    """One run per chunk of ``wanted`` accounts."""
    return [
        RunRequest(run_key=f"{scan_id}:{tags[CHUNK]}", tags=tags)
        for tags in chunk_tags(scan_id, partitions, wanted, settings().accounts_per_run)
    ]


def scan_id_of(run: DagsterRun) -> str:
    """The scan a run belongs to: as tagged, or the backfill, or the run alone when a person started it."""
    return run.tags.get(SCAN_ID) or run.tags.get(BACKFILL) or run.root_run_id or run.run_id


def scan_ended(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether every chunk of the scan has ended for good; runs a person started are chunks of their own."""
    if CHUNKS not in run.tags:
        return run.tags.get(WILL_RETRY) != "true"
    latest: dict[str, DagsterRun] = {}
    for record in instance.get_run_records(RunsFilter(tags={SCAN_ID: run.tags[SCAN_ID]}), ascending=True):
        latest[record.dagster_run.tags.get(CHUNK, "")] = record.dagster_run
    latest.pop("", None)
    return len(latest) == int(run.tags[CHUNKS]) and all(
        other.is_finished and other.tags.get(WILL_RETRY) != "true" for other in latest.values()
    )


def open_scan(context: AssetExecutionContext, store: Store, kind: ScanKind, services: Sequence[str]) -> Scan:
    """The scan this run belongs to, as its launcher recorded it, or recorded now if a person started the run."""
    accounts = () if BACKFILL in context.run.tags else tuple(context.partition_keys)
    return store.summary.open_scan(
        Scan(
            scan_id=scan_id_of(context.run),
            kind=kind,
            scan_type=ScanType.BOOTSTRAP,
            started_ms=now_ms(),
            accounts=accounts,
            services=tuple(services) if accounts else (),
        )
    )


def plan_scan(store: Store, kind: ScanKind, tick: datetime, accounts: Sequence[str], services: Sequence[str]) -> Scan:
    """Record the scan of the whole estate that a schedule's tick launches."""
    return store.summary.open_scan(
        Scan(
            scan_id=tick_scan_id(kind, tick),
            kind=kind,
            scan_type=ScanType.ANTI_ENTROPY,
            started_ms=max(as_ms(tick), now_ms()),
            accounts=tuple(accounts),
            services=tuple(services),
        )
    )


def scan_accounts(
    context: AssetExecutionContext,
    store: Store,
    parallel: int,
    scan_one: Callable[[Account], Sequence[Outcome]],
) -> Iterator[Never]:
    """Scan the accounts of this run, a few at a time, and tell Dagster of each as it ends.

    Yields nothing, on purpose: an asset that returned would have all partitions of its run materialized by Dagster.

    An account that was read is materialized, with what single resources refused to show; any other is not, and says
    why in an observation.
    Raises Failure when no account succeeded.
    """
    accounts = list(context.partition_keys)
    succeeded = 0
    for done, (account_id, outcomes) in enumerate(_walk(store, accounts, parallel, scan_one), start=1):
        problems = [problem for outcome in outcomes for problem in outcome.problems]
        listed = {"failures": MetadataValue.md("\n".join(f"- {text}" for text in problems))} if problems else {}
        metadata: dict[str, Any] = {**listed, **_metadata(outcomes)}
        if problems:
            context.log.warning(
                "%s not read whole (%d of %d accounts): %s", account_id, done, len(accounts), "; ".join(problems[:5])
            )
        if not all(outcome.succeeded for outcome in outcomes):
            context.log_event(
                AssetObservation(context.asset_key, partition=account_id, description=problems[0], metadata=metadata)
            )
        else:
            succeeded += 1
            context.log.info("%s done (%d of %d accounts): %s", account_id, done, len(accounts), _metadata(outcomes))
            context.log_event(AssetMaterialization(context.asset_key, partition=account_id, metadata=metadata))
    if not succeeded:
        raise Failure(
            f"Not one of {len(accounts)} accounts could be scanned; the reason of each is in its observation.",
            allow_retries=False,
        )
    yield from ()


def _walk(
    store: Store, accounts: Sequence[str], parallel: int, scan_one: Callable[[Account], Sequence[Outcome]]
) -> Iterator[tuple[str, Sequence[Outcome]]]:
    """Each account with its outcomes, in the order they end; at most ``parallel`` are in memory."""

    def scan(account_id: str) -> tuple[str, Sequence[Outcome]]:
        started = now_ms()
        try:
            account = store.accounts.get(account_id)
            if account and account.active:
                return account_id, scan_one(account)
            reason = f"{account_id} left the registry before it was scanned."
        except QrieError as error:
            reason = str(error)
        lost = Outcome(
            account_id=account_id,
            service="all",
            started_ms=started,
            finished_ms=now_ms(),
            failures=(reason,),
            failed=True,
        )
        return account_id, [lost]

    waiting = iter(accounts)
    with ThreadPoolExecutor(parallel, thread_name_prefix="account") as pool:
        running: set[Future[tuple[str, Sequence[Outcome]]]] = {
            pool.submit(scan, account_id) for account_id in islice(waiting, parallel)
        }
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
            running |= {pool.submit(scan, account_id) for account_id in islice(waiting, parallel - len(running))}


def _metadata(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """The figures of one account, summed over its services; those that are zero throughout are left out."""
    totals: dict[str, int] = {"duration_ms": max(o.finished_ms for o in outcomes) - min(o.started_ms for o in outcomes)}
    for outcome in outcomes:
        for name, value in outcome:
            if isinstance(value, int) and not isinstance(value, bool) and not name.endswith("_ms"):
                totals[name] = totals.get(name, 0) + value
    return totals
