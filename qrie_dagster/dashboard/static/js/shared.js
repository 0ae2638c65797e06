// What several views need: the names of accounts, services and policies, and where the page is.

import { get } from "./api.js";
import { h } from "./dom.js";

export const known = { accounts: [], services: [], policies: [], dagsterUrl: "" };

/** Loads the names again. */
export async function loadNames() {
  const [accounts, services, policies] = await Promise.all([get("/accounts"), get("/services"), get("/policies", { status: "all" })]);
  Object.assign(known, { accounts, services, policies });
}

/** An account's name, or its number where it has none. */
export function accountName(id) {
  return known.accounts.find((account) => account.account_id === id)?.name || id;
}

/** The policy with this id. */
export const policyOf = (id) => known.policies.find((policy) => policy.policy_id === id);

/** Options of a select: everything, then each. */
export const accountOptions = (all = "All accounts") => [["", all], ...known.accounts.map((a) => [a.account_id, a.name ? `${a.name} (${a.account_id})` : a.account_id])];
export const serviceOptions = (all = "All services") => [["", all], ...known.services.map((s) => [s.service_name, s.display_name])];
export const policyOptions = (all = "All policies") => [["", all], ...known.policies.map((p) => [p.policy_id, p.policy_id])];

/** The view and its filters, as the address has them: '#findings?state=ACTIVE'. */
export function place() {
  const [view, rest = ""] = location.hash.slice(1).split("?");
  return { view: view || "overview", filters: Object.fromEntries(new URLSearchParams(rest)) };
}

/** An address within the page. */
export function address(view, filters = {}) {
  const given = Object.entries(filters).filter(([, value]) => value);
  return `#${view}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

/** The address of what counts as open. */
export const addressOfOpen = (filters = {}) => address("findings", { ...filters, state: "ACTIVE", muted: "false" });

/** A severity as a badge: its band in words, and the number. */
export function severityBadge(severity, band) {
  return h("span", { class: `badge ${band}` }, `${band} ${severity}`);
}

/** Tells the page that something changed, so that views show it. */
export const changed = () => document.dispatchEvent(new CustomEvent("qrie-changed"));
