// What stands on the screen while there is nothing to judge: at the start, at the end, on a break, without a connection.
// Knows words; what is the case is handed to it.

import { button, key } from "./parts.js";
import { make } from "./text.js";
import { languageNames, listed, tr, trn } from "./words.js";

export class Empty {
  /** @param {object} board {undo(), goOn(), turnTo(mode), say(words), support} */
  constructor(board) {
    this.board = board;
    this.element = make("div", { class: "empty", tabindex: "-1" });
  }

  /**
   * Draws the case, once: {stopped: "" | "today" | "break", enough, code, reached, refusal, waiting, today, past, mode, other, onlyIn}.
   */
  sync(now) {
    const state = now.code ? "finished" : now.stopped || (now.enough ? "enough" : now.refusal ? "refused" : now.reached === undefined ? "loading" : !now.reached ? "cut" : now.onlyIn?.length ? "other_languages" : now.mode === "compare" ? "nothing_to_compare" : "none");
    const drawn = JSON.stringify([state, now]);
    if (this.drawn === drawn) return;
    this.drawn = drawn;
    this.element.replaceChildren(...this.words(state, now).filter(Boolean));
    this.board.say(state === "loading" ? "" : this.element.textContent);
  }

  words(state, { code, refusal, waiting, today, past, mode, other, onlyIn }) {
    const turn = (to, words) => button("primary", () => this.board.turnTo(to), words);
    const undo = past ? button("", () => this.board.undo(), key("undo"), tr("Take up my last answer again")) : null;
    const support = this.board.support ? make("div", { class: "support" }, ...this.board.support.split(/\n+/).map((line) => make("p", {}, line))) : null;
    const onTheWay = waiting ? make("p", { class: "wait" }, trn("{count} answer still on the way: keep this page open until “Saved” appears above.",
      "{count} answers still on the way: keep this page open until “Saved” appears above.", waiting)) : null;
    const leave = make("a", { href: "/signout" }, tr("Sign out"));
    const all = {
      loading: [make("p", { class: "soft" }, tr("Fetching the first answer…"))],
      finished: [make("h2", {}, tr("You are done. Thank you.")),
        make("p", {}, tr("Your completion code, for the platform that sent you:")), make("p", { class: "code" }, code ?? ""),
        make("p", { class: "soft" }, tr("It stays here and on the page “You” as long as this browser is signed in.")),
        make("div", { class: "row" }, undo)],
      none: [make("h2", {}, today ? tr("That is all for now.") : tr("Nothing to review just now.")),
        make("p", {}, tr("When the model has written more, the next answer appears here by itself. This page looks every few seconds; you may leave it open.")),
        make("div", { class: "row" }, other ? turn("compare", tr("Compare answers")) : null, undo)],
      other_languages: [make("h2", {}, tr("Nothing to review just now.")),
        make("p", {}, tr("You read {languages}. Nothing waits in those, but something does in other languages.", { languages: listed(languageNames(onlyIn ?? [])) })),
        make("div", { class: "row" }, make("a", { href: "/you" }, tr("Choose languages")), undo)],
      nothing_to_compare: [make("h2", {}, tr("Nothing to compare just now.")),
        make("p", {}, other ? tr("There are single answers to judge meanwhile. When there are more to compare, they appear here by themselves.")
          : tr("There are no single answers to judge either. When there are more to compare, they appear here by themselves; you may leave this page open.")),
        make("div", { class: "row" }, other ? turn("single", tr("Judge one by one")) : null, undo)],
      refused: [make("h2", {}, tr("Nothing is handed out to you just now.")), make("p", {}, refusal?.words ?? ""),
        make("div", { class: "row" }, make("a", { href: refusal?.href ?? "/" }, refusal?.link ?? ""), undo)],
      cut: [make("h2", {}, tr("There is no connection.")),
        make("p", {}, tr("The next answer cannot be fetched just now. What you said is kept in this browser; this page tries again by itself."))],
      enough: [make("h2", {}, tr("That is enough hard reading for a day.")),
        make("p", {}, tr("You have met as many severe answers as one person should in 24 hours, so nothing more is handed out for now. It has no drawback for you.")),
        support, onTheWay, make("div", { class: "row" }, leave)],
      break: [make("h2", {}, tr("Take your time.")), make("p", {}, tr("Nothing is counted while you are away.")), support, onTheWay,
        make("div", { class: "row" }, button("primary", () => this.board.goOn(), tr("Go on")), leave)],
      today: [make("h2", {}, tr("That is it for today. Thank you.")),
        make("p", {}, today ? `${trn("You gave {count} answer today.", "You gave {count} answers today.", today)} ` : "",
          tr("What you had not looked at goes to others.")), support, onTheWay,
        make("div", { class: "row" }, button("primary", () => this.board.goOn(), tr("Go on after all")), leave)],
    };
    return all[state];
  }
}
