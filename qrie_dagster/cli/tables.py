"""``qrie tables``."""

import typer

from qrie_dagster.cli.output import say
from qrie_dagster.policy_changes import launch_all
from qrie_dagster.settings import settings
from qrie_dagster.store import open_store
from qrie_dagster.store.tables import POLICIES, create_tables

app = typer.Typer(help="qrie's DynamoDB tables.", no_args_is_help=True)


@app.callback()
def tables() -> None:
    """qrie's DynamoDB tables."""


@app.command()
def create() -> None:
    """Create what is missing and wait until it can be used. Running it again changes nothing."""
    store = open_store(settings())
    created = create_tables(store.dynamo)
    for name, is_new in created.items():
        say(f"{name}: {'created' if is_new else 'was there'}")
    if created[store.dynamo.name(POLICIES)] and settings().launch_all_policies:
        say(f"Launched all {launch_all(store)} policies, for everything.")
