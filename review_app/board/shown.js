// What is judged, on the screen: the prompt, the answer with its marks, the cover over what may upset, and what is read aloud.
// Knows how an item is drawn; knows nothing of decisions.

import { visible } from "./invisible.js";
import { Cursor, selected, sentences } from "./marks.js";
import { button, cap, key, press } from "./parts.js";
import { SHOWN, make, write } from "./text.js";

/** How much of a text is read aloud by itself. */
const READ_OUT = 2000;
/** More sentences than this are no list to choose from. */
const MOST_SENTENCES = 400;
const SAID = { system: "The model was told", user: "Someone wrote", assistant: "The model answered" };

export class Shown {
  /** @param {object} board {root, skip(), marked({start, end}), unmark(mark), spans(), marking(), say(words)} */
  constructor(board) {
    this.board = board;
    this.turns = make("div", { class: "turns" });
    this.label = make("p", { class: "label" });
    this.output = make("p", { class: "output", dir: "auto", onmouseup: () => this.select(), ontouchend: () => setTimeout(() => this.select(), 250) });
    this.more = button("more", () => this.showMore(), make("span"));
    this.veilWords = make("p", { class: "soft" });
    this.veil = make("div", { class: "veil", hidden: true }, make("p", {}, make("strong", {}, "This may be upsetting")), this.veilWords,
      make("div", { class: "row" }, button("", () => this.unveil(), cap("Space"), "Show it"), button("", () => board.skip(), key("skip"), "Skip")));
    this.card = make("div", { class: "card", tabindex: "-1", role: "group", "aria-label": "The answer to judge" }, this.label, this.output, this.more, this.veil);
    this.sentenceList = make("div", { class: "sentences" });
    this.bySentence = make("details", { ontoggle: () => this.listSentences() }, make("summary", {}, "Choose whole sentences"), this.sentenceList);
    this.element = make("div", {}, this.turns, this.card);
  }

  open(item, opening) {
    this.item = item;
    this.room = SHOWN;
    this.cursor = null;
    this.covered = Boolean(item.veil);
    this.bySentence.open = false;
    this.sentenceList.replaceChildren();
    this.writeTurns();
    this.label.textContent = item.messages.length > 1 ? "The model answered" : "The model went on";
    if (item.lang === "und") this.output.removeAttribute("lang");
    else this.output.lang = item.lang;
    this.veilWords.textContent = item.veil?.length ? `${item.veil.join(", ")} · you can decline topics on the page “You”`
      : "You can decline topics on the page “You”";
    this.draw();
    this.announce(opening);
  }

  writeTurns() {
    const { item } = this;
    this.turns.replaceChildren(...item.messages.flatMap(({ role, content }) => {
      const text = make("p", { class: `prompt ${role}`, dir: "auto", lang: item.lang === "und" ? null : item.lang });
      const more = button("more", () => extend(room * 5), make("span"));
      let room = SHOWN;
      const extend = (wanted) => {
        room = wanted;
        sayMore(more, write(text, content, { room }));
      };
      extend(SHOWN);
      return [make("p", { class: "label" }, SAID[role] ?? role), text, more];
    }));
  }

  /** Draws the answer with its marks; nothing of a covered one is in the page. */
  draw() {
    this.card.classList.toggle("covered", this.covered);
    this.veil.hidden = !this.covered;
    this.element.parentElement?.classList.toggle("veiled", this.covered);
    this.output.setAttribute("aria-hidden", String(this.covered));
    const marking = this.board.marking();
    const marks = this.cursor ? [...this.board.spans(), this.cursor.range] : this.board.spans();
    sayMore(this.more, write(this.output, this.covered ? veiled() : this.item.text,
      { marks: this.covered ? [] : marks, onMark: marking ? (mark) => this.board.unmark(mark) : null, room: this.room }));
    if (this.covered) this.more.hidden = true;
    for (const made of this.sentenceList.children)
      press(made, this.board.spans().some((one) => one.start === Number(made.dataset.start) && one.end === Number(made.dataset.end)));
  }

  unveil() {
    if (!this.covered) return;
    this.covered = false;
    this.draw();
    this.announce("Shown.");
    this.card.focus({ preventScroll: true });
  }

  /** Shows more of a long answer, five times as much each time. */
  showMore() {
    this.room *= 5;
    this.draw();
  }

  announce(opening) {
    const last = readOut(this.item.messages.at(-1).content);
    const answer = this.covered ? "covered, as it may be upsetting. Press Space to show it." : readOut(this.item.text);
    this.board.say(`${opening} Someone wrote: ${last} ${this.label.textContent}: ${answer}`);
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
    this.moved(this.cursor ? "Marking: arrows walk, Shift reaches, up and down take sentences, Enter marks, Escape ends." : "Marking ended.");
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

/** Says on `more` how much of a text is shown, or hides it where that is all. */
function sayMore(more, { shown, total }) {
  more.hidden = shown >= total;
  more.firstElementChild.textContent = `Show more: ${shown.toLocaleString()} of ${total.toLocaleString()} characters are shown`;
}

/** A text cut to what a screen reader says by itself, hidden characters by name. */
function readOut(text) {
  const whole = text.trim();
  return visible(whole.length > READ_OUT ? `${whole.slice(0, READ_OUT)}…` : whole);
}

/** What is blurred in the text's place: a blur can be read through, and copied. */
function veiled() {
  return "xxxx xxxxxxx xx xxx xxxxx ".repeat(6).trim();
}
