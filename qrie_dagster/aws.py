"""Entering AWS accounts: sessions, assumed roles, cached clients, retries and time-outs."""

import re
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError

from qrie_dagster.errors import AwsAccessError, QrieError
from qrie_dagster.models import Account
from qrie_dagster.settings import Settings

# What a call to AWS can raise: AWS said no, there was no answer, or one that broke off.
AWS_ERRORS = (ClientError, BotoCoreError, ResponseParserError)

# Parsing the service models is most of the cost of a client: every session shares one loader.
_LOADER = Loader(include_default_search_paths=True)
_CLIENT_LOCK = Lock()


def error_code(error: Exception) -> str:
    """The AWS error code, or the name of what botocore raised. Matched on because few codes have a class."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def explain(error: Exception) -> str:
    """One line for people: which operation, which code, what AWS said."""
    if isinstance(error, ClientError):
        message = error.response.get("Error", {}).get("Message", "")
        return f"{error.operation_name}: {error_code(error)}: {message}".rstrip(": ")
    return f"{type(error).__name__}: {error}"


def client_config(settings: Settings, **extra: Any) -> Config:
    """Retries that slow down when AWS throttles, and time-outs that a hanging region cannot stretch."""
    return Config(
        retries={"mode": "adaptive", "total_max_attempts": settings.aws_max_attempts},
        connect_timeout=min(5, settings.aws_timeout_seconds),
        read_timeout=settings.aws_timeout_seconds,
        **extra,
    )


def own_session(settings: Settings) -> Any:
    """A session with qrie's own credentials, from the usual places boto3 looks in.

    Raises QrieError when AWS_PROFILE names no profile, or the configuration file cannot be read.
    """
    session = _botocore_session()
    try:
        session.get_scoped_config()
    except BotoCoreError as error:
        raise QrieError(
            f"The AWS configuration of this machine cannot be used: {explain(error)}: check AWS_PROFILE and ~/.aws."
        ) from error
    return boto3.Session(botocore_session=session, region_name=settings.region)


def _botocore_session() -> Any:
    session = botocore.session.Session()
    session.register_component("data_loader", _LOADER)
    session.register("before-parse.*.*", _note_broken_answer)
    session.get_component("event_emitter").register_first("needs-retry.*.*", _retry_broken_answer)
    return session


# What a gateway or a captive portal answers in AWS's place.
_WEB_PAGE = re.compile(rb"\s*(<\?xml[^>]*\?>\s*)?(<!--.*?-->\s*)?<(!doctype\s+)?html\b", re.IGNORECASE | re.DOTALL)


def _note_broken_answer(**event: Any) -> None:
    """Make a failure of an answer that AWS did not give as it arrived: cut off, emptied, or somebody else's page.

    botocore does not compare an answer's length with what was announced. It would give up on most of what broke off,
    which cannot be parsed; but an S3 answer without a body, and any XML it does not know, it takes for an empty list:
    everything in it would count as deleted.
    """
    answer, operation = event["response_dict"], event["operation_model"]
    body = answer["body"]
    if not isinstance(body, bytes) or operation.http.get("method") == "HEAD":
        return
    torn = len(body) < int(answer["headers"].get("content-length") or 0)
    emptied = not body and answer["status_code"] == HTTPStatus.OK and _has_body(operation)
    if torn or emptied or _WEB_PAGE.match(body):
        answer.update(status_code=HTTPStatus.BAD_GATEWAY.value, body=b"")


def _has_body(operation: Any) -> bool:
    """Whether answers to an operation say anything outside of their headers."""
    members = operation.output_shape.members.values() if operation.output_shape else ()
    return any("location" not in member.serialization for member in members)


def _retry_broken_answer(**event: Any) -> None:
    """Let botocore's retries, which look at the HTTP status, see what ``_note_broken_answer`` made of it."""
    if event["response"] is not None:
        http_response, parsed = event["response"]
        http_response.status_code = parsed["ResponseMetadata"].get("HTTPStatusCode", http_response.status_code)


class AccountSession:
    """One member account, entered. Clients are made once per (service, region) and shared by threads."""

    def __init__(self, session: Any, account: Account, settings: Settings, config: Config) -> None:
        self.account_id = account.account_id
        self.partition = settings.partition
        self._account = account
        self._session = session
        self._settings = settings
        self._config = config
        self._clients: dict[tuple[str, str], Any] = {}
        self._regions: list[str] | None = None
        self._regions_lock = Lock()

    @property
    def events(self) -> Any:
        """The event hooks of botocore that clients made from now on share: for counting and delaying calls."""
        return self._session.events

    def client(self, service: str, region: str) -> Any:
        """A boto3 client."""
        key = (service, region)
        # boto3 sessions are not safe to make clients from in several threads; clients are safe to share.
        with _CLIENT_LOCK:
            if key not in self._clients:
                client = self._session.client(
                    service,
                    region_name=region,
                    endpoint_url=self._settings.endpoint_url,
                    config=self._config,
                )
                if self._settings.endpoint_url:
                    client.meta.events.register("before-sign.s3-control", without_account_host)
                self._clients[key] = client
            return self._clients[key]

    def regions(self) -> tuple[Sequence[str], Sequence[str]]:
        """The regions to scan, and those named for this very account that it has not enabled.

        Of the regions named for all accounts, those that this one has not enabled are simply not there.
        Raises one of AWS_ERRORS when AWS does not tell: that is never the same as having no regions.
        """
        with self._regions_lock:
            if self._regions is None:
                answer = self.client("ec2", self._settings.region).describe_regions()
                self._regions = sorted(region["RegionName"] for region in answer["Regions"])
        enabled = set(self._regions)
        own = self._account.regions
        wanted = own or self._settings.regions or self._regions
        return [r for r in wanted if r in enabled], [r for r in own if r not in enabled]


def without_account_host(request: Any, **_: Any) -> None:
    """S3 Control puts the account id in front of the host name; that of an emulator does not resolve then."""
    parts = urlsplit(request.url)
    account, _dot, host = parts.netloc.partition(".")
    if re.fullmatch(r"\d{12}", account):
        request.url = parts._replace(netloc=host).geturl()


class AwsAccess:
    """The way into member accounts: AssumeRole with an external id, renewed while a scan runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._config = client_config(settings, max_pool_connections=settings.concurrency_per_account)
        self._own = own_session(settings)

    def enter(self, account: Account) -> AccountSession:
        """Assume the account's role. Raises AwsAccessError saying which role and why."""
        role = self._settings.role_arn(account.account_id)
        extra = {"RoleSessionName": "qrie"}
        if self._settings.external_id:
            extra["ExternalId"] = self._settings.external_id.get_secret_value()
        source = self._own.get_credentials()
        if source is None:
            raise AwsAccessError(
                f"No AWS credentials to enter account {account.account_id} with: set AWS_PROFILE,"
                " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where an instance role is attached."
            )
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=self._sts_creator(), source_credentials=source, role_arn=role, extra_args=extra
        )
        credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, method="assume-role")
        try:
            with _CLIENT_LOCK:
                credentials.get_frozen_credentials()
        except AWS_ERRORS as error:
            raise AwsAccessError(f"Cannot assume {role}: {explain(error)}") from error
        session = _botocore_session()
        # botocore has no public way to give a session refreshable credentials; this is the usual one.
        session._credentials = credentials
        return AccountSession(
            boto3.Session(botocore_session=session, region_name=self._settings.region),
            account,
            self._settings,
            self._config,
        )

    def _sts_creator(self) -> Any:
        return partial(
            self._own.client,
            region_name=self._settings.region,
            endpoint_url=self._settings.endpoint_url,
            config=client_config(self._settings),
        )
