// Findings, and one of them in full.

import { get, query } from "./api.js";
import { h, outside, show } from "./dom.js";
import { ago, shortArn, time } from "./format.js";
import { json } from "./json.js";
import { listing } from "./listing.js";
import { muteFinding, unmuteFinding } from "./mutes.js";
import { accountName, accountOptions, policyOf, policyOptions, serviceOptions, severityBadge } from "./shared.js";
import { facts, openSheet, section } from "./sheet.js";

const STATES = [["", "Open and resolved"], ["ACTIVE", "Open"], ["RESOLVED", "Resolved"]];
const MUTED = [["", "Muted or not"], ["false", "Not muted"], ["true", "Muted"]];
const SEVERITIES = [["", "All severities"], ["critical", "Critical"], ["high", "High"], ["medium", "Medium"], ["low", "Low"]];
const FORMATS = ["csv", "json", "ocsf", "sarif"];

/** Shows the view. */
export function findings(main, _board, filters) {
  return listing(main, {
    title: "Findings",
    view: "findings",
    path: "/findings",
    rows: "findings",
    filters,
    controls: [
      ["state", "State", STATES],
      ["muted", "Muted", MUTED],
      ["severity", "Severity", SEVERITIES],
      ["policy", "Policy", policyOptions()],
      ["account", "Account", accountOptions()],
      ["service", "Service", serviceOptions()],
    ],
    columns: [["severity"], ["policy"], ["resource"], ["account", "wide-only"], ["state", "wide-only"], ["first seen, UTC", "wide-only"], ["resolved, UTC", "wide-only"]],
    row: (finding) =>
      h(
        "tr",
        { class: "row" },
        h("td", {}, severityBadge(finding.severity, finding.severity_band)),
        h("td", {}, finding.policy),
        h("td", { class: "arn" }, h("button", { type: "button", class: "link mono", onclick: () => openFinding(finding) }, shortArn(finding.arn))),
        h("td", { class: "wide-only" }, accountName(finding.account_id)),
        h("td", { class: "wide-only" }, stateBadge(finding)),
        h("td", { class: "wide-only when" }, time(finding.first_seen)),
        h("td", { class: "wide-only when" }, finding.resolved_at ? time(finding.resolved_at) : ""),
      ),
    extra: exports,
    empty: "No finding matches.",
  });
}

function exports(filters) {
  const { page_size: _, ...asked } = filters;
  return h(
    "div",
    { class: "field" },
    h("span", { class: "muted", id: "export-label" }, "Export"),
    h("div", { class: "row-of", role: "group", "aria-labelledby": "export-label" }, FORMATS.map((format) => h("a", { class: "button", download: true, href: `/findings/export${query({ ...asked, format })}` }, format.toUpperCase()))),
  );
}

function stateBadge(finding) {
  if (finding.muted) return h("span", { class: "badge quiet", "data-tip": finding.mute_reason }, "muted");
  if (finding.state === "ACTIVE") return h("span", { class: "badge bad" }, "open");
  return h("span", { class: "badge ok", "data-tip": finding.resolved_reason }, "resolved");
}

/** Opens the drawer of a finding. */
export function openFinding(finding) {
  const policy = policyOf(finding.policy);
  const configuration = h("p", { class: "muted" }, "Loading …");
  const others = h("div", {}, h("p", { class: "muted" }, "Loading …"));
  const dialog = openSheet(finding.policy, [
    h("p", { class: "row-of" }, severityBadge(finding.severity, finding.severity_band), stateBadge(finding), h("span", {}, policy?.category.replaceAll("_", " "))),
    facts([
      ["resource", h("code", {}, finding.arn)],
      ["account", `${accountName(finding.account_id)} (${finding.account_id})`],
      ["first seen", `${time(finding.first_seen)} UTC, ${ago(finding.first_seen)}`],
      ["last changed", `${time(finding.last_evaluated)} UTC`],
      ["AWS was asked", finding.described_at ? `${time(finding.described_at)} UTC` : null],
      ["resolved", finding.resolved_at ? `${time(finding.resolved_at)} UTC: ${finding.resolved_reason}` : null],
      ["muted", finding.muted ? finding.mute_reason ?? "by a rule that was removed" : null],
      ["controls", policy?.controls.join(", ")],
    ]),
    links(finding),
    finding.state === "ACTIVE" ? h("p", {}, muteButton(finding, () => dialog.close())) : null,
    section("What is wrong", h("p", {}, policy?.description), json(finding.evidence, "Evidence")),
    policy ? section("How to mend it", h("p", {}, policy.remediation)) : null,
    section("Configuration", configuration),
    section("All findings on this resource", others),
  ]);
  loadConfiguration(finding, configuration);
  loadOthers(finding, others);
}

function muteButton(finding, done) {
  if (finding.muted) return h("button", { type: "button", onclick: () => unmuteFinding(finding, done) }, "Unmute");
  return h("button", { type: "button", onclick: () => muteFinding(finding, done) }, "Mute");
}

async function loadConfiguration(finding, place) {
  try {
    const resource = await get(`/resources/${finding.account_service}`, { arn: finding.arn });
    place.replaceWith(json(resource.configuration, "Configuration"));
  } catch (problem) {
    place.textContent = problem.message;
  }
}

async function loadOthers(finding, place) {
  try {
    const page = await get("/findings", { arn: finding.arn });
    show(place, h("ul", {}, page.findings.map((other) => h("li", { class: "row-of" }, severityBadge(other.severity, other.severity_band), other.policy, stateBadge(other)))));
  } catch (problem) {
    show(place, h("p", { class: "error" }, problem.message));
  }
}

/** Where the thing is shown elsewhere. */
export function links(thing) {
  return h("p", { class: "row-of" }, outside(thing.console_url, "AWS console"), outside(thing.dagster_url, "Dagster asset"));
}
