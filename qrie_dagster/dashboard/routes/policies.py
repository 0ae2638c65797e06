"""Policies: what there is, what is launched, and changing that."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from qrie_dagster import policy_changes
from qrie_dagster.dashboard.answers import (
    LaunchedScan,
    PolicyChange,
    PolicyChanged,
    PolicyDeleted,
    PolicyLaunch,
    PolicyRow,
)
from qrie_dagster.dashboard.context import Context, Estate
from qrie_dagster.errors import ConflictError, DagsterError
from qrie_dagster.models import ScanKind
from qrie_dagster.policies.policy import Policy, all_policies, band, find_policy
from qrie_dagster.store.launched_policies import LaunchedPolicy
from qrie_dagster.times import iso


def routes(context: Context) -> APIRouter:
    """The routes over ``context``."""
    router = APIRouter(tags=["policies"])

    @router.get("/policies")
    def policies(
        status: Annotated[Literal["active", "suspended", "available", "all"], Query()] = "all",
        policy_id: Annotated[str | None, Query(description="Only this one.")] = None,
        services: Annotated[str | None, Query(description="Only those of these services, separated by commas.")] = None,
    ) -> list[PolicyRow]:
        """The policies there are; ``available`` ones are not launched."""
        wanted = [find_policy(policy_id)] if policy_id else list(all_policies().values())
        named = {name.strip() for name in services.split(",")} if services else None
        wanted = [policy for policy in wanted if named is None or policy.service in named]
        rows = _rows(context, wanted)
        return [row for row in rows if status in ("all", row.status)]

    @router.post("/policies", status_code=HTTPStatus.CREATED)
    def launch(given: PolicyLaunch) -> PolicyChanged:
        """Launch a policy, or a suspended one again, and start a scan that opens its findings."""
        policy_changes.launch(
            context.store,
            given.policy_id,
            given.scope.scope() if given.scope else None,
            severity=given.severity,
            remediation=given.remediation,
        )
        return _changed(context, given.policy_id, f"{given.policy_id} is launched.", rescan=True)

    @router.put("/policies/{policy_id}")
    def update(policy_id: str, given: PolicyChange) -> PolicyChanged:
        """Change a launched policy; a scan applies what concerns its findings."""
        return _update(context, policy_id, given)

    @router.delete("/policies/{policy_id}")
    def delete(policy_id: str) -> PolicyDeleted:
        """Forget that a policy was launched, and resolve its findings."""
        resolved = policy_changes.delete(context.store, policy_id)
        return PolicyDeleted(
            message=f"{policy_id} is no longer launched; {resolved} findings are resolved.", findings_deleted=resolved
        )

    return router


def _update(context: Context, policy_id: str, given: PolicyChange) -> PolicyChanged:
    changes = {name: getattr(given, name) for name in given.model_fields_set - {"status", "scope"}}
    if given.scope:
        changes["scope"] = given.scope.scope()
    find_policy(policy_id)
    before = context.store.policies.get(policy_id)
    if given.status == "active" and before and not before.active:
        policy_changes.update(context.store, policy_id, **changes, status="active")
        return _changed(context, policy_id, f"{policy_id} is launched again.", rescan=True)
    after = policy_changes.update(context.store, policy_id, **changes)
    if given.status == "suspended" and after.active:
        resolved = policy_changes.suspend(context.store, policy_id)
        return _changed(context, policy_id, f"{policy_id} is suspended; {resolved} findings are resolved.")
    concerns_findings = before is not None and (before.scope, before.severity) != (after.scope, after.severity)
    return _changed(context, policy_id, f"{policy_id} is changed.", rescan=after.active and concerns_findings)


def _changed(context: Context, policy_id: str, message: str, *, rescan: bool = False) -> PolicyChanged:
    scan = None
    if rescan:
        scan, note = _start_scan(context, policy_id)
        message = f"{message} {note}"
    row = _rows(context, [find_policy(policy_id)])[0]
    return PolicyChanged(**row.model_dump(), message=message, scan=scan, waits_for_scan=rescan and scan is None)


def _start_scan(context: Context, policy_id: str) -> tuple[LaunchedScan | None, str]:
    """Apply a policy to the findings; the change itself stands even if Dagster does not answer."""
    try:
        launched = context.dagster.launch(context.store, ScanKind.POLICY, policies=[policy_id])
    except (DagsterError, ConflictError) as error:
        return None, f"Its scan could not be started and must be later, or comes with the next policy scan: {error}"
    return LaunchedScan(scan_id=launched.scan.scan_id, runs=list(launched.runs)), "Its scan is under way."


def _rows(context: Context, policies: Iterable[Policy]) -> list[PolicyRow]:
    wanted = list(policies)
    launched = context.store.policies.some(policy.id for policy in wanted)
    estate = context.estate()
    return [_row(policy, launched.get(policy.id), estate) for policy in wanted]


def _row(policy: Policy, launch: LaunchedPolicy | None, estate: Estate) -> PolicyRow:
    applied = launch.applied_to(policy) if launch else policy
    totals = estate.findings.policies.get(policy.id)
    return PolicyRow(
        policy_id=policy.id,
        description=policy.description,
        service=policy.service,
        category=policy.category,
        severity=applied.severity,
        remediation=applied.remediation,
        status=launch.status if launch else "available",
        scope=launch.scope if launch else None,
        open_findings=totals.open if totals else 0,
        muted_findings=totals.muted if totals else 0,
        created_at=iso(launch.created_ms) if launch else None,
        updated_at=iso(launch.updated_ms) if launch else None,
        resource_type=policy.resource_type,
        severity_band=band(applied.severity),
        default_severity=policy.severity,
        default_remediation=policy.remediation,
        controls=list(policy.controls),
    )
