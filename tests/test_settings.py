from pathlib import Path
from typing import Any

import pytest
from dagster import FreshnessPolicy

from qrie_dagster.demo.stack import environment
from qrie_dagster.drift import DriftRules
from qrie_dagster.errors import QrieError
from qrie_dagster.models import ScanKind
from qrie_dagster.settings import (
    ENV_FILE,
    PREFIX,
    SHORTEST_DRIFT_HOURS,
    Settings,
    load_settings,
    settings,
    settings_table,
    unknown_variables,
)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ENV_FILE)


def wrong(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(QrieError) as error:
        load_settings()
    return str(error.value)


def test_everything_has_a_default() -> None:
    found = load_settings()
    assert found.table_prefix == "qrie_"
    assert (found.inventory_drift_hours, found.policy_drift_hours) == (192, 26)
    assert (found.inventory_cron, found.policy_cron) == ("0 0 * * 6", "0 4 * * *")
    assert found.regions == []
    assert found.external_id is None


# What is said of each wrong value: its name, the value, and a word of what is allowed.
WRONG = [
    ("TABLE_PREFIX", "", "pattern"),
    ("TABLE_PREFIX", "qrie/", "pattern"),
    ("REGION", "Frankfurt", "pattern"),
    ("REGION", "eu-central-1\n", "pattern"),
    ("PARTITION", "aws-moon", "'aws', 'aws-cn' or 'aws-us-gov'"),
    ("ENDPOINT_URL", "localhost:5000", "https?"),
    ("ENDPOINT_URL", "http://", "https?"),
    ("DYNAMODB_ENDPOINT_URL", "ftp://localhost", "https?"),
    ("ROLE_NAME_PATTERN", "", "pattern"),
    ("ROLE_NAME_PATTERN", "Role-{acount}", "{account} once"),
    ("ROLE_NAME_PATTERN", "{account}-{account}", "{account} once"),
    ("ROLE_NAME_PATTERN", "Role-{account", "{account} once"),
    ("ROLE_NAME_PATTERN", "a role", "pattern"),
    ("REGIONS", "eu-west-1,Frankfurt", "separated by commas"),
    ("ACCOUNTS_PER_RUN", "0", "greater than or equal to 1"),
    ("ACCOUNTS_PER_RUN", "1001", "less than or equal to 1000"),
    ("ACCOUNTS_PER_RUN", "many", "integer"),
    ("ACCOUNTS_PER_RUN", "2.5", "integer"),
    ("PARALLEL_ACCOUNTS", "33", "less than or equal to 32"),
    ("CONCURRENCY_PER_ACCOUNT", "0", "greater than or equal to 1"),
    ("AWS_MAX_ATTEMPTS", "-1", "greater than or equal to 1"),
    ("AWS_TIMEOUT_SECONDS", "121", "less than or equal to 120"),
    ("INVENTORY_CRON", "every week", "five fields"),
    ("INVENTORY_CRON", "0 0 * * 9", "five fields"),
    ("POLICY_CRON", "@daily", "five fields"),
    ("POLICY_CRON", "0 0 4 * * *", "five fields"),
    ("INVENTORY_DRIFT_HOURS", "0", "greater than or equal to 0.02"),
    ("POLICY_DRIFT_HOURS", "0.017", "greater than or equal to 0.02"),
    ("INVENTORY_DRIFT_HOURS", "nan", "less than or equal to 8760"),
    ("POLICY_DRIFT_HOURS", "inf", "less than or equal to 8760"),
    ("POLICY_DRIFT_HOURS", "26h", "number"),
    ("SUDDEN_LOSS_PERCENT", "101", "less than or equal to 100"),
    ("LAUNCH_ALL_POLICIES", "perhaps", "boolean"),
    ("DASHBOARD_HOST", "", "at least 1 character"),
    ("DASHBOARD_PORT", "65536", "less than or equal to 65535"),
    ("DASHBOARD_PORT", "", "integer"),
    ("DAGSTER_URL", "127.0.0.1:3000", "https?"),
    ("DAGSTER_LINK", "dagster.example", "https?"),
    ("TRUSTED_PROXIES", "10.0.0.7,proxy.example", "addresses or networks"),
    ("TRUSTED_PROXIES", "*", "addresses or networks"),
    ("TRUSTED_PROXIES", "10.0.0.7/24", "addresses or networks"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG)
def test_a_wrong_value_is_explained_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    said = wrong(monkeypatch, **{PREFIX + name: value})
    assert said.startswith(f"{PREFIX}{name} is ")
    assert repr(value) in said or value in said
    assert allowed in said
    assert "\n" not in said
    assert said.endswith(".")


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said = wrong(monkeypatch, QRIE_DASHBOARD_PORT="none", QRIE_REGION="moon", QRIE_POLICY_CRON="never")
    assert {line.split()[0] for line in said.splitlines()} == {
        "QRIE_DASHBOARD_PORT",
        "QRIE_REGION",
        "QRIE_POLICY_CRON",
    }


def test_the_value_of_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    said = wrong(monkeypatch, QRIE_API_TOKEN="hunter2hunter2", QRIE_EXTERNAL_ID="swordfish", QRIE_DASHBOARD_PORT="x")
    assert "QRIE_API_TOKEN" in said
    assert "16 characters" in said
    assert "hunter2" not in said
    assert "swordfish" not in said


def test_secrets_are_not_in_the_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_settings(api_token="hunter2hunter2hunter2", external_id="swordfish")
    assert "hunter2" not in f"{found!r} {found} {found.model_dump()}"
    assert "swordfish" not in f"{found!r} {found} {found.model_dump()}"
    assert found.api_token is not None
    assert found.api_token.get_secret_value() == "hunter2hunter2hunter2"


@pytest.mark.parametrize("name", ["endpoint_url", "dynamodb_endpoint_url", "external_id", "api_token"])
def test_empty_means_not_given(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(PREFIX + name.upper(), "")
    assert getattr(load_settings(), name) is None


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QRIE_REGIONS", " eu-west-1, us-gov-west-1,,ap-southeast-2 ")
    monkeypatch.setenv("QRIE_CORS_ORIGINS", "https://a.example,https://b.example")
    found = load_settings()
    monkeypatch.setenv("QRIE_TRUSTED_PROXIES", "10.0.0.7, fd00::/8")
    assert load_settings().trusted_proxies == ["10.0.0.7", "fd00::/8"]
    assert found.regions == ["eu-west-1", "us-gov-west-1", "ap-southeast-2"]
    assert found.cors_origins == ["https://a.example", "https://b.example"]


def test_links_to_dagster_lead_to_its_server_unless_said_otherwise() -> None:
    found = load_settings(dagster_url="http://10.0.0.9:3000/")
    assert found.dagster_ui == "http://10.0.0.9:3000"
    assert load_settings(dagster_link="https://dagster.example/").dagster_ui == "https://dagster.example"


def test_a_dotenv_file_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QRIE_TABLE_PREFIX=mine_\nQRIE_REGIONS=eu-west-1\nOTHER=1\n")
    found = load_settings()
    assert (found.table_prefix, found.regions) == ("mine_", ["eu-west-1"])


def test_the_environment_wins_over_the_dotenv_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("QRIE_TABLE_PREFIX=mine_\n")
    monkeypatch.setenv("QRIE_TABLE_PREFIX", "theirs_")
    assert load_settings().table_prefix == "theirs_"


def test_a_mistake_in_the_dotenv_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QRIE_DASHBOARD_PORT=eight\n")
    with pytest.raises(QrieError, match=r"QRIE_DASHBOARD_PORT is 'eight'"):
        load_settings()


def test_another_file_or_none_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("QRIE_TABLE_PREFIX=mine_\n")
    (tmp_path / "other").write_text("QRIE_TABLE_PREFIX=other_\n")
    monkeypatch.setenv(ENV_FILE, "other")
    assert load_settings().table_prefix == "other_"
    monkeypatch.setenv(ENV_FILE, "")
    assert load_settings().table_prefix == "qrie_"
    assert unknown_variables() == []


def test_the_demonstration_takes_nothing_from_the_folder_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("QRIE_ALERT_URLS=json://example.org\nQRIE_TABLE_PREFIX=mine_\n")
    assert load_settings().alerts_wanted
    for name, value in environment("http://127.0.0.1:1", tmp_path).items():
        monkeypatch.setenv(name, value)
    assert not load_settings().alerts_wanted
    assert load_settings().table_prefix == "qrie_"


def test_the_shortest_windows_are_those_that_dagster_takes() -> None:
    rules = DriftRules.of(load_settings(inventory_drift_hours=SHORTEST_DRIFT_HOURS, policy_drift_hours=1))
    for kind in ScanKind:
        FreshnessPolicy.time_window(fail_window=rules.window(kind), warn_window=rules.warning(kind))


def test_a_misspelt_variable_is_told_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".env").write_text("qrie_alert_ulrs=x\nOTHER=1\n")
    monkeypatch.setenv("QRIE_REGOIN", "eu-west-1")
    monkeypatch.setenv("QRIE_ZZZ", "1")
    monkeypatch.setenv("QRIE_COMPUTE_LOG_BUCKET", "logs")
    settings.cache_clear()
    settings()
    settings.cache_clear()
    said = [record.message for record in caplog.records]
    assert said[0].startswith("QRIE_ALERT_ULRS is no setting of qrie and is ignored: did you mean QRIE_ALERT_URLS")
    assert said[1].startswith("QRIE_REGOIN is no setting of qrie and is ignored: did you mean QRIE_REGION")
    assert said[2] == "QRIE_ZZZ is no setting of qrie and is ignored: 'qrie settings' lists those that are."
    assert len(said) == 3


def test_the_settings_of_a_process_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settings.cache_clear()
    try:
        first = settings()
        monkeypatch.setenv("QRIE_TABLE_PREFIX", "later_")
        assert settings() is first
    finally:
        settings.cache_clear()


@pytest.mark.parametrize(
    ("values", "arn"),
    [
        ({}, "arn:aws:iam::012345678901:role/QrieReadOnly-012345678901"),
        ({"role_name_pattern": "Audit"}, "arn:aws:iam::012345678901:role/Audit"),
        (
            {"role_name_pattern": "q-{account}-r", "partition": "aws-cn"},
            "arn:aws-cn:iam::012345678901:role/q-012345678901-r",
        ),
    ],
)
def test_the_role_of_an_account(values: dict[str, Any], arn: str) -> None:
    assert load_settings(**values).role_arn("012345678901") == arn


def test_the_table_of_settings_names_every_variable() -> None:
    table = settings_table()
    for name, field in Settings.model_fields.items():
        assert f"`{PREFIX}{name.upper()}`" in table
        assert field.description
