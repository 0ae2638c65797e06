"""``qrie alerts``."""

import typer

from qrie_dagster.alerts import Message
from qrie_dagster.cli.output import say
from qrie_dagster.errors import NotDeliveredError, QrieError
from qrie_dagster.notify import channels
from qrie_dagster.settings import settings

app = typer.Typer(help="Who is told when something changes.", no_args_is_help=True)


@app.callback()
def alerts() -> None:
    """Who is told when something changes."""


@app.command()
def test() -> None:
    """Send a test message to everyone who is told of alerts. Exit code 1 if anyone cannot be told."""
    to_tell = channels(settings())
    if not to_tell:
        raise QrieError("There is nobody to tell: set QRIE_ALERT_SNS_TOPIC_ARN or QRIE_ALERT_URLS.")
    message = Message("qrie: test", f"A test: alerts of qrie arrive here.\n\n{settings().dashboard_link}")
    failed = False
    for channel in to_tell:
        try:
            channel.send(message)
        except NotDeliveredError as error:
            failed = True
            say(f"{channel.name}: not delivered: {error}")
        else:
            say(f"{channel.name}: delivered")
    if failed:
        raise typer.Exit(1)
