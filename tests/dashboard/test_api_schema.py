"""The OpenAPI document, put to the test: schemathesis asks what it allows and compares the answers with it."""

from typing import Any

import pytest
import schemathesis
from dashboard_client import BEARER, TOKEN, client_of
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks

from qrie_dagster.dashboard.app import create_app
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store

# What the document allows may still name a policy or an account that does not exist, and the guard answers before
# the router does.
NOT_HERE = ("positive_data_acceptance", "unsupported_method", "ignored_auth")


def operations() -> list[tuple[str, str]]:
    document = create_app(Settings(_env_file=None, api_token=TOKEN)).openapi()
    return [(method, path) for path, methods in document["paths"].items() for method in methods]


@pytest.fixture
def described(own_settings: Settings, own_store: Store) -> Any:
    """The API over tables of its own: it is going to be changed."""
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(own_settings), headers=BEARER)


@pytest.mark.parametrize(("method", "path"), operations())
def test_answers_are_as_described(described: Any, method: str, path: str) -> None:
    """No request makes the server break or answer in another shape than it says."""
    load_all_checks()
    left_out = [check for check in CHECKS.get_all() if check.__name__ in NOT_HERE]

    @settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=described[path][method].as_strategy())
    def ask(case: Any) -> None:
        case.call_and_validate(headers=BEARER, excluded_checks=left_out)

    ask()


def test_the_document_is_for_those_with_the_token(own_settings: Settings) -> None:
    assert client_of(own_settings).get("/openapi.json").json()["info"]["title"] == "qrie"
