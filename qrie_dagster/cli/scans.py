"""``qrie scan``: start a scan in Dagster and watch it."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from qrie_dagster.cli.output import console, say
from qrie_dagster.launch import Dagster
from qrie_dagster.models import ScanKind
from qrie_dagster.settings import settings
from qrie_dagster.store import Store, open_store

app = typer.Typer(
    help="Start a scan in Dagster: of everything, or of some accounts, services or policies.", no_args_is_help=True
)

Accounts = Annotated[list[str] | None, typer.Option("--account", help="Only this account; may be repeated.")]
Services = Annotated[list[str] | None, typer.Option("--service", help="Only this service; may be repeated.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until the scan is summed up.")]


@app.command()
def inventory(account: Accounts = None, service: Services = None, wait: Wait = True) -> None:
    """Compare the stored inventory with AWS and repair it."""
    _scan(ScanKind.INVENTORY, account or (), service or (), (), wait)


@app.command()
def policy(
    account: Accounts = None,
    service: Services = None,
    policy: Annotated[list[str] | None, typer.Option(help="Only this policy; may be repeated.")] = None,
    wait: Wait = True,
) -> None:
    """Evaluate the launched policies over the stored inventory."""
    _scan(ScanKind.POLICY, account or (), service or (), policy or (), wait)


def _scan(
    kind: ScanKind, accounts: Sequence[str], services: Sequence[str], policies: Sequence[str], wait: bool
) -> None:
    store = open_store(settings())
    launched = Dagster(settings()).launch(store, kind, accounts, services, policies)
    say(f"Scan {launched.scan.scan_id}: {len(launched.runs)} runs in Dagster.")
    if wait:
        describe(watch(Dagster(settings()), store, launched.scan))


def watch(dagster: Dagster, store: Store, scan: Any) -> dict[str, Any]:
    """Show the progress of a scan until it is summed up; returns its entry in the history."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"{scan.kind.value} scan", total=None)
        for progress in dagster.follow(store, scan):
            bar.update(task, completed=progress.done, total=progress.planned)
            if progress.summary:
                return progress.summary
            if not progress.running:
                bar.update(task, description=f"{scan.kind.value} scan, summing up")
    raise AssertionError("follow ends with a summary")


def describe(entry: dict[str, Any]) -> None:
    """What a scan did, in a few lines."""
    seconds = entry["duration_ms"] / 1000
    if entry["kind"] == ScanKind.INVENTORY.value:
        say(
            f"{entry['resources_found']} resources in {entry['accounts_processed']} accounts in {seconds:.1f} s: "
            f"{entry['resources_created']} created, {entry['resources_updated']} updated, "
            f"{entry['resources_deleted']} deleted."
        )
    else:
        say(
            f"{entry['processed_resources']} resources judged"
            f" in {entry['accounts_processed']} accounts in {seconds:.1f} s: "
            f"{entry['findings_created']} findings opened, {entry['findings_closed']} closed, "
            f"{entry['findings_updated']} changed; {entry['skipped_resources']} resources skipped."
        )
    failed = entry["failed_scopes"]
    if failed["count"]:
        say(f"{failed['count']} scopes failed:")
        for line in failed["first"]:
            say(f"  {line}")
