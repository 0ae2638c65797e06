"""What qrie does to botocore, against an emulator behind a network that fails."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from fault_proxy import Fault, FaultProxy

from qrie_dagster.aws import AWS_ERRORS, AwsAccess, client_config, explain, own_session
from qrie_dagster.demo.access import enter
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, Outcome, ScanKind, ScanType
from qrie_dagster.scan import InventoryScanner
from qrie_dagster.settings import Settings
from qrie_dagster.store import Store
from qrie_dagster.store.summary import Scan
from qrie_dagster.times import now_ms

REGIONS = "DescribeRegions"

# One for each of AWS's protocols, and an operation of it that answers at length.
OPERATIONS = {"s3": "list_buckets", "ec2": "describe_regions", "iam": "list_users", "dynamodb": "list_tables"}
PAGE = '<?xml version="1.0"?>\n<!DOCTYPE html>\n<html><body>Please log in.</body></html>'
BROKEN = {
    "refused": Fault(status=503),
    "reset": Fault(cut="reset"),
    "torn": Fault(cut="torn"),
    "emptied": Fault(cut="emptied"),
    "nothing": Fault(text=""),
    "a web page": Fault(text=PAGE),
}


@pytest.fixture(scope="module")
def proxy(moto_endpoint: str) -> Iterator[FaultProxy]:
    with FaultProxy().running(moto_endpoint) as running:
        yield running


@pytest.fixture(autouse=True)
def _all_is_well(proxy: FaultProxy) -> None:
    proxy.well()


@pytest.fixture
def call(proxy: FaultProxy, make_settings: Callable[..., Settings]) -> Callable[[str], Any]:
    settings = make_settings(endpoint_url=proxy.url, aws_max_attempts=2)

    def call(service: str) -> Any:
        session = own_session(settings)
        client = session.client(service, endpoint_url=proxy.url, config=client_config(settings))
        return getattr(client, OPERATIONS[service])()

    return call


@pytest.mark.parametrize("service", OPERATIONS)
@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_breaks_off_is_asked_for_again(
    proxy: FaultProxy, call: Callable[[str], Any], service: str, fault: Fault
) -> None:
    calls = count()
    proxy.rule = lambda _call: fault if next(calls) == 0 else None
    assert call(service)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert next(calls) == 2


@pytest.mark.parametrize("service", OPERATIONS)
@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_always_breaks_off_is_an_error(
    proxy: FaultProxy, call: Callable[[str], Any], service: str, fault: Fault
) -> None:
    proxy.rule = lambda _call: fault
    with pytest.raises(AWS_ERRORS) as caught:
        call(service)
    assert explain(caught.value)


@pytest.mark.parametrize("text", ["", PAGE, "<Answer><Of>somebody</Of></Answer>"])
@pytest.mark.parametrize("service", ["s3", "ec2"])
def test_an_answer_of_somebody_else_deletes_nothing(
    store: Store, account_id: str, proxy: FaultProxy, make_settings: Callable[..., Settings], service: str, text: str
) -> None:
    inside = enter(proxy.url, account_id)
    inside.client("s3").create_bucket(Bucket=f"b-{account_id}")
    inside.client("ec2").create_volume(AvailabilityZone="us-east-1a", Size=1)
    store.accounts.add(Account(account_id=account_id))
    settings = make_settings(endpoint_url=proxy.url, aws_max_attempts=1, regions=["us-east-1"])
    scanner = InventoryScanner(store, AwsAccess(settings).enter, concurrency=4)

    def scanned() -> Outcome:
        scan = Scan(scan_id=uuid4().hex, kind=ScanKind.INVENTORY, scan_type=ScanType.BOOTSTRAP, started_ms=now_ms())
        account = store.accounts.get(account_id) or pytest.fail("gone")
        return scanner.scan(scan, account, all_services()[service])

    assert scanned().succeeded
    before = store.resources.index(account_id, service)
    assert before
    # The list of regions is known by then: what is answered so is every listing.
    proxy.rule = lambda call: Fault(text=text) if call.service == service and call.operation != REGIONS else None
    outcome = scanned()
    assert (outcome.succeeded, outcome.resources_deleted) == (False, 0)
    assert set(store.resources.index(account_id, service)) == set(before)
