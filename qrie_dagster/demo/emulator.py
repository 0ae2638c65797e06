"""Starting and stopping the emulator: a moto server in a process of its own, on the loopback interface."""

import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from qrie_dagster.errors import QrieError

START_SECONDS = 60.0
STOP_SECONDS = 5.0


@contextmanager
def running(port: int | None = None, log: Path | None = None, *, plain: bool = False) -> Iterator[str]:
    """An emulator, for as long as the context lasts; yields its endpoint URL.

    It listens on ``port``, or on a free one. What it has to say goes to ``log``, or nowhere. It ends when the
    context ends, and also, by itself, when this process dies without a word. A ``plain`` one is moto as it is, without
    the past that the demo's accounts have.
    """
    with (log or Path(os.devnull)).open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "qrie_dagster.demo.server", str(port or 0), *(["plain"] if plain else [])],
            # It ends when its standard input does: that needs nobody alive here to stop it.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=_environment(),
            # Ctrl-C reaches this process alone, which then stops the emulator in its own order.
            start_new_session=True,
        )
        try:
            yield f"http://127.0.0.1:{_wait(process, port, log)}"
        finally:
            _stop(process)


def _environment() -> dict[str, str]:
    """The environment without settings that would change what the emulator holds or contacts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    # Hundreds of public images in each account and region take seconds to load and are not the organisation's.
    return {**kept, "MOTO_EC2_LOAD_DEFAULT_AMIS": "false", "PYTHONUNBUFFERED": "1"}


def _wait(process: subprocess.Popen[bytes], port: int | None, log: Path | None) -> int:
    """The port it listens on, which it tells once it does."""
    assert process.stdout is not None  # noqa: S101 - asked for above
    line = _read_line(process.stdout)
    if line.strip().isdigit():
        return int(line)
    where = f"port {port}" if port else "a free port"
    hint = f"see {log}" if log else "give it a log file to see why"
    raise QrieError(f"The emulator did not start on {where}: {hint}.")


def _read_line(stream: IO[bytes]) -> bytes:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return stream.readline() if selector.select(START_SECONDS) else b""


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
