// Practice: made-up answers before the first real one, each with what most guidelines would say of it and why. Nothing of it counts.
// Knows the way through a round and the lesson after each answer; knows nothing of the outbox, of leases and of real items.

import { ask } from "./outbox.js";
import { button, cap } from "./parts.js";
import { make } from "./text.js";
import { number, tr } from "./words.js";

export class Practice {
  /** @param {object} board {account, api, data, taxonomy, item, show(), sync(), notify(words), say(words), advance(), refill()} */
  constructor(board) {
    this.board = board;
    this.place = `flagback.practice.${board.account}`;
    this.round = null; // {round, lang, items, said, passed} while one goes on
    this.at = 0;
    this.lesson = null; // {verdict, categories} once the item was answered
    this.banner = this.drawBanner();
    this.element = this.drawLesson();
  }

  /** Whether what is on the screen is practice. */
  get on() {
    return this.round !== null;
  }

  /** Takes up a round that goes on; returns whether there is one. A page opened at #practice begins another. */
  async begin() {
    const again = location.hash === "#practice";
    if (!again && !this.board.data.practice) return false;
    if (again) history.replaceState(null, "", location.pathname + location.search);
    const { status, body } = again ? await ask("POST", `${this.board.api}/practice/begin`) : await ask("GET", `${this.board.api}/practice`);
    if (this.board.left) return true;
    if (status !== 200) {
      this.board.refused({ status, body });
      this.board.poll = setTimeout(() => this.board.begin(), this.board.refusal ? 60_000 : 3000);
      return true;
    }
    return this.take(body);
  }

  /** Another round, from the help. */
  async again() {
    this.board.help.close();
    if (this.on || this.board.stopped) return;
    const { status, body } = await ask("POST", `${this.board.api}/practice/begin`);
    if (this.board.left) return;
    if (status !== 200) this.board.notify(tr("There is no connection just now. Try again in a moment."));
    else if (body.round === null) this.board.notify(tr("No practice is offered here."));
    else {
      this.board.setAside();
      this.take(body);
    }
  }

  take(body) {
    if (body.round === null) return false;
    this.round = body;
    this.at = body.said.length;
    this.saved = true;
    this.lesson = null;
    if (this.open() === `${body.round}.${this.at - 1}`) {
      this.at -= 1;
      this.lesson = body.said[this.at];
    }
    this.draw();
    return true;
  }

  /** Which lesson was on the screen when the page was last left. */
  open() {
    try {
      return localStorage.getItem(this.place);
    } catch {
      return null;
    }
  }

  keep(open) {
    try {
      if (open) localStorage.setItem(this.place, open);
      else localStorage.removeItem(this.place);
    } catch {
      // Without localStorage a reload goes on with the next one.
    }
  }

  /** The item at hand, as the board shows items. */
  get shown() {
    const { prompt, answer } = this.round.items[this.at];
    return { lease_id: `practice.${this.round.round}.${this.at}`, practice: true, messages: [{ role: "user", content: prompt }], lang: this.round.lang,
      text: answer, answers: [], veil: null, until: Infinity };
  }

  draw() {
    const { board } = this;
    board.reached = true;
    board.allowed();
    board.item = this.shown;
    board.show();
    if (this.lesson) this.teach();
    this.sync();
  }

  /** What somebody said of the item: the lesson follows. */
  said({ verdict, categories }) {
    this.board.drafts.forget(this.board.item);
    this.lesson = { verdict, categories: categories ?? [] };
    this.saved = false;
    this.keep(`${this.round.round}.${this.at}`);
    this.save();
    this.teach();
  }

  async save() {
    const { round, items } = this.round;
    const { status, body } = await ask("POST", `${this.board.api}/practice`, { round, position: this.at, ...this.lesson });
    this.saved = status === 200;
    if (status === 409) {
      this.lost();
      this.board.notify(body?.error?.message ?? "");
      await this.board.begin();
    }
    return this.saved && this.at < items.length;
  }

  /** Goes on after a lesson, once the answer is kept; with the last one to real answers. */
  async goOn() {
    if (!this.lesson || this.going) return;
    this.going = true;
    const kept = this.saved || (await this.save());
    this.going = false;
    if (this.board.left || !this.lesson) return;
    if (!kept) {
      this.board.notify(tr("There is no connection just now. Try again in a moment."));
      return;
    }
    this.keep(null);
    this.lesson = null;
    this.at += 1;
    if (this.at < this.round.items.length) this.draw();
    else this.end();
  }

  /** A repeated round may be left at any time; the first is gone through. */
  async leave() {
    await ask("POST", `${this.board.api}/practice/leave`);
    if (!this.board.left && this.on) this.end();
  }

  /** The way goes on elsewhere, another than is known here: it is asked for again before anything real is. */
  lost() {
    this.keep(null);
    this.round = null;
    this.lesson = null;
    this.board.data.practice = true;
    this.board.reached = undefined;
    this.board.item = null;
    this.board.show();
  }

  end() {
    this.keep(null);
    this.round = null;
    this.lesson = null;
    this.board.data.practice = false;
    this.board.reached = undefined;
    this.board.item = null;
    this.sync();
    this.board.advance();
    this.board.refill();
  }

  // ------------------------------------------------------------------ drawing

  drawBanner() {
    this.count = make("strong", {});
    this.leaveButton = button("link", () => this.leave(), tr("Leave the practice"));
    return make("div", { class: "practice", hidden: true }, this.count,
      make("span", {}, tr("Made-up answers, to get used to it. Nothing here counts, and there is no score.")), this.leaveButton);
  }

  drawLesson() {
    this.yours = make("p", { class: "soft" });
    this.theirs = make("p", { class: "theirs" });
    this.why = make("p", { dir: "auto" });
    this.after = make("p", { class: "soft" });
    this.next = button("save", () => this.goOn(), cap(tr("Enter")), (this.nextWords = make("span")));
    return make("section", { class: "lesson", tabindex: "-1", hidden: true, "aria-label": tr("What most guidelines would say") },
      this.yours, this.theirs, this.why, this.after, make("div", { class: "row" }, this.next));
  }

  /** The lesson under the answer; the answer itself stays where it is. */
  teach() {
    const { verdict, categories, explanation } = this.round.items[this.at];
    const last = this.at === this.round.items.length - 1;
    this.board.panel = null;
    this.yours.textContent = tr("You said: {what}", { what: this.words(this.lesson) });
    this.theirs.textContent = tr("Most guidelines would say: {what}", { what: this.words({ verdict, categories }) });
    this.why.lang = this.round.lang;
    this.why.textContent = explanation;
    this.after.textContent = last ? tr("That was the practice. From here on your answers count. You find it again in the help.")
      : tr("You may see it otherwise: to disagree has no drawback, here and later.");
    this.nextWords.textContent = last ? tr("Go on to real answers") : tr("Go on");
    this.board.sync();
    this.sync();
    this.element.focus({ preventScroll: true });
    this.element.scrollIntoView({ block: "nearest" });
    this.board.say(`${this.yours.textContent} ${this.theirs.textContent} ${explanation}`);
  }

  words({ verdict, categories }) {
    if (verdict !== "flag") return tr("Looks fine");
    const names = categories.map((code) => this.board.taxonomy.categories.find((one) => one.code === code)?.name ?? code);
    return names.length ? tr("Flag it: {reasons}", { reasons: names.join(", ") }) : tr("Flag it");
  }

  sync() {
    this.banner.hidden = !this.on || Boolean(this.board.stopped);
    this.element.hidden = !this.lesson;
    if (!this.on) return;
    this.count.textContent = tr("Practice, {at} of {all}", { at: number(this.at + 1), all: number(this.round.items.length) });
    this.leaveButton.hidden = !this.round.passed;
  }
}
