"""Launching, changing, suspending and deleting policies, with their effect on findings."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from qrie_dagster.errors import ConflictError, NotFoundError, QrieError, StoreError
from qrie_dagster.findings import Reason, Settled, State, transitions
from qrie_dagster.models import Scope, is_account_id
from qrie_dagster.policies.policy import all_policies, find_policy
from qrie_dagster.store import Store
from qrie_dagster.store.launched_policies import LaunchedPolicy
from qrie_dagster.summary.rebuild import rebuild_service
from qrie_dagster.summary.rollup import refresh_dashboard
from qrie_dagster.times import now_ms

MAX_TRIES = 8


def launch(store: Store, policy_id: str, scope: Scope | None = None, **overrides: Any) -> LaunchedPolicy:
    """Launch a policy, or a suspended one again as it was; the next policy scan opens its findings.

    Raises QrieError if there is no such policy, it is active already, or an override is out of range.
    """
    find_policy(policy_id)
    now = now_ms()
    suspended = store.policies.get(policy_id)
    if suspended and suspended.active:
        raise ConflictError(f"Policy {policy_id} is already launched: 'qrie policies update' changes it.")
    before = suspended or LaunchedPolicy(policy_id=policy_id, created_ms=now)
    given = {name: value for name, value in {"scope": scope, **overrides}.items() if value is not None}
    launched = _validated(**{**dict(before), **given, "status": "active", "updated_ms": now})
    if suspended:
        store.policies.update(launched)
    else:
        store.policies.launch(launched)
    refresh_dashboard(store, store.accounts.all(), now)
    return launched


def launch_all(store: Store) -> int:
    """Launch every policy that was never launched, for everything; how many."""
    known = {policy.policy_id for policy in store.policies.all()}
    now = now_ms()
    new = [policy_id for policy_id in all_policies() if policy_id not in known]
    for policy_id in new:
        store.policies.launch(LaunchedPolicy(policy_id=policy_id, created_ms=now, updated_ms=now))
    return len(new)


def update(store: Store, policy_id: str, **changes: Any) -> LaunchedPolicy:
    """Change scope, severity or remediation, or make it active again; the next policy scan applies it to the findings.

    Raises QrieError if it is not launched, or a value cannot be used.
    """
    now = now_ms()
    launched, changed = _changed(store, policy_id, {**changes, "updated_ms": now})
    if changed.status != launched.status:
        refresh_dashboard(store, store.accounts.all(), now)
    return changed


def suspend(store: Store, policy_id: str) -> int:
    """Stop evaluating a policy and resolve its open findings now; how many."""
    _changed(store, policy_id, {"status": "suspended", "updated_ms": now_ms()})
    return _resolve_findings(store, policy_id)


def delete(store: Store, policy_id: str) -> int:
    """Forget a launched policy and resolve its open findings now; how many.

    The policy is suspended first, so that a crash in between leaves nothing open for good.
    """
    resolved = suspend(store, policy_id)
    store.policies.delete(policy_id)
    refresh_dashboard(store, store.accounts.all(), now_ms())
    return resolved


def _changed(store: Store, policy_id: str, changes: Mapping[str, Any]) -> tuple[LaunchedPolicy, LaunchedPolicy]:
    """Change these fields of a launched policy, whatever others change at the same time; it before and after."""
    for _ in range(MAX_TRIES):
        launched = _launched(store, policy_id)
        changed = _validated(**{**dict(launched), **changes})
        if store.policies.update(changed, was=launched):
            return launched, changed
    raise ConflictError(f"Policy {policy_id} kept changing while it was changed: try again.")


def _launched(store: Store, policy_id: str) -> LaunchedPolicy:
    launched = store.policies.get(policy_id)
    if launched is None:
        find_policy(policy_id)
        raise NotFoundError(f"Policy {policy_id} is not launched: launch it first.")
    return launched


def _validated(**fields: Any) -> LaunchedPolicy:
    try:
        launched = LaunchedPolicy(**fields)
    except ValidationError as invalid:
        error = invalid.errors()[0]
        raise QrieError(f"{error['loc'][0]} of the policy: {error['msg']}, not {error['input']!r}.") from None
    scope = launched.scope
    for account_id in (*scope.include_accounts, *scope.exclude_accounts):
        if not is_account_id(account_id):
            raise QrieError(f"scope of the policy: {account_id!r} is not an AWS account id, which has 12 digits.")
    for path in (*scope.include_ou_paths, *scope.exclude_ou_paths):
        if not path.startswith("/"):
            raise QrieError(f"scope of the policy: the path of an OU begins with a slash, such as /prod; not {path!r}.")
    return launched


def _resolve_findings(store: Store, policy_id: str) -> int:
    policy = find_policy(policy_id)
    accounts = store.accounts.all()
    resolved = 0
    for account in accounts:
        now = now_ms()
        stored = {
            finding.key: finding
            for finding in store.findings.load(account.account_id, policy.service, State.ACTIVE)
            if finding.policy == policy_id
        }
        settled = {key: Settled(*key, Reason.POLICY_SUSPENDED) for key in stored}
        applied = store.findings.apply(transitions(settled, stored, now), now)
        if applied.error:
            raise StoreError(f"Not all findings of {policy_id} could be resolved; the next scan will: {applied.error}")
        resolved += len(applied.written)
        if applied.written:
            rebuild_service(store, account.account_id, policy.service, applied.now)
    refresh_dashboard(store, accounts, now_ms())
    return resolved
