"""Questions to a real Dagster, and the estate it works on."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from qrie_dagster.demo.access import enter
from qrie_dagster.demo.stack import Stack
from qrie_dagster.store import Store

T = TypeVar("T")
PATIENCE_SECONDS = 240


def eventually(ask: Callable[[], T], what: str, patience: float = PATIENCE_SECONDS) -> T:
    """The first true answer of ``ask``; fails after a while."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.5)
    raise AssertionError(f"{what} did not happen within {patience:.0f} s")


def copy_storage(home: Path, copy: Path) -> None:
    """Copy what Dagster keeps in ``home`` while it goes on writing there."""
    for database in home.rglob("*.db"):
        target = copy / database.relative_to(home)
        target.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database)) as live, closing(sqlite3.connect(target)) as copied:
            live.backup(copied)


@dataclass(frozen=True)
class Estate:
    """Accounts in an emulator, registered in a store."""

    endpoint: str
    accounts: list[str]
    store: Store
    home: Path

    def client(self, account_id: str, service: str) -> Any:
        """A client in one of the accounts, behind qrie's back."""
        return enter(self.endpoint, account_id).client(service)


class Questions:
    """What Dagster's webserver says."""

    def __init__(self, stack: Stack) -> None:
        self.url = stack.dagster_url

    def ask(self, query: str, **variables: Any) -> Any:
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """The runs with these tags (underscores stand for slashes), newest first."""
        wanted = [{"key": name.replace("__", "/"), "value": value} for name, value in tags.items()]
        query = """query($tags: [ExecutionTag!]) { runsOrError(filter: {tags: $tags}) { ... on Runs { results {
            runId jobName status tags { key value } } } } }"""
        return list(self.ask(query, tags=wanted)["runsOrError"]["results"])

    def process(self, run_id: str) -> int:
        """The process that executes a run, 0 as long as there is none."""
        query = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
            ... on EngineEvent { metadataEntries { label ... on TextMetadataEntry { text } } } } } } }"""
        events = self.ask(query, id=run_id)["logsForRun"]["events"]
        entries = [entry for event in events for entry in event.get("metadataEntries", ())]
        return next((int(entry["text"]) for entry in entries if entry["label"] == "pid"), 0)

    def last_tick(self, sensor: str) -> float:
        """When a sensor was last evaluated, in seconds since the epoch; 0 if it never was."""
        query = """query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor {
            sensorState { ticks(limit: 1, statuses: [SUCCESS, SKIPPED]) { timestamp } } } } }"""
        where = {"repositoryName": "__repository__", "repositoryLocationName": "qrie", "sensorName": sensor}
        ticks = self.ask(query, sensor=where)["sensorOrError"]["sensorState"]["ticks"]
        return float(ticks[0]["timestamp"]) if ticks else 0.0

    def asset(self, *path: str) -> dict[str, Any]:
        query = """query($path: [String!]!) { assetNodeOrError(assetKey: {path: $path}) { ... on AssetNode {
            freshnessStatusInfo { freshnessStatus }
            assetMaterializations(limit: 50) { partition runId metadataEntries { label
                ... on IntMetadataEntry { intRepr } ... on TextMetadataEntry { text } } }
            assetObservations(limit: 50) { partition description }
            } } }"""
        return dict(self.ask(query, path=list(path))["assetNodeOrError"])

    def freshness(self, asset: str) -> str:
        info = self.asset(asset)["freshnessStatusInfo"]
        return str(info["freshnessStatus"]) if info else "UNKNOWN"

    def metadata(self, asset: str) -> dict[str, Any]:
        """The metadata of the latest materialization."""
        entries = self.asset(asset)["assetMaterializations"][0]["metadataEntries"]
        return {e["label"]: int(e["intRepr"]) if "intRepr" in e else e.get("text") for e in entries}

    def materialized(self, *path: str) -> set[str]:
        """The partitions that were ever materialized."""
        return {event["partition"] for event in self.asset(*path)["assetMaterializations"]}
