"""One look: what changed since the last one, and who has to be told. The state is a record of ``qrie_summary``."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from qrie_dagster.alerts import (
    AlertState,
    Situation,
    delivered,
    due,
    failed,
    message,
    observe,
    situation,
    trouble,
)
from qrie_dagster.drift import DriftRules
from qrie_dagster.errors import NotDeliveredError
from qrie_dagster.models import Account
from qrie_dagster.notify import Channel
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store
from qrie_dagster.store.encoding import decode, encode
from qrie_dagster.store.summary import rows_of
from qrie_dagster.summary.records import LAST_SCAN
from qrie_dagster.summary.rollup import DASHBOARD, HISTORY, REGISTRY

ALERT_STATE = "alert_state"
# Dagster gives a sensor a minute; what is not sent by then is sent at the next look.
SENDING_SECONDS = 25


@dataclass
class Told:
    """What a look did: events sent by channel, new failures, and channels that are in trouble still."""

    sent: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    waiting: int = 0
    trouble: list[str] = field(default_factory=list)


def look(store: Store, settings: Settings, channels: Sequence[Channel], now: int) -> Told:
    """Queue what changed, then tell it, channel by channel. Reads a few records, writes only what changed."""
    records = store.summary.get_whole([ALERT_STATE, DASHBOARD, HISTORY, REGISTRY, *LAST_SCAN.values()])
    seen = _situation(records, DriftRules.of(settings), now)
    names = [channel.name for channel in channels]

    def observed(before: AlertState | None) -> AlertState:
        return observe(before, seen, names, settings.alert_min_severity)

    before = _state(records.get(ALERT_STATE, {}))
    state = before if before == observed(before) and before else _change(store, observed)
    told = Told()
    stop = time.monotonic() + SENDING_SECONDS
    for channel in channels:
        events = due(state, channel.name, now, settings.alert_quiet_hours)
        if not events or time.monotonic() > stop:
            continue
        dropped = state.channels[channel.name].dropped
        try:
            channel.send(message(events, settings.dashboard_link, dropped))
        except NotDeliveredError as error:
            told.failed.append(f"{channel.name}: {error}")
            state = _change(store, _after_failure(channel.name, str(error), now))
        else:
            told.sent[channel.name] = len(events)
            state = _change(store, _after_delivery(channel.name, events))
    told.waiting = len(state.events)
    told.trouble = trouble(state, now)
    return told


def alert_state(store: Store) -> AlertState | None:
    """What is remembered of the looks so far, None if there was none."""
    return _state(store.summary.get(ALERT_STATE) or {})


def _after_failure(channel: str, error: str, now: int) -> Callable[[AlertState | None], AlertState]:
    return lambda state: failed(state or AlertState(), channel, error, now)


def _after_delivery(channel: str, events: Any) -> Callable[[AlertState | None], AlertState]:
    return lambda state: delivered(state or AlertState(), channel, events)


def _situation(records: dict[str, dict[str, Any]], rules: DriftRules, now: int) -> Situation:
    return situation(
        rules,
        {kind: records[type_]["timestamp_ms"] if type_ in records else None for kind, type_ in LAST_SCAN.items()},
        rows_of(records.get(DASHBOARD, {}), "scope_ages"),
        [Account(**account) for account in rows_of(records.get(REGISTRY, {}), "Accounts")],
        records.get(HISTORY, {}).get("scans", ()),
        now,
    )


def _state(record: dict[str, Any]) -> AlertState | None:
    return AlertState(**decode(record["State"])) if "State" in record else None


def _change(store: Store, change: Callable[[AlertState | None], AlertState]) -> AlertState:
    """Change the stored state whatever others do to it, and return what was written."""
    written = AlertState()

    def changed(record: dict[str, Any]) -> dict[str, Any]:
        nonlocal written
        written = change(_state(record))
        return {"State": encode(written.model_dump(mode="json"))}

    store.summary.change(ALERT_STATE, changed)
    return written
