"""The page in a real browser, over the emulator; only Dagster is a stand-in."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import fake_dagster
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import Site, running_browser, serving
from dashboard_client import TOKEN
from dashboard_seed import SCRIPT, Seeded, full_scan, history, seed
from fake_dagster import FakeDagster
from playwright.sync_api import Browser, Page, Route, expect

from qrie_dagster.findings import Violated, transitions
from qrie_dagster.models import Account, Outcome, Resource, ScanKind
from qrie_dagster.settings import Settings
from qrie_dagster.store import open_store
from qrie_dagster.store.tables import create_tables
from qrie_dagster.summary.rollup import refresh_dashboard, roll_up
from qrie_dagster.times import DAY_MS, now_ms

expect.set_options(timeout=20_000)

VIEWS = ("overview", "findings", "resources", "policies", "accounts", "scans")
TITLES = {view: view.capitalize() for view in VIEWS}
ACCOUNT = "222233334444"


@dataclass
class Stage:
    """The site, what it was seeded with, and its stand-in for Dagster."""

    site: Site
    seeded: Seeded
    dagster: FakeDagster


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def stage(moto_endpoint: str, browser: Browser) -> Iterator[Stage]:
    with fake_dagster.running() as dagster:
        settings = Settings(
            _env_file=None,
            endpoint_url=moto_endpoint,
            table_prefix=f"p{uuid4().hex[:12]}_",
            api_token=TOKEN,
            dagster_url=dagster.url,
        )
        store = open_store(settings)
        create_tables(store.dynamo)
        now = now_ms()
        seeded = seed(store, now, accounts_count=4, per_service=6)
        history(store, seeded.accounts, len(seeded.resources), now)
        with serving(settings) as url:
            yield Stage(Site(url, TOKEN, store), seeded, dagster)


@dataclass
class Watched:
    """What a page complained about."""

    problems: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def new_page(browser: Browser, stage: Stage, watched: Watched) -> Iterator[Callable[..., Page]]:
    """``new_page(**options)``: a page that is not logged in. At the end nothing may have been complained about."""
    contexts = []

    def make(**options: Any) -> Page:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda m: m.type == "error" and watched.problems.append(m.text))
        page.on("pageerror", lambda error: watched.problems.append(str(error)))
        page.on("dialog", lambda dialog: (watched.problems.append(f"a script ran: {dialog.message}"), dialog.dismiss()))
        return page

    yield make
    for context in contexts:
        context.close()
    unexpected = [text for text in watched.problems if not any(word in text for word in watched.expected)]
    assert unexpected == []


@pytest.fixture
def log_in(new_page: Callable[..., Page], stage: Stage) -> Callable[..., Page]:
    def logged_in(**options: Any) -> Page:
        page = new_page(**options)
        page.goto(f"{stage.site.url}/login")
        page.get_by_label("API token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#verdict strong")).to_be_visible()
        return page

    return logged_in


@pytest.fixture
def page(log_in: Callable[..., Page]) -> Page:
    return log_in()


def visit(page: Page, view: str) -> None:
    page.goto(f"{page.url.split('#')[0]}#{view}")
    expect(page.get_by_role("heading", name=TITLES[view.split("?")[0]], level=1, exact=True)).to_be_attached()


def test_login_refused_and_accepted(new_page: Callable[..., Page], stage: Stage, watched: Watched) -> None:
    watched.expected.append("401")
    page = new_page()
    page.goto(stage.site.url)
    expect(page).to_have_url(re.compile("/login$"))
    page.get_by_label("API token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    page.get_by_label("API token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_contain_text("No drift")
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/login$"))
    page.goto(stage.site.url)
    expect(page).to_have_url(re.compile("/login$"))


def test_a_link_is_kept_through_the_login(new_page: Callable[..., Page], stage: Stage, watched: Watched) -> None:
    watched.expected.append("401")
    page = new_page()
    page.goto(f"{stage.site.url}/#findings?severity=critical")
    page.get_by_label("API token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    page.get_by_label("API token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Severity")).to_have_value("critical")


def test_a_link_from_elsewhere_leads_to_what_it_names(page: Page, stage: Stage) -> None:
    """Browsers send no strict cookie along when a link on another site is followed."""
    link = f'<a href="{stage.site.url}/#findings?severity=critical">look at this</a>'
    page.route("http://chat.example/", lambda route: route.fulfill(body=link, content_type="text/html"))
    page.goto("http://chat.example/")
    page.get_by_role("link", name="look at this").click()
    expect(page.get_by_label("Severity")).to_have_value("critical")


def with_its_own_clock(page: Page) -> None:
    """Load the page again, up to its last request, with a clock that the test turns."""
    page.clock.install()
    with page.expect_response("**/scans"):
        page.reload()


def test_without_the_server_nothing_is_claimed(page: Page, watched: Watched) -> None:
    watched.expected.append("ERR_CONNECTION_REFUSED")
    expect(page).to_have_title(re.compile("^No drift"))
    with_its_own_clock(page)
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})")
    page.route("**/summary/dashboard", lambda route: route.abort("connectionrefused"))
    page.clock.run_for(31_000)
    # Also in a tab that is not looked at.
    expect(page).to_have_title(re.compile("^Not known"))
    expect(page.locator("#verdict")).to_contain_text("does not answer")
    expect(page.locator("#ages")).to_be_empty()
    page.unroute("**/summary/dashboard")
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page).to_have_title(re.compile("^No drift"))
    expect(page.locator("#ages")).to_contain_text("limit 8 d")


def test_a_refresh_takes_nothing_away(page: Page) -> None:
    with_its_own_clock(page)
    cell = page.locator(".heat button").first
    asked: list[str] = []
    page.on("response", lambda answer: asked.append(answer.url.rpartition("/")[2]))
    verdict = page.locator("#verdict strong").element_handle()

    def refreshed(last_asked: str = "dashboard") -> None:
        with page.expect_response(f"**/summary/{last_asked}"):
            page.clock.run_for(31_000)

    cell.focus()
    refreshed()
    expect(cell).to_be_focused()
    page.locator("details summary").first.click()
    page.evaluate("document.activeElement.blur()")
    refreshed()
    expect(page.get_by_role("region", name="Findings by week")).to_be_visible()
    assert "scopes" not in asked
    page.locator("details summary").first.click()
    page.evaluate("document.activeElement.blur()")
    refreshed("scopes")
    expect(page.get_by_role("region", name="Findings by week")).to_be_hidden()
    # What says the same as before is left alone, and not read out again.
    assert page.evaluate("verdict => verdict.isConnected", verdict)


def test_the_verdict_in_words_and_colour(page: Page, stage: Stage) -> None:
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("No drift")
    expect(verdict).to_have_class("verdict ok")
    expect(page.locator("#ages")).to_contain_text("Inventory 2 d 12 h old")
    expect(page.locator("#ages")).to_contain_text("limit 8 d")
    expect(page.locator("#ages")).to_contain_text("limit 26 h")


def test_the_verdict_when_the_loop_has_stopped(
    log_in: Callable[..., Page], stage: Stage, moto_endpoint: str, new_page: Callable[..., Page]
) -> None:
    settings = Settings(
        _env_file=None, endpoint_url=moto_endpoint, table_prefix=f"p{uuid4().hex[:12]}_", api_token=TOKEN
    )
    store = open_store(settings)
    create_tables(store.dynamo)
    account = Account(account_id=ACCOUNT, registered_ms=now_ms() - 90 * DAY_MS)
    store.accounts.add(account)
    full_scan(store, ScanKind.INVENTORY, [account], now_ms() - 9 * DAY_MS, 0)
    refresh_dashboard(store, store.accounts.all(), now_ms())
    with serving(settings) as url:
        page = new_page()
        page.goto(f"{url}/login")
        page.get_by_label("API token").fill(TOKEN)
        page.keyboard.press("Enter")
        verdict = page.locator("#verdict")
        expect(verdict).to_have_class("verdict bad")
        expect(verdict).to_contain_text("Drift: do not trust this")
        expect(verdict).to_contain_text("last full scan ended 9 days")
        expect(verdict).to_contain_text("never scanned")
        expect(page.locator(".heat button.heat-3").first).to_be_visible()


def test_numbers_on_the_overview(page: Page, stage: Stage) -> None:
    open_now = [finding for finding in stage.seeded.findings if finding.open]
    critical = sum(finding.severity >= 90 for finding in open_now)
    expect(page.locator(".tile", has_text="open findings").locator(".value")).to_have_text(str(len(open_now)))
    page.locator(".tile", has_text="critical, open").click()
    expect(page).to_have_url(re.compile("severity=critical"))
    expect(page.locator("tbody tr")).to_have_count(min(25, critical))


def test_heat_map_tells_on_hover_and_focus_and_filters_on_click(page: Page) -> None:
    cell = page.locator(".heat button").first
    cell.hover()
    expect(page.get_by_role("tooltip")).to_contain_text("last success")
    page.mouse.move(0, 0)
    expect(page.get_by_role("tooltip")).to_be_hidden()
    cell.focus()
    expect(page.get_by_role("tooltip")).to_contain_text("limit 8 d")
    page.keyboard.press("Escape")
    expect(page.get_by_role("tooltip")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"#resources\?account=\d{12}&service=ec2"))
    expect(page.get_by_label("Service", exact=True)).to_have_value("ec2")


def test_filters_and_pages(page: Page, stage: Stage) -> None:
    visit(page, "findings")
    page.get_by_label("Severity").select_option("critical")
    expect(page.locator("tbody .badge.high")).to_have_count(0)
    badges = page.locator("tbody tr td:first-child").all_inner_texts()
    assert badges
    assert all(text.startswith("critical") for text in badges)
    page.get_by_label("State").select_option("RESOLVED")
    expect(page.locator("tbody .badge.bad")).to_have_count(0)
    page.get_by_role("link", name="Clear").click()
    expect(page.get_by_label("Severity")).to_have_value("")
    seen: list[str] = []
    page.get_by_label("Rows").select_option("50")
    expect(page.get_by_label("Rows")).to_have_value("50")
    expect(page.locator(".pager [role=status]")).to_contain_text("Page 1: 50 rows")
    number = 1
    while True:
        expect(page.locator(".pager [role=status]")).to_contain_text(f"Page {number}")
        seen += page.locator("tbody tr").evaluate_all(
            "rows => rows.map(r => r.cells[1].innerText + r.cells[2].innerText)"
        )
        if page.get_by_role("button", name="Next").is_disabled():
            break
        page.get_by_role("button", name="Next").click()
        number += 1
    assert len(seen) == len(stage.seeded.findings) > 50
    page.get_by_role("button", name="Previous").click()
    expect(page.locator(".pager [role=status]")).to_contain_text(f"Page {number - 1}")
    page.go_back()


def test_a_page_that_cannot_be_turned(page: Page, watched: Watched) -> None:
    watched.expected.append("503")
    visit(page, "findings")
    status = page.locator(".pager [role=status]")
    expect(status).to_contain_text("Page 1")
    page.route("**/findings?*", refuse)
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("alert")).to_contain_text("DynamoDB does not answer.")
    expect(status).to_contain_text("Page 1")
    page.unroute("**/findings?*")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="Next").click()
    expect(status).to_contain_text("Page 2")


def test_the_drawer_of_a_finding(page: Page, stage: Stage) -> None:
    visit(page, "findings?policy=S3BucketPublic&state=ACTIVE")
    opener = page.locator("tbody button").first
    opener.click()
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_role("heading", level=1)).to_have_text("S3BucketPublic")
    for text in ("first seen", "How to mend it", "Block public access", "FSBP S3.2"):
        expect(drawer).to_contain_text(text)
    expect(drawer.get_by_role("region", name="Evidence").locator(".key").first).to_have_text('"Facts"')
    expect(drawer.get_by_role("region", name="Configuration")).to_contain_text('"Versioning"')
    console = drawer.get_by_role("link", name="AWS console")
    assert (console.get_attribute("href") or "").startswith("https://console.aws.amazon.com/s3/buckets/")
    assert console.get_attribute("rel") == "noopener noreferrer"
    dagster = drawer.get_by_role("link", name="Dagster asset").get_attribute("href") or ""
    assert dagster.startswith(f"{stage.dagster.url}/assets/policy_findings?view=partitions&partition=")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(opener).to_be_focused()


def test_what_aws_says_is_shown_and_not_run(page: Page) -> None:
    visit(page, f"resources?account={ACCOUNT}&type=AWS::S3::Bucket")
    page.get_by_role("button", name=f"{ACCOUNT}-logs-0").click()
    drawer = page.get_by_role("dialog")
    expect(drawer.locator("dd", has_text="comment")).to_contain_text(SCRIPT)
    expect(drawer.get_by_role("region", name="Configuration")).to_contain_text(SCRIPT)
    assert page.locator("main script, dialog script").count() == 0


def test_everything_by_keyboard(page: Page) -> None:
    page.reload()
    expect(page.get_by_role("heading", name="Scan health")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    for name in ("Scan now", "Colours: as the system", "Log out"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Findings", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Findings")
    expect(page.locator("#main")).to_be_focused()
    page.locator("tbody button").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("dialog").get_by_role("button", name="Close")).to_be_focused()


def test_the_link_to_the_content_stays_in_the_view(page: Page) -> None:
    visit(page, "findings?severity=critical")
    expect(page.get_by_label("Severity")).to_have_value("critical")
    page.get_by_role("link", name="To the content").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    expect(page.get_by_label("Severity")).to_have_value("critical")
    expect(page).to_have_url(re.compile(r"#findings\?severity=critical$"))


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1920, 1080)])
def test_nothing_sticks_out(log_in: Callable[..., Page], width: int, height: int) -> None:
    page = log_in(viewport={"width": width, "height": height})
    for view in VIEWS:
        visit(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
    visit(page, "findings?policy=S3BucketPublic")
    page.locator("tbody button").first.click()
    dialog = page.get_by_role("dialog")
    assert dialog.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
    box = dialog.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


def test_light_and_dark(log_in: Callable[..., Page]) -> None:
    page = log_in(color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    assert dark != light
    button = page.locator("#theme")
    button.click()
    button.click()
    expect(button).to_have_attribute("aria-label", "Colours: dark")
    assert page.evaluate(ground) == dark
    page.reload()
    expect(button).to_have_attribute("aria-label", "Colours: dark")
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize(("scheme", "width"), [("light", 1920), ("dark", 390)])
def test_axe_finds_nothing(
    log_in: Callable[..., Page], new_page: Callable[..., Page], stage: Stage, scheme: str, width: int
) -> None:
    look = {"color_scheme": scheme, "viewport": {"width": width, "height": 1000}}
    page = new_page(**look)
    page.goto(f"{stage.site.url}/login")
    check(page, "login")
    page = log_in(**look)
    for view in VIEWS:
        visit(page, view)
        check(page, view)
    visit(page, "findings?state=ACTIVE")
    page.locator("tbody button").first.click()
    expect(page.get_by_role("region", name="Configuration")).to_be_visible()
    check(page, "drawer")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Scan now").click()
    check(page, "scan now")
    page.keyboard.press("Escape")
    visit(page, "policies")
    page.get_by_role("button", name="Edit S3BucketPublic").click()
    check(page, "edit policy")


def check(page: Page, where: str) -> None:
    results = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    found = [
        f"{where}: {violation['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for violation in results.response["violations"]
        for node in violation["nodes"]
    ]
    assert found == []


def test_a_policy_is_suspended_resumed_and_scoped(page: Page, stage: Stage, watched: Watched) -> None:
    watched.expected.append("400")
    finish_at_once(stage)
    visit(page, "policies")
    row = page.locator("tbody tr", has_text="RDSPublicAccess")
    row.get_by_role("button", name="Suspend").click()
    page.get_by_role("dialog").get_by_role("button", name="Suspend").click()
    expect(row).to_contain_text("suspended")
    expect(row.locator("td.number")).to_have_text("0 open")
    row.get_by_role("button", name="Resume").click()
    expect(row).to_contain_text("active")
    row.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Only with these tags").fill("no equals sign")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("is not key=value")
    dialog.get_by_label("Only with these tags").fill("env=prod")
    dialog.get_by_label("Only these accounts").fill("12")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("include_accounts")
    dialog.get_by_label("Only these accounts").fill(ACCOUNT)
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text(f"only these accounts: {ACCOUNT}")
    assert stage.site.store.policies.get("RDSPublicAccess").scope.include_tags == {"env": ["prod"]}
    expect(
        page.get_by_role("status").filter(has_text="RDSPublicAccess is changed. Its scan is under way.")
    ).to_be_visible()
    row.get_by_role("button", name="Edit").click()
    dialog.get_by_label("How to mend").fill("Ask the data team.")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    page.reload()
    row.get_by_role("button", name="RDSPublicAccess", exact=True).click()
    expect(dialog).to_contain_text("Ask the data team.")


def test_a_change_without_dagster_says_what_is_still_to_do(page: Page, stage: Stage, watched: Watched) -> None:
    watched.expected.append("503")
    visit(page, "policies")
    row = page.locator("tbody tr", has_text="EC2UnencryptedEBS")
    with stage.dagster.away():
        row.get_by_role("button", name="Edit").click()
        page.get_by_label("Severity").fill("80")
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".top .told")).to_contain_text("Its scan could not be started and must be later")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(row).to_contain_text("high 80")
    row.get_by_role("button", name="Suspend").click()
    page.get_by_role("dialog").get_by_role("button", name="Suspend").click()
    expect(page.locator(".top .told")).to_contain_text("is suspended")
    page.route("**/policies/*", refuse)
    row.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("alert")).to_contain_text("DynamoDB does not answer.")
    check(page, "a failure told")
    page.unroute("**/policies/*")
    row.get_by_role("button", name="Resume").click()
    expect(page.locator(".top .told")).to_contain_text("is launched again")


def refuse(route: Route) -> None:
    """Answer as a dashboard does whose store does not."""
    route.fulfill(status=503, json={"message": "DynamoDB does not answer."})


def finish_at_once(stage: Stage, changes: Callable[[ScanKind], None] = lambda _kind: None, **own_counts: int) -> None:
    """Let every scan that is launched from now on end by itself, after ``changes``; with one change in each scope.

    ``own_counts`` are what its first scope counts instead, and the others nothing.
    """
    store = stage.site.store

    def on_launch(scan_id: str) -> None:
        scan = store.summary.scan(scan_id)
        assert scan
        changes(scan.kind)
        for account_id in scan.accounts:
            for service in scan.services:
                one = {"resources_created": 1} if scan.kind is ScanKind.INVENTORY else {"findings_created": 1}
                first = (account_id, service) == (scan.accounts[0], scan.services[0])
                counts = (own_counts if first else {}) if own_counts else one
                now = now_ms()
                outcome = Outcome(account_id=account_id, service=service, started_ms=now, finished_ms=now, **counts)
                store.summary.record_outcome(scan, outcome)
        stage.dagster.active.discard(scan_id)
        roll_up(store, scan_id, now_ms())

    stage.dagster.on_launch = on_launch


def test_scan_now_shows_its_progress_and_what_changed(page: Page, stage: Stage, watched: Watched) -> None:
    watched.expected.append("409")
    store = stage.site.store
    arn = f"arn:aws:s3:::found-{uuid4().hex[:6]}"

    def changes(kind: ScanKind) -> None:
        now = now_ms()
        if kind is ScanKind.INVENTORY:
            store.resources.write(
                Resource(ACCOUNT, "s3", "AWS::S3::Bucket", "us-east-1", arn, {"Name": "found"}, now), now
            )
        else:
            violated = Violated(arn, "S3BucketPublic", f"{ACCOUNT}_s3", 90, {"Grants": ["AllUsers"]}, now)
            store.findings.apply(transitions({(arn, "S3BucketPublic"): violated}, {}, now), now)

    finish_at_once(stage, changes)
    page.get_by_role("button", name="Scan now").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Account").select_option(ACCOUNT)
    dialog.get_by_role("button", name="Start").click()
    expect(dialog).to_contain_text(re.compile(r"Inventory ended: \d+ created"), timeout=30_000)
    expect(dialog).to_contain_text(re.compile(r"Policy scan ended: \d+ opened"), timeout=30_000)
    expect(dialog.get_by_role("listitem").filter(has_text=f"new {arn.rsplit(':', 1)[-1]}")).to_be_visible()
    expect(dialog.get_by_role("listitem").filter(has_text="opened S3BucketPublic on found")).to_be_visible()
    dialog.get_by_role("button", name="S3BucketPublic on found").click()
    expect(page.get_by_role("region", name="Evidence")).to_contain_text("AllUsers")
    assert {tags["tags"]["qrie/scan_id"].split("-")[0] for tags in stage.dagster.launched[-2:]} == {
        "inventory",
        "policy",
    }


def scan_now(page: Page, **choices: str) -> Any:
    """Start a scan from the page; its dialog once it says what changed."""
    page.get_by_role("button", name="Scan now").click()
    dialog = page.get_by_role("dialog")
    for label, value in choices.items():
        dialog.get_by_label(label.capitalize(), exact=True).select_option(value)
    dialog.get_by_role("button", name="Start").click()
    expect(dialog.get_by_role("heading", name="What changed")).to_be_visible(timeout=30_000)
    return dialog


def test_what_changed_is_what_the_scan_changed(page: Page, stage: Stage) -> None:
    """Of its service and policy only, page after page, whatever the browser's clock says."""
    store = stage.site.store
    mark = uuid4().hex[:6]

    def changes(_kind: ScanKind) -> None:
        now = now_ms()
        found = [("s3", "S3BucketPublic", 30), ("s3", "S3BucketVersioningDisabled", 3), ("rds", "RDSPublicAccess", 3)]
        for service, policy, count in found:
            for number in range(count):
                arn = f"arn:aws:{service}:::{mark}-{number}"
                violated = Violated(arn, policy, f"{ACCOUNT}_{service}", 90, {}, now)
                muted = "some-rule" if number == 0 else None
                (opened,) = transitions({(arn, policy): violated}, {}, now)
                store.findings.apply([replace(opened, after=replace(opened.after, muted=muted))], now)

    finish_at_once(stage, changes, findings_created=30)
    page.clock.set_fixed_time(datetime.now(UTC) + timedelta(hours=3))
    dialog = scan_now(page, what="policy", account=ACCOUNT, service="s3", policy="S3BucketPublic")
    lines = dialog.get_by_role("listitem")
    expect(lines).to_have_count(30)
    expect(lines.filter(has_text=f"opened S3BucketPublic on {mark}")).to_have_count(29)
    expect(lines.filter(has_text=f"muted S3BucketPublic on {mark}-0")).to_have_count(1)


def test_more_than_anybody_reads_is_a_link(page: Page, stage: Stage) -> None:
    def changes(_kind: ScanKind) -> None:
        now = now_ms()
        for number in range(60):
            arn = f"arn:aws:s3:::{number}-{uuid4().hex[:6]}"
            stage.site.store.resources.write(Resource(ACCOUNT, "s3", "AWS::S3::Bucket", "us-east-1", arn, {}, now), now)

    finish_at_once(stage, changes, resources_created=60)
    dialog = scan_now(page, what="inventory", account=ACCOUNT)
    expect(dialog.get_by_role("listitem")).to_have_count(50)
    dialog.get_by_role("link", name="More than 50: all of them").click()
    expect(page).to_have_url(re.compile(f"#resources\\?account={ACCOUNT}&changed_since="))
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_label("Rows").select_option("100")
    expect(page.locator(".pager [role=status]")).to_contain_text("60 rows, the last")


def test_nothing_changed_is_said_only_if_the_scan_counted_nothing(page: Page, stage: Stage) -> None:
    finish_at_once(stage, superseded=1)
    dialog = scan_now(page, what="inventory")
    expect(dialog).to_contain_text("Nothing: what was stored is what AWS has.")
    page.keyboard.press("Escape")
    finish_at_once(stage, resources_deleted=2)
    dialog = scan_now(page, what="inventory")
    expect(dialog).to_contain_text("2 resources deleted: not in AWS any more")
    expect(dialog).not_to_contain_text("Nothing")
    page.keyboard.press("Escape")
    finish_at_once(stage, skipped_resources=1)
    dialog = scan_now(page, what="policy")
    expect(dialog).to_contain_text("Nothing of what could be read. About the rest nothing is known.")


def test_a_scan_that_stands_still(page: Page, stage: Stage) -> None:
    stage.dagster.on_launch = lambda _scan_id: None
    page.get_by_role("button", name="Scan now").click()
    dialog = page.get_by_role("dialog")
    page.route("**/scans/*", age_by_an_hour)
    dialog.get_by_role("button", name="Start").click()
    expect(dialog.locator(".note")).to_contain_text("is dagster-daemon running")
    expect(page.locator("#activity")).to_contain_text("is dagster-daemon running")
    page.unroute("**/scans/*")
    stage.dagster.active.clear()


def age_by_an_hour(route: Route) -> None:
    """Answer as the server would in an hour, when still nothing has happened."""
    state = route.fetch().json()
    route.fulfill(json={**state, "note": "Nothing is done after 60 min: is dagster-daemon running?"})


def test_what_cannot_be_scanned_is_said(page: Page, stage: Stage, watched: Watched) -> None:
    watched.expected.append("503")
    answer = stage.dagster.answer
    stage.dagster.answer = lambda query, variables: (  # type: ignore[method-assign]
        {"repositoriesOrError": {"nodes": []}} if "repositoriesOrError" in query else answer(query, variables)
    )
    try:
        page.get_by_role("button", name="Scan now").click()
        page.get_by_role("dialog").get_by_role("button", name="Start").click()
        expect(page.get_by_role("alert").last).to_contain_text("has not loaded qrie")
    finally:
        stage.dagster.answer = answer  # type: ignore[method-assign]


@pytest.mark.parametrize("name", ["CSV", "JSON", "OCSF", "SARIF"])
def test_exports_are_downloaded_and_parse(page: Page, name: str, tmp_path: Path) -> None:
    visit(page, f"findings?account={ACCOUNT}&state=ACTIVE")
    with page.expect_download() as downloading:
        page.get_by_role("link", name=name, exact=True).click()
    file = tmp_path / downloading.value.suggested_filename
    downloading.value.save_as(file)
    text = file.read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines())) if name == "CSV" else json.loads(text)
    assert rows


def test_the_scans_view(page: Page, stage: Stage) -> None:
    visit(page, "scans")
    expect(page.locator("figure.chart rect.policy").first).to_be_visible()
    page.locator("tbody button.link").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("scan")


def test_the_accounts_view(page: Page, stage: Stage) -> None:
    visit(page, "accounts")
    expect(page.locator("tbody tr")).to_have_count(len(stage.seeded.accounts))
    expect(page.locator("tbody tr").first).to_contain_text("ready")
    page.get_by_role("button", name="Scan storefront-prod").click()
    expect(page.get_by_role("dialog").get_by_label("Account")).to_have_value(ACCOUNT)


def test_an_account_gets_a_schedule_of_its_own_by_keyboard(page: Page, stage: Stage, watched: Watched) -> None:
    watched.expected.append("400")
    visit(page, "accounts")
    row = page.locator("tbody tr", has_text="storefront-prod")
    expect(row).to_contain_text("with all others")
    opener = page.get_by_role("button", name="Schedule of storefront-prod")
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Schedule of storefront-prod")
    check(page, "schedule")
    page.keyboard.press("Tab")
    expect(dialog.get_by_label("Inventory (cron, UTC)")).to_be_focused()
    page.keyboard.type("every hour")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("five fields")
    dialog.get_by_label("Inventory (cron, UTC)").fill("0 */6 * * *")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(row).to_contain_text("Inventory 0 */6 * * *")
    assert stage.site.store.accounts.get(ACCOUNT).schedule_overrides == {"inventory": "0 */6 * * *"}
    opener.click()
    expect(dialog.get_by_label("Inventory (cron, UTC)")).to_have_value("0 */6 * * *")
    dialog.get_by_label("Inventory (cron, UTC)").fill("")
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("with all others")
    assert stage.site.store.accounts.get(ACCOUNT).schedule_overrides == {}


def test_muting_and_unmuting(page: Page, stage: Stage, watched: Watched) -> None:
    watched.expected += ["400", "503"]
    policy = "IAMUserMfaDisabled"
    visit(page, f"findings?policy={policy}&state=ACTIVE&muted=false")
    rows = page.locator("main tbody tr")
    expect(rows.first).to_be_visible()
    before = rows.count()
    rows.first.get_by_role("button").click()
    page.get_by_role("dialog").get_by_role("button", name="Mute", exact=True).click()
    form = page.get_by_role("dialog").last
    form.get_by_label("Reason").fill(SCRIPT)
    form.get_by_label("Author").fill("Ann")
    form.get_by_label("Until").fill("2001-01-01")
    form.get_by_role("button", name="Mute").click()
    expect(form.get_by_role("alert")).to_contain_text("in the future")
    form.get_by_label("Until").fill("")
    form.get_by_role("button", name="Mute").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(rows).to_have_count(before - 1)

    visit(page, "policies")
    mutes = page.get_by_role("region", name="Mutes")
    expect(mutes).to_contain_text(SCRIPT)
    expect(mutes).to_contain_text("Ann")
    mutes.get_by_role("link", name="1 finding").click()
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("muted")
    assert not Axe().run(page).response["violations"]
    rows.first.get_by_role("button").click()
    expect(page.get_by_role("dialog")).to_contain_text(SCRIPT)
    page.route("**/mutes", refuse)
    page.get_by_role("dialog").get_by_role("button", name="Unmute").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("DynamoDB does not answer.")
    page.unroute("**/mutes")
    page.get_by_role("dialog").get_by_role("button", name="Unmute").click()
    asked = page.get_by_role("dialog", name="Unmute this finding?")
    expect(asked).to_contain_text("It counts as open again.")
    asked.get_by_role("button", name="Unmute").click()
    expect(page.get_by_text("No finding matches.")).to_be_visible()
    visit(page, f"findings?policy={policy}&state=ACTIVE&muted=false")
    expect(rows).to_have_count(before)


def test_a_rule_for_many_findings(page: Page, stage: Stage) -> None:
    visit(page, "policies")
    page.get_by_role("button", name="Add a mute").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Reason").fill("a sandbox")
    form.get_by_label("Author").fill("Ann")
    form.get_by_label("Tags").fill("nonsense")
    form.get_by_role("button", name="Mute").click()
    expect(form.get_by_role("alert")).to_contain_text("not key=value")
    form.get_by_label("Tags").fill("env=prod")
    form.get_by_label("Policy").select_option("RDSPublicAccess")
    form.get_by_role("button", name="Mute").click()
    expect(form).to_have_count(0)
    mutes = page.get_by_role("region", name="Mutes")
    expect(mutes).to_contain_text("RDSPublicAccess, env=prod")
    mutes.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Nothing is muted.")).to_be_visible()
