// Leaves the page when its sign-in has ended: in another tab of this browser (at once), or anywhere else (when the tab is looked at).
// Shows nothing. Mounted by app.py on every page.

import { ask, usePageToken } from "./outbox.js";

/** Milliseconds between looks, at least. */
const EVERY = 60_000;

export default function watch({ data }) {
  usePageToken(data.token);
  if (!globalThis[Symbol.for("flagback.board")]) document.documentElement.lang = data.language;
  if (globalThis.flagbackWatch) return () => {};
  const leave = () => location.replace("/signin?ended");
  let asked = performance.now(); // unlike the clock, nobody sets it back

  async function look() {
    if (document.visibilityState !== "visible" || performance.now() - asked < EVERY) return;
    asked = performance.now();
    const { status, body } = await ask("GET", `${data.api}/session`);
    if (status === 401) leave();
    else if (body?.error?.code === "other_account") location.reload();
  }

  addEventListener("storage", (event) => event.key === "flagback.signed_out" && leave());
  document.addEventListener("visibilitychange", look);
  globalThis.flagbackWatch = setInterval(look, EVERY);
  return () => {};
}
