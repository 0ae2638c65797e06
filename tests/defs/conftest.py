"""An instance of Dagster, its resources, and three accounts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance

from qrie_dagster.defs.resources import AwsResource, StoreResource
from qrie_dagster.registry import new_account, register
from qrie_dagster.settings import Settings
from qrie_dagster.settings import settings as cached_settings
from qrie_dagster.store import Store


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.local_temp(str(tmp_path)) as local:
        yield local


@pytest.fixture
def resources(store: Store, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("QRIE_ENDPOINT_URL", moto_endpoint)
    monkeypatch.setenv("QRIE_REGIONS", "us-east-1")
    cached_settings.cache_clear()
    here = Settings()
    aws = AwsResource.of(here)
    return {"store": StoreResource.of(here.model_copy(update={"table_prefix": store.dynamo.prefix})), "aws": aws}


@pytest.fixture(autouse=True)
def _settings_are_read_again() -> Iterator[None]:
    yield
    cached_settings.cache_clear()


@pytest.fixture
def accounts(store: Store, new_id: Callable[[], str]) -> list[str]:
    ids = sorted(new_id() for _ in range(3))
    register(store, [new_account(account_id) for account_id in ids])
    return ids
