import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from qrie_dagster.findings import Change, Finding, Judgement, Reason, Settled, State, Violated, transitions
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.store.findings import AppliedFindings
from qrie_dagster.store.tables import FINDINGS

POLICY = "S3BucketPublic"


def violated(account_id: str, name: str = "a", at: int = 100, severity: int = 90, **evidence: Any) -> Violated:
    return Violated(f"arn:aws:s3:::{name}", POLICY, f"{account_id}_s3", severity, evidence, at)


def compliant(account_id: str, name: str = "a", at: int = 100) -> Settled:
    return Settled(f"arn:aws:s3:::{name}", POLICY, Reason.COMPLIANT, at)


def judge(
    store: Store, now: int, *judgements: Judgement, against: Mapping[Any, Finding] | None = None
) -> AppliedFindings:
    """Apply judgements on what is stored, or on what somebody believes is stored."""
    wanted = {(one.arn, one.policy): one for one in judgements}
    if against is None:
        found = [store.findings.get(*key) for key in wanted]
        against = {finding.key: finding for finding in found if finding}
    return store.findings.apply(transitions(wanted, against, now), now)


def test_a_finding_comes_back_as_it_was_written(store: Store, account_id: str) -> None:
    evidence = {"Acl": ["public", None, 1.5, True], "\u2603\x00\ud800": {"": ""}}
    applied = judge(store, 7, violated(account_id, **evidence))
    (written,) = applied.written
    assert applied.changes == {Change.CREATED: 1}
    assert written.after.evidence == evidence
    assert store.findings.get("arn:aws:s3:::a", POLICY) == written.after
    assert list(store.findings.load(account_id, "s3")) == [written.after]


def test_a_resolved_finding_comes_back_with_its_reason(store: Store, account_id: str) -> None:
    judge(store, 7, violated(account_id))
    (written,) = judge(store, 9, compliant(account_id, at=101)).written
    found = store.findings.get("arn:aws:s3:::a", POLICY)
    assert found == written.after
    assert found is not None
    assert (found.resolved_at, found.resolved_reason) == (9, Reason.COMPLIANT)


def test_an_item_has_the_attributes_that_others_read(store: Store, account_id: str) -> None:
    judge(store, 7, violated(account_id))
    judge(store, 9, compliant(account_id, at=101))
    item = store.dynamo.get(FINDINGS, {"ARN": "arn:aws:s3:::a", "Policy": POLICY}) or {}
    del item["Evidence"]
    assert item == {
        "ARN": "arn:aws:s3:::a",
        "Policy": POLICY,
        "AccountService": f"{account_id}_s3",
        "State": "RESOLVED",
        "Severity": 90,
        "FirstSeen": 7,
        "LastEvaluated": 9,
        "DescribeTime": 101,
        "ResolvedAt": 9,
        "ResolvedReason": "COMPLIANT",
        "Episodes": [[7, 90, 9]],
    }


def test_reopening_leaves_no_trace_of_the_resolution(store: Store, account_id: str) -> None:
    judge(store, 7, violated(account_id))
    judge(store, 8, compliant(account_id))
    assert judge(store, 9, violated(account_id)).changes == {Change.REOPENED: 1}
    item = store.dynamo.get(FINDINGS, {"ARN": "arn:aws:s3:::a", "Policy": POLICY}) or {}
    assert (item["State"], item["FirstSeen"]) == ("ACTIVE", 7)
    assert not {"ResolvedAt", "ResolvedReason"} & set(item)


def test_judging_the_same_again_writes_nothing(
    store: Store, account_id: str, count_calls: Callable[..., Mapping[str, int]]
) -> None:
    judge(store, 7, violated(account_id, Acl="public"))
    sent = count_calls(store.dynamo.client)
    assert judge(store, 8, violated(account_id, Acl="public")).written == []
    assert sent == {"GetItem": 1}


def test_closing_what_was_never_open_leaves_no_row(store: Store, account_id: str) -> None:
    assert judge(store, 7, compliant(account_id)).written == []
    assert store.findings.get("arn:aws:s3:::a", POLICY) is None


def test_the_index_tells_findings_by_state(store: Store, new_id: Callable[[], str]) -> None:
    mine, other = new_id(), new_id()
    judge(store, 7, violated(mine, "a"), violated(mine, "b"), violated(other, "c"))
    judge(store, 8, compliant(mine, "b"))
    assert {finding.arn[-1] for finding in store.findings.load(mine, "s3", State.ACTIVE)} == {"a"}
    assert {finding.arn[-1] for finding in store.findings.load(mine, "s3", State.RESOLVED)} == {"b"}
    assert {finding.arn[-1] for finding in store.findings.load(mine, "s3")} == {"a", "b"}
    assert list(store.findings.load(mine, "ec2")) == []


def test_more_than_a_megabyte_of_findings_is_read_to_the_end(
    store: Store, account_id: str, count_calls: Callable[..., Mapping[str, int]]
) -> None:
    many = [violated(account_id, f"b{n:02}", Policy=secrets.token_hex(50_000)) for n in range(40)]
    assert judge(store, 7, *many).changes == {Change.CREATED: 40}
    judge(store, 8, compliant(account_id, "b00"))
    sent = count_calls(store.dynamo.client)
    assert len(list(store.findings.load(account_id, "s3"))) == 40
    assert sent["Query"] > 1
    assert {finding.arn for finding in store.findings.load(account_id, "s3", State.ACTIVE)} == {
        one.arn for one in many[1:]
    }


@pytest.fixture
def other(make_settings: Callable[..., Settings], store: Store) -> Store:
    """Another process's view of the same tables."""
    return open_store(make_settings())


def interfere(before_calls: Callable[..., None], store: Store, do: Callable[[], object], times: int = 1) -> None:
    def between(number: int) -> None:
        if number <= times:
            do()

    before_calls(store.dynamo.client, "PutItem", between)


def test_a_row_written_meanwhile_is_judged_again(
    store: Store, other: Store, account_id: str, before_calls: Callable[..., None]
) -> None:
    # Both see nothing and both open it: one row, created once, and the newer observation wins.
    interfere(before_calls, store, lambda: judge(other, 8, violated(account_id, at=90, Acl="old")))
    applied = judge(store, 9, violated(account_id, at=100, Acl="new"))
    assert applied.changes == {Change.UPDATED: 1}
    found = store.findings.get("arn:aws:s3:::a", POLICY)
    assert found is not None
    assert (found.first_seen, found.evidence, found.describe_time) == (8, {"Acl": "new"}, 100)


def test_the_older_of_two_writers_gives_way(
    store: Store, other: Store, account_id: str, before_calls: Callable[..., None]
) -> None:
    judge(store, 7, violated(account_id))
    interfere(before_calls, store, lambda: judge(other, 9, compliant(account_id, at=200)))
    applied = judge(store, 9, violated(account_id, at=150, Acl="changed"))
    assert applied.written == []
    assert applied.error is None
    found = store.findings.get("arn:aws:s3:::a", POLICY)
    assert found is not None
    assert not found.open


def test_what_two_close_is_closed_once(
    store: Store, other: Store, account_id: str, before_calls: Callable[..., None]
) -> None:
    judge(store, 7, violated(account_id))
    closed: list[AppliedFindings] = []
    interfere(before_calls, store, lambda: closed.append(judge(other, 8, compliant(account_id))))
    assert judge(store, 9, compliant(account_id)).changes == {}
    assert [applied.changes for applied in closed] == [{Change.CLOSED: 1}]


def test_a_stale_index_does_not_make_a_second_first_sight(store: Store, account_id: str) -> None:
    judge(store, 7, violated(account_id))
    assert judge(store, 9, violated(account_id), against={}).written == []
    judge(store, 10, compliant(account_id))
    assert judge(store, 11, violated(account_id), against={}).changes == {Change.REOPENED: 1}
    found = store.findings.get("arn:aws:s3:::a", POLICY)
    assert found is not None
    assert found.first_seen == 7


def test_a_change_within_the_same_millisecond_is_not_lost(
    store: Store, other: Store, account_id: str, before_calls: Callable[..., None]
) -> None:
    judge(store, 7, violated(account_id))
    # The severity is changed by another, at the very time at which the finding was last evaluated.
    interfere(before_calls, store, lambda: judge(other, 7, violated(account_id, severity=40)))
    applied = judge(store, 8, compliant(account_id))
    assert applied.changes == {Change.CLOSED: 1}
    found = store.findings.get("arn:aws:s3:::a", POLICY)
    assert found is not None
    assert found.severity == 40


def test_a_finding_that_never_stands_still_is_an_error(
    store: Store, other: Store, account_id: str, before_calls: Callable[..., None]
) -> None:
    judge(store, 7, violated(account_id))
    times = iter(range(100, 200))

    def fight() -> None:
        at = next(times)
        judge(other, at, violated(account_id, at=100, severity=at - 100))

    interfere(before_calls, store, fight, times=100)
    applied = judge(store, 8, violated(account_id, Acl="mine"))
    assert applied.error is not None
    assert "kept changing while it was written" in applied.error
    assert applied.written == []


def test_a_finding_moves_with_the_name_of_its_bucket(store: Store, new_id: Callable[[], str]) -> None:
    old, new = new_id(), new_id()
    judge(store, 7, violated(old))
    assert judge(store, 8, violated(new, at=200)).changes == {Change.UPDATED: 1}
    assert list(store.findings.load(old, "s3")) == []
    (moved,) = store.findings.load(new, "s3")
    assert moved == replace(moved, first_seen=7, last_evaluated=8, describe_time=200)


def test_a_scans_write_whose_first_answer_was_lost_is_counted(
    store: Store, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.dynamo.client.put_item

    def twice(**parameters: Any) -> Any:
        put(**parameters)
        return put(**parameters)

    monkeypatch.setattr(store.dynamo.client, "put_item", twice)
    one = violated(account_id)
    applied = store.findings.apply(transitions({(one.arn, one.policy): one}, {}, 7), 7, "scan-1")
    assert applied.changes == {Change.CREATED: 1}
    # Another scan that finds the same at the same moment has changed nothing.
    again = store.findings.apply(transitions({(one.arn, one.policy): one}, {}, 7), 7, "scan-2")
    assert (again.changes, again.error) == ({}, None)
