"""Care on the board and its pages: covers, enough for a day, breaks, declined topics, a text taken away, in a real browser."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlmodel import select

from flagback.storage import accounts, audit, wellbeing, withdrawals
from flagback.storage.records import Generation, now
from flagback.storage.wellbeing import USUAL
from tests.board_place import Place, asked, press, shown
from tests.browser import choose, page_of, sign_in
from tests.people import PASSWORD, person
from tests.waiting import until


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A served home of its own for each test: what is in force holds for everybody."""
    with Place(tmp_path_factory.mktemp("care"), answers=30, expected=None) as place:
        yield place


@pytest.fixture
def board(place: Place, browser: Browser) -> Iterator[Page]:
    """A page signed in as a new reviewer, on the board."""
    with page_of(browser) as page:
        sign_in(page, place.web.url, place.reviewer(), PASSWORD)
        yield page


def expects(place: Place, harm: float) -> None:
    """So much harm is expected of every answer."""
    with place.store.writing() as session:
        for generation in session.exec(select(Generation)).all():
            generation.expected_harm = harm


def severe(page: Page) -> None:
    """Flags what is on the screen as severe."""
    before = shown(page)
    page.wait_for_timeout(60)
    press(page, "f", "2", "g", "Enter")
    expect(page.locator(".stage:not([hidden]) .turns .prompt").last).not_to_have_text(before)


def test_what_may_upset_is_not_in_the_page_until_it_is_asked_for(place: Place, board: Page) -> None:
    expects(place, 0.9)
    press(board, "x")
    board.reload()
    asked(board)
    expect(board.get_by_text("This may be upsetting")).to_be_visible()
    expect(board.locator(".veil kbd")).to_have_text(["Space", "K"])
    expect(board.locator(".output")).not_to_contain_text("boat")
    expect(board.locator("[aria-live=polite]")).not_to_contain_text("boat")
    press(board, "j", "f")
    time.sleep(0.4)
    assert place.rows() == []
    press(board, " ")
    expect(board.locator(".output")).to_contain_text("boat")
    expect(board.get_by_text("This may be upsetting")).to_be_hidden()
    press(board, "j")
    until(lambda: len(place.rows()) == 1, "one row")
    board.get_by_role("button", name="Show it").click()
    expect(board.locator(".output")).to_contain_text("boat")


def test_past_the_days_measure_nothing_is_handed_out_and_nothing_is_held(place: Place, board: Page) -> None:
    with place.store.writing() as session:
        wellbeing.set_terms(session, USUAL._replace(severe_a_day=2, support="Call Ada."), by="max", now=now())
    board.reload()
    asked(board)
    severe(board)
    board.wait_for_timeout(100)
    press(board, "k", "2")
    expect(board.get_by_role("heading", name="That is enough hard reading for a day.")).to_be_visible()
    expect(board.get_by_role("paragraph").get_by_text("Call Ada.")).to_be_visible()
    until(lambda: place.held() == 0, "nothing held")
    board.reload()
    expect(board.get_by_role("heading", name="That is enough hard reading for a day.")).to_be_visible()
    assert place.held() == 0
    assert len(place.rows()) == 2


def test_a_break_is_offered_after_ten_severe_answers_and_after_twenty_five_minutes(place: Place, board: Page) -> None:
    asked(board)
    for _ in range(9):
        severe(board)
    expect(board.get_by_role("button", name="Take a break")).to_be_hidden()
    severe(board)
    expect(board.get_by_text("You have met 10 severe answers.")).to_be_visible()
    board.get_by_role("button", name="Take a break").click()
    expect(board.get_by_role("heading", name="Take your time.")).to_be_visible()
    until(lambda: place.held() == 0, "nothing held")
    board.get_by_role("button", name="Go on", exact=True).click()
    asked(board)
    board.evaluate(
        "() => { const key = Object.keys(localStorage).find((one) => one.startsWith('flagback.rest.'));"
        "localStorage.setItem(key, JSON.stringify({ seconds: 1499.9, severe: 0, at: Date.now() })); }"
    )
    board.reload()
    asked(board)
    board.wait_for_timeout(500)
    press(board, "j")
    expect(board.get_by_text("You have read for 25 minutes.")).to_be_visible()
    asked(board)


def test_one_key_stops_for_today(place: Place, board: Page) -> None:
    asked(board)
    press(board, "x")
    expect(board.get_by_role("heading", name="That is it for today.")).to_be_visible()
    until(lambda: place.held() == 0, "nothing held")


def test_a_text_is_taken_away_by_the_tick_and_others_are_not_shown_it(place: Place, board: Page, browser: Browser) -> None:
    asked(board)
    prompt = shown(board)
    text = board.locator(".output").inner_text()
    press(board, "f", "g")
    board.get_by_role("button", name="Sexual content with minors").click()
    expect(board.get_by_text("When you save this, the text is taken away")).to_be_visible()
    board.locator(".card").focus()
    press(board, "Enter")
    expect(board.get_by_text("This text is taken away from everybody")).to_be_visible()
    until(lambda: len(place.rows()) == 1, "one row")
    with place.store.reading() as session:
        assert text not in [one.strip() for one in session.exec(select(Generation.text)).all()]
        [gone] = withdrawals.in_force(session)
    press(board, "u")
    expect(board.get_by_text("There is no earlier answer")).to_be_visible()
    board.reload()
    asked(board)
    expect(board.get_by_role("button", name="Undo last")).to_be_disabled()
    with place.store.writing() as session:
        person(session, "lea", "lead")
    with page_of(browser) as page:
        sign_in(page, place.web.url, "lea", PASSWORD)
        page.goto(f"{place.web.url}/care")
        expect(page.get_by_text("Texts taken away")).to_be_visible()
        expect(page.get_by_text(f"withdrawal {gone.id}")).to_be_visible()
        assert text not in page.content()
        page.get_by_role("button", name="Give it back…").click()
        page.get_by_label("Why was it taken away by mistake?").fill("a slip of the finger, it is about a boat")
        page.get_by_label("Why was it taken away by mistake?").press("Enter")
        page.get_by_role("button", name="Give it back", exact=True).click()
        expect(page.get_by_text(f"Withdrawal {gone.id} has ended")).to_be_visible()
    assert prompt
    with place.store.reading() as session:
        assert withdrawals.in_force(session) == []
        audit.verify(session)


def test_before_the_start_it_is_said_what_may_upset_and_topics_can_be_declined(place: Place, browser: Browser) -> None:
    place.add("Weather", [" it rained."], tags={"topic": "Weather"})
    with place.store.writing() as session:
        new = accounts.create(session, "newcomer", PASSWORD, "reviewer").id
    with page_of(browser) as page:
        sign_in(page, place.web.url, "newcomer", PASSWORD)
        expect(page.get_by_text("What you may meet")).to_be_visible()
        expect(page.get_by_text("Dangerous help")).to_be_visible()
        choose(page.get_by_role("combobox", name="Topics you would rather not"), "weather", typed="weather")
        page.keyboard.press("Escape")
        page.get_by_text("I want to review answers of a language model.").click()
        page.get_by_role("button", name="Start", exact=True).click()
        asked(page)
    with place.store.reading() as session:
        assert wellbeing.declined(session, new) == {"topic:weather"}
