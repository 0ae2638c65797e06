"""The roll-up assets: what the end of a scan tells about the whole estate."""

from collections.abc import Iterator, Mapping
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetSpec,
    Backoff,
    Failure,
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
from qrie_dagster.errors import NotFoundError
from qrie_dagster.models import ScanKind
from qrie_dagster.scan_tags import SCAN_ID
from qrie_dagster.settings import settings
from qrie_dagster.summary.records import LAST_SCAN, ScanRecord
from qrie_dagster.summary.rollup import RollUp, refresh_dashboard, roll_up
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
    """Roll up the scan that this run is tagged with; without one, as when a person materializes, refresh the totals."""
    tables = store.open()
    scan_id = context.run.tags.get(SCAN_ID)
    if scan_id is None:
        context.log.info("No scan is named by the tag %s: only the totals of the dashboard are refreshed.", SCAN_ID)
        yield _totals(refresh_dashboard(tables, tables.accounts.all(), now_ms()))
        return
    try:
        done = roll_up(tables, scan_id, now_ms())
    except NotFoundError as unknown:
        raise Failure(str(unknown), allow_retries=False) from unknown
    why_not = _not_the_last(context, done)
    if why_not:
        context.log.info("Scan %s %s: the last full scan stays as it was.", scan_id, why_not)
    else:
        yield MaterializeResult(asset_key=SCAN_ASSET[done.record.kind], metadata=scan_metadata(done.record))
    yield _totals(done.dashboard, scan_id=scan_id)


def _not_the_last(context: AssetExecutionContext, done: RollUp) -> str:
    """Why a scan does not make its asset fresh, empty if it does.

    Dagster counts freshness from the moment an asset is materialized, whenever the scan was: a roll-up that is
    executed again long after its scan must not renew it.
    """
    record = done.record
    if not record.complete:
        return "did not cover the whole estate"
    if not done.written:
        return "is older than the last full one"
    if DriftRules.of(settings()).drifted(record.kind, record.timestamp_ms, now_ms()):
        return "ended too long ago"
    told = context.instance.get_latest_materialization_event(AssetKey(SCAN_ASSET[record.kind]))
    metadata = told.asset_materialization.metadata if told and told.asset_materialization else {}
    same = {name: metadata[name].value for name in ("scan_id", "timestamp_ms") if name in metadata}
    if same == {"scan_id": record.scan_id, "timestamp_ms": record.timestamp_ms}:
        return "was summed up before"
    return ""


def _totals(dashboard: Mapping[str, Any], **more: str) -> MaterializeResult[Any]:
    findings = dashboard["findings"]["policies"]
    return MaterializeResult(
        asset_key=DASHBOARD_SUMMARY,
        metadata={
            **more,
            "accounts": dashboard["accounts"],
            "resources": sum(dashboard["resource_types"].values()),
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
