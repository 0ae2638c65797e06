"""What AWS really holds, and which findings must follow: plain calls, one after the other.

This is what qrie is checked against, so it shares nothing with qrie's collector and policies but the names.
"""

import csv
import json
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from botocore.exceptions import ClientError

from qrie_dagster.demo.access import Entered, enter
from qrie_dagster.demo.organisation import ACCOUNTS, REGIONS

Finding: TypeAlias = tuple[str, str]

# Operation, the list it answers, and the key of an item with its id or ARN.
EC2 = (
    ("describe_volumes", "Volumes", "volume", "VolumeId"),
    ("describe_security_groups", "SecurityGroups", "security-group", "GroupId"),
    ("describe_vpcs", "Vpcs", "vpc", "VpcId"),
    ("describe_subnets", "Subnets", "subnet", "SubnetId"),
    ("describe_network_acls", "NetworkAcls", "network-acl", "NetworkAclId"),
)
RDS = (
    ("describe_db_instances", "DBInstances", "DBInstanceArn"),
    ("describe_db_clusters", "DBClusters", "DBClusterArn"),
    ("describe_db_snapshots", "DBSnapshots", "DBSnapshotArn"),
    ("describe_db_cluster_snapshots", "DBClusterSnapshots", "DBClusterSnapshotArn"),
)
IAM = (("list_users", "Users"), ("list_roles", "Roles"), ("list_groups", "Groups"))


def inventory(endpoint: str, account_ids: Iterable[str] = ()) -> dict[str, set[str]]:
    """The ARNs of everything qrie has a resource type for, by account; of the organisation's if none is given."""
    wanted = account_ids or [account.account_id for account in ACCOUNTS]
    return {account_id: set(_arns(enter(endpoint, account_id))) for account_id in wanted}


def _arns(entered: Entered) -> Iterator[str]:
    account = entered.account_id
    yield from (f"arn:aws:s3:::{name}" for name in buckets(entered))
    yield f"arn:aws:s3::{account}:account-public-access-block"
    iam = entered.client("iam")
    for operation, key in IAM:
        yield from (item["Arn"] for item in pages(iam, operation, key))
    yield from (item["Arn"] for item in pages(iam, "list_policies", "Policies", Scope="Local"))
    yield from (f"arn:aws:iam::{account}:{name}" for name in ("root", "account-summary", "account-password-policy"))
    for region in REGIONS:
        yield from _ec2_arns(entered, region)
        rds = entered.client("rds", region)
        for operation, key, arn in RDS:
            yield from (item[arn] for item in pages(rds, operation, key))


def _ec2_arns(entered: Entered, region: str) -> Iterator[str]:
    ec2 = entered.client("ec2", region)
    prefix = f"arn:aws:ec2:{region}:{entered.account_id}"
    for operation, key, kind, name in EC2:
        yield from (f"{prefix}:{kind}/{item[name]}" for item in pages(ec2, operation, key))
    for reservation in pages(ec2, "describe_instances", "Reservations"):
        for item in reservation["Instances"]:
            if item["State"]["Name"] != "terminated":
                yield f"{prefix}:instance/{item['InstanceId']}"
    for snapshot in pages(ec2, "describe_snapshots", "Snapshots", OwnerIds=["self"]):
        yield f"{prefix}:snapshot/{snapshot['SnapshotId']}"
    for image in pages(ec2, "describe_images", "Images", Owners=["self"]):
        yield f"{prefix}:image/{image['ImageId']}"
    for address in ec2.describe_addresses()["Addresses"]:
        yield f"{prefix}:elastic-ip/{address['AllocationId']}"


def pages(client: Any, operation: str, key: str, **parameters: Any) -> Iterator[dict[str, Any]]:
    """The items of all pages of a listing."""
    for page in client.get_paginator(operation).paginate(**parameters):
        yield from page[key]


def buckets(entered: Entered) -> list[str]:
    """The names of the account's buckets."""
    return [bucket["Name"] for bucket in entered.client("s3").list_buckets()["Buckets"]]


def findings(endpoint: str) -> set[Finding]:
    """(ARN, policy id) of every finding that must be ACTIVE when all policies apply to everything."""
    return {finding for account in ACCOUNTS for finding in _findings(enter(endpoint, account.account_id))}


def _findings(entered: Entered) -> Iterator[Finding]:
    account_block = _account_block(entered)
    for bucket in buckets(entered):
        yield from ((f"arn:aws:s3:::{bucket}", policy) for policy in _bucket(entered, bucket, account_block))
    yield from _credentials(entered)
    yield from _permissive(entered)
    for region in REGIONS:
        for volume in pages(entered.client("ec2", region), "describe_volumes", "Volumes"):
            if not volume["Encrypted"]:
                arn = f"arn:aws:ec2:{region}:{entered.account_id}:volume/{volume['VolumeId']}"
                yield arn, "EC2UnencryptedEBS"
        for database in pages(entered.client("rds", region), "describe_db_instances", "DBInstances"):
            if database["PubliclyAccessible"]:
                yield database["DBInstanceArn"], "RDSPublicAccess"


def _account_block(entered: Entered) -> dict[str, bool]:
    control = entered.client("s3control")
    answer = answer_or_none(control.get_public_access_block, AccountId=entered.account_id)
    return answer["PublicAccessBlockConfiguration"] if answer else {}


def answer_or_none(call: Any, **parameters: Any) -> Any:
    """The answer, or None if AWS says that there is nothing of the kind."""
    try:
        return call(**parameters)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if "NotFound" in code or code.startswith("NoSuch"):
            return None
        raise


def _bucket(entered: Entered, bucket: str, account_block: dict[str, bool]) -> Iterator[str]:
    """The policies one bucket violates."""
    s3 = entered.client("s3")
    if is_public(s3, bucket, account_block):
        yield "S3BucketPublic"
    versioning = s3.get_bucket_versioning(Bucket=bucket)
    if versioning.get("Status") != "Enabled":
        yield "S3BucketVersioningDisabled"
    if versioning.get("MFADelete") != "Enabled":
        yield "S3BucketMfaDeleteDisabled"
    if answer_or_none(s3.get_bucket_encryption, Bucket=bucket) is None:
        yield "S3BucketEncryptionDisabled"


def is_public(s3: Any, bucket: str, account_block: dict[str, bool]) -> bool:
    """Whether anyone may do anything in the bucket."""
    answer = answer_or_none(s3.get_public_access_block, Bucket=bucket)
    own_block = answer["PublicAccessBlockConfiguration"] if answer else {}

    def stopped(setting: str) -> bool:
        return bool(own_block.get(setting) or account_block.get(setting))

    status = answer_or_none(s3.get_bucket_policy_status, Bucket=bucket)
    if status and status["PolicyStatus"]["IsPublic"] and not stopped("RestrictPublicBuckets"):
        return True
    grantees = {grant["Grantee"].get("URI", "") for grant in s3.get_bucket_acl(Bucket=bucket)["Grants"]}
    everyone = any(uri.endswith(("/AllUsers", "/AuthenticatedUsers")) for uri in grantees)
    return everyone and not stopped("IgnorePublicAcls")


def report(entered: Entered) -> list[dict[str, str]]:
    """The rows of the credential report."""
    iam = entered.client("iam")
    while iam.generate_credential_report()["State"] != "COMPLETE":
        time.sleep(0.1)
    content = iam.get_credential_report()["Content"].decode()
    return list(csv.DictReader(content.splitlines()))


def _credentials(entered: Entered) -> Iterator[Finding]:
    for row in report(entered):
        arn = row["arn"]
        if row["user"] == "<root_account>":
            signed_in = _older(row["password_last_used"])
            if signed_in is False or any(_yes(row, f"access_key_{n}_active") for n in (1, 2)):
                yield arn, "IAMRootAccountActive"
            continue
        if _yes(row, "password_enabled") and not _yes(row, "mfa_active"):
            yield arn, "IAMUserMfaDisabled"
        active = [n for n in (1, 2) if _yes(row, f"access_key_{n}_active")]
        created = {n: _older(row[f"access_key_{n}_last_rotated"]) for n in active}
        if any(created.values()):
            yield arn, "IAMAccessKeyNotRotated"
        used = {n: _older(row[f"access_key_{n}_last_used_date"]) for n in active}
        if any(created[n] if used[n] is None else used[n] for n in active):
            yield arn, "IAMAccessKeyUnused"


def _yes(row: dict[str, str], column: str) -> bool:
    return row[column] == "true"


def _older(moment: str) -> bool | None:
    """Whether a time of the report is more than 90 days ago; None if there is no such time."""
    if not moment[:4].isdigit():
        return None
    return datetime.now(UTC) - datetime.fromisoformat(moment) > timedelta(days=90)


def _permissive(entered: Entered) -> Iterator[Finding]:
    iam = entered.client("iam")
    for policy in pages(iam, "list_policies", "Policies", Scope="Local"):
        version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
        if is_permissive(version["PolicyVersion"]["Document"]):
            yield policy["Arn"], "IAMPolicyOverlyPermissive"


def is_permissive(document: Any) -> bool:
    """Whether a statement allows, on everything, all actions: of one service at least, of all under a condition."""
    statements = document["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        if statement["Effect"] != "Allow":
            continue
        # As JSON text, one value and a list of one look alike to a search.
        actions = json.dumps(statement.get("Action", []))
        wide = '"*"' in actions
        if not statement.get("Condition"):
            wide = wide or "NotAction" in statement or bool(re.search(r'"[\w-]+:\*"', actions))
        if wide and '"*"' in json.dumps(statement.get("Resource", [])):
            return True
    return False
