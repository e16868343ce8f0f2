// What is said of several answers: which of two is better, or the rank of each of three or four; and how it should read where both
// of two are bad. Knows this form's state and how it is drawn; knows nothing of items, keys or sending.

import { called, sided } from "./beside.js";
import { LONGEST_REWRITE } from "./form.js";
import { button, cap, key, press } from "./parts.js";
import { core, make, sameWords, unseen, within } from "./text.js";
import { listed, locale, tr, trParts, trn } from "./words.js";

function places() {
  return [tr("1st"), tr("2nd"), tr("3rd"), tr("4th")];
}

/** `rewrite` is null while nothing is written. The form of a ranking is always open. */
export function emptyPreference(item) {
  return { open: item.answers.length > 2, rewrite: null, ranks: item.answers.map(() => null) };
}

/** The form as it stood when `answer` was given to an item. */
export function preferenceOf(answer, item) {
  const empty = emptyPreference(item);
  return { open: empty.open || answer.verdict === "both_bad", rewrite: answer.rewrite?.trim() || null, ranks: [...(answer.ranking ?? empty.ranks)] };
}

/** Ranks without gaps: after two first ones comes the second. */
export function dense(ranks) {
  const given = [...new Set(ranks.filter((one) => one !== null))].sort((one, other) => one - other);
  return ranks.map((one) => (one === null ? null : given.indexOf(one) + 1));
}

export class Preference {
  /** @param {object} board {form, shown, scenes, prefer(verdict), bad(), covered(), changed(), save(), say(words)} */
  constructor(board) {
    this.board = board;
    this.chips = [];
    this.buttons = this.drawButtons();
    this.element = this.draw();
    this.element.hidden = true;
  }

  get form() {
    return this.board.form;
  }

  get ranking() {
    return this.item?.answers.length > 2;
  }

  // ------------------------------------------------------------------- state

  open(item) {
    this.item = item;
    this.hint.classList.remove("missing");
    this.rewritePart.hidden = this.ranking;
    this.rewriteBox.maxLength = LONGEST_REWRITE - (item.answers[0].length - core(item.answers[0]).length);
    this.rewriteBox.value = this.form.rewrite ?? "";
    for (const [index, made] of this.begin.entries()) made.disabled = core(item.answers[index]).length > this.rewriteBox.maxLength;
  }

  typed(wording) {
    this.form.rewrite = wording.trim() ? wording : null;
    this.board.changed();
  }

  /** The box is filled with one of the answers, to be bettered. */
  beginWith(index) {
    this.rewriteBox.value = core(this.item.answers[index]);
    this.typed(this.rewriteBox.value);
    this.rewriteBox.focus();
  }

  /** Gives the answer at `index` a place, or takes it back where it has that already. */
  rank(index, place) {
    if (this.board.covered() || place > this.item.answers.length) return false;
    const { ranks } = this.form;
    ranks[index] = ranks[index] === place ? null : place;
    this.board.changed();
    this.board.say(this.inWords());
    return true;
  }

  /** By key: the answer that the keys go to gets a place, and they go on to the next one without. */
  rankHere(place) {
    const scene = this.board.scenes.compare;
    const { ranks } = this.form;
    const index = scene.at;
    if (!this.rank(index, place) || ranks[index] === null) return;
    const next = [...ranks.keys()].map((step) => (index + step) % ranks.length).find((one) => ranks[one] === null);
    if (next !== undefined) scene.go(next);
  }

  /** What stands between the form and an answer, in words, or "". */
  missing() {
    if (this.ranking)
      return this.unranked.length ? trn("First give each answer a place: {answers} has none yet.", "First give each answer a place: {answers} have none yet.",
        this.unranked.length, { answers: listed(this.unranked) }) : "";
    const { rewrite } = this.form;
    if (rewrite === null) return "";
    const same = this.item.answers.findIndex((text) => sameWords(rewrite, core(text)));
    return same < 0 ? "" : tr("What you wrote is the {answer} as it stands: change it, or empty the box.",
      { answer: called(same, 2).toLocaleLowerCase(locale()) });
  }

  tell(missing) {
    this.hint.textContent = missing;
    this.hint.classList.add("missing");
  }

  /** Whether an earlier answer was given on this form. */
  unfolds(answer) {
    return this.ranking || answer.verdict === "both_bad";
  }

  /** The form as the part of an answer that it is. */
  said() {
    if (this.ranking) return { verdict: "ranked", ranking: dense(this.form.ranks) };
    return { verdict: "both_bad", rewrite: this.form.rewrite === null ? null : within(this.item.answers[0], this.form.rewrite) };
  }

  /** Names of the answers without a place. */
  get unranked() {
    return this.form.ranks.flatMap((one, index) => (one === null ? "ABCD"[index] : []));
  }

  /** The order so far: "First B, then A and C. Not ranked yet: D." */
  inWords() {
    const ranks = dense(this.form.ranks);
    const steps = places().map((_, place) => ranks.flatMap((one, index) => (one === place + 1 ? "ABCD"[index] : []))).filter((one) => one.length);
    const alike = steps.length === 1 && !this.unranked.length;
    const then = tr(", then ");
    const order = alike ? tr("All are equally good.") : steps.length ? tr("First {order}.", { order: steps.map(listed).join(then) }) : "";
    return [order, this.unranked.length ? tr("Not ranked yet: {answers}.", { answers: listed(this.unranked) }) : ""].filter(Boolean).join(" ");
  }

  // ----------------------------------------------------------------- drawing

  drawButtons() {
    const made = (verdict, act, ...children) => {
      const one = button("big prefer", act, ...children);
      one.dataset.verdict = verdict;
      return one;
    };
    const mark = (where, words) => make("kbd", { "aria-hidden": "true", class: where }, words);
    const side = (verdict, arrow, index) => made(verdict, () => this.board.prefer(verdict), mark("beside", arrow), mark("stacked digit", String(index + 1)),
      make("span", {}, ...sided([[tr("Left is better"), tr("Upper is better")], [tr("Right is better"), tr("Lower is better")]][index])));
    return make("div", { class: "two" }, side("left", "←", 0), side("right", "→", 1),
      made("equal", () => this.board.prefer("equal"), key("equal"), make("span", {}, tr("Equally good"))),
      made("both_bad", () => this.board.bad(), key("both_bad"), make("span", {}, tr("Both are bad"))));
  }

  draw() {
    this.hint = make("p", { class: "hint", role: "status" });
    this.orderLine = make("p", { class: "order" }); // stands under the question
    this.rewriteBox = make("textarea", { class: "field rewrite", rows: "2", dir: "auto",
      "aria-label": tr("What would be a good answer? If you like."), oninput: () => this.typed(this.rewriteBox.value) });
    this.unseenWords = make("p", { class: "soft unseen-words" });
    this.begin = [[tr("left one"), tr("upper one")], [tr("right one"), tr("lower one")]].map((words, index) =>
      button("link", () => this.beginWith(index), ...sided(words)));
    this.rewritePart = make("fieldset", {}, make("legend", {}, key("rewrite"), tr("What would be a good answer?"), " ", make("span", { class: "soft" }, tr("(if you like)"))),
      make("p", { class: "soft begin" }, ...trParts(tr("Begin with the {left} or the {right}, or write it anew."), { left: this.begin[0], right: this.begin[1] })),
      this.rewriteBox, this.unseenWords);
    return make("div", { class: "panel", role: "group", "aria-label": tr("What you think of them") }, this.rewritePart,
      make("div", { class: "end" }, this.hint,
        make("div", { class: "foot" }, button("save", () => this.board.save(), cap(tr("Enter")), tr("Save and go on")),
          make("span", { class: "soft" }, tr("Nobody else sees your answer while they review.")))));
  }

  /** The places that one answer of a ranking can have, for its card. */
  places(index) {
    const { answers } = this.board.shown;
    if (index === 0) this.chips = [];
    const chips = answers.map((_, place) => {
      const made = button("chip", () => this.rank(index, place + 1),
        make("kbd", { "aria-hidden": "true", class: "digit" }, String(place + 1)), places()[place]);
      made.dataset.place = place + 1;
      return made;
    });
    this.chips.push(chips);
    return make("div", { class: "chips places", role: "group", "aria-label": tr("Place of {answer}", { answer: called(index, answers.length) }) }, ...chips);
  }

  /** @param {?object} earlier the answer that is open again */
  sync(earlier) {
    const bad = this.board.panel === "form";
    for (const made of this.buttons.children)
      press(made, made.dataset.verdict === "both_bad" ? bad : !bad && earlier?.verdict === made.dataset.verdict);
    if (this.ranking) {
      for (const [index, chips] of this.chips.entries())
        for (const made of chips) press(made, this.form.ranks[index] === Number(made.dataset.place));
      this.orderLine.textContent = this.inWords();
    }
    this.unseenWords.textContent = unseen(this.form.rewrite ?? "");
    this.unseenWords.hidden = !this.unseenWords.textContent;
    if (!this.hint.classList.contains("missing")) this.hint.textContent = "";
  }
}
