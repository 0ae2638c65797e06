"""Accounts with a schedule of their own: cron expressions, and which of their ticks are due. Pure.

They add scans to those of the whole estate, which go on covering every account: only they speak for everything.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from croniter import CroniterError, croniter

from qrie_dagster.models import Account, ScanKind
from qrie_dagster.times import as_datetime, as_ms


def check_cron(value: str) -> str:
    """``value`` if it is a cron expression of five fields that ever ticks. Raises ValueError otherwise."""
    if len(value.split()) != 5 or not croniter.is_valid(value):
        raise ValueError("must be a cron expression of five fields, such as '0 4 * * *'")
    try:
        croniter(value, as_datetime(0)).get_next(datetime)
    except CroniterError:
        raise ValueError("must be a cron expression that ticks some day") from None
    return value


def check_overrides(overrides: Mapping[str, str]) -> dict[str, str]:
    """The overrides if kinds and expressions are right. Raises ValueError otherwise."""
    unknown = set(overrides) - set(ScanKind)
    if unknown:
        raise ValueError(f"must be of the kinds {' and '.join(ScanKind)}, not {', '.join(sorted(unknown))}")
    return {kind: check_cron(" ".join(cron.split())) for kind, cron in overrides.items()}


@dataclass(frozen=True)
class Due:
    """The accounts whose own schedule ticked at ``tick``."""

    kind: ScanKind
    tick: datetime
    accounts: tuple[str, ...]

    @property
    def scan_id(self) -> str:
        """The same for the same tick of the same accounts, however often it is worked out."""
        digest = sha256(" ".join(self.accounts).encode()).hexdigest()[:8]
        return f"{self.kind.value}-{self.tick:%Y%m%dT%H%M%SZ}-{digest}"


def due(accounts: Iterable[Account], since: int, now: int) -> Iterator[Due]:
    """What ticked after ``since`` and not after ``now`` (ms): of each account and kind the last tick only.

    So however long nobody asked, at most one scan makes up for it. Accounts that tick together are scanned together.
    """
    groups: dict[tuple[ScanKind, datetime], list[str]] = {}
    for account in accounts:
        for kind in ScanKind:
            tick = last_tick(account.schedule_overrides.get(kind.value), now)
            if account.active and tick and as_ms(tick) > since:
                groups.setdefault((kind, tick), []).append(account.account_id)
    for (kind, tick), members in sorted(groups.items(), key=lambda group: (group[0][1], group[0][0])):
        yield Due(kind, tick, tuple(sorted(members)))


def last_tick(cron: str | None, now: int) -> datetime | None:
    """The last tick not after ``now`` (ms, UTC). None without an expression, or with one that cannot be read."""
    if cron is None:
        return None
    # The library looks strictly before the moment it is given, and ticks are on whole minutes.
    second_after = as_datetime(now).replace(microsecond=0) + timedelta(seconds=1)
    try:
        tick: datetime = croniter(check_cron(cron), second_after).get_prev(datetime)
    except (ValueError, CroniterError):
        return None
    return tick
