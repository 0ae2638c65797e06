from typing import Any

import pytest

from qrie_dagster.findings import Finding, Reason, Settled, State, Violated
from qrie_dagster.models import Account, Resource, Scope
from qrie_dagster.policies.evaluate import Evaluation, close_what_has_no_subject, evaluate
from qrie_dagster.policies.policy import COMPLIANT, Category, Check, Policy, Surroundings, Verdict, unknown, violation
from qrie_dagster.store.launched_policies import LaunchedPolicy

ACCOUNT = Account(account_id="111111111111", ou_path="/prod", tags={"env": "prod"})
NOW = 1_750_000_000_000


def bucket(name: str, resource_type: str = "AWS::S3::Bucket", **facts: Any) -> Resource:
    return Resource("111111111111", "s3", resource_type, "eu-west-1", f"arn:aws:s3:::{name}", facts, 1_000)


def a_policy(check: Check, policy_id: str = "Open", severity: int = 60, on: str = "AWS::S3::Bucket") -> Policy:
    return Policy(policy_id, on, severity, Category.ENCRYPTION, "Is it?", "Close it.", (), check)


def is_open(resource: Resource, _: Surroundings) -> Verdict:
    return violation(open=resource.fact("Open")) if resource.fact("Open") else COMPLIANT


def judged(resources: list[Resource], *policies: Policy, **launch: Any) -> Evaluation:
    launched = [LaunchedPolicy(policy_id=policy.id, **launch) for policy in policies]
    return evaluate(ACCOUNT, resources, {policy.id: policy for policy in policies}, launched, NOW)


OPEN, CLOSED, UNREAD = bucket("open", Open=True), bucket("closed", Open=False), bucket("unread")


def test_a_violation_is_judged_with_its_evidence_and_observation() -> None:
    found = judged([OPEN], a_policy(is_open))
    key = (OPEN.arn, "Open")
    assert found.judgements == {key: Violated(*key, "111111111111_s3", 60, {"open": True}, 1_000)}
    assert (found.evaluated, found.skipped, found.errors) == ({OPEN.arn}, set(), [])


def test_evidence_never_outgrows_the_database() -> None:
    long = a_policy(lambda *_: violation(Grants=["everyone"] * 100_000, Open=True))
    [judgement] = judged([OPEN], long).judgements.values()
    assert isinstance(judgement, Violated)
    assert judgement.evidence == {"Grants": "left out, being 1200000 characters long", "Open": True}


def test_a_compliant_resource_settles_its_finding() -> None:
    found = judged([CLOSED], a_policy(is_open))
    key = (CLOSED.arn, "Open")
    assert found.judgements == {key: Settled(*key, Reason.COMPLIANT, 1_000)}
    assert found.evaluated == {CLOSED.arn}


def test_missing_data_is_skipped_and_no_judgement() -> None:
    found = judged([UNREAD, OPEN], a_policy(is_open))
    assert (UNREAD.arn, "Open") not in found.judgements
    assert (found.evaluated, found.skipped, found.errors) == ({OPEN.arn}, {UNREAD.arn}, [])


def test_a_policy_may_say_itself_that_it_does_not_know() -> None:
    found = judged([OPEN], a_policy(lambda *_: unknown("no report")))
    assert (found.judgements, found.skipped) == ({}, {OPEN.arn})


def test_out_of_scope_is_settled_and_neither_evaluated_nor_skipped() -> None:
    found = judged([OPEN, UNREAD], a_policy(is_open), scope=Scope(exclude_accounts=["111111111111"]))
    assert found.judgements == {
        (arn, "Open"): Settled(arn, "Open", Reason.OUT_OF_SCOPE) for arn in (OPEN.arn, UNREAD.arn)
    }
    assert (found.evaluated, found.skipped) == (set(), set())


def test_the_scope_looks_at_the_tags_of_each_resource() -> None:
    tagged, bare = bucket("tagged", Open=True, Tags={"data": "personal"}), bucket("bare", Open=True, Tags={})
    found = judged([tagged, bare], a_policy(is_open), scope=Scope(include_tags={"data": ["personal"]}))
    assert isinstance(found.judgements[tagged.arn, "Open"], Violated)
    assert found.judgements[bare.arn, "Open"] == Settled(bare.arn, "Open", Reason.OUT_OF_SCOPE)


@pytest.mark.parametrize("rule", ["include_tags", "exclude_tags"])
def test_tags_that_could_not_be_read_leave_the_scope_unknown(rule: str) -> None:
    found = judged([OPEN], a_policy(is_open), scope=Scope(**{rule: {"data": ["personal"]}}))
    assert (found.judgements, found.skipped, found.evaluated) == ({}, {OPEN.arn}, set())
    elsewhere = Scope(exclude_accounts=["111111111111"], **{rule: {"data": ["personal"]}})
    found = judged([OPEN], a_policy(is_open), scope=elsewhere)
    assert found.judgements == {(OPEN.arn, "Open"): Settled(OPEN.arn, "Open", Reason.OUT_OF_SCOPE)}


def test_a_policy_that_breaks_hides_no_other_verdict() -> None:
    def breaks(resource: Resource, around: Surroundings) -> Verdict:
        return is_open(resource, around) if resource is not OPEN else violation(x={}["secret"])

    found = judged([OPEN, CLOSED], a_policy(breaks, "Breaks"), a_policy(is_open, "Works"))
    assert set(found.judgements) == {(CLOSED.arn, "Breaks"), (OPEN.arn, "Works"), (CLOSED.arn, "Works")}
    assert found.skipped == {OPEN.arn}
    (error,) = found.errors
    assert "Breaks broke on arn:aws:s3:::open: KeyError in breaks, line" in error
    assert "secret" not in error


def test_what_is_launched_may_override_the_severity() -> None:
    for severity in (0, 95):
        judgement = judged([OPEN], a_policy(is_open), severity=severity).judgements[OPEN.arn, "Open"]
        assert isinstance(judgement, Violated)
        assert judgement.severity == severity


def test_a_policy_sees_only_resources_of_its_type() -> None:
    other = bucket("other", "AWS::S3::AccountPublicAccessBlock", Open=True)
    assert judged([other], a_policy(is_open)).judgements == {}
    assert set(judged([other, OPEN], a_policy(is_open, on=other.resource_type)).judgements) == {(other.arn, "Open")}


def test_a_policy_may_look_at_the_other_resources_and_the_time() -> None:
    def looks(resource: Resource, around: Surroundings) -> Verdict:
        return violation(at=around.now_ms, block=around.only("AWS::S3::AccountPublicAccessBlock").fact("Open"))

    block = bucket("block", "AWS::S3::AccountPublicAccessBlock", Open=3)
    judgement = judged([OPEN, block], a_policy(looks)).judgements[OPEN.arn, "Open"]
    assert isinstance(judgement, Violated)
    assert judgement.evidence == {"at": NOW, "block": 3}
    assert judged([OPEN], a_policy(looks)).skipped == {OPEN.arn}


def test_evidence_is_json_and_the_same_whatever_the_order_of_sets() -> None:
    names = {f"name-{number}" for number in range(20)}
    found = judged([OPEN], a_policy(lambda *_: violation(names=names, ids=frozenset({2, 1}))))
    judgement = found.judgements[OPEN.arn, "Open"]
    assert isinstance(judgement, Violated)
    assert judgement.evidence == {"names": sorted(names), "ids": [1, 2]}


def test_no_policies_judge_nothing() -> None:
    assert judged([OPEN]) == Evaluation()


def a_finding(arn: str = "gone", policy: str = "Open", state: State = State.ACTIVE) -> Finding:
    return Finding(arn, policy, "111111111111_s3", state, 60)


ACTIVE = {"Open": LaunchedPolicy(policy_id="Open")}
SUSPENDED = {"Open": LaunchedPolicy(policy_id="Open", status="suspended")}


@pytest.mark.parametrize(
    ("present", "launched", "reason"),
    [
        ({"gone"}, ACTIVE, None),
        (set(), ACTIVE, Reason.RESOURCE_DELETED),
        ({"gone"}, SUSPENDED, Reason.POLICY_SUSPENDED),
        ({"gone"}, {}, Reason.POLICY_SUSPENDED),
        (set(), SUSPENDED, Reason.POLICY_SUSPENDED),
    ],
)
def test_open_findings_without_a_subject_are_settled(
    present: set[str], launched: dict[str, LaunchedPolicy], reason: Reason | None
) -> None:
    settled = close_what_has_no_subject([a_finding()], present, launched)
    # That it is gone is an observation, so it must not outlive a newer one.
    since = 0 if reason is Reason.RESOURCE_DELETED else None
    assert settled == ({("gone", "Open"): Settled("gone", "Open", reason, since)} if reason else {})


def test_resolved_findings_stay_as_they_are() -> None:
    assert close_what_has_no_subject([a_finding(state=State.RESOLVED)], set(), {}) == {}


def test_without_a_whole_inventory_nothing_is_gone() -> None:
    assert close_what_has_no_subject([a_finding()], None, ACTIVE) == {}
    settled = close_what_has_no_subject([a_finding()], None, SUSPENDED)
    assert settled == {("gone", "Open"): Settled("gone", "Open", Reason.POLICY_SUSPENDED)}
