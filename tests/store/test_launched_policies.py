import pytest
from pydantic import ValidationError

from qrie_dagster.errors import QrieError
from qrie_dagster.models import Scope
from qrie_dagster.store import Store
from qrie_dagster.store.launched_policies import LaunchedPolicy
from qrie_dagster.store.tables import POLICIES

EVERYTHING = LaunchedPolicy(
    policy_id="S3BucketPublic",
    status="suspended",
    scope=Scope(
        include_accounts=["000000000001"],
        exclude_accounts=["000000000002"],
        include_tags={"env": ["prod", ""], "\u2603": []},
        exclude_tags={"a": ["b"]},
        include_ou_paths=["/"],
        exclude_ou_paths=["/sandbox"],
    ),
    severity=0,
    remediation="",
    created_ms=1_750_000_000_000,
    updated_ms=1_750_000_000_001,
)


@pytest.mark.parametrize("policy", [LaunchedPolicy(policy_id="IAMUserMfaDisabled"), EVERYTHING])
def test_a_launched_policy_comes_back_as_it_was(store: Store, policy: LaunchedPolicy) -> None:
    store.policies.launch(policy)
    assert store.policies.get(policy.policy_id) == policy
    assert store.policies.all() == [policy]


def test_an_item_has_the_attributes_that_others_read(store: Store) -> None:
    store.policies.launch(EVERYTHING)
    item = store.dynamo.get(POLICIES, {"PolicyId": "S3BucketPublic"}) or {}
    assert item["Scope"] == EVERYTHING.scope.model_dump()
    assert (item["Status"], item["Severity"], item["CreatedAt"], item["UpdatedAt"]) == (
        "suspended",
        0,
        1_750_000_000_000,
        1_750_000_000_001,
    )


def test_policies_are_listed_by_id(store: Store) -> None:
    for name in ("b", "a", "c"):
        store.policies.launch(LaunchedPolicy(policy_id=name))
    assert [policy.policy_id for policy in store.policies.all()] == ["a", "b", "c"]


def test_a_policy_is_launched_once(store: Store) -> None:
    store.policies.launch(LaunchedPolicy(policy_id="a"))
    with pytest.raises(QrieError, match="a is already launched"):
        store.policies.launch(LaunchedPolicy(policy_id="a", severity=1))
    assert store.policies.get("a") == LaunchedPolicy(policy_id="a")


def test_only_a_launched_policy_is_updated(store: Store) -> None:
    with pytest.raises(QrieError, match="a is not launched"):
        store.policies.update(LaunchedPolicy(policy_id="a"))
    assert store.policies.all() == []


def test_an_update_takes_an_override_away_again(store: Store) -> None:
    store.policies.launch(LaunchedPolicy(policy_id="a", severity=10, remediation="call me"))
    store.policies.update(LaunchedPolicy(policy_id="a"))
    assert store.policies.get("a") == LaunchedPolicy(policy_id="a")


def test_a_deleted_policy_is_gone_and_may_be_launched_again(store: Store) -> None:
    store.policies.launch(LaunchedPolicy(policy_id="a"))
    store.policies.delete("a")
    store.policies.delete("a")
    assert store.policies.get("a") is None
    store.policies.launch(LaunchedPolicy(policy_id="a"))


@pytest.mark.parametrize("severity", [-1, 101])
def test_a_severity_is_within_its_range(severity: int) -> None:
    with pytest.raises(ValidationError):
        LaunchedPolicy(policy_id="a", severity=severity)
