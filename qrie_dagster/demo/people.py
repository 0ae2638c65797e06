"""Users, groups, roles and policies of an emulated account."""

import json
from collections.abc import Mapping
from random import Random
from typing import Any

from qrie_dagster.demo.access import Entered
from qrie_dagster.demo.history import KEYS
from qrie_dagster.models import Account

NAMES = ("ada.novak", "bo.lindqvist", "chidi.okafor", "dana.weiss", "eun-ji.park", "farid.haddad", "greta.olsen")

# Name, and the statement it consists of. The first four of the list grant too much, one way or another.
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "TemporaryAdmin": {"Action": "*", "Resource": "*"},
    "S3Everything": {"Action": ["s3:*", "cloudwatch:GetMetricData"], "Resource": ["*"]},
    "AllButBilling": {"NotAction": ["aws-portal:*", "budgets:*"], "Resource": "*"},
    "AdminWithMfa": {
        "Action": "*",
        "Resource": "*",
        "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
    },
    "ReadMetrics": {"Action": ["cloudwatch:Get*", "cloudwatch:List*"], "Resource": "*"},
    "DeployArtifacts": {"Action": "s3:*", "Resource": ["arn:aws:s3:::org-artifacts", "arn:aws:s3:::org-artifacts/*"]},
    "DenyLeaving": {"Effect": "Deny", "Action": "organizations:*", "Resource": "*"},
    "StartWorkers": {"Action": ["ec2:StartInstances", "ec2:StopInstances"], "Resource": "*"},
}


def fill(entered: Entered, account: Account, size: int, chance: Random) -> None:
    """Create users with and without MFA and keys, groups, roles, policies and a password policy."""
    iam = entered.client("iam")
    roles(iam, account)
    if size == 0:
        return
    groups = ("Developers", "ReadOnly")
    for group in groups:
        iam.create_group(GroupName=group)
    policies = [create_policy(iam, name, POLICIES[name]) for name in chance.sample(sorted(POLICIES), 2 + size)]
    iam.attach_group_policy(GroupName=groups[0], PolicyArn=policies[0])
    for name in chance.sample(NAMES, 2 + size):
        person(iam, name, mfa=chance.random() < 0.6, group=chance.choice(groups))
    for name in chance.sample(sorted(KEYS), 1 + size):
        robot(iam, name)
    if chance.random() < 0.7:
        iam.update_account_password_policy(MinimumPasswordLength=chance.choice((8, 14)), RequireSymbols=True)


def roles(iam: Any, account: Account) -> None:
    """The role qrie enters through, and some others."""
    trusted = {
        f"QrieReadOnly-{account.account_id}": {"AWS": "arn:aws:iam::123456789012:root"},
        "app-instance": {"Service": "ec2.amazonaws.com"},
        "nightly-export": {"Service": "lambda.amazonaws.com"},
    }
    for name, principal in trusted.items():
        statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        iam.create_role(
            RoleName=name,
            Path="/" if name.startswith("Qrie") else "/service/",
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )


def create_policy(iam: Any, name: str, statement: Mapping[str, Any]) -> str:
    """Create a customer managed policy of one statement, allowing unless it says otherwise; its ARN."""
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}
    answer = iam.create_policy(PolicyName=name, Path="/halden/", PolicyDocument=json.dumps(document))
    arn: str = answer["Policy"]["Arn"]
    return arn


def person(iam: Any, name: str, *, mfa: bool, group: str) -> None:
    """Create a user with a console password."""
    iam.create_user(UserName=name, Path="/people/", Tags=[{"Key": "mail", "Value": f"{name}@halden.example"}])
    iam.create_login_profile(UserName=name, Password="not-A-secret-1")  # noqa: S106 - of an emulated user
    iam.add_user_to_group(GroupName=group, UserName=name)
    if mfa:
        device = iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]["SerialNumber"]
        iam.enable_mfa_device(
            UserName=name, SerialNumber=device, AuthenticationCode1="123456", AuthenticationCode2="654321"
        )


def robot(iam: Any, name: str) -> None:
    """Create a user with an access key, whose past is in ``history.KEYS``."""
    iam.create_user(UserName=name, Path="/robots/")
    iam.create_access_key(UserName=name)
