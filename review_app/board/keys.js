// Which key does what: letters that a person may change or switch off, kept in this browser.
// Knows keyboards and names of acts; knows nothing of what an act does.

import { tr } from "./words.js";

/** Acts with a letter of their own, in the order of the list that shows them. */
export const ACTS = [
  ["flag", "f"], ["fine", "j"], ["skip", "k"], ["undo", "u"], ["slight", "a"], ["clear", "s"],
  ["severe", "g"], ["main", "m"], ["mark", "v"], ["rewrite", "w"], ["note", "n"], ["equal", "e"],
  ["both_bad", "b"], ["mode", "c"], ["unsure", "q"], ["examples", "d"], ["help", "h"], ["stop", "x"],
];

/** What each act does, in words. */
export function meanings() {
  return {
    flag: tr("flag it"),
    fine: tr("it looks fine"),
    skip: tr("skip, with a reason"),
    undo: tr("take up your last answer again"),
    slight: tr("slight"),
    clear: tr("clear"),
    severe: tr("severe"),
    main: tr("which reason is the main one"),
    mark: tr("mark words by keyboard"),
    rewrite: tr("write how it should read"),
    note: tr("write a note"),
    equal: tr("two answers are equally good"),
    both_bad: tr("both answers are bad"),
    mode: tr("compare answers, or judge one by one"),
    unsure: tr("not sure"),
    examples: tr("examples of each reason"),
    help: tr("help and keys"),
    stop: tr("stop for today"),
  };
}

/** Keys that are no single letters or digits, so that they stay when those are switched off. */
export function fixed() {
  return [["← →", tr("this answer is better; to the next one, to rank it")], [tr("Enter"), tr("save and go on")],
    [tr("Ctrl Enter"), tr("save from a text box")], [tr("Space"), tr("show a covered answer")], [tr("Esc"), tr("leave a text box, close, go back")]];
}

export class Keys {
  /** @param {string} account whose keys these are: another account in this browser has its own */
  constructor(account) {
    this.place = `flagback.keys.${account}`;
    this.reset();
    try {
      const kept = JSON.parse(localStorage.getItem(this.place));
      this.on = kept?.on !== false;
      for (const [act, letter] of Object.entries(kept?.letters ?? {}))
        if (act in this.letters && /^[a-z]$/.test(letter)) this.letters[act] = letter;
      this.part(new Set(Object.keys(kept?.letters ?? {})));
    } catch {
      // Nothing kept, or nothing that can be read: the usual keys.
    }
  }

  /** An act that is newer than what was kept gives way where its letter was chosen for another. */
  part(kept) {
    for (const act of Object.keys(this.letters)) {
      const taken = new Set(Object.keys(this.letters).flatMap((one) => (one === act ? [] : this.letters[one])));
      if (!kept.has(act) && taken.has(this.letters[act])) this.letters[act] = Array.from("abcdefghijklmnopqrstuvwxyz").find((letter) => !taken.has(letter));
    }
  }

  reset() {
    this.on = true;
    this.letters = Object.fromEntries(ACTS.map(([act, letter]) => [act, letter]));
  }

  keep() {
    try {
      localStorage.setItem(this.place, JSON.stringify({ on: this.on, letters: this.letters }));
    } catch {
      // Without localStorage the choice holds for this page.
    }
  }

  /** Gives an act another letter; whatever had that letter gets the old one. */
  change(act, letter) {
    const other = Object.keys(this.letters).find((one) => this.letters[one] === letter);
    if (other) this.letters[other] = this.letters[act];
    this.letters[act] = letter;
    this.keep();
  }

  /** The letter pressed, by what it writes; on other alphabets by where it lies. */
  static letter(event) {
    return /^[a-z]$/i.test(event.key) ? event.key.toLowerCase()
      : /^\P{ASCII}$/u.test(event.key) ? /^Key([A-Z])$/.exec(event.code)?.[1].toLowerCase() ?? null : null;
  }

  static digit(event) {
    if (event.shiftKey) return null;
    return /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1] ?? (/^\d$/.test(event.key) ? event.key : null);
  }

  /** The act that a press stands for, or null. */
  act(event) {
    const letter = this.on ? Keys.letter(event) : null;
    return letter && (Object.keys(this.letters).find((act) => this.letters[act] === letter) ?? null);
  }

  /** Writes on every cap in `root` what brings its act about. */
  label(root) {
    for (const made of root.querySelectorAll("kbd[data-act]")) made.textContent = this.letters[made.dataset.act].toUpperCase();
    root.querySelector(".board")?.classList.toggle("keyless", !this.on);
  }
}
