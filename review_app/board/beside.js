// Several answers of one prompt on the screen, in the order in which the server gives them: two side by side, more one below the other.
// Knows how they are drawn and which of them the keys go to; knows nothing of decisions.

import { button } from "./parts.js";
import { Scene, readOut, sayMore, speak, veiled } from "./scene.js";
import { SHOWN, make, write } from "./text.js";
import { tr } from "./words.js";

/** As in board.css: from this width down two answers stand one above the other. */
const STACKED = "(max-width: 700px)";

/** How an answer is called: of two by its side, of more by a letter. */
export function called(index, count) {
  return count > 2 ? tr("Answer {letter}", { letter: "ABCD"[index] }) : ofTwo()[index][matchMedia(STACKED).matches ? 1 : 0];
}

function ofTwo() {
  return [[tr("Left answer"), tr("Upper answer")], [tr("Right answer"), tr("Lower answer")]];
}

/** Words about one of two answers, for two beside each other and for one above the other: those are seen that hold on this screen. */
export function sided([beside, stacked]) {
  return [make("span", { class: "beside" }, beside), make("span", { class: "stacked" }, stacked)];
}

export class Beside extends Scene {
  /** @param {object} board {skip(), say(words), sheets} */
  constructor(board) {
    super(board);
    this.grid = make("div", { class: "answers" });
    this.element = make("div", { class: "several", tabindex: "-1", role: "group", "aria-label": tr("The answers to compare") }, this.grid);
    this.cards = [];
    this.at = 0;
  }

  /** Two are looked at together; of more the keys go to one. */
  get home() {
    return this.ranking ? this.cards[this.at].element : this.element;
  }

  get ranking() {
    return this.item.answers.length > 2;
  }

  lay() {
    const { answers } = this.item;
    this.cards = answers.map((text, index) => this.card(text, index));
    this.grid.replaceChildren(...this.cards.map(({ element }) => element));
    this.grid.classList.toggle("ranking", this.ranking);
    this.element.toggleAttribute("data-home", !this.ranking);
    this.at = 0;
    this.mark();
  }

  card(text, index) {
    const { ranking } = this;
    const output = make("p", { class: "output", dir: "auto" });
    const more = button("more", () => {
      made.room *= 5;
      this.draw();
    }, make("span"));
    const label = make("p", { class: "label", id: `flagback-answer-${index}` }, ...(ranking ? [called(index, this.item.answers.length)] : sided(ofTwo()[index])));
    const element = make("div", { class: "card", role: "group", tabindex: ranking ? "0" : null, "aria-labelledby": label.id,
      onfocusin: () => this.stand(index) }, label, output, more, ranking ? this.board.sheets.compare.places(index) : null);
    const made = { text, output, more, element, room: SHOWN };
    speak(output, this.item.lang);
    return made;
  }

  clear() {
    super.clear();
    this.cards = [];
    this.grid.replaceChildren();
  }

  draw() {
    this.drawCover(this.element, this.cards.map(({ output }) => output));
    for (const { text, output, more, room } of this.cards) {
      sayMore(more, write(output, this.covered ? veiled() : text, { room }));
      if (this.covered) more.hidden = true;
    }
  }

  /** The keys go to another answer from now on. */
  stand(index) {
    this.at = index;
    this.mark();
  }

  mark() {
    if (this.ranking) for (const [index, { element }] of this.cards.entries()) element.toggleAttribute("data-home", index === this.at);
  }

  /** Goes to another answer, as arrows do. */
  go(index) {
    if (!this.cards[index]) return;
    this.stand(index);
    this.home.focus({ preventScroll: true });
    this.home.scrollIntoView({ block: "nearest" });
  }

  aloud() {
    return this.cards.map(({ text }, index) => tr("{what}: {text}", { what: called(index, this.cards.length), text: readOut(text) })).join(" ");
  }
}
