"""Policies on IAM: the root user, users and their access keys, and customer managed policies.

Facts on credentials come from the credential report. Its times are ISO 8601 in UTC, and it numbers access
keys 1 and 2 instead of naming them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from qrie_dagster.models import Resource, UnknownFactError
from qrie_dagster.policies.document import Statement, allow_statements, as_list
from qrie_dagster.policies.policy import (
    COMPLIANT,
    Category,
    Surroundings,
    Verdict,
    policy,
    unknown,
    violation,
)
from qrie_dagster.times import DAY_MS, as_ms

USER = "AWS::IAM::User"
LIMIT_MS = 90 * DAY_MS

# What evidence shows of a statement, besides what it allows.
SHOWN = ("Sid", "Resource", "NotResource", "Condition")


def _credentials(resource: Resource) -> Mapping[str, Any]:
    report: Mapping[str, Any] | None = resource.fact("CredentialReport")
    if report is None:
        raise UnknownFactError(f"the credential report does not show {resource.arn}")
    return report


def _active_keys(resource: Resource) -> list[Mapping[str, Any]]:
    return [key for key in _credentials(resource)["AccessKeys"] if key["Active"]]


def _age_ms(moment: str, surroundings: Surroundings) -> int:
    parsed = datetime.fromisoformat(moment)
    return surroundings.now_ms - as_ms(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


@policy(
    id="IAMRootAccountActive",
    resource_type="AWS::IAM::RootUser",
    severity=95,
    category=Category.ACCESS_CONTROL,
    description=(
        "The root user, whom no policy restrains, has an active access key or signed in with its password "
        "less than 90 days ago. It should have no access keys and be used only for the few tasks that "
        "require it."
    ),
    remediation=(
        "Delete the root access keys: sign in as root, Security credentials, Access keys, Delete. Work "
        "through roles or IAM Identity Center, and find out who signed in (CloudTrail: ConsoleLogin with "
        "userIdentity.type Root). In an organization, remove the root credentials of member accounts for "
        "good: aws iam enable-organizations-root-credentials-management, then aws sts assume-root. A sign-in "
        "is no longer reported once it is 90 days old."
    ),
    controls=("CIS 3.0 1.4", "CIS 3.0 1.7", "CIS 5.0 1.3", "CIS 5.0 1.6", "FSBP IAM.4"),
)
def root_active(root: Resource, surroundings: Surroundings) -> Verdict:
    """An inactive key is no way in. Nor is a password that has been removed, however recently it was used."""
    report = _credentials(root)
    evidence: dict[str, Any] = {}
    if keys := _active_keys(root):
        shown = ("Number", "LastRotated", "LastUsed")
        evidence["ActiveAccessKeys"] = [{name: key.get(name) for name in shown} for key in keys]
    last_used = report["PasswordLastUsed"]
    # Where AWS does not say whether root has a password (None), it may have one.
    if report["PasswordEnabled"] is not False and last_used and _age_ms(last_used, surroundings) < LIMIT_MS:
        evidence["PasswordLastUsed"] = last_used
    return violation(**evidence) if evidence else COMPLIANT


@policy(
    id="IAMUserMfaDisabled",
    resource_type=USER,
    severity=85,
    category=Category.ACCESS_CONTROL,
    description=(
        "The user can sign in to the console with a password alone: whoever guesses, phishes or finds it is "
        "in. Users without a console password are not reported."
    ),
    remediation=(
        "Assign an MFA device: aws iam enable-mfa-device, or the user's Security credentials page. If the "
        "user does not need the console: aws iam delete-login-profile --user-name NAME."
    ),
    controls=("CIS 3.0 1.10", "CIS 5.0 1.9", "FSBP IAM.5"),
)
def user_mfa_disabled(user: Resource, _surroundings: Surroundings) -> Verdict:
    """Either half of the question may settle it when the other is not known."""
    report = _credentials(user)
    password, mfa = report["PasswordEnabled"], report["MfaActive"]
    if password is False or mfa is True:
        return COMPLIANT
    if password is None or mfa is None:
        return unknown("the credential report does not say whether there are a password and MFA")
    return violation(PasswordEnabled=True, MfaActive=False)


@policy(
    id="IAMAccessKeyUnused",
    resource_type=USER,
    severity=60,
    category=Category.ACCESS_CONTROL,
    description=(
        "The user has an active access key that has not been used for more than 90 days, or was never used "
        "since it was created more than 90 days ago. Nobody would miss it, nor notice its theft."
    ),
    remediation=(
        "aws iam update-access-key --user-name NAME --access-key-id ID --status Inactive, and when nothing "
        "breaks, aws iam delete-access-key. aws iam list-access-keys shows the ids."
    ),
    # CIS asks for 45 days, which this does not show.
    controls=("FSBP IAM.8",),
)
def access_key_unused(user: Resource, surroundings: Surroundings) -> Verdict:
    """A key that was never used counts from its creation."""
    return _old_keys(user, surroundings, ("LastUsed", "LastRotated"))


@policy(
    id="IAMAccessKeyNotRotated",
    resource_type=USER,
    severity=70,
    category=Category.ACCESS_CONTROL,
    description=(
        "The user has an active access key that is more than 90 days old. The longer a key lives, the more "
        "places hold a copy of it, and a leaked one works until it is replaced."
    ),
    remediation=(
        "aws iam create-access-key --user-name NAME, move its users to the new key, then aws iam "
        "update-access-key --access-key-id OLD --status Inactive and aws iam delete-access-key. Better, "
        "replace it by a role: roles have no keys to rotate."
    ),
    controls=("CIS 3.0 1.14", "CIS 5.0 1.13", "FSBP IAM.3"),
)
def access_key_not_rotated(user: Resource, surroundings: Surroundings) -> Verdict:
    """``LastRotated`` is when the key was created."""
    return _old_keys(user, surroundings, ("LastRotated",))


def _old_keys(user: Resource, surroundings: Surroundings, since: tuple[str, ...]) -> Verdict:
    """Active keys whose first known time in ``since`` is more than 90 days ago; exactly 90 is fine."""
    old, undated = [], []
    for key in _active_keys(user):
        moment = next((key[name] for name in since if key[name]), None)
        if moment is None:
            undated.append(key["Number"])
        elif _age_ms(moment, surroundings) > LIMIT_MS:
            old.append({"Number": key["Number"], **{name: key[name] for name in since}})
    if old:
        return violation(AccessKeys=old)
    return unknown(f"the credential report has no date for access key {undated[0]}") if undated else COMPLIANT


@policy(
    id="IAMPolicyOverlyPermissive",
    resource_type="AWS::IAM::ManagedPolicy",
    severity=80,
    category=Category.ACCESS_CONTROL,
    description=(
        "The default version of this customer managed policy has an Allow statement that covers, on all "
        "resources, every action (*), every action of a service (such as iam:*), or every action but those "
        "named (NotAction). Resource counts as all when it is * or an ARN that leaves nothing out, and so does "
        "any NotResource; * on all resources of one service counts as every action of that service. Under a "
        "condition only every action on all resources is reported: whoever meets it is an administrator. Deny "
        "statements are not subtracted, partial wildcards such as s3:Get* do not count, and a policy used only "
        "as a permissions boundary grants nothing."
    ),
    remediation=(
        "Name the actions and resources that are really used: IAM Access Analyzer can generate such a policy "
        "from CloudTrail. Publish it with aws iam create-policy-version --policy-arn ARN --policy-document "
        "FILE --set-as-default. For administrators, attach AdministratorAccess to one guarded role instead."
    ),
    controls=("CIS 3.0 1.16", "CIS 5.0 1.15", "FSBP IAM.1", "FSBP IAM.21"),
)
def policy_overly_permissive(managed: Resource, _surroundings: Surroundings) -> Verdict:
    """Whether the policy is attached does not matter: attaching it takes one call."""
    facts = managed.configuration
    if facts.get("PermissionsBoundaryUsageCount") and facts.get("AttachmentCount") == 0:
        return COMPLIANT
    version = _default_version(managed)
    statements = [
        {"Allows": allowed, **{key: statement[key] for key in SHOWN if key in statement}}
        for statement in allow_statements(version["Document"])
        if (allowed := _too_much(statement, managed.account_id))
    ]
    return violation(VersionId=version["VersionId"], Statements=statements) if statements else COMPLIANT


def _default_version(managed: Resource) -> Mapping[str, Any]:
    default = managed.fact("DefaultVersionId")
    for version in managed.fact("PolicyVersionList") or ():
        if version.get("VersionId") == default and version.get("Document"):
            return version  # type: ignore[no-any-return]
    raise UnknownFactError(f"the default version of {managed.arn} is not known")


def _too_much(statement: Statement, account_id: str) -> list[str]:
    """The grants of an Allow statement that are too wide: ``*``, ``iam:*``, ``all but iam:*``."""
    grants = _wide_grants(statement, account_id)
    return [grant for grant in grants if grant == "*"] if statement.get("Condition") else grants


def _wide_grants(statement: Statement, account_id: str) -> list[str]:
    if "NotAction" in statement:
        excepted = sorted(as_list(statement["NotAction"]))
        leaves_something = "*" not in map(_service_of, excepted)
        if leaves_something and _covers_all(statement, "*", account_id):
            return [f"all but {', '.join(excepted)}"]
        return []
    services = {_service_of(action) for action in as_list(statement.get("Action"))}
    if "*" in services:
        # Every action, but maybe on the resources of some services only.
        services |= {arn.lower().split(":")[2] for arn in as_list(statement.get("Resource")) if arn.count(":") >= 5}
        services = {"*"} if _covers_all(statement, "*", account_id) else services - {"*"}
    wide = [service for service in services if service and _covers_all(statement, service, account_id)]
    return sorted("*" if service == "*" else f"{service}:*" for service in wide)


def _service_of(action: str) -> str | None:
    """The service of which ``action`` means every action, ``*`` for all services, None if it is narrower."""
    service, colon, name = action.lower().partition(":")
    if not colon:
        return "*" if _is_any(service) else None
    if not _is_any(name):
        return None
    return "*" if _is_any(service) else service


def _covers_all(statement: Statement, service: str, account_id: str) -> bool:
    if "NotResource" in statement:
        return not any(_is_all(arn, service, account_id) for arn in as_list(statement["NotResource"]))
    return any(_is_all(arn, service, account_id) for arn in as_list(statement.get("Resource")))


def _is_all(arn: str, service: str, account_id: str) -> bool:
    """Whether an ARN pattern leaves out nothing of ``service`` in this account."""
    if _is_any(arn):
        return True
    parts = arn.lower().split(":", 5)
    if len(parts) < 6:
        return False
    _, _, of_service, region, account, name = parts
    return (
        (_is_any(of_service) or of_service == service)
        and (region == "" or _is_any(region))
        and (account in {"", account_id} or _is_any(account))
        and _is_any(name)
    )


def _is_any(pattern: str) -> bool:
    return "*" in pattern and not pattern.strip("*?")
