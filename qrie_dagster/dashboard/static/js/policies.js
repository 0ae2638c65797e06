// Policies: what is launched, for what, and changing that.

import { send } from "./api.js";
import { field, h, show, table } from "./dom.js";
import { count, time } from "./format.js";
import { mutesPanel } from "./mutes.js";
import { followScan, scanNow } from "./scan_now.js";
import { addressOfOpen, changed, known, loadNames, severityBadge } from "./shared.js";
import { confirmed, facts, formSheet, openSheet, section, tellDone } from "./sheet.js";

const STATUS = { active: "ok", suspended: "warn", available: "quiet" };
const LISTS = [
  ["include_accounts", "Only these accounts"],
  ["exclude_accounts", "Not these accounts"],
  ["include_ou_paths", "Only below these OU paths"],
  ["exclude_ou_paths", "Not below these OU paths"],
];
const TAGS = [["include_tags", "Only with these tags"], ["exclude_tags", "Not with these tags"]];

/** Shows the view. */
export async function policies(main) {
  await loadNames();
  const columns = [["policy"], ["service", "wide-only"], ["severity"], ["status"], ["open", "number"], ["scope", "wide-only"], ["changed, UTC", "wide-only"], [h("span", { class: "hidden-text" }, "actions")]];
  show(main, h("section", { class: "panel" }, h("header", {}, h("h1", {}, "Policies")), table("Policies", columns, known.policies.map(row), "cards")), await mutesPanel());
}

function row(policy) {
  return h(
    "tr",
    { class: "row" },
    h("td", { class: "arn" }, h("button", { type: "button", class: "link", onclick: () => openPolicy(policy) }, policy.policy_id)),
    h("td", { class: "wide-only" }, policy.service),
    h("td", {}, severityBadge(policy.severity, policy.severity_band)),
    h("td", {}, h("span", { class: `badge ${STATUS[policy.status]}` }, policy.status)),
    h("td", { class: "number" }, h("a", { href: addressOfOpen({ policy: policy.policy_id }), "aria-label": `${policy.open_findings} open findings of ${policy.policy_id}` }, count(policy.open_findings), h("span", { class: "narrow-only" }, " open"))),
    h("td", { class: "wide-only" }, policy.scope ? scopeText(policy.scope) : ""),
    h("td", { class: "wide-only when" }, policy.updated_at ? time(policy.updated_at) : ""),
    h("td", {}, h("div", { class: "row-of" }, actions(policy))),
  );
}

function actions(policy) {
  const button = (label, onclick, kind = "") => h("button", { type: "button", class: `small ${kind}`, onclick, "aria-label": `${label} ${policy.policy_id}` }, label);
  if (policy.status === "available") return [button("Launch", () => editPolicy(policy))];
  if (policy.status === "suspended") return [button("Resume", async () => tellDone(await change(policy, "PUT", { status: "active" }))), button("Delete", () => remove(policy))];
  return [button("Edit", () => editPolicy(policy)), button("Suspend", () => suspend(policy)), button("Scan", () => scanNow({ kind: "policy", policy_id: policy.policy_id }))];
}

async function change(policy, method, body) {
  const answer = await send(method, method === "POST" ? "/policies" : `/policies/${policy.policy_id}`, body);
  if (answer.scan) followScan(answer.scan.scan_id, policy.policy_id);
  changed();
  return answer;
}

function suspend(policy) {
  confirmed(`Suspend ${policy.policy_id}?`, `It is evaluated no more, and its ${count(policy.open_findings)} open findings are resolved as POLICY_SUSPENDED.`, "Suspend", () => change(policy, "PUT", { status: "suspended" }));
}

function remove(policy) {
  confirmed(`Delete ${policy.policy_id}?`, "That it was launched is forgotten, with its scope and overrides. Its findings stay as resolved.", "Delete", () => change(policy, "DELETE"));
}

function scopeText(scope) {
  const parts = [...LISTS, ...TAGS].map(([name, label]) => {
    const value = scope[name];
    const words = Array.isArray(value) ? value : tagLines(value);
    return words.length ? `${label.toLowerCase()}: ${words.join(", ")}` : null;
  });
  return parts.filter(Boolean).join("; ") || "everything";
}

const tagLines = (tags) => Object.entries(tags).flatMap(([key, values]) => values.map((value) => `${key}=${value}`));

function openPolicy(policy) {
  openSheet(policy.policy_id, [
    h("p", { class: "row-of" }, severityBadge(policy.severity, policy.severity_band), h("span", { class: `badge ${STATUS[policy.status]}` }, policy.status)),
    h("p", {}, policy.description),
    facts([
      ["looks at", policy.resource_type],
      ["category", policy.category.replaceAll("_", " ")],
      ["controls", policy.controls.join(", ")],
      ["own severity", policy.default_severity],
      ["scope", policy.scope ? scopeText(policy.scope) : null],
      ["launched", policy.created_at ? `${time(policy.created_at)} UTC` : null],
      ["changed", policy.updated_at ? `${time(policy.updated_at)} UTC` : null],
      ["open findings", count(policy.open_findings)],
      ["muted findings", count(policy.muted_findings)],
    ]),
    section("How to mend what it finds", h("p", {}, policy.remediation)),
  ]);
}

function editPolicy(policy) {
  const isNew = policy.status === "available";
  const lines = (value) => (Array.isArray(value) ? value : tagLines(value ?? {})).join("\n");
  const area = (name, hint) => h("textarea", { name, rows: 2, placeholder: hint, value: lines(policy.scope?.[name] ?? []) });
  const own = policy.remediation === policy.default_remediation;
  const controls = [
    h("p", { class: "field wide muted" }, "One per line. A resource is in scope when it matches every 'only' given and no 'not'."),
    h("fieldset", {}, h("legend", {}, "Scope"), LISTS.map(([name, label]) => field(label, area(name, name.includes("_ou_") ? "/prod" : "123456789012"))), TAGS.map(([name, label]) => field(label, area(name, "env=prod")))),
    field(`Severity (its own is ${policy.default_severity})`, h("input", { name: "severity", type: "number", min: 0, max: 100, value: policy.severity === policy.default_severity ? "" : policy.severity })),
    field("How to mend what it finds (empty: its own advice)", h("textarea", { name: "remediation", rows: 3, maxlength: 10_000, placeholder: policy.default_remediation, value: own ? "" : policy.remediation }), "wide"),
  ];
  formSheet(`${isNew ? "Launch" : "Edit"} ${policy.policy_id}`, controls, isNew ? "Launch" : "Save", (form) => {
    const { severity, remediation } = form.elements;
    const body = { scope: readScope(form), severity: severity.value === "" ? null : Number(severity.value), remediation: remediation.value.trim() || null };
    return isNew ? change(policy, "POST", { ...body, policy_id: policy.policy_id }) : change(policy, "PUT", body);
  });
}

function readScope(form) {
  const words = (name) => form.elements[name].value.split("\n").map((line) => line.trim()).filter(Boolean);
  const scope = Object.fromEntries(LISTS.map(([name]) => [name, words(name)]));
  for (const [name, label] of TAGS) {
    scope[name] = {};
    for (const line of words(name)) {
      const [key, ...rest] = line.split("=");
      if (!rest.length) throw new Error(`${label}: '${line}' is not key=value.`);
      (scope[name][key.trim()] ??= []).push(rest.join("=").trim());
    }
  }
  return scope;
}
