// One scan that was summed up, in full.

import { h } from "./dom.js";
import { count, duration, time } from "./format.js";
import { facts, openSheet, section } from "./sheet.js";

/** Opens the drawer of an entry of the history. */
export function openScan(scan) {
  const counts = Object.entries(scan).filter(([name, value]) => typeof value === "number" && /^(resources|findings|processed|skipped|policies|accounts|critical|superseded)/.test(name));
  openSheet(`${scan.kind === "inventory" ? "Inventory" : "Policy scan"}, ${time(new Date(scan.timestamp_ms).toISOString())} UTC`, [
    facts([
      ["scan", h("code", {}, scan.scan_id)],
      ["type", scan.scan_type],
      ["covered everything", scan.complete ? "yes" : "no: it says nothing about the rest"],
      ["took", duration(scan.duration_ms)],
      ["accounts", scan.account_id],
      ["services", scan.service],
      ...counts.map(([name, value]) => [name.replaceAll("_", " "), count(value)]),
    ]),
    scan.failed_scopes.count
      ? section(`${count(scan.failed_scopes.count)} failed`, h("ul", {}, scan.failed_scopes.first.map((text) => h("li", { class: "note bad" }, text))))
      : h("p", { class: "note ok" }, "Everything it set out to read was read."),
  ]);
}
