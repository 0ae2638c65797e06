// The accounts, and how far qrie is with each.

import { send } from "./api.js";
import { field, h, outside, show, table } from "./dom.js";
import { ago, count } from "./format.js";
import { scanNow } from "./scan_now.js";
import { addressOfOpen, changed, known, loadNames } from "./shared.js";
import { formSheet } from "./sheet.js";

const KINDS = [["inventory", "Inventory"], ["policy", "Policies"]];
const ONBOARDING = { ready: "ok", waiting: "warn", failing: "bad", inactive: "quiet" };

/** Shows the view. */
export async function accounts(main) {
  await loadNames();
  const columns = [["account"], ["OU", "wide-only"], ["customer", "wide-only"], ["state"], ["inventory", "wide-only"], ["policies", "wide-only"], ["own schedule, UTC", "wide-only"], [h("span", { class: "hidden-text" }, "actions")]];
  show(
    main,
    h(
      "section",
      { class: "panel" },
      h("header", {}, h("h1", {}, "Accounts"), h("span", { class: "muted" }, `${count(known.accounts.length)} registered`)),
      known.accounts.length ? table("Accounts", columns, known.accounts.map(row), "cards") : h("p", { class: "muted" }, "None: 'qrie accounts add' registers one."),
    ),
  );
}

function row(account) {
  const active = account.status === "active";
  return h(
    "tr",
    { class: "row" },
    h("td", { class: "arn" }, h("strong", {}, account.name || account.account_id), h("div", { class: "muted mono" }, account.account_id)),
    h("td", { class: "wide-only" }, account.ou),
    h("td", { class: "wide-only" }, account.customer),
    h("td", {}, h("span", { class: `badge ${ONBOARDING[account.onboarding]}` }, account.onboarding), account.onboarding === "ready" ? null : h("div", { class: "muted" }, account.onboarding_note)),
    h("td", { class: "wide-only when" }, ago(account.last_inventory_at)),
    h("td", { class: "wide-only when" }, ago(account.last_policy_scan_at)),
    h("td", { class: "wide-only" }, schedule(account)),
    h(
      "td",
      {},
      h(
        "div",
        { class: "row-of" },
        active ? h("button", { type: "button", class: "small", "aria-label": `Scan ${account.name || account.account_id}`, onclick: () => scanNow({ account: account.account_id }) }, "Scan") : null,
        active ? h("button", { type: "button", class: "small", "aria-label": `Schedule of ${account.name || account.account_id}`, onclick: () => editSchedule(account) }, "Schedule") : null,
        h("a", { class: "wide-only", href: addressOfOpen({ account: account.account_id }), "aria-label": `Findings of ${account.name || account.account_id}` }, "Findings"),
        h("span", { class: "wide-only" }, outside(account.dagster_url, "Dagster")),
      ),
    ),
  );
}

function schedule(account) {
  const own = KINDS.filter(([kind]) => account.schedule_overrides[kind]);
  if (!own.length) return h("span", { class: "muted" }, "with all others");
  return own.map(([kind, title]) => h("div", {}, `${title} `, h("code", {}, account.schedule_overrides[kind])));
}

function editSchedule(account) {
  const name = account.name || account.account_id;
  const cron = ([kind, title]) => field(`${title} (cron, UTC)`, h("input", { name: kind, class: "mono", autocomplete: "off", spellcheck: "false", placeholder: "0 */6 * * *", value: account.schedule_overrides[kind] ?? "" }));
  const controls = [h("p", { class: "field wide muted" }, "Scans of this account besides those of all accounts, which go on covering it. Five fields each; empty: with all others only."), KINDS.map(cron)];
  formSheet(`Schedule of ${name}`, controls, "Save", async (form) => {
    const given = KINDS.map(([kind]) => [kind, form.elements[kind].value.trim() || null]);
    await send("PUT", `/accounts/${account.account_id}/schedule`, Object.fromEntries(given));
    changed();
  });
}
