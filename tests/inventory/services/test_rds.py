"""RDS as collected from a moto server."""

from typing import Any

TAGS = [{"Key": "team", "Value": "data"}]


def _instance(rds: Any, name: str, **more: Any) -> None:
    rds.create_db_instance(
        DBInstanceIdentifier=name,
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="owner",
        MasterUserPassword="not-a-secret-1",
        **more,
    )


def test_every_type_in_every_region(member: Any) -> None:
    for region in ("us-east-1", "eu-west-1"):
        rds = member.client("rds", region)
        _instance(rds, "orders", PubliclyAccessible=True, StorageEncrypted=True, Tags=TAGS)
        rds.create_db_cluster(
            DBClusterIdentifier="ledger",
            Engine="aurora-postgresql",
            MasterUsername="owner",
            MasterUserPassword="not-a-secret-1",
            Tags=TAGS,
        )
        rds.create_db_snapshot(DBInstanceIdentifier="orders", DBSnapshotIdentifier="before", Tags=TAGS)
        rds.create_db_cluster_snapshot(DBClusterIdentifier="ledger", DBClusterSnapshotIdentifier="monthly", Tags=TAGS)

    resources = member.resources("rds")
    for region in ("us-east-1", "eu-west-1"):
        prefix = f"arn:aws:rds:{region}:{member.id}"
        for name, kind in (
            ("db:orders", "DBInstance"),
            ("cluster:ledger", "DBCluster"),
            ("snapshot:before", "DBSnapshot"),
            ("cluster-snapshot:monthly", "DBClusterSnapshot"),
        ):
            resource = resources[f"{prefix}:{name}"]
            assert resource.resource_type == f"AWS::RDS::{kind}"
            assert resource.region == region
            assert resource.tags == {"team": "data"}
            assert "TagList" not in resource.configuration
        instance = resources[f"{prefix}:db:orders"]
        assert instance.fact("PubliclyAccessible") is True
        assert instance.fact("StorageEncrypted") is True
        assert instance.fact("Endpoint")["Port"] == 5432
        assert resources[f"{prefix}:snapshot:before"].fact("Encrypted") is True


def test_what_changes_by_itself_is_left_out(member: Any) -> None:
    _instance(member.client("rds"), "orders")
    instance = member.resources("rds")[f"arn:aws:rds:us-east-1:{member.id}:db:orders"]
    assert "LatestRestorableTime" not in instance.configuration


def test_more_than_a_page(member: Any) -> None:
    rds = member.client("rds")
    for number in range(101):
        _instance(rds, f"db-{number}", BackupRetentionPeriod=0)
    assert len(rds.describe_db_instances()["DBInstances"]) == 100
    arns = {arn for arn in member.resources("rds") if ":db:" in arn}
    assert len(arns) == 101
