// Small parts of the board: buttons, key caps, the logo, typefaces. Knows how they look and behave; knows nothing of reviews.

import { make } from "./text.js";
import { locale } from "./words.js";

/** A button that gives the focus back after a click by pointer, so that Enter goes on saving. */
export function button(kind, act, ...children) {
  return make("button", { type: "button", class: kind || null, onclick: (event) => {
    act();
    if (event.detail > 0) {
      const root = event.target.getRootNode();
      if (!root.activeElement || root.activeElement.tagName === "BUTTON") home(root)?.focus({ preventScroll: true });
    }
  } }, ...children);
}

/** What the keys go to: of what is marked so, the one that can be seen. */
function home(root) {
  return Array.from(root.querySelectorAll("[data-home]")).find((one) => one.offsetParent);
}

/** A cap that always says the same. */
export function cap(name) {
  return make("kbd", { "aria-hidden": "true" }, name);
}

/** A cap of something that can be done: which letter stands on it, `Keys.label` decides. */
export function key(act) {
  return make("kbd", { "aria-hidden": "true", "data-act": act });
}

export function option(start, words, definition, act, ...more) {
  return button("opt", act, start ?? make("span", { class: "dot", "aria-hidden": "true" }),
    make("span", {}, words, definition ? make("small", {}, definition) : null, ...more));
}

export function press(made, on) {
  made.classList.toggle("on", on);
  made.setAttribute("aria-pressed", String(on));
}

export function clock(moment) {
  return new Date(moment).toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

/** Streamlit's "Connection error", which the board closes: see Board.liftLayer. */
export function connectionLayer() {
  const layer = document.querySelector("[data-testid=stDialog] [role=dialog]");
  return layer?.textContent.startsWith("Connection error") ? layer : null;
}

/** Whether something else lies over the page and waits for an answer. */
export function dialogOver() {
  const ours = connectionLayer();
  return Array.from(document.querySelectorAll("[role=dialog], [role=alertdialog], dialog[open]"))
    .some((one) => one !== ours && (one.checkVisibility?.() ?? true));
}

export function logo() {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  for (const [name, value] of Object.entries({ width: 22, height: 22, viewBox: "0 0 22 22", fill: "none", "aria-hidden": "true" }))
    drawing.setAttribute(name, value);
  for (const [kind, line] of [["pole", "M5 20V3"], ["cloth", "M5 4h11l-3 3.5L16 11H8"], ["cloth", "M10.5 8.5 8 11l2.5 2.5"]]) {
    const path = document.createElementNS(space, "path");
    path.setAttribute("class", kind);
    path.setAttribute("d", line);
    drawing.append(path);
  }
  return drawing;
}

/** A typeface declared inside a shadow root is not loaded: declare it for the page. */
export function loadFonts() {
  if (Array.from(document.fonts).some((face) => face.family.includes("Flagback Serif"))) return;
  for (const [family, file, style] of [["Flagback Sans", "sans", "normal"], ["Flagback Serif", "serif", "normal"], ["Flagback Serif", "serif-italic", "italic"]])
    document.fonts.add(new FontFace(family, `url(/look/${file}.woff2)`, { weight: "200 900", style, display: "swap" }));
}
