"""``qrie alerts``."""

import typer

from qrie_dagster import alerting
from qrie_dagster.alerts import Message
from qrie_dagster.cli.output import say
from qrie_dagster.errors import NotDeliveredError, QrieError
from qrie_dagster.notify import Channel, channels
from qrie_dagster.settings import settings
from qrie_dagster.store import open_store
from qrie_dagster.times import now_ms

app = typer.Typer(help="Who is told when something changes.", no_args_is_help=True)


@app.callback()
def alerts() -> None:
    """Who is told when something changes."""


@app.command()
def test() -> None:
    """Send a test message to everyone who is told of alerts. Exit code 1 if anyone cannot be told."""
    to_tell = _channels()
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


@app.command()
def look() -> None:
    """Tell what changed, without Dagster: for a timer elsewhere. Exit code 1 if anyone cannot be told."""
    to_tell = _channels()
    told = alerting.look(open_store(settings()), settings(), to_tell, now_ms())
    for name, count in told.sent.items():
        say(f"{name}: told of {count} changes")
    for sentence in (*told.failed, *told.trouble):
        say(sentence)
    if told.failed or told.trouble:
        raise typer.Exit(1)
    if not told.sent:
        say(f"Nothing to tell; {told.waiting} wait." if told.waiting else "Nothing changed.")


def _channels() -> list[Channel]:
    to_tell = channels(settings())
    if not to_tell:
        raise QrieError("There is nobody to tell: set QRIE_ALERT_SNS_TOPIC_ARN or QRIE_ALERT_URLS.")
    return to_tell
