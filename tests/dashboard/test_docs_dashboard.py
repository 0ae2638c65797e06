"""docs/dashboard.md names the routes there are, and images that exist."""

import re
from pathlib import Path

from dashboard_client import TOKEN

from qrie_dagster.dashboard.app import create_app
from qrie_dagster.settings import Settings

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "dashboard.md").read_text("utf-8")


def test_every_route_is_in_the_documentation_and_no_other() -> None:
    document = create_app(Settings(_env_file=None, api_token=TOKEN)).openapi()
    routes = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    described = set(re.findall(r"`((?:GET|POST|PUT|DELETE) /[\w/{}]+)", TEXT))
    assert {re.sub(r"\w+_id", "id", route) for route in routes} == described


def test_every_filter_is_in_the_documentation() -> None:
    document = create_app(Settings(_env_file=None, api_token=TOKEN)).openapi()
    for path in ("/findings", "/resources"):
        row = re.search(rf"`GET {path}\?([\w&]+)`", TEXT)
        assert row
        names = {parameter["name"] for parameter in document["paths"][path]["get"]["parameters"]}
        assert set(row.group(1).split("&")) == names - {"page_size", "next_token"}


def test_every_image_is_there_and_small() -> None:
    images = re.findall(r"\]\((images/[\w.-]+)\)", TEXT)
    assert images
    for image in images:
        assert (DOCS / image).stat().st_size < 200_000
