// The whole answer: what is wrong, for whom, how bad, which words, how it should read, a note, how sure.
// Knows the form's state and how it is drawn; knows nothing of items, keys or sending.

import { difference } from "./difference.js";
import { visible } from "./invisible.js";
import { button, cap, key, option, press } from "./parts.js";
import { core, make, sameWords, signed, unseen, within } from "./text.js";
import { number, tr, trParts } from "./words.js";

/** Longest rewrite that the box takes; a longer answer is not rewritten here. */
export const LONGEST_REWRITE = 20_000;
/** Longest note that is kept, code points. */
const LONGEST_NOTE = 2_000;
const MOST_SPANS = 100;
const EXCERPT = 60;

export function emptyForm() {
  return { open: false, categories: [], targets: [], target_other: "", severity: null, sure: true, spans: [], rewrite: null, note: "" };
}

/** The form as it stood when `answer` was given to an item with `text`. */
export function formOf(answer, text) {
  return {
    ...emptyForm(),
    open: answer.verdict === "flag",
    categories: [...(answer.categories ?? [])],
    targets: [...(answer.targets ?? [])],
    target_other: answer.target_other ?? "",
    severity: answer.severity ?? null,
    sure: answer.sure ?? true,
    spans: (answer.spans ?? []).map(({ start, end, category }) => ({ start, end, category: category ?? null })),
    rewrite: answer.rewrite && answer.rewrite !== text ? answer.rewrite.trim() : null,
    note: answer.note ?? "",
  };
}

export class Form {
  /** @param {object} board {taxonomy, form, changed(), save(), redraw(), focus()}; `bySentence` chooses sentences to mark */
  constructor(board, bySentence) {
    this.board = board;
    this.names = new Map(board.taxonomy.categories.map((one) => [one.code, one.name]));
    this.element = this.draw(bySentence);
    this.element.hidden = true;
  }

  get form() {
    return this.board.form;
  }

  // ------------------------------------------------------------------- state

  /** Takes up an item: its boxes are filled with what was said so far. */
  open({ text }) {
    this.text = text;
    this.own = ownWording(text);
    this.lastCategory = null;
    this.hint.classList.remove("missing");
    this.otherBox.value = this.form.target_other;
    this.rewriteBox.disabled = this.own === null;
    this.rewriteBox.placeholder = this.own === null ? tr("This answer is too long to be rewritten here; say in the note what should change.") : "";
    this.rewriteBox.maxLength = LONGEST_REWRITE - (text.length - (this.own ?? text).length);
    this.rewriteBox.value = this.form.rewrite ?? this.own ?? "";
    this.noteBox.value = this.form.note;
  }

  toggle(list, code) {
    const { form } = this;
    const chosen = form[list];
    const off = chosen.includes(code);
    form[list] = off ? chosen.filter((one) => one !== code) : [...chosen, code];
    if (list === "categories") {
      this.lastCategory = off ? form.categories.at(-1) ?? null : code;
      if (off) form.spans = distinct(form.spans.map((one) => (one.category === code ? { ...one, category: null } : one)));
    }
    this.changed();
    if (list === "targets" && code === "other" && !off) this.otherBox.focus();
  }

  /** The main reason stands first, those before it go behind. */
  setMain(code) {
    const { categories } = this.form;
    const place = categories.indexOf(code);
    this.form.categories = [...categories.slice(place), ...categories.slice(0, place)];
    this.changed();
  }

  nextMain() {
    if (this.form.categories.length > 1) this.setMain(this.form.categories[1]);
  }

  choose(severity) {
    this.form.severity = severity;
    this.changed();
  }

  doubt() {
    this.form.sure = !this.form.sure;
    this.changed();
  }

  /** Marks a passage for the reason ticked last; the same passage again is taken away where `toggle` says so. */
  mark({ start, end }, { toggle = false } = {}) {
    const { form } = this;
    const same = form.spans.filter((one) => one.start === start && one.end === end);
    if (toggle && same.length) form.spans = form.spans.filter((one) => !same.includes(one));
    else if (form.spans.length < MOST_SPANS)
      form.spans = distinct([...form.spans, { start, end, category: this.lastCategory ?? form.categories[0] ?? null }]);
    this.changed();
  }

  unmark(mark) {
    this.form.spans = this.form.spans.filter((one) => one !== mark);
    this.changed();
  }

  typed(field, value) {
    this.form[field] = field === "rewrite" && value === this.own ? null : value;
    this.board.changed();
  }

  changed() {
    this.board.changed();
    this.board.redraw();
  }

  /** What stands between the form and an answer, in words, or "". */
  missing() {
    const { categories, severity, note, rewrite } = this.form;
    if (!categories.length) return tr("First say what is wrong: 1 to 0, or one of those below them.");
    if (!severity) return tr("Then say how bad it is: slight, clear or severe.");
    if (categories.includes("other") && !note.trim()) return tr("You chose “Something else”: say in the note what it is.");
    if (rewrite !== null && !rewrite.trim()) return tr("The rewrite is empty: write how it should read, or bring the answer back.");
    const long = Array.from(note.trim()).length;
    if (long > LONGEST_NOTE) return tr("The note has {count} characters; at most {most} are kept. Shorten it.", { count: number(long), most: number(LONGEST_NOTE) });
    return "";
  }

  tell(missing) {
    this.hint.textContent = missing;
    this.hint.classList.add("missing");
  }

  /** Whether an earlier answer was given on this form. */
  unfolds(answer) {
    return answer.verdict === "flag";
  }

  /** Whether the answer takes the text away from everybody. */
  get withdraws() {
    return this.board.taxonomy.categories.some((one) => one.withdraws && this.form.categories.includes(one.code));
  }

  /** The form as the part of an answer that it is. */
  said() {
    const { form, text } = this;
    const rewrite = this.rewritten();
    return {
      verdict: "flag",
      categories: form.categories,
      targets: form.targets,
      target_other: form.targets.includes("other") ? form.target_other.trim() || null : null,
      severity: form.severity,
      sure: form.sure,
      spans: form.spans.map(({ start, end, category }) => ({ start, end, category: category ?? null })),
      rewrite: rewrite === text ? null : rewrite,
      note: form.note.trim() || null,
    };
  }

  /** The reviewer's wording between the blanks that the stored text begins and ends with. */
  rewritten() {
    const { text } = this;
    if (this.form.rewrite === null) return text;
    return sameWords(this.form.rewrite, core(text)) ? text : within(text, this.form.rewrite);
  }

  // ----------------------------------------------------------------- drawing

  draw(bySentence) {
    const tax = this.board.taxonomy;
    const options = (part) => tax.categories.filter(part).map((one) => {
      const made = option(one.key ? make("kbd", { "aria-hidden": "true", class: "digit" }, one.key) : null, one.name, one.definition,
        () => this.toggle("categories", one.code), one.example ? make("small", { class: "example" }, one.example) : null);
      made.dataset.category = one.code;
      made.lastElementChild.dataset.main = tr("main reason");
      return made;
    });
    const optional = (words) => make("span", { class: "soft" }, words);
    this.hint = make("p", { class: "hint", role: "status" });
    this.mainChips = make("div", { class: "chips" });
    this.mainPart = make("fieldset", { hidden: true }, make("legend", {}, key("main"), tr("Which is the main reason?")), this.mainChips);
    this.examplesButton = button("more", () => this.showExamples(), key("examples"), (this.examplesWords = make("span")));
    this.otherBox = make("input", { class: "field other", type: "text", maxlength: "200", "aria-label": tr("Who else is harmed, in your own words"),
      placeholder: tr("Who, in your own words"), oninput: () => this.typed("target_other", this.otherBox.value) });
    this.marksList = make("ul", { class: "marks" });
    this.rewriteBox = make("textarea", { class: "field rewrite", rows: "2", dir: "auto",
      "aria-label": tr("How should it read? If you like."), oninput: () => this.typed("rewrite", this.rewriteBox.value) });
    this.unseenWords = make("p", { class: "soft unseen-words" });
    this.changes = make("p", { class: "changes", dir: "auto", "aria-hidden": "true" });
    this.noteBox = make("textarea", { class: "field note", rows: "1", dir: "auto", "aria-label": tr("A note, if you like"),
      oninput: () => this.typed("note", this.noteBox.value) });
    this.withdrawing = make("p", { class: "withdrawing", role: "status" });
    this.sureButton = button("chip", () => this.doubt(), key("unsure"), tr("I am not sure"));
    const chip = (data, act, ...words) => {
      const made = button("chip", act, ...words);
      Object.assign(made.dataset, data);
      return made;
    };
    return make("div", { class: "panel", role: "group", "aria-label": tr("What you would change") },
      make("fieldset", {}, make("legend", {}, tr("What is wrong?")), make("div", { class: "list" }, ...options((one) => one.key)), make("hr"),
        make("div", { class: "list meta" }, ...options((one) => !one.key)), this.examplesButton),
      this.mainPart,
      make("fieldset", {}, make("legend", {}, tr("Who is harmed?"), " ", optional(tr("(if a group is)"))),
        make("div", { class: "chips" }, ...tax.targets.map((one) =>
          chip({ target: one.code }, () => this.toggle("targets", one.code), one.code === "other" ? tr("Someone else…") : one.name))), this.otherBox),
      make("fieldset", {}, make("legend", {}, tr("How bad is it?")),
        make("div", { class: "chips" }, ...tax.severities.map((one) => chip({ severity: one.code }, () => this.choose(one.code), key(one.code),
          one.code === "slight" ? one.name : tr("{what}: {text}", { what: one.name, text: one.definition.replace(/\.$/, "").toLowerCase() }))))),
      make("fieldset", {}, make("legend", {}, key("mark"), tr("Which words?"), " ", optional(tr("(if you like)"))),
        make("p", { class: "soft" }, ...trParts(tr("Select them in the answer above, {walk}, or"),
          { walk: button("link", () => this.board.walk(), tr("walk to them by keys")) })), bySentence, this.marksList),
      make("fieldset", {}, make("legend", {}, key("rewrite"), tr("How should it read?"), " ", optional(tr("(if you like)"))),
        this.rewriteBox, this.unseenWords, this.changes),
      make("fieldset", {}, make("legend", {}, key("note"), tr("A note"), " ", optional(tr("(if you like)"))), this.noteBox),
      this.withdrawing,
      make("div", { class: "end" }, this.hint,
        make("div", { class: "foot" }, button("save", () => this.board.save(), cap(tr("Enter")), tr("Save and go on")), this.sureButton,
          make("span", { class: "soft" }, tr("Nobody else sees your answer while they review.")))));
  }

  /** Examples of each reason, under its definition; they stay until they are hidden. */
  showExamples() {
    this.examples = !this.examples;
    this.sync();
  }

  sync() {
    const { form } = this;
    for (const made of this.element.querySelectorAll("[data-category]")) {
      press(made, form.categories.includes(made.dataset.category));
      made.classList.toggle("main", form.categories.length > 1 && form.categories[0] === made.dataset.category);
    }
    for (const made of this.element.querySelectorAll("[data-target]")) press(made, form.targets.includes(made.dataset.target));
    for (const made of this.element.querySelectorAll("[data-severity]")) press(made, form.severity === made.dataset.severity);
    press(this.sureButton, !form.sure);
    this.withdrawing.textContent = this.withdraws ? tr("When you save this, the text is taken away from everybody at once, and those who run this panel are told.") : "";
    this.element.classList.toggle("with-examples", Boolean(this.examples));
    this.examplesWords.textContent = this.examples ? tr("Hide the examples") : tr("Show an example of each");
    this.otherBox.hidden = !form.targets.includes("other");
    this.syncMain();
    this.syncMarks();
    this.syncChanges();
    if (!this.hint.classList.contains("missing")) this.hint.textContent = "";
  }

  syncMain() {
    const { categories } = this.form;
    this.mainPart.hidden = categories.length < 2;
    const ticked = [...categories].sort();
    if (this.mainDrawn !== ticked.join()) {
      this.mainDrawn = ticked.join();
      this.mainChips.replaceChildren(...this.board.taxonomy.categories.filter((one) => categories.includes(one.code)).map((one) => {
        const made = button("chip", () => this.setMain(one.code), one.name);
        made.dataset.main = one.code;
        return made;
      }));
    }
    for (const made of this.mainChips.children) press(made, categories[0] === made.dataset.main);
  }

  /** Each mark with the reason it stands for. */
  syncMarks() {
    const { spans, categories } = this.form;
    const drawn = JSON.stringify([spans, categories]);
    if (this.marksDrawn === drawn) return;
    this.marksDrawn = drawn;
    const points = spans.length ? Array.from(this.text) : [];
    this.marksList.replaceChildren(...spans.map((one) => {
      const words = visible(points.slice(one.start, Math.min(one.end, one.start + EXCERPT)).join("")) + (one.end - one.start > EXCERPT ? "…" : "");
      const chosen = make("select", { class: "field", "aria-label": tr("What is wrong with “{words}”", { words }), onchange: () => {
        one.category = chosen.value || null;
        this.form.spans = distinct(this.form.spans);
        this.changed();
      } }, make("option", { value: "" }, tr("No reason in particular")), ...categories.map((code) => make("option", { value: code }, this.names.get(code))));
      chosen.value = one.category ?? "";
      return make("li", {}, make("q", { dir: "auto" }, words), chosen, button("", () => this.unmark(one), tr("Take away")));
    }));
  }

  syncChanges() {
    const rewrite = this.own === null ? null : this.form.rewrite;
    this.unseenWords.textContent = unseen(rewrite ?? this.own ?? "");
    this.unseenWords.hidden = !this.unseenWords.textContent;
    const changed = rewrite !== null && !sameWords(rewrite, this.own);
    this.changes.hidden = !changed;
    if (!changed) return;
    const tags = { same: "span", gone: "del", new: "ins" };
    this.changes.replaceChildren(...difference(this.own, rewrite.trim()).map(({ kind, text }) => make(tags[kind], {}, ...signed(text))));
  }
}

/** Each passage once for each reason, in the order of the text. */
function distinct(spans) {
  const seen = new Map(spans.map((one) => [`${one.start} ${one.end} ${one.category}`, one]));
  return [...seen.values()].sort((one, other) => one.start - other.start || one.end - other.end);
}

/** The wording that the rewrite box begins with: the answer between its margins; null where it is too long for the box. */
function ownWording(text) {
  return text.length > LONGEST_REWRITE ? null : core(text).replaceAll("\r\n", "\n");
}
