"""Networks, instances, disks and images of an emulated account, in one region."""

from random import Random
from typing import Any

from qrie_dagster.demo.access import Entered
from qrie_dagster.models import Account

ROLES = ("api", "web", "worker", "bastion", "batch", "search", "cache")
TYPES = ("t3.micro", "t3.large", "m6i.large", "c7g.xlarge")
ANYWHERE = "0.0.0.0/0"


def fill(entered: Entered, account: Account, region: str, size: int, chance: Random) -> None:
    """Create a VPC with what belongs in it; the more, the bigger the account."""
    ec2 = entered.client("ec2", region)
    name = f"{account.name}-{region}"
    subnets, groups = _network(ec2, name, account)
    instances = [
        _instance(ec2, f"{role}-{number}", account, subnets, groups, chance)
        for number, role in enumerate(chance.choices(ROLES, k=2 * size), start=1)
    ]
    for number in range(1, 2 * size + 1):
        _disk(ec2, region, f"{account.name}-data-{number}", chance)
    ec2.create_image(InstanceId=instances[0], Name=f"{name}-golden", TagSpecifications=_tags("image", name))
    ec2.allocate_address(Domain="vpc", TagSpecifications=_tags("elastic-ip", f"{name}-nat"))


def _tags(kind: str, name: str, **more: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in {"Name": name, **more}.items()]}]


def _network(ec2: Any, name: str, account: Account) -> tuple[list[str], list[str]]:
    """The ids of the subnets and of the security groups of a new VPC."""
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16", TagSpecifications=_tags("vpc", name, **account.tags))
    vpc_id = vpc["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc_id,
            CidrBlock=f"10.20.{number}.0/24",
            TagSpecifications=_tags("subnet", f"{name}-{kind}"),
        )["Subnet"]["SubnetId"]
        for number, kind in enumerate(("public", "private"))
    ]
    ec2.create_network_acl(VpcId=vpc_id, TagSpecifications=_tags("network-acl", f"{name}-strict"))
    groups = [
        _group(ec2, vpc_id, f"{account.account_id}-{kind}", port, source)
        for kind, port, source in (("web", 443, ANYWHERE), ("ssh", 22, "10.0.0.0/8"), ("db", 5432, "10.20.0.0/16"))
    ]
    return subnets, groups


def _group(ec2: Any, vpc_id: str, name: str, port: int, source: str) -> str:
    group: str = ec2.create_security_group(
        GroupName=name,
        Description=f"{name}: port {port}",
        VpcId=vpc_id,
        TagSpecifications=_tags("security-group", name),
    )["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission(port, source)])
    return group


def permission(port: int, source: str) -> dict[str, Any]:
    """A rule that lets ``source`` in at a TCP port."""
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": source}]}


def _instance(ec2: Any, name: str, account: Account, subnets: list[str], groups: list[str], chance: Random) -> str:
    root = {"VolumeSize": 8, "Encrypted": chance.random() < 0.6, "DeleteOnTermination": True}
    answer = ec2.run_instances(
        ImageId="ami-0a1b2c3d4e5f60001",
        MinCount=1,
        MaxCount=1,
        InstanceType=chance.choice(TYPES),
        SubnetId=chance.choice(subnets),
        SecurityGroupIds=[chance.choice(groups)],
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": root}],
        TagSpecifications=_tags("instance", name, **account.tags),
    )
    instance: str = answer["Instances"][0]["InstanceId"]
    return instance


def _disk(ec2: Any, region: str, name: str, chance: Random) -> None:
    volume = ec2.create_volume(
        AvailabilityZone=f"{region}a",
        Size=chance.choice((20, 100, 500)),
        Encrypted=chance.random() < 0.7,
        TagSpecifications=_tags("volume", name),
    )["VolumeId"]
    if chance.random() < 0.6:
        ec2.create_snapshot(
            VolumeId=volume, Description=f"nightly copy of {name}", TagSpecifications=_tags("snapshot", name)
        )
