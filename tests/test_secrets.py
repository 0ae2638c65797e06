"""Secrets stay secret: canary values never turn up in messages, logs, records, metadata or configuration."""

import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from qrie_dagster.aws import AwsAccess
from qrie_dagster.errors import QrieError
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, ScanKind, ScanType
from qrie_dagster.scan import InventoryScanner
from qrie_dagster.settings import Settings, load_settings, settings_table
from qrie_dagster.store import open_store
from qrie_dagster.store.summary import Scan
from qrie_dagster.store.tables import SHAPES, create_tables
from qrie_dagster.summary.rollup import roll_up

CANARIES = {
    "external_id": "canary-external-id-7f3a",
    "api_token": "canary-api-token-91bc",
    "secret_key": "canary-secret-key-c2d4",
    "session_token": "canary-session-token-08ee",
}


@pytest.fixture
def secretive(make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARIES["secret_key"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARIES["session_token"])
    return make_settings(
        external_id=CANARIES["external_id"], api_token=CANARIES["api_token"], aws_max_attempts=1, regions=["us-east-1"]
    )


def tells(*things: object) -> set[str]:
    """The canaries in the text of ``things``."""
    text = "\n".join(map(str, things))
    return {name for name, canary in CANARIES.items() if canary in text}


def told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


def test_settings_hide_their_secrets(secretive: Settings) -> None:
    assert not tells(repr(secretive), secretive, secretive.model_dump(), secretive.model_dump_json(), settings_table())


@pytest.mark.parametrize(
    "values", [{"api_token": "canary"}, {"external_id": ["canary"]}, {"api_token": "canary", "region": "x"}]
)
def test_a_wrong_secret_is_not_repeated(values: dict[str, Any]) -> None:
    with pytest.raises(QrieError) as error:
        load_settings(**values)
    assert "canary" not in told(error.value).replace(repr(values), "")


def test_dagster_is_not_given_them(secretive: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from qrie_dagster.defs.resources import AwsResource, StoreResource

    for resource in (AwsResource.of(secretive), StoreResource.of(secretive)):
        assert not tells(resource, resource.model_dump())


@pytest.mark.parametrize("refused", ["AssumeRole", "ListBuckets", "Query", None])
def test_no_scan_tells_them_however_it_ends(
    secretive: Settings,
    account_id: str,
    refused: str | None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG, "qrie_dagster")
    caplog.set_level(logging.INFO)
    store = open_store(secretive)
    create_tables(store.dynamo)
    store.accounts.add(Account(account_id=account_id))
    access = AwsAccess(secretive)

    def refuse(model: Any, params: Any, **_: Any) -> None:
        if model.name == refused:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": f"may not {model.name}"}}, model.name)

    store.dynamo.client.meta.events.register("before-call", refuse)
    access._own.events.register("before-call", refuse)

    def enter(account: Account) -> Any:
        session = access.enter(account)
        session._session.events.register("before-call", refuse)
        return session

    plan = Scan(
        scan_id="one",
        kind=ScanKind.INVENTORY,
        scan_type=ScanType.BOOTSTRAP,
        started_ms=1,
        accounts=(account_id,),
        services=("s3",),
    )
    store.summary.open_scan(plan)
    account = store.accounts.get(account_id)
    assert account
    outcome = InventoryScanner(store, enter, 2).scan(plan, account, all_services()["s3"])
    assert outcome.succeeded == (refused is None), outcome.failures
    rolled = roll_up(store, "one", 2)
    items = [item for table in SHAPES for item in store.dynamo.scan(table)]
    printed = capfd.readouterr()
    assert not tells(outcome, rolled, json.dumps(items, default=repr), caplog.text, printed.out, printed.err)


def test_an_account_that_cannot_be_entered_is_explained_without_them(secretive: Settings, account_id: str) -> None:
    nowhere = secretive.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(QrieError) as error:
        AwsAccess(nowhere).enter(Account(account_id=account_id))
    assert not tells(told(error.value), error.value)


def test_a_store_that_is_away_is_explained_without_them(secretive: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = secretive.model_copy(update={"dynamodb_endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(QrieError) as error:
        open_store(nowhere, attempts=1).accounts.all()
    assert not tells(told(error.value), error.value)
