"""Telling people: SNS through boto3, everything else (e-mail, chat, webhooks) through Apprise.

The URLs hold secrets. A channel is therefore called by its kind and number, such as ``mailto-1``, and what a library
says about a failure is shown only without the parts of the URL.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote

from botocore.config import Config

from qrie_dagster.alerts import Message, plain
from qrie_dagster.aws import AWS_ERRORS, explain, own_session
from qrie_dagster.errors import NotDeliveredError, QrieError
from qrie_dagster.settings import Settings

TIMEOUT_SECONDS = 10
SUBJECT_LENGTH = 100
SECRET_LENGTH = 5
# Whose debug lines hold URLs and tokens.
_SHOW_URLS = ("apprise", "urllib3", "requests_oauthlib", "oauthlib")


class Channel(Protocol):
    """Someone to tell."""

    @property
    def name(self) -> str:
        """Tells channels apart, the same after a restart; no secret."""

    def send(self, message: Message) -> None:
        """Deliver now. Raises NotDeliveredError saying why not."""


@dataclass(frozen=True)
class Sns:
    """An SNS topic."""

    topic_arn: str
    settings: Settings
    name: str = "sns"

    def send(self, message: Message) -> None:
        """Publish."""
        # The subject of SNS is ASCII on one line.
        subject = message.title.encode("ascii", "replace").decode()[:SUBJECT_LENGTH]
        try:
            self._client().publish(TopicArn=self.topic_arn, Subject=subject, Message=message.body)
        except AWS_ERRORS as error:
            raise NotDeliveredError(plain(explain(error))) from None

    def _client(self) -> Any:
        config = Config(
            connect_timeout=5, read_timeout=TIMEOUT_SECONDS, retries={"mode": "standard", "total_max_attempts": 2}
        )
        return own_session(self.settings).client(
            "sns",
            region_name=self.topic_arn.split(":")[3],
            endpoint_url=self.settings.endpoint_url,
            config=config,
        )


@dataclass(frozen=True)
class ByUrl:
    """Whatever an Apprise URL leads to."""

    name: str
    url: str = field(repr=False)

    def send(self, message: Message) -> None:
        """Deliver as plain text."""
        import apprise

        asset = apprise.AppriseAsset(
            app_id="qrie",
            app_desc="qrie",
            app_url="",
            async_mode=False,
            allow_templates=False,
            storage_mode=apprise.PersistentStoreMode.MEMORY,
            service_timeout=TIMEOUT_SECONDS,
        )
        service = apprise.Apprise(asset=asset)
        for talkative in _SHOW_URLS:
            logging.getLogger(talkative).setLevel(logging.WARNING)
        # Its warnings may hold parts of the URL: they are for the error below, not for a log.
        logging.getLogger("apprise").propagate = False
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
            known = service.add(self.url)
            taken = known and service.notify(
                title=message.title,
                body=message.body,
                body_format=apprise.NotifyFormat.TEXT,
                interpret_escapes=False,
            )
            reason = said.getvalue()
        if not known:
            raise NotDeliveredError("Apprise does not understand its URL: see QRIE_ALERT_URLS.")
        if not taken:
            first = next(iter(reason.strip().splitlines()), "") or "not delivered, without a reason."
            raise NotDeliveredError(plain(self._without_secrets(first)))

    def _without_secrets(self, text: str) -> str:
        rest = self.url.partition("://")[2]
        for part in sorted({*re.split(r"[^\w-]+", rest), *re.split(r"[^\w-]+", unquote(rest))}, key=len, reverse=True):
            if len(part) >= SECRET_LENGTH:
                text = text.replace(part, "***")
        return text


def channels(settings: Settings) -> list[Channel]:
    """Everyone who is to be told. Raises QrieError when a URL is none."""
    found: list[Channel] = []
    if settings.alert_sns_topic_arn:
        found.append(Sns(settings.alert_sns_topic_arn, settings))
    if settings.alert_urls:
        found += _by_url(settings.alert_urls.get_secret_value())
    return found


def _by_url(urls: str) -> Iterator[ByUrl]:
    numbers: dict[str, int] = {}
    # A comma may be part of a URL: several recipients of a mail.
    for position, url in enumerate(re.split(r"[\s,]+(?=[A-Za-z][\w+.-]*://)", urls.strip(" ,\n")), start=1):
        scheme, separator, _ = url.partition("://")
        if not separator or not re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
            raise QrieError(
                f"Entry {position} of QRIE_ALERT_URLS is not an Apprise URL such as mailto://… or slack://…"
            )
        numbers[scheme] = numbers.get(scheme, 0) + 1
        yield ByUrl(f"{scheme.lower()}-{numbers[scheme]}", url)
