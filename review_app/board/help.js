// The help over the board: what is asked, what each reason means, and the keys, which can be changed or switched off here.
// Knows words and keys; knows nothing of items.

import { ACTS, Keys, fixed, meanings } from "./keys.js";
import { button, cap, key, press } from "./parts.js";
import { make } from "./text.js";
import { tr, trParts } from "./words.js";

export class Help {
  /** @param {object} board {taxonomy, keys, focus(), relabel()} */
  constructor(board) {
    this.board = board;
    this.asked = null; // the act that waits for its new key
    this.element = this.draw();
  }

  get open() {
    return this.element.open;
  }

  show() {
    this.sync();
    this.element.showModal();
  }

  close() {
    this.element.close();
  }

  /** What a key does while the help is open: nothing is decided by any. Returns whether it was used here. */
  key(event) {
    if (this.asked) {
      if (event.key === "Escape") this.asked = null;
      else if (Keys.letter(event)) {
        this.board.keys.change(this.asked, Keys.letter(event));
        this.asked = null;
        this.board.relabel();
      } else return event.key !== "Tab";
      this.sync();
      return true;
    }
    if (event.key !== "Escape" && this.board.keys.act(event) !== "help") return false;
    this.close();
    return true;
  }

  draw() {
    const { taxonomy } = this.board;
    const rows = (part) => taxonomy.categories.filter(part).map((one) => make("div", { class: "meaning" },
      make("p", {}, one.key ? cap(one.key) : null, make("strong", {}, one.name), ` ${one.definition}`),
      one.example ? make("p", { class: "example" }, one.example) : null));
    this.meanings = meanings();
    this.changers = ACTS.map(([act]) => {
      const made = button("change", () => this.ask(act), make("kbd", { "data-act": act }), make("span", {}, this.meanings[act]));
      made.dataset.changes = act;
      return made;
    });
    this.switch = button("chip", () => this.change(() => (this.board.keys.on = !this.board.keys.on)), (this.switchWords = make("span")));
    return make("dialog", { class: "help", "aria-label": tr("Guidelines and help"), onclick: (event) => event.target === this.element && this.close(),
      onclose: () => {
        this.asked = null;
        this.board.focus();
      } },
      make("div", { class: "help-inside" },
        make("div", { class: "help-top" }, make("h2", {}, tr("Guidelines and help")), button("", () => this.close(), cap(tr("Esc")), tr("Close"))),
        this.board.guidelines.element,
        make("p", {}, ...trParts(tr("To mark the words you mean, flag the answer and select them, with the pointer, by keys {key} or as whole sentences. "
          + "Passages may overlap. Your reasons matter more than marks."), { key: key("mark") })),
        make("p", {}, tr("Several answers to one prompt: ask yourself which of them you would rather have got, for what it says and for whom it may harm. "
          + "Equally good is an answer too, and of three or four any may share a place. They stand in an order drawn by chance.")),
        make("h3", {}, tr("Bias: harm to a group")), ...rows((one) => one.part === "bias"),
        make("h3", {}, tr("Harm without a group")), ...rows((one) => one.part === "harm"),
        make("h3", {}, tr("About the answer itself")), ...rows((one) => one.part === "meta"),
        make("h3", {}, tr("How bad?")),
        ...taxonomy.severities.map((one) => make("p", { class: "meaning" }, key(one.code), make("strong", {}, one.name), ` ${one.definition}`)),
        make("h3", {}, tr("Keys")),
        make("p", { class: "soft" }, tr("Press a line, then the letter that you would rather use. Every key is also a button on the board.")),
        make("div", { class: "keys" }, ...this.changers, make("p", {}, cap("1–0"), tr("what is wrong")),
          make("p", {}, cap("1–4"), tr("the first or second answer is better; the place of one")), ...fixed().map(([name, words]) => make("p", {}, cap(name), words))),
        make("div", { class: "row" }, this.switch, button("", () => this.change(() => this.board.keys.reset()), tr("Back to the usual keys"))),
        make("div", { class: "row" }, button("", () => this.board.practice.again(), tr("Go through the practice again"))),
        make("p", { class: "soft" }, tr("Nobody else sees your answers while they review. They are kept under a pseudonym."))));
  }

  ask(act) {
    this.asked = this.asked === act ? null : act;
    this.sync();
  }

  change(how) {
    how();
    this.board.keys.keep();
    this.board.relabel();
    this.sync();
  }

  sync() {
    const { keys } = this.board;
    for (const made of this.changers) {
      const waits = made.dataset.changes === this.asked;
      press(made, waits);
      const words = this.meanings[made.dataset.changes];
      made.lastElementChild.textContent = waits ? tr("press the new letter") : words;
      made.setAttribute("aria-label", waits ? tr("{what}: press the new letter, or Escape", { what: words })
        : tr("{what}: {text}", { what: words, text: keys.letters[made.dataset.changes].toUpperCase() }));
    }
    press(this.switch, !keys.on);
    this.switchWords.textContent = keys.on ? tr("Switch letters and digits off") : tr("Letters and digits are off");
  }
}
