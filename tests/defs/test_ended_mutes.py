"""The sensor that brings findings back once their mute has ended, evaluated as Dagster does."""

from collections.abc import Callable, Iterator

import pytest
from dagster import DagsterInstance, SensorResult, SkipReason, build_sensor_context

from qrie_dagster import mute_changes
from qrie_dagster.defs import ended_mutes as sensor_module
from qrie_dagster.defs.ended_mutes import ended_mutes
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.inventory.services import find_service
from qrie_dagster.models import Resource, ScanKind
from qrie_dagster.policies.policy import all_policies
from qrie_dagster.policy_changes import launch
from qrie_dagster.registry import new_account, register
from qrie_dagster.scan import PolicyScanner
from qrie_dagster.scan_tags import RANGE_END, RANGE_START, SCAN_ID
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store
from qrie_dagster.store.summary import Scan
from qrie_dagster.summary.rollup import roll_up
from qrie_dagster.times import HOUR_MS, now_ms

ACCOUNTS = [f"{number:012d}" for number in range(1, 4)]
VERSIONING = "S3BucketVersioningDisabled"
Tick = Callable[[int], SensorResult | SkipReason]


def judge(store: Store, scan: Scan) -> None:
    for account in store.accounts.active():
        if account.account_id in scan.accounts:
            PolicyScanner(store, all_policies()).scan(scan, account, find_service("s3"))
    roll_up(store, scan.scan_id, now_ms())


@pytest.fixture
def estate(store: Store) -> Store:
    """Accounts with a critical finding each, muted in the last one for an hour from now."""
    register(store, [new_account(account_id) for account_id in ACCOUNTS])
    launch(store, VERSIONING, severity=95)
    for account_id in ACCOUNTS:
        configuration = {"Name": "a", "Versioning": {}, "Tags": {}}
        arn = f"arn:aws:s3:::a-{account_id}"
        store.resources.write(Resource(account_id, "s3", "AWS::S3::Bucket", "eu-west-1", arn, configuration, 5), 5)
    first = Scan(scan_id="p", kind=ScanKind.POLICY, scan_type="bootstrap", started_ms=1, accounts=tuple(ACCOUNTS))
    judge(store, store.summary.open_scan(first))
    ends = now_ms() + HOUR_MS
    muted = mute_changes.add(store, reason="r", author="a", policy=VERSIONING, account_id=ACCOUNTS[2], expires_ms=ends)
    assert muted.findings == 1
    return store


@pytest.fixture
def tick(estate: Store, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Iterator[Tick]:
    """``tick(now)``."""
    resource = StoreResource.of(make_settings())
    with DagsterInstance.ephemeral() as instance:

        def evaluate(now: int) -> SensorResult | SkipReason:
            monkeypatch.setattr(sensor_module, "now_ms", lambda: now)
            with build_sensor_context(instance=instance, resources={"store": resource}) as context:
                result = ended_mutes(context)
            assert isinstance(result, SensorResult | SkipReason)
            return result

        yield evaluate


def test_a_mute_that_ended_has_its_account_scanned(tick: Tick, estate: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(tick(now_ms()), SkipReason)
    later = now_ms() + 2 * HOUR_MS
    done = tick(later)
    assert isinstance(done, SensorResult)
    [request] = done.run_requests or ()
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (ACCOUNTS[2], ACCOUNTS[2])
    # The next tick asks for the same run, which Dagster launches once; an hour later, for another one.
    for ms, same in ((60_000, True), (HOUR_MS, False)):
        again = tick(later - later % HOUR_MS + ms)
        assert isinstance(again, SensorResult)
        assert ((again.run_requests or ())[0].run_key == request.run_key) is same

    monkeypatch.setattr("qrie_dagster.scan.now_ms", lambda: later)
    scan = estate.summary.scan(request.tags[SCAN_ID])
    assert scan
    judge(estate, scan)
    [finding] = estate.findings.load(ACCOUNTS[2], "s3")
    assert (finding.open, finding.muted) == (True, None)
    # That it is back is told as a new critical finding is.
    [news] = estate.summary.outcomes(scan.scan_id, ACCOUNTS)[0].opened
    assert (news.policy, news.severity, news.count) == (VERSIONING, 95, 1)
    assert isinstance(tick(later + HOUR_MS), SkipReason)
