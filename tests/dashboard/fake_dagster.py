"""A stand-in for Dagster's webserver: answers the few GraphQL questions that qrie asks, on the loopback interface."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class FakeDagster:
    """What it was asked to launch. ``active`` are scan ids with runs under way; ``on_launch`` is told of each scan."""

    url: str = ""
    launched: list[dict[str, Any]] = field(default_factory=list)
    active: set[str] = field(default_factory=set)
    partitions: list[str] = field(default_factory=list)
    on_launch: Callable[[str], None] = lambda _scan_id: None
    is_away: bool = False

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse whatever is asked meanwhile."""
        self.is_away = True
        try:
            yield
        finally:
            self.is_away = False

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of one question."""
        if "repositoriesOrError" in query:
            jobs = [{"name": "full_inventory"}, {"name": "policy_scan"}]
            return {"repositoriesOrError": {"nodes": [{"name": "r", "location": {"name": "qrie"}, "jobs": jobs}]}}
        if "addDynamicPartition" in query:
            self.partitions.append(variables["key"])
            return {"addDynamicPartition": {"__typename": "AddDynamicPartitionSuccess"}}
        if "partitionKeys" in query:
            return {"assetNodeOrError": {"partitionKeys": self.partitions}}
        if "launchMultipleRuns" in query:
            return {"launchMultipleRuns": {"launchMultipleRunsResult": list(map(self._launch, variables["runs"]))}}
        if "runsOrError" in query:
            runs = [
                {"runId": f"run-{scan_id}", "jobName": "x", "status": "STARTED", "tags": _tags(scan_id)}
                for scan_id in sorted(self.active)
            ]
            return {"runsOrError": {"results": runs}}
        raise AssertionError(query)

    def _launch(self, run: dict[str, Any]) -> dict[str, Any]:
        tags = {tag["key"]: tag["value"] for tag in run["executionMetadata"]["tags"]}
        self.launched.append({**run["selector"], "tags": tags})
        self.active.add(tags["qrie/scan_id"])
        Thread(target=self.on_launch, args=(tags["qrie/scan_id"],), daemon=True).start()
        return {"__typename": "LaunchRunSuccess", "run": {"runId": f"run-{len(self.launched)}"}}


def _tags(scan_id: str) -> list[dict[str, str]]:
    return [{"key": "qrie/scan_id", "value": scan_id}]


@contextmanager
def running() -> Iterator[FakeDagster]:
    """One, for as long as the context lasts."""
    fake = FakeDagster()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"data": fake.answer(question["query"], question["variables"])}).encode()
            self.send_response(503 if fake.is_away else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
