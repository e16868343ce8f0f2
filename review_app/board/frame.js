// The board's frame: the line on top, the question and its buttons, the reasons to skip, and notices.
// Knows how the state is drawn; knows nothing of what changes it.

import { button, clock, key, logo, option, press } from "./parts.js";
import { make } from "./text.js";
import { number, tr, trn } from "./words.js";

export class Frame {
  constructor(board) {
    this.board = board;
    this.top = this.drawTop();
    this.stage = this.drawStage();
    this.notice = make("div", { class: "notice", role: "alert", hidden: true });
  }

  notify(words, ...more) {
    this.said = {}; // which notice it is
    this.notice.replaceChildren(make("span", {}, words, ...more), button("notice-close", () => this.quiet(), tr("Close")));
    this.notice.hidden = false;
  }

  quiet() {
    this.notice.hidden = true;
    this.said = null;
  }

  drawTop() {
    this.count = make("span", { class: "today" });
    this.saved = make("span", { class: "saved", role: "status" });
    this.stopButton = button("stop", () => this.board.stop(), key("stop"), tr("Stop for today"));
    return make("div", { class: "top" }, make("div", { class: "logo" }, logo(), make("span", {}, "Flagback")), make("div", { class: "grow" }),
      this.count, this.saved, make("a", { class: "you", href: "/you" }, tr("You")), this.stopButton);
  }

  drawStage() {
    this.askLine = make("p", { class: "ask" });
    this.flagButton = button("big flag", () => this.board.flag(), key("flag"), (this.flagWords = make("span")));
    this.fineButton = button("big fine", () => this.board.fine(), key("fine"), (this.fineWords = make("span")));
    this.skipButton = button("", () => this.board.skip(), key("skip"), tr("Skip"));
    this.undoButton = button("", () => this.board.undo(), key("undo"), (this.undoWords = make("span")));
    this.keepButton = button("", () => this.board.keepAsItWas(), make("kbd", { "aria-hidden": "true" }, tr("Esc")), tr("Keep it as it was"));
    const helpButton = button("", () => this.board.help.show(), key("help"), make("span", { class: "wide" }, tr("Guidelines and help")),
      make("span", { class: "narrow" }, tr("Help")));
    this.skipPanel = make("fieldset", { class: "panel" }, make("legend", {}, tr("Why skip it?")),
      make("div", { class: "list skips" }, ...this.board.taxonomy.skips.map((reason, index) => {
        const made = option(make("kbd", { "aria-hidden": "true", class: "digit" }, String(index + 1)), reason.name, reason.definition, () => this.board.skipFor(reason));
        made.dataset.skip = reason.code;
        return made;
      })),
      make("p", { class: "soft" }, tr("Someone else will see it. Skipping has no drawback for you.")));
    const { prompt, scenes, sheets, practice } = this.board;
    this.two = make("div", { class: "two" }, this.flagButton, this.fineButton);
    return (this.stage = make("div", { class: "stage" }, prompt.element, scenes.single.element, scenes.compare.element, this.askLine,
      this.two, sheets.compare.buttons, sheets.compare.orderLine, practice.element,
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
      board.empty.sync({ stopped: board.stopped, enough: board.enough, code: board.completion, reached: board.reached, refusal: board.refusal,
        waiting: board.stopped || board.enough ? board.outbox?.size ?? 0 : 0, today: board.today, past: board.past.length > 0,
        mode: board.modes.mode, other: board.other, onlyIn: board.onlyIn });
      board.relabel();
      return;
    }
    const earlier = board.again === null ? null : board.past[board.again].answer;
    const flagging = board.panel === "form";
    this.syncKind();
    this.askLine.hidden = Boolean(board.practice.lesson);
    this.askLine.textContent = earlier ? tr("You answered this one before. Would you change it?") : question(item);
    this.flagWords.textContent = flagging ? tr("Flagged") : tr("Flag it");
    this.fineWords.textContent = flagging ? tr("Looks fine after all") : tr("Looks fine");
    press(this.flagButton, flagging);
    press(this.fineButton, earlier?.verdict === "fine" && !flagging);
    press(this.skipButton, board.panel === "skip" || (earlier?.verdict === "skip" && (!flagging || board.kind === "compare")));
    for (const made of this.skipPanel.querySelectorAll("[data-skip]")) press(made, earlier?.skip_reason === made.dataset.skip);
    this.undoWords.textContent = earlier ? tr("One further back") : tr("Undo last");
    this.undoButton.disabled = (board.again ?? board.past.length) < 1;
    this.keepButton.hidden = !earlier;
    this.skipButton.hidden = this.undoButton.hidden = board.practice.on;
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
    this.two.hidden = kind !== "single" || Boolean(this.board.practice.lesson);
    sheets.compare.buttons.hidden = kind !== "compare" || sheets.compare.ranking;
    sheets.compare.orderLine.hidden = kind !== "compare" || !sheets.compare.ranking;
  }

  syncTop() {
    const { board } = this;
    const { aim } = board.data;
    this.count.hidden = board.practice.on;
    this.count.textContent = board.today > aim ? tr("{count} today", { count: number(board.today) })
      : tr("{count} of {aim} today", { count: number(board.today), aim: number(aim) });
    this.stopButton.hidden = Boolean(board.stopped);
    const { size, state } = board.outbox ?? { size: 0, state: "ready" };
    const cut = state !== "ready" || board.reached === false;
    this.saved.classList.toggle("cut", cut);
    this.saved.classList.toggle("on", !cut && Boolean(board.savedAt) && !size);
    if (cut) this.saved.textContent = size ? trn("No connection · {count} answer kept here", "No connection · {count} answers kept here", size)
      : tr("No connection · trying again");
    else if (size) this.saved.textContent = tr("Saving…");
    else this.saved.textContent = board.savedAt ? tr("Saved {time}", { time: clock(board.savedAt) }) : "";
  }
}

function question({ answers }) {
  return !answers?.length ? tr("Would you change this answer?") : answers.length === 2 ? tr("Which answer is better?")
    : tr("In what order do they stand, the best first?");
}
