"""Amazon EC2: machines, their disks and their networks. One paged call per type and region holds everything."""

from typing import Any

from qrie_dagster.inventory.resource_type import Listing, ResourceType, Service


def _type(
    name: str, operation: str, items: str, arn: str, drop: frozenset[str] = frozenset(), **params: Any
) -> ResourceType:
    return ResourceType(
        name=f"AWS::EC2::{name}",
        listing=Listing(operation, params=tuple(params.items())),
        items=items,
        arn="arn:{partition}:ec2:{region}:{account}:" + arn,
        # Other accounts share their networks with this one.
        owner="OwnerId",
        drop=drop,
    )


# EC2 only pages when asked to; it throttles calls without pages sooner, and lets them time out.
PAGE = 1000

SERVICE = Service(
    name="ec2",
    display_name="Amazon EC2",
    types=(
        # A terminated machine is still shown for about an hour.
        _type(
            "Instance",
            "describe_instances",
            "Reservations[].Instances[] | [?State.Name != 'terminated']",
            "instance/{InstanceId}",
            MaxResults=PAGE,
        ),
        _type("Volume", "describe_volumes", "Volumes[]", "volume/{VolumeId}", MaxResults=PAGE),
        # Without an owner these two list everything that is public on AWS. Progress changes at every look.
        _type(
            "Snapshot",
            "describe_snapshots",
            "Snapshots[]",
            "snapshot/{SnapshotId}",
            drop=frozenset({"Progress"}),
            OwnerIds=("self",),
            MaxResults=PAGE,
        ),
        _type(
            "Image",
            "describe_images",
            "Images[]",
            "image/{ImageId}",
            drop=frozenset({"LastLaunchedTime"}),
            Owners=("self",),
            MaxResults=PAGE,
        ),
        _type(
            "SecurityGroup",
            "describe_security_groups",
            "SecurityGroups[]",
            "security-group/{GroupId}",
            MaxResults=PAGE,
        ),
        _type("VPC", "describe_vpcs", "Vpcs[]", "vpc/{VpcId}", MaxResults=PAGE),
        # The number of free addresses changes with every machine started.
        _type(
            "Subnet",
            "describe_subnets",
            "Subnets[]",
            "subnet/{SubnetId}",
            drop=frozenset({"AvailableIpAddressCount"}),
            MaxResults=PAGE,
        ),
        _type("NetworkAcl", "describe_network_acls", "NetworkAcls[]", "network-acl/{NetworkAclId}", MaxResults=PAGE),
        # Has no pages.
        _type("EIP", "describe_addresses", "Addresses[]", "elastic-ip/{AllocationId}"),
    ),
)
