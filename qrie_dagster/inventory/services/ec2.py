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
        drop=drop,
    )


SERVICE = Service(
    name="ec2",
    display_name="Amazon EC2",
    types=(
        _type("Instance", "describe_instances", "Reservations[].Instances[]", "instance/{InstanceId}"),
        _type("Volume", "describe_volumes", "Volumes[]", "volume/{VolumeId}"),
        # Without an owner these two list everything that is public on AWS. Progress changes at every look.
        _type(
            "Snapshot",
            "describe_snapshots",
            "Snapshots[]",
            "snapshot/{SnapshotId}",
            drop=frozenset({"Progress"}),
            OwnerIds=("self",),
        ),
        _type("Image", "describe_images", "Images[]", "image/{ImageId}", Owners=("self",)),
        _type("SecurityGroup", "describe_security_groups", "SecurityGroups[]", "security-group/{GroupId}"),
        _type("VPC", "describe_vpcs", "Vpcs[]", "vpc/{VpcId}"),
        # The number of free addresses changes with every machine started.
        _type(
            "Subnet",
            "describe_subnets",
            "Subnets[]",
            "subnet/{SubnetId}",
            drop=frozenset({"AvailableIpAddressCount"}),
        ),
        _type("NetworkAcl", "describe_network_acls", "NetworkAcls[]", "network-acl/{NetworkAclId}"),
        _type("EIP", "describe_addresses", "Addresses[]", "elastic-ip/{AllocationId}"),
    ),
)
