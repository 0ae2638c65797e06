"""Policies on EC2."""

from qrie_dagster.models import Resource
from qrie_dagster.policies.policy import COMPLIANT, Category, Surroundings, Verdict, policy, violation


@policy(
    id="EC2UnencryptedEBS",
    resource_type="AWS::EC2::Volume",
    severity=85,
    category=Category.ENCRYPTION,
    description=(
        "The EBS volume, attached or not, is not encrypted: neither are its snapshots, and whoever gets to "
        "read or share one of those has the data."
    ),
    remediation=(
        "A volume cannot be encrypted in place: aws ec2 create-snapshot --volume-id ID, then aws ec2 "
        "copy-snapshot --encrypted --source-region REGION --source-snapshot-id ID, aws ec2 create-volume "
        "--snapshot-id COPY --availability-zone ZONE, and swap the volumes. For new ones: aws ec2 "
        "enable-ebs-encryption-by-default in each region."
    ),
    controls=("FSBP EC2.3",),
)
def unencrypted_volume(volume: Resource, _surroundings: Surroundings) -> Verdict:
    """The attached instances are named because they show whose data it is and what swapping it will stop."""
    if volume.fact("Encrypted"):
        return COMPLIANT
    attachments = volume.configuration.get("Attachments") or ()
    instances = {attachment["InstanceId"] for attachment in attachments if attachment.get("InstanceId")}
    return violation(Encrypted=False, AttachedInstances=sorted(instances))
