"""The full answer on the board: main reason, passages tied to reasons, marks by keys and sentences, drafts, one's own keys."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.board_place import Place, press, shown
from tests.waiting import until

FOX = " The 🦊👩‍👩‍👧 nurse e\u0301te\u0301 said no. Nobody asked her! Then 👍🏽 went."
ARABIC = " قال الرجل إن الممرضة لا تعرف شيئا. ثم ذهب."
LONG = " " + "".join(f"w{number}é " for number in range(3_400))[:19_998].rstrip() + "."


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One served home for all."""
    with Place(tmp_path_factory.mktemp("answer"), answers=3) as place:
        yield place


def go_to(page: Page, place: Place, name: str, text: str, **more: Any) -> None:
    """Puts an answer of its own on the screen."""
    place.add(name, [text], **more)
    for _ in range(40):
        if shown(page) == f"{name} 0":
            return
        page.wait_for_timeout(100)
        press(page, "j")
        page.wait_for_timeout(100)
    raise AssertionError(f"{name} never came up")


def spans(place: Place) -> list[tuple[int, int, str | None]]:
    """The passages of the newest stored answer."""
    until(lambda: bool(place.rows()) and place.rows()[-1].verdict == "flag", "a flag")
    return [(one["start"], one["end"], one["category"]) for one in json.loads(place.rows()[-1].spans)]


def select(page: Page, start: int, end: int) -> None:
    """Selects code points of the answer as a pointer would, and lets go."""
    page.evaluate(
        """([start, end]) => {
      const holder = [...document.querySelectorAll('*')].find((one) => one.shadowRoot?.querySelector('.output'));
      const root = holder?.shadowRoot ?? document;
      const output = root.querySelector('.output');
      const at = (wanted) => {
        for (const span of output.querySelectorAll('[data-from]')) {
          const from = Number(span.dataset.from), points = Array.from(span.textContent);
          if (wanted <= from + points.length) return [span.firstChild, points.slice(0, wanted - from).join('').length];
        }
      };
      const range = document.createRange();
      range.setStart(...at(start)); range.setEnd(...at(end));
      const selection = root.getSelection ? root.getSelection() : getSelection();
      selection.removeAllRanges(); selection.addRange(range);
      output.dispatchEvent(new MouseEvent('mouseup', { bubbles: true }));
    }""",
        [start, end],
    )


def test_the_first_reason_is_the_main_one_until_another_is_made_it(place: Place, board: Page) -> None:
    press(board, "f", "1", "5", "s")
    expect(board.locator("[data-category=stereotype]")).to_contain_class("main")
    press(board, "m")
    expect(board.locator("[data-category=attack]")).to_contain_class("main")
    board.locator("[data-main=stereotype]").click()
    press(board, "m", "Enter")
    until(lambda: len(place.rows()) == 1, "one row")
    assert place.rows()[0].categories == '["attack", "stereotype"]'


def test_examples_are_one_key_away(board: Page) -> None:
    press(board, "f")
    example = board.locator("[data-category=stereotype] .example")
    expect(example).to_be_hidden()
    press(board, "d")
    expect(example).to_be_visible()
    press(board, "d")
    expect(example).to_be_hidden()


def test_passages_may_overlap_and_each_stands_for_a_reason(place: Place, board: Page) -> None:
    go_to(board, place, "Overlap", " she said that nurses are bad.")
    press(board, "f", "1")
    select(board, 10, 21)
    press(board, "2")
    select(board, 15, 30)
    expect(board.locator(".marks li")).to_have_count(2)
    expect(board.locator(".output mark.deep")).to_have_text("nurses")
    board.get_by_label("What is wrong with “nurses are bad.”").select_option("stereotype")
    press(board, "2", "1", "1", "s", "Enter")
    assert spans(place) == [(10, 21, None), (15, 30, None)]


def test_places_count_code_points_and_never_cut_a_sign_in_two(place: Place, board: Page) -> None:
    go_to(board, place, "Signs", FOX)
    press(board, "f", "1", "s")
    points = list(FOX)
    family = points.index("👩")
    select(board, family, family + 2)  # half of a family of three
    select(board, points.index("👍"), points.index("👍") + 1)  # a thumb without its skin
    press(board, "Enter")
    found = ["".join(points[start:end]) for start, end, _ in spans(place)]
    assert found == ["👩‍👩‍👧", "👍🏽"]


def test_words_are_marked_by_keys_alone(place: Place, board: Page) -> None:
    go_to(board, place, "Keys", " she said that nurses are bad. Nobody asked.")
    press(board, "f", "1", "s", "v")
    expect(board.locator(".output mark.cursor")).to_have_text("she")
    press(board, "ArrowRight", "ArrowRight", "ArrowRight", "Shift+ArrowRight", "Enter")
    expect(board.locator(".marks li")).to_have_count(1)
    press(board, "ArrowDown")
    assert "".join(board.locator(".output mark.cursor").all_text_contents()) == "she said that nurses are bad."
    press(board, "Escape", "Enter")
    assert spans(place) == [(15, 25, "stereotype")]


def test_left_is_forward_in_a_text_from_right_to_left(place: Place, board: Page) -> None:
    go_to(board, place, "Arabic", ARABIC, lang="en")
    press(board, "f", "1", "s", "v", "ArrowLeft", "Enter", "Escape", "Enter")
    [(start, end, _)] = spans(place)
    assert ARABIC[start:end] == ARABIC.split()[1]


def test_whole_sentences_can_be_chosen_from_a_list(place: Place, board: Page) -> None:
    go_to(board, place, "Sentences", FOX)
    press(board, "f", "1", "s")
    board.get_by_text("Choose whole sentences").click()
    second = board.get_by_role("button", name="Nobody asked her!")
    second.click()
    expect(second).to_have_attribute("aria-pressed", "true")
    third = board.get_by_role("button", name="Then 👍🏽 went.")
    third.click()
    third.click()
    board.locator(".card").focus()
    press(board, "Enter")
    [(start, end, category)] = spans(place)
    assert (FOX[start:end], category) == ("Nobody asked her!", "stereotype")


def test_twenty_thousand_characters_come_back_as_they_were(place: Place, board: Page) -> None:
    go_to(board, place, "Long", LONG)
    press(board, "f", "1", "s")
    select(board, len(LONG) - 3, len(LONG) - 1)
    box = board.get_by_label("How should it read")
    box.fill(LONG.strip().replace("w7é", "w7e", 1))
    board.keyboard.press("Control+Enter")
    [(start, end, _)] = spans(place)
    assert LONG[start:end] == LONG.split()[-1].rstrip(".")
    assert place.rows()[-1].rewrite == LONG.replace("w7é", "w7e", 1)


def test_a_change_to_an_earlier_answer_outlives_a_reload_and_so_does_the_new_one(place: Place, board: Page) -> None:
    first = shown(board)
    press(board, "j")
    expect(board.locator(".turns .prompt").last).not_to_have_text(first)
    second = shown(board)
    press(board, "f", "5")
    until(lambda: len(place.rows()) == 1, "one row")
    press(board, "u", "f", "2", "g")
    board.reload()
    expect(board.get_by_text("You answered this one before")).to_be_visible()
    assert shown(board) == first
    expect(board.locator("[data-category=demeaning]")).to_have_attribute("aria-pressed", "true")
    press(board, "Enter")
    expect(board.locator(".turns .prompt").last).to_have_text(second)
    expect(board.locator("[data-category=attack]")).to_have_attribute("aria-pressed", "true")
    until(lambda: len(place.rows()) == 2, "the correction")
    assert place.rows()[1].supersedes == place.rows()[0].id


def test_a_draft_comes_back_under_another_lease_and_after_a_restart(place: Place, board: Page) -> None:
    time.sleep(0.5)
    prompt = shown(board)
    press(board, "f", "5", "g", "n")
    board.keyboard.type("half a note")
    place.web.kill()
    with place.store.writing() as session:
        session.connection().exec_driver_sql(
            "UPDATE slot SET state = 'open', reviewer = NULL, expires_at = NULL WHERE state = 'claimed'"
        )
        session.connection().exec_driver_sql("UPDATE lease SET outcome = 'expired' WHERE outcome = 'held'")
    place.web.start()
    board.reload()
    expect(board.get_by_text("What is wrong?")).to_be_visible()
    assert shown(board) == prompt
    expect(board.get_by_label("A note, if you like")).to_have_value("half a note")


def test_keys_can_be_changed_and_the_caps_say_so(place: Place, board: Page) -> None:
    press(board, "h")
    board.get_by_role("button", name="it looks fine: J").click()
    press(board, "y", "Escape")
    expect(board.locator(".big.fine kbd")).to_have_text("Y")
    press(board, "j")
    time.sleep(0.3)
    assert place.rows() == []
    press(board, "y")
    until(lambda: len(place.rows()) == 1, "one row")
    board.reload()
    expect(board.locator(".big.fine kbd")).to_have_text("Y")


def test_letters_and_digits_can_be_switched_off(place: Place, board: Page) -> None:
    press(board, "h")
    board.get_by_role("button", name="Switch letters and digits off").click()
    press(board, "Escape", "j", "f", "k", "x")
    time.sleep(0.3)
    assert place.rows() == []
    expect(board.locator(".big.fine kbd")).to_be_hidden()
    board.get_by_role("button", name="Looks fine").click()
    until(lambda: len(place.rows()) == 1, "one row")
