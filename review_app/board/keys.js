// Which key does what: letters that a person may change or switch off, kept in this browser.
// Knows keyboards and names of acts; knows nothing of what an act does.

/** Acts with a letter of their own, in the order of the list that shows them. */
export const ACTS = [
  ["flag", "f", "flag it"], ["fine", "j", "it looks fine"], ["skip", "k", "skip, with a reason"], ["undo", "u", "take up your last answer again"],
  ["slight", "a", "slight"], ["clear", "s", "clear"], ["severe", "g", "severe"], ["main", "m", "which reason is the main one"],
  ["mark", "v", "mark words by keyboard"], ["rewrite", "w", "write how it should read"], ["note", "n", "write a note"],
  ["equal", "e", "two answers are equally good"], ["both_bad", "b", "both answers are bad"], ["mode", "c", "compare answers, or judge one by one"],
  ["unsure", "q", "not sure"], ["examples", "d", "examples of each reason"], ["help", "h", "help and keys"], ["stop", "x", "stop for today"],
];
/** Keys that are no single letters or digits, so that they stay when those are switched off. */
export const FIXED = [["← →", "this answer is better; to the next one, to rank it"], ["Enter", "save and go on"], ["Ctrl Enter", "save from a text box"], ["Space", "show a covered answer"],
  ["Esc", "leave a text box, close, go back"]];

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
