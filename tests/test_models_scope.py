import pytest
from pydantic import ValidationError

from qrie_dagster.models import Account, Outcome, Scope, ServiceScan

PROD = Account(
    account_id="111111111111", ou_path="/workloads/prod", tags={"env": "prod", "team": "payments"}, status="active"
)


@pytest.mark.parametrize(
    ("scope", "tags", "covered"),
    [
        ({}, {}, True),
        ({"include_accounts": ["111111111111"]}, {}, True),
        ({"include_accounts": ["222222222222"]}, {}, False),
        ({"exclude_accounts": ["222222222222"]}, {}, True),
        ({"exclude_accounts": ["111111111111"]}, {}, False),
        # A tag is the resource's own or its account's.
        ({"include_tags": {"env": ["prod"]}}, {}, True),
        ({"include_tags": {"data": ["personal"]}}, {"data": "personal"}, True),
        ({"include_tags": {"data": ["personal"]}}, {"data": "public"}, False),
        ({"include_tags": {"env": ["dev", "prod"]}}, {}, True),
        ({"include_tags": {"env": ["dev"]}}, {"env": "dev"}, True),
        ({"include_tags": {"env": ["prod"]}}, {"env": "dev"}, True),
        # Every key has to match; one excluded key is enough.
        ({"include_tags": {"env": ["prod"], "data": ["personal"]}}, {}, False),
        ({"include_tags": {"env": ["prod"], "data": ["personal"]}}, {"data": "personal"}, True),
        ({"exclude_tags": {"env": ["dev"], "data": ["personal"]}}, {"data": "personal"}, False),
        ({"exclude_tags": {"env": ["prod"]}}, {"env": "dev"}, False),
        # An unknown tag is no match.
        ({"include_tags": {"unknown": ["x"]}}, {}, False),
        ({"exclude_tags": {"unknown": ["x"]}}, {}, True),
        ({"include_tags": {"env": []}}, {}, False),
        ({"exclude_tags": {"env": []}}, {}, True),
        ({"include_tags": {"Env": ["prod"]}}, {}, False),
        ({"include_tags": {"env": ["Prod"]}}, {}, False),
        # An OU path matches itself and what is below, not what merely begins alike.
        ({"include_ou_paths": ["/workloads/prod"]}, {}, True),
        ({"include_ou_paths": ["/workloads/prod/"]}, {}, True),
        ({"include_ou_paths": ["/workloads"]}, {}, True),
        ({"include_ou_paths": ["/"]}, {}, True),
        ({"include_ou_paths": ["/work"]}, {}, False),
        ({"include_ou_paths": ["/workloads/prod/eu"]}, {}, False),
        ({"include_ou_paths": ["/sandbox", "/workloads"]}, {}, True),
        ({"exclude_ou_paths": ["/workloads"]}, {}, False),
        ({"exclude_ou_paths": ["/work"]}, {}, True),
        # Every include must match, no exclude may.
        ({"include_accounts": ["111111111111"], "include_ou_paths": ["/sandbox"]}, {}, False),
        ({"include_accounts": ["111111111111"], "exclude_tags": {"env": ["prod"]}}, {}, False),
        ({"include_ou_paths": ["/workloads"], "exclude_ou_paths": ["/workloads/prod"]}, {}, False),
        ({"include_ou_paths": ["/workloads"], "exclude_ou_paths": ["/workloads/dev"]}, {}, True),
    ],
)
def test_what_a_scope_covers(scope: dict[str, object], tags: dict[str, str], covered: bool) -> None:
    assert Scope.model_validate(scope).covers(PROD, tags) is covered


def test_an_account_without_ou_path_is_in_no_ou_but_the_root() -> None:
    account = Account(account_id="111111111111")
    assert Scope(include_ou_paths=["/"]).covers(account, {})
    assert not Scope(include_ou_paths=["/workloads"]).covers(account, {})
    assert Scope(exclude_ou_paths=["/workloads"]).covers(account, {})


def test_an_account_directly_under_the_root_is_below_the_root_only() -> None:
    account = Account(account_id="111111111111", ou_path="/")
    assert Scope(include_ou_paths=["/"]).covers(account, {})
    assert not Scope(include_ou_paths=["/workloads"]).covers(account, {})


def test_a_misspelt_scope_is_refused() -> None:
    with pytest.raises(ValidationError):
        Scope.model_validate({"include_account": ["111111111111"]})


@pytest.mark.parametrize(
    "wrong", ["", "12345678901", "1234567890123", "12345678901x", "123456789012\n", "١٢٣٤٥٦٧٨٩٠١٢"]
)
def test_an_account_id_has_twelve_digits(wrong: str) -> None:
    with pytest.raises(ValidationError):
        Account(account_id=wrong)


def test_leading_zeros_are_part_of_an_account_id() -> None:
    assert Account(account_id="000000000001").account_id == "000000000001"


def test_a_service_that_was_never_scanned_has_an_empty_state() -> None:
    assert PROD.scan("policy", "s3") == ServiceScan()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("failures", "failed", "succeeded"), [((), False, True), (("a",), False, False), (("a",), True, False)]
)
def test_only_a_scan_without_failures_succeeded(failures: tuple[str, ...], failed: bool, succeeded: bool) -> None:
    outcome = Outcome(account_id="1", service="s3", started_ms=10, finished_ms=15, failures=failures, failed=failed)
    assert outcome.succeeded is succeeded
    assert outcome.duration_ms == 5


def test_an_outcome_keeps_as_many_failures_as_people_read_and_counts_the_rest() -> None:
    outcome = Outcome(
        account_id="1", service="s3", started_ms=1, finished_ms=2, failures=tuple(f"b{n}" for n in range(1000))
    )
    assert (len(outcome.failures), outcome.failures[199:]) == (201, ("b199", "and 800 more"))
    assert Outcome(**outcome.model_dump()) == outcome
