"""A small estate on a real emulator, a store, and questions to a real Dagster."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from qrie_dagster.demo import emulator
from qrie_dagster.demo.access import enter
from qrie_dagster.demo.stack import Stack, environment, use
from qrie_dagster.registry import new_account, register
from qrie_dagster.settings import settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.store.tables import create_tables

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


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with emulator.running(log=tmp_path_factory.mktemp("emulator") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def estate(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """Five accounts with two buckets and a volume each, registered, every policy launched."""
    home = tmp_path_factory.mktemp("dagster")
    accounts = [f"30000000000{number}" for number in range(5)]
    for account_id in accounts:
        s3 = enter(endpoint, account_id).client("s3")
        for name in ("logs", "site"):
            s3.create_bucket(Bucket=f"{name}-{account_id}")
        enter(endpoint, account_id).client("ec2").create_volume(AvailabilityZone="us-east-1a", Size=1, Encrypted=False)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(endpoint, home).items():
            patch.setenv(name, value)
        use(environment(endpoint, home))
        store = open_store(settings())
        create_tables(store.dynamo)
        register(store, [new_account(account_id) for account_id in accounts])
        yield Estate(endpoint, accounts, store, home)
    settings.cache_clear()


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
