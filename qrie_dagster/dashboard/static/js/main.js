// Starts the page: the session, the names, the header, and the view that the address says.

import { accounts } from "./accounts.js";
import { get, send, startSession } from "./api.js";
import { h, show } from "./dom.js";
import { findings } from "./findings.js";
import { showHeader, showNoHeader } from "./header.js";
import { overview } from "./overview.js";
import { policies } from "./policies.js";
import { resources } from "./resources.js";
import { followScan, scanNow } from "./scan_now.js";
import { scans } from "./scans.js";
import { known, loadNames, place } from "./shared.js";
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

/** Brings the view up to date, unless somebody is in the middle of something. */
function refresh() {
  const busy = document.querySelector("dialog[open]") || main.contains(document.activeElement) && document.activeElement.matches("select, input, textarea");
  if (document.hidden) return;
  if (place().view === "overview" && !busy) showView();
  else refreshHeader().catch(() => {});
}

async function start() {
  startTips();
  startTheme(document.getElementById("theme"));
  document.getElementById("scan-now").addEventListener("click", () => scanNow());
  document.getElementById("logout").addEventListener("click", async () => {
    await send("POST", "/logout").catch(() => {});
    location.assign("/login");
  });
  addEventListener("hashchange", () => {
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
  const { running } = await get("/scans").catch(() => ({ running: [] }));
  for (const scan of running) followScan(scan.scan_id, "").catch(() => {});
  setInterval(refresh, REFRESH_MS);
}

start();
