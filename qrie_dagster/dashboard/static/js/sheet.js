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

/** Asks before something is done by `action`. */
export function confirmed(title, text, label, action) {
  formSheet(title, h("p", { class: "wide" }, text), label, action, "danger");
}

/** A dialog with a form. `action` gets it when it is sent: what that throws is shown, what the server answered is told. */
export function formSheet(title, controls, label, action, kind = "primary") {
  const error = h("p", { class: "error", role: "alert" });
  const button = h("button", { type: "submit", class: kind }, label);
  const form = h("form", { class: "form", onsubmit: submit }, controls, h("div", { class: "wide row-of" }, button, error));
  const dialog = openSheet(title, form, "small-sheet");

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    error.textContent = "";
    try {
      const answer = await action(form);
      dialog.close();
      tellDone(answer);
    } catch (problem) {
      error.textContent = problem.message;
      button.disabled = false;
    }
  }
}

/** Tells what a change did, as the server has put it. */
export function tellDone(answer) {
  if (answer?.message) tell(answer.message, answer.waits_for_scan ? "warn" : "ok");
}

/** Says something where people look: in the dialog on top, or else in the page's header. */
export function tell(text, kind = "bad") {
  for (const old of document.querySelectorAll(".told")) old.remove();
  const note = h("div", { class: `told note ${kind}`, role: kind === "bad" ? "alert" : "status" }, h("span", {}, text), h("button", { type: "button", class: "small", onclick: () => note.remove() }, "Dismiss"));
  const sheet = [...document.querySelectorAll("dialog[open] .sheet")].at(-1);
  (sheet ? sheet.firstElementChild : document.querySelector(".bar")).after(note);
  note.scrollIntoView({ block: "nearest" });
}
