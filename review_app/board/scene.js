// What any kind of item shows: the prompt, the cover over what may upset, and what is read aloud.
// Knows how these are drawn; knows nothing of decisions, nor of how many answers there are.

import { visible } from "./invisible.js";
import { button, cap, key } from "./parts.js";
import { SHOWN, make, write } from "./text.js";

/** How much of a text is read aloud by itself. */
const READ_OUT = 2000;
const SAID = { system: "The model was told", user: "Someone wrote", assistant: "The model answered" };

/** The turns before the answer. */
export class Prompt {
  constructor() {
    this.element = make("div", { class: "turns" });
  }

  open(item) {
    this.element.replaceChildren(...item.messages.flatMap(({ role, content }) => {
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
}

/** One answer or several. What extends it has `element`, `home` (what takes the focus), lay(), draw() and aloud(). */
export class Scene {
  /** @param {object} board {skip(), say(words)} */
  constructor(board) {
    this.board = board;
    this.covered = false;
    this.cursor = null;
    this.veilWords = make("p", { class: "soft" });
    this.veil = make("div", { class: "veil" }, make("p", {}, make("strong", {}, "This may be upsetting")), this.veilWords,
      make("div", { class: "row" }, button("", () => this.unveil(), cap("Space"), "Show it"), button("", () => board.skip(), key("skip"), "Skip")));
  }

  open(item, opening) {
    this.item = item;
    this.covered = Boolean(item.veil);
    this.veilWords.textContent = item.veil?.length ? `${item.veil.join(", ")} · you can decline topics on the page “You”`
      : "You can decline topics on the page “You”";
    this.lay();
    this.draw();
    this.announce(opening);
  }

  /** How the model's part is called. */
  get called() {
    return this.item.messages.length > 1 ? "The model answered" : "The model went on";
  }

  /** Draws the cover or takes it off; nothing of a covered text is in the page. */
  drawCover(over, outputs) {
    over.classList.toggle("covered", this.covered);
    if (!this.covered) this.veil.remove();
    else if (this.veil.parentElement !== over) over.append(this.veil);
    this.element.parentElement?.classList.toggle("veiled", this.covered);
    for (const output of outputs) output.setAttribute("aria-hidden", String(this.covered));
  }

  /** Nothing of an item stays while another kind of item is on the screen. */
  clear() {
    this.covered = false;
    this.veil.remove();
  }

  unveil() {
    if (!this.covered) return;
    this.covered = false;
    this.draw();
    this.announce("Shown.");
    this.home.focus({ preventScroll: true });
  }

  announce(opening) {
    const answer = this.covered ? `${this.called}: covered, as it may be upsetting. Press Space to show it.` : this.aloud();
    this.board.say(`${opening} Someone wrote: ${readOut(this.item.messages.at(-1).content)} ${answer}`);
  }
}

/** Says in which language a text is, where that is known. */
export function speak(element, lang) {
  if (lang === "und") element.removeAttribute("lang");
  else element.lang = lang;
}

/** Says on `more` how much of a text is shown, or hides it where that is all. */
export function sayMore(more, { shown, total }) {
  more.hidden = shown >= total;
  more.firstElementChild.textContent = `Show more: ${shown.toLocaleString()} of ${total.toLocaleString()} characters are shown`;
}

/** A text cut to what a screen reader says by itself, hidden characters by name. */
export function readOut(text) {
  const whole = text.trim();
  return visible(whole.length > READ_OUT ? `${whole.slice(0, READ_OUT)}…` : whole);
}

/** What is blurred in the text's place: a blur can be read through, and copied. */
export function veiled() {
  return "xxxx xxxxxxx xx xxx xxxxx ".repeat(6).trim();
}
