"""Amazon RDS: database instances, Aurora clusters and their snapshots. One paged call per type and region."""

from qrie_dagster.inventory.resource_type import Listing, ResourceType, Service


def _type(name: str, operation: str, *volatile: str) -> ResourceType:
    return ResourceType(
        name=f"AWS::RDS::{name}",
        listing=Listing(operation),
        items=f"{name}s[]",
        arn=f"{{{name}Arn}}",
        tags="TagList",
        drop=frozenset(volatile),
    )


SERVICE = Service(
    name="rds",
    display_name="Amazon RDS",
    types=(
        # What is dropped is different at each look: how far backups reach, how far a task is.
        _type("DBInstance", "describe_db_instances", "LatestRestorableTime", "PercentProgress"),
        _type(
            "DBCluster",
            "describe_db_clusters",
            "BacktrackConsumedChangeRecords",
            "Capacity",
            "EarliestBacktrackTime",
            "EarliestRestorableTime",
            "LatestRestorableTime",
            "PercentProgress",
        ),
        # Shared and public snapshots of other accounts are only shown on request.
        _type("DBSnapshot", "describe_db_snapshots", "PercentProgress"),
        _type("DBClusterSnapshot", "describe_db_cluster_snapshots", "PercentProgress"),
    ),
)
