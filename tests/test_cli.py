"""The command line as people use it: exit codes, and what it says when something is wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest

from qrie_dagster.alerting import look
from qrie_dagster.cli import accounts, main
from qrie_dagster.cli.output import console
from qrie_dagster.models import ScanKind
from qrie_dagster.notify import channels
from qrie_dagster.registry import new_account
from qrie_dagster.settings import load_settings, settings
from qrie_dagster.store import open_store
from qrie_dagster.summary.records import LAST_SCAN
from qrie_dagster.times import HOUR_MS, now_ms


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Qrie = Callable[..., Answer]
NOBODY_THERE = "http://127.0.0.1:9"


@pytest.fixture
def variables(moto_endpoint: str) -> dict[str, str]:
    return {"QRIE_ENDPOINT_URL": moto_endpoint, "QRIE_TABLE_PREFIX": f"cli-{uuid4().hex}_"}


@pytest.fixture
def qrie(variables: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Qrie:
    """``qrie("accounts", "list")`` in a folder of its own; keyword arguments are environment variables."""

    def run(*arguments: str, **more: str) -> Answer:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["qrie", *arguments])
            # Tables are not cut, whatever the terminal.
            patch.setattr(console, "width", 250)
            for name, value in {**variables, **more}.items():
                patch.delenv(name, raising=False) if value == "unset" else patch.setenv(name, value)
            settings.cache_clear()
            with pytest.raises(SystemExit) as ended:
                main()
        settings.cache_clear()
        return Answer(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_it_is_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qrie_dagster", "status"]
    environment = {**os.environ, "QRIE_POLICY_CRON": "never"}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    refused(Answer(ended.returncode, ended.stdout, ended.stderr), "QRIE_POLICY_CRON")


def refused(answer: Answer, *words: str) -> None:
    """One clear sentence on standard error, a non-zero exit, no traceback."""
    assert answer.returncode not in (0, None)
    assert "Traceback" not in answer.stderr + answer.stdout
    for word in words:
        assert word in answer.stderr, answer.stderr


def test_from_nothing_to_a_registered_account(qrie: Qrie) -> None:
    assert "created" in qrie("tables", "create").stdout
    again = qrie("tables", "create")
    assert (again.returncode, "created" in again.stdout) == (0, False)
    assert qrie("accounts", "add", "012345678901", "--name", "pay", "--tag", "stage=prod").returncode == 0
    listed = json.loads(qrie("accounts", "list", "--json").stdout)
    assert [(account["account_id"], account["tags"]) for account in listed] == [("012345678901", {"stage": "prod"})]
    assert "012345678901" in qrie("accounts", "list").stdout
    policies = json.loads(qrie("policies", "list", "--json").stdout)
    assert len(policies) == 11
    assert {policy["status"] for policy in policies} == {"active"}


def test_policies_are_not_launched_unasked_where_the_setting_says_so(qrie: Qrie) -> None:
    assert qrie("tables", "create", QRIE_LAUNCH_ALL_POLICIES="false").returncode == 0
    assert json.loads(qrie("policies", "list", "--json").stdout) == []
    assert qrie("policies", "launch", "S3BucketPublic", "--severity", "95").returncode == 0
    assert qrie("policies", "suspend", "S3BucketPublic").returncode == 0
    [policy] = json.loads(qrie("policies", "list", "--json").stdout)
    assert (policy["status"], policy["severity"]) == ("suspended", 95)


def test_a_policy_keeps_what_people_set(qrie: Qrie) -> None:
    def launched() -> dict[str, Any]:
        [policy] = json.loads(qrie("policies", "list", "--json").stdout)
        return dict(policy)

    qrie("tables", "create", QRIE_LAUNCH_ALL_POLICIES="false")
    rules = ["include-tag=stage=prod", "include-tag=stage=test", "exclude-account=123456789012", "include-ou=/a"]
    scope = [word for rule in rules for word in ("--scope", rule)]
    assert qrie("policies", "launch", "S3BucketPublic", "--severity", "95", *scope).returncode == 0
    assert launched()["scope"]["include_tags"] == {"stage": ["prod", "test"]}
    assert qrie("policies", "update", "S3BucketPublic", "--remediation", "Ask Ann.").returncode == 0
    before = launched()
    assert (before["severity"], before["remediation"]) == (95, "Ask Ann.")
    assert before["scope"]["exclude_accounts"] == ["123456789012"]

    qrie("policies", "suspend", "S3BucketPublic")
    assert qrie("policies", "launch", "S3BucketPublic").returncode == 0
    assert {**launched(), "updated_ms": 0} == {**before, "updated_ms": 0}
    refused(qrie("policies", "launch", "S3BucketPublic"), "already launched", "qrie policies update")
    assert qrie("policies", "update", "S3BucketPublic", "--scope", "everything").returncode == 0
    assert not any(launched()["scope"].values())


def test_mutes_come_and_go(qrie: Qrie) -> None:
    qrie("tables", "create")
    why = ["--reason", "public on purpose", "--author", "Ann"]
    tags = ["--tag", "stage=sandbox", "--tag", "stage=test", "--tag", "team=web"]
    added = qrie("mutes", "add", *why, *tags, "--policy", "S3BucketPublic", "--until", "2030-01-31")
    assert "0 findings are muted" in added.stdout, added.stderr
    [mute] = json.loads(qrie("mutes", "list", "--json").stdout)
    assert mute["tags"] == {"stage": ["sandbox", "test"], "team": ["web"]}
    assert (mute["reason"], mute["expires_ms"]) == ("public on purpose", 1_896_048_000_000)
    listed = qrie("mutes", "list").stdout
    assert "stage=sandbox or test" in listed
    assert qrie("mutes", "remove", mute["id"]).returncode == 0
    assert json.loads(qrie("mutes", "list", "--all", "--json").stdout) == []
    refused(qrie("mutes", "remove", mute["id"]), "no mute", mute["id"])
    refused(qrie("mutes", "add", *why), "what it is about")
    refused(qrie("mutes", "add", *why, "--tag", "stage"), "key=value")
    refused(qrie("mutes", "add", *why, "--policy", "S3BucketPublic", "--until", "2020-01-01"), "future")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["accounts", "add", "12345"], ["'12345'", "12 digits"]),
        (["accounts", "add", "123456789012", "--tag", "nonsense"], ["key=value"]),
        (["accounts", "add", "123456789012", "--region", "mars"], ["'mars'", "eu-west-1"]),
        (["accounts", "add", "123456789012", "--ou", "prod"], ["ou_path", "'prod'", "slash"]),
        (["accounts", "remove", "999999999999"], ["999999999999 is not registered"]),
        (["accounts", "forget-region", "999999999999", "eu-west-1"], ["999999999999 is not registered"]),
        (["accounts", "import", "missing.csv"], ["missing.csv cannot be read"]),
        (["accounts", "import"], ["CSV file or --organization"]),
        (["accounts", "import", "accounts.csv", "--prune"], ["--prune goes with --organization"]),
        (["policies", "launch", "NoSuchPolicy"], ["no policy 'NoSuchPolicy'", "S3BucketPublic"]),
        (["policies", "launch", "S3BucketPublic", "--severity", "101"], ["severity", "100"]),
        (["policies", "launch", "S3BucketPublic", "--scope", "include-account=12"], ["'12'", "12 digits"]),
        (["policies", "launch", "S3BucketPublic", "--scope", "include-ou=prod"], ["'prod'", "slash"]),
        (["policies", "launch", "S3BucketPublic", "--scope", "include-tag=stage"], ["include-tag=stage", "KEY=VALUE"]),
        (["policies", "launch", "S3BucketPublic", "--scope", "only=this"], ["only=this", "--help"]),
        (["policies", "update", "S3BucketPublic", "--severity", "50"], ["S3BucketPublic is not launched"]),
        (["policies", "update", "S3BucketPublic"], ["--severity"]),
        (["scan", "inventory", "--account", "123456789012"], ["not an active account"]),
        (["scan", "inventory"], ["No account is active"]),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(qrie: Qrie, arguments: list[str], words: list[str]) -> None:
    qrie("tables", "create", QRIE_LAUNCH_ALL_POLICIES="false")
    refused(qrie(*arguments), *words)
    assert json.loads(qrie("accounts", "list", "--json").stdout) == []
    assert json.loads(qrie("policies", "list", "--json").stdout) == []


def test_an_account_is_registered_once(qrie: Qrie) -> None:
    qrie("tables", "create")
    assert qrie("accounts", "add", "123456789012", "--name", "first").returncode == 0
    refused(qrie("accounts", "add", "123456789012", "--name", "second"), "already registered")
    [account] = json.loads(qrie("accounts", "list", "--json").stdout)
    assert account["name"] == "first"


def test_unknown_services_and_a_silent_dagster_are_named(qrie: Qrie) -> None:
    qrie("tables", "create")
    qrie("accounts", "add", "123456789012")
    refused(qrie("scan", "inventory", "--service", "sqs"), "no service 'sqs'", "ec2")
    refused(qrie("scan", "policy", "--policy", "Nope"), "no policy 'Nope'")
    refused(qrie("scan", "inventory", QRIE_DAGSTER_URL=NOBODY_THERE), "Dagster does not answer", "QRIE_DAGSTER_URL")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("QRIE_POLICY_CRON", "every day", ["QRIE_POLICY_CRON", "'every day'", "five fields"]),
        ("QRIE_INVENTORY_DRIFT_HOURS", "-1", ["QRIE_INVENTORY_DRIFT_HOURS", "greater than or equal to 0.02"]),
        ("QRIE_REGIONS", "mars-1", ["QRIE_REGIONS", "mars-1"]),
        ("QRIE_ENDPOINT_URL", "not a url", ["QRIE_ENDPOINT_URL", "'not a url'"]),
    ],
)
def test_a_wrong_setting_is_named(qrie: Qrie, variable: str, value: str, words: list[str]) -> None:
    refused(qrie("status", **{variable: value}), *words)


def test_a_store_that_cannot_be_used_is_explained(qrie: Qrie) -> None:
    refused(qrie("status"), "does not exist", "qrie tables create")
    refused(
        qrie("status", QRIE_ENDPOINT_URL=NOBODY_THERE, QRIE_AWS_MAX_ATTEMPTS="1"),
        "does not answer",
        "QRIE_ENDPOINT_URL",
    )
    refused(qrie("status", AWS_ACCESS_KEY_ID="unset", AWS_SECRET_ACCESS_KEY="unset"), "credentials")
    assert qrie("status", "--bogus").returncode == 64, "2 would be drift"


def test_status_tells_drift_by_its_exit_code(qrie: Qrie, variables: dict[str, str]) -> None:
    qrie("tables", "create")
    assert qrie("status").returncode == 0, "without accounts there is nothing to drift"
    qrie("accounts", "add", "123456789012")
    drifted = qrie("status", "--json")
    assert drifted.returncode == 2
    assert json.loads(drifted.stdout)["anti_entropy"]["drift_reasons"] == [
        "inventory: never_scanned",
        "policy: never_scanned",
    ]

    values = {
        name.removeprefix("QRIE_").lower(): value for name, value in variables.items() if name.startswith("QRIE_")
    }
    store = open_store(load_settings(**values))
    for kind, hours in ((ScanKind.INVENTORY, 191), (ScanKind.POLICY, 25)):
        record: dict[str, Any] = {"timestamp_ms": now_ms() - hours * HOUR_MS, "duration_ms": 1, "resources_found": 3}
        store.summary.put_newest(LAST_SCAN[kind], record)
    fine = qrie("status")
    assert fine.returncode == 0, fine.stdout
    assert "No drift" in fine.stdout
    late = qrie("status", QRIE_POLICY_DRIFT_HOURS="24")
    assert late.returncode == 2
    assert "policy: last full scan ended 1 day 1 h ago" in late.stdout


def test_an_account_with_a_schedule_of_its_own(qrie: Qrie) -> None:
    qrie("tables", "create")
    qrie("accounts", "add", "123456789012")
    shown = qrie("accounts", "schedule", "123456789012", "--inventory", "0 */6 * * *").stdout
    assert shown.splitlines() == ["inventory: 0 */6 * * *", "policy: with all others"]
    qrie("accounts", "schedule", "123456789012", "--policy", "30 5 * * 1")
    assert "30 5 * * 1" in qrie("accounts", "schedule", "123456789012").stdout
    refused(qrie("accounts", "schedule", "123456789012", "--policy", "soon"), "cron expression", "'soon'")
    [account] = json.loads(qrie("accounts", "list", "--json").stdout)
    assert account["schedule_overrides"] == {"inventory": "0 */6 * * *", "policy": "30 5 * * 1"}
    assert "0 */6" not in qrie("accounts", "schedule", "123456789012", "--clear").stdout
    refused(qrie("accounts", "schedule", "999999999999"), "not registered")


def test_who_cannot_be_told_is_named(qrie: Qrie, variables: dict[str, str]) -> None:
    refused(qrie("alerts", "test"), "nobody to tell", "QRIE_ALERT_URLS")
    refused(qrie("alerts", "test", QRIE_ALERT_URLS="hushhush"), "Entry 1 of QRIE_ALERT_URLS")
    nobody = {"QRIE_ALERT_URLS": "json://127.0.0.1:9/hushhush"}
    tested = qrie("alerts", "test", **nobody)
    assert (tested.returncode, tested.stdout.startswith("json-1: not delivered: ")) == (1, True)
    assert "hushhush" not in tested.stdout + tested.stderr
    qrie("tables", "create")
    qrie("accounts", "add", "123456789012")
    settings_ = load_settings(
        table_prefix=variables["QRIE_TABLE_PREFIX"],
        endpoint_url=variables["QRIE_ENDPOINT_URL"],
        alert_urls=nobody["QRIE_ALERT_URLS"],
    )
    assert look(open_store(settings_), settings_, channels(settings_), now_ms()).failed
    status = qrie("status", **nobody)
    assert "Alerts cannot be delivered to json-1" in status.stdout
    assert "hushhush" not in status.stdout
    assert json.loads(qrie("status", "--json", **nobody).stdout)["alerts"]["trouble"]


@pytest.fixture
def heard() -> Iterator[tuple[str, list[str]]]:
    """The URL of a channel, and what it was told."""
    messages: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_port}/x", messages
        server.shutdown()


def test_a_timer_outside_dagster_tells_that_the_loop_has_stopped(qrie: Qrie, heard: tuple[str, list[str]]) -> None:
    url, messages = heard
    refused(qrie("alerts", "look"), "nobody to tell", "QRIE_ALERT_URLS")
    refused(qrie("alerts", "look", QRIE_ALERT_URLS=url), "qrie tables create")
    qrie("tables", "create")
    qrie("accounts", "add", "123456789012")
    told = qrie("alerts", "look", QRIE_ALERT_URLS=url)
    assert (told.returncode, told.stdout) == (0, "json-1: told of 2 changes\n")
    assert "Drift of the inventory scan" in messages[0]
    assert qrie("alerts", "look", QRIE_ALERT_URLS=url).stdout == "Nothing changed.\n"
    assert len(messages) == 1


def test_a_timer_that_can_tell_nobody_says_so(qrie: Qrie) -> None:
    qrie("tables", "create")
    qrie("accounts", "add", "123456789012")
    for _ in range(2):
        silent = qrie("alerts", "look", QRIE_ALERT_URLS="json://127.0.0.1:9/hushhush")
        assert (silent.returncode, "json-1" in silent.stdout) == (1, True)
        assert "hushhush" not in silent.stdout + silent.stderr


def test_accounts_that_left_the_organisation_are_told_and_removed_if_wanted(
    qrie: Qrie, monkeypatch: pytest.MonkeyPatch
) -> None:
    qrie("tables", "create")
    for account_id in ("123456789012", "123456789013", "123456789014"):
        qrie("accounts", "add", account_id)
    qrie("accounts", "remove", "123456789014")
    inside = [new_account("123456789012"), new_account("123456789014")]
    monkeypatch.setattr(accounts, "accounts_from_organization", lambda _: inside)
    told = qrie("accounts", "import", "--organization").stdout
    assert "0 added, 0 updated, 1 unchanged" in told
    assert "1 were removed before and stay so" in told
    assert "123456789013  is registered, but not in the organisation." in told
    assert "--prune" in told
    assert "123456789013 is removed." in qrie("accounts", "import", "--organization", "--prune").stdout
    assert "not in the organisation" not in qrie("accounts", "import", "--organization").stdout
