"""Scans: those that were, those under way, and starting one."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path

from qrie_dagster.dashboard.answers import LaunchedScan, ScanEntry, ScanRequest, Scans, ScanState
from qrie_dagster.dashboard.context import Context
from qrie_dagster.errors import ConflictError, DagsterError, NotFoundError, QrieError
from qrie_dagster.launch import SUM_UP_SECONDS
from qrie_dagster.models import ScanKind
from qrie_dagster.policies.policy import find_policy
from qrie_dagster.store.summary import Scan
from qrie_dagster.summary.rollup import HISTORY
from qrie_dagster.times import MINUTE_MS, SECOND_MS, iso, now_ms

# As long as the command line waits before it asks.
QUIET_MINUTES = SUM_UP_SECONDS * SECOND_MS // MINUTE_MS
# Of those under way, how many are described.
RUNNING_LISTED = 20


def routes(context: Context) -> APIRouter:
    """The routes over ``context``."""
    router = APIRouter(prefix="/scans", tags=["scans"])

    @router.get("")
    def scans() -> Scans:
        """The scans of the last four weeks, and those under way."""
        history = _history(context)
        running, message = _running(context)
        under_way = [
            _state(context, scan, runs, None)
            for scan_id, runs in list(running.items())[:RUNNING_LISTED]
            if (scan := context.store.summary.scan(scan_id))
        ]
        return Scans(scans=[_entry(record) for record in history.values()], running=under_way, message=message)

    @router.post("", status_code=HTTPStatus.ACCEPTED)
    def start(given: ScanRequest) -> LaunchedScan:
        """Start a scan in Dagster."""
        policies = [given.policy_id] if given.policy_id else []
        if policies:
            _require_active(context, given)
        launched = context.dagster.launch(context.store, given.kind, given.accounts, given.services, policies)
        return LaunchedScan(scan_id=launched.scan.scan_id, runs=list(launched.runs))

    @router.get("/{scan_id}")
    def scan(scan_id: Annotated[str, Path(min_length=1, max_length=200)]) -> ScanState:
        """How far a scan is, and once it has ended, what it did."""
        found = context.store.summary.scan(scan_id)
        if found is None:
            raise NotFoundError(f"There is no scan {scan_id!r}; scans are forgotten after five weeks.")
        record = _history(context).get(scan_id)
        runs = None if record else _runs(context, scan_id)
        return _state(context, found, runs, record)

    return router


def _require_active(context: Context, given: ScanRequest) -> None:
    policy = find_policy(given.policy_id or "")
    if given.kind is not ScanKind.POLICY:
        raise QrieError("policy_id goes with kind 'policy': an inventory looks at everything.")
    launched = context.store.policies.get(policy.id)
    if launched is None or not launched.active:
        raise ConflictError(f"Policy {policy.id} is not active, so there is nothing to evaluate: launch it first.")


def _history(context: Context) -> dict[str, dict[str, Any]]:
    """The records of the scans that were summed up, by id, the newest first."""
    entries: Sequence[dict[str, Any]] = (context.store.summary.get(HISTORY) or {}).get("scans", ())
    return {entry["scan_id"]: entry for entry in entries}


def _running(context: Context) -> tuple[Mapping[str, list[str]], str | None]:
    try:
        return context.quick_dagster.running(), None
    except DagsterError as error:
        return {}, str(error)


def _runs(context: Context, scan_id: str) -> list[str] | None:
    """The runs of a scan that are under way, None if Dagster does not tell."""
    try:
        return context.quick_dagster.running().get(scan_id, [])
    except DagsterError:
        return None


def _state(context: Context, scan: Scan, runs: list[str] | None, record: dict[str, Any] | None) -> ScanState:
    planned = len(scan.accounts) * len(scan.services)
    outcomes = [] if record else context.store.summary.outcomes(scan.scan_id, scan.accounts)
    status = "ended" if record else "unknown" if runs is None else "running" if runs else "summing_up"
    return ScanState(
        scan_id=scan.scan_id,
        status=status,
        kind=scan.kind,
        scan_type=scan.scan_type,
        started_at=iso(scan.started_ms),
        accounts=len(scan.accounts),
        services=list(scan.services),
        done=planned if record else min(len(outcomes), planned),
        planned=planned,
        runs=runs or [],
        dagster_url=f"{context.settings.dagster_ui}/runs?q[]=tag%3Aqrie%2Fscan_id%3D{scan.scan_id}",
        note=_note(status, max((outcome.finished_ms for outcome in outcomes), default=None), scan.started_ms),
        result=_entry(record) if record else None,
    )


def _note(status: str, last_done: int | None, started: int) -> str | None:
    """A question where a scan stands still. While some is done, what is not may just take long."""
    minutes = (now_ms() - (last_done or started)) // MINUTE_MS
    if minutes < QUIET_MINUTES:
        return None
    if status == "summing_up":
        return f"Its runs have ended, and in {minutes} min nobody summed it up: is dagster-daemon running?"
    if status == "running" and last_done is None:
        return f"Nothing is done after {minutes} min: is dagster-daemon running, or do other runs come first?"
    return None


def _entry(record: dict[str, Any]) -> ScanEntry:
    return ScanEntry(**{**record, "started_at": iso(record["started_ms"]), "ended_at": iso(record["timestamp_ms"])})
