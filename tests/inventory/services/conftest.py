"""Accounts in the emulator, looked at as a scan does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from qrie_dagster.aws import AccountSession, AwsAccess
from qrie_dagster.inventory.collector import collect
from qrie_dagster.inventory.services import find_service
from qrie_dagster.models import Account, Collected, Resource
from qrie_dagster.settings import Settings

REGIONS = ["us-east-1", "eu-west-1"]


@dataclass(frozen=True)
class Member:
    """An account that has been entered."""

    session: AccountSession

    @property
    def id(self) -> str:
        return self.session.account_id

    def client(self, service: str, region: str = REGIONS[0]) -> Any:
        """A client to put things into the account with."""
        return self.session.client(service, region)

    def look(self, service: str) -> Collected:
        """What the collector sees."""
        return collect(self.session, find_service(service), concurrency=8)

    def resources(self, service: str) -> dict[str, Resource]:
        """The same by ARN, seen completely, twice, and both times alike."""
        first, second = self.look(service), self.look(service)
        assert not first.failures
        assert not second.failures
        assert _facts(first) == _facts(second)
        return {resource.arn: resource for resource in second.resources}


def _facts(collected: Collected) -> dict[str, Any]:
    return {resource.arn: resource.configuration for resource in collected.resources}


@pytest.fixture
def member(make_settings: Callable[..., Settings], account_id: str) -> Member:
    """An empty account with two regions to scan."""
    settings = make_settings(regions=REGIONS)
    return Member(AwsAccess(settings).enter(Account(account_id=account_id)))
