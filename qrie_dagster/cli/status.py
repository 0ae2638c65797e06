"""``qrie status`` and its like: the state of the loop."""

from typing import Annotated, Any

import typer

from qrie_dagster.alerting import alert_state
from qrie_dagster.alerts import trouble
from qrie_dagster.cli.output import console, say, say_json, say_table
from qrie_dagster.drift import DriftRules
from qrie_dagster.settings import settings, settings_table
from qrie_dagster.store import open_store
from qrie_dagster.summary import status as summary_status
from qrie_dagster.summary.rebuild import rebuild
from qrie_dagster.times import iso, now_ms


class DriftError(Exception):
    """The loop has drifted, as was said already."""


summary_app = typer.Typer(help="The numbers that the dashboard shows.", no_args_is_help=True)


def status(as_json: Annotated[bool, typer.Option("--json", help="For other programs.")] = False) -> None:
    """Show whether the loop runs. Exit code 2 means drift."""
    store = open_store(settings())
    now = now_ms()
    board = summary_status.dashboard(store, DriftRules.of(settings()), now)
    board["alerts"] = {"trouble": trouble(alert_state(store), now)}
    if as_json:
        say_json(board)
    else:
        _show(board)
    if board["anti_entropy"]["drift_detected"]:
        raise DriftError


def _show(board: dict[str, Any]) -> None:
    loop = board["anti_entropy"]
    verdict = "[bold red]DRIFT" if loop["drift_detected"] else "[bold green]No drift"
    console.print(f"{verdict}[/]  {board['accounts']} accounts, {board['resources']} resources, ", end="")
    say(f"{board['total_open_findings']} open findings ({board['critical_open_findings']} critical)")
    for reason in loop["drift_reasons"]:
        say(f"  {reason}")
    for sentence in board["alerts"]["trouble"]:
        say(f"  {sentence}")
    rows = []
    for name, hours in (("last_inventory_scan", "inventory_hours"), ("last_policy_scan", "policy_hours")):
        scan = loop[name]
        age = "never" if scan["age_hours"] is None else f"{scan['age_hours']} h"
        failed = (scan["failed_scopes"] or {}).get("count", "")
        rows.append([name, iso(scan["timestamp_ms"]), age, f"{loop['thresholds'][hours]:g} h", failed])
    say_table("The loop", ["scan", "ended", "age", "limit", "failed scopes"], rows)
    stale = loop["stale_scopes"]
    if stale["count"]:
        say_table(
            f"{stale['count']} (account, service) are stale on their own",
            ["kind", "account", "service", "last success", "last error"],
            [
                [s["kind"], s["account_id"], s["service"], iso(s["timestamp_ms"]) or "never", s["last_error"]]
                for s in stale["first"]
            ],
        )


def show_settings() -> None:
    """Show every environment variable that qrie reads, its default and what it means."""
    say(settings_table())


def dashboard() -> None:
    """Serve the dashboard and its API."""
    from qrie_dagster.dashboard.serve import serve

    serve(settings())


@summary_app.callback()
def summary() -> None:
    """The numbers that the dashboard shows."""


@summary_app.command("rebuild")
def rebuild_() -> None:
    """Compute all totals again from the stored resources and findings."""
    for number, account_id in enumerate(rebuild(open_store(settings())), start=1):
        say(f"{number}: {account_id}")
