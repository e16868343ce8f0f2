// What stands on the screen while there is nothing to judge: at the start, at the end, on a break, without a connection.
// Knows words; what is the case is handed to it.

import { button, key, several } from "./parts.js";
import { make } from "./text.js";

export class Empty {
  /** @param {object} board {undo(), goOn(), turnTo(mode), say(words), support} */
  constructor(board) {
    this.board = board;
    this.element = make("div", { class: "empty", tabindex: "-1" });
  }

  /**
   * Draws the case, once: {stopped: "" | "today" | "break", enough, code, reached, waiting, today, past, mode, other}.
   */
  sync(now) {
    const state = now.code ? "finished" : now.stopped || (now.enough ? "enough" : now.reached === undefined ? "loading" : !now.reached ? "cut" : now.mode === "compare" ? "nothing_to_compare" : "none");
    const drawn = JSON.stringify([state, now]);
    if (this.drawn === drawn) return;
    this.drawn = drawn;
    this.element.replaceChildren(...this.words(state, now).filter(Boolean));
    this.board.say(state === "loading" ? "" : this.element.textContent);
  }

  words(state, { code, waiting, today, past, mode, other }) {
    const turn = (to, words) => button("primary", () => this.board.turnTo(to), words);
    const undo = past ? button("", () => this.board.undo(), key("undo"), "Take up my last answer again") : null;
    const support = this.board.support ? make("div", { class: "support" }, ...this.board.support.split(/\n+/).map((line) => make("p", {}, line))) : null;
    const onTheWay = waiting ? make("p", { class: "wait" }, `${several(waiting, "answer")} still on the way: keep this page open until “Saved” appears above.`) : null;
    const leave = make("a", { href: "/signout" }, "Sign out");
    const all = {
      loading: [make("p", { class: "soft" }, "Fetching the first answer…")],
      finished: [make("h2", {}, "You are done. Thank you."),
        make("p", {}, "Your completion code, for the platform that sent you:"), make("p", { class: "code" }, code ?? ""),
        make("p", { class: "soft" }, "It stays here and on the page “You” as long as this browser is signed in."),
        make("div", { class: "row" }, undo)],
      none: [make("h2", {}, today ? "That is all for now." : "Nothing to review just now."),
        make("p", {}, "When the model has written more, the next answer appears here by itself. This page looks every few seconds; you may leave it open."),
        make("div", { class: "row" }, other ? turn("compare", "Compare answers") : null, undo)],
      nothing_to_compare: [make("h2", {}, "Nothing to compare just now."),
        make("p", {}, other ? "There are single answers to judge meanwhile. When there are more to compare, they appear here by themselves."
          : "There are no single answers to judge either. When there are more to compare, they appear here by themselves; you may leave this page open."),
        make("div", { class: "row" }, other ? turn("single", "Judge one by one") : null, undo)],
      cut: [make("h2", {}, "There is no connection."),
        make("p", {}, "The next answer cannot be fetched just now. What you said is kept in this browser; this page tries again by itself.")],
      enough: [make("h2", {}, "That is enough hard reading for a day."),
        make("p", {}, "You have met as many severe answers as one person should in 24 hours, so nothing more is handed out for now. It has no drawback for you."),
        support, onTheWay, make("div", { class: "row" }, leave)],
      break: [make("h2", {}, "Take your time."), make("p", {}, "Nothing is counted while you are away."), support, onTheWay,
        make("div", { class: "row" }, button("primary", () => this.board.goOn(), "Go on"), leave)],
      today: [make("h2", {}, "That is it for today. Thank you."),
        make("p", {}, today ? `You gave ${several(today, "answer")} today. ` : "", "What you had not looked at goes to others."), support, onTheWay,
        make("div", { class: "row" }, button("primary", () => this.board.goOn(), "Go on after all"), leave)],
    };
    return all[state];
  }
}
