"""The dashboard's application over a seeded store in the emulator."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import fake_dagster
import pytest
from dashboard_client import TOKEN, client_of
from dashboard_seed import Seeded, seed
from fake_dagster import FakeDagster
from starlette.testclient import TestClient

from qrie_dagster.settings import Settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.store.tables import create_tables
from qrie_dagster.times import now_ms


@pytest.fixture(scope="session")
def seeded_settings(moto_endpoint: str) -> Settings:
    """Settings of tables that many tests read and none changes. Nothing answers where Dagster should be."""
    return Settings(
        _env_file=None,
        endpoint_url=moto_endpoint,
        table_prefix=f"d{uuid4().hex[:12]}_",
        api_token=TOKEN,
        dagster_url="http://127.0.0.1:9",
    )


@pytest.fixture(scope="session")
def seeded(seeded_settings: Settings) -> Seeded:
    """What those tables hold."""
    store = open_store(seeded_settings)
    create_tables(store.dynamo)
    return seed(store, now_ms(), per_service=6)


@pytest.fixture(scope="session")
def api(seeded_settings: Settings, seeded: Seeded) -> TestClient:
    """The API over the seeded tables, with the token."""
    return client_of(seeded_settings)


@pytest.fixture
def dagster() -> Iterator[FakeDagster]:
    """A Dagster that takes every scan and finishes none."""
    with fake_dagster.running() as fake:
        yield fake


@pytest.fixture
def own_settings(make_settings: Callable[..., Settings], dagster: FakeDagster) -> Settings:
    """Settings of tables that one test may change."""
    return make_settings(api_token=TOKEN, dagster_url=dagster.url)


@pytest.fixture
def own_store(own_settings: Settings) -> Store:
    """Those tables, empty."""
    store = open_store(own_settings)
    create_tables(store.dynamo)
    return store


@pytest.fixture
def own_api(own_settings: Settings, own_store: Store) -> TestClient:
    """The API over those tables."""
    return client_of(own_settings)
