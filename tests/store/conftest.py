"""Every test of the store runs on two engines: moto, and AWS's own DynamoDB Local, which is far stricter."""

from collections.abc import Callable, Iterator

import dynamodb_local
import pytest

from qrie_dagster.settings import Settings


@pytest.fixture(scope="session")
def dynamodb_local_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    dynamodb_local.require()
    port = dynamodb_local.free_port()
    with dynamodb_local.running(port, None, tmp_path_factory.mktemp("dynamodb-local") / "log"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(params=["moto", "dynamodb-local"])
def engine(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings that lead to an engine."""
    if request.param == "moto":
        return {}
    return {"dynamodb_endpoint_url": request.getfixturevalue("dynamodb_local_endpoint")}


@pytest.fixture
def make_settings(make_settings: Callable[..., Settings], engine: dict[str, str]) -> Callable[..., Settings]:
    return lambda **values: make_settings(**{**engine, **values})
