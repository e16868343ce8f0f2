"""A thousand presses 40 ms apart in a real browser: what was pressed, posted, shown and stored fit together, with one listener."""

import json
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.board_place import Place, pressed, until
from tests.browser import chromium, page_in, sign_in
from tests.people import PASSWORD

pytestmark = pytest.mark.acceptance
PRESSES, APART = 1_000, 0.04
#: Counts listeners for keys that the board's files attach, and notes every prompt that comes up.
WATCH = """
window.__listeners = 0;
const attach = EventTarget.prototype.addEventListener, detach = EventTarget.prototype.removeEventListener;
const ours = () => /bidi-components/.test(new Error().stack ?? '');
EventTarget.prototype.addEventListener = function (kind, ...rest) {
  if (kind === 'keydown' && ours()) window.__listeners += 1;
  return attach.call(this, kind, ...rest);
};
EventTarget.prototype.removeEventListener = function (kind, ...rest) {
  if (kind === 'keydown' && ours()) window.__listeners -= 1;
  return detach.call(this, kind, ...rest);
};
"""
NOTE = """() => {
  const holder = [...document.querySelectorAll('*')].find((one) => one.shadowRoot?.querySelector('.turns'));
  const root = holder?.shadowRoot ?? document, turns = root.querySelector('.turns');
  const read = () => [...turns.querySelectorAll('.prompt')].at(-1)?.textContent;
  window.__seen = [read()];
  new MutationObserver(() => { const now = read(); if (now && now !== window.__seen.at(-1)) window.__seen.push(now); })
    .observe(turns, { childList: true, subtree: true });
}"""


@pytest.fixture
def browser() -> Iterator[Browser]:
    """One Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A served home with more to judge than is pressed."""
    place = Place(tmp_path_factory.mktemp("presses"), answers=PRESSES + 50)
    with place.web:
        yield place
    place.store.close()


def test_a_thousand_presses_store_one_answer_each_for_what_was_on_the_screen(place: Place, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 900, "height": 900})
    context.add_init_script(WATCH)
    posts: list[str] = []

    def count(request: Request) -> None:
        if request.url.endswith("/api/v1/answers"):
            posts.append(json.loads(request.post_data or "{}")["token"])

    with page_in(context) as page:
        page.on("request", count)
        sign_in(page, place.web.url, place.reviewer(), PASSWORD)
        expect(page.get_by_text("Would you change this answer?")).to_be_visible(timeout=20_000)
        page.evaluate(NOTE)
        beat(page)
        taken, ignored = pressed(page, "taken"), pressed(page, "ignored")
        assert taken + ignored == PRESSES
        until(lambda: len(place.rows()) >= taken, "every decision stored", seconds=60)
        time.sleep(1)
        rows = place.rows()
        seen: list[str] = page.evaluate("window.__seen")
        assert len(rows) == taken
        assert len(posts) == len(set(posts)) == taken
        assert [row.prompt for row in rows] == seen[:taken]
        # How many find something painted hangs on the machine; more than one browser ever holds must have been fetched meanwhile.
        assert taken > 2 * 40, f"{ignored} presses found nothing painted"
        assert page.evaluate("window.__listeners") == 1
    context.close()


def beat(page: Page) -> None:
    """The presses, each at its time however long the last one took."""
    start = time.monotonic()
    for number in range(PRESSES):
        time.sleep(max(0.0, start + number * APART - time.monotonic()))
        page.keyboard.press("j")
