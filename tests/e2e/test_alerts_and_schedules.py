"""A real daemon tells people what changed, once, and follows the schedule of a single account, also after a rest."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from real_dagster import Estate, Questions, eventually

from qrie_dagster.demo.stack import running_stack
from qrie_dagster.registry import set_schedule
from qrie_dagster.summary.rollup import HISTORY

pytestmark = pytest.mark.e2e


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[str]]]:
    """An Apprise URL, and the texts that were sent there."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["message"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{server.server_port}/hook", heard
    server.shutdown()
    server.server_close()


def scans(estate: Estate) -> list[dict[str, object]]:
    return list((estate.store.summary.get(HISTORY) or {}).get("scans", ()))


def in_minutes(minutes: int) -> tuple[str, datetime]:
    """A cron expression that ticks once a day, first some whole minutes from now, and that moment."""
    moment = (datetime.now(UTC) + timedelta(minutes=minutes)).replace(second=0, microsecond=0)
    return f"{moment.minute} {moment.hour} * * *", moment


def test_told_once_and_scanned_on_its_own_schedule(estate: Estate, webhook: tuple[str, list[str]]) -> None:
    url, heard = webhook
    own, other = estate.accounts[1], estate.accounts[3]
    # The schedules of the whole estate are far away.
    far = datetime.now(UTC) + timedelta(days=20)
    quiet = f"0 0 {min(far.day, 28)} {far.month} *"
    more = {"QRIE_ALERT_URLS": url, "QRIE_INVENTORY_CRON": quiet, "QRIE_POLICY_CRON": quiet}

    with running_stack(estate.endpoint, estate.home, **more) as stack:
        eventually(lambda: heard, "the alert about drift")
        assert "Drift of the inventory scan" in heard[0]
        cron, tick = in_minutes(2)
        set_schedule(estate.store, own, {"inventory": cron})
        eventually(lambda: scans(estate), "the scan of the account with a schedule of its own")
        [scan] = scans(estate)
        assert (scan["account_id"], scan["scan_type"]) == (own, "bootstrap")
        assert str(scan["scan_id"]).startswith(f"inventory-{tick:%Y%m%dT%H%M}00Z-")
        assert estate.store.summary.get("last_inventory_scan") is None, "one account does not speak for all"
        assert Questions(stack).materialized("inventory", "s3") == {own}
        cron, tick = in_minutes(1)
        set_schedule(estate.store, other, {"inventory": cron})

    # The tick passes while nobody is there, unless it was quicker than the end of the daemon.
    eventually(lambda: datetime.now(UTC) > tick + timedelta(seconds=2), "the tick")
    with running_stack(estate.endpoint, estate.home, **more) as stack:
        eventually(lambda: len(scans(estate)) > 1, "the scan that makes up for the missed tick")
        # Both sensors have looked again, and found nothing to do.
        dagster, now = Questions(stack), time.time()
        for sensor in ("account_schedules", "alerts"):
            eventually(lambda name=sensor: dagster.last_tick(name) > now, f"another tick of {sensor}")
        assert sorted(str(scan["account_id"]) for scan in scans(estate)) == [own, other]
        runs = [run for run in Questions(stack).runs() if run["jobName"] == "full_inventory"]
        assert len(runs) == 2
        assert len(heard) == 1, heard
