"""Changing AWS behind qrie's back, as its users do: a dozen changes at a time, spread over the accounts.

Targets are chosen among what exists now, so it works again and again; a change that finds no target is left out.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, TypeAlias

from botocore.exceptions import ClientError

from qrie_dagster.demo.access import Entered, enter
from qrie_dagster.demo.buckets import BLOCK_ALL, BLOCKED_ACCOUNTS, document
from qrie_dagster.demo.machines import ANYWHERE, permission
from qrie_dagster.demo.organisation import ACCOUNTS, REGIONS, name_of
from qrie_dagster.demo.people import create_policy
from qrie_dagster.demo.truth import buckets, is_public, pages

Effect: TypeAlias = Literal["created", "deleted", "changed"]


@dataclass(frozen=True)
class Change:
    """What was done to which resource, and which finding on it that must open or close."""

    sentence: str
    account_id: str
    arn: str
    effect: Effect = "changed"
    opens: str = ""
    closes: str = ""

    def __str__(self) -> str:
        return f"{self.account_id} {name_of(self.account_id)}: {self.sentence}."


@dataclass(frozen=True)
class Target:
    """Something that could be changed: where it is, and what AWS said about it."""

    entered: Entered
    arn: str
    item: Any
    region: str = REGIONS[0]

    def change(self, sentence: str, effect: Effect = "changed", opens: str = "", closes: str = "") -> Change:
        """The change made to it."""
        return Change(sentence, self.entered.account_id, self.arn, effect, opens, closes)


class Surprises:
    """Chooses targets: each in the next account, and none twice."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._chosen: set[str] = set()
        self._start = 0

    def choose(self, targets: Callable[[Entered], Iterable[Target]]) -> Target | None:
        """The first target there is, looking from the next account on."""
        self._start = (self._start + 1) % len(ACCOUNTS)
        for account in (*ACCOUNTS[self._start :], *ACCOUNTS[: self._start]):
            for target in targets(enter(self._endpoint, account.account_id)):
                if target.arn not in self._chosen:
                    self._chosen.add(target.arn)
                    return target
        return None


Disturbance: TypeAlias = Callable[[Target], Change]
Targets: TypeAlias = Callable[[Entered], Iterable[Target]]


def disturb(endpoint: str) -> list[str]:
    """Make the changes; one sentence for each."""
    return [str(change) for change in changes(endpoint)]


def changes(endpoint: str) -> list[Change]:
    """Make the changes, and say what each of them must lead to."""
    surprises = Surprises(endpoint)
    made = []
    for targets, disturbance in DISTURBANCES:
        target = surprises.choose(targets)
        if target:
            made.append(disturbance(target))
    return made


# Buckets


def _bucket(entered: Entered, name: str) -> Target:
    return Target(entered, f"arn:aws:s3:::{name}", name)


def all_buckets(entered: Entered) -> Iterator[Target]:
    """Every bucket."""
    return (_bucket(entered, name) for name in buckets(entered))


def open_buckets(entered: Entered) -> Iterator[Target]:
    """Public buckets, in accounts that do not block them all."""
    if name_of(entered.account_id) in BLOCKED_ACCOUNTS:
        return iter(())
    s3 = entered.client("s3")
    return (target for target in all_buckets(entered) if is_public(s3, target.item, {}))


def closed_buckets(entered: Entered) -> Iterator[Target]:
    """Buckets that are not public and could become so."""
    if name_of(entered.account_id) in BLOCKED_ACCOUNTS:
        return iter(())
    s3 = entered.client("s3")
    return (target for target in all_buckets(entered) if not is_public(s3, target.item, {}))


def unversioned_buckets(entered: Entered) -> Iterator[Target]:
    """Buckets without versioning."""
    s3 = entered.client("s3")
    for target in all_buckets(entered):
        if s3.get_bucket_versioning(Bucket=target.item).get("Status") != "Enabled":
            yield target


def delete_bucket(target: Target) -> Change:
    """Delete a bucket."""
    target.entered.client("s3").delete_bucket(Bucket=target.item)
    return target.change(f"bucket {target.item} was deleted", "deleted")


def close_bucket(target: Target) -> Change:
    """Block public access."""
    s3 = target.entered.client("s3")
    s3.put_public_access_block(Bucket=target.item, PublicAccessBlockConfiguration=BLOCK_ALL)
    return target.change(f"public access to bucket {target.item} was blocked", closes="S3BucketPublic")


def open_bucket(target: Target) -> Change:
    """Let everyone read."""
    s3 = target.entered.client("s3")
    s3.delete_public_access_block(Bucket=target.item)
    s3.put_bucket_policy(Bucket=target.item, Policy=json.dumps(document(target.item, "public")))
    return target.change(f"bucket {target.item} was made public by its policy", opens="S3BucketPublic")


def enable_versioning(target: Target) -> Change:
    """Turn versioning on."""
    s3 = target.entered.client("s3")
    s3.put_bucket_versioning(Bucket=target.item, VersioningConfiguration={"Status": "Enabled"})
    closes = "S3BucketVersioningDisabled"
    return target.change(f"versioning of bucket {target.item} was turned on", closes=closes)


# Machines


def _ec2(entered: Entered, operation: str, items: str, kind: str, key: str) -> Iterator[Target]:
    for region in reversed(REGIONS):
        answers = entered.client("ec2", region).get_paginator(operation).paginate()
        for item in answers.search(items):
            arn = f"arn:aws:ec2:{region}:{entered.account_id}:{kind}/{item[key]}"
            yield Target(entered, arn, item, region)


def guarded_groups(entered: Entered) -> Iterator[Target]:
    """Security groups that do not let the world in at port 22."""
    targets = _ec2(entered, "describe_security_groups", "SecurityGroups[]", "security-group", "GroupId")
    for target in targets:
        rules = json.dumps([rule for rule in target.item["IpPermissions"] if rule.get("FromPort") == 22])
        if ANYWHERE not in rules and target.item["GroupName"] != "default":
            yield target


def running_instances(entered: Entered) -> Iterator[Target]:
    """Instances that run."""
    targets = _ec2(entered, "describe_instances", "Reservations[].Instances[]", "instance", "InstanceId")
    return (target for target in targets if target.item["State"]["Name"] == "running")


def somewhere(entered: Entered) -> Iterator[Target]:
    """A place for something new, in accounts that have anything."""
    for region in REGIONS:
        if entered.client("ec2", region).describe_volumes()["Volumes"]:
            yield Target(entered, f"{entered.account_id}/{region}", None, region)


def open_group(target: Target) -> Change:
    """Let the world in."""
    group = target.item["GroupId"]
    target.entered.client("ec2", target.region).authorize_security_group_ingress(
        GroupId=group, IpPermissions=[permission(22, ANYWHERE)]
    )
    name = f"{group} ({target.item['GroupName']})"
    return target.change(f"security group {name} in {target.region} was opened to the world at port 22")


def create_volume(target: Target) -> Change:
    """Create a volume without encryption."""
    volume = target.entered.client("ec2", target.region).create_volume(
        AvailabilityZone=f"{target.region}a", Size=50, Encrypted=False
    )["VolumeId"]
    arn = f"arn:aws:ec2:{target.region}:{target.entered.account_id}:volume/{volume}"
    made = Target(target.entered, arn, volume)
    sentence = f"unencrypted volume {volume} was created in {target.region}"
    return made.change(sentence, "created", opens="EC2UnencryptedEBS")


def terminate_instance(target: Target) -> Change:
    """Terminate an instance; AWS goes on showing it for a while, as terminated."""
    instance = target.item["InstanceId"]
    target.entered.client("ec2", target.region).terminate_instances(InstanceIds=[instance])
    return target.change(f"instance {instance} in {target.region} was terminated", "deleted")


def change_tag(target: Target) -> Change:
    """Give an instance another owner."""
    instance = target.item["InstanceId"]
    tags = {tag["Key"]: tag["Value"] for tag in target.item.get("Tags", ())}
    owner = next(f"crew {number}" for number in count(1) if tags.get("owner") != f"crew {number}")
    ec2 = target.entered.client("ec2", target.region)
    ec2.create_tags(Resources=[instance], Tags=[{"Key": "owner", "Value": owner}])
    return target.change(f"tag owner of instance {instance} in {target.region} was set to {owner!r}")


# People


def users(entered: Entered) -> Iterator[Target]:
    """All users."""
    iam = entered.client("iam")
    return (Target(entered, user["Arn"], user["UserName"]) for user in pages(iam, "list_users", "Users"))


def guarded_users(entered: Entered) -> Iterator[Target]:
    """Users with a console password and MFA."""
    iam = entered.client("iam")
    for target in users(entered):
        if _devices(iam, target.item) and _has_password(iam, target.item):
            yield target


def _devices(iam: Any, user: str) -> list[str]:
    return [device["SerialNumber"] for device in iam.list_mfa_devices(UserName=user)["MFADevices"]]


def _has_password(iam: Any, user: str) -> bool:
    try:
        iam.get_login_profile(UserName=user)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        return False
    return True


def remove_mfa(target: Target) -> Change:
    """Take the MFA devices from a user."""
    iam = target.entered.client("iam")
    _remove_devices(iam, target.item)
    return target.change(f"MFA of user {target.item} was removed", opens="IAMUserMfaDisabled")


def _remove_devices(iam: Any, user: str) -> None:
    for device in _devices(iam, user):
        iam.deactivate_mfa_device(UserName=user, SerialNumber=device)
        iam.delete_virtual_mfa_device(SerialNumber=device)


def delete_user(target: Target) -> Change:
    """Delete a user, which AWS only does once nothing is left of it."""
    iam, user = target.entered.client("iam"), target.item
    _remove_devices(iam, user)
    if _has_password(iam, user):
        iam.delete_login_profile(UserName=user)
    for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    for group in iam.list_groups_for_user(UserName=user)["Groups"]:
        iam.remove_user_from_group(UserName=user, GroupName=group["GroupName"])
    iam.delete_user(UserName=user)
    return target.change(f"user {user} was deleted", "deleted")


def grant_everything(target: Target) -> Change:
    """Create a policy that allows everything."""
    iam = target.entered.client("iam")
    taken = {policy["PolicyName"] for policy in pages(iam, "list_policies", "Policies", Scope="Local")}
    name = next(f"BreakGlass{number}" for number in count(1) if f"BreakGlass{number}" not in taken)
    made = Target(target.entered, create_policy(iam, name, {"Action": "*", "Resource": "*"}), name)
    sentence = f"policy {name}, which allows everything, was created"
    return made.change(sentence, "created", opens="IAMPolicyOverlyPermissive")


# Databases


def private_databases(entered: Entered) -> Iterator[Target]:
    """Database instances that are not public."""
    for region in REGIONS:
        rds = entered.client("rds", region)
        for database in pages(rds, "describe_db_instances", "DBInstances"):
            if not database["PubliclyAccessible"]:
                yield Target(entered, database["DBInstanceArn"], database["DBInstanceIdentifier"], region)


def open_database(target: Target) -> Change:
    """Make a database instance public."""
    target.entered.client("rds", target.region).modify_db_instance(
        DBInstanceIdentifier=target.item, PubliclyAccessible=True, ApplyImmediately=True
    )
    sentence = f"database {target.item} in {target.region} was made publicly accessible"
    return target.change(sentence, opens="RDSPublicAccess")


DISTURBANCES: tuple[tuple[Targets, Disturbance], ...] = (
    (open_buckets, close_bucket),
    (unversioned_buckets, enable_versioning),
    (closed_buckets, open_bucket),
    (all_buckets, delete_bucket),
    (guarded_groups, open_group),
    (somewhere, create_volume),
    (running_instances, terminate_instance),
    (running_instances, change_tag),
    (guarded_users, remove_mfa),
    (users, delete_user),
    (somewhere, grant_everything),
    (private_databases, open_database),
)
