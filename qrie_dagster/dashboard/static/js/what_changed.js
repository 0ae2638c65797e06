// What scans that were just followed changed: their own counts, and what they wrote.

import { rowsOf } from "./api.js";
import { h } from "./dom.js";
import { openFinding } from "./findings.js";
import { count, plural, shortArn } from "./format.js";
import { address } from "./shared.js";
import { section } from "./sheet.js";

const SHOWN = 50;
const CHANGES = { inventory: ["resources_created", "resources_updated", "resources_deleted"], policy: ["findings_created", "findings_closed", "findings_updated"] };

/** A section about the scans with these last states; `filters` (account, service, policy) are what they were about. */
export async function whatChanged(states, filters) {
  const parts = await Promise.all(states.map((state) => changesOf(state, filters)));
  return section("What changed", parts.flat().length ? parts : h("p", { class: "muted" }, nothing(states)));
}

async function changesOf(state, { policy, ...filters }) {
  if (!CHANGES[state.kind].some((name) => state.result[name])) return [];
  return state.kind === "inventory" ? inventory(state, filters) : findings(state, { ...filters, policy });
}

/** Only what was read can be said to be unchanged. */
function nothing(states) {
  if (states.some((state) => state.result.failed_scopes.count || state.result.skipped_resources)) return "Nothing of what could be read. About the rest nothing is known.";
  return states.some((state) => state.kind === "inventory") ? "Nothing: what was stored is what AWS has." : "Nothing: every finding is as it was.";
}

async function inventory(state, filters) {
  const deleted = state.result.resources_deleted;
  const line = (resource) => [resource.first_seen_at >= state.started_at ? "new " : "changed ", h("code", {}, shortArn(resource.arn))];
  const rows = await list("resources", { ...filters, changed_since: state.started_at }, line);
  return [rows, deleted ? h("p", {}, `${plural(deleted, "resource")} deleted: not in AWS any more, and not stored. The policy scan closes what was found on them.`) : []];
}

function findings(state, filters) {
  const line = (finding) => [`${what(finding, state.started_at)} `, h("button", { type: "button", class: "link", onclick: () => openFinding(finding) }, `${finding.policy} on ${shortArn(finding.arn)}`)];
  return list("findings", { ...filters, changed_since: state.started_at }, line);
}

function what(finding, since) {
  if (finding.state === "RESOLVED") return "closed";
  if (finding.muted) return "muted";
  return finding.first_seen >= since ? "opened" : "reopened or changed";
}

/** The first rows of a view as a list, and a link to all of them if there are more. */
async function list(view, filters, line) {
  const rows = await rowsOf(`/${view}`, view, filters, SHOWN + 1);
  const more = rows.length > SHOWN ? h("p", {}, h("a", { href: address(view, filters) }, `More than ${count(SHOWN)}: all of them`)) : [];
  return [h("ul", {}, rows.slice(0, SHOWN).map((row) => h("li", {}, line(row)))), more];
}
