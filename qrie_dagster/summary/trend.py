"""Eight weeks of findings, from the daily counts that scans keep."""

from typing import Any

from qrie_dagster.summary.totals import FindingTotals
from qrie_dagster.times import as_datetime

WEEKS = 8
_COLUMNS = ["first_seen", "new", "closed", "critical_new"]


def weekly(totals: FindingTotals, now: int) -> list[dict[str, Any]]:
    """Eight Monday weeks (UTC), the oldest first; the last is the current one.

    What was open at the end of a week is what is open now, less what opened and plus what was closed since.
    """
    # Half a second to load: paid by those who look at the trend, not by every command.
    import pandas as pd

    today = pd.Timestamp(as_datetime(now).date())
    monday = today - pd.Timedelta(days=today.weekday())
    weeks = pd.date_range(end=monday, periods=WEEKS, freq="7D")
    days = pd.DataFrame.from_dict(
        {date: day.model_dump() for date, day in totals.days.items()}, orient="index", columns=_COLUMNS
    )
    days.index = pd.to_datetime(days.index)
    by_week = days.groupby(days.index - pd.to_timedelta(days.index.day_of_week, unit="D")).sum()
    by_week = by_week.reindex(weeks, fill_value=0).astype(int)
    # Of the weeks after each one.
    later = by_week[::-1].cumsum()[::-1] - by_week
    rows = pd.DataFrame(
        {
            "week_start": weeks.strftime("%Y-%m-%d"),
            "total_findings": totals.open + totals.resolved - later["first_seen"],
            "open_findings": totals.open - later["new"] + later["closed"],
            "new_findings": by_week["new"],
            "closed_findings": by_week["closed"],
            "critical_new": by_week["critical_new"],
            "is_current": weeks == monday,
        }
    )
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict(orient="records")]
