"""Many findings: the totals that a scan of them would leave."""

from collections import Counter

from qrie_dagster.findings import Finding, State
from qrie_dagster.policies.policy import all_policies
from qrie_dagster.store import Store
from qrie_dagster.summary.rollup import refresh_dashboard
from qrie_dagster.summary.totals import finding_totals
from qrie_dagster.times import HOUR_MS, now_ms


def many_findings(account_id: str, count: int) -> list[Finding]:
    """Open findings of the S3 policies on as many buckets as that takes."""
    policies = [policy for policy in all_policies().values() if policy.service == "s3"]
    now = now_ms()
    return [
        Finding(
            f"arn:aws:s3:::bucket-{number // len(policies):06d}",
            policies[number % len(policies)].id,
            f"{account_id}_s3",
            State.ACTIVE,
            policies[number % len(policies)].severity,
            {"Bucket": number},
            now - (number * 37 % 1000) * HOUR_MS,
        )
        for number in range(count)
    ]


def sum_up(store: Store, account_id: str, findings: list[Finding]) -> None:
    """Leave the records that a policy scan with these findings leaves."""
    types = {finding.arn: "AWS::S3::Bucket" for finding in findings}
    totals = finding_totals(findings, types, now_ms())
    store.summary.set_part(account_id, "Findings", "s3", totals.model_dump())
    store.summary.set_part(account_id, "Resources", "s3", Counter(types.values()))
    refresh_dashboard(store, store.accounts.all(), now_ms())
