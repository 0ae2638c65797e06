"""Run policies over the resources of one (account, service). Pure."""

import json
import traceback
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from qrie_dagster.findings import Finding, FindingKey, Judgement, Reason, Settled, Violated
from qrie_dagster.json_values import to_json
from qrie_dagster.models import Account, Resource, Scope
from qrie_dagster.policies.policy import Policy, Status, Surroundings, Verdict, unknown
from qrie_dagster.store.launched_policies import LaunchedPolicy

# In characters of JSON. Evidence is the few facts that prove a violation; a finding holds 400 KB.
LARGEST_EVIDENCE = 100_000


@dataclass
class Evaluation:
    """What the policies say: a judgement per (ARN, policy) they could decide on.

    ``errors`` name policies that broke on a resource; such a resource counts as skipped.
    """

    judgements: dict[FindingKey, Judgement] = field(default_factory=dict)
    evaluated: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)


def evaluate(
    account: Account,
    resources: Sequence[Resource],
    policies: Mapping[str, Policy],
    launched: Iterable[LaunchedPolicy],
    now_ms: int,
) -> Evaluation:
    """Judge ``resources``, all that is stored of one (account, service), by the active launched policies."""
    by_type: dict[str, list[Resource]] = {}
    for resource in resources:
        by_type.setdefault(resource.resource_type, []).append(resource)
    surroundings = Surroundings(now_ms, by_type)
    evaluation = Evaluation()
    for launch in launched:
        policy = policies[launch.policy_id]
        for resource in by_type.get(policy.resource_type, ()):
            _judge(evaluation, account, resource, policy, launch, surroundings)
    return evaluation


def _judge(
    evaluation: Evaluation,
    account: Account,
    resource: Resource,
    policy: Policy,
    launch: LaunchedPolicy,
    surroundings: Surroundings,
) -> None:
    key = (resource.arn, policy.id)
    in_scope = _in_scope(launch.scope, account, resource)
    if in_scope is None:
        evaluation.skipped.add(resource.arn)
        return
    if not in_scope:
        evaluation.judgements[key] = Settled(*key, Reason.OUT_OF_SCOPE)
        return
    verdict = _verdict(evaluation, policy, resource, surroundings)
    if verdict.status is Status.UNKNOWN:
        evaluation.skipped.add(resource.arn)
        return
    evaluation.evaluated.add(resource.arn)
    if verdict.status is Status.COMPLIANT:
        evaluation.judgements[key] = Settled(*key, Reason.COMPLIANT, resource.describe_time)
    else:
        severity = policy.severity if launch.severity is None else launch.severity
        evaluation.judgements[key] = Violated(
            *key, resource.account_service, severity, _bounded(to_json(verdict.evidence)), resource.describe_time
        )


def _bounded(evidence: dict[str, Any]) -> dict[str, Any]:
    """Evidence without its largest facts, were it more than the database takes; the number of characters says so."""
    sizes = {key: len(json.dumps(value)) for key, value in evidence.items()}
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if sum(sizes.values()) <= LARGEST_EVIDENCE:
            break
        evidence = {**evidence, key: f"left out, being {sizes.pop(key)} characters long"}
    return evidence


def _in_scope(scope: Scope, account: Account, resource: Resource) -> bool | None:
    """Whether the policy is about the resource; None if that hangs on tags which the inventory could not read."""
    if "Tags" in resource.configuration or not (scope.include_tags or scope.exclude_tags):
        return scope.covers(account, resource.tags)
    but_for_tags = scope.model_copy(update={"include_tags": {}, "exclude_tags": {}})
    return None if but_for_tags.covers(account, {}) else False


def _verdict(evaluation: Evaluation, policy: Policy, resource: Resource, surroundings: Surroundings) -> Verdict:
    try:
        return policy.evaluate(resource, surroundings)
    # A policy that breaks on one odd resource must not hide its verdicts on all others, nor those of other policies.
    except Exception as broken:  # noqa: BLE001
        where = traceback.extract_tb(broken.__traceback__)[-1]
        evaluation.errors.append(
            f"{policy.id} broke on {resource.arn}: {type(broken).__name__} in {where.name}, line {where.lineno}"
        )
        return unknown("the policy broke")


def close_what_has_no_subject(
    stored: Iterable[Finding], present: AbstractSet[str] | None, launched: Mapping[str, LaunchedPolicy]
) -> dict[FindingKey, Judgement]:
    """Judgements on open findings whose resource is no longer stored or whose policy is not active.

    ``present`` are the ARNs of what is stored, None if that need not be all there is.
    """
    settled: dict[FindingKey, Judgement] = {}
    for finding in stored:
        launch = launched.get(finding.policy)
        if not finding.open:
            continue
        if launch is None or not launch.active:
            settled[finding.key] = Settled(*finding.key, Reason.POLICY_SUSPENDED)
        elif present is not None and finding.arn not in present:
            # Should the resource be back by now, with a finding on a newer observation, that one stays.
            settled[finding.key] = Settled(*finding.key, Reason.RESOURCE_DELETED, finding.describe_time)
    return settled
