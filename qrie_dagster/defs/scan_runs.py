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
    DagsterRunStatus,
    Failure,
    MetadataValue,
    RunRecord,
    RunRequest,
)

from qrie_dagster.defs.partitions import WILL_RETRY
from qrie_dagster.errors import QrieError
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, Outcome, ScanKind, ScanType
from qrie_dagster.scan_tags import CHUNK, CHUNKS, SCAN_ID, chunk_tags
from qrie_dagster.settings import settings
from qrie_dagster.store import Store
from qrie_dagster.store.summary import Scan
from qrie_dagster.summary.records import COUNTS
from qrie_dagster.times import as_ms, now_ms

BACKFILL = "dagster/backfill"


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


def last_to_end(instance: DagsterInstance, records: Iterable[RunRecord]) -> DagsterRun | None:
    """Of the runs of one scan, the oldest first, the one that ended last; None unless all of it has ended for good.

    Exactly one run of a scan is, however its runs end, and another one after a chunk was executed again. Runs that a
    person started are chunks of their own.
    """
    latest: dict[str, RunRecord] = {}
    for record in records:
        run = record.dagster_run
        latest[run.tags.get(CHUNK) or run.root_run_id or run.run_id] = record
    planned = max((int(record.dagster_run.tags.get(CHUNKS, 0)) for record in latest.values()), default=0)
    if not latest or len(latest) < planned:
        return None
    if not all(ended_for_good(instance, record.dagster_run) for record in latest.values()):
        return None
    last = max(latest.values(), key=lambda record: (record.end_time or 0, record.dagster_run.run_id))
    return last.dagster_run


def ended_for_good(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether a run has ended and Dagster does not try it again: for a moment after a failure, it has not said yet."""
    undecided = instance.run_retries_enabled and run.status is DagsterRunStatus.FAILURE and WILL_RETRY not in run.tags
    return run.is_finished and run.tags.get(WILL_RETRY) != "true" and not undecided


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


def plan_part(
    store: Store, scan_id: str, kind: ScanKind, accounts: Sequence[str], partitions: Sequence[str], job_name: str
) -> list[RunRequest]:
    """Record the scan of some accounts and all their services; its runs, one per chunk, of the job named."""
    store.summary.open_scan(
        Scan(
            scan_id=scan_id,
            kind=kind,
            scan_type=ScanType.BOOTSTRAP,
            started_ms=now_ms(),
            accounts=tuple(accounts),
            services=tuple(all_services()),
        )
    )
    return [
        RunRequest(run_key=request.run_key, job_name=job_name, tags=request.tags)
        for request in chunk_requests(scan_id, partitions, accounts)
    ]


def scan_accounts(
    context: AssetExecutionContext,
    store: Store,
    scan: Scan,
    parallel: int,
    scan_one: Callable[[Account], Sequence[Outcome]],
) -> Iterator[Never]:
    """Scan the accounts of this run, a few at a time, and tell Dagster of each as it ends.

    Yields nothing, on purpose: an asset that returned would have all partitions of its run materialized by Dagster.

    An account that was read is materialized, with what single resources refused to show; any other is not, and says
    why in an observation, as does one that left the registry. Raises Failure when none of those that are left
    succeeded.
    """
    # What the range of this run holds today, as far as the scan ever set out to cover it.
    accounts = [name for name in context.partition_keys if name in scan.accounts or not scan.accounts]
    left = succeeded = 0
    for done, (account_id, outcomes) in enumerate(_walk(store, accounts, parallel, scan_one), start=1):
        how_far = f"{done} of {len(accounts)} accounts"
        if outcomes:
            succeeded += _tell(context, scan.kind, account_id, outcomes, how_far)
        else:
            left += 1
            gone = f"{account_id} left the registry before it was scanned."
            context.log.info("%s (%s)", gone, how_far)
            context.log_event(AssetObservation(context.asset_key, partition=account_id, description=gone))
    _judge(len(accounts), left, succeeded)
    yield from ()


def _tell(
    context: AssetExecutionContext, kind: ScanKind, account_id: str, outcomes: Sequence[Outcome], how_far: str
) -> bool:
    """Tell Dagster what came of an account; whether it was read."""
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    metadata: dict[str, Any] = dict(_metadata(kind, outcomes))
    if problems:
        context.log.warning("%s not read whole (%s): %s", account_id, how_far, "; ".join(problems[:5]))
        metadata = {"failures": MetadataValue.md("\n".join(f"- {text}" for text in problems)), **metadata}
    if all(outcome.succeeded for outcome in outcomes):
        context.log.info("%s done (%s): %s", account_id, how_far, _metadata(kind, outcomes))
        context.log_event(AssetMaterialization(context.asset_key, partition=account_id, metadata=metadata))
        return True
    context.log_event(
        AssetObservation(context.asset_key, partition=account_id, description=problems[0], metadata=metadata)
    )
    return False


def _judge(accounts: int, left: int, succeeded: int) -> None:
    """Raise Failure unless something was achieved, or nothing was left to achieve."""
    if not accounts:
        raise Failure(
            "The accounts of this run left, or left and came back, since it was launched: start a new scan of them.",
            allow_retries=False,
        )
    if not succeeded and left < accounts:
        raise Failure(
            f"Not one of {accounts - left} accounts could be scanned; the reason of each is in its observation.",
            allow_retries=False,
        )


def _walk(
    store: Store, accounts: Sequence[str], parallel: int, scan_one: Callable[[Account], Sequence[Outcome]]
) -> Iterator[tuple[str, Sequence[Outcome]]]:
    """Each account with its outcomes, in the order they end; at most ``parallel`` are in memory.

    An account that left the registry has none.
    """

    def scan(account_id: str) -> tuple[str, Sequence[Outcome]]:
        started = now_ms()
        try:
            account = store.accounts.get(account_id)
            return account_id, scan_one(account) if account and account.active else ()
        except QrieError as error:
            lost = Outcome(
                account_id=account_id,
                service="all",
                started_ms=started,
                finished_ms=now_ms(),
                failures=(str(error),),
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


def _metadata(kind: ScanKind, outcomes: Sequence[Outcome]) -> dict[str, int]:
    """The figures of one account in a kind of scan, summed over its services."""
    duration = max(o.finished_ms for o in outcomes) - min(o.started_ms for o in outcomes)
    return {
        "duration_ms": duration,
        **{name: sum(getattr(outcome, name) for outcome in outcomes) for name in COUNTS[kind]},
    }
