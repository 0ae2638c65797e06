"""The code location: everything Dagster sees of qrie, on one screen."""

from dagster import Definitions, in_process_executor

from qrie_dagster.defs import jobs
from qrie_dagster.defs.checks import health
from qrie_dagster.defs.findings import policy_findings
from qrie_dagster.defs.inventory import inventory_assets
from qrie_dagster.defs.resources import AwsResource, StoreResource
from qrie_dagster.defs.schedules import schedules
from qrie_dagster.defs.sensors import sensors
from qrie_dagster.defs.summary import summary
from qrie_dagster.settings import settings

defs = Definitions(
    assets=[*inventory_assets, policy_findings, summary],
    asset_checks=[health],
    jobs=[
        jobs.full_inventory,
        *jobs.service_inventories,
        jobs.policy_scan,
        jobs.bootstrap_account,
        jobs.roll_up,
        jobs.health_checks,
        jobs.retire_accounts,
    ],
    schedules=schedules,
    sensors=sensors,
    resources={"store": StoreResource.of(settings()), "aws": AwsResource.of(settings())},
    # A scan waits for AWS most of the time and threads inside its step: a process per step would only cost start-up.
    executor=in_process_executor,
)
