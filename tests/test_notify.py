"""Telling people: a real HTTP server for what goes by URL, an emulated SNS, and no secret in sight."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import boto3
import pytest

from qrie_dagster.alerts import Message
from qrie_dagster.errors import NotDeliveredError, QrieError
from qrie_dagster.notify import channels
from qrie_dagster.settings import Settings, load_settings

HELLO = Message("qrie: drift", "Drift of the policy scan.\n- a_b_c ‹script› {{ app_id }} \\n\n\nhttps://qrie.example/")
TOPIC = "arn:aws:sns:us-east-1:123456789012:qrie"


@dataclass
class Inbox:
    """What a webhook was sent; ``status`` is what it answers."""

    url: str = ""
    status: int = 200
    got: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    box = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if box.status == 200:
                box.got.append(body)
            self.send_response(box.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    box.url = f"json://127.0.0.1:{server.server_port}/hooks/topsecretpath"
    yield box
    server.shutdown()
    server.server_close()


def test_a_webhook_gets_the_text_as_it_is(inbox: Inbox) -> None:
    [channel] = channels(load_settings(alert_urls=inbox.url))
    assert channel.name == "json-1"
    channel.send(HELLO)
    assert [(got["title"], got["message"]) for got in inbox.got] == [(HELLO.title, HELLO.body)]


@pytest.mark.parametrize("status", [404, 500])
def test_a_refusal_is_told_without_the_secret(
    inbox: Inbox, status: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    inbox.status = status
    [channel] = channels(load_settings(alert_urls=inbox.url))
    with caplog.at_level(logging.DEBUG), pytest.raises(NotDeliveredError) as refused:
        channel.send(HELLO)
    assert str(status) in str(refused.value)
    shown = f"{refused.value} {channel!r} {caplog.text} {''.join(capfd.readouterr())}"
    assert "topsecretpath" not in shown
    assert refused.value.__cause__ is None


def test_nobody_there() -> None:
    [channel] = channels(load_settings(alert_urls="json://someone:hushhush@127.0.0.1:9/topsecretpath"))
    with pytest.raises(NotDeliveredError) as refused:
        channel.send(HELLO)
    assert "onnection" in str(refused.value)
    assert "hushhush" not in str(refused.value)


def test_a_url_that_nothing_understands() -> None:
    [channel] = channels(load_settings(alert_urls="carrier-pigeon://topsecretpath"))
    with pytest.raises(NotDeliveredError, match=r"^Apprise does not understand its URL: see QRIE_ALERT_URLS\.$"):
        channel.send(HELLO)
    with pytest.raises(QrieError, match="Entry 1 of QRIE_ALERT_URLS") as refused:
        channels(load_settings(alert_urls="topsecretpath"))
    assert "topsecret" not in str(refused.value)


def test_several_urls_some_with_commas() -> None:
    urls = " json://h/a, mailto://u:p@h.io?to=x@y.io,z@y.io ,json://h/b\n slack://T1/B1/x"
    assert [channel.name for channel in channels(load_settings(alert_urls=urls))] == [
        "json-1",
        "mailto-1",
        "json-2",
        "slack-1",
    ]
    assert channels(load_settings(alert_urls="", alert_sns_topic_arn="")) == []


def test_sns(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(alert_sns_topic_arn=TOPIC)
    clients = {
        name: boto3.client(name, region_name="us-east-1", endpoint_url=settings.endpoint_url) for name in ("sns", "sqs")
    }
    [channel] = channels(settings)
    with pytest.raises(NotDeliveredError, match="Publish: NotFound"):
        channel.send(HELLO)
    clients["sns"].create_topic(Name="qrie")
    queue = clients["sqs"].create_queue(QueueName="qrie-alerts")["QueueUrl"]
    topic = TOPIC
    [topic] = [t["TopicArn"] for t in clients["sns"].list_topics()["Topics"]]
    clients["sns"].subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:qrie-alerts")
    [channel] = channels(make_settings(alert_sns_topic_arn=topic))
    channel.send(Message("Prüfung: " + "x" * 200, HELLO.body))
    [got] = clients["sqs"].receive_message(QueueUrl=queue)["Messages"]
    envelope = json.loads(got["Body"])
    assert envelope["Message"] == HELLO.body
    assert envelope["Subject"] == ("Pr?fung: " + "x" * 200)[:100]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alert_sns_topic_arn", "qrie"),
        ("alert_min_severity", 101),
        ("alert_quiet_hours", "22-22"),
        ("alert_quiet_hours", "22-24"),
        ("dashboard_url", "javascript:alert(1)"),
    ],
)
def test_wrong_settings_are_named(name: str, value: object) -> None:
    with pytest.raises(QrieError, match=f"QRIE_{name.upper()}"):
        load_settings(**{name: value})
