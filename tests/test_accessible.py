"""Every page of ours and every state of the board, by axe-core and by measure, in one real browser.

Pages come from the table of who may go where, states from the gallery. WCAG 2.2 A and AA: no serious or critical finding, in light
and dark; one `main`; nothing cut or scrolled sideways at 320 px and at 200 %; a ring on whatever has the focus.
"""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Page, expect

from tests.board_place import painted, press
from tests.browser import WebProcess, chromium
from tests.gallery import home, states
from tests.gallery.states import State, Visits

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
MEASURES = (Path(__file__).parent / "gallery" / "measures.js").read_text(encoding="utf-8")


class Place(NamedTuple):
    """A served home with everybody's doors."""

    visits: Visits
    states: dict[str, State]


#: The addresses of links are only known once the home is made; the names are not.
NAMES = [state.name for state in states.everything(home.Door("", ""))]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One server and one browser for all."""
    folder = tmp_path_factory.mktemp("accessible")
    settings, door = home.small(folder / "home")
    with WebProcess(settings.home, folder=folder) as web, chromium() as browser:
        yield Place(Visits(browser, web.url), {state.name: state for state in states.everything(door)})


def measure(page: Page, what: str) -> Any:
    """One of the measures, in the page."""
    if not page.evaluate("'measures' in window"):
        page.evaluate(MEASURES)
    return page.evaluate(f"window.measures.{what}()")


def found(page: Page) -> list[str]:
    """What axe calls serious or critical, and the landmarks whatever it calls them."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    said: list[dict[str, Any]] = measure(page, "axe")
    bad = [one for one in said if one["impact"] in ("serious", "critical") or one["id"].startswith("landmark")]
    return [f"{one['impact']}: {one['id']} ({one['help']}): {node}" for one in bad for node in one["nodes"]]


@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing_serious_in_light_or_dark_and_nothing_is_cut_at_320_px(place: Place, name: str) -> None:
    with place.visits.at(place.states[name], reduced_motion="reduce") as page:
        light = found(page)
        page.emulate_media(color_scheme="dark")
        page.wait_for_timeout(400)  # a page with pictures is drawn again
        page.wait_for_function("() => !document.querySelector('[data-test-script-state=running], [data-stale=true]')")
        measure(page, "settled")
        dark = found(page)
        left = {width: _left_over(page, width, height) for width, height in ((640, 450), (320, 640))}  # 1280 px at 200 % and 400 %
    assert (light, dark) == ([], [])
    assert left == {640: [], 320: []}


def _left_over(page: Page, width: int, height: int) -> list[str]:
    """What stands out or is cut in a window of this size, once the page has come to rest: Streamlit draws it anew."""
    page.set_viewport_size({"width": width, "height": height})
    found: list[str] = []
    for _ in range(30):
        page.wait_for_timeout(150)
        painted(page)
        over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found = [*measure(page, "cut"), *([f"{over} px to scroll sideways"] if over > 0 else [])]
        if not found:
            break
    return found


def test_every_control_of_the_board_shows_that_it_has_the_focus(place: Place) -> None:
    with place.visits.at(place.states["board-flagged"]) as page:
        seen: dict[str, bool] = {}
        page.locator(".card").first.focus()
        for _ in range(90):
            page.keyboard.press("Tab")
            at = measure(page, "focused")
            if at is None or not at["board"]:
                break
            seen[at["name"]] = at["ring"]
    assert len(seen) > 20
    assert [name for name, ring in seen.items() if not ring] == []


def test_a_page_is_drawn_again_when_the_system_turns_dark_and_the_board_is_not(place: Place) -> None:
    count = """() => {
      window.runs = 0;
      const app = document.querySelector('[data-testid=stApp]');
      new MutationObserver(() => { window.runs += app.dataset.testScriptState === 'running'; }).observe(app, { attributes: true });
    }"""
    with place.visits.at(place.states["corrections-run"]) as page:
        page.wait_for_function("() => !document.querySelector('[data-test-script-state=running]')")
        page.evaluate(count)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("() => window.runs > 0")
    with place.visits.at(place.states["board-plain"]) as page:
        page.evaluate(count)
        page.emulate_media(color_scheme="dark")
        page.wait_for_timeout(1500)
        assert page.evaluate("window.runs") == 0


def test_a_new_item_takes_the_focus_and_is_read_out(place: Place) -> None:
    with place.visits.at(place.states["board-plain"]) as page:
        before = page.locator(".turns .prompt").last.inner_text()
        press(page, "j")
        expect(page.locator(".turns .prompt").last).not_to_have_text(before)
        assert measure(page, "focused")["home"]
        expect(page.locator("[aria-live=polite]").first).to_contain_text(page.locator(".turns .prompt").last.inner_text())


def test_who_wants_less_motion_more_contrast_or_their_own_colours_gets_them(place: Place) -> None:
    with place.visits.at(place.states["board-flagged"], reduced_motion="reduce", contrast="more") as page:
        assert measure(page, "still")
        strong = page.locator(".board").evaluate("(one) => getComputedStyle(one).getPropertyValue('--soft')")
        assert found(page) == []
    with place.visits.at(place.states["board-flagged"], forced_colors="active") as page:
        usual = page.locator(".board").evaluate("(one) => getComputedStyle(one).getPropertyValue('--soft')")
        assert strong != usual
        chosen = page.locator(".board .opt.on").first
        assert chosen.evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid"
