"""The databases of an emulated account, in one region."""

from random import Random
from typing import Any

from qrie_dagster.demo.access import Entered
from qrie_dagster.models import Account

NAMES = ("orders", "ledger", "catalogue", "sessions", "audit", "crm")


def fill(entered: Entered, account: Account, region: str, size: int, chance: Random) -> None:
    """Create instances, every third of them public, snapshots, and in bigger accounts a cluster."""
    rds = entered.client("rds", region)
    for number, name in enumerate(chance.sample(NAMES, 1 + size)):
        rds.create_db_instance(
            DBInstanceIdentifier=name,
            DBInstanceClass="db.t3.medium",
            Engine=chance.choice(("postgres", "mysql")),
            AllocatedStorage=20,
            MasterUsername="root_user",
            MasterUserPassword="not-a-secret-1",
            PubliclyAccessible=chance.random() < 0.3,
            StorageEncrypted=chance.random() < 0.7,
            BackupRetentionPeriod=7,
            Tags=[{"Key": "team", "Value": account.tags.get("team", "none")}],
        )
        if number == 0:
            rds.create_db_snapshot(DBInstanceIdentifier=name, DBSnapshotIdentifier=f"{name}-before-upgrade")
            _share(rds, f"{name}-before-upgrade", chance)
    if size > 1:
        _cluster(rds, f"{account.tags.get('env', 'x')}-analytics")


def _share(rds: Any, snapshot: str, chance: Random) -> None:
    if chance.random() < 0.2:
        rds.modify_db_snapshot_attribute(DBSnapshotIdentifier=snapshot, AttributeName="restore", ValuesToAdd=["all"])


def _cluster(rds: Any, name: str) -> None:
    rds.create_db_cluster(
        DBClusterIdentifier=name,
        Engine="aurora-postgresql",
        MasterUsername="root_user",
        MasterUserPassword="not-a-secret-1",
        StorageEncrypted=True,
    )
    rds.create_db_cluster_snapshot(DBClusterIdentifier=name, DBClusterSnapshotIdentifier=f"{name}-monthly")
