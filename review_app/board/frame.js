// The board's frame: the line on top, the question and its buttons, the reasons to skip, and notices.
// Knows how the state is drawn; knows nothing of what changes it.

import { button, clock, key, logo, option, press, several } from "./parts.js";
import { make } from "./text.js";

export class Frame {
  constructor(board) {
    this.board = board;
    this.top = this.drawTop();
    this.stage = this.drawStage();
    this.notice = make("div", { class: "notice", role: "alert", hidden: true });
  }

  notify(words, ...more) {
    this.notice.replaceChildren(make("span", {}, words, ...more), button("notice-close", () => this.quiet(), "Close"));
    this.notice.hidden = false;
  }

  quiet() {
    this.notice.hidden = true;
  }

  drawTop() {
    this.count = make("span", { class: "today" });
    this.saved = make("span", { class: "saved", role: "status" });
    this.stopButton = button("stop", () => this.board.stop(), key("stop"), "Stop for today");
    return make("div", { class: "top" }, make("div", { class: "logo" }, logo(), make("span", {}, "Flagback")), make("div", { class: "grow" }),
      this.count, this.saved, make("a", { class: "you", href: "/you" }, "You"), this.stopButton);
  }

  drawStage() {
    this.askLine = make("p", { class: "ask" });
    this.flagButton = button("big flag", () => this.board.flag(), key("flag"), (this.flagWords = make("span")));
    this.fineButton = button("big fine", () => this.board.fine(), key("fine"), (this.fineWords = make("span")));
    this.skipButton = button("", () => this.board.skip(), key("skip"), "Skip");
    this.undoButton = button("", () => this.board.undo(), key("undo"), (this.undoWords = make("span")));
    this.keepButton = button("", () => this.board.keepAsItWas(), make("kbd", { "aria-hidden": "true" }, "Esc"), "Keep it as it was");
    const helpButton = button("", () => this.board.help.show(), key("help"), "Help", make("span", { class: "wide" }, " and examples"));
    this.skipPanel = make("fieldset", { class: "panel" }, make("legend", {}, "Why skip it?"),
      make("div", { class: "list skips" }, ...this.board.taxonomy.skips.map((reason, index) => {
        const made = option(make("kbd", { "aria-hidden": "true", class: "digit" }, String(index + 1)), reason.name, reason.definition, () => this.board.skipFor(reason));
        made.dataset.skip = reason.code;
        return made;
      })),
      make("p", { class: "soft" }, "Someone else will see it. Skipping has no drawback for you."));
    const { prompt, scenes, sheets } = this.board;
    this.two = make("div", { class: "two" }, this.flagButton, this.fineButton);
    return (this.stage = make("div", { class: "stage" }, prompt.element, scenes.single.element, scenes.compare.element, this.askLine,
      this.two, sheets.compare.buttons, sheets.compare.orderLine,
      make("div", { class: "quiet" }, this.skipButton, this.undoButton, helpButton, this.keepButton), this.skipPanel,
      sheets.single.element));
  }

  /** Brings every button in line with the state; moves nothing above what was unfolded. */
  sync() {
    const { board } = this;
    this.syncTop();
    const item = board.shown;
    this.stage.hidden = !item;
    board.empty.element.hidden = Boolean(item);
    if (!item) board.offered = board.choice;
    board.modes.sync(board.offered && !board.stopped && !board.enough && !board.completion);
    if (!item) {
      board.empty.sync({ stopped: board.stopped, enough: board.enough, code: board.completion, reached: board.reached,
        waiting: board.stopped || board.enough ? board.outbox?.size ?? 0 : 0, today: board.today, past: board.past.length > 0,
        mode: board.modes.mode, other: board.other });
      board.relabel();
      return;
    }
    const earlier = board.again === null ? null : board.past[board.again].answer;
    const flagging = board.panel === "form";
    this.syncKind();
    this.askLine.textContent = earlier ? "You answered this one before. Would you change it?" : question(item);
    this.flagWords.textContent = flagging ? "Flagged" : "Flag it";
    this.fineWords.textContent = flagging ? "Looks fine after all" : "Looks fine";
    press(this.flagButton, flagging);
    press(this.fineButton, earlier?.verdict === "fine" && !flagging);
    press(this.skipButton, board.panel === "skip" || (earlier?.verdict === "skip" && (!flagging || board.kind === "compare")));
    for (const made of this.skipPanel.querySelectorAll("[data-skip]")) press(made, earlier?.skip_reason === made.dataset.skip);
    this.undoWords.textContent = earlier ? "One further back" : "Undo last";
    this.undoButton.disabled = (board.again ?? board.past.length) < 1;
    this.keepButton.hidden = !earlier;
    this.skipPanel.hidden = board.panel !== "skip";
    board.sheet.element.hidden = !flagging;
    if (flagging || board.kind === "compare") board.sheet.sync(earlier);
  }

  /** Shows what belongs to the kind of item on the screen, and hides what belongs to the other; there is one sheet in the page. */
  syncKind() {
    const { scenes, sheets, sheet, kind } = this.board;
    if (sheet.element !== this.stage.lastElementChild) {
      this.stage.lastElementChild.replaceWith(sheet.element);
      this.board.relabel();
    }
    scenes.single.element.hidden = kind !== "single";
    scenes.compare.element.hidden = kind !== "compare";
    this.two.hidden = kind !== "single";
    sheets.compare.buttons.hidden = kind !== "compare" || sheets.compare.ranking;
    sheets.compare.orderLine.hidden = kind !== "compare" || !sheets.compare.ranking;
  }

  syncTop() {
    const { board } = this;
    const { aim } = board.data;
    this.count.textContent = board.today > aim ? `${board.today} today` : `${board.today} of ${aim} today`;
    this.stopButton.hidden = Boolean(board.stopped);
    const { size, state } = board.outbox ?? { size: 0, state: "ready" };
    const cut = state !== "ready" || board.reached === false;
    this.saved.classList.toggle("cut", cut);
    this.saved.classList.toggle("on", !cut && Boolean(board.savedAt) && !size);
    if (cut) this.saved.textContent = size ? `No connection · ${several(size, "answer")} kept here` : "No connection · trying again";
    else if (size) this.saved.textContent = "Saving…";
    else this.saved.textContent = board.savedAt ? `Saved ${clock(board.savedAt)}` : "";
  }
}

function question({ answers }) {
  return !answers?.length ? "Would you change this answer?" : answers.length === 2 ? "Which answer is better?" : "In what order do they stand, the best first?";
}
