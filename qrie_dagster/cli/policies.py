"""``qrie policies``."""

from typing import Annotated, Any

import typer

from qrie_dagster import policy_changes
from qrie_dagster.cli.output import say, say_json, say_table
from qrie_dagster.errors import QrieError
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


Severity = Annotated[int | None, typer.Option(help="0-100 instead of the policy's own.")]
Remediation = Annotated[str | None, typer.Option(help="How to mend it here, instead of the policy's own words.")]
Scoped = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="RULE",
        help=(
            "What the policy is about: include-account=ID, exclude-account=ID, include-tag=KEY=VALUE,"
            " exclude-tag=KEY=VALUE, include-ou=PATH or exclude-ou=PATH; may be repeated, or be everything."
        ),
    ),
]


@app.command()
def launch(
    policy_id: PolicyId, severity: Severity = None, remediation: Remediation = None, scope: Scoped = None
) -> None:
    """Launch a policy, or a suspended one again, as it was where no option says otherwise."""
    changes = _changes(severity, remediation, scope)
    policy_changes.launch(open_store(settings()), policy_id, **changes)
    say(f"{policy_id} is launched. {SCAN.format(policy_id)}")


@app.command()
def update(
    policy_id: PolicyId, severity: Severity = None, remediation: Remediation = None, scope: Scoped = None
) -> None:
    """Change a launched policy. A scope replaces the one it had."""
    changes = _changes(severity, remediation, scope)
    if not changes:
        raise QrieError("Say what to change: --severity, --remediation or --scope.")
    policy_changes.update(open_store(settings()), policy_id, **changes)
    say(f"{policy_id} is changed. {SCAN.format(policy_id)}")


def _changes(severity: int | None, remediation: str | None, rules: list[str] | None) -> dict[str, Any]:
    given = {"severity": severity, "remediation": remediation, "scope": _scope(rules) if rules else None}
    return {name: value for name, value in given.items() if value is not None}


_LISTS = {"account": "accounts", "ou": "ou_paths"}


def _scope(rules: list[str]) -> Scope:
    """The scope that ``include-account=…`` and so on add up to. Raises QrieError naming the rule it cannot read."""
    fields: dict[str, Any] = {}
    for rule in rules:
        kind, _, value = rule.partition("=")
        verb, _, what = kind.partition("-")
        if verb in ("include", "exclude") and what in _LISTS and value:
            fields.setdefault(f"{verb}_{_LISTS[what]}", []).append(value)
        elif verb in ("include", "exclude") and what == "tag":
            key, equals, wanted = value.partition("=")
            if not (key and equals):
                raise QrieError(f"--scope {rule} cannot be read: a tag is KEY=VALUE, such as include-tag=stage=prod.")
            fields.setdefault(f"{verb}_tags", {}).setdefault(key, []).append(wanted)
        elif rule != "everything":
            raise QrieError(f"--scope {rule} cannot be read: see 'qrie policies launch --help' for what there is.")
    return Scope(**fields)


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
