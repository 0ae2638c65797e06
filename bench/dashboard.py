"""GET /summary/dashboard with 100 and with 20,000 findings: how much longer the second takes.

Run by `python bench/dashboard.py`. Over HTTP, against a store in an emulator, both in the same run and in turns, so
that whatever else the machine does concerns both alike.
"""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx
import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "dashboard"))

from many_findings import many_findings, sum_up

from qrie_dagster.dashboard.app import create_app
from qrie_dagster.demo import emulator
from qrie_dagster.demo.stack import environment, use
from qrie_dagster.models import Account
from qrie_dagster.settings import Settings, load_settings
from qrie_dagster.store import open_store
from qrie_dagster.store.tables import create_tables

FEW, MANY = 100, 20_000
ROUNDS = 105
WARM_UP = 5
ACCOUNT = "111122223333"
TOKEN = "a-token-for-the-benchmark"


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The dashboard on a free port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def estate_with(findings: int) -> Settings:
    """Tables as scans would leave them with so many findings."""
    settings = load_settings(table_prefix=f"bench{findings}_", api_token=TOKEN)
    store = open_store(settings)
    create_tables(store.dynamo)
    store.accounts.add(Account(account_id=ACCOUNT))
    sum_up(store, ACCOUNT, many_findings(ACCOUNT, findings))
    return settings


def seconds(client: httpx.Client, url: str, findings: int) -> float:
    """How long one answer takes."""
    started = time.perf_counter()
    answer = client.get(f"{url}/summary/dashboard")
    took = time.perf_counter() - started
    assert answer.json()["total_open_findings"] == findings, answer.text
    return took


def main() -> None:
    """Measure and print."""
    with emulator.running() as endpoint:
        use(environment(endpoint, Path("/nonexistent")))
        few, many = estate_with(FEW), estate_with(MANY)
        with (
            serving(few) as few_url,
            serving(many) as many_url,
            httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as client,
        ):
            turns = [(few_url, FEW), (many_url, MANY)]
            times: dict[int, list[float]] = {FEW: [], MANY: []}
            for number in range(ROUNDS):
                # Each goes first as often as the other.
                for url, findings in turns[:: 1 if number % 2 else -1]:
                    times[findings].append(seconds(client, url, findings))
    few_s, many_s = (median(times[findings][WARM_UP:]) for findings in (FEW, MANY))
    print(f"{FEW:>6} findings: {few_s * 1000:.1f} ms (median of {ROUNDS - WARM_UP})")
    print(f"{MANY:>6} findings: {many_s * 1000:.1f} ms")
    print(f"ratio: {many_s / few_s:.2f}")


if __name__ == "__main__":
    main()
