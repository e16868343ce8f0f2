"""One browser, two people: nothing of one shows or is sent under the other, and no answer is lost on the way."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.board_place import Place, asked, press
from tests.browser import page_in, sign_in
from tests.people import PASSWORD
from tests.waiting import until


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One served home for all."""
    with Place(tmp_path_factory.mktemp("shared")) as place:
        yield place


@pytest.fixture
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that two people share."""
    context = browser.new_context(viewport={"width": 900, "height": 900})
    yield context
    context.close()


class Person:
    """A reviewer at the shared browser."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.login = place.reviewer()
        self.who = place.who

    def answers(self) -> int:
        """How many answers stand under this person's pseudonym."""
        self.place.who = self.who
        return len(self.place.rows())

    def comes(self, page: Page) -> None:
        """Signs in and has an item on the screen."""
        sign_in(page, self.place.web.url, self.login, PASSWORD)
        asked(page)

    def leaves(self, page: Page) -> None:
        """Signs out."""
        page.goto(f"{self.place.web.url}/signout")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/signin?signed_out")


def kept(page: Page) -> list[str]:
    """What the browser keeps of Flagback, by key."""
    found: list[str] = page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('flagback.'))")
    return found


def cut_off(page: Page) -> None:
    """Answers do not reach the server from here on."""
    page.route("**/api/v1/answers", lambda route: route.abort())


def test_an_answer_that_waits_is_sent_under_who_gave_it_however_many_sign_in_between(place: Place, profile: BrowserContext) -> None:
    ada, bob = Person(place), Person(place)
    with page_in(profile) as page:
        ada.comes(page)
        cut_off(page)
        press(page, "j")
        until(lambda: any("outbox" in key for key in kept(page)), "the answer waits")
        ada.leaves(page)
        page.unroute_all()
        bob.comes(page)
        press(page, "j")
        until(lambda: bob.answers() == 1, "bob's own answer")
        page.wait_for_timeout(1_500)
        assert (ada.answers(), bob.answers()) == (0, 1)
        assert sum("outbox" in key for key in kept(page)) == 1, "ada's answer still waits"
        bob.leaves(page)
        ada.comes(page)
        until(lambda: ada.answers() == 1, "ada's answer, sent under ada")
        until(lambda: not any("outbox" in key for key in kept(page)), "nothing is left behind once delivered")
        assert bob.answers() == 1


def test_a_tab_of_one_person_sends_nothing_under_another_who_signed_in_beside_it(place: Place, profile: BrowserContext) -> None:
    ada, bob = Person(place), Person(place)
    with page_in(profile) as tab, page_in(profile) as beside:
        ada.comes(tab)
        bob.comes(beside)
        press(tab, "j")
        expect(tab.get_by_text("Your sign-in has ended. 1 answer stay")).to_be_visible()
        assert (ada.answers(), bob.answers()) == (0, 0)
        ada.comes(beside)
        until(lambda: ada.answers() == 1, "the answer, kept and sent under ada")
        assert bob.answers() == 0


def test_a_draft_is_not_seen_by_who_comes_next(place: Place, profile: BrowserContext) -> None:
    ada, bob = Person(place), Person(place)
    with page_in(profile) as page:
        ada.comes(page)
        press(page, "f", "1", "n")
        page.get_by_label("A note, if you like").fill("a private thought")
        page.wait_for_timeout(300)
        ada.leaves(page)
        bob.comes(page)
        press(page, "f")
        assert page.get_by_label("A note, if you like").input_value() == ""
        assert "a private thought" not in page.content()


def test_signing_out_in_one_tab_empties_the_others_at_once(place: Place, profile: BrowserContext) -> None:
    ada = Person(place)
    with page_in(profile) as first, page_in(profile) as second:
        ada.comes(first)
        ada.comes(second)
        first.route("**/api/**", lambda route: route.abort())  # the tab is told by the other tab, not by the server
        ada.leaves(second)
        first.wait_for_url("**/signin?ended")
        expect(first.get_by_text("You were signed out here in another tab, or your sign-in ended.")).to_be_visible()
        assert "Would you change" not in first.content()


def test_the_names_under_which_a_browser_keeps_things_tell_nobody_who_it_was(place: Place, profile: BrowserContext) -> None:
    ada = Person(place)
    with page_in(profile) as page:
        ada.comes(page)
        cut_off(page)
        press(page, "j", "f", "1")
        until(lambda: len(kept(page)) >= 2, "an answer and a draft")
        for key in kept(page):
            assert ada.login not in key
            assert ada.who not in key
            assert ".a_" in key
