"""The whole of qrie with DynamoDB Local as its store, while its daemon is killed around the ticks of a schedule.

What Dagster promises of ticks, and this shows: one missed while no daemon ran is made up for when one runs again (of
several the latest), and a daemon that dies in the middle of a tick does not launch its runs twice.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from real_dagster import Questions, eventually

from qrie_dagster.demo.access import client, enter
from qrie_dagster.demo.processes import running
from qrie_dagster.demo.stack import ROOT, Stack, environment, running_stack, use
from qrie_dagster.models import ScanKind
from qrie_dagster.policy_changes import launch_all
from qrie_dagster.registry import new_account, register
from qrie_dagster.settings import settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.store.tables import create_tables
from qrie_dagster.summary.records import LAST_INVENTORY_SCAN

sys.path.insert(0, str(Path(__file__).parents[1]))
import dynamodb_local

pytestmark = pytest.mark.e2e
ACCOUNTS = ["310000000000", "310000000001"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("restarts")


@pytest.fixture(scope="module")
def database(home: Path) -> Iterator[str]:
    dynamodb_local.require()
    port = dynamodb_local.free_port()
    (home / "data").mkdir()
    with dynamodb_local.running(port, home / "data", home / "dynamodb.log"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def store(endpoint: str, database: str, home: Path) -> Iterator[Store]:
    for account_id in ACCOUNTS:
        enter(endpoint, account_id).client("s3").create_bucket(Bucket=f"logs-{account_id}")
    here = environment(endpoint, home, QRIE_DYNAMODB_ENDPOINT_URL=database)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in here.items():
            patch.setenv(name, value)
        use(here)
        store = open_store(settings())
        create_tables(store.dynamo)
        register(store, [new_account(account_id) for account_id in ACCOUNTS])
        launch_all(store)
        yield store
    settings.cache_clear()


@pytest.fixture(scope="module")
def stack(endpoint: str, database: str, home: Path, store: Store) -> Iterator[Stack]:
    every_minute = {"QRIE_DYNAMODB_ENDPOINT_URL": database, "QRIE_INVENTORY_CRON": "* * * * *"}
    with running_stack(endpoint, home, **every_minute) as stack:
        yield stack


def daemon(home: Path) -> int:
    """The process of the daemon that works for ``home``."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command, variables = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
            except OSError:
                continue
            is_daemon = b"dagster._daemon" in command and b"demo.guard" not in command
            if is_daemon and f"DAGSTER_HOME={home}".encode() in variables:
                return int(process.name)
    raise AssertionError("no daemon is running")


def start_daemon(stack: Stack, home: Path, stacked: ExitStack) -> None:
    command = ["dagster._daemon", "run", "-w", str(ROOT / "workspace.yaml")]
    stacked.enter_context(running(command, home / "daemon.log", stack.environment))


def scan_id(tick: datetime) -> str:
    return f"{ScanKind.INVENTORY.value}-{tick:%Y%m%dT%H%M00Z}"


def test_no_tick_is_lost_or_doubled_when_the_daemon_is_killed(
    endpoint: str, stack: Stack, home: Path, store: Store
) -> None:
    dagster = Questions(stack)
    with ExitStack() as stacked:
        os.kill(daemon(home), signal.SIGKILL)
        missed = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        eventually(lambda: datetime.now(UTC) > missed + timedelta(seconds=2), "the next minute")
        assert dagster.runs(qrie__scan_id=scan_id(missed)) == []

        start_daemon(stack, home, stacked)
        eventually(lambda: dagster.runs(qrie__scan_id=scan_id(missed)), "the tick that was missed")
        # In the middle of launching and of running.
        os.kill(daemon(home), signal.SIGKILL)
        start_daemon(stack, home, stacked)
        last = eventually(lambda: store.summary.get(LAST_INVENTORY_SCAN), "a whole scan, summed up")

        assert last["scan_id"] >= scan_id(missed)
        assert last["failed_scopes"] == {"count": 0, "first": []}
        launched = Counter(
            (tag["value"], run["jobName"])
            for run in dagster.runs()
            for tag in run["tags"]
            if tag["key"] == "qrie/scan_id" and "dagster/parent_run_id" not in {t["key"] for t in run["tags"]}
        )
        assert set(launched.values()) == {1}, launched
        assert (scan_id(missed), "full_inventory") in launched

    stored = {arn for account_id in ACCOUNTS for arn in store.resources.index(account_id, "s3")}
    assert {f"arn:aws:s3:::logs-{account_id}" for account_id in ACCOUNTS} <= stored
    assert client(endpoint, "dynamodb").list_tables()["TableNames"] == [], "the emulator has only the accounts"
