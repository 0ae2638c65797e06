"""Processes that live no longer than the one that starts them."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(command: Sequence[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """``command`` (a module of this Python and its arguments), for as long as the context lasts.

    It and everything it starts end with the context, and also, by themselves, when this process dies without a word.
    The process given is the guard of the command.
    """
    with log.open("ab") as output:
        guard = subprocess.Popen(
            [sys.executable, "-m", "qrie_dagster.demo.guard", sys.executable, "-m", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C reaches this process alone, which then ends the others in its own order.
            start_new_session=True,
        )
    try:
        yield guard
    finally:
        stop(guard)


def stop(guard: subprocess.Popen[bytes]) -> None:
    """End the command of a guard and all it started: asked first, then killed."""
    if guard.stdin:
        guard.stdin.close()
    guard.wait()


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that every context above it is left in order."""

    def leave(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def port(preferred: int) -> int:
    """``preferred`` if nobody listens there, else a free port."""
    for wanted in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on the loopback interface")
