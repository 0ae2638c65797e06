"""Clients for the emulated accounts: an explicit endpoint, dummy credentials, nothing taken from the machine."""

import os
from functools import cache
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config

from qrie_dagster.aws import without_account_host
from qrie_dagster.errors import QrieError

HOME_REGION = "us-east-1"
DUMMY = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}

_LOCK = Lock()

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 3},
    # Not None, which would mean the proxies of the environment.
    proxies={},
    s3={"addressing_style": "path"},
)


@cache
def _session() -> Any:
    # A developer's profile, region or endpoint must not leak into the demo.
    ignored: dict[str, tuple[Any, Any, Any, Any]] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    return boto3.Session(botocore_session=botocore.session.Session(session_vars=ignored))


def client(endpoint: str, service: str, region: str = HOME_REGION, **credentials: str) -> Any:
    """A boto3 client of the emulator. Raises QrieError if the endpoint is AWS itself."""
    host = urlsplit(endpoint).hostname or ""
    if not host or ".amazonaws." in f".{host}.":
        raise QrieError(f"The demo only works on an emulator, and {endpoint!r} is none.")
    # Making clients is not safe in several threads; using them is.
    with _LOCK:
        made = _session().client(
            service,
            region_name=region,
            endpoint_url=endpoint,
            config=_CONFIG,
            **{**DUMMY, **credentials},
        )
    if service == "s3control":
        made.meta.events.register("before-sign.s3-control", without_account_host)
    return made


class Entered:
    """One emulated account, entered through its role: moto keeps accounts apart by that."""

    def __init__(self, endpoint: str, account_id: str) -> None:
        self.account_id = account_id
        self._endpoint = endpoint
        self._clients: dict[tuple[str, str], Any] = {}
        role = f"arn:aws:iam::{account_id}:role/QrieReadOnly-{account_id}"
        answer = client(endpoint, "sts").assume_role(RoleArn=role, RoleSessionName="demo")["Credentials"]
        self._credentials = {
            "aws_access_key_id": answer["AccessKeyId"],
            "aws_secret_access_key": answer["SecretAccessKey"],
            "aws_session_token": answer["SessionToken"],
        }

    def client(self, service: str, region: str = HOME_REGION) -> Any:
        """A client in this account, made once."""
        key = (service, region)
        if key not in self._clients:
            self._clients[key] = client(self._endpoint, service, region, **self._credentials)
        return self._clients[key]


@cache
def enter(endpoint: str, account_id: str) -> Entered:
    """The account, entered once per process: clients are slow to make."""
    return Entered(endpoint, account_id)
