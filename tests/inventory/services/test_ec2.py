"""EC2 as collected from a moto server."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.stub import Stubber

from qrie_dagster.inventory.collector import collect
from qrie_dagster.inventory.resource_type import Service
from qrie_dagster.inventory.services import find_service

TAGS = [{"Key": "team", "Value": "web"}]
IMAGE = "ami-12c6146b"


def _tagged(kind: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": TAGS}]


def _run(ec2: Any, **more: Any) -> str:
    answer = ec2.run_instances(ImageId=IMAGE, InstanceType="t3.micro", MinCount=1, MaxCount=1, **more)
    instance: str = answer["Instances"][0]["InstanceId"]
    return instance


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_every_type(member: Any, region: str) -> None:
    ec2 = member.client("ec2", region)
    instance = _run(ec2, TagSpecifications=_tagged("instance"))
    volume = ec2.create_volume(AvailabilityZone=f"{region}a", Size=8, TagSpecifications=_tagged("volume"))["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume, TagSpecifications=_tagged("snapshot"))["SnapshotId"]
    image = ec2.create_image(InstanceId=instance, Name="golden", TagSpecifications=_tagged("image"))["ImageId"]
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16", TagSpecifications=_tagged("vpc"))["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.1.0/24", TagSpecifications=_tagged("subnet"))["Subnet"]
    group = ec2.create_security_group(
        GroupName="web", Description="web", VpcId=vpc, TagSpecifications=_tagged("security-group")
    )["GroupId"]
    acl = ec2.create_network_acl(VpcId=vpc, TagSpecifications=_tagged("network-acl"))["NetworkAcl"]["NetworkAclId"]
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=_tagged("elastic-ip"))["AllocationId"]

    resources = member.resources("ec2")
    for name, kind in {
        f"instance/{instance}": "Instance",
        f"volume/{volume}": "Volume",
        f"snapshot/{snapshot}": "Snapshot",
        f"image/{image}": "Image",
        f"vpc/{vpc}": "VPC",
        f"subnet/{subnet['SubnetId']}": "Subnet",
        f"security-group/{group}": "SecurityGroup",
        f"network-acl/{acl}": "NetworkAcl",
        f"elastic-ip/{address}": "EIP",
    }.items():
        resource = resources[f"arn:aws:ec2:{region}:{member.id}:{name}"]
        assert resource.resource_type == f"AWS::EC2::{kind}"
        assert resource.region == region
        assert resource.tags == {"team": "web"}
    assert resources[f"arn:aws:ec2:{region}:{member.id}:volume/{volume}"].fact("Encrypted") is False


def test_attached_volumes_name_their_machine(member: Any) -> None:
    instance = _run(member.client("ec2"))
    (volume,) = [r for r in member.resources("ec2").values() if r.resource_type == "AWS::EC2::Volume"]
    assert [attachment["InstanceId"] for attachment in volume.fact("Attachments")] == [instance]


def test_a_terminated_machine_is_gone(member: Any) -> None:
    ec2 = member.client("ec2")
    kept, ended, stopped = (_run(ec2) for _number in range(3))
    ec2.terminate_instances(InstanceIds=[ended])
    ec2.stop_instances(InstanceIds=[stopped])
    assert ec2.describe_instances(InstanceIds=[ended])["Reservations"]
    instances = {arn for arn in member.resources("ec2") if ":instance/" in arn}
    assert instances == {f"arn:aws:ec2:us-east-1:{member.id}:instance/{name}" for name in (kept, stopped)}


def test_more_than_a_page(member: Any) -> None:
    ec2 = member.client("ec2")
    for _number in range(101):
        _run(ec2)
    # moto makes pages of 100 unless asked for more.
    assert len(ec2.describe_instances()["Reservations"]) == 100
    small = Service(name="ec2", display_name="", types=(_with_page(5),))
    for service in (find_service("ec2"), small):
        seen = collect(member.session, service, concurrency=8)
        assert len([r for r in seen.resources if r.resource_type == "AWS::EC2::Instance"]) == 101


def _with_page(size: int) -> Any:
    (kind,) = [kind for kind in find_service("ec2").types if kind.name == "AWS::EC2::Instance"]
    return replace(kind, listing=replace(kind.listing, params=(("MaxResults", size),)))


def test_what_other_accounts_share_is_theirs(member: Any) -> None:
    ec2 = member.client("ec2")
    shared = [
        {"SnapshotId": "snap-1", "OwnerId": member.id, "Progress": "100%"},
        {"SnapshotId": "snap-2", "OwnerId": "801119661308"},
    ]
    (kind,) = [kind for kind in find_service("ec2").types if kind.name == "AWS::EC2::Snapshot"]
    session: Any = SimpleNamespace(
        account_id=member.id,
        partition="aws",
        client=lambda *_: ec2,
        regions=lambda: (["us-east-1"], ()),
    )
    with Stubber(ec2) as stub:
        stub.add_response(
            "describe_snapshots", {"Snapshots": shared}, expected_params={"OwnerIds": ("self",), "MaxResults": 1000}
        )
        seen = collect(session, Service(name="ec2", display_name="", types=(kind,)), concurrency=1)
    assert [resource.arn for resource in seen.resources] == [f"arn:aws:ec2:us-east-1:{member.id}:snapshot/snap-1"]
    assert seen.scopes[0].complete
