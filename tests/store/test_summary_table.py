from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from typing import Any

import pytest

from qrie_dagster.errors import StoreError
from qrie_dagster.models import Opened, Outcome, ScanKind, ScanType
from qrie_dagster.store import Store
from qrie_dagster.store.summary import Scan
from qrie_dagster.store.tables import SUMMARY
from qrie_dagster.times import HOUR_MS, now_ms

STARTED = 1_750_000_000_000
SCAN = Scan(
    scan_id="policy-1",
    kind=ScanKind.POLICY,
    scan_type=ScanType.BOOTSTRAP,
    started_ms=STARTED,
    accounts=("000000000001",),
    services=("s3", "ec2"),
    policies=("S3BucketPublic",),
)


def outcome(account_id: str, service: str = "s3", **facts: Any) -> Outcome:
    return Outcome(account_id=account_id, service=service, started_ms=STARTED, finished_ms=STARTED + 5, **facts)


def test_records_come_back_as_they_were(store: Store) -> None:
    record = {"n": 1, "text": "\u2603", "list": [1, {"a": None}], "flag": True, "bytes": b"x"}
    store.summary.put("x", record)
    assert store.summary.get("x") == {"Type": "x", **record}
    assert store.summary.get("y") is None
    assert store.summary.get_many(["y", "x"]) == {"x": {"Type": "x", **record}}


def test_the_newest_record_stays(store: Store) -> None:
    assert store.summary.put_newest("last", {"timestamp_ms": 10, "n": 1})
    assert not store.summary.put_newest("last", {"timestamp_ms": 9, "n": 2})
    assert store.summary.get("last") == {"Type": "last", "timestamp_ms": 10, "n": 1}
    # The same again, and the next one.
    assert store.summary.put_newest("last", {"timestamp_ms": 10, "n": 1})
    assert store.summary.put_newest("last", {"timestamp_ms": 11})
    assert store.summary.get("last") == {"Type": "last", "timestamp_ms": 11}


def test_a_record_of_the_future_does_not_stay(store: Store) -> None:
    now = now_ms()
    store.summary.put("last", {"timestamp_ms": now + HOUR_MS})
    assert store.summary.put_newest("last", {"timestamp_ms": now})
    # Clocks a little apart are no reason.
    assert store.summary.put_newest("last", {"timestamp_ms": now + 60_000})
    assert not store.summary.put_newest("last", {"timestamp_ms": now})


def test_a_change_gets_what_was_there(store: Store) -> None:
    store.summary.change("x", lambda before: {"n": before.get("n", 0) + 1})
    store.summary.change("x", lambda before: {"n": before.get("n", 0) + 1})
    assert (store.summary.get("x") or {})["n"] == 2


def test_a_record_that_was_put_may_be_changed(store: Store) -> None:
    store.summary.put("x", {"n": 5})
    store.summary.change("x", lambda before: {"n": before["n"] + 1})
    assert (store.summary.get("x") or {})["n"] == 6


# moto looks at conditions and writes in two steps, between which other threads write.
@pytest.mark.parametrize("engine", ["dynamodb-local"], indirect=True)
def test_no_change_is_lost_between_threads(store: Store) -> None:
    def add(number: int) -> None:
        store.summary.change("x", lambda before: {"seen": [*before.get("seen", []), number]})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(24)))
    assert sorted((store.summary.get("x") or {})["seen"]) == list(range(24))


def test_a_record_that_never_stands_still_is_an_error(store: Store, before_calls: Callable[..., None]) -> None:
    versions = iter(range(1, 1000))
    before_calls(
        store.dynamo.client,
        "PutItem",
        lambda _: store.dynamo.update(SUMMARY, {"Type": "x"}, {"Version": next(versions) * 1000}),
    )
    with pytest.raises(StoreError, match=r"'x' of .* kept changing"):
        store.summary.change("x", lambda before: {"n": 1})


def test_a_scan_is_recorded_once(store: Store) -> None:
    assert store.summary.open_scan(SCAN) == SCAN
    later = SCAN.model_copy(update={"started_ms": STARTED + 1, "accounts": ()})
    assert store.summary.open_scan(later) == SCAN
    assert store.summary.scan("policy-1") == SCAN
    assert store.summary.scan("policy-2") is None


def test_outcomes_of_services_and_scans_do_not_mix(store: Store) -> None:
    mine = [outcome("000000000001", "s3", resources_found=1), outcome("000000000001", "ec2", failures=("x",))]
    for one in mine:
        store.summary.record_outcome(SCAN, one)
    store.summary.record_outcome(SCAN.model_copy(update={"scan_id": "policy-2"}), outcome("000000000001"))
    found = store.summary.outcomes("policy-1", ["000000000001", "000000000002"])
    assert sorted(found, key=lambda one: one.service) == sorted(mine, key=lambda one: one.service)


def test_a_retried_service_adds_to_what_it_did_before(store: Store) -> None:
    first = {
        "counted_ms": STARTED + 4,
        "findings_created": 2,
        "critical_created": 2,
        "opened": (Opened(policy="P", severity=90, count=2),),
        "resources_before": 7,
        "resources_found": 9,
        "failures": ("cut off",),
    }
    again = {
        "started_ms": STARTED + 10,
        "finished_ms": STARTED + 20,
        "counted_ms": STARTED + 19,
        "findings_created": 1,
        "findings_closed": 3,
        "opened": (Opened(policy="P", severity=90, count=1), Opened(policy="A", severity=50, count=1)),
        "resources_before": 8,
        "resources_found": 3,
    }
    store.summary.record_outcome(SCAN, outcome("000000000001", **first))
    store.summary.record_outcome(SCAN, outcome("000000000001").model_copy(update=again))
    [total] = store.summary.outcomes("policy-1", ["000000000001"])
    # What was changed adds up; how things are is what the last attempt says; before is before the first.
    assert (total.findings_created, total.findings_closed, total.critical_created) == (3, 3, 2)
    assert [(news.policy, news.count) for news in total.opened] == [("A", 1), ("P", 3)]
    assert (total.resources_before, total.resources_found, total.failures) == (7, 3, ())
    assert (total.started_ms, total.finished_ms, total.counted_ms) == (STARTED, STARTED + 20, STARTED + 19)


def test_an_attempt_that_changed_nothing_says_nothing_of_before(store: Store) -> None:
    store.summary.record_outcome(SCAN, outcome("000000000001", failed=True))
    store.summary.record_outcome(SCAN, outcome("000000000001", resources_before=8, counted_ms=STARTED))
    assert store.summary.outcome("policy-1", "000000000001", "s3") == outcome(
        "000000000001", resources_before=8, counted_ms=STARTED
    )
    assert store.summary.outcome("policy-1", "000000000001", "ec2") is None


def test_an_outcome_whose_answer_was_lost_is_recorded_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    update = store.dynamo.client.update_item

    def twice(**parameters: Any) -> Any:
        update(**parameters)
        return update(**parameters)

    monkeypatch.setattr(store.dynamo.client, "update_item", twice)
    store.summary.record_outcome(SCAN, outcome("000000000001", findings_created=1))
    assert store.summary.outcome("policy-1", "000000000001", "s3") == outcome("000000000001", findings_created=1)


def test_the_outcomes_of_more_accounts_than_a_batch_takes(store: Store) -> None:
    accounts = [f"{number:012d}" for number in range(120)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda account: store.summary.record_outcome(SCAN, outcome(account)), accounts))
    assert sorted(one.account_id for one in store.summary.outcomes("policy-1", accounts)) == accounts


def test_an_outcome_with_very_many_failures_can_be_recorded(store: Store) -> None:
    failures = tuple(f"000000000001/s3/global: arn:aws:s3:::{token_hex(30)}: denied" for _ in range(30_000))
    for service in ("s3", "ec2"):
        store.summary.record_outcome(SCAN, outcome("000000000001", service, failures=failures))
    found = store.summary.outcomes("policy-1", ["000000000001"])
    assert len(found) == 2
    for one in found:
        assert one.failures[0] == failures[0]
        assert one.failures[-1] == "and 29800 more"
        assert not one.succeeded


def test_the_ledger_expires_and_the_records_do_not(store: Store) -> None:
    store.summary.open_scan(SCAN)
    store.summary.record_outcome(SCAN, outcome("000000000001"))
    store.summary.put("dashboard", {})
    items: dict[str, Mapping[str, Any]] = {item["Type"]: item for item in store.dynamo.scan(SUMMARY)}
    for name in ("scan:policy-1", "scan:policy-1:000000000001"):
        assert items[name]["ExpiresAt"] == STARTED // 1000 + 35 * 24 * 3600
    assert "ExpiresAt" not in items["dashboard"]


def test_the_parts_of_an_account_do_not_overwrite_each_other(store: Store) -> None:
    store.summary.set_part("000000000001", "Resources", "s3", {"AWS::S3::Bucket": 3})
    store.summary.set_part("000000000001", "Resources", "ec2", {})
    store.summary.set_part("000000000001", "Findings", "s3", {"bands": {"high": 1}})
    store.summary.set_part("000000000001", "Resources", "s3", {"AWS::S3::Bucket": 4})
    store.summary.set_part("000000000002", "Findings", "s3", {})
    assert store.summary.parts(["000000000001", "000000000003"]) == {
        "000000000001": {
            ("Resources", "s3"): {"AWS::S3::Bucket": 4},
            ("Resources", "ec2"): {},
            ("Findings", "s3"): {"bands": {"high": 1}},
        }
    }


def test_a_part_can_be_forgotten(store: Store) -> None:
    store.summary.set_part("000000000001", "Resources", "s3", {"x": 1})
    store.summary.set_part("000000000001", "Findings", "s3", {"x": 1})
    store.summary.forget_account("000000000001", "Resources", ["s3", "ec2"])
    assert set(store.summary.parts(["000000000001"])["000000000001"]) == {("Findings", "s3")}
