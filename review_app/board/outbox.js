// Answers on their way to the server: kept in the browser until the server said "saved", then forgotten.
// Knows localStorage, retrying and what a refusal means; knows nothing of what is on the screen.

/** Codes after which sending the same answer again cannot help. */
const FINAL = new Set(["unknown_lease", "already_answered", "bad_answer", "bad_request"]);
/** Seconds between attempts while there is no connection; the last one repeats. */
const PAUSES = [0.5, 1, 2, 4, 8];
/** Milliseconds after which a silent server counts as no connection. */
const PATIENCE = 10_000;

/** Shows the server which account the page was made for: in a shared browser the cookie may be someone else's by now. */
let pageToken = "";
export function usePageToken(token) {
  pageToken = token;
}

/** Milliseconds by which this device's clock was ahead of the server's at the last reply. */
let ahead = 0;
export function clockAhead() {
  return ahead;
}

/** Asks our own server. Resolves to {status, body}; status 0 stands for no connection. */
export async function ask(method, address, body) {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), PATIENCE);
  try {
    const response = await fetch(address, {
      method,
      credentials: "same-origin",
      cache: "no-store",
      signal: abort.signal,
      headers: { "X-Flagback-Token": pageToken, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const there = Date.parse(response.headers.get("Date"));
    if (there) ahead = Date.now() - there;
    const text = await response.text();
    let parsed = null;
    try {
      parsed = JSON.parse(text);
    } catch {
      // A proxy's own page: no answer of ours.
    }
    return { status: response.status, body: parsed };
  } catch {
    return { status: 0, body: null };
  } finally {
    clearTimeout(timer);
  }
}

/** A random UUID; crypto.randomUUID is missing on plain http outside localhost. */
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export class Outbox {
  /**
   * @param {string} account whose answers these are: another account in this browser never sends them
   * @param {string} api where the routes are
   * @param {(news: {saved?: string, late?: boolean, guideline?: number, refused?: string, code?: string, token?: string}) => void} tell called after every change
   */
  constructor(account, api, tell) {
    this.prefix = `flagback.outbox.${account}.`;
    this.api = api;
    this.tell = tell;
    /** "ready" | "offline" | "signed_out" */
    this.state = "ready";
    this.closed = false;
    this.attempt = 0;
    this.waiting = this.stored();
    // Behind what an earlier page kept, though the clock may have been set back since.
    this.last = this.waiting.reduce((most, { key }) => Math.max(most, Number(key.slice(this.prefix.length).split(".")[0])), 0);
    this.wake = () => this.deliver(true);
    addEventListener("online", this.wake);
  }

  /** What an earlier page left behind, in the order it was answered. */
  stored() {
    const found = [];
    try {
      for (let index = 0; index < localStorage.length; index += 1) {
        const key = localStorage.key(index);
        if (key.startsWith(this.prefix)) found.push({ key, answer: JSON.parse(localStorage.getItem(key)) });
      }
    } catch {
      // No localStorage here: answers live in this page only, which `put` tells.
    }
    return found.sort((one, other) => (one.key < other.key ? -1 : 1));
  }

  get size() {
    return this.waiting.length;
  }

  /** Lease ids of answers not yet at the server. */
  leases() {
    return this.waiting.map((entry) => entry.answer.lease_id);
  }

  /** Keeps an answer and sends it. False where the browser cannot keep it over a reload. */
  put(answer) {
    this.last = Math.max(this.last + 1, Date.now() * 1000);
    const key = `${this.prefix}${String(this.last).padStart(18, "0")}.${answer.token}`;
    this.waiting.push({ key, answer });
    let kept = true;
    try {
      localStorage.setItem(key, JSON.stringify(answer));
    } catch {
      kept = false;
    }
    this.deliver();
    return kept;
  }

  /** Sends what waits, one after the other, oldest first: an undo must not overtake what it corrects. */
  async deliver(now = false) {
    if (now) clearTimeout(this.timer), (this.timer = 0);
    if (this.busy || this.closed || this.timer) return;
    this.busy = true;
    try {
      while (this.waiting.length && !this.closed) {
        const entry = this.waiting[0];
        const { status, body } = await ask("POST", `${this.api}/answers`, entry.answer);
        if (this.closed) return;
        if (status === 200 && body?.saved_at) {
          this.forget(entry);
          this.state = "ready";
          this.attempt = 0;
          this.tell({ saved: body.saved_at, late: body.late && body.stored === "new", guideline: body.guideline });
        } else if (FINAL.has(body?.error?.code)) {
          this.forget(entry);
          this.tell({ refused: body.error.message, code: body.error.code, token: entry.answer.token });
        } else {
          this.state = status === 401 || body?.error?.code === "other_account" ? "signed_out" : "offline";
          const pause = PAUSES[Math.min(this.attempt, PAUSES.length - 1)];
          this.attempt += 1;
          this.timer = setTimeout(() => ((this.timer = 0), this.deliver()), pause * 1000);
          this.tell({});
          return;
        }
      }
    } finally {
      this.busy = false;
    }
  }

  forget(entry) {
    this.waiting = this.waiting.filter((other) => other !== entry);
    try {
      localStorage.removeItem(entry.key);
    } catch {
      // It was never kept.
    }
  }

  /** Stops sending; what waits stays for the next page. */
  close() {
    this.closed = true;
    clearTimeout(this.timer);
    removeEventListener("online", this.wake);
  }
}
