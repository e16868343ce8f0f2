// One answer on the screen, with its marks.
// Knows how it is drawn and marked; knows nothing of decisions.

import { visible } from "./invisible.js";
import { Cursor, selected, sentences } from "./marks.js";
import { button, press } from "./parts.js";
import { Scene, readOut, sayMore, speak, veiled } from "./scene.js";
import { SHOWN, make, write } from "./text.js";
import { tr } from "./words.js";

/** More sentences than this are no list to choose from. */
const MOST_SENTENCES = 400;

export class Shown extends Scene {
  /** @param {object} board {root, skip(), marked({start, end}), unmark(mark), spans(), marking(), say(words)} */
  constructor(board) {
    super(board);
    this.label = make("p", { class: "label" });
    this.output = make("p", { class: "output", dir: "auto", onmouseup: () => this.select(), ontouchend: () => setTimeout(() => this.select(), 250) });
    this.more = button("more", () => this.showMore(), make("span"));
    this.home = make("div", { class: "card", tabindex: "-1", role: "group", "aria-label": tr("The answer to judge"), "data-home": true },
      this.label, this.output, this.more);
    this.sentenceList = make("div", { class: "sentences" });
    this.bySentence = make("details", { ontoggle: () => this.listSentences() }, make("summary", {}, tr("Choose whole sentences")), this.sentenceList);
    this.element = this.home;
  }

  /** What is new about an item before it is drawn. */
  lay() {
    this.room = SHOWN;
    this.cursor = null;
    this.bySentence.open = false;
    this.sentenceList.replaceChildren();
    this.label.textContent = this.called;
    speak(this.output, this.item.lang);
  }

  clear() {
    super.clear();
    this.output.replaceChildren();
  }

  /** Draws the answer with its marks; nothing of a covered one is in the page. */
  draw() {
    this.drawCover(this.home, [this.output]);
    const marking = this.board.marking();
    const marks = this.cursor ? [...this.board.spans(), this.cursor.range] : this.board.spans();
    sayMore(this.more, write(this.output, this.covered ? veiled() : this.item.text,
      { marks: this.covered ? [] : marks, onMark: marking ? (mark) => this.board.unmark(mark) : null, room: this.room }));
    if (this.covered) this.more.hidden = true;
    for (const made of this.sentenceList.children)
      press(made, this.board.spans().some((one) => one.start === Number(made.dataset.start) && one.end === Number(made.dataset.end)));
  }

  /** Shows more of a long answer, five times as much each time. */
  showMore() {
    this.room *= 5;
    this.draw();
  }

  aloud() {
    return tr("{what}: {text}", { what: this.called, text: readOut(this.item.text) });
  }

  // ------------------------------------------------------------------- marks

  /** What was selected by pointer or touch. */
  select() {
    if (!this.board.marking() || this.covered || !this.item) return;
    const range = selected(this.board.root, this.output, this.item.text);
    if (!range) return;
    (this.board.root.getSelection?.() ?? document.getSelection()).removeAllRanges();
    this.board.marked(range);
  }

  /** The part of the text that is on the screen. */
  get text() {
    return Array.from(this.item.text).slice(0, Number(this.output.dataset.until)).join("");
  }

  /** Begins or ends marking by keys. */
  walk() {
    if (this.covered) return;
    this.cursor = this.cursor ? null : new Cursor(this.text, this.item.lang);
    if (this.cursor && !this.cursor.words.length) this.cursor = null;
    this.moved(this.cursor ? tr("Marking: arrows walk, Shift reaches, up and down take sentences, Enter marks, Escape ends.")
      : tr("Marking ended."));
  }

  /** What a key does while words are being marked, or null. */
  walkKey(event) {
    const back = this.output.matches(":dir(rtl)") ? "ArrowRight" : "ArrowLeft";
    const steps = { ArrowLeft: "step", ArrowRight: "step", ArrowUp: "sentence", ArrowDown: "sentence" };
    if (event.key in steps)
      return () => {
        this.cursor[steps[event.key]](event.key === back || event.key === "ArrowUp" ? -1 : 1, event.shiftKey);
        this.moved();
      };
    if (event.key === "Enter" || event.key === " ") return () => this.board.marked({ start: this.cursor.range.start, end: this.cursor.range.end });
    return event.key === "Escape" ? () => this.walk() : null;
  }

  moved(words = "") {
    this.draw();
    this.output.querySelector("mark.cursor")?.scrollIntoView({ block: "nearest" });
    const { start, end } = this.cursor?.range ?? { start: 0, end: 0 };
    this.board.say(`${words} ${visible(Array.from(this.item.text).slice(start, end).join(""))}`.trim());
  }

  /** The answer as a list of sentences, each a button: for who cannot select words. */
  listSentences() {
    if (!this.bySentence.open || this.sentenceList.childElementCount) return;
    const found = sentences(this.text, this.item.lang).slice(0, MOST_SENTENCES);
    this.sentenceList.append(...found.map(({ start, end, text }) => {
      const made = button("sentence", () => this.board.marked({ start, end }, { toggle: true }), visible(text));
      made.dataset.start = start;
      made.dataset.end = end;
      made.dir = "auto";
      return made;
    }));
    this.draw();
  }
}
