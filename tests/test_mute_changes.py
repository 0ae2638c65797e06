"""Mutes in the store: what they do to findings at once, and what scans make of them later."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from qrie_dagster import mute_changes
from qrie_dagster.errors import ConflictError, NotFoundError, QrieError
from qrie_dagster.findings import Finding, State
from qrie_dagster.inventory.services import find_service
from qrie_dagster.models import Account, Outcome, Resource, ScanKind, ScanType
from qrie_dagster.mutes import Mute
from qrie_dagster.policies.policy import all_policies
from qrie_dagster.policy_changes import launch_all
from qrie_dagster.scan import PolicyScanner
from qrie_dagster.store import Store, mutes
from qrie_dagster.store.mutes import change_mutes, load_mutes
from qrie_dagster.store.summary import Scan
from qrie_dagster.store.tables import FINDINGS
from qrie_dagster.summary.rebuild import rebuild_service
from qrie_dagster.summary.rollup import DASHBOARD, refresh_dashboard
from qrie_dagster.times import DAY_MS, now_ms

VERSIONING = "S3BucketVersioningDisabled"
HERE, THERE = "111111111111", "222222222222"
WHY = {"reason": "known", "author": "ann"}


def arn(account_id: str, name: str) -> str:
    return f"arn:aws:s3:::{name}-{account_id}"


@pytest.fixture
def estate(store: Store) -> Store:
    """Two accounts with three buckets each, none of them versioned, scanned once."""
    launch_all(store)
    for account_id in (HERE, THERE):
        store.accounts.add(Account(account_id=account_id, tags={"stage": "prod" if account_id == HERE else "sandbox"}))
        for name in ("a", "b", "c"):
            configuration = {"Name": name, "Versioning": {}, "Tags": {"team": name}}
            bucket = Resource(
                account_id, "s3", "AWS::S3::Bucket", "us-east-1", arn(account_id, name), configuration, 500
            )
            store.resources.write(bucket, 500)
        scan(store, account_id)
    refresh_dashboard(store, store.accounts.all(), now_ms())
    return store


def scan(store: Store, account_id: str = HERE, only: tuple[str, ...] = ()) -> Outcome:
    account = store.accounts.get(account_id)
    assert account is not None
    wanted = Scan(
        scan_id=f"p-{uuid4().hex}", kind=ScanKind.POLICY, scan_type=ScanType.BOOTSTRAP, started_ms=1, policies=only
    )
    outcome = PolicyScanner(store, all_policies()).scan(wanted, account, find_service("s3"))
    assert outcome.succeeded, outcome.failures
    return outcome


def findings(store: Store, account_id: str = HERE) -> dict[str, Finding]:
    """The findings of one policy, by the bucket's short name."""
    found = store.findings.load(account_id, "s3")
    return {f.arn.rsplit(":", 1)[-1].partition("-")[0]: f for f in found if f.policy == VERSIONING}


def muted(store: Store, account_id: str = HERE) -> str:
    return "".join(sorted(name for name, finding in findings(store, account_id).items() if finding.muted))


def board(store: Store) -> tuple[int, int]:
    """Open and muted versioning findings, as the dashboard's record has them."""
    totals = (store.summary.get(DASHBOARD) or {})["findings"]["policies"][VERSIONING]
    return totals["open"], totals["muted"]


@pytest.mark.parametrize(
    ("matches", "here", "there"),
    [
        ({"policy": VERSIONING}, "abc", "abc"),
        ({"policy": "S3BucketMfaDeleteDisabled"}, "", ""),
        ({"account_id": HERE}, "abc", ""),
        ({"tags": {"team": ["a", "b"]}}, "ab", "ab"),
        ({"tags": {"stage": ["sandbox"]}}, "", "abc"),
        ({"arn": "arn:aws:s3:::b-*"}, "b", "b"),
        ({"arn": arn(THERE, "c"), "policy": VERSIONING}, "", "c"),
        ({"policy": VERSIONING, "account_id": HERE, "tags": {"team": ["c"], "stage": ["prod"]}}, "c", ""),
    ],
)
def test_muting_applies_now_and_unmuting_brings_back(
    estate: Store, matches: dict[str, Any], here: str, there: str
) -> None:
    before = {**findings(estate), **{f"{name}'": f for name, f in findings(estate, THERE).items()}}
    added = mute_changes.add(estate, **WHY, **matches)
    assert (muted(estate, HERE), muted(estate, THERE)) == (here, there)
    assert {f.state for f in findings(estate).values()} == {State.ACTIVE}
    assert board(estate) == (6 - len(here + there), len(here + there))
    assert scan(estate, HERE).findings_updated == scan(estate, THERE).findings_updated == 0
    removed = mute_changes.remove(estate, added.rule.id)
    assert removed.findings == added.findings >= len(here + there)
    assert (muted(estate, HERE), muted(estate, THERE), board(estate)) == ("", "", (6, 0))
    after = {**findings(estate), **{f"{name}'": f for name, f in findings(estate, THERE).items()}}
    assert {name: (f.first_seen, f.evidence, f.severity) for name, f in after.items()} == {
        name: (f.first_seen, f.evidence, f.severity) for name, f in before.items()
    }


def test_a_second_scan_writes_nothing(estate: Store) -> None:
    mute_changes.add(estate, **WHY, arn="*:a-*")
    before = [estate.dynamo.get(FINDINGS, {"ARN": arn(HERE, name), "Policy": VERSIONING}) for name in "abc"]
    outcome = scan(estate)
    assert (outcome.findings_created, outcome.findings_updated, outcome.findings_closed) == (0, 0, 0)
    after = [estate.dynamo.get(FINDINGS, {"ARN": arn(HERE, name), "Policy": VERSIONING}) for name in "abc"]
    assert after == before
    assert ["Muted" in (item or {}) for item in after] == [True, False, False]


def test_totals_are_those_a_rebuild_gives(estate: Store) -> None:
    mute_changes.add(estate, **WHY, tags={"team": ["b"]})
    kept = estate.summary.parts([HERE])[HERE]["Findings", "s3"]
    rebuild_service(estate, HERE, "s3")
    assert estate.summary.parts([HERE])[HERE]["Findings", "s3"] == kept
    assert kept["policies"][VERSIONING] == {"severity": 60, "open": 2, "muted": 1, "resolved": 0}


@pytest.mark.parametrize("only", [(), ("S3BucketPublic",)])
def test_what_expires_comes_back_with_the_next_scan_of_whatever(
    estate: Store, only: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = mute_changes.add(estate, **WHY, policy=VERSIONING, expires_ms=now_ms() + DAY_MS).rule
    assert scan(estate, only=only).findings_updated == 0
    assert muted(estate) == "abc"
    monkeypatch.setattr("qrie_dagster.scan.now_ms", lambda: rule.expires_ms)
    outcome = scan(estate, only=only)
    assert (outcome.findings_updated, outcome.findings_created) == (3, 0)
    assert [(found.policy, found.count) for found in outcome.opened] == [(VERSIONING, 3)]
    assert muted(estate) == ""
    assert scan(estate, only=only).findings_updated == 0


def test_what_turns_up_later_is_muted_from_the_start(estate: Store) -> None:
    mute_changes.add(estate, **WHY, policy=VERSIONING)
    bucket = Resource(HERE, "s3", "AWS::S3::Bucket", "us-east-1", arn(HERE, "d"), {"Name": "d", "Versioning": {}}, 900)
    estate.resources.write(bucket, 900)
    outcome = scan(estate)
    assert outcome.findings_created > 0
    assert muted(estate) == "abcd"


def test_muted_findings_are_still_resolved(estate: Store) -> None:
    mute_changes.add(estate, **WHY, policy=VERSIONING)
    mended = {"Name": "a", "Versioning": {"Status": "Enabled"}}
    estate.resources.write(
        Resource(HERE, "s3", "AWS::S3::Bucket", "us-east-1", arn(HERE, "a"), mended, now_ms()), now_ms()
    )
    assert scan(estate).findings_closed == 1
    assert (findings(estate)["a"].state, findings(estate)["a"].muted) == (State.RESOLVED, None)


def test_a_mute_added_while_a_scan_writes_is_not_undone_by_it(estate: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = estate.findings.apply
    added: list[mute_changes.Muted] = []

    def overtaken(*arguments: Any) -> Any:
        if not added:
            monkeypatch.setattr(estate.findings, "apply", apply)
            added.append(mute_changes.add(estate, **WHY, policy=VERSIONING))
        return apply(*arguments)

    monkeypatch.setattr(estate.findings, "apply", overtaken)
    scan(estate)
    assert added[0].findings == 6
    assert muted(estate) == "abc"
    totals = estate.summary.parts([HERE])[HERE]["Findings", "s3"]["policies"][VERSIONING]
    assert (totals["open"], totals["muted"]) == (0, 3)


@pytest.mark.parametrize(("policy", "critical"), [("S3BucketEncryptionDisabled", 0), (VERSIONING, 1)])
def test_a_critical_finding_that_is_muted_is_no_news(estate: Store, policy: str, critical: int) -> None:
    mute_changes.add(estate, **WHY, policy=policy)
    plain = {"Name": "p", "Versioning": {}, "Encryption": None}
    estate.resources.write(Resource(HERE, "s3", "AWS::S3::Bucket", "us-east-1", arn(HERE, "p"), plain, 900), 900)
    outcome = scan(estate)
    assert outcome.findings_created > 1
    assert outcome.critical_created == critical
    assert policy not in {found.policy for found in outcome.opened}


def test_rules_are_kept_whoever_else_adds_some(estate: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda name: mute_changes.add(estate, **WHY, arn=arn(HERE, name)), "abcd"))
    assert {rule.id for rule in load_mutes(estate.summary).rules} == {one.rule.id for one in added}
    assert muted(estate) == "abc"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: mute_changes.remove(estate, one.rule.id), added))
    assert (load_mutes(estate.summary).rules, muted(estate)) == ((), "")


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"reason": " ", "policy": VERSIONING}, QrieError, "needs a reason"),
        ({"author": "", "policy": VERSIONING}, QrieError, "needs an author"),
        ({"reason": "x" * 501, "policy": VERSIONING}, QrieError, "at most 500"),
        ({}, QrieError, "what it is about"),
        ({"policy": "Nonsense"}, NotFoundError, "no policy 'Nonsense'"),
        ({"account_id": "333333333333"}, NotFoundError, "not registered"),
        ({"arn": "logs-*"}, QrieError, "ARN pattern"),
        ({"arn": ""}, QrieError, "what it is about"),
        ({"arn": "**"}, QrieError, "matches everything"),
        ({"tags": {"team": []}}, QrieError, "values"),
        ({"tags": {"": ["x"]}}, QrieError, "key"),
        ({"policy": VERSIONING, "expires_ms": 1}, QrieError, "future"),
        ({"policy": VERSIONING, "expires_ms": 10**15}, QrieError, "ten years"),
    ],
)
def test_rules_that_make_no_sense(store: Store, given: dict[str, Any], error: type[QrieError], words: str) -> None:
    with pytest.raises(error, match=words) as refused:
        mute_changes.add(store, **{**WHY, **given})
    assert type(refused.value) is error
    assert load_mutes(store.summary).rules == ()


def test_removing_what_is_not_there(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no mute 'x'"):
        mute_changes.remove(store, "x")


def test_there_is_an_end_to_rules(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutes, "MAX_RULES", 2)
    for _ in range(2):
        mute_changes.add(store, **WHY, policy=VERSIONING)
    with pytest.raises(ConflictError, match="room for 2"):
        mute_changes.add(store, **WHY, policy=VERSIONING)
    assert len(load_mutes(store.summary).rules) == 2


def test_rules_that_ended_long_ago_are_dropped(store: Store) -> None:
    now = now_ms()
    old = Mute(id="old", reason="r", author="a", created_ms=1, policy=VERSIONING, expires_ms=now - 91 * DAY_MS)
    recent = old.model_copy(update={"id": "recent", "expires_ms": now - 89 * DAY_MS})
    change_mutes(store.summary, lambda _: [old, recent])
    added = mute_changes.add(store, **WHY, policy=VERSIONING)
    assert [rule.id for rule in load_mutes(store.summary).rules] == ["recent", added.rule.id]
