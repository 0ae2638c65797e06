// A filtered table in pages. The filters are in the address, so that a view can be linked to and gone back to.

import { get } from "./api.js";
import { field, h, select, show, table } from "./dom.js";
import { address } from "./shared.js";

const SIZES = ["25", "50", "100"];
// A rare thing in a large estate may be many pages away: how many empty ones are passed over at a time.
const EMPTY_PAGES = 20;

/**
 * Shows rows of `path`. `controls` are [name, label, options] of the filters; `columns` and `row` make the table;
 * `extra` gets the filters and returns what goes besides them.
 */
export async function listing(main, { title, view, path, rows, filters, controls, columns, row, extra, empty }) {
  let tokens = [null];
  const body = h("div", { "aria-busy": "true" });
  const size = filters.page_size ?? SIZES[0];
  const go = (more) => location.assign(address(view, { ...filters, ...more }));
  const form = h(
    "div",
    { class: "filters", role: "search", "aria-label": `Filter ${view}` },
    controls.map(([name, label, options]) => field(label, select(name, options, filters[name], (event) => go({ [name]: event.target.value })))),
    field("Rows", select("page_size", SIZES.map((value) => [value, value]), size, (event) => go({ page_size: event.target.value }))),
    Object.keys(filters).length ? h("a", { class: "button", href: address(view) }, "Clear") : null,
    extra?.(filters),
  );
  show(main, h("section", { class: "panel" }, h("header", {}, h("h1", {}, title)), form, body));

  /** Shows the page that the last of `turned` leads to. Where that fails, the one before stays. */
  async function load(turned) {
    body.setAttribute("aria-busy", "true");
    try {
      const page = await firstWithRows(turned.at(-1));
      tokens = turned;
      draw(page);
    } finally {
      body.removeAttribute("aria-busy");
    }
  }

  async function firstWithRows(token) {
    for (let tries = 1; ; tries++) {
      const page = await get(path, { ...filters, page_size: size, next_token: token });
      if (page[rows].length || !page.next_token || tries === EMPTY_PAGES) return page;
      token = page.next_token;
    }
  }

  function draw(page) {
    const found = page[rows];
    const turn = (turned) => async () => {
      // Who is impatient must not turn two pages at once.
      if (body.hasAttribute("aria-busy")) return;
      await load(turned);
      main.scrollIntoView({ block: "start" });
    };
    show(
      body,
      found.length ? table(title, columns, found.map(row), "cards") : h("p", { class: "muted" }, page.next_token ? "Nothing so far; there is more to look through." : empty),
      h(
        "div",
        { class: "pager" },
        h("span", { class: "muted", role: "status" }, found.length ? `Page ${tokens.length}: ${found.length} ${found.length === 1 ? "row" : "rows"}${page.next_token ? "" : ", the last"}` : ""),
        h(
          "div",
          { class: "row-of" },
          h("button", { type: "button", onclick: turn(tokens.slice(0, -1)), disabled: tokens.length === 1 }, "Previous"),
          h("button", { type: "button", onclick: turn([...tokens, page.next_token]), disabled: !page.next_token }, "Next"),
        ),
      ),
    );
  }

  await load(tokens);
}
