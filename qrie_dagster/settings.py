"""Every knob of qrie, read from ``QRIE_…`` environment variables and an optional file, ``.env`` or ``QRIE_ENV_FILE``.

Validated as a whole when a process starts: a wrong value ends it with one sentence per mistake.
"""

import logging
import os
import re
from difflib import get_close_matches
from functools import cache
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from qrie_dagster.errors import QrieError
from qrie_dagster.models import is_region
from qrie_dagster.overrides import check_cron

PREFIX = "QRIE_"
ENV_FILE = "QRIE_ENV_FILE"
# Variables of qrie's name that others read: deploy/dagster.yaml, and this module itself.
NOT_SETTINGS = {ENV_FILE, "QRIE_COMPUTE_LOG_BUCKET"}
# Dagster takes no freshness window below a minute, and the warning comes at 15/16 of it.
SHORTEST_DRIFT_HOURS = 0.02

logger = logging.getLogger(__name__)

Cron = Annotated[str, AfterValidator(check_cron)]
Words = Annotated[list[str], NoDecode]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+.*$")]


class Settings(BaseSettings):
    """One field per environment variable: ``table_prefix`` is ``QRIE_TABLE_PREFIX``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    table_prefix: str = Field(
        "qrie_", pattern=r"^[A-Za-z0-9_.-]{1,100}$", description="Prefix of the DynamoDB table names."
    )
    region: str = Field(
        "us-east-1",
        pattern=r"^[a-z]{2}(-[a-z]+)+-\d$",
        description="AWS region of qrie's own tables, and where member accounts are entered.",
    )
    partition: Literal["aws", "aws-cn", "aws-us-gov"] = Field("aws", description="AWS partition of the accounts.")
    endpoint_url: Url | None = Field(
        None, description="Endpoint of every AWS call; empty means AWS itself. For emulators."
    )
    dynamodb_endpoint_url: Url | None = Field(
        None, description="Endpoint of DynamoDB, where it differs from `QRIE_ENDPOINT_URL`."
    )
    role_name_pattern: str = Field(
        "QrieReadOnly-{account}",
        pattern=r"^[\w+=,.@{}-]{1,128}$",
        description="Name of the role assumed in a member account; `{account}` stands for its id.",
    )
    external_id: SecretStr | None = Field(None, description="External id that the member roles ask for. A secret.")
    regions: Words = Field(
        default_factory=list,
        description=(
            "Regions to scan, separated by commas; empty means all that an account has enabled. Of those named, an"
            " account is scanned in the ones it has enabled."
        ),
    )
    accounts_per_run: int = Field(25, ge=1, le=1000, description="Accounts in one Dagster run of a scan.")
    parallel_accounts: int = Field(2, ge=1, le=32, description="Accounts scanned at the same time within a run.")
    concurrency_per_account: int = Field(
        16, ge=1, le=64, description="AWS calls under way at the same time in one account."
    )
    aws_max_attempts: int = Field(
        6,
        ge=1,
        le=20,
        description="Attempts at one AWS call, the first included, before it counts as failed.",
    )
    aws_timeout_seconds: int = Field(
        20, ge=1, le=120, description="Seconds without an answer after which an attempt has failed."
    )
    inventory_cron: Cron = Field("0 0 * * 6", description="When the full inventory runs, UTC.")
    policy_cron: Cron = Field("0 4 * * *", description="When the full policy scan runs, UTC.")
    inventory_drift_hours: float = Field(
        192,
        ge=SHORTEST_DRIFT_HOURS,
        le=8760,
        description="Age of the last full inventory, in hours, beyond which it has drifted.",
    )
    policy_drift_hours: float = Field(
        26,
        ge=SHORTEST_DRIFT_HOURS,
        le=8760,
        description="Age of the last full policy scan, in hours, beyond which it has drifted.",
    )
    sudden_loss_percent: int = Field(
        30, ge=1, le=100, description="Share of an account's resources lost in one scan that raises an alarm."
    )
    bootstrap_new_accounts: bool = Field(
        True, description="Scan accounts that were never scanned as soon as they are registered."
    )
    launch_all_policies: bool = Field(
        True, description="Launch every policy, for everything, when the tables are first created."
    )
    dashboard_host: str = Field("127.0.0.1", min_length=1, description="Address the dashboard binds to.")
    dashboard_port: int = Field(8010, ge=1, le=65535, description="Port of the dashboard.")
    dashboard_url: Url | None = Field(
        None, description="Where people reach the dashboard, for links to it; empty means its own address."
    )
    trusted_proxies: Words = Field(
        default_factory=list,
        description="Addresses or networks of proxies in front of the dashboard, separated by commas; what they say of"
        " their clients is believed.",
    )
    dagster_url: Url = Field("http://127.0.0.1:3000", description="Where Dagster's webserver answers qrie.")
    dagster_link: Url | None = Field(
        None, description="Where people reach Dagster, for links to it; empty means `QRIE_DAGSTER_URL`."
    )
    api_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Token of the dashboard's API, at least 16 characters. Generated and printed when empty. A secret.",
    )
    cors_origins: Words = Field(
        default_factory=list, description="Origins that may call the API from a browser, separated by commas."
    )
    alert_sns_topic_arn: str | None = Field(
        None,
        pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]+$",
        description="SNS topic that alerts are published to.",
    )
    alert_urls: SecretStr | None = Field(
        None,
        description="Where else alerts go: Apprise URLs (e-mail, chat, webhooks), separated by commas. A secret.",
    )
    alert_min_severity: int = Field(
        90, ge=0, le=100, description="Severity from which on new findings are told, 0 to 100."
    )
    alert_quiet_hours: str | None = Field(
        None,
        pattern=r"^([01]\d|2[0-3])-([01]\d|2[0-3])$",
        description="Hours (UTC) such as `22-06` in which only drift and new critical findings are told at once.",
    )

    @field_validator("regions", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value

    @field_validator(
        "endpoint_url",
        "dynamodb_endpoint_url",
        "external_id",
        "api_token",
        "dashboard_url",
        "dagster_link",
        "alert_sns_topic_arn",
        "alert_urls",
        "alert_quiet_hours",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("regions")
    @classmethod
    def _regions(cls, value: list[str]) -> list[str]:
        for region in value:
            if not is_region(region):
                raise ValueError(f"must be AWS regions such as eu-west-1, separated by commas; {region!r} is none")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, value: list[str]) -> list[str]:
        for proxy in value:
            try:
                ip_network(proxy)
            except ValueError:
                example = "10.0.0.7 or 10.0.0.0/24"
                raise ValueError(f"must be addresses or networks such as {example}; {proxy!r} is none") from None
        return value

    @field_validator("role_name_pattern")
    @classmethod
    def _role(cls, value: str) -> str:
        if re.findall(r"\{.*?\}", value) not in ([], ["{account}"]) or value.count("{") != value.count("}"):
            raise ValueError("may hold {account} once and no other braces")
        return value

    @field_validator("alert_quiet_hours")
    @classmethod
    def _quiet(cls, value: str | None) -> str | None:
        if value and value[:2] == value[3:]:
            raise ValueError("must begin and end at different hours")
        return value

    @property
    def alerts_wanted(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self.alert_sns_topic_arn or self.alert_urls)

    @property
    def dashboard_link(self) -> str:
        """The address of the dashboard, as people are told it."""
        return self.dashboard_url or f"http://{self.dashboard_host}:{self.dashboard_port}/"

    @property
    def dagster_ui(self) -> str:
        """The address of Dagster, as people are told it, without a slash at the end."""
        return (self.dagster_link or self.dagster_url).rstrip("/")

    def role_arn(self, account_id: str) -> str:
        """The ARN of the role that qrie assumes in a member account."""
        name = self.role_name_pattern.replace("{account}", account_id)
        return f"arn:{self.partition}:iam::{account_id}:role/{name}"


@cache
def settings() -> Settings:
    """The settings of this process. Raises QrieError with one sentence per wrong variable; warns of unknown ones."""
    found = load_settings()
    for sentence in unknown_variables():
        logger.warning(sentence)
    return found


def load_settings(**values: Any) -> Settings:
    """Settings from the environment, with ``values`` in front of it. Raises QrieError like ``settings``."""
    try:
        return Settings(_env_file=_env_file(), **values)
    except ValidationError as invalid:
        raise QrieError("\n".join(_sentence(error) for error in invalid.errors())) from None


def _env_file() -> str | None:
    """The file of settings; None for none."""
    return os.environ.get(ENV_FILE, ".env") or None


def unknown_variables() -> list[str]:
    """A sentence about each variable that looks like a setting and is none."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | NOT_SETTINGS
    file = _env_file()
    given = {name.upper() for name in [*os.environ, *(dotenv_values(file) if file else ())]}
    sentences = []
    for name in sorted(name for name in given - known if name.startswith(PREFIX)):
        close = get_close_matches(name, known, n=2)
        meant = f"did you mean {' or '.join(close)}?" if close else "'qrie settings' lists those that are."
        sentences.append(f"{name} is no setting of qrie and is ignored: {meant}")
    return sentences


_SECRETS = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}


def _sentence(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    value = "the value given" if name in _SECRETS else repr(error["input"])
    wish = error["msg"].removeprefix("Value error, ")
    wish = wish[0].lower() + wish[1:]
    meaning = (Settings.model_fields[name].description or "").split(".")[0]
    return f"{PREFIX}{name.upper()} is {value}, which cannot be used: {wish}. It is: {meaning}."


def settings_table() -> str:
    """All settings as a Markdown table, for the documentation."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "" if default in (None, []) else f"`{str(default).lower() if default is True else default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows) + "\n"
