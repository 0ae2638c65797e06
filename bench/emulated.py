"""What the benchmarks share: the demo's organisation, a store, latency, and counting of calls."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qrie_dagster.demo import emulator, organisation
from qrie_dagster.demo.stack import environment, use
from qrie_dagster.settings import load_settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.store.tables import create_tables


@contextmanager
def organisation_running() -> Iterator[str]:
    """The demo's organisation in an emulator; yields its endpoint."""
    with tempfile.TemporaryDirectory() as folder, emulator.running(log=Path(folder) / "log") as endpoint:
        print("Filling the emulated organisation ...", flush=True)
        organisation.build(endpoint, lambda _line: None)
        use(environment(endpoint, Path(folder)))
        yield endpoint


def new_store(prefix: str) -> Store:
    """Empty tables with a prefix of their own."""
    store = open_store(load_settings(table_prefix=prefix))
    create_tables(store.dynamo)
    return store


class Meter:
    """Counts the calls of a boto3 client or session by operation, and delays each by ``latency`` seconds."""

    def __init__(self, events: Any, latency: float = 0.0) -> None:
        self.calls: Counter[str] = Counter()
        self._latency = latency
        events.register("before-call", self._count)
        events.register("before-send", self._delay)

    def _count(self, model: Any, **_: Any) -> None:
        self.calls[f"{model.service_model.service_name}:{model.name}"] += 1

    def _delay(self, **_: Any) -> None:
        if self._latency:
            time.sleep(self._latency)


class TableWrites:
    """Counts the item writes of a store by table."""

    def __init__(self, store: Store) -> None:
        self.writes: Counter[str] = Counter()
        for operation in ("PutItem", "UpdateItem", "DeleteItem"):
            store.dynamo.client.meta.events.register(f"provide-client-params.dynamodb.{operation}", self._count)

    def _count(self, params: dict[str, Any], **_: Any) -> None:
        self.writes[params["TableName"]] += 1

    def of(self, store: Store, *tables: str) -> int:
        """Writes to some tables since the last look."""
        return sum(self.writes.pop(store.dynamo.name(table), 0) for table in tables)
