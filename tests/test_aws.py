"""What qrie does to botocore, against an emulator behind a network that fails."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from fault_proxy import Fault, FaultProxy

from qrie_dagster.aws import AWS_ERRORS, client_config, explain, own_session
from qrie_dagster.settings import Settings

# One for each of AWS's protocols, and an operation of it that answers at length.
OPERATIONS = {"s3": "list_buckets", "ec2": "describe_regions", "iam": "list_users", "dynamodb": "list_tables"}
BROKEN = [Fault(status=503), Fault(cut="reset"), Fault(cut="torn"), Fault(cut="emptied")]


@pytest.fixture(scope="module")
def proxy(moto_endpoint: str) -> Iterator[FaultProxy]:
    with FaultProxy().running(moto_endpoint) as running:
        yield running


@pytest.fixture
def call(proxy: FaultProxy, make_settings: Callable[..., Settings]) -> Callable[[str], Any]:
    settings = make_settings(endpoint_url=proxy.url, aws_max_attempts=2)

    def call(service: str) -> Any:
        session = own_session(settings)
        client = session.client(service, endpoint_url=proxy.url, config=client_config(settings))
        return getattr(client, OPERATIONS[service])()

    return call


@pytest.mark.parametrize("service", OPERATIONS)
@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault.cut or "refused")
def test_an_answer_that_breaks_off_is_asked_for_again(
    proxy: FaultProxy, call: Callable[[str], Any], service: str, fault: Fault
) -> None:
    calls = count()
    proxy.rule = lambda _call: fault if next(calls) == 0 else None
    assert call(service)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert next(calls) == 2


@pytest.mark.parametrize("service", OPERATIONS)
@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault.cut or "refused")
def test_an_answer_that_always_breaks_off_is_an_error(
    proxy: FaultProxy, call: Callable[[str], Any], service: str, fault: Fault
) -> None:
    proxy.rule = lambda _call: fault
    with pytest.raises(AWS_ERRORS) as caught:
        call(service)
    assert explain(caught.value)
