"""An emulated AWS in a process of its own, one for the whole run, and a store in it for each test."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
from botocore.exceptions import ClientError

from qrie_dagster.demo import emulator
from qrie_dagster.settings import ENV_FILE, PREFIX, Settings, load_settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.store.tables import create_tables

# A busy machine is slow, which is nobody's fault.
hypothesis.settings.register_profile("qrie", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("qrie")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: real processes, then the model of the loop."""
    items.sort(key=lambda item: (item.get_closest_marker("e2e") is None, "/model/" not in str(item.path)))


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_this_machine() -> Iterator[None]:
    """No test sees the variables, profiles or credentials of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith((PREFIX, "AWS_", "MOTO_")):
                patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv(ENV_FILE, "")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        yield


@pytest.fixture(scope="session")
def moto_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a moto server that answers for all of AWS."""
    with emulator.running(log=tmp_path_factory.mktemp("moto") / "server.log", plain=True) as endpoint:
        yield endpoint


@pytest.fixture
def make_settings(moto_endpoint: str) -> Callable[..., Settings]:
    """``make_settings(**values)``: settings that lead to the emulator and to table names nobody else has."""
    prefix = f"t{uuid4().hex[:12]}_"

    def make(**values: Any) -> Settings:
        return load_settings(**{"endpoint_url": moto_endpoint, "table_prefix": prefix, **values})

    return make


@pytest.fixture
def empty_store(make_settings: Callable[..., Settings]) -> Store:
    """A store without tables."""
    return open_store(make_settings())


@pytest.fixture
def store(empty_store: Store) -> Store:
    """A store with its tables, empty."""
    create_tables(empty_store.dynamo)
    return empty_store


_NUMBERS = count(uuid4().int % 10**11)


@pytest.fixture
def new_id() -> Callable[[], str]:
    """``new_id()``: an account id that no other test uses."""
    return lambda: f"{next(_NUMBERS) % 10**12:012d}"


@pytest.fixture
def account_id(new_id: Callable[[], str]) -> str:
    """An account id that no other test uses."""
    return new_id()


@pytest.fixture
def before_calls() -> Callable[..., None]:
    """``before_calls(client, operation, do)``: ``do(number)`` runs before each such call, counted from 1.

    What it raises, the caller gets in place of an answer.
    """

    def register(client: Any, operation: str, do: Callable[[int], None]) -> None:
        calls = count(1)
        service = client.meta.service_model.service_id.hyphenize()

        def before(**_: Any) -> None:
            do(next(calls))

        client.meta.events.register(f"before-call.{service}.{operation}", before)

    return register


@pytest.fixture
def refuse(before_calls: Callable[..., None]) -> Callable[..., None]:
    """``refuse(client, operation, code)``: AWS refuses such calls with ``code``, from call number ``begin`` on."""

    def register(client: Any, operation: str, code: str = "AccessDenied", begin: int = 1) -> None:
        def refused(number: int) -> None:
            if number >= begin:
                raise ClientError({"Error": {"Code": code, "Message": "not today"}}, operation)

        before_calls(client, operation, refused)

    return register


@pytest.fixture
def count_calls() -> Callable[[Any], Counter[str]]:
    """``count_calls(client)``: the requests the client sends from now on, by operation."""

    def register(client: Any) -> Counter[str]:
        sent: Counter[str] = Counter()
        client.meta.events.register("request-created", lambda operation_name, **_: sent.update([operation_name]))
        return sent

    return register
