"""A process that keeps another, and ends it when nobody is left who wants it.

Run by ``processes.running`` as ``python -m qrie_dagster.demo.guard COMMAND...``. The command and all it
starts are one process group. When standard input ends, because whoever started this closed it or died without a word,
the group is ended.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from threading import Thread

STOP_SECONDS = 15.0


def main(command: list[str]) -> None:
    """Run ``command`` until it ends by itself or standard input does; exits with its exit code."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end_group(process, signal.SIGTERM))
    Thread(target=_end_when_abandoned, args=(process,), daemon=True).start()
    code = process.wait()
    # What the command left behind.
    _end_group(process, signal.SIGKILL)
    os._exit(code if code >= 0 else 128 - code)


def _end_when_abandoned(process: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    _end_group(process, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _end_group(process, signal.SIGKILL)


def _end_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    main(sys.argv[1:])
