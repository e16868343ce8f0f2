// The review board: shows one answer, or several of one prompt, takes one decision, goes on at once; answers travel in the outbox.
// Knows the order of items and what becomes of a decision; knows nothing of models, scores or other people's answers.

import { Beside } from "./beside.js";
import { Drafts } from "./drafts.js";
import { Empty } from "./empty.js";
import { Form, emptyForm, formOf } from "./form.js";
import { Frame } from "./frame.js";
import { Guidelines } from "./guidelines.js";
import { Help } from "./help.js";
import { Keys } from "./keys.js";
import { MODES, Modes, kindOf } from "./modes.js";
import { Outbox, ask, clockAhead, usePageToken, uuid } from "./outbox.js";
import { button, connectionLayer, loadFonts } from "./parts.js";
import { Practice } from "./practice.js";
import { Preference, emptyPreference, preferenceOf } from "./preference.js";
import { Presses } from "./presses.js";
import { Rest } from "./rest.js";
import { Prompt } from "./scene.js";
import { Shown } from "./shown.js";
import { make } from "./text.js";
import { speakAs, tr, trn } from "./words.js";

/** Where the running board is kept: on the element it was mounted in, and once for the page. */
const BOARD = Symbol.for("flagback.board");
/** Items held ahead, and how few of them are left when more are claimed. */
const AHEAD = 10;
const LOW = 6;
const MOST_HELD = 40;
/** Milliseconds between looks when there is nothing to review, and when nothing will come for hours. */
const LOOK_AGAIN = 3000;
const LOOK_LATER = 60_000;
/** Milliseconds by which a clock may be wrong without a word about it. */
const CLOCK_MS = 600_000;
/** Answers that can be taken up again. */
const UNDOABLE = 10;

/**
 * Streamlit calls this at mount and again whenever it likes, without calling the returned clean-up in between: so the running
 * board stays on `parentElement`, and there is never a second one with a second key listener.
 */
export default function mount({ data, parentElement }) {
  const running = parentElement[BOARD];
  if (running && !running.left && running.account === data.account) return () => running.leave();
  globalThis[BOARD]?.leave();
  speakAs(data.spoken);
  const board = new Board(parentElement, data);
  parentElement[BOARD] = board;
  globalThis[BOARD] = board;
  board.start();
  return () => board.leave();
}

/** 1 for an answer that counts today, 0 for a skip or none. */
function judged(entry) {
  return entry && entry.answer.verdict !== "skip" ? 1 : 0;
}

/** 1 for an answer that told of something severe, 0 for others and none. */
function severe(entry) {
  return entry && Rest.severe(entry.answer) ? 1 : 0;
}

/** What nothing was said about yet. */
function unsaid(item) {
  return kindOf(item) === "compare" ? emptyPreference(item) : emptyForm();
}

function reopened(answer, item) {
  return kindOf(item) === "compare" ? preferenceOf(answer, item) : formOf(answer, item.text);
}

class Board {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.account = data.account;
    this.api = data.api;
    this.taxonomy = data.taxonomy;
    this.support = data.support;
    this.queues = Object.fromEntries(Object.keys(MODES).map((mode) => [mode, []]));
    this.other = false; // whether something waits in the other mode
    this.offered = false; // whether the switch is on the screen
    this.item = null; // what is new to be judged
    this.again = null; // index into `past` while an old answer is open
    this.past = []; // [{item, answer, form}]
    this.answered = new Set(); // lease ids never to be shown as new again
    this.panel = null; // "form" | "skip"
    this.form = unsaid(null);
    this.today = 0;
    this.severe = 0;
    this.stopped = ""; // "today" | "break"
    this.refusal = null; // {words, link} while the server says no: an answer, not a lost line
    this.left = false;
    this.keys = new Keys(this.account);
    this.drafts = new Drafts(this.account);
    this.rest = new Rest(this.account);
  }

  start() {
    loadFonts();
    usePageToken(this.data.token);
    this.draw();
    this.outbox = new Outbox(this.account, this.api, (news) => this.told(news));
    for (const lease of this.outbox.leases()) this.answered.add(lease);
    this.presses = new Presses(this);
    this.onShown = () => {
      this.watchTime();
      this.askAgain();
    };
    this.onFocus = () => this.askAgain();
    document.addEventListener("visibilitychange", this.onShown);
    addEventListener("focus", this.onFocus);
    this.layers = new MutationObserver(() => this.liftLayer());
    this.layers.observe(document.body, { childList: true });
    this.focus();
    this.begin();
  }

  leave() {
    if (this.left) return;
    this.left = true;
    this.presses.close();
    document.removeEventListener("visibilitychange", this.onShown);
    removeEventListener("focus", this.onFocus);
    clearTimeout(this.poll);
    this.layers.disconnect();
    this.outbox?.close();
    if (this.root[BOARD] === this) delete this.root[BOARD];
    if (globalThis[BOARD] === this) delete globalThis[BOARD];
    this.shell?.remove();
    document.documentElement.lang = this.pageLanguage;
  }

  /** What an earlier page left behind goes first: it counts today, and it can be taken up again. */
  async begin() {
    await this.outbox.deliver();
    if (this.left || (await this.practice.begin())) return;
    await this.refill();
  }

  /** The reviewer's day so far and last answers, asked for once, before the first item can be answered. */
  async learn() {
    const recent = await ask("GET", `${this.api}/recent`);
    const midnight = new Date(Date.now() - clockAhead()); // the first reply told by how much the clock here is wrong
    midnight.setHours(0, 0, 0, 0);
    const day = await ask("GET", `${this.api}/today?since=${encodeURIComponent(midnight.toISOString())}`);
    if (this.left || day.status !== 200 || recent.status !== 200) return day.status === 200 ? recent : day;
    const onTheWay = this.outbox.waiting.filter(({ answer }) => !answer.supersedes_token).map(({ answer }) => ({ answer }));
    this.today = onTheWay.reduce((sum, entry) => sum + judged(entry), day.body.answered);
    this.severe = onTheWay.reduce((sum, entry) => sum + severe(entry), day.body.severe);
    this.budget = day.body.budget;
    this.past = recent.body.answers.map(({ shown, answer }) => ({ item: shown, answer, form: reopened(answer, shown) }));
    for (const { answer } of this.past) this.answered.add(answer.lease_id);
    const draft = this.drafts.again();
    const index = this.past.findIndex(({ answer }) => answer.token === draft?.token);
    if (index >= 0) this.again = index;
    this.learned = true;
    return day;
  }

  // ------------------------------------------------------------------ items

  /** Items held ahead in the mode that is on. */
  get queue() {
    return this.queues[this.modes.mode];
  }

  set queue(items) {
    this.queues[this.modes.mode] = items;
  }

  /**
   * Goes over to the other mode. What is held in this one stays here, with what was said about it, and is shown again on the way back:
   * after the server was asked what of it is still ours.
   */
  turnTo(mode) {
    if (mode === this.modes.mode || this.stopped || !this.offered || this.practice.on) return;
    this.setAside();
    this.modes.choose(mode);
    if (this.reached) this.reached = undefined;
    this.refusal = null;
    this.quiet();
    this.show();
    this.refill();
  }

  /** What is on the screen waits, first in its queue, with what was said about it. */
  setAside() {
    const form = this.again === null ? this.form : this.item?.form;
    this.again = null;
    this.drafts.forgetAgain();
    if (this.item) this.queue.unshift({ ...this.item, form });
    this.item = null;
  }

  /** Keeps enough items ahead. What is already here or on its way to the server is claimed again by the server: left out. */
  async refill() {
    if (this.refilling || this.left || this.stopped || this.practice.on || (this.item && this.queue.length >= LOW)) return;
    this.refilling = true;
    clearTimeout(this.poll);
    const { mode } = this.modes;
    const held = this.queue.length + (this.item ? 1 : 0) + this.outbox.size;
    const known = this.learned ? null : await this.learn();
    if (!known || known.status === 200) this.claiming = ask("POST", `${this.api}/claim`, { mode, count: Math.min(MOST_HELD, held + AHEAD) });
    const claimed = known && known.status !== 200 ? known : await this.claiming;
    this.refilling = false;
    if (this.left || this.stopped || this.practice.on) return; // what was claimed meanwhile is held, and comes with the next claim
    if (mode !== this.modes.mode) {
      this.refill(); // what was claimed meanwhile is held, and comes with the next claim of its mode
      return;
    }
    if (claimed.status === 200 && claimed.body.practice) {
      this.data.practice = true; // begun elsewhere, or lost here: it comes first
      if (await this.practice.begin()) return;
    } else if (claimed.status === 200) this.taken(claimed.body);
    else this.refused(claimed);
    if (!this.item && this.queue.length) this.advance();
    else this.sync();
    if (this.queue.length < LOW) this.poll = setTimeout(() => this.refill(), this.enough || this.refusal ? LOOK_LATER : LOOK_AGAIN);
  }

  /** What a claim brought. What waited here and is no longer ours, such as a text withdrawn meanwhile, goes. */
  taken({ items, completion_code, enough, severe: met, other, only_in: onlyIn, guideline }) {
    const first = !this.reached || this.refusal;
    this.reached = true;
    this.allowed();
    this.tellOfTheClock();
    this.completion = completion_code;
    this.other = other;
    this.onlyIn = onlyIn;
    this.guidelines.newest(guideline);
    this.severe = met + this.outbox.waiting.reduce((sum, entry) => sum + (entry.answer.supersedes_token ? 0 : severe(entry)), 0);
    this.enough = enough || this.severe >= this.budget;
    const ours = new Set(items.map((one) => one.lease_id));
    if (this.enough || completion_code) for (const mode in this.queues) this.queues[mode] = [];
    this.queue = this.queue.filter((one) => ours.has(one.lease_id));
    const here = new Set([...this.queue.map((one) => one.lease_id), this.item?.lease_id, ...this.answered]);
    const fresh = this.enough ? [] : items.filter((one) => !here.has(one.lease_id));
    for (const one of fresh) one.until = Date.now() + one.seconds_left * 1000;
    if (!this.item && !this.queue.length) fresh.sort((one, other) => Boolean(this.drafts.of(other)) - Boolean(this.drafts.of(one)));
    this.queue.push(...fresh);
    if (first && this.again !== null) this.show();
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

  /** Which kind of item that is: an old answer may be of the other mode. */
  get kind() {
    return kindOf(this.shown);
  }

  /** What shows it. */
  get text() {
    return this.scenes[this.kind];
  }

  /** What an answer to it is written on. */
  get sheet() {
    return this.sheets[this.kind];
  }

  // -------------------------------------------------------------- decisions

  flag() {
    if (!this.shown || this.covered()) return;
    this.panel = "form";
    this.form.open = true;
    this.changed();
    this.text.draw();
  }

  /** Of two answers both are bad: how it should read can be said, as a flag's can. */
  bad() {
    if (!this.shown || this.covered()) return;
    this.panel = "form";
    this.form.open = true;
    this.changed();
  }

  /** One of two answers is better, or neither. */
  prefer(verdict) {
    if (this.shown && !this.covered()) this.send({ verdict });
  }

  fine() {
    if (this.shown && !this.covered()) this.send({ verdict: "fine" });
  }

  /** Whether the text was not shown yet: what nobody has read is not judged. */
  covered() {
    if (this.text.covered)
      this.say(this.kind === "compare" ? tr("The answers are covered and may be upsetting. Press Space to show, or skip.")
        : tr("The answer is covered and may be upsetting. Press Space to show, or skip."));
    return this.text.covered;
  }

  skip() {
    if (!this.shown || this.practice.on) return;
    this.panel = this.panel === "skip" ? (this.form.open ? "form" : null) : "skip";
    this.sync();
  }

  skipFor(reason) {
    this.send({ verdict: "skip", skip_reason: reason.code });
    if (reason.code === "too_upsetting") this.offer(tr("That was skipped."));
  }

  undo() {
    const index = (this.again ?? this.past.length) - 1;
    if (this.practice.on) return;
    if (index < 0 || this.past.length - index > UNDOABLE) {
      this.notify(tr("There is no earlier answer to take up again."));
      return;
    }
    this.again = index;
    this.drafts.forgetAgain();
    this.show();
  }

  keepAsItWas() {
    this.again = null;
    this.drafts.forgetAgain();
    this.show();
  }

  save() {
    if (this.covered()) return;
    const missing = this.sheet.missing();
    if (missing) this.sheet.tell(missing);
    else this.send(this.sheet.said());
  }

  /** Puts the answer into the outbox and goes on at once. */
  send(said) {
    if (this.practice.on) {
      this.practice.said(said);
      return;
    }
    const item = this.shown;
    const redone = this.again === null ? null : this.past[this.again];
    const answer = {
      token: uuid(),
      lease_id: item.lease_id,
      seconds_open: Math.round(this.secondsOpen() * 1000) / 1000,
      taxonomy_version: this.taxonomy.version,
      guideline_version: String(this.guidelines.version),
      supersedes_token: redone ? redone.answer.token : null,
      ...said,
    };
    this.answered.add(item.lease_id);
    if (!this.text.covered) item.veil = null; // taken up again, it need not be uncovered again
    const entry = { item, answer, form: this.form, before: redone };
    const withdrawn = answer.verdict === "flag" && this.sheets.single.withdraws;
    if (redone) this.past.splice(this.again, 1, ...(withdrawn ? [] : [entry]));
    else if (!withdrawn) this.past.push(entry);
    this.today += judged(entry) - judged(redone);
    this.severe += severe(entry) - severe(redone);
    this.drafts.forget(item);
    if (!this.outbox.put(answer)) this.notify(tr("This browser keeps nothing over a reload: wait for “Saved” before you close the page."));
    this.afterwards(answer, { redone, withdrawn });
  }

  /** What comes after an answer: the next one, a break, or the end of the day's measure. */
  afterwards(answer, { redone, withdrawn }) {
    const why = redone ? "" : this.rest.counted(answer);
    if (this.severe >= this.budget) {
      this.enough = true;
      this.end("");
      return;
    }
    if (redone) this.keepAsItWas();
    else {
      this.advance();
      this.refill();
    }
    if (withdrawn) this.offer(tr("Thank you. This text is taken away from everybody, and those who run this panel are told."));
    else if (why) this.offer(why);
  }

  /** "Stop for today", or a break: what was not looked at goes to others. */
  stop(how = "today") {
    if (this.stopped) return;
    this.quiet();
    if (how === "break") this.rest.had();
    this.end(how);
  }

  async end(how) {
    this.stopped = how;
    clearTimeout(this.poll);
    for (const mode in this.queues) this.queues[mode] = [];
    this.item = null;
    this.again = null;
    this.show();
    const until = Date.now() + 5000;
    while (this.outbox.size && Date.now() < until) await new Promise((done) => setTimeout(done, 100));
    await ask("POST", `${this.api}/release`);
    if (this.left) return;
    this.sync();
    if (!how) this.poll = setTimeout(() => this.refill(), LOOK_LATER);
  }

  goOn() {
    this.stopped = "";
    this.reached = undefined;
    this.allowed();
    this.show();
    if (this.practice.on) this.practice.draw();
    else this.refill();
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

  focus() {
    (this.shown ? this.text.home : this.empty.element).focus({ preventScroll: true });
  }

  /** Writes the keys on their caps. */
  relabel() {
    this.keys.label(this.root);
  }

  /**
   * Streamlit lays "Connection error" over the page seconds after the server is gone. The board says so itself, in plainer words,
   * and what is here can be reviewed meanwhile: that layer is closed, any other stays.
   */
  liftLayer() {
    const layer = connectionLayer();
    if (!layer) return;
    layer.querySelector("button[aria-label=Close]")?.click();
    setTimeout(() => !this.left && this.focus(), 300);
  }

  // ------------------------------------------------------- what the parts ask

  spans() {
    return this.form.spans;
  }

  marking() {
    return this.panel === "form";
  }

  marked(range, how) {
    this.sheet.mark(range, how);
  }

  unmark(mark) {
    if (this.marking()) this.sheet.unmark(mark);
  }

  walk() {
    if (!this.marking()) return;
    this.text.walk();
    this.focus();
  }

  redraw() {
    this.text.draw();
  }

  changed() {
    this.sheet.hint.classList.remove("missing");
    this.keepDraft();
    this.sync();
  }

  /** So that a reload brings back the same item with what was already said about it. */
  keepDraft() {
    if (this.again !== null) this.drafts.keepAgain(this.past[this.again].answer.token, this.form);
    else if (this.item) this.drafts.keep(this.item, this.form);
  }

  say(words) {
    this.live.textContent = words;
  }

  // ------------------------------------------------------------------- news

  told({ saved, late, guideline, refused, code, token }) {
    if (this.left) return;
    if (guideline) this.guidelines.newest(guideline);
    if (saved) this.savedAt = saved;
    if (late) {
      this.notify(tr("Your answer came after the time that this one was yours, and somebody else may have been asked in between. "
        + "It is kept all the same, as one more opinion."));
    }
    if (saved && !this.item && !this.queue.length && !this.outbox.size) this.refill(); // the last one: perhaps a study is done
    if (refused) {
      this.takeBack(token, code);
      this.notify(code === "already_answered"
        ? tr("You had already answered this one, perhaps in another window; the earlier answer stands.")
        : tr("One answer was not taken: {why}", { why: refused }));
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
    this.severe -= severe(entry) - severe(entry.before);
    if (entry.before) this.past.splice(index, 0, entry.before);
    else if (code === "bad_answer" && this.item) {
      this.answered.delete(entry.item.lease_id);
      this.queues[kindOf(entry.item)].unshift({ ...entry.item, form: entry.form });
    }
    if (this.again !== null && this.again > index && !entry.before) this.again -= 1;
  }

  /** Once a page; nothing here hangs on the clock, but whoever sets it may want to know. */
  tellOfTheClock() {
    if (this.clockTold || Math.abs(clockAhead()) < CLOCK_MS) return;
    this.clockTold = true;
    this.notify(tr("The clock of this device is wrong. Nothing is lost by it: your answers are kept with the right time."));
  }

  /**
   * A claim or a look that did not work. No connection is told in the top line. A no is an answer: its words stand until a claim
   * works again, in the empty page's place where nothing is left to judge, else as a notice.
   */
  refused({ status, body }) {
    this.reached = status === 401 || status === 403;
    if (!this.reached) {
      this.sync();
      return;
    }
    const over = status === 401 || body?.error?.code === "other_account";
    const refusal = over ? { words: tr("Your sign-in has ended."), href: "/signin", link: tr("Sign in again") }
      : { words: body?.error?.message ?? tr("This account may not review."), href: "/you", link: tr("To the page “You”") };
    const told = this.refusal?.words === refusal.words;
    if (!this.shown) this.allowed(); // it stands in the empty page's place then
    this.refusal = refusal;
    if (over && (this.shown || this.outbox.size)) this.signedOut();
    else if (this.shown && !told) {
      this.notify(refusal.words, " ", make("a", { href: refusal.href }, refusal.link));
      this.refusing = this.frame.said;
    }
    this.sync();
  }

  /** A claim works again: what was said of the no goes, and another notice stays. */
  allowed() {
    this.refusal = null;
    if (this.refusing && this.frame.said === this.refusing) this.quiet();
    this.refusing = null;
  }

  /** Whoever comes back to this page may have said elsewhere, meanwhile, what the no asked for. */
  async askAgain() {
    if (this.asking || this.left || document.visibilityState !== "visible") return;
    this.asking = true;
    await this.claiming; // what is on its way may bring the no that was said before
    if (this.refusal && !this.left) {
      clearTimeout(this.poll);
      await this.begin();
    }
    this.asking = false;
  }

  signedOut() {
    const waiting = this.outbox.size ? trn("{count} answer stays in this browser until then.", "{count} answers stay in this browser until then.",
      this.outbox.size) : "";
    this.notify([tr("Your sign-in has ended."), waiting].filter(Boolean).join(" "), " ", make("a", { href: "/signin" }, tr("Sign in again")));
  }

  /** Offers a break; nothing waits for an answer to it. */
  offer(why) {
    this.notify(tr("{why} A short break?", { why }), " ", button("", () => this.stop("break"), tr("Take a break")));
  }

  notify(words, ...more) {
    this.frame.notify(words, ...more);
  }

  quiet() {
    this.frame.quiet();
  }

  // ---------------------------------------------------------------- drawing

  draw() {
    this.live = make("div", { class: "unseen", "aria-live": "polite" });
    this.modes = new Modes(this);
    this.prompt = new Prompt();
    this.scenes = { single: new Shown(this), compare: new Beside(this) };
    this.sheets = { single: new Form(this, this.scenes.single.bySentence), compare: new Preference(this) };
    this.guidelines = new Guidelines(this);
    this.practice = new Practice(this);
    this.help = new Help(this);
    this.empty = new Empty(this);
    this.frame = new Frame(this);
    const { language, dir } = this.data.spoken;
    this.pageLanguage = document.documentElement.lang;
    document.documentElement.lang = language;
    this.shell = make("div", { class: "board", lang: language, dir, tabindex: "-1", style: "visibility:hidden" }, this.frame.top, this.modes.element, this.practice.banner, this.frame.stage,
      this.empty.element, this.frame.notice, this.live, this.help.element);
    this.root.append(this.shell);
    this.relabel();
    this.show();
  }

  /** Whether there are two modes to choose from. Taken over with the next item: nothing moves while one is looked at. */
  get choice() {
    return !this.practice.on && (this.other || this.modes.mode === "compare");
  }

  /** A new item, an old one, or none. */
  show() {
    const item = this.shown;
    const earlier = this.again === null ? null : this.past[this.again];
    const kept = earlier && this.drafts.again();
    const draft = kept?.token === earlier?.answer.token ? kept : null;
    this.form = earlier ? (draft ? { ...unsaid(item), ...draft.form } : structuredClone(earlier.form))
      : { ...unsaid(item), ...(item && (this.drafts.of(item) ?? item.form)) };
    this.appeared = performance.now();
    this.openFor = 0;
    this.openSince = document.visibilityState === "visible" ? performance.now() : null;
    this.presses?.watchPaint();
    this.text.cursor = null;
    if (item) {
      this.scenes[this.kind === "single" ? "compare" : "single"].clear();
      this.sheet.open(item);
      this.panel = this.form.open && (!earlier || this.sheet.unfolds(earlier.answer) || draft) ? "form" : null;
      this.prompt.open(item);
      this.text.open(item, earlier ? tr("Your earlier answer, open again.") : tr("Next answer."));
      if (!earlier) this.keepDraft();
    } else {
      this.panel = null;
      this.text.covered = false;
    }
    this.offered = this.choice;
    this.sync();
    if (!document.activeElement || document.activeElement === document.body || this.root.activeElement) this.focus();
    if (item && this.shell.getBoundingClientRect().top < 0) this.shell.scrollIntoView({ block: "start" });
  }

  sync() {
    this.frame.sync();
    this.practice.sync();
  }
}
