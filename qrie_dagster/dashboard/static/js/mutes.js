// Mutes: findings set aside, with a reason.

import { get, send } from "./api.js";
import { field, h, select, table } from "./dom.js";
import { plural, time } from "./format.js";
import { accountName, accountOptions, address, changed, policyOptions } from "./shared.js";
import { confirmed, formSheet } from "./sheet.js";

const AUTHOR = "qrie-author";
const COLUMNS = [["what"], ["findings", "number"], ["reason"], ["author", "wide-only"], ["since, UTC", "wide-only"], ["until, UTC"], [h("span", { class: "hidden-text" }, "actions")]];

/** The rules, as a panel. */
export async function mutesPanel() {
  const rules = await get("/mutes");
  const body = rules.length ? table("Mutes", COLUMNS, rules.map(row), "cards") : h("p", { class: "muted" }, "Nothing is muted. A finding is muted from its own drawer; a rule here mutes many.");
  return h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Mutes"), h("button", { type: "button", onclick: () => addMute() }, "Add a mute")), body);
}

function row(rule) {
  const until = rule.ended ? `ended ${time(rule.expires_at)}` : rule.expires_at ? time(rule.expires_at) : "no end";
  return h(
    "tr",
    { class: "row" },
    h("td", { class: "arn" }, what(rule)),
    h("td", { class: "number" }, h("a", { href: address("findings", { policy: rule.policy, account: rule.account_id, muted: "true" }) }, plural(rule.findings, "finding"))),
    h("td", {}, rule.reason),
    h("td", { class: "wide-only" }, rule.author),
    h("td", { class: "wide-only when" }, time(rule.created_at)),
    h("td", { class: "when" }, until),
    h("td", {}, h("button", { type: "button", class: "small", "aria-label": `Remove the mute of ${what(rule)}`, onclick: () => unmute(rule) }, "Remove")),
  );
}

function what(rule) {
  const tags = Object.entries(rule.tags).map(([key, values]) => `${key}=${values.join(" or ")}`);
  return [rule.policy, rule.account_id && accountName(rule.account_id), ...tags, rule.arn].filter(Boolean).join(", ");
}

/** Asks, and removes a rule. */
export function unmute(rule) {
  confirmed("Remove this mute?", `${what(rule)}: what no other rule mutes counts as open again.`, "Remove", async () => {
    const answer = await send("DELETE", `/mutes/${rule.id}`);
    changed();
    return answer;
  });
}

/** Removes what mutes a finding; `done` is called when it is. */
export async function unmuteFinding(finding, done) {
  const rule = (await get("/mutes")).find((one) => one.id === finding.mute_id);
  const others = rule && rule.findings > 1 ? `The same rule (${what(rule)}) mutes ${plural(rule.findings, "finding")}: all of them count as open again.` : "It counts as open again.";
  confirmed("Unmute this finding?", others, "Unmute", async () => {
    const answer = await send("DELETE", `/mutes/${finding.mute_id}`);
    done();
    changed();
    return answer;
  });
}

/** Asks for a reason and mutes one finding; `done` is called when it is. */
export function muteFinding(finding, done) {
  ask(`Mute ${finding.policy}`, [h("p", { class: "wide" }, "Only on ", h("code", {}, finding.arn))], () => ({ policy: finding.policy, arn: finding.arn }), done);
}

function addMute() {
  const policy = select("policy", policyOptions("Any policy"), "");
  const account = select("account", accountOptions("Any account"), "");
  const arn = h("input", { name: "arn", placeholder: "arn:aws:s3:::logs-*" });
  const tags = h("textarea", { name: "tags", rows: 2, placeholder: "env=sandbox" });
  const controls = [
    h("p", { class: "field wide muted" }, "What matches everything given is muted, now and whenever it turns up."),
    field("Policy", policy),
    field("Account", account),
    field("ARN, * and ? are wildcards", arn, "wide"),
    field("Tags, one per line", tags, "wide"),
  ];
  ask("Add a mute", controls, () => ({ policy: policy.value || null, account_id: account.value || null, arn: arn.value.trim() || null, tags: readTags(tags.value) }), () => {});
}

function readTags(text) {
  const tags = {};
  for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const [key, ...rest] = line.split("=");
    if (!rest.length) throw new Error(`'${line}' is not key=value.`);
    (tags[key.trim()] ??= []).push(rest.join("=").trim());
  }
  return tags;
}

function ask(title, controls, matches, done) {
  const reason = h("textarea", { name: "reason", rows: 2, required: true, maxlength: 500 });
  const author = h("input", { name: "author", required: true, maxlength: 100, value: localStorage.getItem(AUTHOR) ?? "" });
  const until = h("input", { name: "until", type: "date" });
  const all = [controls, field("Reason", reason, "wide"), field("Author", author), field("Until, UTC (empty: until removed)", until)];
  formSheet(title, all, "Mute", async () => {
    const expires = until.value ? `${until.value}T00:00:00Z` : null;
    const answer = await send("POST", "/mutes", { ...matches(), reason: reason.value, author: author.value, expires_at: expires });
    localStorage.setItem(AUTHOR, author.value);
    done();
    changed();
    return answer;
  });
}
