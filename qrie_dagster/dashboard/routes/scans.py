"""Scans: those that were, those under way, and starting one."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path

from qrie_dagster.dashboard.answers import LaunchedScan, ScanEntry, ScanRequest, Scans, ScanState
from qrie_dagster.dashboard.context import Context
from qrie_dagster.errors import ConflictError, DagsterError, NotFoundError, QrieError
from qrie_dagster.models import ScanKind
from qrie_dagster.policies.policy import find_policy
from qrie_dagster.store.summary import Scan
from qrie_dagster.summary.rollup import HISTORY
from qrie_dagster.times import iso

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
    if record:
        status, done = "ended", planned
    else:
        status = "unknown" if runs is None else "running" if runs else "summing_up"
        done = len(context.store.summary.outcomes(scan.scan_id, scan.accounts))
    return ScanState(
        scan_id=scan.scan_id,
        status=status,
        kind=scan.kind,
        scan_type=scan.scan_type,
        started_at=iso(scan.started_ms),
        accounts=len(scan.accounts),
        services=list(scan.services),
        done=min(done, planned),
        planned=planned,
        runs=runs or [],
        dagster_url=f"{context.settings.dagster_url.rstrip('/')}/runs?q[]=tag%3Aqrie%2Fscan_id%3D{scan.scan_id}",
        result=_entry(record) if record else None,
    )


def _entry(record: dict[str, Any]) -> ScanEntry:
    return ScanEntry(**{**record, "started_at": iso(record["started_ms"]), "ended_at": iso(record["timestamp_ms"])})
