"""``qrie_policies``: which policies are launched, for what scope, with which overrides."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from qrie_dagster.errors import ConflictError, NotFoundError
from qrie_dagster.models import Scope
from qrie_dagster.policies.policy import Policy
from qrie_dagster.store.dynamo import Attr, ConditionBase, ConditionFailedError, Dynamo, DynamoItem
from qrie_dagster.store.tables import POLICIES


class LaunchedPolicy(BaseModel):
    """A policy that was launched. ``severity`` and ``remediation`` override the policy's own when set."""

    model_config = ConfigDict(frozen=True)

    policy_id: str
    status: Literal["active", "suspended"] = "active"
    scope: Scope = Field(default_factory=Scope)
    severity: int | None = Field(None, ge=0, le=100)
    remediation: str | None = None
    created_ms: int = 0
    updated_ms: int = 0

    @property
    def active(self) -> bool:
        """Whether scans evaluate it."""
        return self.status == "active"

    def applied_to(self, policy: Policy) -> Policy:
        """The policy with these overrides."""
        severity = policy.severity if self.severity is None else self.severity
        return replace(policy, severity=severity, remediation=self.remediation or policy.remediation)


class LaunchedPolicyTable:
    """The launched policies."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def all(self) -> list[LaunchedPolicy]:
        """All launched policies, suspended ones included, by id."""
        return sorted(map(_policy, self._dynamo.scan(POLICIES, ConsistentRead=True)), key=lambda p: p.policy_id)

    def get(self, policy_id: str) -> LaunchedPolicy | None:
        """One launched policy, or None."""
        item = self._dynamo.get(POLICIES, {"PolicyId": policy_id})
        return _policy(item) if item else None

    def some(self, policy_ids: Iterable[str]) -> dict[str, LaunchedPolicy]:
        """Those of ``policy_ids`` that are launched, by id, without looking at any other."""
        keys = [{"PolicyId": policy_id} for policy_id in policy_ids]
        return {policy.policy_id: policy for policy in map(_policy, self._dynamo.batch_get(POLICIES, keys))}

    def launch(self, policy: LaunchedPolicy) -> None:
        """Launch a policy. Raises ConflictError if it is launched already."""
        try:
            self._dynamo.put(POLICIES, _item(policy), Attr("PolicyId").not_exists())
        except ConditionFailedError:
            raise ConflictError(
                f"Policy {policy.policy_id} is already launched: 'qrie policies update' changes it."
            ) from None

    def update(self, policy: LaunchedPolicy, was: LaunchedPolicy | None = None) -> bool:
        """Replace what is stored of a launched policy; False if that is not what it ``was``.

        Raises NotFoundError if it is not launched, without ``was``.
        """
        same: ConditionBase = Attr("PolicyId").exists()
        if was:
            same &= Attr("UpdatedAt").eq(was.updated_ms) & Attr("Status").eq(was.status)
        try:
            self._dynamo.put(POLICIES, _item(policy), same)
        except ConditionFailedError:
            if was:
                return False
            raise NotFoundError(f"Policy {policy.policy_id} is not launched: launch it first.") from None
        return True

    def delete(self, policy_id: str) -> None:
        """Forget a launched policy. Its findings are the next policy scan's, or the caller's, to resolve."""
        self._dynamo.delete(POLICIES, {"PolicyId": policy_id})


def _item(policy: LaunchedPolicy) -> DynamoItem:
    item: DynamoItem = {
        "PolicyId": policy.policy_id,
        "Status": policy.status,
        "Scope": policy.scope.model_dump(),
        "CreatedAt": policy.created_ms,
        "UpdatedAt": policy.updated_ms,
    }
    if policy.severity is not None:
        item["Severity"] = policy.severity
    if policy.remediation is not None:
        item["Remediation"] = policy.remediation
    return item


def _policy(item: DynamoItem) -> LaunchedPolicy:
    return LaunchedPolicy(
        policy_id=item["PolicyId"],
        status=item.get("Status", "active"),
        scope=Scope(**item.get("Scope", {})),
        severity=item.get("Severity"),
        remediation=item.get("Remediation"),
        created_ms=item.get("CreatedAt", 0),
        updated_ms=item.get("UpdatedAt", 0),
    )
