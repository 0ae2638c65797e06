"""The inventory of one account against a plain sequential walk, both behind 50 ms of latency.

    .venv/bin/python bench/inventory.py

The walk is what a careful script does with boto3: list, then ask about each item, one call after the other.
"""

import time
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError
from emulated import Meter, organisation_running

from qrie_dagster.aws import AccountSession, AwsAccess
from qrie_dagster.demo.access import enter
from qrie_dagster.inventory.collector import collect
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account
from qrie_dagster.settings import settings

ACCOUNT = Account(account_id="333344445555")
LATENCY = 0.05
REGIONS = ("us-east-1", "eu-west-1")

BUCKET_CALLS = (
    "get_bucket_versioning",
    "get_bucket_encryption",
    "get_public_access_block",
    "get_bucket_policy_status",
    "get_bucket_policy",
    "get_bucket_acl",
    "get_bucket_tagging",
)
EC2_LISTS: dict[str, tuple[str, dict[str, Any]]] = {
    "describe_instances": ("Reservations", {}),
    "describe_volumes": ("Volumes", {}),
    "describe_snapshots": ("Snapshots", {"OwnerIds": ["self"]}),
    "describe_images": ("Images", {"Owners": ["self"]}),
    "describe_security_groups": ("SecurityGroups", {}),
    "describe_vpcs": ("Vpcs", {}),
    "describe_subnets": ("Subnets", {}),
    "describe_network_acls": ("NetworkAcls", {}),
    "describe_addresses": ("Addresses", {}),
}
RDS_LISTS = {
    "describe_db_instances": "DBInstances",
    "describe_db_clusters": "DBClusters",
    "describe_db_snapshots": "DBSnapshots",
    "describe_db_cluster_snapshots": "DBClusterSnapshots",
}


def enlarge() -> None:
    """Make the account one of a hundred and more buckets and users, as many real ones are."""
    entered = enter(settings().endpoint_url or "", ACCOUNT.account_id)
    for number in range(100):
        entered.client("s3").create_bucket(Bucket=f"bench-{number}")
        entered.client("iam").create_user(UserName=f"bench-{number}")


def walk() -> tuple[int, int, float]:
    """Resources, calls and seconds of the plain walk."""
    entered = enter(settings().endpoint_url or "", ACCOUNT.account_id)
    meters: list[Meter] = []

    def client(service: str, region: str = REGIONS[0]) -> Any:
        made = entered.client(service, region)
        meters.append(Meter(made.meta.events, LATENCY))
        return made

    started = time.perf_counter()
    resources = sum(1 for _ in _buckets(client("s3")))
    resources += sum(1 for _ in _people(client("iam")))
    for region in REGIONS:
        ec2 = client("ec2", region)
        for operation, (key, params) in EC2_LISTS.items():
            for item in getattr(ec2, operation)(**params)[key]:
                resources += len(item["Instances"]) if key == "Reservations" else 1
        rds = client("rds", region)
        for operation, key in RDS_LISTS.items():
            resources += len(getattr(rds, operation)()[key])
    seconds = time.perf_counter() - started
    return resources, sum(sum(meter.calls.values()) for meter in meters), seconds


def _buckets(s3: Any) -> Iterator[str]:
    for bucket in s3.list_buckets()["Buckets"]:
        for operation in BUCKET_CALLS:
            _ask(s3, operation, Bucket=bucket["Name"])
        yield bucket["Name"]


def _people(iam: Any) -> Iterator[str]:
    for user in iam.list_users()["Users"]:
        name = user["UserName"]
        for operation in ("list_mfa_devices", "list_groups_for_user", "list_attached_user_policies", "list_user_tags"):
            _ask(iam, operation, UserName=name)
        _ask(iam, "get_login_profile", UserName=name)
        for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
            _ask(iam, "get_access_key_last_used", AccessKeyId=key["AccessKeyId"])
        yield name
    for role in iam.list_roles()["Roles"]:
        for operation in ("list_attached_role_policies", "list_role_policies", "list_role_tags"):
            _ask(iam, operation, RoleName=role["RoleName"])
        yield role["RoleName"]
    for group in iam.list_groups()["Groups"]:
        _ask(iam, "list_attached_group_policies", GroupName=group["GroupName"])
        yield group["GroupName"]
    for policy in iam.list_policies(Scope="Local")["Policies"]:
        _ask(iam, "get_policy_version", PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
        _ask(iam, "list_policy_tags", PolicyArn=policy["Arn"])
        yield policy["Arn"]
    _ask(iam, "get_account_summary")
    _ask(iam, "get_account_password_policy")


def _ask(client: Any, operation: str, **params: Any) -> None:
    try:
        getattr(client, operation)(**params)
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith(("NoSuch", "ServerSideEncryption")):
            raise


def qrie() -> tuple[int, int, float]:
    """Resources, calls and seconds of qrie's inventory."""
    session: AccountSession = AwsAccess(settings()).enter(ACCOUNT)
    meter = Meter(session.events, LATENCY)
    started = time.perf_counter()
    resources = sum(
        len(collect(session, service, settings().concurrency_per_account).resources)
        for service in all_services().values()
    )
    return resources, sum(meter.calls.values()), time.perf_counter() - started


def main() -> None:
    """Print both and their ratios."""
    with organisation_running():
        enlarge()
        plain, ours = walk(), qrie()
    print(f"{'':24}{'resources':>10}{'calls':>8}{'calls each':>12}{'seconds':>10}")
    for name, (resources, calls, seconds) in (("plain sequential walk", plain), ("qrie", ours)):
        print(f"{name:24}{resources:>10}{calls:>8}{calls / resources:>12.2f}{seconds:>10.1f}")
    faster = plain[2] / ours[2]
    fewer = (plain[1] / plain[0]) / (ours[1] / ours[0])
    print(f"\nqrie is {faster:.1f} times as fast, with {fewer:.1f} times fewer calls per resource.")


if __name__ == "__main__":
    main()
