"""The whole of qrie on one machine, against an endpoint: Dagster's webserver and daemon, and the dashboard."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from time import monotonic, sleep

import httpx

from qrie_dagster.demo.access import DUMMY
from qrie_dagster.demo.processes import port, running
from qrie_dagster.errors import QrieError
from qrie_dagster.settings import ENV_FILE, settings

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180


@dataclass(frozen=True)
class Stack:
    """Where everything answers; ``environment`` is what its processes run with."""

    dagster_url: str
    dashboard_url: str
    token: str
    environment: dict[str, str]


def environment(endpoint: str, home: Path, **more: str) -> dict[str, str]:
    """The environment of every process: the emulator and dummy credentials, nothing of this machine's AWS set-up."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "QRIE_", "DAGSTER_"))}
    return {
        **kept,
        **{name.upper(): value for name, value in DUMMY.items()},
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        # Whoever starts it in a checkout of their own has settings there that are none of its business.
        ENV_FILE: "",
        # Full scans are started explicitly.
        "QRIE_BOOTSTRAP_NEW_ACCOUNTS": "false",
        "QRIE_ENDPOINT_URL": endpoint,
        "QRIE_REGIONS": "us-east-1,eu-west-1",
        "DAGSTER_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def use(environment: dict[str, str]) -> None:
    """Make this process one of the stack's: its settings are read anew."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "QRIE_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ.update(environment)
    settings.cache_clear()


def prepare_home(home: Path) -> None:
    """A DAGSTER_HOME with qrie's instance configuration and its storage."""
    # Takes seconds to import, which only those pay who start Dagster.
    from qrie_dagster.defs.storage import create_storage

    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    create_storage(home)


@contextmanager
def running_stack(endpoint: str, home: Path, ports: tuple[int, int] = (0, 0), **more: str) -> Iterator[Stack]:
    """Webserver, daemon and dashboard, once all of them answer; ``more`` is added to their environment.

    ``ports`` are those that webserver and dashboard would like; free ones are taken instead of 0 and of taken ones.
    """
    prepare_home(home)
    dagster_port, dashboard_port = map(port, ports)
    token = secrets.token_urlsafe(24)
    dagster_url = f"http://127.0.0.1:{dagster_port}"
    shared = environment(
        endpoint,
        home,
        QRIE_DAGSTER_URL=dagster_url,
        QRIE_DASHBOARD_PORT=str(dashboard_port),
        QRIE_API_TOKEN=token,
        **more,
    )
    workspace = str(ROOT / "workspace.yaml")
    with ExitStack() as running_processes:
        processes = {}
        for name, command in {
            "webserver": ["dagster_webserver", "-w", workspace, "-h", "127.0.0.1", "-p", str(dagster_port)],
            "daemon": ["dagster._daemon", "run", "-w", workspace],
            "dashboard": ["qrie_dagster", "dashboard"],
        }.items():
            processes[name] = running_processes.enter_context(running(command, home / f"{name}.log", shared))
        stack = Stack(dagster_url, f"http://127.0.0.1:{dashboard_port}", token, shared)
        _wait_until_up(stack, processes, home)
        yield stack


def _wait_until_up(stack: Stack, processes: Mapping[str, Popen[bytes]], home: Path) -> None:
    deadline = monotonic() + START_SECONDS
    for url in (f"{stack.dagster_url}/server_info", f"{stack.dashboard_url}/healthz"):
        while not _answers(url):
            for name, process in processes.items():
                if process.poll() is not None:
                    last = (home / f"{name}.log").read_text().strip().splitlines()[-1:]
                    raise QrieError(f"The {name} did not start: {' '.join(last)}")
            if monotonic() > deadline:
                raise QrieError(f"{url} does not answer after {START_SECONDS} s; the logs are in {home}.")
            sleep(0.3)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
