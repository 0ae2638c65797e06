// Scan health of every account and service: how old, and what failed. Colour is never alone: each cell has its age.

import { h, show } from "./dom.js";
import { hours, shortHours, time } from "./format.js";
import { accountName, address, known, addressOfOpen } from "./shared.js";

const KINDS = [["inventory", "Inventory"], ["policy", "Policies"]];
const FIRST = 12;

/** The heat map of `/summary/scopes`, the worst accounts first. */
export function heatmap(states) {
  const services = known.services.map((service) => service.service_name);
  const byAccount = group(states.scopes);
  const limits = { inventory: states.inventory_hours, policy: states.policy_hours };
  const accounts = [...byAccount].sort(([a, of], [b, other]) => badness(other, limits) - badness(of, limits) || accountName(a).localeCompare(accountName(b)));
  const box = h("div", {});
  const draw = (all) => show(box, grid(all ? accounts : accounts.slice(0, FIRST), services, limits), accounts.length > FIRST && !all ? h("button", { class: "small", onclick: () => draw(true) }, `Show all ${accounts.length} accounts`) : null);
  draw(false);
  return h("div", {}, accounts.length ? box : h("p", { class: "muted" }, "No account is active."), legend());
}

function group(scopes) {
  const groups = new Map();
  for (const scope of scopes) groups.set(scope.account_id, [...(groups.get(scope.account_id) ?? []), scope]);
  return groups;
}

/** How much a person should look at an account; all that are fresh enough are alike. */
function badness(scopes, limits) {
  const worst = Math.max(...scopes.map((scope) => (scope.age_hours === null ? 3 : scope.age_hours / limits[scope.kind]) + (scope.last_error ? 2 : 0)));
  return worst < 0.9 ? 0 : worst;
}

function grid(accounts, services, limits) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scan health by account and service" },
    h(
      "table",
      { class: "heat" },
      h(
        "thead",
        {},
        h("tr", {}, h("td", {}), KINDS.map(([, title], index) => [index ? h("td", { class: "gap" }) : null, h("th", { scope: "colgroup", colspan: services.length }, title)])),
        h("tr", {}, h("th", { scope: "col" }, h("span", { class: "hidden-text" }, "account")), KINDS.map((_, index) => [index ? h("td", { class: "gap" }) : null, services.map((service) => h("th", { scope: "col" }, service))])),
      ),
      h(
        "tbody",
        {},
        accounts.map(([id, scopes]) =>
          h("tr", {}, h("th", { scope: "row", title: id }, accountName(id)), KINDS.map(([kind], index) => [index ? h("td", { class: "gap" }) : null, services.map((service) => cell(kind, id, service, scopes.find((scope) => scope.kind === kind && scope.service === service), limits[kind]))])),
        ),
      ),
    ),
  );
}

function cell(kind, id, service, scope, limit) {
  if (!scope) return h("td", {}, "–");
  const share = scope.age_hours === null ? 9 : scope.age_hours / limit;
  const heat = scope.stale ? 3 : share > 0.9 ? 2 : share > 0.5 ? 1 : 0;
  const words = [
    `${accountName(id)} (${id}), ${service}, ${kind}`,
    scope.last_success ? `last success ${time(scope.last_success)} UTC, ${hours(scope.age_hours)} ago` : "never scanned with success",
    `limit ${hours(limit)}${scope.stale ? ": stale" : ""}`,
    scope.last_error ? `failed since: ${scope.last_error}` : null,
  ].filter(Boolean);
  const target = kind === "inventory" ? address("resources", { account: id, service }) : addressOfOpen({ account: id, service });
  return h(
    "td",
    {},
    h("button", { type: "button", class: `heat-${heat} ${scope.last_error ? "failing" : ""}`, "data-tip": words.join("\n"), "aria-label": words.join("; "), onclick: () => location.assign(target) }, shortHours(scope.age_hours), scope.last_error ? " !" : null),
  );
}

function legend() {
  const entries = [["heat-0", "fresh"], ["heat-1", "over half its limit"], ["heat-2", "near its limit"], ["heat-3", "stale or never"], ["failing", "! last scan failed"]];
  return h("p", { class: "legend heat-legend" }, entries.map(([kind, text]) => h("span", {}, h("span", { class: `swatch ${kind}` }), text)));
}
