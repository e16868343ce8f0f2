// The two ways to review: one answer at a time, or several of one prompt side by side.
// Knows the switch between them and that the choice is kept in this browser; knows nothing of items beyond which kind they are.

import { button, key, press } from "./parts.js";
import { make } from "./text.js";
import { tr } from "./words.js";

/** In the order of the switch; the first is how everybody begins. */
export const MODES = { single: () => tr("Judge one by one"), compare: () => tr("Compare answers") };

/** Which of the two shows an item. */
export function kindOf(item) {
  return item?.answers?.length ? "compare" : "single";
}

export class Modes {
  /** @param {object} board {account, turnTo(mode)} */
  constructor(board) {
    this.board = board;
    this.place = `flagback.mode.${board.account}`;
    this.mode = "single";
    try {
      if (localStorage.getItem(this.place) in MODES) this.mode = localStorage.getItem(this.place);
    } catch {
      // Nothing kept: one by one.
    }
    this.element = make("div", { class: "modes", role: "group", "aria-label": tr("How to review"), hidden: true },
      ...Object.entries(MODES).map(([mode, words]) => {
        const made = button("", () => board.turnTo(mode), words());
        made.dataset.mode = mode;
        return made;
      }), key("mode"));
  }

  get other() {
    return this.mode === "single" ? "compare" : "single";
  }

  choose(mode) {
    this.mode = mode;
    try {
      localStorage.setItem(this.place, mode);
    } catch {
      // Without localStorage the choice holds for this page.
    }
  }

  /** Whether there is a choice: with nothing else to do there is no switch. */
  sync(offered) {
    this.element.hidden = !offered;
    for (const made of this.element.querySelectorAll("[data-mode]")) press(made, made.dataset.mode === this.mode);
  }
}
