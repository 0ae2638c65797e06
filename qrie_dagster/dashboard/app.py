"""The dashboard's application."""

from typing import Any

from fastapi import FastAPI

from qrie_dagster.drift import DriftRules
from qrie_dagster.settings import Settings
from qrie_dagster.store import open_store
from qrie_dagster.summary.status import dashboard
from qrie_dagster.times import now_ms


def create_app(settings: Settings) -> FastAPI:
    """The application over the tables that the settings name."""
    app = FastAPI(title="qrie")
    store = open_store(settings)
    rules = DriftRules.of(settings)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/summary/dashboard")
    def summary_dashboard() -> dict[str, Any]:
        return dashboard(store, rules, now_ms())

    return app
