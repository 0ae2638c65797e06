// The inventory, and one resource in full.

import { get } from "./api.js";
import { h, show } from "./dom.js";
import { ago, shortArn, time } from "./format.js";
import { links, openFinding } from "./findings.js";
import { json } from "./json.js";
import { listing } from "./listing.js";
import { accountName, accountOptions, known, serviceOptions, severityBadge } from "./shared.js";
import { facts, openSheet, section } from "./sheet.js";

/** Shows the view. */
export function resources(main, _board, filters) {
  const services = known.services.filter((service) => !filters.service || service.service_name === filters.service);
  const types = services.flatMap((service) => service.resource_types).sort();
  return listing(main, {
    title: "Resources",
    view: "resources",
    path: "/resources",
    rows: "resources",
    filters,
    controls: [
      ["account", "Account", accountOptions()],
      ["service", "Service", serviceOptions()],
      ["type", "Type", [["", "All types"], ...types.map((type) => [type, type])]],
    ],
    columns: [["type"], ["resource"], ["account", "wide-only"], ["region", "wide-only"], ["changed, UTC", "wide-only"], ["last seen, UTC", "wide-only"]],
    row: (resource) =>
      h(
        "tr",
        { class: "row" },
        h("td", {}, resource.resource_type.replace("AWS::", "")),
        h("td", { class: "arn" }, h("button", { type: "button", class: "link mono", onclick: () => openResource(resource) }, shortArn(resource.arn))),
        h("td", { class: "wide-only" }, accountName(resource.account_id)),
        h("td", { class: "wide-only" }, resource.region),
        h("td", { class: "wide-only when" }, time(resource.changed_at)),
        h("td", { class: "wide-only when" }, time(resource.last_seen_at)),
      ),
    empty: "No resource matches.",
  });
}

function openResource(resource) {
  const found = h("div", {}, h("p", { class: "muted" }, "Loading …"));
  const tags = Object.entries(resource.configuration.Tags ?? {});
  openSheet(shortArn(resource.arn), [
    h("p", {}, h("span", { class: "badge quiet" }, resource.resource_type)),
    facts([
      ["ARN", h("code", {}, resource.arn)],
      ["account", `${accountName(resource.account_id)} (${resource.account_id})`],
      ["region", resource.region],
      ["first seen", `${time(resource.first_seen_at)} UTC, ${ago(resource.first_seen_at)}`],
      ["last change", `${time(resource.changed_at)} UTC`],
      ["last seen", `${time(resource.last_seen_at)} UTC`],
      ["tags", tags.length ? tags.map(([key, value]) => h("div", {}, h("code", {}, `${key}: ${value}`))) : null],
      ["not readable", resource.unread.join(", ")],
    ]),
    links(resource),
    section("Findings", found),
    section("Configuration", json(resource.configuration, "Configuration")),
  ]);
  loadFindings(resource, found);
}

async function loadFindings(resource, place) {
  try {
    const page = await get("/findings", { arn: resource.arn });
    const row = (finding) =>
      h("li", { class: "row-of" }, severityBadge(finding.severity, finding.severity_band), h("button", { type: "button", class: "link", onclick: () => openFinding(finding) }, finding.policy), finding.muted ? "muted" : finding.state === "ACTIVE" ? "open" : "resolved");
    show(place, page.findings.length ? h("ul", {}, page.findings.map(row)) : h("p", { class: "muted" }, "None."));
  } catch (problem) {
    show(place, h("p", { class: "error" }, problem.message));
  }
}
