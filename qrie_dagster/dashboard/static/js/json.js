// JSON with colours, as text nodes.

import { h } from "./dom.js";

/** `value` as highlighted JSON. */
export function json(value, label) {
  return h("pre", { class: "json", tabindex: "0", role: "region", "aria-label": label }, parts(value, ""));
}

function parts(value, indent) {
  if (Array.isArray(value)) return block("[", value.map((inner) => parts(inner, `${indent}  `)), "]", indent);
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value).map(([key, inner]) => [h("span", { class: "key" }, JSON.stringify(key)), ": ", parts(inner, `${indent}  `)]);
    return block("{", entries, "}", indent);
  }
  const kind = typeof value === "string" ? "string" : typeof value === "number" ? "number-value" : "word";
  return [h("span", { class: kind }, JSON.stringify(value))];
}

function block(open, entries, close, indent) {
  if (!entries.length) return [open + close];
  const last = entries.length - 1;
  return [`${open}\n`, entries.map((entry, index) => [`${indent}  `, entry, index < last ? ",\n" : "\n"]), `${indent}${close}`].flat(Infinity);
}
