"""AWS's own DynamoDB Local, from the npm package that ships its jar: fetched once into ``.qrie/``, run with Java."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PACKAGE = "amplify-dynamodb-simulator"
VERSION = "2.9.30"
SHA256 = "3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9"
CACHE = Path(__file__).parents[1] / ".qrie" / "dynamodb-local" / VERSION
START_SECONDS = 60


def require() -> None:
    """Skip the test where Java or npm are missing; in CI that is a failure."""
    missing = [tool for tool in ("java", "npm") if not shutil.which(tool)]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"DynamoDB Local needs {' and '.join(missing)}")


def installed() -> Path:
    """The folder of DynamoDB Local, fetched if it is not there yet."""
    jar = CACHE / "package" / "emulator" / "DynamoDBLocal.jar"
    if not jar.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        # Several test processes may come here at the same time: each unpacks on its own, the first one's stays.
        own = CACHE.with_name(f"{VERSION}.{os.getpid()}")
        own.mkdir()
        try:
            subprocess.run(
                ["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=own, check=True, capture_output=True
            )
            archive = own / f"{PACKAGE}-{VERSION}.tgz"
            if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
                raise RuntimeError(f"{archive.name} is not what it was")
            with tarfile.open(archive) as packed:
                packed.extractall(own, filter="data")
            if not jar.exists():
                (own / "package").rename(CACHE / "package")
        finally:
            shutil.rmtree(own, ignore_errors=True)
    return jar.parent


@contextmanager
def running(port: int, folder: Path | None, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """DynamoDB Local on ``port``, keeping its data in ``folder`` or, without one, in memory; yields its guard."""
    home = installed()
    where = ["-inMemory"] if folder is None else ["-dbPath", str(folder)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                # The guard ends it when this process dies without a word.
                *(sys.executable, "-m", "qrie_dagster.demo.guard"),
                *("java", "-Xmx512m", f"-Djava.library.path={home / 'DynamoDBLocal_lib'}"),
                *(
                    "-jar",
                    str(home / "DynamoDBLocal.jar"),
                    "-port",
                    str(port),
                    "-sharedDb",
                    "-disableTelemetry",
                    *where,
                ),
            ],
            # It leaves a file of its own where it starts.
            cwd=CACHE,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
    try:
        _wait(process, port, log)
        yield process
    finally:
        kill(process)


def kill(guard: subprocess.Popen[bytes]) -> None:
    """End DynamoDB Local at once, with no chance to tidy up."""
    # It may be ended by several threads at once.
    with suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{guard.pid}/task/{guard.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
    guard.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"DynamoDB Local did not start:\n{log.read_text()}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
