"""Mutes without a store: what a rule matches, when it holds, and what it does to findings and their numbers."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrie_dagster.findings import (
    Change,
    Finding,
    FindingKey,
    Judgement,
    Muting,
    Reason,
    Settled,
    State,
    Violated,
    transition,
    transitions,
)
from qrie_dagster.models import Account
from qrie_dagster.mutes import Mute, Mutes
from qrie_dagster.summary.totals import add_findings, finding_totals

NOW = 1_000
POLICY = "S3BucketPublic"
ARN = "arn:aws:s3:::logs"
KEY = (ARN, POLICY)
ACCOUNT = Account(account_id="111111111111", tags={"stage": "sandbox"})
OTHER = Account(account_id="222222222222")
OPEN = Finding(ARN, POLICY, "111111111111_s3", State.ACTIVE, 90, {"Acl": "public"}, 100, 200, 500)


def rule(id: str = "m", created: int = 1, **matches: Any) -> Mute:
    return Mute(id=id, reason="known", author="ann", created_ms=created, **matches)


def muting(*rules: Mute, key: FindingKey = KEY, account: Account = ACCOUNT, now: int = NOW, **tags: str) -> str | None:
    return Mutes(rules).of(account, now).rule_for(key, {key[0]: tags})


@pytest.mark.parametrize(
    "matches",
    [
        {"policy": POLICY},
        {"account_id": ACCOUNT.account_id},
        {"arn": ARN},
        {"arn": "arn:aws:s3:::l*"},
        {"arn": "*:log?"},
        {"tags": {"team": ["web", "platform"]}},
        {"tags": {"stage": ["sandbox"]}},
        {"tags": {"stage": ["sandbox"], "team": ["platform"]}},
        {"policy": POLICY, "account_id": ACCOUNT.account_id, "arn": ARN, "tags": {"team": ["platform"]}},
    ],
)
def test_what_matches(matches: dict[str, Any]) -> None:
    assert muting(rule(**matches), team="platform") == "m"


@pytest.mark.parametrize(
    "matches",
    [
        {"policy": "S3BucketVersioningDisabled"},
        {"account_id": OTHER.account_id},
        {"arn": "arn:aws:s3:::log"},
        {"arn": "ARN:aws:s3:::logs"},
        {"arn": "arn:aws:s3:::[l]ogs"},
        {"tags": {"team": ["web"]}},
        {"tags": {"unknown": ["platform"]}},
        {"tags": {"stage": ["sandbox"], "team": ["web"]}},
        {"policy": POLICY, "account_id": OTHER.account_id},
    ],
)
def test_what_does_not_match(matches: dict[str, Any]) -> None:
    assert muting(rule(**matches), team="platform") is None


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="*?"), min_size=1))
def test_a_whole_arn_is_that_one_and_no_other(name: str) -> None:
    arn = f"arn:aws:iam::111111111111:user/{name}"
    one = rule(arn=arn)
    assert one.names_one_resource
    assert muting(one, key=(arn, POLICY)) == "m"
    assert muting(one, key=(arn + "x", POLICY)) is None


def test_it_ends_at_its_expiry() -> None:
    one = rule(policy=POLICY, expires_ms=NOW)
    assert muting(one, now=NOW - 1) == "m"
    assert muting(one, now=NOW) is None


def test_of_several_rules_the_oldest_counts_and_the_next_takes_over() -> None:
    old, new = rule("old", 1, policy=POLICY, expires_ms=NOW), rule("new", 2, arn=ARN)
    assert muting(new, old, now=NOW - 1) == "old"
    assert muting(new, old, now=NOW) == "new"


def test_becoming_muted_and_unmuted_is_a_change_of_the_same_observation() -> None:
    violated = Violated(*KEY, OPEN.account_service, 90, OPEN.evidence, OPEN.describe_time)
    muted = transition(replace(violated, muted="m"), OPEN, NOW)
    assert muted is not None
    assert (muted.change, muted.after) == (Change.UPDATED, replace(OPEN, muted="m", last_evaluated=NOW))
    assert transition(replace(violated, muted="m"), muted.after, NOW + 1) is None
    back = transition(violated, muted.after, NOW + 1)
    assert back is not None
    assert (back.change, back.after) == (Change.UNMUTED, replace(OPEN, last_evaluated=NOW + 1))


def test_muting_touches_open_findings_only_and_nothing_but_the_mute() -> None:
    resolved = replace(OPEN, state=State.RESOLVED, resolved_at=300, resolved_reason=Reason.COMPLIANT)
    assert transition(Muting(*KEY, "m"), None, NOW) is None
    assert transition(Muting(*KEY, "m"), resolved, NOW) is None
    assert transition(Muting(*KEY, None), OPEN, NOW) is None
    muted = transition(Muting(*KEY, "m"), OPEN, NOW)
    assert muted is not None
    assert muted.after == replace(OPEN, muted="m", last_evaluated=NOW)


def test_a_resolved_finding_is_not_muted_and_reopens_as_the_rules_say() -> None:
    closed = transition(Settled(*KEY, Reason.COMPLIANT, 501), replace(OPEN, muted="m"), NOW)
    assert closed is not None
    assert (closed.after.state, closed.after.muted) == (State.RESOLVED, None)
    violated = Violated(*KEY, OPEN.account_service, 90, {}, 502)
    for muted in ("m", None):
        reopened = transition(replace(violated, muted=muted), closed.after, NOW)
        assert reopened is not None
        assert (reopened.change, reopened.after.muted) == (Change.REOPENED, muted)


def test_a_mute_ends_also_where_the_policy_cannot_tell() -> None:
    stored = {KEY: replace(OPEN, muted="gone")}
    judgements = Mutes().of(ACCOUNT, NOW).applied({}, stored.values(), {})
    (back,) = transitions(judgements, stored, NOW)
    assert back.after == replace(OPEN, last_evaluated=NOW)


# A small estate, any findings on it, any rules.

ARNS = [f"arn:aws:s3:::{name}" for name in ("logs-a", "logs-b", "site")]
POLICIES = ["S3BucketPublic", "S3BucketVersioningDisabled"]
TAGS = {ARNS[0]: {"team": "web"}, ARNS[1]: {"team": "data"}}
RULES = st.lists(
    st.builds(
        lambda number, created, expires, matches: rule(f"m{number}", created, expires_ms=expires, **matches),
        st.integers(0, 10**6),
        st.integers(1, 5),
        st.none() | st.integers(NOW - 2, NOW + 2),
        st.fixed_dictionaries(
            {},
            optional={
                "policy": st.sampled_from(POLICIES),
                "account_id": st.sampled_from([ACCOUNT.account_id, OTHER.account_id]),
                "arn": st.sampled_from([*ARNS, "*logs-*", "arn:aws:s3:::*"]),
                "tags": st.sampled_from([{"team": ["web"]}, {"team": ["web", "data"]}, {"stage": ["sandbox"]}]),
            },
        ).filter(bool),
    ),
    max_size=6,
    unique_by=lambda one: one.id,
).map(tuple)
KEYS = st.tuples(st.sampled_from(ARNS), st.sampled_from(POLICIES))
JUDGED = st.dictionaries(KEYS, st.booleans() | st.none())
FINDINGS = st.dictionaries(KEYS, st.booleans()).map(
    lambda keys: {
        (arn, policy): Finding(
            arn,
            policy,
            "111111111111_s3",
            State.ACTIVE if is_open else State.RESOLVED,
            90,
            {},
            100,
            200,
            500,
            None if is_open else 300,
            None if is_open else Reason.COMPLIANT,
        )
        for (arn, policy), is_open in keys.items()
    }
)


def scanned(
    stored: dict[FindingKey, Finding], judged: dict[FindingKey, bool | None], rules: tuple[Mute, ...], now: int
) -> dict[FindingKey, Finding]:
    """The findings after a scan that judges some violated, some compliant, and cannot tell of others."""
    judgements: dict[FindingKey, Judgement] = {
        key: Violated(*key, "111111111111_s3", 90, {}, 500) if violated else Settled(*key, Reason.COMPLIANT, 500)
        for key, violated in judged.items()
        if violated is not None
    }
    wanted = Mutes(rules).of(ACCOUNT, now).applied(judgements, stored.values(), TAGS)
    return {**stored, **{change.after.key: change.after for change in transitions(wanted, stored, now)}}


def settled(findings: dict[FindingKey, Finding]) -> dict[FindingKey, Finding]:
    """Findings without the time of their last change."""
    return {key: replace(finding, last_evaluated=0) for key, finding in findings.items()}


@given(stored=FINDINGS, rules=RULES)
def test_muting_then_unmuting_gives_the_same_findings(
    stored: dict[FindingKey, Finding], rules: tuple[Mute, ...]
) -> None:
    muted = scanned(stored, {}, rules, NOW)
    assert settled(scanned(muted, {}, (), NOW + 1)) == settled(stored)


@given(stored=FINDINGS, judged=JUDGED, rules=RULES)
def test_a_second_scan_changes_nothing(
    stored: dict[FindingKey, Finding], judged: dict[FindingKey, bool | None], rules: tuple[Mute, ...]
) -> None:
    once = scanned(stored, judged, rules, NOW)
    assert scanned(once, judged, rules, NOW) == once


@given(stored=FINDINGS, judged=JUDGED, rules=RULES)
def test_mutes_change_what_is_counted_and_never_what_is_found(
    stored: dict[FindingKey, Finding], judged: dict[FindingKey, bool | None], rules: tuple[Mute, ...]
) -> None:
    found = scanned(stored, judged, rules, NOW)
    without = scanned(stored, judged, (), NOW)
    assert {key: finding.state for key, finding in found.items()} == {k: f.state for k, f in without.items()}
    assert all(finding.open for finding in found.values() if finding.muted)

    types = dict.fromkeys(ARNS, "Bucket")
    totals = finding_totals(found.values(), types, NOW)
    plain = finding_totals(without.values(), types, NOW)
    assert totals.open + totals.muted == plain.open
    assert (totals.resolved, plain.muted) == (plain.resolved, 0)
    assert sum(totals.bands.values()) == totals.open
    assert sum(totals.mutes.values()) == totals.muted
    kept = [finding for finding in found.values() if not finding.muted]
    assert finding_totals(kept, types, NOW).days == totals.days
    parts = [finding_totals([finding], types, NOW) for finding in found.values()]
    summed = add_findings(parts, NOW)
    assert (summed.policies, summed.mutes, summed.bands) == (totals.policies, totals.mutes, totals.bands)
