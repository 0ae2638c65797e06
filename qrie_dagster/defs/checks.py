"""Asset checks: what is incomplete, what grew old on its own, what vanished all at once.

They judge the state that scans recorded, for all accounts, not the run they happen to be in: a chunk of a scan that
went well never hides another that did not. They run at the end of every scan and every hour besides.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    MetadataValue,
    TableRecord,
    multi_asset_check,
)

from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.drift import DriftRules, ScopeAge, scope_ages, stale_scopes
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, Outcome, ScanKind
from qrie_dagster.policies.policy import all_policies
from qrie_dagster.settings import settings
from qrie_dagster.store import Store
from qrie_dagster.summary.records import LAST_INVENTORY_SCAN
from qrie_dagster.times import age_text, iso, now_ms

COMPLETE = "every_scope_read"
STALE = "no_stale_account"
LOSS = "no_sudden_loss"
SUBJECTS = "something_to_judge"
POLICY_FINDINGS = AssetKey("policy_findings")
# Losing a few resources is everyday life, whatever the share.
SMALLEST_LOSS = 5
ROWS = 50


def _assets() -> dict[AssetKey, tuple[ScanKind, list[str]]]:
    assets = {AssetKey(["inventory", name]): (ScanKind.INVENTORY, [name]) for name in all_services()}
    return {**assets, POLICY_FINDINGS: (ScanKind.POLICY, list(all_services()))}


def _specs() -> Iterator[AssetCheckSpec]:
    for key, (kind, _) in _assets().items():
        yield AssetCheckSpec(
            COMPLETE,
            asset=key,
            description="The last scan of every account read everything; else: what failed and why.",
        )
        yield AssetCheckSpec(
            STALE,
            asset=key,
            description=f"Every account was scanned well within {DriftRules.of(settings()).hours(kind):g} hours.",
        )
        if kind is ScanKind.INVENTORY:
            yield AssetCheckSpec(
                LOSS,
                asset=key,
                description=f"No account lost {settings().sudden_loss_percent} % of its resources in one full scan.",
            )
    yield AssetCheckSpec(
        SUBJECTS, asset=POLICY_FINDINGS, description="There are active accounts, launched policies and resources."
    )


@multi_asset_check(specs=list(_specs()), name="health", can_subset=True)
def health(context: AssetCheckExecutionContext, store: StoreResource) -> Iterator[AssetCheckResult]:
    """Evaluate the selected checks from one reading of the registry."""
    tables = store.open()
    accounts = tables.accounts.active()
    now = now_ms()
    for key, (kind, services) in _assets().items():
        ages = [age for age in scope_ages(accounts, services) if age.kind is kind]
        results = [_complete(key, ages), _stale(key, kind, ages, now)]
        if kind is ScanKind.INVENTORY:
            results.append(_loss(key, services[0], tables, accounts))
        else:
            results.append(_subjects(key, tables, accounts))
        yield from (
            result
            for result in results
            if AssetCheckKey(key, result.check_name or "") in context.selected_asset_check_keys
        )


def _complete(key: AssetKey, ages: Sequence[ScopeAge]) -> AssetCheckResult:
    failed = [age for age in ages if age.last_error]
    return AssetCheckResult(
        asset_key=key,
        check_name=COMPLETE,
        passed=not failed,
        description=f"{len(failed)} of {len(ages)} (account, service) could not be read completely.",
        metadata={
            "failed_scopes": len(failed),
            **_table("failures", [_row(age) | {"reason": age.last_error} for age in failed]),
        },
    )


def _stale(key: AssetKey, kind: ScanKind, ages: Sequence[ScopeAge], now: int) -> AssetCheckResult:
    stale = stale_scopes(DriftRules.of(settings()), ages, now)
    rows = [_row(age) | {"last_success": iso(age.last_success) or "never"} for age in stale]
    oldest = (
        f" The oldest: {stale[0].account_id}/{stale[0].service}, {age_text(stale[0].last_success, now)}."
        if stale
        else ""
    )
    return AssetCheckResult(
        asset_key=key,
        check_name=STALE,
        passed=not stale,
        description=f"{len(stale)} of {len(ages)} (account, service) have no recent {kind.value} scan.{oldest}",
        metadata={"stale_scopes": len(stale), **_table("stale", rows)},
    )


def _loss(key: AssetKey, service: str, store: Store, accounts: Sequence[Account]) -> AssetCheckResult:
    """Judged on the last full scan."""
    last = store.summary.get(LAST_INVENTORY_SCAN)
    outcomes = store.summary.outcomes(last["scan_id"], [a.account_id for a in accounts]) if last else []
    losses = [outcome for outcome in outcomes if outcome.service == service and suddenly_lost(outcome)]
    rows = [{"account": o.account_id, "before": o.resources_before, "deleted": o.resources_deleted} for o in losses]
    return AssetCheckResult(
        asset_key=key,
        check_name=LOSS,
        passed=not losses,
        severity=AssetCheckSeverity.WARN,
        description=f"{len(losses)} accounts lost {settings().sudden_loss_percent} % of their resources or more.",
        metadata={"accounts": len(losses), **_table("losses", rows)},
    )


def suddenly_lost(outcome: Outcome) -> bool:
    """Whether a scan found so much gone that a person should look."""
    share = outcome.resources_before * settings().sudden_loss_percent / 100
    return outcome.resources_deleted >= max(SMALLEST_LOSS, share)


def _subjects(key: AssetKey, store: Store, accounts: Sequence[Account]) -> AssetCheckResult:
    missing = []
    if not accounts:
        missing.append("No account is active: 'qrie accounts add' registers one.")
    active = [policy.policy_id for policy in store.policies.all() if policy.active]
    missing += [
        f"{name} is launched, but this qrie has no such policy: delete it, or use the version that has it."
        for name in active
        if name not in all_policies()
    ]
    if not active:
        missing.append("No policy is active: 'qrie policies launch' launches one.")
    if accounts and not any(scan.resources for a in accounts for scan in a.scans.get(ScanKind.INVENTORY, {}).values()):
        missing.append("No account has any resource in its inventory.")
    return AssetCheckResult(
        asset_key=key,
        check_name=SUBJECTS,
        passed=not missing,
        description=" ".join(missing) or f"{len(accounts)} active accounts.",
    )


def _row(age: ScopeAge) -> dict[str, Any]:
    return {"account": age.account_id, "service": age.service}


def _table(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: MetadataValue.table([TableRecord(row) for row in rows[:ROWS]])} if rows else {}
