"""The commands, by what they are about."""

import typer

from qrie_dagster.cli import accounts, alerts, demo, mutes, policies, scans, status, tables

app = typer.Typer(
    name="qrie",
    help="An inventory of AWS accounts and the policy findings on them, kept true by an anti-entropy loop.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(tables.app, name="tables")
app.add_typer(accounts.app, name="accounts")
app.add_typer(policies.app, name="policies")
app.add_typer(mutes.app, name="mutes")
app.add_typer(scans.app, name="scan")
app.add_typer(alerts.app, name="alerts")
app.add_typer(demo.app, name="demo")
app.add_typer(status.summary_app, name="summary")
app.command("status")(status.status)
app.command("settings")(status.show_settings)
app.command("dashboard")(status.dashboard)
