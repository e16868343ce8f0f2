// What the tests of accessibility measure in a page. Evaluated there by Playwright; knows nothing of the states.
window.measures = {
  /** What axe calls a violation of WCAG 2.2 A and AA, and of the landmarks, which are good practice only. */
  async axe() {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
    const landmarks = ["landmark-one-main", "landmark-no-duplicate-main", "landmark-main-is-top-level", "page-has-heading-one"];
    const rules = Object.fromEntries(landmarks.map((rule) => [rule, { enabled: true }]));
    const { violations } = await axe.run(document, { runOnly: { type: "tag", values: tags }, rules, resultTypes: ["violations"] });
    const where = ({ target, html, any }) => `${target.join(" ")} ${html.slice(0, 160)} ${any.map((one) => one.message).join("; ").slice(0, 160)}`;
    return violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, nodes: nodes.map(where) }));
  },

  /** Waits until nothing moves or changes its colour any more. What is paused, or goes on without an end, is not waited for. */
  async settled() {
    const ends = document.getAnimations()
      .filter((one) => one.playState === "running" && Number.isFinite(one.effect?.getComputedTiming().endTime));
    const late = new Promise((resolve) => setTimeout(resolve, 5000));
    await Promise.race([late, Promise.all(ends.map((one) => one.finished.catch(() => null)))]);
  },

  /** Every element, those in shadow trees too. */
  all(root) {
    return [...root.querySelectorAll("*")].flatMap((one) => [one, ...(one.shadowRoot ? this.all(one.shadowRoot) : [])]);
  },

  /** Whether something scrolls within itself, such as a wide table. */
  scrolls(one) {
    for (let at = one; at; at = at.parentElement ?? at.getRootNode().host)
      if (/auto|scroll/.test(getComputedStyle(at).overflowX) && at.scrollWidth > at.clientWidth) return true;
    return false;
  },

  /**
   * Visible controls and headings that stand out of the window or do not hold their words. The typing field of Streamlit's list of
   * several is left out: it is as wide as its placeholder, and its box holds it. So is the
   * unseen field behind the thumb of its slider.
   */
  cut() {
    const wanted = "button, a[href], input, textarea, select, summary, h1, h2, h3, legend, label";
    return this.all(document.body).filter((one) => one.matches(wanted) && one.checkVisibility({ visibilityProperty: true })).flatMap((one) => {
      const box = one.getBoundingClientRect();
      const style = getComputedStyle(one);
      if (box.width < 2 || box.height < 2 || style.clipPath !== "none" || style.opacity === "0" || this.scrolls(one)
        || one.matches("[data-testid=stMultiSelect] input, input[type=range]")) return [];
      const out = box.left < -1 || box.right > innerWidth + 1;
      const lost = !one.matches("input, textarea, select, label") && style.overflowX === "hidden" && one.scrollWidth > one.clientWidth + 1;
      const name = `${one.tagName} ${one.className} "${one.textContent.trim().slice(0, 40)}"`;
      return out || lost ? [`${name} ${Math.round(box.left)} to ${Math.round(box.right)}`] : [];
    });
  },

  /** What has the focus, and whether it shows it. */
  focused() {
    let at = document.activeElement;
    while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
    if (!at || at === document.body) return null;
    const { outlineStyle, outlineWidth } = getComputedStyle(at);
    return {
      name: `${at.tagName} ${at.className} ${at.textContent.trim().slice(0, 30)}`,
      board: Boolean(at.closest(".board")),
      ring: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2,
      home: "home" in at.dataset,
    };
  },

  /** Whether nothing on the board moves by itself. */
  still() {
    return this.all(document.body).filter((one) => one.closest(".board"))
      .every((one) => getComputedStyle(one).transitionDuration.split(", ").every((time) => parseFloat(time) === 0));
  },
};
