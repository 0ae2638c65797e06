// Starting scans, and following them to their end.

import { get, send } from "./api.js";
import { field, h, select, show, track, update } from "./dom.js";
import { count } from "./format.js";
import { repaired } from "./overview.js";
import { accountName, accountOptions, changed, policyOptions, serviceOptions } from "./shared.js";
import { openSheet } from "./sheet.js";
import { whatChanged } from "./what_changed.js";

const POLL_MS = 1500;
const GIVE_UP_AFTER = 40;
const KINDS = [["both", "Inventory, then policies"], ["inventory", "Inventory: compare with AWS, repair"], ["policy", "Policies: judge what is stored"]];
const WORDS = { running: "running", summing_up: "summing up", unknown: "Dagster does not answer" };

const following = new Map();

/** Opens the dialog; `preset` may hold a kind, account, service or policy_id. */
export function scanNow(preset = {}) {
  const error = h("p", { class: "error", role: "alert" });
  const start = h("button", { type: "submit", class: "primary" }, "Start");
  const kind = select("kind", KINDS, preset.kind ?? "both", adapt);
  const policy = select("policy_id", policyOptions(), preset.policy_id);
  const form = h(
    "form",
    { class: "form", onsubmit: submit },
    h("div", { class: "field wide" }, field("What", kind)),
    field("Account", select("account", accountOptions("Every account"), preset.account)),
    field("Service", select("service", serviceOptions("Every service"), preset.service)),
    h("div", { class: "field wide" }, field("Policy", policy)),
    h("div", { class: "wide row-of" }, start, error),
  );
  const place = h("div", {}, form);
  const dialog = openSheet("Scan now", place, "small-sheet");
  adapt();

  function adapt() {
    policy.disabled = kind.value !== "policy";
    if (policy.disabled) policy.value = "";
  }

  async function submit(event) {
    event.preventDefault();
    start.disabled = true;
    error.textContent = "";
    const { account, service, policy_id: policyId } = Object.fromEntries(new FormData(form));
    const body = { accounts: account ? [account] : [], services: service ? [service] : [], policy_id: policyId || null };
    try {
      const kinds = kind.value === "both" ? ["inventory", "policy"] : [kind.value];
      await run(kinds, body, account);
    } catch (problem) {
      error.textContent = problem.message;
      start.disabled = false;
      show(place, form);
    }
  }

  async function run(kinds, body, account) {
    const log = h("div", { class: "sheet-log" });
    show(place, log, h("p", { class: "muted" }, "The scan goes on in Dagster when this is closed; the policy scan that follows an inventory is started from here."));
    const states = [];
    for (const each of kinds) {
      const answer = await send("POST", "/scans", { kind: each, ...body });
      const line = h("div", { class: "scan-result" });
      log.append(line);
      const state = await followScan(answer.scan_id, account ? accountName(account) : "", (now) => dialog.isConnected && progress(line, now));
      ended(line, state);
      states.push(state);
    }
    if (!dialog.isConnected) return;
    const filters = { account, service: body.services[0], policy: body.policy_id };
    const section = whatChanged(states, filters).catch((problem) => h("p", { class: "error", role: "alert" }, `What changed cannot be listed: ${problem.message}`));
    log.append(await section);
  }
}

function progress(line, state) {
  show(line, h("p", {}, `${title(state)}: ${WORDS[state.status] ?? "done"}, ${count(state.done)} of ${count(state.planned)}`), track(share(state)), state.note ? h("p", { class: "note" }, state.note) : null);
}

function ended(line, state) {
  const failed = state.result.failed_scopes;
  show(
    line,
    h("p", { class: `note ${failed.count ? "bad" : "ok"}` }, `${title(state)} ended: ${repaired(state.result)}${failed.count ? `; ${count(failed.count)} failed` : ""}.`),
    failed.first.slice(0, 5).map((text) => h("p", { class: "muted" }, text)),
  );
}

const title = (state) => (state.kind === "inventory" ? "Inventory" : "Policy scan");
const share = (state) => (state.planned ? state.done / state.planned : 0);

/** Shows a scan in the header until it ends; resolves with its last state. `tell` hears of each step. */
export async function followScan(id, what, tell = () => {}) {
  if (following.has(id)) return following.get(id);
  const promise = follow(id, what, tell);
  following.set(id, promise);
  try {
    return await promise;
  } finally {
    following.delete(id);
  }
}

async function follow(id, what, tell) {
  const bar = document.getElementById("activity");
  const line = h("div", { class: "scan-line" });
  bar.append(line);
  bar.hidden = false;
  try {
    for (let lost = 0; ; ) {
      const state = await get(`/scans/${encodeURIComponent(id)}`).catch(() => null);
      if (state?.status === "ended") {
        changed();
        return state;
      }
      lost = state ? 0 : lost + 1;
      if (lost > GIVE_UP_AFTER) throw new Error(`The scan ${id} is lost from sight; Dagster may still run it.`);
      if (state) {
        tell(state);
        update(line, h("span", {}, `${title(state)}${what ? ` of ${what}` : ""}`), track(share(state)), h("span", {}, `${WORDS[state.status]}, ${count(state.done)} of ${count(state.planned)}`), state.note ? h("span", { class: "scan-note" }, state.note) : null);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } finally {
    line.remove();
    bar.hidden = !bar.children.length;
  }
}
