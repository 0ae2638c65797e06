"""A small estate on a real emulator, and a store."""

from collections.abc import Iterator

import pytest
from real_dagster import Estate

from qrie_dagster.demo import emulator
from qrie_dagster.demo.access import enter
from qrie_dagster.demo.stack import environment, use
from qrie_dagster.registry import new_account, register
from qrie_dagster.settings import settings
from qrie_dagster.store import open_store
from qrie_dagster.store.tables import create_tables


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with emulator.running(log=tmp_path_factory.mktemp("emulator") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def estate(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """Five accounts with two buckets and a volume each, registered, every policy launched."""
    home = tmp_path_factory.mktemp("dagster")
    accounts = [f"30000000000{number}" for number in range(5)]
    for account_id in accounts:
        s3 = enter(endpoint, account_id).client("s3")
        for name in ("logs", "site"):
            s3.create_bucket(Bucket=f"{name}-{account_id}")
        enter(endpoint, account_id).client("ec2").create_volume(AvailabilityZone="us-east-1a", Size=1, Encrypted=False)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(endpoint, home).items():
            patch.setenv(name, value)
        use(environment(endpoint, home))
        store = open_store(settings())
        create_tables(store.dynamo)
        register(store, [new_account(account_id) for account_id in accounts])
        yield Estate(endpoint, accounts, store, home)
    settings.cache_clear()
