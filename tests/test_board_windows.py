"""Around the board: a second window, the way back, a time that ran out, a wrong clock. No answer is lost, and none doubled."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlmodel import col, update

from flagback.storage import slots
from flagback.storage.records import Lease, Slot, now
from tests.board_place import Place, asked, press, shown
from tests.browser import page_in
from tests.waiting import until

#: A clock that is wrong by what stands in sessionStorage, milliseconds.
CLOCK = """
const wrong = () => Number(sessionStorage.getItem('wrong') ?? 0);
globalThis.Date = new Proxy(Date, {
  construct: (real, given) => given.length ? new real(...given) : new real(real.now() + wrong()),
  apply: (real) => new real(real.now() + wrong()).toString(),
  get: (real, name) => name === 'now' ? () => real.now() + wrong() : Reflect.get(real, name),
});
"""
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One served home for all."""
    with Place(tmp_path_factory.mktemp("windows"), answers=16) as place:
        yield place


@pytest.fixture(scope="module")
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """One browser profile for all: what Streamlit's page consists of is fetched once."""
    context = browser.new_context(viewport={"width": 900, "height": 900})
    context.add_init_script(CLOCK)
    yield context
    context.close()


def rows(place: Place, count: int) -> list[str]:
    """Prompts of the stored answers, once there are so many, and no more come."""
    until(lambda: len(place.rows()) >= count, f"{count} rows")
    time.sleep(0.4)
    return [row.prompt for row in place.rows()]


def told_of(place: Place) -> list[tuple[int, int | None]]:
    """(late, seat) of the stored answers."""
    return place.ask(f"SELECT late, slot_id FROM review WHERE reviewer = '{place.who}'")  # nosec B608 # a name that the test made


def test_two_windows_store_one_answer_an_item_and_the_second_is_told(place: Place, board: Page, profile: BrowserContext) -> None:
    with page_in(profile) as other:
        other.goto(board.url)
        asked(other)
        first = shown(board)
        assert shown(other) == first
        press(board, "j")
        assert rows(place, 1) == [first]
        press(other, "f", "1", "s", "Enter")
        expect(other.get_by_text("You had already answered this one, perhaps in another window")).to_be_visible()
        second = shown(other)
        press(other, "j")
        assert rows(place, 2) == [first, second]
        third = shown(board)
        press(board, "j")
        if third == second:
            expect(board.get_by_text("You had already answered this one, perhaps in another window")).to_be_visible()
            third = shown(board)
            press(board, "j")
        assert rows(place, 3) == [first, second, third]
        assert [row.verdict for row in place.rows()] == ["fine"] * 3


def test_the_way_back_loses_no_answer_and_doubles_none(place: Place, board: Page) -> None:
    board.route("**/api/v1/answers", lambda route: route.abort())
    first = shown(board)
    press(board, "j")
    expect(board.get_by_text("1 answer kept here")).to_be_visible()
    second = shown(board)
    press(board, "f", "1", "n")
    board.keyboard.type("half a note")
    press(board, "Escape")
    board.get_by_role("link", name="You", exact=True).click()
    board.wait_for_url("**/you")
    board.unroute_all()
    board.go_back()
    asked(board)
    assert rows(place, 1) == [first]
    assert shown(board) == second
    expect(board.get_by_label("A note, if you like")).to_have_value("half a note")
    board.go_forward()
    board.wait_for_url("**/you")
    board.go_back()
    asked(board)
    press(board, "s", "Enter")
    assert rows(place, 2) == [first, second]


def test_an_answer_whose_time_ran_out_is_kept_as_one_more_and_that_is_said(place: Place, board: Page) -> None:
    first = shown(board)
    with place.store.writing() as session:
        for table in (Slot, Lease):
            session.exec(update(table).where(col(table.reviewer) == place.who).values(expires_at=now() - timedelta(minutes=1)))
    assert slots.sweep(place.store, now=now()) > 0
    assert place.held() == 0
    press(board, "j")
    expect(board.get_by_text("It is kept all the same, as one more opinion.")).to_be_visible()
    assert rows(place, 1) == [first]
    assert told_of(place) == [(1, None)]
    board.get_by_role("button", name="Close").click()
    expect(board.get_by_text("as one more opinion")).to_be_hidden()


def test_a_clock_wrong_by_a_day_changes_no_answer_and_not_their_order_and_is_told_of(place: Place, board: Page) -> None:
    board.route("**/api/v1/answers", lambda route: route.abort())
    given = []
    for wrong in (DAY, -DAY):
        board.evaluate("wrong => sessionStorage.setItem('wrong', wrong)", wrong / timedelta(milliseconds=1))
        board.reload()
        asked(board)
        expect(board.get_by_text("The clock of this device is wrong.")).to_be_visible()
        for _ in range(2):
            given.append(shown(board))
            press(board, "j")
            expect(board.locator(".turns .prompt").last).not_to_have_text(given[-1])
        expect(board.get_by_text(f"{len(given)} answers kept here")).to_be_visible()
    board.unroute_all()
    board.reload()
    asked(board)
    assert rows(place, 4) == given
    expect(board.get_by_text("4 of 40 today")).to_be_visible()
    press(board, "j")
    assert len(rows(place, 5)) == 5
    assert {late for late, _ in told_of(place)} == {0}
    # The clock is put right while an answer is on the screen: what is held is still ours.
    board.evaluate("sessionStorage.removeItem('wrong')")
    press(board, "j")
    asked(board)
    press(board, "j")
    assert len(set(rows(place, 7))) == 7
