"""Several answers side by side on the board, in a real browser: each press stored once, whole orders, the way there and back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlmodel import col, select

from flagback.storage import claims
from flagback.storage.records import Generation, Lease, Review
from tests import test_comparisons
from tests.board_place import QUESTION, Place, asked, press, shown
from tests.browser import fits, page_of, sign_in
from tests.people import PASSWORD
from tests.waiting import until

WHICH = "Which answer is better?"
ORDER = "In what order do they stand"


def comparing(folder: Path, answers: int, prompts: int) -> Place:
    """A home with single answers, and with so many prompts whose answers are to be compared."""
    place = Place(folder)
    test_comparisons.written(place.store, answers=answers, prompts=prompts)
    test_comparisons.make(place.store, prompts=prompts, answers=answers, reviews_per_item=30)
    return place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One served home with pairs for all."""
    with comparing(tmp_path_factory.mktemp("pairs"), answers=2, prompts=14) as place:
        yield place


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One served home with four answers to rank for all."""
    with comparing(tmp_path_factory.mktemp("ranks"), answers=4, prompts=4) as place:
        yield place


def go_to_compare(page: Page, place: Place, words: str) -> None:
    """Signs in as a new reviewer and goes over to comparing, by keys."""
    sign_in(page, place.web.url, place.reviewer(), PASSWORD)
    asked(page)
    press(page, "c")
    expect(page.get_by_text(words)).to_be_visible()
    page.wait_for_timeout(60)  # painted


@pytest.fixture
def board(place: Place, browser: Browser) -> Iterator[Page]:
    """Two answers on the screen of a new reviewer."""
    with page_of(browser) as page:
        go_to_compare(page, place, WHICH)
        yield page


@pytest.fixture
def ranking(ranks: Place, browser: Browser) -> Iterator[Page]:
    """Four answers on the screen of a new reviewer."""
    with page_of(browser) as page:
        go_to_compare(page, ranks, ORDER)
        yield page


def texts(page: Page) -> list[str]:
    """The answers on the screen, in their order."""
    return page.locator(".answers .output").all_inner_texts()


def said(place: Place) -> list[Review]:
    """What the reviewer's stored answers say."""
    with place.store.reading() as session:
        return list(session.exec(select(Review).where(Review.reviewer == place.who).order_by(col(Review.id))).all())


def as_shown(place: Place, review: Review) -> list[str]:
    """The answers of a review's item in the order that the records keep."""
    with place.store.reading() as session:
        return [text.strip() for text in claims.answers_of(session, [review.item_id])[review.item_id]]


def wait_for(place: Place, count: int) -> list[Review]:
    """Waits for so many stored answers."""
    until(lambda: len(said(place)) >= count, f"{count} rows")
    return said(place)


def expected(place: Place, harm: float | None) -> None:
    """So much harm is expected of every answer."""
    with place.store.writing() as session:
        for generation in session.exec(select(Generation)).all():
            generation.expected_harm = harm


def next_one(page: Page, before: str) -> None:
    """Waits until another prompt is on the screen, and painted."""
    expect(page.locator(".turns .prompt").last).not_to_have_text(before)
    page.wait_for_timeout(60)


# -------------------------------------------------------------------- two answers


def test_each_verdict_is_stored_once_for_what_is_on_the_screen(place: Place, board: Page) -> None:
    keys = {"ArrowLeft": "left", "ArrowRight": "right", "1": "left", "2": "right", "e": "equal"}
    seen = []
    for key in keys:
        seen.append((shown(board), texts(board)))
        press(board, key)
        next_one(board, seen[-1][0])
    rows = wait_for(place, len(keys))
    board.wait_for_timeout(400)
    assert len(said(place)) == len(keys)
    assert [row.verdict for row in rows] == list(keys.values())
    assert [row.prompt for row in place.rows()] == [prompt for prompt, _ in seen]
    assert [as_shown(place, row) for row in rows] == [answers for _, answers in seen]
    expect(board.get_by_text(f"{len(keys)} of 40 today")).to_be_visible()


def test_every_key_is_a_button_too(place: Place, board: Page) -> None:
    for name in ("Left is better", "Right is better", "Equally good"):
        before = shown(board)
        board.get_by_role("button", name=name).click()
        next_one(board, before)
        board.wait_for_timeout(450)  # longer than a double click
    board.get_by_role("button", name="Both are bad").click()
    board.get_by_role("button", name="Save and go on").click()
    assert [row.verdict for row in wait_for(place, 4)] == ["left", "right", "equal", "both_bad"]


def test_both_bad_takes_a_rewrite_that_keeps_the_blank_before_it(place: Place, board: Page) -> None:
    press(board, "b")
    box = board.get_by_label("What would be a good answer? If you like.")
    expect(box).to_be_visible()
    assert said(place) == []
    press(board, "w")
    board.keyboard.type("a kinder answer, 1e2b")
    press(board, "Escape", "Enter")
    [row] = wait_for(place, 1)
    assert (row.verdict, row.rewrite) == ("both_bad", " a kinder answer, 1e2b")


def test_both_bad_needs_no_rewrite(place: Place, board: Page) -> None:
    press(board, "b", "Enter")
    [row] = wait_for(place, 1)
    assert (row.verdict, row.rewrite) == ("both_bad", None)


def test_a_rewrite_can_begin_with_one_of_the_two_and_is_not_that_one(place: Place, board: Page) -> None:
    press(board, "b")
    board.get_by_role("button", name="right one").click()
    box = board.get_by_label("What would be a good answer? If you like.")
    expect(box).to_have_value(texts(board)[1])
    press(board, "Control+Enter")
    expect(board.get_by_text("What you wrote is the right answer as it stands")).to_be_visible()
    assert said(place) == []
    board.keyboard.type("!")
    press(board, "Control+Enter")
    [row] = wait_for(place, 1)
    assert row.rewrite == f" {as_shown(place, row)[1]}!"


def test_undo_takes_a_verdict_up_again_and_stores_a_correction(place: Place, board: Page) -> None:
    first, answers = shown(board), texts(board)
    press(board, "ArrowLeft")
    next_one(board, first)
    second = shown(board)
    press(board, "u")
    expect(board.get_by_text("You answered this one before")).to_be_visible()
    assert (shown(board), texts(board)) == (first, answers)
    expect(board.get_by_role("button", name="Left is better")).to_have_attribute("aria-pressed", "true")
    board.wait_for_timeout(60)
    press(board, "ArrowRight")
    expect(board.locator(".turns .prompt").last).to_have_text(second)
    old, new = wait_for(place, 2)
    assert (old.verdict, new.verdict, new.supersedes, new.item_id) == ("left", "right", old.id, old.item_id)
    expect(board.get_by_text("1 of 40 today")).to_be_visible()


def test_a_verdict_can_be_taken_up_again_after_a_reload_and_in_the_other_mode(place: Place, board: Page) -> None:
    first = shown(board)
    press(board, "b", "w")
    board.keyboard.type("kinder")
    press(board, "Control+Enter")
    wait_for(place, 1)
    press(board, "c")
    asked(board)
    board.reload()
    asked(board)
    press(board, "u")
    expect(board.get_by_label("What would be a good answer? If you like.")).to_have_value("kinder")
    assert shown(board) == first
    press(board, "Escape")
    asked(board)
    expect(board.locator(".answers")).to_be_hidden()


def test_a_skip_asks_why(place: Place, board: Page) -> None:
    first = shown(board)
    press(board, "k", "2")
    next_one(board, first)
    [row] = wait_for(place, 1)
    assert (row.verdict, row.skip_reason) == ("skip", "too_upsetting")
    expect(board.get_by_text("A short break?")).to_be_visible()


def test_keys_of_a_single_answer_judge_nothing_here(place: Place, board: Page) -> None:
    press(board, "j", "f", "a", "Enter", "3", "0")
    board.wait_for_timeout(400)
    assert said(place) == []
    expect(board.get_by_text("What is wrong?")).to_be_hidden()


def test_what_may_upset_is_covered_until_it_is_asked_for(place: Place, browser: Browser) -> None:
    expected(place, 0.9)
    try:
        with page_of(browser) as board:
            go_to_compare(board, place, WHICH)
            expect(board.get_by_text("This may be upsetting")).to_be_visible()
            expect(board.locator(".answers")).not_to_contain_text("answer 0")
            expect(board.locator("[aria-live=polite]")).not_to_contain_text("answer 0")
            press(board, "ArrowLeft", "e", "b", "1")
            board.wait_for_timeout(400)
            assert said(place) == []
            expect(board.get_by_label("What would be a good answer?")).to_be_hidden()
            press(board, " ")
            expect(board.locator(".answers")).to_contain_text("answer 0")
            expect(board.get_by_text("This may be upsetting")).to_be_hidden()
            press(board, "ArrowLeft")
            assert [row.verdict for row in wait_for(place, 1)] == ["left"]
    finally:
        expected(place, None)


def test_the_focus_goes_to_the_new_answers_and_both_are_read_out(board: Page) -> None:
    first = shown(board)
    board.get_by_role("button", name="Equally good").focus()
    press(board, "Enter")
    next_one(board, first)
    expect(board.locator(".several")).to_be_focused()
    live = board.locator("[aria-live=polite]")
    left, right = texts(board)
    expect(live).to_contain_text(f"Left answer: {left} Right answer: {right}")
    expect(live).to_contain_text(shown(board))


# ------------------------------------------------------------------------- orders


def test_an_order_with_a_tie_is_stored_without_gaps(ranks: Place, ranking: Page) -> None:
    expect(ranking.get_by_text("Not ranked yet: A, B, C and D.").first).to_be_visible()
    press(ranking, "3", "1", "3")
    expect(ranking.locator(".order")).to_have_text("First B, then A and C. Not ranked yet: D.")
    press(ranking, "Enter")
    expect(ranking.get_by_text("First give each answer a place: D has none yet.")).to_be_visible()
    assert said(ranks) == []
    expect(ranking.locator(".answers .card").nth(3)).to_be_focused()
    press(ranking, "4", "Enter")
    [row] = wait_for(ranks, 1)
    assert (row.verdict, row.ranking) == ("ranked", [2, 1, 2, 3])


def test_places_are_given_by_buttons_and_taken_back_and_arrows_go_to_an_answer(ranks: Place, ranking: Page) -> None:
    cards = ranking.locator(".answers .card")
    for index, place in enumerate(("2nd", "2nd", "1st", "4th")):
        cards.nth(index).get_by_role("button", name=place).click()
    cards.nth(1).get_by_role("button", name="2nd").click()
    expect(ranking.locator(".order")).to_have_text("First C, then A, then D. Not ranked yet: B.")
    cards.nth(0).focus()
    press(ranking, "ArrowDown", "4", "ArrowUp", "ArrowUp", "ArrowUp")
    expect(cards.nth(0)).to_be_focused()
    ranking.get_by_role("button", name="Save and go on").click()
    [row] = wait_for(ranks, 1)
    assert row.ranking == [2, 3, 1, 3]


def test_an_order_half_given_outlives_a_reload_and_one_given_can_be_changed(ranks: Place, ranking: Page) -> None:
    first, answers = shown(ranking), texts(ranking)
    press(ranking, "1", "2")
    ranking.reload()
    expect(ranking.get_by_text(ORDER)).to_be_visible()
    assert (shown(ranking), texts(ranking)) == (first, answers)
    expect(ranking.locator(".order")).to_have_text("First A, then B. Not ranked yet: C and D.")
    press(ranking, "ArrowRight", "ArrowRight", "1", "1", "Enter")
    next_one(ranking, first)
    press(ranking, "u")
    expect(ranking.locator(".order")).to_have_text("First A, C and D, then B.")
    press(ranking, "2")
    expect(ranking.locator(".order")).to_have_text("First C and D, then A and B.")
    ranking.wait_for_timeout(60)
    press(ranking, "Enter")
    old, new = wait_for(ranks, 2)
    assert (old.ranking, new.ranking, new.supersedes) == ([1, 2, 1, 1], [2, 2, 1, 1], old.id)


def test_three_answers_are_ranked_by_keys_and_by_buttons_and_there_is_no_fourth_place(tmp_path: Path, browser: Browser) -> None:
    place = comparing(tmp_path, answers=3, prompts=2)
    with place.web, page_of(browser) as page:
        go_to_compare(page, place, ORDER)
        first, cards = shown(page), page.locator(".answers .card")
        expect(cards).to_have_count(3)
        press(page, "4", "2", "1")
        expect(page.locator(".order")).to_have_text("First B, then A. Not ranked yet: C.")
        press(page, "Enter")
        expect(page.get_by_text("First give each answer a place: C has none yet.")).to_be_visible()
        assert said(place) == []
        press(page, "3", "Enter")
        next_one(page, first)
        expect(page.get_by_role("button", name="4th")).to_have_count(0)
        for index, words in enumerate(("1st", "3rd", "3rd")):
            cards.nth(index).get_by_role("button", name=words).click()
        page.get_by_role("button", name="Save and go on").click()
        assert [row.ranking for row in wait_for(place, 2)] == [[2, 1, 3], [1, 2, 2]]
        expect(page.get_by_role("heading", name="Nothing to compare just now.")).to_be_visible()
    place.store.close()


# ------------------------------------------------------------------ there and back


def test_going_over_keeps_what_is_held_and_what_was_said_and_one_press_is_one_answer(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        sign_in(page, place.web.url, place.reviewer(), PASSWORD)
        asked(page)
        one = shown(page)
        press(page, "f", "5", "n")
        page.keyboard.type("half a note")
        press(page, "Escape")
        page.get_by_role("button", name="Compare answers").click()
        expect(page.get_by_text(WHICH)).to_be_visible()
        pair = shown(page)
        press(page, "b", "w")
        page.keyboard.type("half a rewrite")
        press(page, "Escape")
        for _ in range(3):
            press(page, "c")
            asked(page)
            assert shown(page) == one
            expect(page.get_by_label("A note, if you like")).to_have_value("half a note")
            press(page, "c")
            expect(page.get_by_text(WHICH)).to_be_visible()
            assert shown(page) == pair
            expect(page.get_by_label("What would be a good answer? If you like.")).to_have_value("half a rewrite")
        with place.store.reading() as session:
            leases = session.exec(select(Lease.outcome).where(Lease.reviewer == place.who)).all()
        assert set(leases) == {"held"}
        page.wait_for_timeout(60)
        press(page, "ArrowRight")
        next_one(page, pair)
        wait_for(place, 1)
        page.wait_for_timeout(400)
        assert [row.verdict for row in said(place)] == ["right"]


def test_the_choice_is_kept_and_single_answers_are_the_beginning(place: Place, board: Page) -> None:
    prompt = shown(board)
    board.reload()
    expect(board.get_by_text(WHICH)).to_be_visible()
    assert shown(board) == prompt
    expect(board.get_by_role("button", name="Compare answers")).to_have_attribute("aria-pressed", "true")
    press(board, "x")
    until(lambda: place.held() == 0, "everything given back")


def test_with_nothing_left_to_compare_it_is_said_what_to_do_next(ranks: Place, ranking: Page) -> None:
    for number in range(4):
        before = shown(ranking)
        ranking.wait_for_timeout(60)
        press(ranking, "1", "1", "1", "1", "Enter")
        if number < 3:
            next_one(ranking, before)
    expect(ranking.get_by_role("heading", name="Nothing to compare just now.")).to_be_visible()
    assert [row.ranking for row in wait_for(ranks, 4)] == [[1, 1, 1, 1]] * 4
    ranking.locator(".empty").get_by_role("button", name="Judge one by one").click()
    expect(ranking.get_by_text(QUESTION)).to_be_visible()


def test_where_nothing_is_to_be_compared_nothing_is_offered(tmp_path: Path, browser: Browser) -> None:
    place = Place(tmp_path, answers=3)
    with place.web, page_of(browser) as page:
        sign_in(page, place.web.url, place.reviewer(), PASSWORD)
        asked(page)
        expect(page.get_by_role("button", name="Compare answers")).to_be_hidden()
        press(page, "c", "e", "b", "ArrowLeft")
        page.wait_for_timeout(300)
        asked(page)
        assert place.rows() == []
    place.store.close()


def test_letters_chosen_before_there_was_a_new_act_keep_their_meaning(place: Place, board: Page) -> None:
    board.evaluate(
        "() => { const key = Object.keys(localStorage).find((one) => one.startsWith('flagback.mode.')).replace('mode', 'keys');"
        "localStorage.setItem(key, JSON.stringify({ on: true, letters: { skip: 'e', flag: 'f' } })); }"
    )
    board.reload()
    expect(board.get_by_text(WHICH)).to_be_visible()
    equal = board.get_by_role("button", name="Equally good").locator("kbd")
    letter = equal.inner_text().lower()
    assert letter not in ("e", "f")
    press(board, "e")
    expect(board.get_by_text("Why skip it?")).to_be_visible()
    press(board, "e", letter)
    assert [row.verdict for row in wait_for(place, 1)] == ["equal"]


# ------------------------------------------------------------------------ screens


@pytest.mark.parametrize(("width", "height"), [(320, 640), (450, 450), (700, 800)])
def test_nothing_runs_out_of_a_narrow_screen_and_answers_stand_one_above_the_other(
    place: Place, ranks: Place, browser: Browser, width: int, height: int
) -> None:
    for home, words, keys in ((place, WHICH, ("b",)), (ranks, ORDER, ("1", "2"))):
        with page_of(browser, width=width, height=height) as page:
            go_to_compare(page, home, words)
            press(page, *keys)
            fits(page)
            boxes: list[Any] = [page.locator(".answers .card").nth(index).bounding_box() for index in range(2)]
            assert boxes[1]["y"] >= boxes[0]["y"] + boxes[0]["height"]
            for part in (".modes", ".answers", ".foot", ".top"):
                box = page.locator(f"{part}:visible").bounding_box()
                assert box is not None
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width
            if home is place:
                expect(page.get_by_role("button", name="Upper is better")).to_be_visible()
