// The guidelines on the board: which version is shown, and the one line that tells of a newer one without taking anything away.
// Knows versions and words; knows nothing of items. Every answer says which version its reviewer could read.

import { blocks } from "./markdown.js";
import { ask } from "./outbox.js";
import { button } from "./parts.js";
import { make } from "./text.js";
import { tr } from "./words.js";

export class Guidelines {
  /** @param {object} board {account, api, data: {guideline}, notify(words, ...more), help} */
  constructor(board) {
    this.board = board;
    this.place = `flagback.guideline.${board.account}`;
    this.element = make("div", { class: "guidelines" });
    this.take(board.data.guideline);
  }

  take({ version, lang, text }) {
    this.version = version;
    this.element.lang = lang;
    this.element.replaceChildren(...blocks(text));
  }

  /** The version that this person was last told of, here; who is new was told of none. */
  get told() {
    try {
      return Number(localStorage.getItem(this.place)) || null;
    } catch {
      return null;
    }
  }

  remember() {
    try {
      localStorage.setItem(this.place, String(this.version));
    } catch {
      // Without localStorage a newer version is told of at every visit.
    }
  }

  /** A claim, and the receipt of an answer, name the version in force: a newer one is fetched and told of, in one line; what is being judged stays where it is. */
  async newest(version) {
    const since = Math.min(this.told ?? this.version, this.version);
    if (this.fetching || Math.max(version, this.version) <= since) {
      if (!this.told) this.remember();
      return;
    }
    this.fetching = true;
    const { status, body } = await ask("GET", `${this.board.api}/guidelines?since=${since}`);
    this.fetching = false;
    if (this.board.left || status !== 200) return; // the next claim names it again
    this.take(body);
    this.remember();
    if (this.telling && this.board.frame.said === this.telling) this.board.quiet(); // of a version that was replaced meanwhile
    if (!body.notes.length) return; // what changed is in a language that this person does not read
    const read = button("", () => {
      this.board.quiet();
      this.board.help.show();
    }, tr("Read the guidelines"));
    this.board.notify(tr("The guidelines changed: {what}", { what: body.notes.join(" ") }), " ", read);
    this.telling = this.board.frame.said;
  }
}
