// One tooltip for the whole page: on hover and on focus, away with Escape.

const tip = document.getElementById("tip");
let owner = null;

function open(element) {
  owner = element;
  tip.textContent = element.dataset.tip;
  tip.hidden = false;
  element.setAttribute("aria-describedby", "tip");
  const box = element.getBoundingClientRect();
  const own = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - 8);
  const below = box.bottom + own.height + 12 < innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = `${below ? box.bottom + 6 : box.top - own.height - 6}px`;
}

function close() {
  owner?.removeAttribute("aria-describedby");
  owner = null;
  tip.hidden = true;
}

/** Shows the tooltips of elements with `data-tip`. */
export function startTips() {
  for (const [on, off] of [["mouseover", "mouseout"], ["focusin", "focusout"]]) {
    document.addEventListener(on, (event) => {
      const element = event.target.closest?.("[data-tip]");
      if (element) open(element);
    });
    document.addEventListener(off, (event) => {
      if (owner && !owner.contains(event.relatedTarget)) close();
    });
  }
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
  document.addEventListener("scroll", close, true);
}
