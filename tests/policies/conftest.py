"""How policies are asked in these tests: a resource's facts in, a verdict out."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from qrie_dagster.models import Resource
from qrie_dagster.policies.policy import Surroundings, Verdict, find_policy

ACCOUNT = "111122223333"
NOW_MS = 1_750_000_000_000  # 2025-06-15T15:06:40Z


def make_resource(resource_type: str, configuration: dict[str, Any]) -> Resource:
    service = resource_type.split("::")[1].lower()
    return Resource(ACCOUNT, service, resource_type, "eu-west-1", f"arn:aws:{service}:::tested", configuration, NOW_MS)


@pytest.fixture
def judge() -> Callable[..., Verdict]:
    """``judge(policy_id, configuration, {other type: its configuration})`` is the policy's verdict."""

    def _judge(
        policy_id: str,
        configuration: dict[str, Any],
        others: dict[str, dict[str, Any]] | None = None,
        now_ms: int = NOW_MS,
    ) -> Verdict:
        policy = find_policy(policy_id)
        by_type = {name: [make_resource(name, facts)] for name, facts in (others or {}).items()}
        resource = make_resource(policy.resource_type, configuration)
        verdict = policy.evaluate(resource, Surroundings(now_ms, by_type))
        # Whatever a policy answers must fit into the store, and say the same a second time.
        json.dumps(verdict.evidence)
        assert policy.evaluate(resource, Surroundings(now_ms, by_type)) == verdict
        return verdict

    return _judge
