"""The emulator's process: moto with a past. Run by ``emulator.running`` as ``python -m qrie_dagster.demo.server PORT``.

In moto every account is new: access keys are seconds old, the root user does not exist, and account numbers are
drawn by lot. This gives the accounts of ``organisation.py`` their numbers and the past of ``history.py``.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from threading import Lock, Thread
from typing import Any

from moto.iam import models as iam
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.organizations import models as organizations
from werkzeug.serving import make_server

from qrie_dagster.demo.history import KEYS, Root, root_of
from qrie_dagster.demo.organisation import ACCOUNTS

IDS = {account.name: account.account_id for account in ACCOUNTS}


def with_number(create: Callable[..., None]) -> Callable[..., None]:
    """A member account's number goes by its name; the management account, moto's "master", gets its name."""

    def init(account: Any, organization: Any, **facts: Any) -> None:
        if facts["AccountName"] == "master":
            facts["AccountName"] = ACCOUNTS[0].name
        create(account, organization, **facts)
        account.id = IDS.get(account.name, account.id)

    return init


def with_root(report: Callable[[Any], str]) -> Callable[[Any], str]:
    """The credential report, with the line of the root user that moto leaves out."""

    def get_credential_report(backend: Any) -> str:
        header, users = report(backend).split("\n", 1)
        return f"{header}\n{_root_line(backend.account_id)}\n{users}"

    return get_credential_report


def _root_line(account_id: str) -> str:
    root = root_of(account_id)
    fields = [
        "<root_account>",
        f"arn:aws:iam::{account_id}:root",
        _ago(1500),
        "not_supported",
        "no_information" if root.signed_in is None else _ago(root.signed_in),
        "not_supported",
        "not_supported",
        _yes(root.mfa),
        _yes(root.key),
        _ago(800) if root.key else "N/A",
        *("N/A", "N/A", "N/A"),
        *("false", "N/A", "N/A", "N/A", "N/A"),
        *("false", "N/A", "false", "N/A"),
    ]
    return ",".join(fields)


def with_past(create: Callable[..., Any]) -> Callable[..., Any]:
    """Access keys of the users in ``history.KEYS`` are as old, and as long unused, as it says there."""

    def create_access_key(backend: Any, user_name: str, *args: Any, **kwargs: Any) -> Any:
        key = create(backend, user_name, *args, **kwargs)
        past = KEYS.get(user_name)
        if past:
            key.create_date -= timedelta(days=past.created)
            user = backend.get_user(user_name)
            user.create_date = min(user.create_date, key.create_date)
            if past.used is not None:
                key.last_used = iam.AccessKeyLastUsed(_moment(past.used), "s3", "us-east-1")
        return key

    return create_access_key


def with_root_summary(summary: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The account summary, agreeing with the credential report about the root user."""

    def get_account_summary(backend: Any) -> Any:
        answer = summary(backend)
        root: Root = root_of(backend.account_id)
        answer._account_mfa_enabled = int(root.mfa)
        answer._account_access_keys_present = int(root.key)
        return answer

    return get_account_summary


# The past is counted from here: facts that moved with the clock would change at every look.
_STARTED = datetime.now(UTC)


def _moment(days_ago: int) -> datetime:
    return _STARTED - timedelta(days=days_ago)


def _ago(days: int) -> str:
    return _moment(days).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def _yes(value: bool) -> str:
    return "true" if value else "false"


def give_a_past() -> None:
    """Put the above into moto's models of this process."""
    for model, method, wrap in (
        (organizations.FakeAccount, "__init__", with_number),
        (iam.IAMBackend, "get_credential_report", with_root),
        (iam.IAMBackend, "get_account_summary", with_root_summary),
        (iam.IAMBackend, "create_access_key", with_past),
    ):
        setattr(model, method, wrap(getattr(model, method)))


def _end_with_parent() -> None:
    # The other end of standard input closes when the parent ends, even if it was killed.
    sys.stdin.buffer.read()
    os._exit(0)


class TablesOneByOne:
    """The application with one DynamoDB request at a time: of two first items of a partition, moto can lose one."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a WSGI request."""
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB"):
            return self._application(environ, start_response)
        with self._lock:
            return list(self._application(environ, start_response))


def main() -> None:
    """Serve on the port given, 0 for a free one, and print it once listening; ``plain`` leaves out the past."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    if "plain" not in sys.argv:
        give_a_past()
    server = make_server(
        "127.0.0.1",
        int(sys.argv[1]),
        TablesOneByOne(DomainDispatcherApplication(create_backend_app)),
        threaded=True,
        request_handler=MotoRequestHandler,
    )
    os.environ["MOTO_PORT"] = str(server.server_port)
    Thread(target=_end_with_parent, daemon=True).start()
    os.write(1, f"{server.server_port}\n".encode())
    # Some of moto prints; nobody reads the pipe from here on.
    os.dup2(2, 1)
    server.serve_forever()


if __name__ == "__main__":
    main()
