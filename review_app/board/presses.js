// What a press of a key or a button may do: one listener for the page, and what keeps a press from judging what nobody saw.
// Knows events and which act is possible now; what an act does is the board's business.

import { Keys } from "./keys.js";
import { dialogOver } from "./parts.js";

/** For this long after a click brought an answer up, another click is the rest of the same. */
const SETTLED_MS = 400;
const ALWAYS = { skip: (board) => board.skip(), undo: (board) => board.undo() };
/** How far an arrow goes. */
const ARROWS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
const IN_FORM = {
  slight: (form) => form.choose("slight"), clear: (form) => form.choose("clear"), severe: (form) => form.choose("severe"), unsure: (form) => form.doubt(),
  main: (form) => form.nextMain(), examples: (form) => form.showExamples(), mark: (_form, board) => board.walk(),
  rewrite: (form) => form.rewriteBox.focus(), note: (form) => form.noteBox.focus(),
};

function nothing() {
  // A press that there is nothing for.
}

/** An act that sends an answer. */
function judging(act) {
  return Object.assign(act, { judges: true });
}

export class Presses {
  constructor(board) {
    this.board = board;
    this.taken = 0;
    this.ignored = 0;
    this.onKey = (event) => this.key(event);
    // In front of Streamlit's own shortcuts (R and C), which do not see into the board's element.
    addEventListener("keydown", this.onKey, true);
    this.guardDoubleClicks();
  }

  close() {
    removeEventListener("keydown", this.onKey, true);
  }

  /** The second half of a double click must not judge the answer that has only just come up. */
  guardDoubleClicks() {
    this.clicked = Infinity;
    this.board.shell.addEventListener("click", (event) => {
      if (event.detail === 0) return;
      const cameByClick = this.board.appeared > this.clicked;
      if (cameByClick && this.board.shown && performance.now() - this.board.appeared < SETTLED_MS) {
        event.preventDefault();
        event.stopPropagation();
      } else {
        this.clicked = performance.now();
      }
    }, true);
  }

  /** A press answers what the eye could see: nothing is judged before the browser has painted it. */
  watchPaint() {
    this.painted = false;
    const shown = this.board.shown;
    requestAnimationFrame(() => setTimeout(() => (this.painted ||= this.board.shown === shown)));
  }

  key(event) {
    if (!this.board.root.isConnected && !this.board.root.host?.isConnected) {
      this.board.leave();
      return;
    }
    const target = event.composedPath()[0];
    const inside = event.composedPath().includes(this.board.shell);
    if (dialogOver() || (!inside && target !== document.body && target !== document.documentElement)) return;
    if (inside) event.stopPropagation();
    if (event.isComposing) return;
    this.clicked = Infinity; // what comes up from here on comes by a key
    if (this.board.help.open) {
      if (!event.ctrlKey && !event.metaKey && !event.altKey && this.board.help.key(event)) this.take(event, () => {});
      return;
    }
    const typing = inside && target.matches?.("textarea, input, select");
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    const walk = this.board.text.cursor && plain && !typing ? this.board.text.walkKey(event) : null;
    if (walk) this.take(event, walk, { repeats: event.key.startsWith("Arrow") });
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.take(event, () => this.board.shown && this.board.panel === "form" && this.board.save());
    else if (event.key === "Escape") this.take(event, () => this.escape(typing));
    else if (typing || !plain) {
      if (typing && event.key === "Enter" && target.matches("input")) this.take(event, () => this.board.focus());
    } else if ((event.key === "Enter" || event.key === " ") && inside && target.matches?.("button, a, summary")) {
      // The button does what it says.
    } else this.decide(event);
  }

  /** A key that means something here. What would judge before the answer was painted is ignored; presses are counted either way. */
  decide(event) {
    const act = this.meaning(event);
    if (!act) return;
    const ignored = event.repeat || act === nothing || (act.judges && !this.painted);
    this[ignored ? "ignored" : "taken"] += 1;
    this.board.shell.dataset.taken = this.taken;
    this.board.shell.dataset.ignored = this.ignored;
    this.take(event, ignored ? nothing : act);
  }

  take(event, act, { repeats = false } = {}) {
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat || repeats) act();
  }

  /** What a key does here and now: an act, `nothing` where there is nothing for it to act on, or null. */
  meaning(event) {
    const { board } = this;
    const act = board.keys.act(event);
    if (board.stopped) return null;
    if (act === "stop") return () => board.stop();
    if (act === "help") return () => board.help.show();
    if (act === "mode") return board.offered ? () => board.turnTo(board.modes.other) : nothing;
    if (board.practice.lesson) return event.key === "Enter" ? () => board.practice.goOn() : act ? nothing : null;
    if (!board.shown && act === "undo" && board.past.length) return () => board.undo();
    if (!board.shown) return ["flag", "fine", "skip", "undo", "equal", "both_bad"].includes(act) ? nothing : null;
    if (event.key === " ") return board.text.covered ? () => board.text.unveil() : null;
    const digit = board.keys.on ? Keys.digit(event) : null;
    if (digit !== null) return this.digit(digit);
    if (act in ALWAYS) return () => ALWAYS[act](board);
    if (board.panel === "form" && event.key === "Enter") return judging(() => board.save());
    if (board.kind === "compare") return this.comparing(event, act);
    if (act === "fine") return judging(() => board.fine());
    if (act === "flag") return () => board.flag();
    return board.panel === "form" && act in IN_FORM ? () => IN_FORM[act](board.sheet, board) : null;
  }

  /** Of several answers: arrows say which of two is better, or go to another one to be ranked. */
  comparing(event, act) {
    const { board } = this;
    const step = ARROWS[event.key];
    if (board.sheet.ranking) return step ? () => board.text.go(board.text.at + step) : null;
    if (event.key === "ArrowLeft") return judging(() => board.prefer("left"));
    if (event.key === "ArrowRight") return judging(() => board.prefer("right"));
    if (act === "equal") return judging(() => board.prefer("equal"));
    if (act === "both_bad") return () => board.bad();
    return act === "rewrite" && board.panel === "form" ? () => board.sheet.rewriteBox.focus() : null;
  }

  digit(digit) {
    const { board } = this;
    if (board.panel === "skip") {
      const reason = board.taxonomy.skips[Number(digit) - 1];
      return reason ? judging(() => board.skipFor(reason)) : null;
    }
    if (board.kind === "compare") return this.place(Number(digit));
    const category = board.taxonomy.categories.find((one) => one.key === digit);
    return board.panel === "form" && category ? () => board.sheet.toggle("categories", category.code) : null;
  }

  /** A digit beside several answers: the place of one, or which of two is better. */
  place(place) {
    const { board } = this;
    if (board.sheet.ranking) return place >= 1 && place <= board.shown.answers.length ? () => board.sheet.rankHere(place) : null;
    const verdict = { 1: "left", 2: "right" }[place];
    return verdict ? judging(() => board.prefer(verdict)) : null;
  }

  escape(typing) {
    if (typing) this.board.focus();
    else if (this.board.panel === "skip") this.board.skip();
    else if (this.board.again !== null) this.board.keepAsItWas();
    else this.board.quiet();
  }
}
