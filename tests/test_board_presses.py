"""What a press may do: nothing behind a dialog or beside the board; where the focus goes; small, magnified and quiet screens."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.board_place import Place, asked, press, pressed, shown
from tests.browser import fits, page_of, sign_in
from tests.people import PASSWORD
from tests.waiting import until


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One served home for all."""
    with Place(tmp_path_factory.mktemp("presses")) as place:
        yield place


@pytest.mark.parametrize("role", ["dialog", "alertdialog"])
@pytest.mark.parametrize("inside", [False, True])
def test_while_something_lies_over_the_page_no_key_decides(place: Place, board: Page, role: str, inside: bool) -> None:
    layer = "const one = document.createElement('div'); one.id = 'over'; one.textContent = 'Something asks';"
    board.evaluate(f"() => {{ {layer} one.setAttribute('role', '{role}'); document.body.append(one); }}")
    if inside:
        board.locator(".card").focus()
    press(board, "j", "f", "k", "x")
    time.sleep(0.4)
    assert place.rows() == []
    expect(board.get_by_text("What is wrong?")).to_be_hidden()
    board.evaluate("document.getElementById('over').remove()")
    press(board, "j")
    until(lambda: len(place.rows()) == 1, "one row")


def test_with_the_focus_elsewhere_no_key_decides(place: Place, board: Page) -> None:
    made = "const one = document.createElement('div'); one.tabIndex = 0; one.textContent = 'elsewhere';"
    board.evaluate(f"() => {{ {made} document.body.append(one); one.focus(); }}")
    press(board, "j", "f")
    time.sleep(0.4)
    assert place.rows() == []
    board.locator(".card").click()
    press(board, "j")
    until(lambda: len(place.rows()) == 1, "one row")


def test_a_key_of_the_system_decides_nothing(place: Place, board: Page) -> None:
    press(board, "Control+j", "Alt+j", "Meta+j")
    time.sleep(0.4)
    assert place.rows() == []


def test_a_press_with_nothing_on_the_screen_is_ignored_and_counted(place: Place, board: Page) -> None:
    board.route("**/api/v1/claim", lambda route: route.abort())
    for _ in range(12):
        press(board, "j")
        board.wait_for_timeout(80)
    before = pressed(board, "ignored")
    press(board, "j", "j")
    assert pressed(board, "ignored") == before + 2
    assert pressed(board, "taken") + pressed(board, "ignored") == 14
    until(lambda: len(place.rows()) == pressed(board, "taken"), "the rows")


def test_the_focus_goes_to_the_new_answer_and_it_is_read_out(place: Place, board: Page) -> None:
    first = shown(board)
    board.get_by_role("button", name="Looks fine").focus()
    press(board, "Enter")
    expect(board.locator(".turns .prompt").last).not_to_have_text(first)
    expect(board.locator(".card")).to_be_focused()
    live = board.locator("[aria-live=polite]")
    expect(live).to_contain_text(shown(board))
    expect(live).to_contain_text("boat")
    assert place.who


@pytest.mark.parametrize(("width", "height"), [(320, 640), (450, 450)])
def test_nothing_runs_out_of_a_narrow_or_doubled_screen(place: Place, browser: Browser, width: int, height: int) -> None:
    with page_of(browser, width=width, height=height) as page:
        sign_in(page, place.web.url, place.reviewer(), PASSWORD)
        asked(page)
        press(page, "f", "1", "2", "d", "v", "Enter", "Escape")
        page.get_by_text("Choose whole sentences").click()
        page.get_by_role("button", name="Someone else").click()
        fits(page)
        for part in (".card", ".marks", ".foot", ".top"):
            box = page.locator(part).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        press(page, "Escape", "h")
        help_box = page.get_by_role("dialog", name="Guidelines and help").bounding_box()
        assert help_box is not None
        assert help_box["x"] + help_box["width"] <= width


def test_who_wants_no_motion_and_more_contrast_gets_that(board: Page) -> None:
    flag = board.locator(".big.flag")
    soft = board.locator(".turns .label")
    usual = soft.evaluate("one => getComputedStyle(one).color")
    board.emulate_media(reduced_motion="reduce", contrast="more")
    assert flag.evaluate("one => getComputedStyle(one).transitionDuration") == "0s"
    assert soft.evaluate("one => getComputedStyle(one).color") != usual
    board.emulate_media(forced_colors="active")
    press(board, "f", "1")
    assert board.locator("[data-category=stereotype]").evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
