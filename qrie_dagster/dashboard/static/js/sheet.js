// Dialogs: drawers at the side, and small ones in the middle. The browser keeps the focus in, and Escape closes.

import { h } from "./dom.js";

/** Opens a dialog with a title and content; returns it. */
export function openSheet(title, content, kind = "drawer") {
  const heading = h("h1", { id: `sheet-${Math.random().toString(36).slice(2)}` }, title);
  const dialog = h(
    "dialog",
    { class: kind, "aria-labelledby": heading.id },
    h("div", { class: "sheet" }, h("header", {}, heading, h("button", { type: "button", class: "small", onclick: () => dialog.close() }, "Close")), content),
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Facts as a list of [name, value]; those without a value are left out. */
export function facts(entries) {
  return h("dl", { class: "facts" }, entries.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** A titled part of a sheet. */
export function section(title, ...content) {
  return h("section", {}, h("h2", {}, title), content);
}

/** Asks before something is done; `action` gets the dialog's own place for errors. */
export function confirmed(title, text, label, action) {
  const error = h("p", { class: "error", role: "alert" });
  const button = h("button", { type: "button", class: "danger", onclick: run }, label);
  const dialog = openSheet(title, [h("p", {}, text), error, h("div", { class: "row-of" }, button)], "small-sheet");
  async function run() {
    button.disabled = true;
    try {
      await action();
      dialog.close();
    } catch (problem) {
      error.textContent = problem.message;
      button.disabled = false;
    }
  }
}
