"""The numbers, all from ``qrie_summary``."""

from fastapi import APIRouter

from qrie_dagster.dashboard.answers import (
    Dashboard,
    FindingSummary,
    PolicyFindings,
    ResourceSummary,
    ScopeState,
    ScopeStates,
    TypeSummary,
)
from qrie_dagster.dashboard.context import Context
from qrie_dagster.dashboard.queries import AccountQuery
from qrie_dagster.summary.status import dashboard
from qrie_dagster.summary.totals import FindingTotals, add_counts, add_findings
from qrie_dagster.times import age_hours, iso, now_ms


def routes(context: Context) -> APIRouter:
    """The routes over ``context``."""
    router = APIRouter(prefix="/summary", tags=["summary"])

    @router.get("/dashboard")
    def summary_dashboard() -> Dashboard:
        """Everything at a glance, from one read of four records."""
        return Dashboard(**dashboard(context.store, context.rules, now_ms()))

    @router.get("/findings")
    def summary_findings(account: AccountQuery = None) -> FindingSummary:
        """Findings in numbers, of one account or of all."""
        findings, _ = _totals(context, account)
        return FindingSummary(
            total_findings=findings.open + findings.muted + findings.resolved,
            open_findings=findings.open,
            muted_findings=findings.muted,
            resolved_findings=findings.resolved,
            critical_findings=findings.bands.get("critical", 0),
            high_findings=findings.bands.get("high", 0),
            medium_findings=findings.bands.get("medium", 0),
            low_findings=findings.bands.get("low", 0),
            policies=[
                PolicyFindings(
                    policy=name,
                    severity=policy.severity,
                    total_findings=policy.open + policy.muted + policy.resolved,
                    open_findings=policy.open,
                    muted_findings=policy.muted,
                    resolved_findings=policy.resolved,
                )
                for name, policy in sorted(findings.policies.items())
            ],
        )

    @router.get("/resources")
    def summary_resources(account: AccountQuery = None) -> ResourceSummary:
        """Resources in numbers, of one account or of all."""
        findings, types = _totals(context, account)
        return ResourceSummary(
            total_resources=sum(types.values()),
            total_findings=findings.open,
            critical_findings=findings.bands.get("critical", 0),
            high_findings=findings.bands.get("high", 0),
            resource_types=[
                TypeSummary(resource_type=name, all_resources=count, non_compliant=findings.non_compliant.get(name, 0))
                for name, count in sorted(types.items())
            ],
        )

    @router.get("/scopes")
    def summary_scopes() -> ScopeStates:
        """How both kinds of scan stand in every (account, service) of the active accounts."""
        now = now_ms()
        return ScopeStates(
            inventory_hours=context.rules.inventory_hours,
            policy_hours=context.rules.policy_hours,
            scopes=[
                ScopeState(
                    kind=age.kind,
                    account_id=age.account_id,
                    service=age.service,
                    last_success=iso(age.last_success),
                    age_hours=None if age.last_success is None else age_hours(age.last_success, now),
                    stale=context.rules.drifted(age.kind, age.last_success, now),
                    last_error=age.last_error,
                )
                for age in context.estate().ages.values()
            ],
        )

    return router


def _totals(context: Context, account_id: str | None) -> tuple[FindingTotals, dict[str, int]]:
    """Findings, and resources by type."""
    if account_id is None:
        estate = context.estate()
        return estate.findings, estate.board.get("resource_types", {})
    parts = context.store.summary.parts([account_id]).get(account_id, {})
    findings = [FindingTotals(**value) for (name, _), value in parts.items() if name == "Findings"]
    resources = [value for (name, _), value in parts.items() if name == "Resources"]
    return add_findings(findings, now_ms()), add_counts(resources)
