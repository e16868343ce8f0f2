// What any kind of item shows: the prompt, the cover over what may upset, and what is read aloud.
// Knows how these are drawn; knows nothing of decisions, nor of how many answers there are.

import { visible } from "./invisible.js";
import { button, cap, key } from "./parts.js";
import { SHOWN, make, write } from "./text.js";
import { number, tr } from "./words.js";

/** How much of a text is read aloud by itself. */
const READ_OUT = 2000;

/** Who said a turn, in words. */
function said(role) {
  return { system: tr("The model was told"), user: tr("Someone wrote"), assistant: tr("The model answered") }[role] ?? role;
}

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
      return [make("p", { class: "label" }, said(role)), text, more];
    }));
  }
}

/** One answer or several. What extends it has `element`, `home` (what takes the focus), lay(), draw() and aloud(). */
export class Scene {
  /** @param {object} board {skip(), say(words), keys} */
  constructor(board) {
    this.board = board;
    this.covered = false;
    this.cursor = null;
    this.veilWords = make("p", { class: "soft" });
    this.veil = make("div", { class: "veil" }, make("p", {}, make("strong", {}, tr("This may be upsetting"))), this.veilWords,
      make("div", { class: "row" }, button("", () => this.unveil(), cap(tr("Space")), tr("Show it")), button("", () => board.skip(), key("skip"), tr("Skip"))));
  }

  open(item, opening) {
    this.item = item;
    this.covered = Boolean(item.veil);
    const between = tr(", ");
    this.veilWords.textContent = item.veil?.length ? tr("{topics} · you can decline topics on the page “You”", { topics: item.veil.join(between) })
      : tr("You can decline topics on the page “You”");
    this.lay();
    this.draw();
    this.announce(opening);
  }

  /** How the model's part is called. */
  get called() {
    return this.item.messages.length > 1 ? tr("The model answered") : tr("The model went on");
  }

  /** Draws the cover or takes it off; nothing of a covered text is in the page. */
  drawCover(over, outputs) {
    over.classList.toggle("covered", this.covered);
    if (!this.covered) this.veil.remove();
    else if (this.veil.parentElement !== over) {
      over.append(this.veil);
      this.board.keys.label(this.veil);
    }
    const stage = this.element.parentElement;
    stage?.classList.toggle("veiled", this.covered);
    for (const made of stage?.querySelectorAll(".two .big") ?? []) made.setAttribute("aria-disabled", String(this.covered));
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
    this.announce(tr("Shown."));
    this.home.focus({ preventScroll: true });
  }

  announce(opening) {
    const answer = this.covered ? tr("{what}: covered, as it may be upsetting. Press Space to show it.", { what: this.called }) : this.aloud();
    const prompt = tr("Someone wrote: {text}", { text: readOut(this.item.messages.at(-1).content) });
    this.board.say([opening, prompt, answer].join(" "));
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
  more.firstElementChild.textContent = tr("Show more: {shown} of {total} characters are shown",
    { shown: number(shown), total: number(total) });
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
