"""The roll-up assets: what the end of a scan tells about the whole estate."""

from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetSpec,
    Backoff,
    FreshnessPolicy,
    MaterializeResult,
    MetadataValue,
    RetryPolicy,
    TableRecord,
    multi_asset,
)

from qrie_dagster.defs.findings import policy_findings
from qrie_dagster.defs.inventory import OWNERS, inventory_assets
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.drift import DriftRules
from qrie_dagster.models import ScanKind
from qrie_dagster.scan_tags import SCAN_ID
from qrie_dagster.settings import settings
from qrie_dagster.summary.records import LAST_SCAN, ScanRecord
from qrie_dagster.summary.rollup import roll_up
from qrie_dagster.times import now_ms

INVENTORY_SCAN = "inventory_scan"
POLICY_SCAN = "policy_scan"
DASHBOARD_SUMMARY = "dashboard_summary"
SCAN_ASSET = {ScanKind.INVENTORY: INVENTORY_SCAN, ScanKind.POLICY: POLICY_SCAN}


def _freshness(kind: ScanKind) -> FreshnessPolicy:
    rules = DriftRules.of(settings())
    return FreshnessPolicy.time_window(fail_window=rules.window(kind), warn_window=rules.warning(kind))


def _spec(kind: ScanKind, deps: Any, what: str) -> AssetSpec:
    hours = DriftRules.of(settings()).hours(kind)
    return AssetSpec(
        SCAN_ASSET[kind],
        deps=deps,
        skippable=True,
        group_name="summary",
        owners=OWNERS,
        kinds={"dynamodb"},
        freshness_policy=_freshness(kind),
        description=(
            f"The last full {what} of the whole estate, as in the record `{LAST_SCAN[kind]}` of `qrie_summary`."
            f" Materialized only by a scan that attempted every active account and every service. Older than {hours:g}"
            " hours is drift: the loop has stopped."
        ),
    )


@multi_asset(
    specs=[
        _spec(ScanKind.INVENTORY, inventory_assets, "inventory"),
        _spec(ScanKind.POLICY, [policy_findings], "policy scan"),
        AssetSpec(
            DASHBOARD_SUMMARY,
            deps=[INVENTORY_SCAN, POLICY_SCAN],
            group_name="summary",
            owners=OWNERS,
            kinds={"dynamodb"},
            description="Everything the dashboard shows, refreshed at the end of every scan.",
        ),
    ],
    retry_policy=RetryPolicy(max_retries=5, delay=10, backoff=Backoff.EXPONENTIAL),
)
def summary(context: AssetExecutionContext, store: StoreResource) -> Iterator[MaterializeResult[Any]]:
    """Roll up the scan that this run is tagged with."""
    done = roll_up(store.open(), context.run.tags[SCAN_ID], now_ms())
    if done.record.complete:
        yield MaterializeResult(asset_key=SCAN_ASSET[done.record.kind], metadata=scan_metadata(done.record))
    else:
        context.log.info(
            "Scan %s did not cover the whole estate: the last full scan stays as it was.", done.record.scan_id
        )
    findings = done.dashboard["findings"]["policies"]
    yield MaterializeResult(
        asset_key=DASHBOARD_SUMMARY,
        metadata={
            "scan_id": done.record.scan_id,
            "accounts": done.dashboard["accounts"],
            "resources": sum(done.dashboard["resource_types"].values()),
            "open_findings": sum(policy["open"] for policy in findings.values()),
            "by_policy": MetadataValue.table(
                [TableRecord({"policy": name, **totals}) for name, totals in sorted(findings.items())]
                or [TableRecord({"policy": "none"})]
            ),
            "dashboard": MetadataValue.url(settings().dashboard_link),
        },
    )


def scan_metadata(record: ScanRecord) -> dict[str, Any]:
    """The fields of the DynamoDB record as metadata: the same names, the same numbers."""
    fields = record.as_record()
    failed = fields.pop("failed_scopes")
    metadata: dict[str, Any] = {**fields, "timestamp_ms": record.timestamp_ms, "failed_scopes": failed["count"]}
    if record.failures:
        rows = [
            TableRecord(dict(zip(("scope", "reason"), text.split(": ", 1), strict=False))) for text in record.failures
        ]
        metadata["failures"] = MetadataValue.table(rows)
    return metadata
