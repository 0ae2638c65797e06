"""What the roles in deploy/ allow is what qrie calls: nothing is missing, nothing is more than needed."""

import json
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster_aws.s3 import S3ComputeLogManager

from qrie_dagster import registry
from qrie_dagster.aws import AwsAccess
from qrie_dagster.demo import emulator, organisation
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, Resource, ScanKind, ScanType
from qrie_dagster.observations import observe, observe_deleted
from qrie_dagster.policies.policy import all_policies
from qrie_dagster.policy_changes import launch_all
from qrie_dagster.scan import InventoryScanner, PolicyScanner
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.store.summary import Scan
from qrie_dagster.store.tables import create_tables
from qrie_dagster.summary.rollup import roll_up
from qrie_dagster.times import now_ms

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"

# Operations whose permission has another name. Source: AWS Service Authorization Reference.
PERMISSIONS = {
    "s3:ListBuckets": {"s3:ListAllMyBuckets"},
    "s3:GetBucketEncryption": {"s3:GetEncryptionConfiguration"},
    "s3:GetPublicAccessBlock": {"s3:GetBucketPublicAccessBlock"},
    "s3:HeadObject": {"s3:GetObject"},
    "s3:ListObjectsV2": {"s3:ListBucket"},
    "s3control:GetPublicAccessBlock": {"s3:GetAccountPublicAccessBlock"},
}
# A transaction needs the permission of each of its parts.
PARTS = {
    "ConditionCheck": "dynamodb:ConditionCheckItem",
    "Put": "dynamodb:PutItem",
    "Update": "dynamodb:UpdateItem",
    "Delete": "dynamodb:DeleteItem",
}


class CloudFormationLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short functions, which are of no interest here."""


CloudFormationLoader.add_multi_constructor("!", lambda _loader, _suffix, node: node.value)


def actions(statements: list[dict[str, Any]]) -> set[str]:
    found = [[s["Action"]] if isinstance(s["Action"], str) else s["Action"] for s in statements]
    return {action for names in found for action in names}


class Recorder:
    """The permissions that calls of sessions and clients needed."""

    def __init__(self) -> None:
        self.needed: set[str] = set()

    def listen(self, events: Any) -> None:
        events.register("before-parameter-build", self._note)

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        operation = f"{model.service_model.service_name}:{model.name}"
        if operation == "dynamodb:TransactWriteItems":
            self.needed |= {PARTS[part] for item in params["TransactItems"] for part in item}
        else:
            self.needed |= PERMISSIONS.get(operation, {operation})


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with emulator.running() as url:
        organisation.build(url, lambda _line: None)
        yield url


@pytest.fixture
def settings_here(make_settings: Callable[..., Settings], endpoint: str) -> Settings:
    return make_settings(endpoint_url=endpoint, regions=["us-east-1"])


@pytest.fixture
def filled(settings_here: Settings) -> tuple[Store, Recorder]:
    recorder = Recorder()
    store = open_store(settings_here)
    recorder.listen(store.dynamo.client.meta.events)
    create_tables(store.dynamo)
    return store, recorder


def scan(store: Store, kind: ScanKind, scanner: Any, account: Account) -> None:
    plan = Scan(
        scan_id=f"{kind}-1",
        kind=kind,
        scan_type=ScanType.BOOTSTRAP,
        started_ms=now_ms(),
        accounts=(account.account_id,),
        services=tuple(all_services()),
    )
    store.summary.open_scan(plan)
    for service in all_services().values():
        outcome = scanner.scan(plan, store.accounts.get(account.account_id), service)
        assert outcome.succeeded, outcome.failures
    roll_up(store, plan.scan_id, now_ms())


def test_roles_allow_what_is_called_and_no_more(settings_here: Settings, filled: tuple[Store, Recorder]) -> None:
    store, own = filled
    member = Recorder()
    access = AwsAccess(settings_here)
    own.listen(access._own.events)

    def enter(account: Account) -> Any:
        session = access.enter(account)
        member.listen(session.events)
        return session

    account = organisation.ACCOUNTS[1]
    launch_all(store)
    registry.register_new(store, account)
    scan(store, ScanKind.INVENTORY, InventoryScanner(store, enter, 8), account)
    scan(store, ScanKind.POLICY, PolicyScanner(store, all_policies()), account)
    bucket = next(r for r in store.resources.load(account.account_id, "s3") if r.resource_type == "AWS::S3::Bucket")
    later = now_ms() + 1
    assert observe(store, Resource(**{**vars(bucket), "describe_time": later, "configuration": {"Name": "changed"}}))
    observe_deleted(store, account.account_id, "s3", bucket.resource_type, bucket.region, bucket.arn, later + 1)
    registry.set_status(store, account.account_id, "removed")

    template = yaml.load((DEPLOY / "member-role.yaml").read_text(), CloudFormationLoader)
    [policy] = template["Resources"]["QrieReadOnly"]["Properties"]["Policies"]
    assert member.needed == actions(policy["PolicyDocument"]["Statement"])

    allowed = json.loads((DEPLOY / "qrie-policy.json").read_text())["Statement"]
    organisation_actions = {name for name in actions(allowed) if name.startswith("organizations:")}
    elsewhere = {"Alerts", "ComputeLogs", "ComputeLogBucket"}
    assert own.needed | organisation_actions == actions([s for s in allowed if s["Sid"] not in elsewhere])


def test_importing_an_organisation_needs_what_the_policy_allows(
    settings_here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()

    def own_session(_: Settings) -> Any:
        session = boto3.Session(region_name="us-east-1")
        recorder.listen(session.events)
        return session

    monkeypatch.setattr(registry, "own_session", own_session)
    assert len(registry.accounts_from_organization(settings_here)) == len(organisation.ACCOUNTS)
    allowed = json.loads((DEPLOY / "qrie-policy.json").read_text())["Statement"]
    assert recorder.needed == {name for name in actions(allowed) if name.startswith("organizations:")}


def test_the_logs_of_runs_need_what_the_policy_allows(endpoint: str, tmp_path: Path) -> None:
    config = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())["compute_logs"]["config"]
    bucket = "qrie-logs"
    allowed = json.loads((DEPLOY / "qrie-policy.json").read_text())["Statement"]
    [objects] = [s for s in allowed if s["Sid"] == "ComputeLogs"]
    [listing] = [s for s in allowed if s["Sid"] == "ComputeLogBucket"]
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=bucket)
    manager = S3ComputeLogManager(
        bucket=bucket, prefix=config["prefix"], local_dir=str(tmp_path), endpoint_url=endpoint, region="us-east-1"
    )
    recorder = Recorder()
    recorder.listen(manager._s3_session.meta.events)
    log = ["run", "compute_logs", "step"]
    with manager.open_log_stream(log, ComputeIOType.STDOUT) as stream:
        assert stream
        stream.write("said")
    manager.upload_to_cloud_storage(log, ComputeIOType.STDOUT)
    manager.local_manager.delete_logs(log_key=log)
    assert manager.cloud_storage_has_logs(log, ComputeIOType.STDOUT)
    manager.download_from_cloud_storage(log, ComputeIOType.STDOUT)
    manager.get_log_keys_for_log_key_prefix(log[:2], ComputeIOType.STDOUT)
    assert recorder.needed == actions([objects, listing])
    key = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").list_objects_v2(Bucket=bucket)
    assert fnmatch(f"arn:aws-cn:s3:::{bucket}/{key['Contents'][0]['Key']}", objects["Resource"])


def test_the_policy_holds_in_every_partition() -> None:
    text = (DEPLOY / "qrie-policy.json").read_text()
    assert "arn:" in text
    assert "arn:" not in text.replace("arn:*:", "")


def test_the_role_is_entered_with_an_external_id_under_the_name_of_the_settings() -> None:
    text = (DEPLOY / "member-role.yaml").read_text()
    template = yaml.load(text, CloudFormationLoader)
    role = template["Resources"]["QrieReadOnly"]["Properties"]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": "ExternalId"}}
    pattern = Settings.model_fields["role_name_pattern"].default
    assert role["RoleName"].replace("${AWS::AccountId}", "{account}") == pattern
    assert not re.search(r"(?<![\w:])\w+:\*", text), "no action with a wildcard"
