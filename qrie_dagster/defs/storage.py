"""Dagster's own storage on a single machine."""

from pathlib import Path

from dagster import DagsterInstance


def create_storage(home: Path) -> None:
    """Create what ``home``, a DAGSTER_HOME with its dagster.yaml, keeps its runs and events in; safe to run again.

    Processes that start at the same time on an empty SQLite storage trip over each other while they create its tables.
    """
    with DagsterInstance.from_config(str(home)):
        pass
