"""The API as a client sees it."""

from typing import Any

from starlette.testclient import TestClient

from qrie_dagster.dashboard.app import create_app
from qrie_dagster.settings import Settings

TOKEN = "correct-horse-battery-staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def client_of(settings: Settings, **more: Any) -> TestClient:
    """The application over these settings, asked with the token."""
    return TestClient(create_app(settings), headers=BEARER, **more)


def all_rows(client: TestClient, path: str, rows: str, **params: Any) -> list[dict[str, Any]]:
    """The rows of every page; no page but the last may be empty."""
    found: list[dict[str, Any]] = []
    while True:
        answer = client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page[rows]
        if not page["next_token"]:
            return found
        assert page[rows]
        params["next_token"] = page["next_token"]
