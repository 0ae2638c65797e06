"""Scans without Dagster: a small account in the emulator, looked at again and again."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ConnectTimeoutError

from qrie_dagster import policy_changes, scan
from qrie_dagster.aws import AccountSession, AwsAccess
from qrie_dagster.errors import AwsAccessError, StoreError
from qrie_dagster.findings import Finding, Reason, State
from qrie_dagster.inventory.collector import collect
from qrie_dagster.inventory.resource_type import Listing, ResourceType, Service
from qrie_dagster.inventory.services import find_service
from qrie_dagster.models import GLOBAL, Account, Outcome, Resource, ScanKind, ScanType, Scope
from qrie_dagster.observations import observe_deleted
from qrie_dagster.policies.policy import Policy, all_policies
from qrie_dagster.reconcile import Deletion, Stored
from qrie_dagster.registry import forget_region
from qrie_dagster.scan import InventoryScanner, PolicyScanner
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store, open_store
from qrie_dagster.store.dynamo import ConditionFailedError
from qrie_dagster.store.launched_policies import LaunchedPolicy
from qrie_dagster.store.summary import Scan
from qrie_dagster.store.tables import FINDINGS, RESOURCES
from qrie_dagster.times import now_ms

HERE, THERE = "us-east-1", "eu-west-1"
VERSIONING = "S3BucketVersioningDisabled"
Sabotage = Callable[[AccountSession], Any]

# moto pages no listing of the declared services, but it does this one.
QUEUES = Service(
    "sqs",
    "Amazon SQS",
    types=(
        ResourceType(
            "AWS::SQS::Queue",
            Listing("list_queues", params=(("MaxResults", 2),)),
            "QueueUrls[].{Url: @}",
            "arn:{partition}:sqs:{region}:{account}:{Url}",
        ),
    ),
)


@dataclass
class World:
    """One AWS account, its owner, and qrie."""

    store: Store
    access: AwsAccess
    account_id: str
    owner: AccountSession

    @property
    def account(self) -> Account:
        account = self.store.accounts.get(self.account_id)
        assert account is not None
        return account

    def aws(self, service: str, region: str = HERE) -> Any:
        return self.owner.client(service, region)

    def bucket(self, name: str) -> str:
        full = f"{name}-{self.account_id}"
        self.aws("s3").create_bucket(Bucket=full)
        return full

    def volume(self, region: str) -> str:
        answer = self.aws("ec2", region).create_volume(AvailabilityZone=f"{region}a", Size=1)
        return str(answer["VolumeId"])

    def inventory(
        self, service: str | Service = "s3", sabotage: Sabotage = lambda _: None, store: Store | None = None
    ) -> Outcome:
        """One inventory scan; ``sabotage`` gets the session it looks through."""

        def enter(account: Account) -> AccountSession:
            session = self.access.enter(account)
            sabotage(session)
            return session

        declared = find_service(service) if isinstance(service, str) else service
        scanner = InventoryScanner(store or self.store, enter, 8)
        return scanner.scan(self.scan(ScanKind.INVENTORY), self.account, declared)

    def judge(
        self,
        *launched: LaunchedPolicy,
        policies: Mapping[str, Policy] | None = None,
        only: tuple[str, ...] = (),
        service: str = "s3",
    ) -> Outcome:
        """One policy scan."""
        for old in self.store.policies.all():
            self.store.policies.delete(old.policy_id)
        for launch in launched or [LaunchedPolicy(policy_id=VERSIONING)]:
            self.store.policies.launch(launch)
        scanner = PolicyScanner(self.store, all_policies() if policies is None else policies)
        return scanner.scan(self.scan(ScanKind.POLICY, only), self.account, find_service(service))

    def scan(self, kind: ScanKind, only: tuple[str, ...] = ()) -> Scan:
        return Scan(
            scan_id=f"{kind}-{uuid4().hex}", kind=kind, scan_type=ScanType.BOOTSTRAP, started_ms=1, policies=only
        )

    def buckets(self) -> set[str]:
        """The buckets that qrie knows, by their own name."""
        return {
            resource.configuration["Name"]
            for resource in self.store.resources.load(self.account_id, "s3")
            if resource.resource_type == "AWS::S3::Bucket"
        }

    def resource(self, bucket: str) -> Resource:
        found = self.store.resources.get(self.account_id, "s3", f"arn:aws:s3:::{bucket}")
        assert found is not None
        return found

    def finding(self, bucket: str) -> Finding:
        found = self.store.findings.get(f"arn:aws:s3:::{bucket}", VERSIONING)
        assert found is not None
        return found

    def arns(self, service: str) -> set[str]:
        return set(self.store.resources.index(self.account_id, service))


@pytest.fixture
def world(store: Store, make_settings: Callable[..., Settings], account_id: str) -> World:
    store.accounts.add(Account(account_id=account_id, regions=[HERE, THERE]))
    access = AwsAccess(make_settings(aws_max_attempts=1))
    account = store.accounts.get(account_id)
    assert account is not None
    return World(store, access, account_id, access.enter(account))


@pytest.fixture
def other(make_settings: Callable[..., Settings], world: World) -> Store:
    """Another process's view of the same tables."""
    return open_store(make_settings())


def writes(store: Store) -> Counter[str]:
    """What is written from now on to resources and findings, by operation."""
    seen: Counter[str] = Counter()
    watched = {store.dynamo.name(RESOURCES), store.dynamo.name(FINDINGS)}

    def note(params: Mapping[str, Any], model: Any, **_: Any) -> None:
        together = [part for item in params.get("TransactItems", ()) for part in item.values()]
        tables = {params.get("TableName"), *params.get("RequestItems", ()), *(part["TableName"] for part in together)}
        if tables & watched and model.name not in ("Query", "Scan", "GetItem", "BatchGetItem"):
            seen[model.name] += 1

    store.dynamo.client.meta.events.register("provide-client-params.dynamodb", note)
    return seen


def counts(outcome: Outcome) -> tuple[int, int, int, int]:
    """Created, updated, deleted, unchanged."""
    return (
        outcome.resources_created,
        outcome.resources_updated,
        outcome.resources_deleted,
        outcome.resources_unchanged,
    )


def test_the_first_inventory_creates_what_there_is(world: World) -> None:
    names = {world.bucket("a"), world.bucket("b")}
    outcome = world.inventory()
    assert outcome.succeeded
    assert world.buckets() == names
    # Two buckets and the account's public access block.
    assert counts(outcome) == (3, 0, 0, 0)
    assert (outcome.resources_found, outcome.resources_before) == (3, 0)
    assert world.account.scan(ScanKind.INVENTORY, "s3").resources == 3


def test_a_second_inventory_writes_no_resource(world: World) -> None:
    world.bucket("a")
    world.volume(HERE)
    world.aws("iam").create_user(UserName="ann")
    for service in ("s3", "ec2", "iam"):
        world.inventory(service)
    seen = writes(world.store)
    for service in ("s3", "ec2", "iam"):
        outcome = world.inventory(service)
        assert outcome.succeeded, outcome.failures
        assert counts(outcome) == (0, 0, 0, outcome.resources_found)
        assert outcome.resources_before == outcome.resources_found > 0
    assert seen == {}


def test_an_inventory_repairs_exactly_what_changed(world: World) -> None:
    same, changed, gone = world.bucket("same"), world.bucket("changed"), world.bucket("gone")
    world.inventory()
    before = world.resource(same)
    world.aws("s3").put_bucket_versioning(Bucket=changed, VersioningConfiguration={"Status": "Enabled"})
    world.aws("s3").delete_bucket(Bucket=gone)
    new = world.bucket("new")
    seen = writes(world.store)
    outcome = world.inventory()
    assert counts(outcome) == (1, 1, 1, 2)
    # What is stored already changes under the claim.
    assert seen == {"UpdateItem": 1, "TransactWriteItems": 2}
    assert world.buckets() == {same, changed, new}
    assert world.resource(changed).configuration["Versioning"]["Status"] == "Enabled"
    assert world.resource(same) == before


def test_regions_are_kept_apart(world: World) -> None:
    here, there = world.volume(HERE), world.volume(THERE)
    assert world.inventory("ec2").succeeded
    volumes = {arn for arn in world.arns("ec2") if ":volume/" in arn}
    assert volumes == {
        f"arn:aws:ec2:{HERE}:{world.account_id}:volume/{here}",
        f"arn:aws:ec2:{THERE}:{world.account_id}:volume/{there}",
    }


def test_a_denied_role_fails_the_scan_and_deletes_nothing(world: World) -> None:
    name = world.bucket("a")
    world.inventory()
    succeeded = world.account.scan(ScanKind.INVENTORY, "s3").last_success

    def denied(_: AccountSession) -> None:
        raise AwsAccessError("Cannot assume the role: AccessDenied")

    outcome = world.inventory(sabotage=denied)
    assert outcome.failed
    assert not outcome.succeeded
    (failure,) = outcome.failures
    assert failure == f"{world.account_id}/s3/all regions: Cannot assume the role: AccessDenied"
    assert world.buckets() == {name}
    state = world.account.scan(ScanKind.INVENTORY, "s3")
    assert (state.last_error, state.last_success) == (failure, succeeded)


def test_a_bug_in_one_account_is_its_failure_and_stops_nothing(world: World) -> None:
    def broken(_: AccountSession) -> None:
        raise ZeroDivisionError("oops")

    outcome = world.inventory(sabotage=broken)
    assert outcome.failed
    assert "qrie broke: ZeroDivisionError: oops" in outcome.failures[0]


def test_a_failing_region_deletes_nothing_there_and_the_others_go_on(world: World, refuse: Callable[..., None]) -> None:
    here, there = world.volume(HERE), world.volume(THERE)
    world.inventory("ec2")
    for region, volume in ((HERE, here), (THERE, there)):
        world.aws("ec2", region).delete_volume(VolumeId=volume)
    new = world.volume(HERE)
    outcome = world.inventory(
        "ec2", lambda session: refuse(session.client("ec2", THERE), "DescribeVolumes", "InternalError")
    )
    volumes = {arn.rpartition("/")[2] for arn in world.arns("ec2") if ":volume/" in arn}
    assert volumes == {new, there}
    assert (outcome.resources_created, outcome.resources_deleted) == (1, 1)
    assert (outcome.failed, outcome.succeeded) == (False, False)
    assert outcome.failures == (
        f"{world.account_id}/ec2/{THERE}: AWS::EC2::Volume: DescribeVolumes: InternalError: not today",
    )
    assert world.inventory("ec2").resources_deleted == 1


def test_a_region_that_does_not_answer_is_one_failure(world: World, before_calls: Callable[..., None]) -> None:
    world.volume(THERE)
    world.inventory("ec2")
    before = world.arns("ec2")

    def hangs(_: int) -> None:
        raise ConnectTimeoutError(endpoint_url="https://ec2.eu-west-1.amazonaws.com")

    def sabotage(session: AccountSession) -> None:
        for kind in find_service("ec2").types:
            operation = "".join(word.title() for word in kind.listing.operation.split("_"))
            before_calls(session.client("ec2", THERE), operation, hangs)

    outcome = world.inventory("ec2", sabotage)
    assert world.arns("ec2") == before
    assert counts(outcome)[:3] == (0, 0, 0)
    (failure,) = outcome.failures
    assert failure.startswith(f"{world.account_id}/ec2/{THERE}: AWS::EC2::")
    assert "ConnectTimeoutError" in failure


def test_an_unreadable_list_of_regions_deletes_nothing(world: World, refuse: Callable[..., None]) -> None:
    world.volume(HERE)
    world.inventory("ec2")
    before = world.arns("ec2")
    outcome = world.inventory("ec2", lambda session: refuse(session.client("ec2", HERE), "DescribeRegions"))
    assert world.arns("ec2") == before
    assert outcome.failed
    assert "the list of regions cannot be read: DescribeRegions: AccessDenied" in outcome.failures[0]
    assert counts(outcome) == (0, 0, 0, 0)


def test_a_region_no_longer_scanned_is_told_and_kept(world: World) -> None:
    world.volume(THERE)
    world.inventory("ec2")
    before = world.arns("ec2")
    world.store.accounts.describe(world.account.model_copy(update={"regions": [HERE]}))
    outcome = world.inventory("ec2")
    assert world.arns("ec2") == before
    assert any(THERE in failure and "forget-region" in failure for failure in outcome.failures)
    assert not outcome.succeeded


def test_a_region_named_for_all_accounts_that_this_one_has_not_enabled_is_not_there(
    world: World, make_settings: Callable[..., Settings]
) -> None:
    world.volume(HERE)
    world.volume(THERE)
    world.inventory("ec2")
    before = world.arns("ec2")
    world.store.accounts.describe(world.account.model_copy(update={"regions": []}))
    world.access = AwsAccess(make_settings(regions=[HERE, THERE, "xx-nowhere-1"]))
    outcome = world.inventory("ec2")
    assert outcome.succeeded, outcome.failures
    # What is stored where nothing is scanned any more, because it was disabled, is told all the same.
    world.access = AwsAccess(make_settings(regions=[HERE, "xx-nowhere-1"]))
    outcome = world.inventory("ec2")
    assert {THERE in failure and "forget-region" in failure for failure in outcome.failures} == {True}
    assert world.arns("ec2") == before
    world.access = AwsAccess(make_settings(regions=["xx-nowhere-1"]))
    outcome = world.inventory("ec2")
    assert outcome.failed
    assert "no region that is to be scanned is enabled in this account" in outcome.failures[0]


def test_a_region_that_is_not_enabled_is_a_failure(world: World) -> None:
    world.store.accounts.describe(world.account.model_copy(update={"regions": [HERE, "xx-nowhere-1"]}))
    outcome = world.inventory("ec2")
    assert not outcome.failed
    assert "xx-nowhere-1" in outcome.failures[0]
    assert "not enabled" in outcome.failures[0]


def test_a_listing_that_fails_on_its_third_page_deletes_nothing(world: World, refuse: Callable[..., None]) -> None:
    for number in range(6):
        world.aws("sqs").create_queue(QueueName=f"q{number}")
    assert world.inventory(QUEUES).resources_created == 6
    gone = world.aws("sqs").get_queue_url(QueueName="q0")["QueueUrl"]
    world.aws("sqs").delete_queue(QueueUrl=gone)
    outcome = world.inventory(QUEUES, lambda session: refuse(session.client("sqs", HERE), "ListQueues", begin=3))
    # Two pages of two were read.
    assert outcome.resources_found == 4
    assert counts(outcome) == (0, 0, 0, 4)
    assert "AWS::SQS::Queue: ListQueues: AccessDenied" in outcome.failures[0]
    assert len(world.arns("sqs")) == 6
    assert world.inventory(QUEUES).resources_deleted == 1
    assert len(world.arns("sqs")) == 5


def test_a_detail_that_fails_keeps_what_was_last_known(world: World, refuse: Callable[..., None]) -> None:
    name = world.bucket("a")
    world.aws("s3").put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    world.inventory()
    before = world.resource(name)
    seen = writes(world.store)
    outcome = world.inventory(sabotage=lambda session: refuse(session.client("s3", HERE), "GetBucketVersioning"))
    assert world.resource(name) == before
    assert seen == {}
    refused = f"{world.account_id}/s3/{HERE}: arn:aws:s3:::{name}: GetBucketVersioning: AccessDenied: not today"
    assert (outcome.failures, outcome.unread) == ((), (refused,))
    # Every listing was complete: the account is fresh, and what single resources refuse is told all the same.
    assert outcome.succeeded
    state = world.account.scan(ScanKind.INVENTORY, "s3")
    assert (state.last_success, state.last_error) == (outcome.finished_ms, refused)
    world.inventory()
    assert world.account.scan(ScanKind.INVENTORY, "s3").last_error is None


def test_a_detail_that_fails_does_not_hide_other_changes(world: World, refuse: Callable[..., None]) -> None:
    name = world.bucket("a")
    world.inventory()
    world.aws("s3").put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "env", "Value": "prod"}]})
    outcome = world.inventory(sabotage=lambda session: refuse(session.client("s3", HERE), "GetBucketVersioning"))
    assert outcome.resources_updated == 1
    found = world.resource(name)
    assert found.tags == {"env": "prod"}
    assert "Versioning" in found.configuration
    assert found.unread == ()


def test_a_detail_that_was_never_read_is_unknown(world: World, refuse: Callable[..., None]) -> None:
    name = world.bucket("a")

    def sabotage(session: AccountSession) -> None:
        refuse(session.client("s3", HERE), "GetBucketVersioning")

    world.inventory(sabotage=sabotage)
    assert world.resource(name).unread == ("Versioning",)
    seen = writes(world.store)
    world.inventory(sabotage=sabotage)
    assert seen == {}
    world.inventory()
    assert world.resource(name).unread == ()


def test_a_bucket_that_vanishes_between_list_and_detail_is_gone(
    world: World, before_calls: Callable[..., None]
) -> None:
    name = world.bucket("a")
    world.inventory()

    def vanish(number: int) -> None:
        if number == 1:
            world.aws("s3").delete_bucket(Bucket=name)

    outcome = world.inventory(
        sabotage=lambda session: before_calls(session.client("s3", HERE), "GetBucketVersioning", vanish)
    )
    assert outcome.succeeded
    assert outcome.resources_deleted == 1
    assert world.buckets() == set()


def test_a_bucket_deleted_and_made_again_is_one_change(world: World) -> None:
    name = world.bucket("a")
    world.inventory()
    world.aws("s3").delete_bucket(Bucket=name)
    assert world.inventory().resources_deleted == 1
    world.bucket("a")
    assert world.inventory().resources_created == 1
    assert world.buckets() == {name}


# Where the other scan comes in: before the claim is read (the first read is of the account), before it is written,
# and before the inventory is read.
@pytest.mark.parametrize(("operation", "number"), [("GetItem", 2), ("UpdateItem", 2), ("Query", 1)])
def test_a_scan_that_is_overtaken_looks_again(
    world: World,
    other: Store,
    before_calls: Callable[..., None],
    count_calls: Callable[..., Counter[str]],
    operation: str,
    number: int,
) -> None:
    kept, gone = world.bucket("kept"), world.bucket("gone")
    seen: list[Counter[str]] = []
    overtaking: list[Outcome] = []

    def overtake(call: int) -> None:
        if call == number:
            world.aws("s3").delete_bucket(Bucket=gone)
            overtaking.append(world.inventory(store=other))

    before_calls(world.store.dynamo.client, operation, overtake)
    outcome = world.inventory(sabotage=lambda session: seen.append(count_calls(session.client("s3", HERE))))
    assert seen[0]["ListBuckets"] == 2
    # What was deleted meanwhile is not brought back by the older picture, and what both did adds up.
    assert world.buckets() == {kept}
    assert outcome.succeeded, outcome.failures
    assert overtaking[0].succeeded, overtaking[0].failures
    assert sum(one.resources_created - one.resources_deleted for one in (outcome, *overtaking)) == 2


def test_a_scan_that_is_always_overtaken_fails_and_says_what_it_changed(
    world: World, other: Store, before_calls: Callable[..., None]
) -> None:
    world.bucket("a")
    before_calls(
        world.store.dynamo.client,
        "Query",
        lambda _: other.accounts.claim(world.account_id, "s3", uuid4().hex, {}),
    )
    outcome = world.inventory()
    assert outcome.failed
    assert "kept overtaking this one" in outcome.failures[0]
    assert outcome.resources_created == 2
    assert "kept overtaking" in (world.account.scan(ScanKind.INVENTORY, "s3").last_error or "")


def test_an_account_that_leaves_while_it_is_scanned_is_a_failure(
    world: World, other: Store, before_calls: Callable[..., None]
) -> None:
    world.bucket("a")
    before_calls(world.store.dynamo.client, "Query", lambda _: other.accounts.set_status(world.account_id, "removed"))
    outcome = world.inventory()
    assert outcome.failed
    assert "left the registry while it was scanned" in outcome.failures[0]
    assert world.account.status == "removed"
    assert world.account.scan(ScanKind.INVENTORY, "s3").last_success is None


def test_every_outcome_is_in_the_ledger(world: World) -> None:
    world.bucket("a")
    scan = world.scan(ScanKind.INVENTORY)
    scanner = InventoryScanner(world.store, world.access.enter, 8)
    outcomes = [scanner.scan(scan, world.account, find_service(name)) for name in ("s3", "ec2")]
    found = world.store.summary.outcomes(scan.scan_id, [world.account_id])
    assert sorted(found, key=lambda one: one.service) == sorted(outcomes, key=lambda one: one.service)


def test_a_store_that_refuses_writes_fails_the_scan(world: World) -> None:
    world.bucket("a")
    world.inventory()
    new = world.bucket("b")

    def refuse_resources(params: Mapping[str, Any], **_: Any) -> None:
        if params["TableName"] == world.store.dynamo.name(RESOURCES):
            raise StoreError("DynamoDB refused a call: AccessDenied")

    world.store.dynamo.client.meta.events.register("provide-client-params.dynamodb.UpdateItem", refuse_resources)
    outcome = world.inventory()
    assert outcome.failed
    assert any("DynamoDB refused a call" in failure for failure in outcome.failures)
    assert outcome.resources_created == 0
    assert new not in world.buckets()
    assert world.account.scan(ScanKind.INVENTORY, "s3").last_error is not None


@pytest.mark.parametrize("broken", ["totals", "end", "second look"])
def test_what_an_inventory_changed_is_told_even_if_it_fails_afterwards(
    world: World, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    world.bucket("a")
    looks: list[AccountSession] = []

    def refuse(*_: Any) -> None:
        raise StoreError("DynamoDB refused a call")

    def overtaken(kind: ScanKind, outcome: Outcome, token: str | None = None) -> None:
        if token and broken == "second look":
            raise ConditionFailedError
        if token:
            refuse()

    if broken == "totals":
        monkeypatch.setattr(world.store.summary, "set_part", refuse)
    else:
        monkeypatch.setattr(world.store.accounts, "finish", overtaken)

    def second(*given: Any) -> Any:
        looks.append(given[0])
        if len(looks) > 1:
            refuse()
        return collect(*given)

    if broken == "second look":
        monkeypatch.setattr(scan, "collect", second)
    outcome = world.inventory()
    assert outcome.failed
    assert "DynamoDB refused a call" in outcome.failures[0]
    assert counts(outcome)[:3] == (2, 0, 0)


def test_totals_are_of_what_was_written_and_not_of_what_was_meant_to_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that is told while the scan writes."""
    kept, gone = world.bucket("kept"), world.bucket("gone")
    arn = f"arn:aws:s3:::{gone}"
    told: list[bool] = []
    index = world.store.resources.index

    def tell(account_id: str, service: str) -> Any:
        answer = index(account_id, service)
        if not told:
            told.append(observe_deleted(world.store, account_id, service, "AWS::S3::Bucket", GLOBAL, arn, now_ms()))
        return answer

    # Told once the scan has read what is stored, before it writes.
    monkeypatch.setattr(world.store.resources, "index", tell)
    outcome = world.inventory()
    assert outcome.succeeded, outcome.failures
    assert told == [True]
    assert world.buckets() == {kept}
    parts = world.store.summary.parts([world.account_id])[world.account_id]
    assert parts["Resources", "s3"] == {"AWS::S3::Bucket": 1, "AWS::S3::AccountPublicAccessBlock": 1}


# Policies.


def findings(outcome: Outcome) -> tuple[int, int, int]:
    """Created, closed, updated."""
    return outcome.findings_created, outcome.findings_closed, outcome.findings_updated


@pytest.fixture
def bucket(world: World) -> str:
    """A bucket without versioning, stored."""
    name = world.bucket("open")
    world.inventory()
    return name


def test_the_first_policy_scan_opens_findings(world: World, bucket: str) -> None:
    fine = world.bucket("fine")
    world.aws("s3").put_bucket_versioning(Bucket=fine, VersioningConfiguration={"Status": "Enabled"})
    world.inventory()
    outcome = world.judge()
    assert outcome.succeeded
    assert findings(outcome) == (1, 0, 0)
    assert (outcome.processed_resources, outcome.skipped_resources) == (2, 0)
    assert outcome.policies == (VERSIONING,)
    assert world.finding(bucket).state is State.ACTIVE
    assert world.finding(bucket).account_service == f"{world.account_id}_s3"
    assert world.store.findings.get(f"arn:aws:s3:::{fine}", VERSIONING) is None


def test_a_second_policy_scan_writes_no_finding(world: World, bucket: str) -> None:
    everything = [LaunchedPolicy(policy_id=policy_id) for policy_id in all_policies()]
    assert world.judge(*everything).findings_created > 0
    before = list(world.store.findings.load(world.account_id, "s3"))
    seen = writes(world.store)
    outcome = world.judge(*everything)
    assert seen == {}
    assert findings(outcome) == (0, 0, 0)
    assert outcome.processed_resources > 0
    assert list(world.store.findings.load(world.account_id, "s3")) == before


def test_what_was_mended_is_closed_as_compliant(world: World, bucket: str) -> None:
    world.judge()
    world.aws("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    world.inventory()
    assert findings(world.judge()) == (0, 1, 0)
    assert world.finding(bucket).resolved_reason is Reason.COMPLIANT
    assert findings(world.judge()) == (0, 0, 0)


def test_what_was_deleted_is_closed_as_deleted(world: World, bucket: str) -> None:
    world.judge()
    world.aws("s3").delete_bucket(Bucket=bucket)
    world.inventory()
    assert findings(world.judge()) == (0, 1, 0)
    assert world.finding(bucket).resolved_reason is Reason.RESOURCE_DELETED


def test_a_bucket_made_again_reopens_its_finding(world: World, bucket: str) -> None:
    world.judge()
    first_seen = world.finding(bucket).first_seen
    world.aws("s3").delete_bucket(Bucket=bucket)
    world.inventory()
    world.judge()
    world.bucket("open")
    world.inventory()
    assert findings(world.judge()) == (1, 0, 0)
    finding = world.finding(bucket)
    assert (finding.state, finding.first_seen, finding.resolved_reason) == (State.ACTIVE, first_seen, None)


def test_a_suspended_policy_closes_its_findings_and_relaunched_opens_them_again(world: World, bucket: str) -> None:
    world.judge()
    suspended = LaunchedPolicy(policy_id=VERSIONING, status="suspended")
    outcome = world.judge(suspended)
    assert findings(outcome) == (0, 1, 0)
    assert outcome.policies == ()
    assert world.finding(bucket).resolved_reason is Reason.POLICY_SUSPENDED
    assert findings(world.judge(suspended)) == (0, 0, 0)
    # Over the same inventory.
    assert findings(world.judge()) == (1, 0, 0)


def test_what_is_out_of_scope_is_closed_and_not_skipped(world: World, bucket: str) -> None:
    world.judge()
    elsewhere = LaunchedPolicy(policy_id=VERSIONING, scope=Scope(exclude_accounts=[world.account_id]))
    outcome = world.judge(elsewhere)
    assert findings(outcome) == (0, 1, 0)
    assert (outcome.processed_resources, outcome.skipped_resources) == (0, 0)
    assert world.finding(bucket).resolved_reason is Reason.OUT_OF_SCOPE


def test_a_scope_reads_the_tags_of_the_stored_account(world: World, bucket: str) -> None:
    production = LaunchedPolicy(policy_id=VERSIONING, scope=Scope(include_tags={"env": ["prod"]}))
    assert findings(world.judge(production)) == (0, 0, 0)
    world.store.accounts.describe(world.account.model_copy(update={"tags": {"env": "prod"}}))
    assert findings(world.judge(production)) == (1, 0, 0)


def test_another_severity_updates_over_the_same_inventory(world: World, bucket: str) -> None:
    world.judge()
    outcome = world.judge(LaunchedPolicy(policy_id=VERSIONING, severity=95))
    assert findings(outcome) == (0, 0, 1)
    assert world.finding(bucket).severity == 95
    assert outcome.critical_created == 0


def test_critical_findings_are_counted_as_they_open(world: World, bucket: str) -> None:
    assert world.judge(LaunchedPolicy(policy_id=VERSIONING, severity=95)).critical_created == 1


def test_what_was_never_read_is_skipped_and_has_no_finding(world: World, refuse: Callable[..., None]) -> None:
    name = world.bucket("a")
    world.inventory()
    world.bucket("b")
    world.inventory(sabotage=lambda session: refuse(session.client("s3", HERE), "GetBucketVersioning"))
    outcome = world.judge()
    assert findings(outcome) == (1, 0, 0)
    assert (outcome.processed_resources, outcome.skipped_resources) == (1, 1)
    assert world.finding(name).open


def failed_without_a_change(world: World, bucket: str, words: str) -> None:
    seen = writes(world.store)
    succeeded = world.account.scan(ScanKind.POLICY, "s3").last_success
    outcome = world.judge()
    assert outcome.failed
    assert words in outcome.failures[0]
    assert findings(outcome) == (0, 0, 0)
    assert seen == {}
    assert world.finding(bucket).open
    state = world.account.scan(ScanKind.POLICY, "s3")
    assert state.last_success == succeeded
    assert words in (state.last_error or "")


def test_without_an_inventory_nothing_is_judged(world: World) -> None:
    outcome = world.judge()
    assert outcome.failed
    assert "run an inventory scan first" in outcome.failures[0]
    assert world.account.scan(ScanKind.POLICY, "s3").last_success is None


def test_an_inventory_that_never_succeeded_is_none(world: World) -> None:
    def denied(_: AccountSession) -> None:
        raise AwsAccessError("denied")

    world.inventory(sabotage=denied)
    outcome = world.judge()
    assert outcome.failed
    assert "run an inventory scan first" in outcome.failures[0]
    assert world.account.scan(ScanKind.POLICY, "s3").last_success is None


def test_a_lost_inventory_closes_nothing(world: World, bucket: str) -> None:
    world.judge()
    for one in world.store.resources.index(world.account_id, "s3").values():
        world.store.resources.delete(world.account_id, "s3", Deletion(one.arn, one.resource_type, now_ms() + 1))
    failed_without_a_change(world, bucket, "its stored inventory is empty, but the last one found 2 resources")


def test_a_missing_table_of_resources_closes_nothing(world: World, bucket: str) -> None:
    world.judge()
    client = world.store.dynamo.client
    client.delete_table(TableName=world.store.dynamo.name(RESOURCES))
    failed_without_a_change(world, bucket, "does not exist: run 'qrie tables create'")


def database(world: World) -> list[Stored]:
    """A public database and a snapshot of it, stored, with a finding open."""
    world.aws("rds").create_db_instance(
        DBInstanceIdentifier="orders",
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="owner",
        MasterUserPassword="not-a-secret-1",
        PubliclyAccessible=True,
    )
    assert world.inventory("rds").resources_found == 2
    assert findings(judge_databases(world)) == (1, 0, 0)
    return list(world.store.resources.index(world.account_id, "rds").values())


def judge_databases(world: World) -> Outcome:
    return world.judge(LaunchedPolicy(policy_id="RDSPublicAccess"), service="rds")


def test_a_last_resource_that_aws_reported_deleted_is_not_lost(world: World) -> None:
    for one in database(world):
        assert observe_deleted(world.store, world.account_id, "rds", one.resource_type, HERE, one.arn, now_ms())
    outcome = judge_databases(world)
    assert outcome.succeeded, outcome.failures
    assert findings(outcome) == (0, 1, 0)


def test_a_last_region_that_was_forgotten_is_not_lost(world: World) -> None:
    database(world)
    assert forget_region(world.store, world.account_id, THERE) == 0
    assert forget_region(world.store, world.account_id, HERE) == 2
    parts = world.store.summary.parts([world.account_id])[world.account_id]
    assert parts["Resources", "rds"] == {}
    outcome = judge_databases(world)
    assert outcome.succeeded, outcome.failures
    assert findings(outcome) == (0, 1, 0)


def test_an_account_without_buckets_any_more_is_judged(world: World) -> None:
    name = world.bucket("a")
    world.inventory()
    world.judge()
    world.aws("s3").delete_bucket(Bucket=name)
    world.inventory()
    assert findings(world.judge()) == (0, 1, 0)


def test_a_policy_that_breaks_is_told_and_the_others_judge_on(world: World, bucket: str) -> None:
    def breaks(*_: Any) -> Any:
        raise KeyError("oops")

    policies = dict(all_policies())
    policies["Broken"] = replace(policies[VERSIONING], id="Broken", check=breaks)
    outcome = world.judge(LaunchedPolicy(policy_id="Broken"), LaunchedPolicy(policy_id=VERSIONING), policies=policies)
    assert findings(outcome) == (1, 0, 0)
    assert (outcome.failed, outcome.succeeded) == (False, False)
    assert "Broken broke on" in outcome.failures[0]
    assert "Broken broke on" in (world.account.scan(ScanKind.POLICY, "s3").last_error or "")


@pytest.mark.parametrize("change", ["suspend", "delete", "narrow"])
def test_a_policy_that_changes_while_it_is_evaluated_is_judged_again(
    world: World, bucket: str, other: Store, change: str
) -> None:
    changes: dict[str, Callable[[], Any]] = {
        "suspend": lambda: policy_changes.suspend(other, VERSIONING),
        "delete": lambda: policy_changes.delete(other, VERSIONING),
        "narrow": lambda: policy_changes.update(other, VERSIONING, scope=Scope(exclude_accounts=[world.account_id])),
    }

    def first_finding(params: Mapping[str, Any], **_: Any) -> None:
        if params["TableName"] == world.store.dynamo.name(FINDINGS) and change in changes:
            changes.pop(change)()

    world.store.dynamo.client.meta.events.register("provide-client-params.dynamodb.PutItem", first_finding)
    outcome = world.judge()
    assert outcome.succeeded
    assert findings(outcome) == (1, 1, 0)
    reason = Reason.OUT_OF_SCOPE if change == "narrow" else Reason.POLICY_SUSPENDED
    assert world.finding(bucket).resolved_reason is reason


def test_what_was_opened_is_told_even_if_the_totals_cannot_be_written(
    world: World, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise StoreError("DynamoDB refused a call")

    monkeypatch.setattr(world.store.summary, "set_part", refuse)
    outcome = world.judge(LaunchedPolicy(policy_id=VERSIONING, severity=95))
    assert outcome.failed
    assert (outcome.findings_created, outcome.critical_created) == (1, 1)
    assert [(news.policy, news.count) for news in outcome.opened] == [(VERSIONING, 1)]


def test_a_scan_of_one_policy_leaves_the_others_and_the_age_alone(world: World, bucket: str) -> None:
    both = (LaunchedPolicy(policy_id=VERSIONING), LaunchedPolicy(policy_id="S3BucketMfaDeleteDisabled"))
    outcome = world.judge(*both, only=(VERSIONING,))
    assert (outcome.policies, outcome.findings_created) == ((VERSIONING,), 1)
    assert world.account.scan(ScanKind.POLICY, "s3").last_success is None
    outcome = world.judge(*both)
    assert outcome.findings_created == 1
    assert world.account.scan(ScanKind.POLICY, "s3").last_success == outcome.finished_ms


def test_a_launched_policy_that_qrie_does_not_have_is_not_evaluated(world: World, bucket: str) -> None:
    outcome = world.judge(LaunchedPolicy(policy_id="NoSuchPolicy"))
    assert outcome.succeeded
    assert outcome.policies == ()


def test_a_policy_of_another_service_is_not_asked(world: World, bucket: str) -> None:
    assert world.judge(LaunchedPolicy(policy_id="IAMUserMfaDisabled")).policies == ()


def test_the_totals_are_those_of_what_is_stored(world: World, bucket: str) -> None:
    world.judge()
    parts = world.store.summary.parts([world.account_id])[world.account_id]
    assert parts["Resources", "s3"] == {"AWS::S3::Bucket": 1, "AWS::S3::AccountPublicAccessBlock": 1}
    assert parts["Findings", "s3"]["policies"] == {VERSIONING: {"severity": 60, "open": 1, "muted": 0, "resolved": 0}}
    assert parts["Findings", "s3"]["non_compliant"] == {"AWS::S3::Bucket": 1}
    world.aws("s3").delete_bucket(Bucket=bucket)
    world.inventory()
    world.judge()
    parts = world.store.summary.parts([world.account_id])[world.account_id]
    assert parts["Resources", "s3"] == {"AWS::S3::AccountPublicAccessBlock": 1}
    assert parts["Findings", "s3"]["policies"] == {VERSIONING: {"severity": 60, "open": 0, "muted": 0, "resolved": 1}}
    assert parts["Findings", "s3"]["non_compliant"] == {}
