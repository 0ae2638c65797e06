"""``qrie mutes``."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from qrie_dagster import mute_changes
from qrie_dagster.cli.output import say, say_json, say_table
from qrie_dagster.errors import QrieError
from qrie_dagster.mutes import Mute
from qrie_dagster.settings import settings
from qrie_dagster.store import open_store
from qrie_dagster.store.mutes import load_mutes
from qrie_dagster.times import as_ms, iso, now_ms

app = typer.Typer(help="The rules by which findings are set aside, with a reason.", no_args_is_help=True)


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Those that ended too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For other programs.")] = False,
) -> None:
    """Show the mutes, what they are about, and until when."""
    now = now_ms()
    rules = [rule for rule in load_mutes(open_store(settings()).summary).rules if all_ or rule.holds(now)]
    if as_json:
        say_json([rule.model_dump(mode="json") for rule in rules])
        return
    say_table(
        f"{len(rules)} mutes",
        ["mute", "what", "reason", "author", "since", "until"],
        [
            [rule.id, _what(rule), rule.reason, rule.author, iso(rule.created_ms), iso(rule.expires_ms) or "no end"]
            for rule in rules
        ],
    )


def _what(rule: Mute) -> str:
    parts = [
        rule.policy,
        rule.account_id,
        *(f"{key}={' or '.join(values)}" for key, values in rule.tags.items()),
        rule.arn,
    ]
    return ", ".join(part for part in parts if part)


@app.command()
def add(
    reason: Annotated[str, typer.Option(help="Why these findings need no action.")],
    author: Annotated[str, typer.Option(help="Who says so.")],
    policy: Annotated[str | None, typer.Option(help="Findings of this policy.")] = None,
    account: Annotated[str | None, typer.Option(help="Findings in this account.")] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(help="Findings on what has this tag, key=value; a key may be repeated with other values."),
    ] = None,
    arn: Annotated[str | None, typer.Option(help="Findings on this ARN; * and ? are wildcards.")] = None,
    until: Annotated[datetime | None, typer.Option(help="When the mute ends, UTC.")] = None,
) -> None:
    """Mute the findings that match everything given, now and whenever they turn up."""
    tags: dict[str, list[str]] = {}
    for text in tag or ():
        key, separator, value = text.partition("=")
        if not separator:
            raise QrieError("A tag is key=value, such as --tag stage=sandbox.")
        tags.setdefault(key, []).append(value)
    muted = mute_changes.add(
        open_store(settings()),
        reason=reason,
        author=author,
        expires_ms=as_ms(until.replace(tzinfo=UTC)) if until else None,
        policy=policy,
        account_id=account,
        tags=tags,
        arn=arn,
    )
    say(f"Mute {muted.rule.id} is added: {muted.findings} findings are muted by it now.")


@app.command()
def remove(mute_id: Annotated[str, typer.Argument(help="The mute's id, as 'qrie mutes list' shows it.")]) -> None:
    """Remove a mute; what no other mutes counts as open again."""
    muted = mute_changes.remove(open_store(settings()), mute_id)
    say(f"Mute {mute_id} is removed: {muted.findings} findings count as open again.")
