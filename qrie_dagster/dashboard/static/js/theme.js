// Colours: as the system has them, or light, or dark.

import { show, svg } from "./dom.js";

const ORDER = ["system", "light", "dark"];
const SIGNS = {
  system: [svg("circle", { cx: 8, cy: 8, r: 6, fill: "none", stroke: "currentColor", "stroke-width": 1.5 }), svg("path", { d: "M8 2a6 6 0 0 1 0 12z", fill: "currentColor" })],
  light: [svg("circle", { cx: 8, cy: 8, r: 3.2, fill: "currentColor" }), svg("path", { d: "M8 .8v2M8 13.2v2M.8 8h2M13.2 8h2M2.9 2.9l1.4 1.4M11.7 11.7l1.4 1.4M2.9 13.1l1.4-1.4M11.7 4.3l1.4-1.4", stroke: "currentColor", "stroke-width": 1.5 })],
  dark: [svg("path", { d: "M13.5 10A6 6 0 0 1 6 2.5 6 6 0 1 0 13.5 10z", fill: "currentColor" })],
};

/** Makes the button go through the three, and remembers which it is. */
export function startTheme(button) {
  let theme = localStorage.getItem("qrie-theme") ?? "system";
  const apply = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.setAttribute("aria-label", `Colours: ${theme === "system" ? "as the system" : theme}`);
    button.dataset.tip = button.getAttribute("aria-label");
    show(button, svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, SIGNS[theme]));
  };
  button.addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    localStorage.setItem("qrie-theme", theme);
    apply();
  });
  apply();
}
