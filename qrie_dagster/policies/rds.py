"""Policies on RDS."""

from qrie_dagster.models import Resource
from qrie_dagster.policies.policy import COMPLIANT, Category, Surroundings, Verdict, policy, violation


@policy(
    id="RDSPublicAccess",
    resource_type="AWS::RDS::DBInstance",
    severity=90,
    category=Category.NETWORK_SECURITY,
    description=(
        "The database instance is publicly accessible: its name resolves to a public address, and only "
        "security groups and routes stand between it and the internet."
    ),
    remediation=(
        "aws rds modify-db-instance --db-instance-identifier ID --no-publicly-accessible "
        "--apply-immediately. Clients outside the VPC then need a VPN, a bastion or peering; place the "
        "instance in private subnets."
    ),
    controls=("CIS 3.0 2.3.3", "CIS 5.0 2.2.3", "FSBP RDS.2"),
)
def publicly_accessible(instance: Resource, _surroundings: Surroundings) -> Verdict:
    """The setting itself is judged, as CIS and FSBP do, not whether a route happens to be open today."""
    if not instance.fact("PubliclyAccessible"):
        return COMPLIANT
    # An instance that is being created has no endpoint yet.
    endpoint = instance.configuration.get("Endpoint") or {}
    return violation(PubliclyAccessible=True, Address=endpoint.get("Address"), Port=endpoint.get("Port"))
