"""The two things assets need: qrie's tables, and the way into AWS accounts.

Their configuration is shown in Dagster's UI, so secrets are not in it: they are read from the environment.
"""

from dagster import ConfigurableResource

from qrie_dagster.aws import AwsAccess
from qrie_dagster.settings import Settings, settings
from qrie_dagster.store import Store, open_store


class StoreResource(ConfigurableResource["StoreResource"]):
    """qrie's DynamoDB tables."""

    table_prefix: str
    region: str
    endpoint_url: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> "StoreResource":
        """The tables that the settings name."""
        return cls(
            table_prefix=settings.table_prefix,
            region=settings.region,
            endpoint_url=settings.dynamodb_endpoint_url or settings.endpoint_url,
        )

    def open(self) -> Store:
        """The tables, ready to use."""
        return open_store(
            settings().model_copy(
                update={
                    "table_prefix": self.table_prefix,
                    "region": self.region,
                    "dynamodb_endpoint_url": self.endpoint_url,
                }
            )
        )


class AwsResource(ConfigurableResource["AwsResource"]):
    """The way into member accounts. The external id comes from ``QRIE_EXTERNAL_ID``."""

    role_name_pattern: str
    concurrency_per_account: int
    parallel_accounts: int
    endpoint_url: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> "AwsResource":
        """The way in that the settings name."""
        return cls(
            role_name_pattern=settings.role_name_pattern,
            concurrency_per_account=settings.concurrency_per_account,
            parallel_accounts=settings.parallel_accounts,
            endpoint_url=settings.endpoint_url,
        )

    def access(self) -> AwsAccess:
        """The way in, ready to use."""
        return AwsAccess(
            settings().model_copy(
                update={
                    "role_name_pattern": self.role_name_pattern,
                    "concurrency_per_account": self.concurrency_per_account,
                    "endpoint_url": self.endpoint_url,
                }
            )
        )
