// When a break is offered and when the day's measure of severe answers is reached. Knows minutes and counts of one person, kept in
// this browser; the server counts for itself and hands out nothing past the measure.

import { trn } from "./words.js";

/** A break is offered after so much reading, or so many severe answers, since the last one. */
const MINUTES = 25;
const SEVERE = 10;
/** Who was away for so long has had a break. */
const AWAY_MINUTES = 10;

export class Rest {
  constructor(account) {
    this.place = `flagback.rest.${account}`;
    this.since = { seconds: 0, severe: 0, at: 0 };
    try {
      this.since = { ...this.since, ...JSON.parse(localStorage.getItem(this.place)) };
    } catch {
      // Nothing kept: it begins anew.
    }
  }

  /** Whether an answer told of something severe. */
  static severe(answer) {
    return answer.severity === "severe" || answer.skip_reason === "too_upsetting";
  }

  /** Counts one answer; returns why a break is offered now, in words, or "". */
  counted(answer) {
    const moment = Date.now();
    if (moment - this.since.at > AWAY_MINUTES * 60_000) this.had();
    this.since.seconds += answer.seconds_open;
    this.since.severe += Rest.severe(answer) ? 1 : 0;
    this.since.at = moment;
    const why = this.since.severe >= SEVERE ? trn("You have met {count} severe answer.", "You have met {count} severe answers.", this.since.severe)
      : this.since.seconds >= MINUTES * 60 ? trn("You have read for {count} minute.", "You have read for {count} minutes.", Math.floor(this.since.seconds / 60)) : "";
    if (why) this.had();
    else this.keep();
    return why;
  }

  /** A break was offered or taken. */
  had() {
    this.since = { seconds: 0, severe: 0, at: Date.now() };
    this.keep();
  }

  keep() {
    try {
      localStorage.setItem(this.place, JSON.stringify(this.since));
    } catch {
      // Without localStorage a reload begins anew.
    }
  }
}
