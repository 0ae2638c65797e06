"""The page against the whole of qrie: emulator, webserver, daemon, dashboard, and a real browser."""

import csv
import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from browser import running_browser
from playwright.sync_api import Browser, Page, expect
from py_ocsf_models.events.findings.compliance_finding import ComplianceFinding
from real_dagster import Estate, Questions, eventually

from qrie_dagster.demo.access import enter
from qrie_dagster.demo.stack import Stack, running_stack
from qrie_dagster.models import ScanKind
from qrie_dagster.policy_changes import launch_all
from qrie_dagster.summary.records import LAST_SCAN
from qrie_dagster.summary.rollup import HISTORY

pytestmark = pytest.mark.e2e
PATIENCE_MS = 180_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def stack(estate: Estate, browser: Browser) -> Iterator[Stack]:
    """Everything is up, and everything was scanned once: by itself, as everything was new."""
    launch_all(estate.store)
    with running_stack(estate.endpoint, estate.home, QRIE_BOOTSTRAP_NEW_ACCOUNTS="true") as running:
        for kind in ScanKind:
            eventually(lambda kind=kind: estate.store.summary.get(LAST_SCAN[kind]), f"the first {kind.value} scan")
        history = (estate.store.summary.get(HISTORY) or {})["scans"]
        assert sorted(scan["kind"] for scan in history) == ["inventory", "policy"]
        assert [scan["failed_scopes"]["count"] for scan in history] == [0, 0]
        assert {run["jobName"] for run in Questions(running).runs()} == {"bootstrap_account", "policy_scan", "roll_up"}
        yield running


def log_in(page: Page, stack: Stack, token: str) -> None:
    page.goto(stack.dashboard_url)
    page.get_by_label("API token").fill(token)
    page.get_by_role("button", name="Log in").click()


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    log_in(page, stack, stack.token)
    yield page
    context.close()


def test_scan_now_repairs_one_account(page: Page, stack: Stack, estate: Estate) -> None:
    account_id = estate.accounts[0]
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("No drift", timeout=30_000)

    s3 = enter(estate.endpoint, account_id).client("s3")
    s3.delete_bucket(Bucket=f"logs-{account_id}")
    s3.create_bucket(Bucket=f"leak-{account_id}")
    s3.put_bucket_acl(Bucket=f"leak-{account_id}", ACL="public-read")

    page.get_by_role("link", name="Accounts", exact=True).click()
    page.get_by_role("button", name=f"Scan {account_id}").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Account")).to_have_value(account_id)
    dialog.get_by_role("button", name="Start").click()
    expect(dialog).to_contain_text(re.compile(r"Inventory: (running|summing up), \d of 4"), timeout=30_000)
    expect(dialog).to_contain_text("Inventory ended: 1 created, 0 updated, 1 deleted.", timeout=PATIENCE_MS)
    expect(dialog).to_contain_text(
        re.compile(r"Policy scan ended: [1-9]\d* opened, [1-9]\d* closed\."), timeout=PATIENCE_MS
    )
    expect(dialog.get_by_text(f"leak-{account_id}").first).to_be_visible(timeout=30_000)
    expect(dialog).to_contain_text("1 resource deleted: not in AWS any more")
    dialog.get_by_role("button", name=f"S3BucketPublic on leak-{account_id}").click()
    drawer = page.get_by_role("dialog").last
    expect(drawer).to_contain_text("AllUsers")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")

    # One account's scan says nothing about the others: the full scan's age is its own.
    expect(verdict).to_contain_text("No drift")
    page.get_by_role("link", name="Resources", exact=True).click()
    page.get_by_label("Account", exact=True).select_option(account_id)
    page.get_by_label("Type", exact=True).select_option("AWS::S3::Bucket")
    expect(page.get_by_role("button", name=f"leak-{account_id}")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("button", name=f"logs-{account_id}")).to_have_count(0)
    page.goto(f"{stack.dashboard_url}/#findings?state=RESOLVED&account={account_id}")
    expect(page.get_by_role("button", name=f"logs-{account_id}").first).to_be_visible(timeout=30_000)


def test_a_wrong_token_is_refused(browser: Browser, stack: Stack) -> None:
    page = browser.new_context().new_page()
    log_in(page, stack, "wrong")
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    page.goto(stack.dashboard_url)
    expect(page).to_have_url(f"{stack.dashboard_url}/login")
    page.context.close()


def test_a_finding_is_muted_and_unmuted(page: Page, stack: Stack, estate: Estate) -> None:
    account_id, policy = estate.accounts[1], "EC2UnencryptedEBS"

    def muted() -> list[bool]:
        found = estate.store.findings.load(account_id, "ec2")
        return [finding.muted is not None for finding in found if finding.policy == policy]

    expect(page.locator("#verdict")).to_contain_text("No drift")
    page.goto(f"{stack.dashboard_url}/#findings?account={account_id}&policy={policy}")
    opener = page.get_by_role("button", name="volume/")
    opener.click()
    page.get_by_role("dialog").get_by_role("button", name="Mute").click()
    form = page.get_by_role("dialog").last
    form.get_by_label("Reason").fill("a scratch disk")
    form.get_by_label("Author").fill("ann")
    form.get_by_role("button", name="Mute").click()
    expect(page.locator("tbody tr")).to_contain_text("muted")
    assert muted() == [True]
    opener.click()
    page.get_by_role("dialog").get_by_role("button", name="Unmute").click()
    asked = page.get_by_role("dialog", name="Unmute this finding?")
    asked.get_by_role("button", name="Unmute").click()
    expect(page.locator("tbody tr")).to_contain_text("open")
    assert muted() == [False]


def test_exports_parse_and_agree(page: Page, stack: Stack, estate: Estate, tmp_path: Path) -> None:
    expect(page.locator("#verdict")).to_contain_text("No drift")
    page.goto(f"{stack.dashboard_url}/#findings?account={estate.accounts[2]}&state=ACTIVE")

    def downloaded(name: str) -> str:
        with page.expect_download() as downloading:
            page.get_by_role("link", name=name, exact=True).click()
        file = tmp_path / name
        downloading.value.save_as(file)
        return file.read_text("utf-8")

    keys = sorted((row["policy"], row["arn"]) for row in json.loads(downloaded("JSON")))
    assert keys
    assert sorted((row["policy"], row["arn"]) for row in csv.DictReader(StringIO(downloaded("CSV")))) == keys
    events = [ComplianceFinding.model_validate(event) for event in json.loads(downloaded("OCSF"))]
    assert sorted((event.metadata.event_code, event.resources[0].uid) for event in events) == keys
    (run,) = json.loads(downloaded("SARIF"))["runs"]
    named = [
        (result["ruleId"], result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"])
        for result in run["results"]
    ]
    assert sorted(named) == keys
