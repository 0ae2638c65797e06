"""``qrie policies``."""

from typing import Annotated

import typer

from qrie_dagster import policy_changes
from qrie_dagster.cli.output import say, say_json, say_table
from qrie_dagster.models import Scope
from qrie_dagster.policies.policy import all_policies, band, find_policy
from qrie_dagster.settings import settings
from qrie_dagster.store import open_store

app = typer.Typer(help="The policies there are, and those that are launched.", no_args_is_help=True)

PolicyId = Annotated[str, typer.Argument(help="The policy's id, as 'qrie policies list' shows it.")]
SCAN = "The next policy scan applies it; 'qrie scan policy --policy {}' does so now."


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="For other programs.")] = False) -> None:
    """Show every policy and whether it is launched."""
    launched = {policy.policy_id: policy for policy in open_store(settings()).policies.all()}
    if as_json:
        say_json([policy.model_dump(mode="json") for policy in launched.values()])
        return
    rows = []
    for policy in all_policies().values():
        launch = launched.get(policy.id)
        severity = launch.severity if launch and launch.severity is not None else policy.severity
        status = launch.status if launch else "available"
        rows.append([policy.id, policy.service, f"{severity} {band(severity)}", status, policy.description])
    say_table("Policies", ["policy", "service", "severity", "status", "what it finds"], rows)


@app.command()
def show(policy_id: PolicyId) -> None:
    """Show what a policy is about and how to mend what it finds."""
    policy = find_policy(policy_id)
    say(f"{policy.id}  {policy.severity} {band(policy.severity)}  {policy.category}  {policy.resource_type}")
    say(policy.description)
    say(f"Mend: {policy.remediation}")
    say(f"Controls: {', '.join(policy.controls) or 'none'}")


@app.command()
def launch(
    policy_id: PolicyId,
    severity: Annotated[int | None, typer.Option(help="0-100 instead of the policy's own.")] = None,
    include_account: Annotated[list[str] | None, typer.Option(help="Only this account.")] = None,
    exclude_account: Annotated[list[str] | None, typer.Option(help="All but this account.")] = None,
    include_ou: Annotated[list[str] | None, typer.Option(help="Only accounts in this OU path.")] = None,
    exclude_ou: Annotated[list[str] | None, typer.Option(help="All but accounts in this OU path.")] = None,
) -> None:
    """Launch a policy, or a suspended one again."""
    given = {
        "include_accounts": include_account,
        "exclude_accounts": exclude_account,
        "include_ou_paths": include_ou,
        "exclude_ou_paths": exclude_ou,
    }
    scope = Scope(**{name: values for name, values in given.items() if values}) if any(given.values()) else None
    policy_changes.launch(open_store(settings()), policy_id, scope, severity=severity)
    say(f"{policy_id} is launched. {SCAN.format(policy_id)}")


@app.command()
def suspend(policy_id: PolicyId) -> None:
    """Stop evaluating a policy and resolve its findings."""
    resolved = policy_changes.suspend(open_store(settings()), policy_id)
    say(f"{policy_id} is suspended, {resolved} findings resolved.")


@app.command()
def delete(policy_id: PolicyId) -> None:
    """Forget a launched policy and resolve its findings."""
    resolved = policy_changes.delete(open_store(settings()), policy_id)
    say(f"{policy_id} is no longer launched, {resolved} findings resolved.")
