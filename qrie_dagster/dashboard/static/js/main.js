// Starts the page: the session, the names, the header, and the view that the address says.

import { accounts } from "./accounts.js";
import { ApiError, get, send, startSession } from "./api.js";
import { h, show } from "./dom.js";
import { findings } from "./findings.js";
import { showHeader, showNoHeader } from "./header.js";
import { overview } from "./overview.js";
import { policies } from "./policies.js";
import { resources } from "./resources.js";
import { followScan, scanNow } from "./scan_now.js";
import { scans } from "./scans.js";
import { known, loadNames, place } from "./shared.js";
import { tell } from "./sheet.js";
import { startTheme } from "./theme.js";
import { startTips } from "./tip.js";

const VIEWS = { overview, findings, resources, policies, accounts, scans };
const REFRESH_MS = 30_000;
const main = document.getElementById("main");
let shown = 0;

async function showView() {
  const { view, filters } = place();
  const render = VIEWS[view] ?? overview;
  const turn = ++shown;
  for (const link of document.querySelectorAll("#views a")) {
    const current = link.hash.slice(1).split("?")[0] === view;
    if (current) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else link.removeAttribute("aria-current");
  }
  // A view that takes long must not show up over one that was asked for later.
  const target = h("div", {});
  target.style.display = "contents";
  try {
    const board = await refreshHeader();
    await render(target, board, filters);
    if (turn === shown) show(main, target);
  } catch (problem) {
    if (turn === shown) show(main, h("p", { class: "note bad", role: "alert" }, problem.message));
  }
}

async function refreshHeader() {
  try {
    const board = await get("/summary/dashboard");
    showHeader(board);
    return board;
  } catch (problem) {
    showNoHeader(problem.message);
    throw problem;
  }
}

/** Brings the header up to date, also in a tab that is not looked at, whose title says it; and the overview if it is. */
function refresh() {
  if (place().view === "overview" && !document.hidden && !isInUse()) showView();
  else refreshHeader().catch(() => {});
}

/** Whether somebody is in the middle of something that a new view would take away. */
function isInUse() {
  const focused = document.activeElement;
  return document.querySelector("dialog[open], main details[open]") || (focused !== main && main.contains(focused));
}

/** Tells what failed and has no place of its own: a button that just does something, or a view after a change. */
function tellFailures() {
  addEventListener("unhandledrejection", (event) => {
    tell(event.reason?.message ?? String(event.reason));
    if (event.reason instanceof ApiError) event.preventDefault();
  });
}

async function start() {
  tellFailures();
  startTips();
  startTheme(document.getElementById("theme"));
  document.getElementById("scan-now").addEventListener("click", () => scanNow());
  document.getElementById("logout").addEventListener("click", async () => {
    await send("POST", "/logout").catch(() => {});
    location.assign("/login");
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    // The part of the address after '#' says which view it is: it must stay.
    event.preventDefault();
    main.focus();
  });
  addEventListener("hashchange", () => {
    document.querySelector(".top .told")?.remove();
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
    showView();
    main.focus({ preventScroll: true });
  });
  document.addEventListener("qrie-changed", () => loadNames().then(showView));
  try {
    known.dagsterUrl = (await startSession()).dagster_url;
    await loadNames();
  } catch (problem) {
    showNoHeader(problem.message);
    return;
  }
  await showView();
  setInterval(refresh, REFRESH_MS);
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  const { running } = await get("/scans").catch(() => ({ running: [] }));
  for (const scan of running) followScan(scan.scan_id, "");
}

start();
