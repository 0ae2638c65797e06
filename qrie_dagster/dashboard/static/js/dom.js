// Building the page. Text always goes in as text: nothing here, or anywhere else, takes HTML.

const AFTER_CHILDREN = ["value", "checked", "selected", "disabled"];
const SAFE_LINK = /^(https?:\/\/|[/#])/;

/** An element with properties (`onclick`, `class`, attributes) and children (nodes and text; null is left out). */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same in SVG. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false || AFTER_CHILDREN.includes(name)) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "href" && !SAFE_LINK.test(value)) continue;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  for (const name of AFTER_CHILDREN) if (name in properties) element[name] = properties[name];
  return element;
}

/** Puts `children` in the place of what `element` holds. */
export function show(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
}

/** The same, unless `element` shows just that already: what is read out once is not read out again. */
export function update(element, ...children) {
  const fresh = element.cloneNode(false);
  show(fresh, children);
  if (!fresh.isEqualNode(element)) show(element, [...fresh.childNodes]);
}

/** A link to another site, in a tab of its own. */
export function outside(url, text) {
  return url ? h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, text, h("span", { class: "hidden-text" }, " (opens another page)")) : null;
}

let ids = 0;

/** A labelled control. */
export function field(label, control, more = "") {
  control.id ||= `control-${++ids}`;
  return h("div", { class: `field ${more}` }, h("label", { for: control.id }, label), control);
}

/** A select of [value, text] pairs. */
export function select(name, options, value, onchange) {
  return h("select", { name, onchange, value: value ?? "" }, options.map(([key, text]) => h("option", { value: key }, text)));
}

/** A bar filled to a share of 0 to 1. */
export function track(share, kind = "") {
  const filled = h("span", { class: `fill ${kind}` });
  filled.style.width = `${Math.round(100 * Math.min(1, Math.max(0, share)))}%`;
  return h("span", { class: "track", "aria-hidden": "true" }, filled);
}

/** A table that scrolls by itself where it is too wide; columns are [title, class]. */
export function table(label, columns, rows, more = "") {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h(
      "table",
      { class: more },
      h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))),
      h("tbody", {}, rows),
    ),
  );
}
