// The answer under way, kept in the browser: a reload, a lost connection or a restarted server costs nothing of it.
// Knows localStorage; knows nothing of what a form holds.

import { kindOf } from "./modes.js";

export class Drafts {
  constructor(account) {
    this.places = { single: `flagback.draft.${account}`, compare: `flagback.draft.${account}.compare`, again: `flagback.draft.${account}.again` };
  }

  /** What was said about a new item, also where it came back under another lease because the first ran out meanwhile. */
  of(item) {
    const draft = this.read(kindOf(item));
    return draft && (draft.lease_id === item.lease_id || (draft.text === textOf(item) && draft.prompt === promptOf(item))) ? draft.form : null;
  }

  /** {token, form} of the earlier answer that was being changed, or null. */
  again() {
    return this.read("again");
  }

  keep(item, form) {
    this.write(kindOf(item), { lease_id: item.lease_id, text: textOf(item), prompt: promptOf(item), form });
  }

  keepAgain(token, form) {
    this.write("again", { token, form });
  }

  forget(item) {
    if (this.of(item)) this.remove(kindOf(item));
  }

  forgetAgain() {
    this.remove("again");
  }

  read(place) {
    try {
      return JSON.parse(localStorage.getItem(this.places[place]));
    } catch {
      return null;
    }
  }

  write(place, draft) {
    try {
      localStorage.setItem(this.places[place], JSON.stringify(draft));
    } catch {
      // Without localStorage a reload costs the draft; the answer itself is told about when it is given.
    }
  }

  remove(place) {
    try {
      localStorage.removeItem(this.places[place]);
    } catch {
      // It was never kept.
    }
  }
}

/** Each kind of item has a draft of its own, so that going over to the other costs nothing. */
function textOf(item) {
  return kindOf(item) === "single" ? item.text : JSON.stringify(item.answers);
}

function promptOf(item) {
  return JSON.stringify(item.messages);
}
