// The review board: shows one answer, takes one decision, goes on at once; answers travel in the outbox.
// Knows keys, drawing and the order of items; knows nothing of models, scores or other people's answers.

import { pieces, visible } from "./invisible.js";
import { Outbox, ask, usePageToken, uuid } from "./outbox.js";
import { SHOWN, difference, make, margins, selected, signed, write } from "./text.js";

/** Where the running board is kept: on the element it was mounted in, and once for the page. */
const BOARD = Symbol.for("flagback.board");
/** Items held ahead, and how few of them are left when more are claimed. */
const AHEAD = 10;
const LOW = 6;
const MOST_HELD = 40;
/** Milliseconds between looks when there is nothing to review. */
const LOOK_AGAIN = 3000;
/** Answers that can be taken up again. */
/** For this long after a click brought an answer up, another click is the rest of the same. */
const SETTLED_MS = 400;
const UNDOABLE = 10;
/** Longest rewrite that the box takes; a longer answer is not rewritten here. */
const LONGEST_REWRITE = 19_000;
/** How much of a text is read aloud by itself. */
const READ_OUT = 2000;
const SEVERITY_KEYS = { slight: "A", clear: "S", severe: "G" };

/**
 * Streamlit calls this at mount and again whenever it likes, without calling the returned clean-up in between: so the running
 * board stays on `parentElement`, and there is never a second one with a second key listener.
 */
export default function mount({ data, parentElement }) {
  const running = parentElement[BOARD];
  if (running && !running.left && running.account === data.account) return () => running.leave();
  globalThis[BOARD]?.leave();
  const board = new Board(parentElement, data);
  parentElement[BOARD] = board;
  globalThis[BOARD] = board;
  board.start();
  return () => board.leave();
}

function emptyForm() {
  return { open: false, categories: [], targets: [], target_other: "", severity: null, sure: true, spans: [], rewrite: null, note: "" };
}

/** The form as it stood when `answer` was given to an item with `text`. */
function formOf(answer, text) {
  return {
    ...emptyForm(),
    open: answer.verdict === "flag",
    categories: [...(answer.categories ?? [])],
    targets: [...(answer.targets ?? [])],
    target_other: answer.target_other ?? "",
    severity: answer.severity ?? null,
    sure: answer.sure ?? true,
    spans: (answer.spans ?? []).map(({ start, end }) => ({ start, end })),
    rewrite: answer.rewrite && answer.rewrite !== text ? answer.rewrite.trim() : null,
    note: answer.note ?? "",
  };
}

/** 1 for an answer that counts today, 0 for a skip or none. */
function judged(entry) {
  return entry && entry.answer.verdict !== "skip" ? 1 : 0;
}

/** A text cut to what a screen reader says by itself, hidden characters by name. */
function readOut(text) {
  const whole = text.trim();
  return visible(whole.length > READ_OUT ? `${whole.slice(0, READ_OUT)}…` : whole);
}

/** Whether two wordings differ in nothing but blanks. */
function sameWords(one, other) {
  return one.trim().split(/\s+/).join(" ") === other.trim().split(/\s+/).join(" ");
}

function clock(moment) {
  return new Date(moment).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}

class Board {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.account = data.account;
    this.token = data.token;
    this.api = data.api;
    this.taxonomy = data.taxonomy;
    this.queue = [];
    this.item = null; // what is new to be judged
    this.again = null; // index into `past` while an old answer is open
    this.past = []; // [{item, answer, form}]
    this.answered = new Set(); // lease ids never to be shown as new again
    this.panel = null; // "form" | "skip"
    this.today = 0;
    this.stopped = false;
    this.left = false;
    this.drafts = `flagback.draft.${this.account}`;
  }

  start() {
    loadFonts();
    usePageToken(this.token);
    this.draw();
    this.outbox = new Outbox(this.account, this.api, (news) => this.told(news));
    for (const lease of this.outbox.leases()) this.answered.add(lease);
    this.onKey = (event) => this.key(event);
    // One listener for the page, in front of Streamlit's own shortcuts (R and C), which do not see into this element.
    addEventListener("keydown", this.onKey, true);
    // The second half of a double click must not judge the answer that has only just come up.
    this.clicked = Infinity;
    this.shell.addEventListener("click", (event) => {
      if (event.detail === 0) return;
      const cameByClick = this.appeared > this.clicked;
      if (cameByClick && this.shown && performance.now() - this.appeared < SETTLED_MS) {
        event.preventDefault();
        event.stopPropagation();
      } else {
        this.clicked = performance.now();
      }
    }, true);
    this.onShown = () => this.watchTime();
    document.addEventListener("visibilitychange", this.onShown);
    this.layers = new MutationObserver(() => this.liftLayer());
    this.layers.observe(document.body, { childList: true });
    this.shell.focus({ preventScroll: true });
    this.begin();
  }

  leave() {
    if (this.left) return;
    this.left = true;
    removeEventListener("keydown", this.onKey, true);
    document.removeEventListener("visibilitychange", this.onShown);
    clearTimeout(this.poll);
    clearTimeout(this.slow);
    this.layers.disconnect();
    this.outbox?.close();
    if (this.root[BOARD] === this) delete this.root[BOARD];
    if (globalThis[BOARD] === this) delete globalThis[BOARD];
    this.shell?.remove();
  }

  /** What an earlier page left behind goes first: it counts today, and it can be taken up again. */
  async begin() {
    await this.outbox.deliver();
    await this.refill();
  }

  /** The reviewer's day so far and last answers, asked for once, before the first item can be answered. */
  async learn() {
    const midnight = new Date();
    midnight.setHours(0, 0, 0, 0);
    const [day, recent] = await Promise.all([
      ask("GET", `${this.api}/today?since=${encodeURIComponent(midnight.toISOString())}`),
      ask("GET", `${this.api}/recent`),
    ]);
    if (this.left || day.status !== 200 || recent.status !== 200) return day.status === 200 ? recent : day;
    const onTheWay = this.outbox.waiting.filter(({ answer }) => answer.verdict !== "skip" && !answer.supersedes_token);
    this.today = day.body.answered + onTheWay.length;
    this.past = recent.body.answers.map(({ shown, answer }) => ({ item: shown, answer, form: formOf(answer, shown.text) }));
    for (const { answer } of this.past) this.answered.add(answer.lease_id);
    this.learned = true;
    return day;
  }

  // ------------------------------------------------------------------ items

  /** Keeps enough items ahead. What is already here or on its way to the server is claimed again by the server: left out. */
  async refill() {
    if (this.refilling || this.left || this.stopped || this.queue.length >= LOW) return;
    this.refilling = true;
    clearTimeout(this.poll);
    const held = this.queue.length + (this.item ? 1 : 0) + this.outbox.size;
    const known = this.learned ? null : await this.learn();
    const claimed = known && known.status !== 200 ? known
      : await ask("POST", `${this.api}/claim`, { count: Math.min(MOST_HELD, held + AHEAD) });
    this.refilling = false;
    if (this.left || this.stopped) return;
    if (claimed.status === 200) {
      this.reached = true;
      const here = new Set([...this.queue.map((one) => one.lease_id), this.item?.lease_id, ...this.answered]);
      const fresh = claimed.body.items.filter((one) => !here.has(one.lease_id));
      this.completion = claimed.body.completion_code;
      for (const one of fresh) one.until = Date.now() + one.seconds_left * 1000;
      if (!this.item && !this.queue.length) {
        const draft = this.draft();
        fresh.sort((one, other) => (other.lease_id === draft?.lease_id) - (one.lease_id === draft?.lease_id));
      }
      this.queue.push(...fresh);
    } else {
      this.reached = false;
      this.refused(claimed);
    }
    if (!this.item && this.queue.length) this.advance();
    else this.sync();
    if (this.queue.length < LOW) this.poll = setTimeout(() => this.refill(), LOOK_AGAIN);
  }

  /** Shows the next item that is still ours, or says that there is none; an old answer that is open stays open. */
  advance() {
    do this.item = this.queue.shift() ?? null;
    while (this.item && (this.item.until < Date.now() || this.answered.has(this.item.lease_id)));
    if (this.again === null) this.show();
  }

  /** What is on the screen: an old answer while one is open, else the new item. */
  get shown() {
    return this.again === null ? this.item : this.past[this.again].item;
  }

  // -------------------------------------------------------------- decisions

  flag() {
    if (!this.shown) return;
    this.panel = "form";
    this.form.open = true;
    this.keepDraft();
    this.sync();
  }

  fine() {
    if (this.shown) this.send({ verdict: "fine" });
  }

  skip() {
    if (!this.shown) return;
    this.panel = this.panel === "skip" ? (this.form.open ? "form" : null) : "skip";
    this.sync();
  }

  skipFor(reason) {
    this.send({ verdict: "skip", skip_reason: reason.code });
    if (reason.code === "too_upsetting") this.notify("That was skipped. Take a break if you like: “Stop for today” is always fine.");
  }

  undo() {
    const index = (this.again ?? this.past.length) - 1;
    if (index < 0 || this.past.length - index > UNDOABLE) {
      this.notify("There is no earlier answer to take up again.");
      return;
    }
    this.again = index;
    this.show();
  }

  keepAsItWas() {
    this.again = null;
    this.show();
  }

  save() {
    const missing = this.missing();
    if (missing) {
      this.hint.textContent = missing;
      this.hint.classList.add("missing");
      return;
    }
    const { form } = this;
    const text = this.shown.text;
    const rewrite = this.rewritten();
    this.send({
      verdict: "flag",
      categories: form.categories,
      targets: form.targets,
      target_other: form.targets.includes("other") ? form.target_other.trim() || null : null,
      severity: form.severity,
      sure: form.sure,
      spans: form.spans.map(({ start, end }) => ({ start, end, category: null })),
      rewrite: rewrite === text ? null : rewrite,
      note: form.note.trim() || null,
    });
  }

  /** What stands between the form and an answer, in words, or "". */
  missing() {
    const { categories, severity, note, rewrite } = this.form;
    if (!categories.length) return "First say what is wrong: 1 to 0, or one of the four below them.";
    if (!severity) return "Then say how bad it is: A, S or G.";
    if (categories.includes("other") && !note.trim()) return "You chose “Something else”: say in the note what it is.";
    if (rewrite !== null && !rewrite.trim()) return "The rewrite is empty: write how it should read, or bring the answer back.";
    return "";
  }

  /** The reviewer's wording between the blanks that the stored text begins and ends with. */
  rewritten() {
    if (this.form.rewrite === null) return this.shown.text;
    const { text } = this.shown;
    const points = Array.from(text);
    const { start, end } = margins(text);
    const own = points.slice(start, end).join("");
    if (sameWords(this.form.rewrite, own)) return text;
    return points.slice(0, start).join("") + this.form.rewrite.trim() + points.slice(end).join("");
  }

  /** Puts the answer into the outbox and goes on at once. */
  send(said) {
    const item = this.shown;
    const redone = this.again === null ? null : this.past[this.again];
    const answer = {
      token: uuid(),
      lease_id: item.lease_id,
      seconds_open: Math.round(this.secondsOpen() * 10) / 10,
      taxonomy_version: this.taxonomy.version,
      guideline_version: this.taxonomy.guideline,
      supersedes_token: redone ? redone.answer.token : null,
      ...said,
    };
    this.answered.add(item.lease_id);
    const entry = { item, answer, form: this.form, before: redone };
    if (redone) this.past[this.again] = entry;
    else this.past.push(entry);
    this.today += judged(entry) - judged(redone);
    this.forgetDraft(item);
    if (!this.outbox.put(answer)) this.notify("This browser keeps nothing over a reload: wait for “Saved” before you close the page.");
    clearTimeout(this.slow);
    this.slow = setTimeout(() => this.syncTop(), 400);
    if (redone) this.keepAsItWas();
    else {
      this.advance();
      this.refill();
    }
  }

  async stop() {
    this.stopped = true;
    clearTimeout(this.poll);
    this.queue = [];
    this.item = null;
    this.again = null;
    this.show();
    const until = Date.now() + 5000;
    while (this.outbox.size && Date.now() < until) await new Promise((done) => setTimeout(done, 100));
    await ask("POST", `${this.api}/release`);
    if (!this.left) this.sync();
  }

  goOn() {
    this.stopped = false;
    this.reached = undefined;
    this.show();
    this.refill();
  }

  // ------------------------------------------------------------------- time

  /** Counts only while the page can be seen. */
  watchTime() {
    const moment = performance.now();
    if (this.openSince !== null && this.openSince !== undefined) this.openFor += (moment - this.openSince) / 1000;
    this.openSince = document.visibilityState === "visible" ? moment : null;
  }

  secondsOpen() {
    this.watchTime();
    return this.openFor;
  }

  // ----------------------------------------------------------------- drafts

  draft() {
    try {
      return JSON.parse(localStorage.getItem(this.drafts));
    } catch {
      return null;
    }
  }

  /** So that a reload brings back the same item with what was already said about it. */
  keepDraft() {
    if (this.again !== null || !this.item) return;
    try {
      localStorage.setItem(this.drafts, JSON.stringify({ lease_id: this.item.lease_id, form: this.form }));
    } catch {
      // Without localStorage a reload costs the draft; the answer itself is told about in `send`.
    }
  }

  forgetDraft(item) {
    if (this.draft()?.lease_id !== item.lease_id) return;
    try {
      localStorage.removeItem(this.drafts);
    } catch {
      // It was never kept.
    }
  }

  // ------------------------------------------------------------------- keys

  key(event) {
    if (!this.root.isConnected && !this.root.host?.isConnected) {
      this.leave();
      return;
    }
    const target = event.composedPath()[0];
    const inside = event.composedPath().includes(this.shell);
    if (!inside && (target.closest?.("a, button, input, textarea, select, [contenteditable], [role=dialog]") || dialogOver())) return;
    if (inside) event.stopPropagation();
    if (event.isComposing) return;
    if (this.help.open) {
      this.helpKey(event);
      return;
    }
    const typing = inside && target.matches?.("textarea, input");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      this.take(event, () => this.panel === "form" && this.save());
    } else if (event.key === "Escape") {
      this.take(event, () => this.escape(typing));
    } else if (typing || event.ctrlKey || event.metaKey || event.altKey) {
      if (typing && event.key === "Enter" && target.matches("input")) this.take(event, () => this.shell.focus());
    } else if ((event.key === "Enter" || event.key === " ") && inside && target.matches?.("button, a, summary")) {
      // The button does what it says.
    } else {
      const act = this.meaning(event);
      if (act) this.take(event, act);
    }
  }

  take(event, act) {
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) act();
  }

  /** What a key does here and now, or null. Letters by what they write; on other alphabets by where they lie. */
  meaning(event) {
    if (this.stopped) return null;
    if (!this.shown) return event.key.toLowerCase() === "u" && this.past.length ? () => this.undo() : null;
    const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1] ?? (/^\d$/.test(event.key) ? event.key : null);
    const letter = /^[a-z]$/i.test(event.key) ? event.key.toLowerCase()
      : /^\P{ASCII}$/u.test(event.key) ? /^Key([A-Z])$/.exec(event.code)?.[1].toLowerCase() : null;
    if (digit !== null && !event.shiftKey) {
      if (this.panel === "skip") {
        const reason = this.taxonomy.skips[Number(digit) - 1];
        return reason ? () => this.skipFor(reason) : null;
      }
      const category = this.taxonomy.categories.find((one) => one.key === digit);
      return this.panel === "form" && category ? () => this.toggle("categories", category.code) : null;
    }
    const always = { f: () => this.flag(), j: () => this.fine(), k: () => this.skip(), u: () => this.undo(), h: () => this.openHelp() };
    const inForm = {
      a: () => this.choose("slight"), s: () => this.choose("clear"), g: () => this.choose("severe"),
      q: () => this.doubt(), w: () => this.rewriteBox.focus(), n: () => this.noteBox.focus(),
    };
    if (letter && always[letter]) return always[letter];
    if (this.panel !== "form") return null;
    if (event.key === "Enter") return () => this.save();
    return (letter && inForm[letter]) || null;
  }

  escape(typing) {
    if (typing) this.shell.focus();
    else if (this.panel === "skip") this.skip();
    else if (this.again !== null) this.keepAsItWas();
    else this.quiet();
  }

  helpKey(event) {
    if (event.key === "Escape" || event.key.toLowerCase() === "h") this.take(event, () => this.help.close());
  }

  /**
   * Streamlit lays "Connection error" over the page seconds after the server is gone. The board says so itself, in plainer words,
   * and what is here can be reviewed meanwhile: that layer is closed, any other stays.
   */
  liftLayer() {
    const layer = document.querySelector("[data-testid=stDialog] [role=dialog]");
    if (!layer?.textContent.startsWith("Connection error")) return;
    layer.querySelector("button[aria-label=Close]")?.click();
    setTimeout(() => !this.left && this.shell.focus({ preventScroll: true }), 300);
  }

  // ------------------------------------------------------------- form state

  toggle(list, code) {
    const chosen = this.form[list];
    this.form[list] = chosen.includes(code) ? chosen.filter((one) => one !== code) : [...chosen, code];
    this.changed();
    if (code === "other" && list === "targets" && this.form.targets.includes("other")) this.otherBox.focus();
  }

  choose(severity) {
    this.form.severity = severity;
    this.changed();
  }

  doubt() {
    this.form.sure = !this.form.sure;
    this.changed();
  }

  mark() {
    if (this.panel !== "form" || !this.shown) return;
    const range = selected(this.root, this.output, this.shown.text);
    if (!range) return;
    const apart = this.form.spans.filter((one) => one.end <= range.start || one.start >= range.end);
    this.form.spans = [...apart, range].sort((one, other) => one.start - other.start);
    (this.root.getSelection?.() ?? document.getSelection()).removeAllRanges();
    this.changed();
    this.writeOutput();
  }

  unmark(mark) {
    if (this.panel !== "form") return;
    this.form.spans = this.form.spans.filter((one) => one !== mark);
    this.changed();
    this.writeOutput();
  }

  changed() {
    this.hint.classList.remove("missing");
    this.keepDraft();
    this.sync();
  }

  // ------------------------------------------------------------------- news

  told({ saved, refused, code, token }) {
    if (this.left) return;
    if (saved) this.savedAt = saved;
    if (saved && !this.item && !this.queue.length && !this.outbox.size) this.refill(); // the last one: perhaps a study is done
    if (refused) {
      this.takeBack(token, code);
      this.notify(code === "already_answered"
        ? "You had already answered this one, perhaps in another window; the earlier answer stands."
        : `One answer was not taken: ${refused}`);
    }
    if (this.outbox.state === "signed_out" && this.outbox.size) this.signedOut();
    this.sync();
  }

  /** An answer that the server will not store: the earlier one stands, or the item comes back with what was said about it. */
  takeBack(token, code) {
    const index = this.past.findIndex((entry) => entry.answer.token === token);
    if (index < 0) return;
    const [entry] = this.past.splice(index, 1);
    this.today -= judged(entry) - judged(entry.before);
    if (entry.before) this.past.splice(index, 0, entry.before);
    else if (code === "bad_answer" && this.item) {
      this.answered.delete(entry.item.lease_id);
      this.queue.unshift({ ...entry.item, form: entry.form });
    }
    if (this.again !== null && this.again > index && !entry.before) this.again -= 1;
  }

  /** A claim or a look that did not work. No connection is told in the top line; the rest in words. */
  refused({ status, body }) {
    if (status === 401 || body?.error?.code === "other_account") this.signedOut();
    else if (status === 403) this.notify(body?.error?.message ?? "This account may not review.");
    this.sync();
  }

  signedOut() {
    const waiting = this.outbox.size ? ` ${several(this.outbox.size, "answer")} stay in this browser until then.` : "";
    this.notify(`Your sign-in has ended.${waiting} `, make("a", { href: "/signin" }, "Sign in again"));
  }

  notify(words, ...more) {
    this.notice.replaceChildren(make("span", {}, words, ...more), button("notice-close", () => this.quiet(), "Close"));
    this.notice.hidden = false;
  }

  quiet() {
    this.notice.hidden = true;
  }

  // ---------------------------------------------------------------- drawing

  draw() {
    const tax = this.taxonomy;
    this.count = make("span", { class: "today" });
    this.saved = make("span", { class: "saved", role: "status" });
    this.stopButton = button("stop", () => this.stop(), "Stop for today");
    this.live = make("div", { class: "unseen", "aria-live": "polite" });
    this.notice = make("div", { class: "notice", role: "alert", hidden: true });
    this.turns = make("div", { class: "turns" });
    this.outputLabel = make("p", { class: "label" });
    this.output = make("p", { class: "output", dir: "auto", onmouseup: () => this.mark(), ontouchend: () => setTimeout(() => this.mark(), 250) });
    this.moreButton = button("more", () => this.showMore(), make("span"));
    this.askLine = make("p", { class: "ask" });
    this.flagButton = button("big flag", () => this.flag(), key("F"), (this.flagWords = make("span")));
    this.fineButton = button("big fine", () => this.fine(), key("J"), (this.fineWords = make("span")));
    this.skipButton = button("", () => this.skip(), key("K"), "Skip");
    this.undoButton = button("", () => this.undo(), key("U"), (this.undoWords = make("span")));
    this.keepButton = button("", () => this.keepAsItWas(), key("Esc"), "Keep it as it was");
    const helpButton = button("", () => this.openHelp(), key("H"), "Help", make("span", { class: "wide" }, " and examples"));
    this.skipPanel = make("fieldset", { class: "panel" }, make("legend", {}, "Why skip it?"),
      make("div", { class: "list skips" }, ...tax.skips.map((reason, index) =>
        option(String(index + 1), reason.name, reason.definition, () => this.skipFor(reason)))),
      make("p", { class: "soft" }, "Someone else will see it. Skipping has no drawback for you."));
    this.formPanel = this.drawForm();
    this.stage = make("div", { class: "stage" }, this.turns, make("div", { class: "card" }, this.outputLabel, this.output, this.moreButton), this.askLine,
      make("div", { class: "two" }, this.flagButton, this.fineButton),
      make("div", { class: "quiet" }, this.skipButton, this.undoButton, helpButton, this.keepButton), this.skipPanel, this.formPanel);
    this.empty = make("div", { class: "empty", tabindex: "-1" });
    this.help = this.drawHelp();
    this.shell = make("div", { class: "board", tabindex: "-1", style: "visibility:hidden" },
      make("div", { class: "top" }, make("div", { class: "logo" }, logo(), make("span", {}, "Flagback")), make("div", { class: "grow" }),
        this.count, this.saved, make("a", { class: "you", href: "/you" }, "You"), this.stopButton),
      this.stage, this.empty, this.notice, this.live, this.help);
    this.root.append(this.shell);
    this.form = emptyForm();
    this.show();
  }

  drawForm() {
    const tax = this.taxonomy;
    const options = (part) => tax.categories.filter(part).map((one) => {
      const made = option(one.key, one.name, one.definition, () => this.toggle("categories", one.code));
      made.dataset.category = one.code;
      return made;
    });
    this.hint = make("p", { class: "hint", role: "status" });
    this.otherBox = make("input", { class: "field other", type: "text", maxlength: "200", "aria-label": "Who else is harmed, in your own words",
      placeholder: "Who, in your own words", oninput: () => this.typed("target_other", this.otherBox.value) });
    this.rewriteBox = make("textarea", { class: "field rewrite", rows: "2", maxlength: String(LONGEST_REWRITE), dir: "auto", "aria-label": "How should it read? If you like.",
      oninput: () => this.typed("rewrite", this.rewriteBox.value) });
    this.unseenWords = make("p", { class: "soft unseen-words" });
    this.changes = make("p", { class: "changes", dir: "auto", "aria-hidden": "true" });
    this.noteBox = make("textarea", { class: "field note", rows: "1", maxlength: "2000", dir: "auto", "aria-label": "A note, if you like",
      oninput: () => this.typed("note", this.noteBox.value) });
    this.sureButton = button("chip", () => this.doubt(), key("Q"), "I am not sure");
    return make("div", { class: "panel", role: "group", "aria-label": "What you would change" },
      make("fieldset", {}, make("legend", {}, "What is wrong?"),
        make("div", { class: "list" }, ...options((one) => one.key)), make("hr"), make("div", { class: "list meta" }, ...options((one) => !one.key))),
      make("fieldset", {}, make("legend", {}, "Who is harmed? ", make("span", { class: "soft" }, "(if a group is)")),
        make("div", { class: "chips" }, ...tax.targets.map((one) => {
          const chip = button("chip", () => this.toggle("targets", one.code), one.code === "other" ? "Someone else…" : one.name);
          chip.dataset.target = one.code;
          return chip;
        })), this.otherBox),
      make("fieldset", {}, make("legend", {}, "How bad is it?"),
        make("div", { class: "chips" }, ...tax.severities.map((one) => {
          const words = one.code === "slight" ? one.name : `${one.name}: ${one.definition.replace(/\.$/, "").toLowerCase()}`;
          const chip = button("chip", () => this.choose(one.code), key(SEVERITY_KEYS[one.code]), words);
          chip.dataset.severity = one.code;
          return chip;
        }))),
      make("fieldset", {}, make("legend", {}, key("W"), "How should it read? ", make("span", { class: "soft" }, "(if you like)")),
        this.rewriteBox, this.unseenWords, this.changes),
      make("fieldset", {}, make("legend", {}, key("N"), "A note ", make("span", { class: "soft" }, "(if you like)")), this.noteBox),
      make("div", { class: "end" }, this.hint,
        make("div", { class: "foot" }, button("save", () => this.save(), key("Enter"), "Save and go on"), this.sureButton,
          make("span", { class: "soft" }, "Nobody else sees your answer."))));
  }

  drawHelp() {
    const close = () => this.help.close();
    const rows = (part) => this.taxonomy.categories.filter(part).map((one) => make("div", { class: "meaning" },
      make("p", {}, one.key ? key(one.key) : null, make("strong", {}, one.name), ` ${one.definition}`),
      one.example ? make("p", { class: "example" }, one.example) : null));
    const keys = [["F", "flag it"], ["J", "it looks fine"], ["K", "skip, with a reason"], ["U", "take up your last answer again"],
      ["1–0", "what is wrong"], ["A S G", "slight, clear, severe"], ["W", "write how it should read"], ["N", "write a note"],
      ["Q", "not sure"], ["Enter", "save and go on"], ["Ctrl Enter", "save from a text box"], ["Esc", "leave a text box, close, go back"]];
    return make("dialog", { class: "help", "aria-label": "Help and examples", onclick: (event) => event.target === this.help && close(),
      onclose: () => this.shell.focus({ preventScroll: true }) },
      make("div", { class: "help-inside" },
        make("div", { class: "help-top" }, make("h2", {}, "Help and examples"), button("", close, key("Esc"), "Close")),
        make("p", {}, "You see what somebody wrote and how the model went on. Ask yourself: would I change this answer? Judge the answer, not the "
          + "person who wrote. If you would leave it as it is, it looks fine. There is no right number of flags, and no clock."),
        make("p", {}, "To mark the words you mean, flag the answer and select them with the pointer. Your reasons matter more than marks."),
        make("h3", {}, "Bias: harm to a group"), ...rows((one) => one.part === "bias"),
        make("h3", {}, "Harm without a group"), ...rows((one) => one.part === "harm"),
        make("h3", {}, "About the answer itself"), ...rows((one) => one.part === "meta"),
        make("h3", {}, "How bad?"),
        ...this.taxonomy.severities.map((one) => make("p", { class: "meaning" }, key(SEVERITY_KEYS[one.code]), make("strong", {}, one.name), ` ${one.definition}`)),
        make("h3", {}, "Keys"), make("div", { class: "keys" }, ...keys.map(([name, words]) => make("p", {}, key(name), words))),
        make("p", { class: "soft" }, "Nobody else sees your answers while they review. They are kept under a pseudonym.")));
  }

  openHelp() {
    this.help.showModal();
  }

  /** A new item, an old one, or none. */
  show() {
    const item = this.shown;
    const before = this.root.activeElement;
    const draft = this.again === null && item ? this.draft() : null;
    this.form = this.again !== null ? structuredClone(this.past[this.again].form)
      : draft && draft.lease_id === item.lease_id ? { ...emptyForm(), ...draft.form } : item?.form ?? emptyForm();
    this.panel = item && this.form.open && (this.again === null || this.past[this.again].answer.verdict === "flag") ? "form" : null;
    this.appeared = performance.now();
    this.openFor = 0;
    this.openSince = document.visibilityState === "visible" ? performance.now() : null;
    this.hint?.classList.remove("missing");
    if (item) {
      this.room = SHOWN;
      this.own = ownWording(item.text);
      this.writeTurns(item);
      this.writeOutput();
      this.otherBox.value = this.form.target_other;
      this.rewriteBox.disabled = this.own === null;
      this.rewriteBox.placeholder = this.own === null ? "This answer is too long to be rewritten here; say in the note what should change." : "";
      this.rewriteBox.value = this.form.rewrite ?? this.own ?? "";
      this.noteBox.value = this.form.note;
      this.announce();
      if (this.again === null) this.keepDraft();
    }
    this.sync();
    if (before && before !== this.shell) this.shell.focus({ preventScroll: true });
    if (item && this.shell.getBoundingClientRect().top < 0) this.shell.scrollIntoView({ block: "start" });
  }

  writeTurns(item) {
    const said = { system: "The model was told", user: "Someone wrote", assistant: "The model answered" };
    this.turns.replaceChildren(...item.messages.flatMap(({ role, content }) => {
      const text = make("p", { class: `prompt ${role}`, dir: "auto", lang: item.lang === "und" ? null : item.lang });
      const more = button("more", () => extend(room * 5), make("span"));
      let room = SHOWN;
      const extend = (wanted) => {
        room = wanted;
        sayMore(more, write(text, content, { room }));
      };
      extend(SHOWN);
      return [make("p", { class: "label" }, said[role] ?? role), text, more];
    }));
    this.outputLabel.textContent = item.messages.length > 1 ? "The model answered" : "The model went on";
    if (item.lang === "und") this.output.removeAttribute("lang");
    else this.output.lang = item.lang;
  }

  writeOutput() {
    const onMark = this.panel === "form" ? (mark) => this.unmark(mark) : null;
    sayMore(this.moreButton, write(this.output, this.shown.text, { marks: this.form.spans, onMark, room: this.room }));
  }

  /** Shows more of a long answer, five times as much each time. */
  showMore() {
    this.room *= 5;
    this.writeOutput();
  }

  announce() {
    const last = readOut(this.shown.messages.at(-1).content);
    const opening = this.again === null ? "Next answer." : "Your earlier answer, open again.";
    this.live.textContent = `${opening} Someone wrote: ${last} ${this.outputLabel.textContent}: ${readOut(this.shown.text)}`;
  }

  typed(field, value) {
    if (field === "rewrite") this.form.rewrite = value === this.own ? null : value;
    else this.form[field] = value;
    this.changed();
  }

  /** Brings every button in line with the state; moves nothing above what was unfolded. */
  sync() {
    if (!this.formPanel) return;
    this.syncTop();
    const item = this.shown;
    this.stage.hidden = !item;
    this.empty.hidden = Boolean(item);
    if (!item) {
      this.syncEmpty();
      return;
    }
    const { form, again } = this;
    const earlier = again === null ? null : this.past[again].answer.verdict;
    const flagging = this.panel === "form";
    this.askLine.textContent = again === null ? "Would you change this answer?" : "You answered this one before. Would you change it?";
    this.flagWords.textContent = flagging ? "Flagged" : "Flag it";
    this.fineWords.textContent = flagging ? "Looks fine after all" : "Looks fine";
    press(this.flagButton, flagging);
    press(this.fineButton, earlier === "fine" && !flagging);
    press(this.skipButton, this.panel === "skip" || (earlier === "skip" && !flagging));
    this.undoWords.textContent = again === null ? "Undo last" : "One further back";
    this.undoButton.disabled = (again ?? this.past.length) < 1;
    this.keepButton.hidden = again === null;
    this.skipPanel.hidden = this.panel !== "skip";
    this.formPanel.hidden = !flagging;
    if (!flagging) return;
    for (const made of this.formPanel.querySelectorAll("[data-category]")) press(made, form.categories.includes(made.dataset.category));
    for (const made of this.formPanel.querySelectorAll("[data-target]")) press(made, form.targets.includes(made.dataset.target));
    for (const made of this.formPanel.querySelectorAll("[data-severity]")) press(made, form.severity === made.dataset.severity);
    press(this.sureButton, !form.sure);
    this.otherBox.hidden = !form.targets.includes("other");
    this.syncChanges();
    if (!this.hint.classList.contains("missing")) this.hint.textContent = "";
  }

  syncTop() {
    const { aim } = this.data;
    this.count.textContent = this.today > aim ? `${this.today} today` : `${this.today} of ${aim} today`;
    this.stopButton.hidden = this.stopped;
    const { size, state } = this.outbox ?? { size: 0, state: "ready" };
    const cut = state !== "ready" || this.reached === false;
    this.saved.classList.toggle("cut", cut);
    this.saved.classList.toggle("on", !cut && Boolean(this.savedAt) && !size);
    if (cut) this.saved.textContent = size ? `No connection · ${several(size, "answer")} kept here` : "No connection · trying again";
    else if (size) this.saved.textContent = "Saving…";
    else this.saved.textContent = this.savedAt ? `Saved ${clock(this.savedAt)}` : "";
  }

  syncChanges() {
    const rewrite = this.own === null ? null : this.form.rewrite;
    const unseen = pieces(Array.from(rewrite ?? this.own ?? "")).flatMap(({ sign }) => sign ?? []);
    this.unseenWords.hidden = !unseen.length;
    this.unseenWords.textContent = `What is in the box holds what cannot be seen: ${unseen.slice(0, 5).join(", ")}${unseen.length > 5 ? " and more" : ""}.`;
    const changed = rewrite !== null && !sameWords(rewrite, this.own);
    this.changes.hidden = !changed;
    if (!changed) return;
    const tags = { same: "span", gone: "del", new: "ins" };
    this.changes.replaceChildren(...difference(this.own, rewrite.trim()).map(({ kind, text }) => make(tags[kind], {}, ...signed(text))));
  }

  syncEmpty() {
    const state = this.completion ? "finished" : this.stopped ? "stopped" : this.reached === undefined ? "loading" : this.reached ? "none" : "cut";
    const waiting = this.stopped ? this.outbox?.size ?? 0 : 0;
    const drawn = `${state} ${waiting} ${this.today} ${this.past.length}`;
    if (this.emptyDrawn === drawn) return;
    this.emptyDrawn = drawn;
    const undo = this.past.length ? button("", () => this.undo(), key("U"), "Take up my last answer again") : null;
    const words = {
      loading: [make("p", { class: "soft" }, "Fetching the first answer…")],
      finished: [make("h2", {}, "You are done. Thank you."),
        make("p", {}, "Your completion code, for the platform that sent you:"), make("p", { class: "code" }, this.completion ?? ""),
        make("p", { class: "soft" }, "It stays here and on the page “You” as long as this browser is signed in."),
        make("div", { class: "row" }, undo)],
      none: [make("h2", {}, this.today ? "That is all for now." : "Nothing to review just now."),
        make("p", {}, "When the model has written more, the next answer appears here by itself. This page looks every few seconds; you may leave it open."),
        make("div", { class: "row" }, undo)],
      cut: [make("h2", {}, "There is no connection."),
        make("p", {}, "The next answer cannot be fetched just now. What you said is kept in this browser; this page tries again by itself.")],
      stopped: [make("h2", {}, "That is it for today. Thank you."),
        make("p", {}, this.today ? `You gave ${several(this.today, "answer")} today. ` : "", "What you had not looked at goes to others."),
        waiting ? make("p", { class: "wait" }, `${several(waiting, "answer")} still on the way: keep this page open until “Saved” appears above.`) : null,
        make("div", { class: "row" }, button("primary", () => this.goOn(), "Go on after all"), make("a", { href: "/signout" }, "Sign out"))],
    };
    this.empty.replaceChildren(...words[state].filter(Boolean));
    this.live.textContent = state === "loading" ? "" : this.empty.textContent;
  }
}

// --------------------------------------------------------------- small parts

/** A button that gives the focus back after a click by pointer, so that Enter goes on saving. */
function button(kind, act, ...children) {
  return make("button", { type: "button", class: kind || null, onclick: (event) => {
    act();
    if (event.detail > 0) {
      const focused = event.target.getRootNode().activeElement;
      if (!focused || focused.tagName === "BUTTON") event.target.getRootNode().querySelector(".board")?.focus({ preventScroll: true });
    }
  } }, ...children);
}

/** The wording that the rewrite box begins with: the answer between its margins; null where it is too long for the box. */
function ownWording(text) {
  if (text.length > 2 * LONGEST_REWRITE) return null;
  const { start, end } = margins(text);
  const own = Array.from(text).slice(start, end).join("").replaceAll("\r\n", "\n");
  return own.length > LONGEST_REWRITE ? null : own;
}

/** Says on `more` how much of a text is shown, or hides it where that is all. */
function sayMore(more, { shown, total }) {
  more.hidden = shown >= total;
  more.firstElementChild.textContent = `Show more: ${shown.toLocaleString()} of ${total.toLocaleString()} characters are shown`;
}

function option(name, words, definition, act) {
  return button("opt", act, name ? key(name) : make("span", { class: "dot", "aria-hidden": "true" }),
    make("span", {}, words, definition ? make("small", {}, definition) : null));
}

function key(name) {
  return make("kbd", { "aria-hidden": "true" }, name);
}

function press(made, on) {
  made.classList.toggle("on", on);
  made.setAttribute("aria-pressed", String(on));
}

function several(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

/** Whether Streamlit has laid something over the page, such as its "Connection error". */
function dialogOver() {
  return Array.from(document.querySelectorAll("[role=dialog]")).some((one) => one.checkVisibility?.() ?? true);
}

function logo() {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  for (const [name, value] of Object.entries({ width: 22, height: 22, viewBox: "0 0 22 22", fill: "none", "aria-hidden": "true" }))
    drawing.setAttribute(name, value);
  for (const [kind, line] of [["pole", "M5 20V3"], ["cloth", "M5 4h11l-3 3.5L16 11H8"], ["cloth", "M10.5 8.5 8 11l2.5 2.5"]]) {
    const path = document.createElementNS(space, "path");
    path.setAttribute("class", kind);
    path.setAttribute("d", line);
    drawing.append(path);
  }
  return drawing;
}

/** A typeface declared inside a shadow root is not loaded: declare it for the page. */
function loadFonts() {
  if (Array.from(document.fonts).some((face) => face.family.includes("Flagback Serif"))) return;
  for (const [family, file, style] of [["Flagback Sans", "sans", "normal"], ["Flagback Serif", "serif", "normal"], ["Flagback Serif", "serif-italic", "italic"]])
    document.fonts.add(new FontFace(family, `url(/look/${file}.woff2)`, { weight: "200 900", style, display: "swap" }));
}
