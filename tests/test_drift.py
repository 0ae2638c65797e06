from datetime import timedelta

import pytest

from qrie_dagster.drift import DriftRules, ScopeAge, judge_drift, scope_ages, stale_scopes
from qrie_dagster.models import Account, ScanKind, ServiceScan
from qrie_dagster.settings import Settings
from qrie_dagster.times import HOUR_MS

NOW = 1_750_000_000_000
INVENTORY, POLICY = ScanKind.INVENTORY, ScanKind.POLICY
RULES = DriftRules(192, 26)
FRESH = {INVENTORY: NOW, POLICY: NOW}


def test_the_windows_are_eight_days_and_twenty_six_hours() -> None:
    rules = DriftRules.of(Settings(_env_file=None))
    assert rules.window(INVENTORY) == timedelta(days=8)
    assert rules.window(POLICY) == timedelta(hours=26)


@pytest.mark.parametrize(("kind", "hours"), [(INVENTORY, 192), (POLICY, 26)])
def test_exactly_at_the_threshold_is_not_drift(kind: ScanKind, hours: int) -> None:
    last = NOW - hours * HOUR_MS
    assert not judge_drift(RULES, {**FRESH, kind: last}, 1, NOW).detected
    assert judge_drift(RULES, {**FRESH, kind: last - 1}, 1, NOW).detected
    assert judge_drift(RULES, {**FRESH, kind: last}, 1, NOW + 1).detected


def test_each_kind_is_judged_by_its_own_window() -> None:
    week_old = NOW - 7 * 24 * HOUR_MS
    drift = judge_drift(RULES, {INVENTORY: week_old, POLICY: week_old}, 1, NOW)
    assert (drift.inventory, drift.policy) == (False, True)
    assert drift.reasons == ("policy: last full scan ended 7 days 0 h ago, the limit is 26 h",)


def test_never_scanned_is_drift_as_soon_as_one_account_is_active() -> None:
    drift = judge_drift(RULES, {INVENTORY: None, POLICY: None}, 1, NOW)
    assert (drift.inventory, drift.policy, drift.detected) == (True, True, True)
    assert drift.reasons == ("inventory: never_scanned", "policy: never_scanned")
    assert judge_drift(RULES, {}, 1, NOW) == drift


def test_without_an_active_account_there_is_nothing_to_scan() -> None:
    drift = judge_drift(RULES, {INVENTORY: None, POLICY: None}, 0, NOW)
    assert not drift.detected
    assert drift.reasons == ()


def test_an_old_scan_is_drift_even_when_all_accounts_have_left() -> None:
    assert judge_drift(RULES, {INVENTORY: 0, POLICY: NOW}, 0, NOW).inventory


def test_other_windows_are_kept_to() -> None:
    rules = DriftRules(1, 0.5)
    assert not rules.drifted(POLICY, NOW - HOUR_MS // 2, NOW)
    assert rules.drifted(POLICY, NOW - HOUR_MS // 2 - 1, NOW)
    reasons = judge_drift(rules, {INVENTORY: NOW, POLICY: NOW - HOUR_MS}, 1, NOW).reasons
    assert reasons == ("policy: last full scan ended 1 h 0 min ago, the limit is 0.5 h",)


def test_a_scan_of_the_future_is_drift() -> None:
    ahead = NOW + 3 * HOUR_MS
    assert judge_drift(RULES, {INVENTORY: ahead, POLICY: NOW + 60_000}, 1, NOW).reasons == (
        "inventory: the last full scan is dated 3 h 0 min ahead of the clock of this machine:"
        " set the clocks right and scan again",
    )
    assert stale_scopes(RULES, [ScopeAge(POLICY, "1", "s3", ahead), ScopeAge(POLICY, "1", "ec2", NOW + 1)], NOW) == [
        ScopeAge(POLICY, "1", "s3", ahead)
    ]


@pytest.mark.parametrize("kind", list(ScanKind))
def test_the_warning_comes_before_the_drift(kind: ScanKind) -> None:
    assert timedelta(0) < RULES.warning(kind) < RULES.window(kind)


def test_the_weekly_scan_does_not_warn_when_it_is_on_time() -> None:
    assert RULES.warning(INVENTORY) > timedelta(days=7)
    assert RULES.warning(POLICY) > timedelta(hours=24)


def an_account(account_id: str, **facts: object) -> Account:
    return Account.model_validate({"account_id": account_id, **facts})


def test_every_service_of_every_active_account_has_its_own_age() -> None:
    scans = {"inventory": {"s3": ServiceScan(last_success=NOW)}, "policy": {"s3": ServiceScan(last_error="denied")}}
    accounts = [
        an_account("111111111111", scans=scans),
        an_account("222222222222", status="suspended"),
        an_account("333333333333", status="removed"),
    ]
    ages = scope_ages(accounts, iter(["s3", "ec2"]))
    assert ages == [
        ScopeAge(INVENTORY, "111111111111", "s3", NOW, None),
        ScopeAge(INVENTORY, "111111111111", "ec2", None, None),
        ScopeAge(POLICY, "111111111111", "s3", None, "denied"),
        ScopeAge(POLICY, "111111111111", "ec2", None, None),
    ]


def test_stale_scopes_are_listed_oldest_first_never_scanned_before_all() -> None:
    old, older = NOW - 27 * HOUR_MS, NOW - 193 * HOUR_MS
    ages = [
        ScopeAge(POLICY, "1", "s3", old),
        ScopeAge(INVENTORY, "1", "s3", old),
        ScopeAge(INVENTORY, "2", "s3", older),
        ScopeAge(POLICY, "3", "s3", None),
        ScopeAge(POLICY, "4", "s3", NOW - 26 * HOUR_MS),
    ]
    stale = stale_scopes(RULES, ages, NOW)
    assert [(age.kind, age.account_id) for age in stale] == [(POLICY, "3"), (INVENTORY, "2"), (POLICY, "1")]


def test_a_stale_scope_as_the_dashboard_shows_it() -> None:
    assert ScopeAge(POLICY, "1", "s3", NOW - 27 * HOUR_MS, "denied").as_record(NOW) == {
        "kind": "policy",
        "account_id": "1",
        "service": "s3",
        "timestamp_ms": NOW - 27 * HOUR_MS,
        "age_hours": 27.0,
        "last_error": "denied",
    }
    assert ScopeAge(POLICY, "1", "s3", None).as_record(NOW)["age_hours"] is None
