// Can I trust what I see? The verdict, and the two ages against their limits.

import { h, svg, track, update } from "./dom.js";
import { count, hours, plural } from "./format.js";

const SIGNS = {
  ok: "M4 12.5 9.5 18 20 6.5",
  warn: "M12 4v10M12 18v2",
  bad: "M5 5l14 14M19 5 5 19",
};

/** Shows what `/summary/dashboard` says of the loop. */
export function showHeader(board) {
  const { kind, title, why } = verdict(board);
  const box = document.getElementById("verdict");
  box.className = `verdict ${kind}`;
  update(
    box,
    svg("svg", { class: "sign", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: SIGNS[kind], fill: "none", stroke: "currentColor", "stroke-width": 3, "stroke-linecap": "round" })),
    h("strong", {}, title),
    h("span", {}, why),
  );
  const loop = board.anti_entropy;
  update(
    document.getElementById("ages"),
    age("Inventory", loop.last_inventory_scan, loop.thresholds.inventory_hours, loop.inventory_drift),
    age("Policies", loop.last_policy_scan, loop.thresholds.policy_hours, loop.policy_drift),
  );
  document.title = `${loop.drift_detected ? "Drift" : "No drift"}, ${count(board.total_open_findings)} open – qrie`;
}

/** Says that the verdict is not known, and takes away what was known before. */
export function showNoHeader(message) {
  const box = document.getElementById("verdict");
  box.className = "verdict bad";
  update(box, h("strong", {}, "Not known"), h("span", {}, message));
  update(document.getElementById("ages"));
  document.title = "Not known – qrie";
}

function verdict(board) {
  const loop = board.anti_entropy;
  if (loop.drift_detected) return { kind: "bad", title: "Drift: do not trust this", why: loop.drift_reasons.map(reason).join("; ") };
  if (!board.accounts) return { kind: "warn", title: "No accounts yet", why: "Nothing is scanned: 'qrie accounts add' registers one." };
  const failed = failures(loop.last_inventory_scan) + failures(loop.last_policy_scan);
  const stale = loop.stale_scopes.count;
  if (stale || failed) {
    const parts = [stale ? `${plural(stale, "scope")} stale` : null, failed ? `${plural(failed, "scope")} not read in the last full scans` : null];
    return { kind: "warn", title: "No drift, with gaps", why: parts.filter(Boolean).join(", ") };
  }
  return { kind: "ok", title: "No drift", why: "Everything was scanned within its limits." };
}

const failures = (scan) => scan.failed_scopes?.count ?? 0;

function reason(text) {
  return text.replace("never_scanned", "never scanned in full").replace(/^policy/, "policies");
}

function age(name, scan, limit, drifted) {
  const share = scan.age_hours === null ? 1 : scan.age_hours / limit;
  const kind = drifted ? "bad" : share > 15 / 16 ? "warn" : "ok";
  return h(
    "div",
    { class: "age" },
    h("p", {}, h("span", {}, `${name} `, h("strong", { class: kind }, scan.age_hours === null ? "never" : `${hours(scan.age_hours)} old`)), h("span", { class: "muted" }, `limit ${hours(limit)}`)),
    track(share, kind),
  );
}
