"""AWS IAM: users, groups, roles, customer managed policies, the root user and the account's settings.

One paged call, ``GetAccountAuthorizationDetails``, lists all of them with their policies and, where IAM has them, tags.
Passwords, MFA and access keys come from the credential report, one for the account: no call is made per user.
"""

import csv
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from qrie_dagster.inventory.resource_type import (
    ONE_PER_ACCOUNT,
    Detail,
    Enrichment,
    Item,
    Listing,
    ResourceType,
    Service,
)

# The rows of the credential report by user name: its columns, as text.
Report: TypeAlias = Mapping[str, Mapping[str, str]]

ROOT = "<root_account>"

# Seconds between looks at a report in the making: 51 in all.
REPORT_DELAYS = tuple(0.2 * 2**step for step in range(8))

# Not the same clock as the users' creation dates; far less than it takes to delete a user and to create it again.
SAME_MOMENT = timedelta(minutes=1)

GONE = frozenset({"NoSuchEntity"})


def credential_report(iam: Any) -> Report:
    """The account's credential report (``GenerateCredentialReport``, then ``GetCredentialReport``).

    AWS makes a new one at most every four hours and answers with the last one in between: its facts may be that much
    older than the rest of the inventory. A report that is not ready after a minute is AWS's error ReportInProgress.
    """
    for delay in REPORT_DELAYS:
        if iam.generate_credential_report()["State"] == "COMPLETE":
            break
        time.sleep(delay)
    text = iam.get_credential_report()["Content"].decode()
    return {row["user"]: row for row in csv.DictReader(text.splitlines())}


def user_credentials(report: Report, user: Item) -> Item | None:
    """What the report says on ``user``; None if it is older than the user, whose name may have been used before."""
    row = report.get(user["UserName"])
    if row is None or datetime.fromisoformat(row["user_creation_time"]) < user["CreateDate"] - SAME_MOMENT:
        return None
    return credentials(row)


def root_credentials(report: Report, _root: Item) -> Item | None:
    """What the report says on the root user."""
    return credentials(report[ROOT]) if ROOT in report else None


def credentials(row: Mapping[str, str]) -> Item:
    """A row of the report as stored under ``CredentialReport``.

    ``PasswordEnabled`` and ``MfaActive`` are booleans, or null where AWS does not say: in most reports, whether root
    has a password. ``PasswordLastUsed``, ``PasswordLastChanged`` and, for each of the ``AccessKeys`` there are,
    ``LastRotated`` and ``LastUsed`` are ISO 8601 in UTC, or null for never or not known. Keys have a ``Number``, 1 or
    2, in place of an id, and tell ``LastUsedService``, such as ``s3``.
    """
    return {
        "PasswordEnabled": _flag(row, "password_enabled"),
        "PasswordLastUsed": _value(row, "password_last_used"),
        "PasswordLastChanged": _value(row, "password_last_changed"),
        "MfaActive": _flag(row, "mfa_active"),
        "AccessKeys": [key for number in (1, 2) if (key := _access_key(row, number))],
    }


def _access_key(row: Mapping[str, str], number: int) -> Item | None:
    prefix = f"access_key_{number}_"
    active, rotated = _flag(row, prefix + "active"), _value(row, prefix + "last_rotated")
    if not active and rotated is None:
        return None
    return {
        "Number": number,
        "Active": bool(active),
        "LastRotated": rotated,
        "LastUsed": _value(row, prefix + "last_used_date"),
        "LastUsedService": _value(row, prefix + "last_used_service"),
    }


def _value(row: Mapping[str, str], column: str) -> str | None:
    value = row.get(column)
    return None if value in (None, "", "N/A", "no_information", "not_supported") else value


def _flag(row: Mapping[str, str], column: str) -> bool | None:
    return {"true": True, "false": False}.get((row.get(column) or "").lower())


LISTING = Listing(
    "get_account_authorization_details",
    params=(("Filter", ("User", "Role", "Group", "LocalManagedPolicy")), ("MaxItems", 1000)),
)


def _type(name: str, items: str, **more: Any) -> ResourceType:
    return ResourceType(
        name=f"AWS::IAM::{name}", listing=LISTING, items=items, arn="{Arn}", is_global=True, gone=GONE, **more
    )


def _one_per_account(name: str, resource_id: str, **more: Any) -> ResourceType:
    return ResourceType(
        name=f"AWS::IAM::{name}",
        listing=ONE_PER_ACCOUNT,
        items="Items[]",
        arn="arn:{partition}:iam::{account}:" + resource_id,
        is_global=True,
        **more,
    )


SERVICE = Service(
    name="iam",
    display_name="AWS IAM",
    types=(
        _type(
            "User",
            "UserDetailList[]",
            enrich=Enrichment("CredentialReport", credential_report, user_credentials),
        ),
        _type("Group", "GroupDetailList[]"),
        _type(
            "Role",
            # The role's instance profiles hold the role once more.
            "RoleDetailList[].merge(@, {InstanceProfileList: InstanceProfileList[].{"
            "InstanceProfileName: InstanceProfileName, InstanceProfileId: InstanceProfileId, Arn: Arn}})",
            # Changes every day the role is used.
            drop=frozenset({"RoleLastUsed"}),
        ),
        _type(
            "ManagedPolicy",
            # Of up to five versions only the default one has an effect.
            "Policies[].merge(@, {PolicyVersionList: PolicyVersionList[?IsDefaultVersion]})",
            details=(Detail("Tags", "list_policy_tags", {"PolicyArn": "Arn"}, "Tags"),),
        ),
        _one_per_account(
            "RootUser",
            "root",
            enrich=Enrichment("CredentialReport", credential_report, root_credentials),
        ),
        _one_per_account(
            "AccountSummary",
            "account-summary",
            details=(
                Detail(
                    "SummaryMap",
                    "get_account_summary",
                    {},
                    # The rest counts users, policies and so on: it changes often and can be counted here as well.
                    "SummaryMap.{AccountMFAEnabled: AccountMFAEnabled,"
                    " AccountAccessKeysPresent: AccountAccessKeysPresent,"
                    " AccountSigningCertificatesPresent: AccountSigningCertificatesPresent}",
                ),
            ),
        ),
        _one_per_account(
            "AccountPasswordPolicy",
            "account-password-policy",
            details=(Detail("PasswordPolicy", "get_account_password_policy", {}, "PasswordPolicy", absent=GONE),),
        ),
    ),
)
