"""Accounts with a schedule of their own: no tick lost, none doubled, at most one scan to make up for many."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrie_dagster.models import Account, ScanKind
from qrie_dagster.overrides import Due, check_cron, check_overrides, due, last_tick
from qrie_dagster.times import DAY_MS, HOUR_MS, SECOND_MS, as_ms

MIDNIGHT = as_ms(datetime(2025, 3, 1, tzinfo=UTC))
MINUTE = 60 * SECOND_MS


def account(number: int, inventory: str | None = None, policy: str | None = None, status: str = "active") -> Account:
    overrides = {"inventory": inventory, "policy": policy}
    return Account(
        account_id=f"{number:012d}",
        schedule_overrides={kind: cron for kind, cron in overrides.items() if cron},
        status=status,
    )


def test_the_moment_of_a_tick_belongs_to_it() -> None:
    at = datetime(2025, 3, 1, 4, tzinfo=UTC)
    four = as_ms(at)
    assert last_tick("0 4 * * *", four) == at
    assert last_tick("0 4 * * *", four + 999) == at
    assert last_tick("0 4 * * *", four - 1) == at - timedelta(days=1)
    assert last_tick(None, four) is None
    assert last_tick("nonsense", four) is None


def test_accounts_that_tick_together_are_scanned_together() -> None:
    accounts = [
        account(2, "0 4 * * *"),
        account(1, "0 4 * * *", "30 4 * * *"),
        account(3, policy="0 4 * * 1"),
        account(4),
        account(5, "0 4 * * *", status="suspended"),
    ]
    found = list(due(accounts, MIDNIGHT, MIDNIGHT + 5 * HOUR_MS))
    assert found == [
        Due(ScanKind.INVENTORY, datetime(2025, 3, 1, 4, tzinfo=UTC), ("000000000001", "000000000002")),
        Due(ScanKind.POLICY, datetime(2025, 3, 1, 4, 30, tzinfo=UTC), ("000000000001",)),
    ]
    assert found[0].scan_id.startswith("inventory-20250301T040000Z-")
    assert len({d.scan_id for d in found}) == 2


def test_after_a_long_absence_one_scan_makes_up_for_all() -> None:
    [only] = due([account(1, "*/5 * * * *")], MIDNIGHT, MIDNIGHT + 3 * DAY_MS + 7 * MINUTE)
    assert as_ms(only.tick) == MIDNIGHT + 3 * DAY_MS + 5 * MINUTE


@given(st.lists(st.integers(1, 40 * MINUTE), min_size=1, max_size=60))
def test_however_often_it_is_asked_every_tick_is_due_once(pauses: list[int]) -> None:
    accounts = [account(1, "*/10 * * * *", "7 * * * *"), account(2, "*/10 * * * *")]
    cursor = MIDNIGHT
    found: list[Due] = []
    for pause in pauses:
        now = cursor + pause
        new = list(due(accounts, cursor, now))
        for kind, cron in accounts[0].schedule_overrides.items():
            tick = last_tick(cron, now)
            assert tick
            expected = [tick] if as_ms(tick) > cursor else []
            assert [d.tick for d in new if d.kind == kind] == expected
        found += new
        cursor = now
    ids = [d.scan_id for d in found]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("cron", ["every day", "* * * *", "0 0 4 * * *", "0 25 * * *", "0 0 30 2 *", "@daily", ""])
def test_what_is_no_schedule(cron: str) -> None:
    with pytest.raises(ValueError, match="cron expression"):
        check_cron(cron)


def test_kinds_are_checked() -> None:
    assert check_overrides({"policy": " 0  4 * * * "}) == {"policy": "0 4 * * *"}
    with pytest.raises(ValueError, match="not everything"):
        check_overrides({"everything": "0 4 * * *"})
