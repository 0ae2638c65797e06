"""The emulator's process: it answers, and nothing of it is left behind."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from qrie_dagster.demo import emulator
from qrie_dagster.demo.access import client
from qrie_dagster.errors import QrieError

HOLD = """
import time
from qrie_dagster.demo import emulator
with emulator.running() as url:
    print(url, flush=True)
    time.sleep(60)
"""


def _answers(url: str) -> bool:
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == 0


def _falls_silent(url: str) -> bool:
    deadline = time.monotonic() + 10
    while _answers(url) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not _answers(url)


def test_it_answers_and_stops_after_an_error(tmp_path: Path) -> None:
    urls = []
    with suppress(ZeroDivisionError), emulator.running(log=tmp_path / "log") as url:
        urls.append(url)
        assert client(url, "s3").list_buckets()["Buckets"] == []
        raise ZeroDivisionError
    assert _falls_silent(urls[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_the_process_that_started_it(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as holder:
        assert holder.stdout is not None
        url = holder.stdout.readline().strip()
        assert _answers(url)
        holder.send_signal(number)
    assert _falls_silent(url)


def test_a_taken_port_is_said_plainly(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(QrieError, match=f"did not start on port {port}"), emulator.running(port, tmp_path / "log"):
            pass
    assert "in use" in (tmp_path / "log").read_text()
