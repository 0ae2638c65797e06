"""The sensor that tells people, evaluated as Dagster does, on an emulated store."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from dagster import DagsterInstance, SkipReason, build_sensor_context

from qrie_dagster.alerting import ALERT_STATE, alert_state, look
from qrie_dagster.alerts import Message, trouble
from qrie_dagster.defs import alerts as sensor_module
from qrie_dagster.defs.alerts import alerts
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.errors import NotDeliveredError
from qrie_dagster.models import ScanKind
from qrie_dagster.registry import new_account, register_new
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store
from qrie_dagster.summary.records import LAST_SCAN
from qrie_dagster.summary.rollup import HISTORY
from qrie_dagster.times import HOUR_MS, now_ms


@dataclass
class Listener:
    """A channel that keeps what it is told, while ``open``."""

    name: str = "listener"
    open: bool = True
    heard: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        if not self.open:
            raise NotDeliveredError("nobody at home.")
        self.heard.append(message)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    heard = Listener()
    monkeypatch.setattr(sensor_module, "channels", lambda settings: [heard])
    return heard


@pytest.fixture
def tick(store: Store, make_settings: Callable[..., Settings]) -> Iterator[Callable[[], str]]:
    """``tick()``: why the tick launched nothing."""
    resource = StoreResource.of(make_settings())
    with DagsterInstance.ephemeral() as instance:

        def evaluate() -> str:
            with build_sensor_context(instance=instance, resources={"store": resource}) as context:
                reason = alerts(context)
                assert isinstance(reason, SkipReason)
                return str(reason.skip_message)

        yield evaluate


def scanned(store: Store, kind: ScanKind, at: int, **more: Any) -> None:
    store.summary.put(LAST_SCAN[kind], {"timestamp_ms": at})
    entry = {"scan_id": f"{kind}-{at}", "kind": kind.value, "timestamp_ms": at, "failed_scopes": {"count": 0}, **more}
    store.summary.change(HISTORY, lambda before: {"scans": [entry, *before.get("scans", ())]})


def test_each_transition_is_told_once(store: Store, tick: Callable[[], str], listener: Listener) -> None:
    assert tick() == "Nothing changed."
    register_new(store, new_account("123456789012", name="pay <script>"))
    assert "told listener of 2 changes" in tick()
    assert [tick(), tick()] == ["Nothing changed."] * 2
    now = now_ms()
    failures = {"count": 1, "first": ["123456789012/s3/global: AccessDenied: <b>no</b>"]}
    scanned(store, ScanKind.INVENTORY, now - HOUR_MS, failed_scopes=failures)
    scanned(store, ScanKind.POLICY, now, opened=[{"policy": "S3BucketPublic", "severity": 90, "count": 2}])
    assert "told listener of 4 changes" in tick()
    assert tick() == "Nothing changed."
    first, second = listener.heard
    assert first.title.startswith("qrie: Drift of the inventory scan, since ")
    assert first.title.endswith(" (and 1 more)")
    assert "Drift of the policy scan, since" in first.body
    assert "Drift of the policy scan has ended" in second.body
    assert "- S3BucketPublic (severity 90): 2" in second.body
    assert "AccessDenied: ‹b›no‹/b›" in second.body
    assert second.body.endswith("http://127.0.0.1:8010/")


def test_an_undelivered_alert_is_visible_and_tried_again(
    store: Store, tick: Callable[[], str], listener: Listener, make_settings: Callable[..., Settings]
) -> None:
    listener.open = False
    register_new(store, new_account("123456789012"))
    with pytest.raises(NotDeliveredError, match="listener: nobody at home"):
        tick()
    assert "cannot be delivered to listener" in tick(), "it waits, and says so"
    [sentence] = trouble(alert_state(store), now_ms())
    assert "nobody at home" in sentence
    listener.open = True
    later = look(store, make_settings(), [listener], now_ms() + 61_000)
    assert (later.sent, later.trouble) == ({"listener": 2}, [])
    assert trouble(alert_state(store), now_ms()) == []
    assert len(listener.heard) == 1


def test_a_death_before_the_record_repeats_and_loses_nothing(
    store: Store, make_settings: Callable[..., Settings], refuse: Callable[..., None]
) -> None:
    class Dies(Listener):
        def send(self, message: Message) -> None:
            super().send(message)
            raise KeyboardInterrupt

    register_new(store, new_account("123456789012"))
    dying, living = Dies(), Listener()
    with pytest.raises(KeyboardInterrupt):
        look(store, make_settings(), [dying], now_ms())
    look(store, make_settings(), [living], now_ms())
    assert dying.heard[0].body.splitlines()[1:] == living.heard[0].body.splitlines()[1:]
    look(store, make_settings(), [living], now_ms())
    assert len(living.heard) == 1


def test_a_quiet_tick_writes_nothing(
    store: Store, make_settings: Callable[..., Settings], count_calls: Callable[[Any], Any]
) -> None:
    look(store, make_settings(), [Listener()], now_ms())
    sent = count_calls(store.dynamo.client)
    look(store, make_settings(), [Listener()], now_ms())
    assert sent == {"BatchGetItem": 1}


def test_nobody_to_tell(store: Store, tick: Callable[[], str]) -> None:
    assert "QRIE_ALERT_URLS" not in os.environ
    assert "nobody to tell" in tick()
    assert store.summary.get(ALERT_STATE) is None
