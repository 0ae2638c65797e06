from datetime import UTC, datetime

import pytest

from qrie_dagster.times import DAY_MS, HOUR_MS, age_hours, age_text, as_datetime, as_ms, iso, now_ms

MOMENT = datetime(2023, 11, 4, 1, 20, 0, 123_000, tzinfo=UTC)
MOMENT_MS = 1_699_060_800_123


def test_iso_is_utc_with_milliseconds() -> None:
    assert iso(MOMENT_MS) == "2023-11-04T01:20:00.123Z"
    assert iso(1_699_060_800_000) == "2023-11-04T01:20:00.000Z"
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert iso(None) is None


@pytest.mark.parametrize("ms", [0, 1, 999, MOMENT_MS, 1_750_000_000_001, 4_102_444_799_999])
def test_a_time_survives_the_way_there_and_back(ms: int) -> None:
    assert as_ms(as_datetime(ms)) == ms


def test_as_ms_reads_aware_datetimes() -> None:
    assert as_ms(MOMENT) == MOMENT_MS
    assert as_ms(datetime.fromisoformat("2023-11-04T03:20:00.123+02:00")) == MOMENT_MS


def test_now_is_milliseconds() -> None:
    assert abs(now_ms() - datetime.now(UTC).timestamp() * 1000) < 5_000


@pytest.mark.parametrize(
    ("age", "hours"), [(0, 0.0), (HOUR_MS, 1.0), (int(2.5 * HOUR_MS), 2.5), (192 * HOUR_MS, 192.0), (59_000, 0.0)]
)
def test_age_in_hours_has_one_decimal(age: int, hours: float) -> None:
    assert age_hours(MOMENT_MS - age, MOMENT_MS) == hours


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (0, "0 min"),
        (59_999, "0 min"),
        (5 * 60_000, "5 min"),
        (2 * HOUR_MS + 5 * 60_000, "2 h 5 min"),
        (DAY_MS, "1 day 0 h"),
        (3 * DAY_MS + 4 * HOUR_MS, "3 days 4 h"),
        (-HOUR_MS, "0 min"),
    ],
)
def test_age_in_words(age: int, words: str) -> None:
    assert age_text(MOMENT_MS - age, MOMENT_MS) == words


def test_the_age_of_what_never_was() -> None:
    assert age_text(None, MOMENT_MS) == "never"
