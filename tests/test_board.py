"""The board in a real browser, against a real web process on a real home."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import APIResponse, Browser, Page, Route, expect

from flagback.review_app.board import mount_data
from flagback.storage import accounts, wellbeing
from flagback.storage.records import now
from tests.board_place import Place, asked, press, pressed, shown
from tests.browser import page_of, sign_in
from tests.people import PASSWORD
from tests.waiting import until


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One served home for all."""
    with Place(tmp_path_factory.mktemp("board")) as place:
        yield place


def test_each_press_stores_one_answer_for_the_item_that_was_on_the_screen(place: Place, board: Page) -> None:
    seen = []
    for _ in range(10):
        seen.append(shown(board))
        press(board, "j")
        expect(board.locator(".turns .prompt").last).not_to_have_text(seen[-1])
    until(lambda: len(place.rows()) >= 10, "ten rows")
    time.sleep(0.5)
    rows = place.rows()
    assert [(row.prompt, row.verdict) for row in rows] == [(prompt, "fine") for prompt in seen]
    expect(board.get_by_text("10 of 40 today")).to_be_visible()


def test_keys_faster_than_the_eye_still_answer_each_item_once(place: Place, board: Page) -> None:
    time.sleep(0.5)
    for _ in range(8):
        press(board, "j")
        time.sleep(0.03)
    taken = pressed(board, "taken")
    assert taken + pressed(board, "ignored") == 8
    until(lambda: len(place.rows()) >= taken, "the rows")
    time.sleep(0.5)
    rows = place.rows()
    assert len(rows) == len({row.prompt for row in rows}) == taken


def test_a_key_held_down_answers_one_item(place: Place, board: Page) -> None:
    for _ in range(6):
        board.keyboard.down("j")
    board.keyboard.up("j")
    until(lambda: len(place.rows()) >= 1, "one row")
    time.sleep(0.5)
    assert len(place.rows()) == 1


def test_a_double_click_answers_one_item(place: Place, board: Page) -> None:
    fine = board.get_by_role("button", name="Looks fine")
    for number, pause in enumerate((0, 120, 250), start=1):
        box = fine.bounding_box()
        assert box is not None
        board.wait_for_timeout(600)
        for _ in range(2):
            board.mouse.click(box["x"] + 20, box["y"] + 20)
            board.wait_for_timeout(pause)
        until(lambda wanted=number: len(place.rows()) >= wanted, f"row {number}")  # type: ignore[misc]
        board.wait_for_timeout(700)
        assert len(place.rows()) == number


def test_a_flag_is_four_keys(place: Place, board: Page) -> None:
    prompt = shown(board)
    press(board, "f", "1", "s", "Enter")
    until(lambda: len(place.rows()) == 1, "one row")
    (row,) = place.rows()
    assert (row.prompt, row.verdict, row.categories, row.severity, row.rewrite) == (prompt, "flag", '["stereotype"]', "clear", None)


def test_saved_is_shown_only_after_the_server_answered(place: Place, board: Page) -> None:
    gate: list[Route] = []
    board.route("**/api/v1/answers", lambda route: gate.append(route))
    press(board, "j")
    expect(board.get_by_text("Saving…")).to_be_visible()
    expect(board.get_by_text("Saved ")).to_have_count(0)
    assert place.rows() == []
    gate[0].continue_()
    expect(board.get_by_text("Saved ")).to_be_visible()
    assert len(place.rows()) == 1


def test_nothing_above_the_form_moves_when_it_unfolds(board: Page) -> None:
    parts = [board.locator(name) for name in (".output", ".big.flag", ".big.fine", ".quiet")]
    before = [part.bounding_box() for part in parts]
    press(board, "f")
    expect(board.get_by_text("What is wrong?")).to_be_visible()
    assert [part.bounding_box() for part in parts] == before


def test_a_note_too_long_is_told_and_not_cut(place: Place, board: Page) -> None:
    press(board, "f", "1", "s")
    board.get_by_label("A note, if you like").fill("x" * 3_000)
    board.get_by_role("button", name="Save and go on").click()
    expect(board.get_by_text("The note has 3,000 characters; at most 2,000 are kept. Shorten it.")).to_be_visible()
    assert place.rows() == []


def test_enter_without_a_reason_says_what_is_missing_and_stores_nothing(place: Place, board: Page) -> None:
    press(board, "f", "Enter")
    expect(board.get_by_text("First say what is wrong")).to_be_visible()
    press(board, "2", "Enter")
    expect(board.get_by_text("Then say how bad it is")).to_be_visible()
    assert place.rows() == []


def test_everything_on_the_form_reaches_the_record(place: Place, board: Page) -> None:
    text = board.locator(".output").inner_text()
    press(board, "f", "1", "4", "g", "q")
    board.get_by_role("button", name="Religion or belief").click()
    board.get_by_role("button", name="Someone else").click()
    board.get_by_label("Who else is harmed").fill("sailors")
    board.keyboard.press("Escape")
    board.keyboard.press("w")
    board.get_by_label("How should it read").fill(text.replace("late", "early"))
    expect(board.locator("del")).to_have_text("late.")
    expect(board.locator("ins")).to_have_text("early.")
    board.keyboard.press("Escape")
    board.keyboard.press("n")
    board.keyboard.type("fjk 12 is no key here")
    board.keyboard.press("Control+Enter")
    until(lambda: len(place.rows()) == 1, "one row")
    (row,) = place.rows()
    assert (row.categories, row.severity, row.sure) == ('["stereotype", "erasure"]', "severe", 0)
    assert row.targets == '["religion", "other"]'
    assert row.rewrite == " " + text.replace("late", "early")
    assert row.note == "fjk 12 is no key here"


def test_marked_words_are_stored_as_places_in_the_stored_text(place: Place, board: Page) -> None:
    press(board, "f", "1", "s")
    word = board.locator(".output span").first
    box = word.bounding_box()
    assert box is not None
    board.mouse.move(box["x"] + 1, box["y"] + box["height"] / 2)
    board.mouse.down()
    board.mouse.move(box["x"] + 12, box["y"] + box["height"] / 2, steps=4)
    board.mouse.up()
    expect(board.locator(".output mark")).to_have_text("that")
    press(board, "Enter")
    until(lambda: len(place.rows()) == 1, "one row")
    assert place.rows()[0].spans == '[{"start": 1, "end": 5, "category": "stereotype"}]'


def test_undo_opens_the_answer_again_and_stores_a_correction(place: Place, board: Page) -> None:
    first = shown(board)
    press(board, "f", "1", "s", "Enter")
    expect(board.locator(".turns .prompt").last).not_to_have_text(first)
    second = shown(board)
    press(board, "u")
    expect(board.locator(".turns .prompt").last).to_have_text(first)
    expect(board.locator("[data-category=stereotype]")).to_have_attribute("aria-pressed", "true")
    press(board, "1", "2", "Enter")
    expect(board.locator(".turns .prompt").last).to_have_text(second)
    until(lambda: len(place.rows()) == 2, "two rows")
    old, new = place.rows()
    assert (new.prompt, new.categories, new.supersedes) == (first, '["demeaning"]', old.id)
    assert old.supersedes is None
    expect(board.get_by_text("1 of 40 today")).to_be_visible()


def test_undo_then_escape_leaves_the_answer_as_it_was(place: Place, board: Page) -> None:
    press(board, "j")
    until(lambda: len(place.rows()) == 1, "one row")
    second = shown(board)
    press(board, "u")
    expect(board.get_by_text("You answered this one before")).to_be_visible()
    press(board, "Escape")
    expect(board.locator(".turns .prompt").last).to_have_text(second)
    assert len(place.rows()) == 1


def test_an_answer_can_be_taken_up_again_after_a_reload(place: Place, board: Page) -> None:
    first = shown(board)
    press(board, "f", "3", "a", "Enter")
    until(lambda: len(place.rows()) == 1, "one row")
    board.reload()
    asked(board)
    expect(board.get_by_role("button", name="Undo last")).to_be_enabled()
    press(board, "u")
    expect(board.locator(".turns .prompt").last).to_have_text(first)
    press(board, "j")
    until(lambda: len(place.rows()) == 2, "two rows")
    old, new = place.rows()
    assert (old.verdict, new.verdict, new.supersedes) == ("flag", "fine", old.id)


def test_a_skip_asks_why_and_goes_on(place: Place, board: Page) -> None:
    first = shown(board)
    press(board, "k")
    expect(board.get_by_text("Why skip it?")).to_be_visible()
    press(board, "3")
    expect(board.locator(".turns .prompt").last).not_to_have_text(first)
    until(lambda: len(place.rows()) == 1, "one row")
    assert (place.rows()[0].verdict, place.rows()[0].skip_reason) == ("skip", "unclear")
    expect(board.get_by_text("0 of 40 today")).to_be_visible()


def test_a_reload_brings_back_the_item_and_what_was_said_about_it(board: Page) -> None:
    first = shown(board)
    press(board, "f", "5", "g", "n")
    board.keyboard.type("half a note")
    board.reload()
    expect(board.get_by_text("What is wrong?")).to_be_visible()
    assert shown(board) == first
    expect(board.locator("[data-category=attack]")).to_have_attribute("aria-pressed", "true")
    expect(board.get_by_label("A note, if you like")).to_have_value("half a note")


def test_answers_given_while_the_server_is_dead_are_stored_once_when_it_is_back(place: Place, board: Page) -> None:
    time.sleep(0.5)
    place.web.kill()
    seen = []
    for _ in range(3):
        seen.append(shown(board))
        press(board, "j")
        time.sleep(0.1)
    expect(board.get_by_text("3 answers kept here")).to_be_visible()
    board.wait_for_timeout(6000)
    expect(board.get_by_text("Connection error")).to_have_count(0)
    seen.append(shown(board))
    press(board, "j")
    expect(board.get_by_text("4 answers kept here")).to_be_visible()
    assert place.rows() == []
    place.web.start()
    until(lambda: len(place.rows()) >= 4, "four rows")
    time.sleep(1.5)
    assert [row.prompt for row in place.rows()] == seen
    expect(board.get_by_text("Saved ")).to_be_visible()


def test_answers_that_wait_outlive_the_page(place: Place, board: Page) -> None:
    time.sleep(0.5)
    board.route("**/api/v1/answers", lambda route: route.abort())
    seen = shown(board)
    press(board, "f", "1", "s", "Enter")
    expect(board.get_by_text("1 answer kept here")).to_be_visible()
    board.unroute("**/api/v1/answers")
    board.reload()
    until(lambda: len(place.rows()) == 1, "one row")
    asked(board)
    assert shown(board) != seen
    assert place.rows()[0].prompt == seen
    expect(board.get_by_text("1 of 40 today")).to_be_visible()


def test_after_the_last_item_the_board_says_what_happens_next_and_finds_new_ones(place: Place, board: Page) -> None:
    until(lambda: place.held() == 10, "leases")
    for number in range(1, 13):
        press(board, " ", "j")  # covered, where an earlier test found something severe
        expect(board.get_by_text(f"{number} of 40 today")).to_be_visible()
        if number < 12:
            expect(board.locator(".stage")).to_be_visible()
        time.sleep(0.1)
    expect(board.get_by_role("heading", name="That is all for now.")).to_be_visible()
    assert len(place.rows()) == 12
    looks: list[str] = []
    board.on("request", lambda request: looks.append(request.url))
    board.wait_for_timeout(4000)
    assert 1 <= len(looks) <= 2, "it looks every few seconds, no more"
    place.add("Afterwards", [" that boat 12 was late."])
    expect(board.get_by_text("Afterwards 0", exact=True)).to_be_visible()


def test_stop_for_today_gives_everything_back(place: Place, board: Page) -> None:
    until(lambda: place.held() > 0, "leases")
    press(board, "j")
    board.get_by_role("button", name="Stop for today").click()
    expect(board.get_by_role("paragraph").get_by_text("You gave 1 answer today.")).to_be_visible()
    until(lambda: place.held() == 0, "no lease is left")
    press(board, "j", "f", "j")
    time.sleep(0.5)
    assert len(place.rows()) == 1
    board.get_by_role("button", name="Go on after all").click()
    asked(board)


def test_markup_and_reordering_characters_in_an_answer_are_text(place: Place, browser: Browser) -> None:
    place.add("Hostile", [" <img src=x onerror=alert(1)>\u202egnirts neddih\u202c"])
    with page_of(browser) as page:
        page.on("dialog", lambda dialog: pytest.fail(f"the answer ran as code: {dialog.message}"))
        sign_in(page, place.web.url, place.reviewer(), PASSWORD)
        asked(page)
        for _ in range(20):
            if shown(page) == "Hostile 0":
                break
            press(page, "j")
            time.sleep(0.1)
        expect(page.locator(".output")).to_contain_text("<img src=x onerror=alert(1)>")
        signs = page.locator(".output .hidden-sign")
        expect(signs).to_have_count(2)
        assert [sign.get_attribute("data-sign") for sign in signs.all()] == ["U+202E", "U+202C"]


def test_reviewers_are_shown_no_model_no_score_and_no_version(board: Page) -> None:
    with board.expect_response("**/api/v1/claim") as claimed:
        board.reload()
    item = claimed.value.json()["items"][0]
    assert set(item) == {"lease_id", "messages", "lang", "text", "answers", "seconds_left", "veil"}
    told = set(mount_data(account="a_1", token="t", aim=40))
    assert told == {"account", "token", "aim", "support", "guideline", "practice", "api", "spoken", "taxonomy"}


def test_every_key_is_also_a_button_that_can_be_reached_by_tab(board: Page) -> None:
    board.keyboard.press("f")
    for name in (
        "Flagged",
        "Looks fine after all",
        "Skip",
        "Help",
        "Stop for today",
        "Save and go on",
        "I am not sure",
        "Stereotype",
        "Slight",
        "Clear: should be rewritten",
        "Severe: must not appear",
    ):
        button = board.get_by_role("button", name=name).first
        expect(button).to_be_visible()
        assert button.evaluate("element => element.tabIndex") == 0
    board.get_by_role("button", name="Severe: must not appear").focus()
    board.keyboard.press("Enter")
    expect(board.locator("[data-severity=severe]")).to_have_attribute("aria-pressed", "true")


def test_a_click_leaves_the_keys_working(place: Place, board: Page) -> None:
    board.get_by_role("button", name="Flag it").click()
    board.get_by_role("button", name="Stereotype").click()
    board.get_by_role("button", name="Clear: should be rewritten").click()
    board.keyboard.press("Enter")
    until(lambda: len(place.rows()) == 1, "one row")
    assert place.rows()[0].verdict == "flag"


def test_help_opens_over_the_page_and_its_keys_decide_nothing(place: Place, board: Page) -> None:
    press(board, "h")
    expect(board.get_by_role("dialog", name="Guidelines and help")).to_be_visible()
    press(board, "j", "f", "k")
    press(board, "Escape")
    expect(board.get_by_role("dialog", name="Guidelines and help")).to_be_hidden()
    time.sleep(0.3)
    assert place.rows() == []
    press(board, "j")
    until(lambda: len(place.rows()) == 1, "one row")


def test_a_sign_in_that_ended_is_told_and_the_answer_is_kept(place: Place, board: Page) -> None:
    with place.store.writing() as session:
        session.connection().exec_driver_sql("UPDATE session SET ended_at = created_at")
    press(board, "j")
    expect(board.get_by_text("Your sign-in has ended. 1 answer stay")).to_be_visible()
    assert place.rows() == []
    sign_in(board, place.web.url, place.login, PASSWORD)
    until(lambda: len(place.rows()) == 1, "one row")


def test_a_no_is_told_in_the_servers_words_and_goes_when_a_claim_works(place: Place, board: Page) -> None:
    with place.store.writing() as session:
        account = accounts.by_login(session, place.login).id
        wellbeing.go_away(session, account, now=now())
    told = board.locator(".notice").get_by_text("You said that you are away")
    while not told.is_visible():
        before = shown(board)
        press(board, " ", "j")  # covered, where an earlier test found something severe
        expect(board.locator(".turns .prompt").last).not_to_have_text(before)
    expect(board.get_by_text("connection")).to_have_count(0)
    with place.store.writing() as session:
        wellbeing.come_back(session, account)
    board.evaluate("dispatchEvent(new Event('focus'))")
    expect(told).to_be_hidden()
    with place.store.writing() as session:
        wellbeing.go_away(session, account, now=now())
    while board.locator(".stage").is_visible():
        press(board, " ", "j")
    expect(board.get_by_role("heading", name="Nothing is handed out to you just now.")).to_be_visible()
    expect(board.locator(".empty").get_by_text("You said that you are away")).to_be_visible()
    expect(board.get_by_text("connection")).to_have_count(0)
    place.add("Le visiteur", [" que le bateau."], lang="fr")
    with place.store.writing() as session:
        wellbeing.come_back(session, account)
        accounts.set_languages(session, account, ["es"])
    board.evaluate("dispatchEvent(new Event('focus'))")
    expect(
        board.locator(".empty").get_by_text("You read Spanish. Nothing waits in those, but something does in other languages.")
    ).to_be_visible()


def test_a_no_that_is_on_its_way_when_somebody_comes_back_does_not_stay(place: Place, board: Page) -> None:
    with place.store.writing() as session:
        account = accounts.by_login(session, place.login).id
        wellbeing.go_away(session, account, now=now())
    told = board.locator(".notice").get_by_text("You said that you are away")
    while not told.is_visible():
        press(board, " ", "j")
    late: list[tuple[Route, APIResponse]] = []
    board.route("**/api/v1/claim", lambda route: late.append((route, route.fetch())) if not late else route.continue_())
    press(board, " ", "j")
    while not late:
        board.wait_for_timeout(50)
    with place.store.writing() as session:
        wellbeing.come_back(session, account)
    board.evaluate("dispatchEvent(new Event('focus'))")
    board.wait_for_timeout(200)
    late[0][0].fulfill(response=late[0][1])
    expect(told).to_be_hidden()


def test_the_board_follows_the_browsers_light_or_dark(place: Place, browser: Browser) -> None:
    login = place.reviewer()
    papers = []
    for dark in (False, True):
        with page_of(browser, dark=dark) as page:
            sign_in(page, place.web.url, login, PASSWORD)
            asked(page)
            papers.append(page.locator(".card").evaluate("element => getComputedStyle(element).backgroundColor"))
    assert papers == ["rgb(255, 255, 255)", "rgb(31, 34, 41)"]
