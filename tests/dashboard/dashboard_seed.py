"""An estate in the store, as scans would leave it: written through qrie's own store, summed up by its own roll-up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from qrie_dagster.findings import Finding, Reason, Settled, State, Violated, transitions
from qrie_dagster.inventory.services import all_services
from qrie_dagster.models import Account, Outcome, Resource, ScanKind, ScanType
from qrie_dagster.policies.policy import Policy, all_policies
from qrie_dagster.policy_changes import launch_all
from qrie_dagster.store import Store
from qrie_dagster.store.dynamo import concurrently
from qrie_dagster.store.summary import Scan
from qrie_dagster.summary.rebuild import rebuild_service
from qrie_dagster.summary.records import ScanRecord
from qrie_dagster.summary.rollup import append_history, refresh_dashboard, roll_up
from qrie_dagster.times import DAY_MS, HOUR_MS

SCRIPT = "<script>alert(1)</script>"
REGIONS = ("us-east-1", "eu-west-1")
NAMES = (
    ("111122223333", "payments-prod", "/prod/payments"),
    ("222233334444", "storefront-prod", "/prod/web"),
    ("333344445555", "data-prod", "/prod/data"),
    ("444455556666", "payments-staging", "/staging/payments"),
    ("555566667777", "storefront-staging", "/staging/web"),
    ("666677778888", "security-audit", "/security"),
    ("777788889999", "network-hub", "/infrastructure"),
    ("888899990000", "sandbox-zoë", "/sandbox"),
)
TYPES = {
    "s3": ("AWS::S3::Bucket", "arn:aws:s3:::{account}-{purpose}-{number}"),
    "ec2": ("AWS::EC2::Volume", "arn:aws:ec2:{region}:{account}:volume/vol-0{number:08x}"),
    "iam": ("AWS::IAM::User", "arn:aws:iam::{account}:user/{purpose}-{number}"),
    "rds": ("AWS::RDS::DBInstance", "arn:aws:rds:{region}:{account}:db:{purpose}-{number}"),
}
PURPOSES = ("logs", "website", "backups", "exports", "reports", "uploads", "ml-features", "press-kit")


def accounts(count: int, now: int) -> list[Account]:
    """The first ``count`` accounts."""
    return [
        Account(
            account_id=account_id,
            name=name,
            ou_path=ou,
            tags={"env": ou.split("/")[1]},
            registered_ms=now - 90 * DAY_MS,
        )
        for account_id, name, ou in NAMES[:count]
    ]


@dataclass(frozen=True)
class Seeded:
    """What was stored."""

    accounts: list[Account]
    resources: list[Resource]
    findings: list[Finding]


def seed(store: Store, now: int, *, accounts_count: int = 3, per_service: int = 10, share: float = 0.5) -> Seeded:
    """Accounts, ``per_service`` resources in each (account, service), and findings on about ``share`` of them."""
    chance = Random(7)
    registered = accounts(accounts_count, now)
    for account in registered:
        store.accounts.add(account)
    launch_all(store)
    resources = [found for account in registered for found in _resources(account, per_service, now)]
    list(concurrently(lambda resource: store.resources.write(resource, now - 30 * DAY_MS), resources))
    findings = list(_findings(resources, chance, share, now))
    _store_findings(store, findings)
    for account in registered:
        for service in all_services():
            rebuild_service(store, account.account_id, service)
    for kind, ago in ((ScanKind.INVENTORY, 60 * HOUR_MS), (ScanKind.POLICY, 5 * HOUR_MS)):
        full_scan(store, kind, registered, now - ago, len(resources))
    return Seeded(registered, resources, findings)


def _resources(account: Account, per_service: int, now: int) -> Iterator[Resource]:
    for service in all_services():
        if service not in TYPES:
            continue
        kind, template = TYPES[service]
        for number in range(per_service):
            purpose = PURPOSES[number % len(PURPOSES)]
            region = REGIONS[number % 2] if "{region}" in template else "global"
            arn = template.format(account=account.account_id, region=region, purpose=purpose, number=number)
            yield Resource(
                account.account_id,
                service,
                kind,
                region,
                arn,
                {
                    "Name": arn.rsplit(":", 1)[-1],
                    "Tags": {"team": "platform", "comment": SCRIPT if number == 0 else "öffentlich"},
                    "Versioning": {"Status": "Enabled", "MFADelete": None},
                    "Size": number * 8,
                    "Encrypted": number % 3 == 0,
                },
                now - 60 * HOUR_MS,
            )


def _findings(resources: Sequence[Resource], chance: Random, share: float, now: int) -> Iterator[Finding]:
    by_type: dict[str, list[Policy]] = {}
    for policy in all_policies().values():
        by_type.setdefault(policy.resource_type, []).append(policy)
    for resource in resources:
        for policy in by_type.get(resource.resource_type, ()):
            if chance.random() >= share:
                continue
            first_seen = now - chance.randrange(1, 56 * 24) * HOUR_MS
            finding = Finding(
                resource.arn,
                policy.id,
                resource.account_service,
                State.ACTIVE,
                policy.severity,
                {"Reason": SCRIPT, "Facts": ["=1+1", policy.resource_type]},
                first_seen,
                first_seen,
                resource.describe_time,
            )
            if chance.random() < 0.4:
                resolved = chance.randrange(first_seen, now)
                finding = replace(
                    finding,
                    state=State.RESOLVED,
                    resolved_at=resolved,
                    last_evaluated=resolved,
                    resolved_reason=Reason.COMPLIANT,
                )
            yield finding


def _store_findings(store: Store, findings: Sequence[Finding]) -> None:
    """Each finding by the transitions that scans would have made at those times."""

    def write(finding: Finding) -> None:
        opened = Violated(
            finding.arn,
            finding.policy,
            finding.account_service,
            finding.severity,
            finding.evidence,
            finding.describe_time,
        )
        applied = store.findings.apply(transitions({finding.key: opened}, {}, finding.first_seen), finding.first_seen)
        assert applied.written, applied.error
        if finding.resolved_at and finding.resolved_reason:
            settled = Settled(*finding.key, finding.resolved_reason)
            before = {written.after.key: written.after for written in applied.written}
            store.findings.apply(transitions({finding.key: settled}, before, finding.resolved_at), finding.resolved_at)

    by_arn: dict[str, list[Finding]] = {}
    for finding in findings:
        by_arn.setdefault(finding.arn, []).append(finding)
    # One after the other on the same resource: the emulator loses one of two first items of a partition that are put
    # at the same moment.
    list(concurrently(lambda group: [write(finding) for finding in group], by_arn.values()))


def full_scan(
    store: Store,
    kind: ScanKind,
    registered: Sequence[Account],
    ended: int,
    resources: int,
    *,
    fail: tuple[str, str, str] | None = None,
    scan_id: str | None = None,
    scan_type: ScanType = ScanType.ANTI_ENTROPY,
) -> ScanRecord:
    """A scan of everything, summed up; ``fail`` is an account, a service and why it failed."""
    services = list(all_services())
    scan = store.summary.open_scan(
        Scan(
            scan_id=scan_id or f"{kind.value}-{ended}",
            kind=kind,
            scan_type=scan_type,
            started_ms=ended - 90_000,
            accounts=tuple(account.account_id for account in registered),
            services=tuple(services),
        )
    )
    pairs = [(account.account_id, service) for account in registered for service in services]
    for account_id, service in pairs:
        failed = fail is not None and fail[:2] == (account_id, service)
        outcome = Outcome(
            account_id=account_id,
            service=service,
            started_ms=ended - 60_000,
            finished_ms=ended,
            failures=(f"{account_id}/{service}/eu-west-1: {fail[2]}",) if failed and fail else (),
            **_counts(kind, resources // len(pairs)),
        )
        store.accounts.begin(kind, account_id, service, scan.scan_id, ended - 60_000)
        store.accounts.finish(kind, outcome)
        store.summary.record_outcome(scan, outcome)
    return roll_up(store, scan.scan_id, ended).record


def _counts(kind: ScanKind, found: int) -> dict[str, Any]:
    if kind is ScanKind.INVENTORY:
        return {"resources_found": found, "resources_before": found, "resources_updated": 1}
    return {"processed_resources": found, "findings_created": 1, "policies": tuple(all_policies())}


def history(store: Store, registered: Sequence[Account], resources: int, now: int) -> None:
    """Four weeks of scans: policies every day, inventories every week, and a few that failed in part."""
    chance = Random(11)
    for day in range(27, 0, -1):
        for kind in ScanKind:
            if kind is ScanKind.INVENTORY and day % 7 != 3:
                continue
            ended = now - day * DAY_MS + chance.randrange(3600) * 1000
            duration = chance.randrange(40_000, 95_000) * (4 if kind is ScanKind.INVENTORY else 1)
            failed = chance.choice([0, 0, 0, 0, 1, 3])
            counts = (
                {
                    "resources_found": resources,
                    "resources_created": chance.randrange(9),
                    "resources_updated": chance.randrange(20),
                    "resources_deleted": chance.randrange(6),
                    "resources_unchanged": resources,
                    "superseded": 0,
                }
                if kind is ScanKind.INVENTORY
                else {
                    "processed_resources": resources,
                    "skipped_resources": failed,
                    "findings_created": chance.randrange(12),
                    "findings_closed": chance.randrange(12),
                    "findings_updated": 0,
                    "critical_created": 0,
                }
            )
            record = ScanRecord(
                scan_id=f"{kind.value}-{day}",
                kind=kind,
                scan_type=ScanType.ANTI_ENTROPY,
                complete=True,
                started_ms=ended - duration,
                timestamp_ms=ended,
                duration_ms=duration,
                account_id="all",
                service="all",
                accounts_processed=len(registered),
                policies_evaluated=11,
                failed_scopes=failed,
                failed_set=str(failed),
                failures=("888899990000/ec2/eu-west-1: AccessDenied when calling DescribeVolumes",) * failed,
                counts=counts,
            )
            append_history(store, record, now)
    refresh_dashboard(store, store.accounts.all(), now)
