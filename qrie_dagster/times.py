"""Times as qrie keeps them: integer milliseconds since the epoch, UTC."""

import time
from datetime import UTC, datetime

SECOND_MS = 1_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# How far the clocks of two machines may be apart before a time counts as one of the future.
CLOCKS_APART_MS = 5 * 60 * SECOND_MS


def now_ms() -> int:
    """Now, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def iso(ms: int | None) -> str | None:
    """``ms`` as ISO 8601 in UTC with milliseconds, or None."""
    if ms is None:
        return None
    return as_datetime(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_datetime(ms: int) -> datetime:
    """``ms`` as an aware datetime in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def as_ms(moment: datetime) -> int:
    """An aware datetime as milliseconds since the epoch."""
    return round(moment.timestamp() * 1000)


def age_hours(ms: int, now: int) -> float:
    """Hours between ``ms`` and ``now``, with one decimal."""
    return round((now - ms) / HOUR_MS, 1)


def age_text(ms: int | None, now: int) -> str:
    """The age in words for people: '3 days 4 h', '2 h 5 min', 'never'."""
    if ms is None:
        return "never"
    minutes = max(0, now - ms) // 60_000
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} day{'s' if days > 1 else ''} {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
