"""The pages about people in a real browser: before the start, You, Panel, People. What a click does is in the records after it."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlmodel import col, select

from flagback.storage import accounts, background, consent, invitations, sign_ins
from flagback.storage.background import Answered
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Account, Generation, Invitation, Slot, now
from tests.board_place import through_practice
from tests.browser import choose, fits, listed, page_of, sign_in
from tests.panel_of_two_groups import vote
from tests.people import PASSWORD, agree, person
from tests.served_home import ServedHome

#: A name that Streamlit would draw as bold, a link, an image and HTML if it were read as Markdown.
HOSTILE = "**b** :red[x] [l](https://evil.example) <b>h</b>"


class Place(ServedHome):
    """A served home; each test makes the people it needs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {"root": "administrator"})
        with self.store.writing() as session:
            prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": f"Visitor {n} said"}], "en") for n in range(8)])
            made = add_generations(
                session, [NewGeneration(one, " it was late.", "end", "imported", "import:x") for one in prompts.ids]
            )
            make_items(session, made, purpose="loop", reviews_per_item=9, seed=0)

    def account(self, login: str) -> Account:
        """As it stands in the records."""
        with self.store.reading() as session:
            return accounts.by_login(session, login)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The served home."""
    with Place(tmp_path_factory.mktemp("people")) as made:
        yield made


def inert(page: Page) -> None:
    """Nothing on the page came of Markdown or HTML in a name."""
    assert page.locator("a[href*='evil.example']:visible").count() == 0
    assert page.locator(".stException").count() == 0
    for drawn in page.locator("strong:visible, b:visible").all_inner_texts():
        assert drawn.strip() not in ("b", "h")


# ----------------------------------------------------------------------- before the start


def test_nobody_reviews_before_they_agreed_and_said_what_they_read(place: Place, browser: Browser) -> None:
    with place.store.writing() as session:
        accounts.create(session, "newcomer", PASSWORD, "reviewer")
    with page_of(browser) as page:
        place.open(page, "newcomer", "review")
        start = page.get_by_role("button", name="Start")
        expect(start).to_be_disabled()
        agreed = page.get_by_role("checkbox", name="I want to review answers")
        expect(agreed).not_to_be_checked()
        page.get_by_text("I want to review answers of a language model.").click()
        expect(start).to_be_enabled()  # the browser's own language stands there already
        start.click()
        through_practice(page)
        expect(page.get_by_text("it was late.", exact=True)).to_be_visible()
    found = place.account("newcomer")
    assert found.languages == ["en"]
    with place.store.reading() as session:
        assert consent.in_force(session, found.id) == {"review": True, "assignment": False, "training": False, "export": False}


# ------------------------------------------------------------------------------------ You


def test_consent_taken_back_asks_first_and_then_gives_the_items_back(place: Place, browser: Browser) -> None:
    with place.store.writing() as session:
        ada = person(session, "ada-back")
    with page_of(browser) as page:
        place.open(page, "ada-back", "review")
        expect(page.get_by_text("it was late.", exact=True)).to_be_visible()
        page.get_by_role("link", name="You").click()
        card = page.locator(".st-key-fb-card-consent-review")
        card.get_by_role("button", name="Take it back…").click()
        expect(card.get_by_text("You get no more answers to review")).to_be_visible()
        card.get_by_role("button", name="Take it back", exact=True).click()
        expect(card.get_by_text("not agreed")).to_be_visible()
        page.goto(f"{place.web.url}/review")
        expect(page.get_by_role("heading", name="Before you start")).to_be_visible()
    with place.store.reading() as session:
        assert not consent.in_force(session, ada.id)["review"]
        assert session.exec(select(Slot).where(Slot.reviewer == pseudonym(place.key, ada.id))).all() == []


def test_background_is_asked_in_plain_text_kept_and_deleted(place: Place, browser: Browser) -> None:
    with place.store.writing() as session:
        ada = person(session, "ada-said")
        background.set_questions(
            session,
            [
                {"code": "gender", "question": HOSTILE, "options": [{"code": "woman", "words": HOSTILE}]},
                {"code": "region", "question": "Where?", "options": [{"code": "here", "words": "Here"}], "several": True},
            ],
            by="root",
            now=now(),
        )
    with page_of(browser) as page:
        place.open(page, "ada-said", "you")
        expect(page.locator(".fb-question").first).to_have_text(HOSTILE)
        expect(page.get_by_role("link", name="Sign out")).to_be_visible()
        option = listed(page.get_by_role("combobox", name=HOSTILE), typed="**b**")
        expect(option).to_have_text(HOSTILE)
        option.click()
        page.get_by_role("textbox", name="Where? In your own words").fill("by the *sea*")
        inert(page)
        page.get_by_role("button", name="Keep these answers").click()
        expect(page.get_by_text("Kept.")).to_be_visible()
        with place.store.reading() as session:
            assert background.answers_of(session, place.key, ada.id) == {
                "gender": Answered(["woman"], None),
                "region": Answered([], "by the *sea*"),
            }
        page.get_by_role("button", name="Delete all of these answers").click()
        expect(page.get_by_role("button", name="Delete all of these answers")).to_have_count(0)
        expect(page.get_by_role("textbox", name="Where? In your own words")).to_have_value("")
    with place.store.writing() as session:
        assert background.answers_of(session, place.key, ada.id) == {}
        background.set_questions(
            session, [question.model_dump() for question in background.DEFAULT_QUESTIONS], by="root", now=now()
        )


def test_ones_own_sign_ins_are_listed_and_ended_one_by_one(place: Place, browser: Browser) -> None:
    with place.store.writing() as session:
        person(session, "ada-two", "auditor")
    with page_of(browser) as one, page_of(browser) as other:
        sign_in(other, place.web.url, "ada-two", PASSWORD)
        place.open(one, "ada-two", "you")
        expect(one.get_by_text("this browser")).to_have_count(1)
        one.get_by_role("button", name="Sign out there").click()
        expect(one.get_by_role("button", name="Sign out there")).to_have_count(0)
        other.goto(f"{place.web.url}/you")
        other.wait_for_url("**/signin*")
        expect(one.get_by_text("this browser")).to_have_count(1)


def test_a_new_password_needs_the_present_one_which_cannot_be_guessed_for_ever(place: Place, browser: Browser) -> None:
    with place.store.writing() as session:
        person(session, "ada-pass", "auditor")
    with page_of(browser) as page:
        place.open(page, "ada-pass", "you")

        def change(before: str, words: str) -> None:
            page.get_by_label("The password you have").fill(before)
            page.get_by_label("A new one").fill("another long one")
            page.get_by_role("button", name="Change it").click()
            expect(page.get_by_text(words)).to_be_visible()

        change("not this one", "is not right; nothing was changed")
        with place.store.reading() as session:
            assert accounts.verify(session, "ada-pass", PASSWORD) is not None
        with place.store.writing() as session:
            for _ in range(5):
                sign_ins.attempt(session, sign_ins.counted(place.key, login="ada-pass", address=None), now=now())
        change(PASSWORD, "Too many tries. Wait")
        with place.store.writing() as session:
            session.connection().exec_driver_sql("DELETE FROM sign_in_failure")
        change(PASSWORD, "Changed. You are signed out everywhere")
    assert place.last_act() == ("ada-pass", "password changed")
    with place.store.reading() as session:
        assert accounts.verify(session, "ada-pass", "another long one") is not None


def test_the_completion_code_stands_on_the_board_and_on_you_when_enough_is_answered(place: Place, browser: Browser) -> None:
    with place.store.writing() as session:
        pool = invitations.make_pool(session, "study", "anonymous", answers_wanted=2, completion_code="C0DE-42", now=now())
        code = invitations.invite(session, "reviewer", by="root", now=now(), pool=pool)
    with page_of(browser) as page:
        page.goto(f"{place.web.url}/join/{code}?PROLIFIC_PID=p1")
        page.get_by_role("button", name="Take part").click()
        page.get_by_text("I want to review answers of a language model.").click()
        page.get_by_role("button", name="Start").click()
        through_practice(page)
        for number in (0, 1):
            expect(page.get_by_text("it was late.", exact=True)).to_be_visible()
            expect(page.get_by_text("C0DE-42", exact=True)).to_have_count(0)
            if number == 1:
                page.wait_for_timeout(500)  # a click at once would be the rest of the one before
            page.get_by_role("button", name="looks fine").click()
        expect(page.get_by_role("heading", name="You are done. Thank you.")).to_be_visible()
        expect(page.get_by_text("C0DE-42", exact=True)).to_be_visible()
        page.goto(f"{place.web.url}/you")
        expect(page.get_by_text("C0DE-42", exact=True)).to_be_visible()
        expect(page.get_by_label("The password you have")).to_have_count(0)


# --------------------------------------------------------------------------------- Panel


def test_the_panel_names_no_group_of_fewer_than_five(place: Place, browser: Browser) -> None:
    with place.store.writing() as session:
        asked = [question.model_dump() for question in background.DEFAULT_QUESTIONS]
        background.set_questions(session, asked, by="root", now=now())
        for number in range(13):
            account = accounts.create(session, f"panel-{number}", None, "reviewer")
            agree(session, account)
            consent.set_consent(session, account.id, {"assignment": True}, now=now())
            said = "woman" if number < 6 else "man" if number < 11 else "nonbinary"
            background.set_answers(session, place.key, account.id, {"gender": Answered([said], None)}, now=now())
        person(session, "audrey", "auditor")
    with page_of(browser) as page:
        place.open(page, "audrey", "panel")
        card = page.locator(".st-key-fb-card-gender")
        expect(card.get_by_text("What is your gender?")).to_be_visible()
        expect(card.get_by_text("Non-binary")).to_have_count(0)
        expect(card.get_by_text("not shown: too few people")).to_be_visible()
        expect(card.get_by_text("Woman")).to_be_visible()
        expect(card.get_by_text("Man", exact=True)).to_have_count(0)  # the complement: else a total minus it gave the two away


# -------------------------------------------------------------------------------- People


def test_an_invitations_link_is_shown_once_and_can_be_withdrawn(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "root", "people")
        page.get_by_role("button", name="Make the link").click()
        shown = page.locator("code", has_text="/join/")
        expect(shown).to_be_visible()
        link = shown.inner_text().strip()
        assert link.startswith(place.web.url) or "/join/" in link
        page.get_by_role("tab", name="Pools").click()
        page.get_by_role("tab", name="Invite").click()
        page.reload()
        expect(page.get_by_role("button", name="Withdraw")).to_have_count(1)
        expect(shown).to_have_count(0)
        page.get_by_role("button", name="Withdraw").click()
        expect(page.get_by_text("No link is out")).to_be_visible()
    assert place.last_act() == ("root", "link withdrawn")
    with place.store.reading() as session:
        assert session.exec(select(Invitation).order_by(col(Invitation.id).desc())).first().ended_at is not None  # type: ignore[union-attr]


def test_names_of_people_and_pools_are_text_wherever_they_stand(place: Place, browser: Browser) -> None:
    with place.store.writing() as session:
        accounts.create(session, HOSTILE, PASSWORD, "reviewer")
        pool = invitations.make_pool(session, HOSTILE, "named", now=now())
        invitations.invite(session, "reviewer", by=HOSTILE, now=now(), pool=pool)
    with page_of(browser) as page:
        place.open(page, "root", "people")
        expect(page.get_by_text(HOSTILE).first).to_be_visible()
        inert(page)
        page.get_by_role("tab", name="Accounts").click()
        choose(page.get_by_role("combobox", name="Change which account?"), typed="**b**")
        expect(page.get_by_role("button", name="Link for a new password")).to_be_visible()
        inert(page)
        choose(page.get_by_role("combobox", name="Role"), "auditor")
        page.get_by_role("button", name="Give the role auditor").click()
        expect(page.get_by_role("button", name="Give the role auditor")).to_have_count(0)
        inert(page)
        page.get_by_role("button", name="Link for a new password").click()
        expect(page.locator("code", has_text="/join/")).to_be_visible()
    assert place.account(HOSTILE).role == "auditor"
    assert place.last_act() == ("root", "reset link made")


def test_the_last_administrator_is_told_why_not(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "root", "people")
        page.get_by_role("tab", name="Accounts").click()
        choose(page.get_by_role("combobox", name="Change which account?"), typed="root")
        expect(page.get_by_role("button", name="Shut out")).to_be_disabled()
        page.get_by_text("I am sure").click()
        page.get_by_role("button", name="Shut out").click()
        expect(page.get_by_text("root is the only administrator")).to_be_visible()
    assert not place.account("root").disabled


def test_every_page_fits_the_screen(place: Place, browser: Browser) -> None:
    with place.store.writing() as session:
        accounts.create(session, "fits", PASSWORD, "reviewer")
    with page_of(browser, width=390) as page:
        for login, where in (("fits", "review"), ("fits", "you"), ("root", "people"), ("root", "panel")):
            place.open(page, login, where)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            fits(page, 390, 1280)


@pytest.mark.parametrize("dark", [False, True])
def test_what_stands_on_a_coloured_button_can_be_read(place: Place, browser: Browser, dark: bool) -> None:
    with page_of(browser, dark=dark) as page:
        place.open(page, "root", "people")
        button = page.get_by_role("button", name="Make the link")
        expect(button).to_be_visible()
        for _ in range(20):  # the theme comes after the first drawing
            ink, ground = button.evaluate(
                "it => [getComputedStyle(it.querySelector('p') ?? it).color, getComputedStyle(it).backgroundColor]"
            )
            if (ground == "rgb(125, 183, 245)") == dark and contrast(ink, ground) >= 4.5:
                break
            page.wait_for_timeout(200)
        assert contrast(ink, ground) >= 4.5, f"{ink} on {ground}"


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast of two colours, written rgb(...)."""

    def light(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_ones_own_answers_are_listed_followed_up_uncovered_on_demand_and_taken_along(place: Place, browser: Browser) -> None:
    with place.store.writing() as session:
        ada = person(session, "ada-mine")
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": "Asked of Ada"}], "en")]).ids
        [made] = add_generations(session, [NewGeneration(prompts[0], f" {HOSTILE} silver", "end", "imported", "import:mine")])
        make_items(session, [made], purpose="loop", reviews_per_item=3, seed=0)
        session.get_one(Generation, made).expected_harm = 0.95
    vote(place.store, pseudonym(place.key, ada.id), made, flag=True, note="So I said.")
    vote(place.store, "r_somebody", made, flag=True, note="So said another.")
    with page_of(browser) as page:
        place.open(page, "ada-mine", "mine")
        expect(page.get_by_text("So I said.")).to_be_visible()
        expect(page.get_by_text("the answer is not by the model in use")).to_be_visible()
        assert "silver" not in page.content()
        assert "So said another" not in page.content()
        page.get_by_role("button", name="Show this text").click()
        expect(page.get_by_text("silver")).to_be_visible()
        inert(page)
        page.get_by_role("button", name="Prepare my data").click()
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Download my data").click()
        with zipfile.ZipFile(waiting.value.path()) as archive:
            names = {Path(name).name for name in archive.namelist()}
            told = "".join(archive.read(name).decode() for name in archive.namelist())
    assert names == {"README.txt", "answers.csv", "hours.csv", "my-data.json"}
    assert "So I said." in told
    assert "So said another" not in told


def test_one_press_goes_away_and_gives_back_and_one_comes_back(place: Place, browser: Browser) -> None:
    with place.store.writing() as session:
        ada = person(session, "ada-away")
    who = pseudonym(place.key, ada.id)
    with page_of(browser) as page:
        place.open(page, "ada-away", "review")
        expect(page.get_by_text("it was late.", exact=True)).to_be_visible()
        page.get_by_role("link", name="You").click()
        page.get_by_role("button", name="I am away").click()
        expect(page.get_by_text("You are away since")).to_be_visible()
        with place.store.reading() as session:
            assert session.exec(select(Slot).where(Slot.reviewer == who, Slot.state == "claimed")).all() == []
        page.goto(f"{place.web.url}/review")
        expect(page.get_by_role("heading", name="You are away")).to_be_visible()
        page.get_by_role("button", name="I am back").click()
        expect(page.get_by_text("it was late.", exact=True)).to_be_visible()
