// Leaves the page when its sign-in has ended: in another tab of this browser (at once), or anywhere else (when the tab is looked at).
// Has the page drawn again when the system turns dark or light, since pictures are drawn in the colours of the theme.
// Shows nothing. Mounted by app.py on every page.

import { ask, usePageToken } from "./outbox.js";

/** Milliseconds between looks, at least. */
const EVERY = 60_000;
/** Milliseconds in which Streamlit has taken another theme up. */
const THEME_MS = 200;

const boardIsOn = () => Boolean(globalThis[Symbol.for("flagback.board")]);

export default function watch({ data, setTriggerValue }) {
  usePageToken(data.token);
  globalThis.flagbackDrawAgain = () => boardIsOn() || setTriggerValue("theme", true); // the board's colours follow by themselves
  if (!boardIsOn()) document.documentElement.lang = data.language;
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
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTimeout(() => globalThis.flagbackDrawAgain(), THEME_MS));
  globalThis.flagbackWatch = setInterval(look, EVERY);
  return () => {};
}
