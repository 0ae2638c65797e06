"""Every policy that qrie promises is there, complete, under its id."""

import re

import pytest

from qrie_dagster.policies.policy import Policy, all_policies

PROMISED = {
    "S3BucketPublic": 90,
    "S3BucketVersioningDisabled": 60,
    "S3BucketEncryptionDisabled": 90,
    "S3BucketMfaDeleteDisabled": 70,
    "IAMRootAccountActive": 95,
    "IAMUserMfaDisabled": 85,
    "IAMPolicyOverlyPermissive": 80,
    "IAMAccessKeyUnused": 60,
    "IAMAccessKeyNotRotated": 70,
    "EC2UnencryptedEBS": 85,
    "RDSPublicAccess": 90,
}


def test_ids_and_severities_are_the_promised_ones() -> None:
    severities = {policy.id: policy.severity for policy in all_policies().values()}
    assert severities.items() >= PROMISED.items()


@pytest.mark.parametrize("policy", all_policies().values(), ids=lambda policy: policy.id)
def test_a_policy_tells_people_what_is_wrong_and_what_to_do(policy: Policy) -> None:
    assert policy.description.endswith(".")
    assert policy.remediation
    assert "  " not in policy.description + policy.remediation
    for control in policy.controls:
        assert re.fullmatch(r"CIS [35]\.0 \d(\.\d+)+|(FSBP|Security Hub) [A-Z0-9]+\.\d+", control)


@pytest.mark.parametrize("policy", all_policies().values(), ids=lambda policy: policy.id)
def test_without_any_facts_the_answer_is_unknown(policy: Policy, judge) -> None:
    verdict = judge(policy.id, {})
    assert verdict.status == "unknown"
    assert "not known" in verdict.reason or "not in the inventory" in verdict.reason
