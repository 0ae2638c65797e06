// Two charts, drawn as SVG; each has its numbers as a table besides.

import { h, svg, table } from "./dom.js";
import { count, duration, time } from "./format.js";

// On a narrow screen the drawing is narrow as well, so that its text stays as large as other text.
const WIDTH = matchMedia("(max-width: 700px)").matches ? 340 : 640;
const HEIGHT = 210;
const LEFT = 44;
const BOTTOM = 24;
const TOP = 12;

function scale(largest) {
  const top = nice(largest);
  return { top, y: (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top) };
}

/** The top of a scale of four whole steps. */
function nice(value) {
  const least = Math.max(1, value / 4);
  const power = 10 ** Math.floor(Math.log10(least));
  return 4 * power * [1, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= least);
}

function frame(y, top, text = count) {
  const lines = [0, 0.25, 0.5, 0.75, 1].map((share) => share * top);
  return lines.flatMap((value) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(value), y2: y(value) }),
    svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, text(value)),
  ]);
}

function figure(title, label, legend, drawing, numbers) {
  return h(
    "figure",
    { class: "chart" },
    h("figcaption", { class: "legend" }, legend.map(([kind, text]) => h("span", {}, h("span", { class: `swatch ${kind}` }), text))),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, drawing),
    h("details", {}, h("summary", {}, "As a table"), numbers),
  );
}

/** Eight weeks of findings: open ones as a line, new and closed ones as bars. */
export function findingsChart(weeks) {
  const { top, y } = scale(Math.max(...weeks.flatMap((week) => [week.open_findings, week.new_findings, week.closed_findings])));
  const step = (WIDTH - LEFT) / weeks.length;
  const x = (index) => LEFT + step * (index + 0.5);
  const wide = Math.min(14, step / 3);
  const bar = (value, index, side, kind) =>
    svg("rect", { class: kind, x: x(index) + (side < 0 ? -wide - 1 : 1), width: wide, y: y(value), height: Math.max(0, y(0) - y(value)), rx: 2 });
  const points = weeks.map((week, index) => `${x(index)},${y(week.open_findings)}`);
  const last = weeks.at(-1);
  return figure(
    "Findings",
    `Open findings over eight weeks: from ${weeks[0].open_findings} to ${last.open_findings}.`,
    [["open", "open at the end of the week"], ["new", "new"], ["closed", "closed"]],
    [
      frame(y, top),
      weeks.map((week, index) => index % (WIDTH < 400 ? 2 : 1) ? null : svg("text", { x: x(index), y: HEIGHT - 6, "text-anchor": "middle" }, week.week_start.slice(5))),
      weeks.map((week, index) => [bar(week.new_findings, index, -1, "bar-new"), bar(week.closed_findings, index, 1, "bar-closed")]),
      svg("polygon", { class: "area", points: `${x(0)},${y(0)} ${points.join(" ")} ${x(weeks.length - 1)},${y(0)}` }),
      svg("polyline", { class: "line", points: points.join(" ") }),
      weeks.map((week, index) => svg("circle", { class: "dot", cx: x(index), cy: y(week.open_findings), r: 3.5 })),
    ],
    table(
      "Findings by week",
      [["week from"], ["open", "number"], ["new", "number"], ["new critical", "number"], ["closed", "number"]],
      weeks.map((week) =>
        h("tr", {}, h("td", {}, week.week_start), [week.open_findings, week.new_findings, week.critical_new, week.closed_findings].map((value) => h("td", { class: "number" }, count(value)))),
      ),
    ),
  );
}

const DAY = 86_400_000;
const DAYS = 28;

/** Four weeks of scans: one bar per scan, as high as it was long, red where something failed. */
export function scansChart(scans) {
  const end = Math.ceil(Date.now() / DAY) * DAY;
  const start = end - DAYS * DAY;
  const shown = scans.filter((scan) => scan.timestamp_ms >= start);
  const longest = Math.max(10, ...shown.map((scan) => scan.duration_ms / 1000));
  const [unit, name] = longest > 240 ? [60, "min"] : [1, "s"];
  const { top, y } = scale(longest / unit);
  const x = (ms) => LEFT + ((ms - start) / (DAYS * DAY)) * (WIDTH - LEFT);
  const bars = shown.map((scan) => {
    const high = Math.max(3, y(0) - y(scan.duration_ms / 1000 / unit));
    const wide = WIDTH < 400 ? 4 : 6;
    const shift = scan.kind === "inventory" ? -wide : 1;
    return [
      svg("rect", { class: scan.kind, x: x(scan.timestamp_ms) + shift, width: wide, y: y(0) - high, height: high, rx: 1.5 }),
      scan.failed_scopes.count ? svg("circle", { class: "failed", cx: x(scan.timestamp_ms) + shift + wide / 2, cy: y(0) - high - 6, r: 3.5 }) : null,
    ];
  });
  const ticks = [0, 7, 14, 21, 28].map((day) => {
    const anchor = day === 0 ? "start" : day === 28 ? "end" : "middle";
    return svg("text", { x: x(start + day * DAY), y: HEIGHT - 6, "text-anchor": anchor }, new Date(start + day * DAY).toISOString().slice(5, 10));
  });
  const failed = shown.filter((scan) => scan.failed_scopes.count).length;
  return figure(
    "Scans",
    `${shown.length} scans in four weeks, ${failed} with failures.`,
    [["inventory", "inventory"], ["policy", "policies"], ["failed", "something failed"]],
    [frame(y, top, (value) => `${Math.round(value * 10) / 10} ${name}`), ticks, bars],
    table(
      "Scans of four weeks",
      [["ended, UTC"], ["kind"], ["took", "number"], ["failed", "number"]],
      shown.map((scan) =>
        h("tr", {}, h("td", {}, time(new Date(scan.timestamp_ms).toISOString())), h("td", {}, scan.kind), h("td", { class: "number" }, duration(scan.duration_ms)), h("td", { class: "number" }, count(scan.failed_scopes.count))),
      ),
    ),
  );
}
