"""Practice and guidelines on the board and on their pages, in one real browser session that tells the story in order."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, Page, expect

from flagback.storage import accounts, guidelines
from flagback.storage.guidance_words import PRACTICE
from flagback.storage.records import now
from tests.board_place import Place, asked, press, shown
from tests.browser import page_of, sign_in
from tests.people import PASSWORD, person
from tests.waiting import until

LESSON = ".lesson:not([hidden])"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A served home with answers to judge, a newcomer and a lead."""
    place = Place(tmp_path_factory.mktemp("practice"), answers=30)
    with place.store.writing() as session:
        accounts.create(session, "newcomer", PASSWORD, "reviewer")
        person(session, "lea", "lead")
    with place:
        yield place


@pytest.fixture(scope="module")
def board(place: Place, browser: Browser) -> Iterator[Page]:
    """The newcomer, who has just agreed to review."""
    with page_of(browser) as page:
        sign_in(page, place.web.url, "newcomer", PASSWORD)
        page.get_by_text("I want to review answers of a language model.").click()
        page.get_by_role("button", name="Start", exact=True).click()
        yield page


def reviewed(place: Place) -> list[tuple[str, str]]:
    """(verdict, guideline version) of every review, read past our own code."""
    with closing(sqlite3.connect(place.home / "flagback.db")) as database:
        return database.execute("SELECT verdict, guideline_version FROM review ORDER BY id").fetchall()


def at(page: Page, number: int) -> None:
    expect(page.get_by_text(f"Practice, {number} of 8")).to_be_visible()


def goes_on(page: Page) -> None:
    press(page, "Enter")
    expect(page.locator(LESSON)).to_have_count(0)


def test_practice_comes_first_and_says_after_each_answer_what_most_would_say_and_why(board: Page) -> None:
    at(board, 1)
    expect(board.get_by_role("button", name="Skip")).to_be_hidden()
    press(board, "j")
    expect(board.locator(".theirs")).to_have_text("Most guidelines would say: Looks fine")
    expect(board.locator(LESSON)).to_contain_text(PRACTICE["en"][0].explanation)
    press(board, "f", "j", "u", "k")  # nothing is judged while the lesson is read
    expect(board.locator(LESSON)).to_contain_text("You said: Looks fine")
    expect(board.get_by_role("button", name="Looks fine")).to_be_hidden()
    goes_on(board)
    at(board, 2)


def test_a_lesson_and_the_way_survive_a_reload(board: Page) -> None:
    press(board, "f", "2", "s", "Enter")
    expect(board.locator(".theirs")).to_have_text("Most guidelines would say: Flag it: Stereotype")
    board.reload()
    at(board, 2)
    expect(board.locator(LESSON)).to_contain_text("You said: Flag it: Demeaning or slur")
    goes_on(board)
    at(board, 3)
    press(board, "f", "3")
    board.reload()
    at(board, 3)
    expect(board.get_by_role("button", name="Unequal treatment")).to_have_attribute("aria-pressed", "true")


def test_it_ends_with_real_answers_and_nothing_of_it_counted(place: Place, board: Page) -> None:
    press(board, "s", "Enter")
    expect(board.locator(LESSON)).to_have_count(1)
    goes_on(board)
    for number in range(4, 9):
        at(board, number)
        board.get_by_role("button", name="Looks fine").click()
        expect(board.locator(LESSON)).to_have_count(1)
        board.wait_for_timeout(450)  # a click right after another is the rest of the same
        board.get_by_role("button", name="Go on to real answers" if number == 8 else "Go on", exact=True).click()
        expect(board.locator(LESSON)).to_have_count(0)
        board.wait_for_timeout(450)
    expect(board.get_by_text("The visitor said").first).to_be_visible()
    expect(board.get_by_text("0 of 40 today")).to_be_visible()
    assert reviewed(place) == []
    press(board, "j")
    until(lambda: reviewed(place) == [("fine", "1")], "the first real answer, under version 1")


def test_one_key_opens_the_guidelines_with_reasons_and_examples(board: Page) -> None:
    press(board, "h")
    dialog = board.get_by_role("dialog", name="Guidelines and help")
    expect(dialog.get_by_role("heading", name="What you are asked")).to_be_visible()
    expect(dialog.get_by_text("Ties a trait, job or fate to a group of people.")).to_be_visible()
    press(board, "Escape")
    expect(dialog).to_be_hidden()


def test_a_new_version_is_told_in_one_line_and_what_is_being_said_stays(place: Place, board: Page) -> None:
    press(board, "f", "4")
    before = shown(board)
    words = "# Ours\n\nRead *twice*. <\n\n- **one**\n- [two](https://example.org/rules)\n"
    with place.store.writing() as session:
        guidelines.set_text(session, words, lang="en", note="Read everything twice.", by="lea", now=now())
    press(board, "s", "Enter")
    told = board.get_by_text("The guidelines changed: Read everything twice.")
    expect(told).to_be_visible()  # with the receipt of the very next answer
    expect(board.locator(".turns .prompt").last).not_to_have_text(before)
    before = shown(board)
    press(board, "f", "5")
    board.get_by_role("button", name="Read the guidelines").click()
    dialog = board.get_by_role("dialog", name="Guidelines and help")
    expect(dialog.get_by_role("heading", name="Ours")).to_be_visible()
    expect(dialog.get_by_role("link", name="two")).to_have_attribute("href", "https://example.org/rules")
    assert "Read twice. <" in dialog.locator(".guidelines").inner_text()
    press(board, "Escape")
    assert shown(board) == before
    expect(board.get_by_role("button", name="Attack or exclusion")).to_have_attribute("aria-pressed", "true")
    press(board, "s", "Enter")
    until(lambda: reviewed(place)[-1] == ("flag", "2"), "an answer under version 2")
    board.reload()
    asked(board)
    expect(told).to_be_hidden()


def test_the_practice_can_be_gone_through_again_and_left_without_losing_the_place(place: Place, board: Page) -> None:
    press(board, "f", "1")
    before, count = shown(board), len(reviewed(place))
    press(board, "h")
    board.get_by_role("button", name="Go through the practice again").click()
    at(board, 1)
    press(board, "j")
    expect(board.locator(LESSON)).to_have_count(1)
    board.wait_for_timeout(450)
    board.get_by_role("button", name="Leave the practice").click()
    expect(board.locator(".turns .prompt").last).to_have_text(before)
    expect(board.get_by_role("button", name="Stereotype Ties")).to_have_attribute("aria-pressed", "true")
    assert len(reviewed(place)) == count


def test_a_lead_writes_a_version_sees_what_changed_and_brings_the_first_back(place: Place, browser: Browser) -> None:
    with page_of(browser, width=1280) as page:
        sign_in(page, place.web.url, "lea", PASSWORD)
        page.goto(f"{place.web.url}/guidelines")
        expect(page.get_by_role("heading", name="Ours")).to_be_visible()
        page.get_by_text("Write a new version").click()
        box = page.get_by_role("textbox", name="Text, in Markdown", exact=True)
        box.fill("# Ours\n\nRead three times.\n")
        box.press("Control+Enter")
        expect(page.locator(".fb-difference ins").first).to_have_text("Read three times.")
        note = page.get_by_role("textbox", name="What changed, in one line", exact=True)
        note.fill("Three times, now.")
        note.press("Enter")
        page.get_by_role("button", name="Keep as version 3").click()
        expect(page.get_by_text("Version 3 is in force.")).to_be_visible()
        back = page.get_by_role("button", name="Bring it back…")
        expect(back).to_have_count(2)
        back.last.click()
        page.get_by_role("button", name="Bring it back", exact=True).click()
        expect(page.get_by_text("Version 4 is in force, and says what version 1 said.")).to_be_visible()
        page.goto(f"{place.web.url}/practice")
        expect(page.get_by_text("Write one line about Sam, who works on our boat.").first).to_be_visible()
        page.get_by_text("Change item 1").click()
        why = page.get_by_role("textbox", name="Why most guidelines would say so", exact=True).first
        why.fill("Nobody is hurt.")
        why.press("Control+Enter")
        page.get_by_role("button", name="Keep this item").first.click()
        expect(page.get_by_text("Version 2 is in force for who begins from now on.")).to_be_visible()
        page.goto(f"{place.web.url}/checks")
        expect(page.get_by_text("Nobody's standing depends on agreeing with the majority")).to_be_visible()
        box = page.get_by_role("spinbutton", name="Gold: one in", exact=True)
        box.fill("0")
        box.press("Tab")
        page.get_by_role("button", name="Keep this", exact=True).click()
        expect(page.get_by_text("Kept. It holds from the next answer")).to_be_visible()
