"""The database dies in the middle of writes and comes back: what it had confirmed is there."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dynamodb_local
import pytest

from qrie_dagster.errors import StoreError
from qrie_dagster.models import Resource
from qrie_dagster.reconcile import Changes
from qrie_dagster.settings import Settings
from qrie_dagster.store import open_store
from qrie_dagster.store.dynamo import Attr, Write
from qrie_dagster.store.tables import ACCOUNTS, create_tables


@pytest.mark.parametrize("engine", ["moto"], indirect=True)
def test_nothing_confirmed_is_lost_when_the_database_is_killed(
    make_settings: Callable[..., Settings], tmp_path: Path, account_id: str
) -> None:
    dynamodb_local.require()
    data = tmp_path / "data"
    data.mkdir()
    port = dynamodb_local.free_port()
    settings = make_settings(dynamodb_endpoint_url=f"http://127.0.0.1:{port}", aws_max_attempts=1)
    resources = tuple(
        Resource(account_id, "s3", "AWS::S3::Bucket", "eu-west-1", f"arn:aws:s3:::b{number}", {"n": number}, 1)
        for number in range(300)
    )
    confirmed: set[str] = set()
    with dynamodb_local.running(port, data, tmp_path / "log") as guard:
        store = open_store(settings, attempts=1)
        create_tables(store.dynamo)

        def write(resource: Resource) -> None:
            if store.resources.write(resource, 1) is False:
                confirmed.add(resource.arn)
            if len(confirmed) == 60:
                dynamodb_local.kill(guard)

        with ThreadPoolExecutor(4) as pool:
            errors = [f.exception() for f in [pool.submit(write, resource) for resource in resources]]
    assert {type(error) for error in errors} == {type(None), StoreError}

    with dynamodb_local.running(port, data, tmp_path / "log"):
        store = open_store(settings)
        found = store.resources.index(account_id, "s3")
        assert confirmed <= set(found)
        # And the scan that was cut short is finished by the next.
        left = tuple(resource for resource in resources if resource.arn not in found)
        claim = Write(ACCOUNTS, {"AccountId": account_id}, "check", condition=Attr("AccountId").not_exists())
        applied = store.resources.apply(account_id, "s3", Changes(left, (), (), 0, 0, ()), claim, 2)
        assert (applied.created, applied.error) == (len(left), None)
        assert len(store.resources.index(account_id, "s3")) == len(resources)
