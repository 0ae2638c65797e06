// The first view: what is wrong, and how the loop is doing.

import { get } from "./api.js";
import { findingsChart, scansChart } from "./charts.js";
import { h, show, track } from "./dom.js";
import { band, count, duration, time } from "./format.js";
import { heatmap } from "./heatmap.js";
import { openScan } from "./scan_drawer.js";
import { address, addressOfOpen } from "./shared.js";

/** Shows the overview; `board` is `/summary/dashboard`. */
export async function overview(main, board) {
  const scopes = await get("/summary/scopes");
  show(
    main,
    h("h1", { class: "hidden-text" }, "Overview"),
    tiles(board, scopes),
    h(
      "div",
      { class: "columns" },
      panel("What is wrong", "span-5", topPolicies(board), h("a", { href: addressOfOpen() }, "All open findings")),
      panel("Scan health", "span-7", heatmap(scopes)),
      panel("Findings, 8 weeks", "span-6", findingsChart(board.findings_weekly)),
      panel("Scans, 4 weeks", "span-6", scansChart(board.anti_entropy.history)),
    ),
    panel("Last scans", "", scanTable(board.anti_entropy.history.slice(0, 8)), h("a", { href: "#scans" }, "All scans")),
  );
}

function panel(title, more, content, link) {
  return h("section", { class: `panel ${more}` }, h("header", {}, h("h2", {}, title), link), content);
}

function tiles(board, scopes) {
  const unhealthy = scopes.scopes.filter((scope) => scope.stale || scope.last_error).length;
  const entries = [
    ["critical", board.critical_open_findings, "critical, open", addressOfOpen({ severity: "critical" })],
    ["high", board.high_open_findings, "high, open", addressOfOpen({ severity: "high" })],
    ["", board.total_open_findings, "open findings", addressOfOpen()],
    ["ok", board.resolved_this_month, "resolved this month", address("findings", { state: "RESOLVED" })],
    [unhealthy ? "warn" : "ok", unhealthy, `of ${scopes.scopes.length} scopes stale or failed`, "#overview"],
    ["", board.resources, "resources", "#resources"],
    ["", board.accounts, "accounts", "#accounts"],
    ["", board.active_policies, "active policies", "#policies"],
  ];
  return h("div", { class: "tiles" }, entries.map(([kind, value, label, href]) => h("a", { class: `tile ${value ? kind : ""}`, href }, h("span", { class: "value" }, count(value)), h("span", { class: "label" }, label))));
}

function topPolicies(board) {
  if (!board.top_policies.length) return h("p", { class: "muted" }, board.resources ? "No open finding." : "Nothing was scanned yet.");
  const most = Math.max(...board.top_policies.map((policy) => policy.open_findings));
  return h(
    "ul",
    { class: "bars" },
    board.top_policies.map((policy) =>
      h(
        "li",
        {},
        h("a", { href: addressOfOpen({ policy: policy.policy_id }) }, policy.policy_id),
        h("span", {}, h("strong", {}, count(policy.open_findings)), h("span", { class: "muted" }, ` ${band(policy.severity)} ${policy.severity}`)),
        track(policy.open_findings / most, band(policy.severity)),
      ),
    ),
  );
}

/** Scans as a table: what each found, repaired, and failed to read. */
export function scanTable(scans) {
  if (!scans.length) return h("p", { class: "muted" }, "No scan was summed up in the last four weeks.");
  const columns = [["ended, UTC"], ["kind"], ["covered", "wide-only"], ["took", "number wide-only"], ["found", "number wide-only"], ["repaired"], ["failed", "number"]];
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scans" },
    h(
      "table",
      { class: "cards" },
      h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))),
      h("tbody", {}, scans.map(scanRow)),
    ),
  );
}

function scanRow(scan) {
  const failed = scan.failed_scopes.count;
  const narrow = h("span", { class: "narrow-only" }, " failed");
  return h(
    "tr",
    { class: "row" },
    h("td", { class: "when" }, h("button", { class: "link", type: "button", onclick: () => openScan(scan) }, time(new Date(scan.timestamp_ms).toISOString()))),
    h("td", {}, scan.kind === "policy" ? "policies" : scan.kind),
    h("td", { class: "wide-only" }, covered(scan)),
    h("td", { class: "number wide-only when" }, duration(scan.duration_ms)),
    h("td", { class: "number wide-only" }, count(scan.resources_found ?? scan.processed_resources)),
    h("td", {}, repaired(scan)),
    h("td", { class: "number" }, failed ? h("span", { class: "badge bad" }, count(failed), narrow) : ["0", narrow]),
  );
}

/** What a scan covered, in words. */
export function covered(scan) {
  if (scan.complete) return "everything";
  return `${scan.account_id === "all" ? "all accounts" : scan.account_id} / ${scan.service === "all" ? "all services" : scan.service}`;
}

/** What a scan changed, in words. */
export function repaired(scan) {
  return scan.kind === "inventory"
    ? `${count(scan.resources_created)} created, ${count(scan.resources_updated)} updated, ${count(scan.resources_deleted)} deleted`
    : `${count(scan.findings_created)} opened, ${count(scan.findings_closed)} closed`;
}
