// The scans of four weeks, and those under way.

import { get } from "./api.js";
import { scansChart } from "./charts.js";
import { h, outside, show } from "./dom.js";
import { scanTable } from "./overview.js";
import { known } from "./shared.js";
import { followScan } from "./scan_now.js";

/** Shows the view. */
export async function scans(main) {
  const answer = await get("/scans");
  for (const scan of answer.running) followScan(scan.scan_id, "");
  show(
    main,
    h(
      "section",
      { class: "panel" },
      h("header", {}, h("h1", {}, "Scans"), outside(`${known.dagsterUrl}/runs`, "Runs in Dagster")),
      answer.message ? h("p", { class: "note" }, `What is under way is not known. ${answer.message}`) : null,
      scansChart(answer.scans),
    ),
    h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Ended")), scanTable(answer.scans)),
  );
}
