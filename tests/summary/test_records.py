from typing import Any

import pytest

from qrie_dagster.models import Account, Outcome, ScanKind, ScanType
from qrie_dagster.store.summary import Scan
from qrie_dagster.summary.records import ScanRecord, scan_record

A, B, C = "000000000001", "000000000002", "000000000003"
SERVICES = ["ec2", "s3"]
STARTED = 1_750_000_000_000


def account(account_id: str, **facts: Any) -> Account:
    return Account(account_id=account_id, **{"registered_ms": STARTED - 1, **facts})


def scan(**facts: Any) -> Scan:
    plan = {"accounts": (A, B), "services": tuple(SERVICES)}
    return Scan(
        **{
            "scan_id": "scan-1",
            "kind": ScanKind.INVENTORY,
            "scan_type": ScanType.ANTI_ENTROPY,
            "started_ms": STARTED,
            **plan,
            **facts,
        }
    )


def outcome(account_id: str, service: str, **facts: Any) -> Outcome:
    return Outcome(
        **{
            "account_id": account_id,
            "service": service,
            "started_ms": STARTED + 1,
            "finished_ms": STARTED + 10,
            **facts,
        }
    )


def all_of(*accounts: str, **facts: Any) -> list[Outcome]:
    return [outcome(account_id, service, **facts) for account_id in accounts for service in SERVICES]


def record(outcomes: list[Outcome], accounts: list[Account] | None = None, **facts: Any) -> ScanRecord:
    return scan_record(scan(**facts), outcomes, accounts or [account(A), account(B)], SERVICES)


def test_a_scan_of_everything_is_complete() -> None:
    found = record(all_of(A, B))
    assert found.complete
    assert found.scan_type is ScanType.ANTI_ENTROPY
    assert (found.account_id, found.service) == ("all", "all")
    assert found.failed_scopes == 0


def test_it_lasts_from_its_launch_to_its_last_outcome() -> None:
    found = record([*all_of(A), *all_of(B, finished_ms=STARTED + 500)])
    assert (found.started_ms, found.timestamp_ms, found.duration_ms) == (STARTED, STARTED + 500, 500)


def test_counts_are_summed() -> None:
    found = record(
        [
            outcome(A, "s3", resources_found=5, resources_created=1, resources_updated=2, resources_unchanged=2),
            outcome(A, "ec2", resources_found=7, resources_deleted=3, superseded=4),
            *all_of(B, resources_found=1),
        ]
    )
    assert found.counts == {
        "resources_found": 14,
        "resources_created": 1,
        "resources_updated": 2,
        "resources_deleted": 3,
        "resources_unchanged": 2,
        "superseded": 4,
    }
    assert found.accounts_processed == 2


def test_policy_counts_are_summed() -> None:
    outcomes = all_of(
        A,
        B,
        processed_resources=10,
        skipped_resources=1,
        findings_created=2,
        findings_closed=3,
        findings_updated=4,
        critical_created=5,
        policies=("P", "Q"),
    )
    found = record(outcomes, kind=ScanKind.POLICY)
    assert found.counts == {
        "processed_resources": 40,
        "skipped_resources": 4,
        "findings_created": 8,
        "findings_closed": 12,
        "findings_updated": 16,
        "critical_created": 20,
    }
    assert found.policies_evaluated == 2


@pytest.mark.parametrize("missing", range(4))
def test_a_scan_that_did_not_reach_every_scope_is_not_complete(missing: int) -> None:
    outcomes = all_of(A, B)
    lost = outcomes.pop(missing)
    found = record(outcomes)
    assert not found.complete
    assert found.failures == (f"{lost.account_id}/{lost.service}/all regions: not attempted: its run ended before",)


def test_a_killed_scan_names_everything_that_was_not_attempted() -> None:
    found = record([outcome(A, "ec2")])
    assert (found.complete, found.failed_scopes) == (False, 3)
    assert [failure.split(":")[0] for failure in found.failures] == [
        f"{A}/s3/all regions",
        f"{B}/ec2/all regions",
        f"{B}/s3/all regions",
    ]


def test_a_scan_that_never_began_is_not_complete() -> None:
    found = record([])
    assert (found.complete, found.timestamp_ms, found.duration_ms) == (False, STARTED, 0)
    assert found.failed_scopes == 4
    assert found.accounts_processed == 0


def test_a_narrower_scan_is_not_complete() -> None:
    one = record(all_of(A), accounts=[account(A), account(B)], scan_type=ScanType.BOOTSTRAP)
    assert not one.complete
    assert one.scan_type is ScanType.BOOTSTRAP
    narrow = scan_record(
        scan(scan_type=ScanType.BOOTSTRAP, accounts=(A,), services=("s3",)),
        [outcome(A, "s3")],
        [account(A), account(B)],
        SERVICES,
    )
    assert (narrow.complete, narrow.account_id, narrow.service, narrow.failed_scopes) == (False, A, "s3", 0)


def test_a_scan_of_some_policies_is_not_complete() -> None:
    found = record(all_of(A, B), kind=ScanKind.POLICY, policies=("P",), scan_type=ScanType.BOOTSTRAP)
    assert not found.complete
    assert found.scan_type is ScanType.BOOTSTRAP


def test_a_manual_scan_of_everything_speaks_for_the_estate() -> None:
    found = record(all_of(A, B), scan_type=ScanType.BOOTSTRAP)
    assert (found.complete, found.scan_type) == (True, ScanType.ANTI_ENTROPY)


def test_an_account_registered_after_the_start_is_the_next_scans() -> None:
    late = account(C, registered_ms=STARTED + 1)
    assert record(all_of(A, B), accounts=[account(A), account(B), late]).complete
    in_time = account(C, registered_ms=STARTED)
    assert not record(all_of(A, B), accounts=[account(A), account(B), in_time]).complete


def test_an_account_activated_after_the_start_is_the_next_scans() -> None:
    back = account(C, registered_ms=5, activated_ms=STARTED + 1)
    assert record(all_of(A, B), accounts=[account(A), account(B), back]).complete
    in_time = account(C, registered_ms=5, activated_ms=STARTED)
    assert not record(all_of(A, B), accounts=[account(A), account(B), in_time]).complete


@pytest.mark.parametrize("status", ["suspended", "removed"])
def test_an_account_that_is_not_active_need_not_be_scanned(status: str) -> None:
    assert record(all_of(A, B), accounts=[account(A), account(B), account(C, status=status)]).complete


def test_one_failing_account_does_not_make_a_scan_incomplete() -> None:
    found = record([*all_of(A), *all_of(B, failed=True, failures=("denied",))])
    assert found.complete
    assert (found.failed_scopes, found.accounts_processed) == (1, 1)


def test_a_service_that_failed_everywhere_makes_it_incomplete() -> None:
    outcomes = [
        outcome(account_id, service, failed=service == "s3", failures=(f"{account_id}/{service}",))
        for account_id in (A, B)
        for service in SERVICES
    ]
    found = record(outcomes)
    assert not found.complete
    assert found.scan_type is ScanType.ANTI_ENTROPY


def test_without_accounts_nothing_is_complete() -> None:
    assert not scan_record(scan(accounts=()), [], [], SERVICES).complete
    assert not scan_record(scan(accounts=()), [], [account(A, status="removed")], SERVICES).complete


def test_the_first_twenty_failures_are_listed_and_all_are_counted() -> None:
    failures = tuple(f"{n:03}" for n in range(50))
    found = record([*all_of(A), outcome(B, "ec2", failures=failures), outcome(B, "s3")])
    assert found.failed_scopes == 50
    assert found.failures == failures[:20]


def test_the_last_inventory_record_has_the_fields_of_the_contract() -> None:
    written = record([*all_of(A), *all_of(B, failures=("x",), resources_found=2)]).as_record()
    assert written == {
        "scan_id": "scan-1",
        "scan_type": "anti-entropy",
        "started_ms": STARTED,
        "timestamp_ms": STARTED + 10,
        "duration_ms": 10,
        "account_id": "all",
        "service": "all",
        "accounts_processed": 2,
        "resources_found": 4,
        "resources_created": 0,
        "resources_updated": 0,
        "resources_deleted": 0,
        "resources_unchanged": 0,
        "superseded": 0,
        "failed_scopes": {"count": 1, "first": ["x"]},
    }


def test_the_last_policy_record_has_the_fields_of_the_contract() -> None:
    written = record(all_of(A, B), kind=ScanKind.POLICY).as_record()
    assert set(written) >= {
        *("timestamp_ms", "duration_ms", "processed_resources", "skipped_resources", "findings_created"),
        *("findings_closed", "policies_evaluated", "accounts_processed", "scan_id", "scan_type", "failed_scopes"),
    }
    assert "resources_found" not in written


def test_the_set_of_failed_scopes_is_the_same_whatever_the_reasons() -> None:
    def failing(*failures: str) -> str:
        found = record([*all_of(A), outcome(B, "s3", failures=failures), outcome(B, "ec2")])
        digest: str = found.as_history()["failed_scopes"]["set"]
        return digest

    assert failing(f"{B}/s3/global: one", f"{B}/s3/global: two") == failing(f"{B}/s3/global: request 5")
    assert failing(f"{B}/s3/global: one") != failing(f"{B}/s3/us-east-1: one")
    assert failing() == ""


def test_the_history_tells_kind_and_completeness() -> None:
    entry = record(all_of(A)).as_history()
    assert (entry["kind"], entry["complete"]) == ("inventory", False)


def test_many_accounts_are_named_by_the_first_few() -> None:
    ids = [f"{n:012d}" for n in range(1, 8)]
    found = scan_record(
        scan(accounts=tuple(ids), services=("s3",)),
        [outcome(one, "s3") for one in ids],
        [account(one) for one in [*ids, "000000000099"]],
        SERVICES,
    )
    assert found.account_id == ", ".join(ids[:5]) + " and 2 more"
    assert found.service == "s3"


def test_an_account_that_left_meanwhile_is_nobodys_failure() -> None:
    found = record(all_of(A), [account(A), account(B).model_copy(update={"status": "removed"})])
    assert found.complete
    assert found.failures == ()
