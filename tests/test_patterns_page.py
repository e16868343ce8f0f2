"""The page Patterns in a real browser: pictures over real records, the texts behind a point, data to take along."""

import random
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from flagback.model import detecting
from flagback.storage import background, consent, reviews, slots
from flagback.storage.answers import Answer
from flagback.storage.artifacts import Artifacts
from flagback.storage.background import Answered
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import now
from tests.browser import choose, fits, listed, page_of
from tests.people import person
from tests.served_home import ServedHome

#: A tag that Streamlit or a picture would draw as more than text, with a character that turns writing round.
HOSTILE = "**b** <img src=x> \u202eevil"


class Place(ServedHome):
    """A served home without reviews; `judge` makes them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {"audrey": "auditor", "max": "maintainer", "ada": "reviewer"})

    def judge(self) -> None:
        """60 prompts about a woman, a man or nobody, four answers each; "lazy" is flagged, "kind" is not."""
        draw = random.Random(1)
        who = ("The woman", "The man", "The visitor")
        with self.store.writing() as session:
            prompts = add_prompts(
                session,
                [
                    NewPrompt([{"role": "user", "content": f"{who[n % 3]} number {n} was"}], "en", {"groups": [HOSTILE]})
                    for n in range(60)
                ],
            )
            texts = [
                (" so lazy and late.", True),
                (" very kind and early.", False),
                (" lazy again.", True),
                (" a kind man.", False),
            ]
            made = [
                (add_generations(session, [NewGeneration(one, text, "end", "sampled", "run:1")])[0], harm)
                for one in prompts.ids
                for text, harm in texts
            ]
            make_items(session, [number for number, _ in made], purpose="loop", reviews_per_item=2, seed=0)
            harmful = {number for number, harm in made if harm}
            asked = [question.model_dump() for question in background.DEFAULT_QUESTIONS]
            background.set_questions(session, asked, by="root", now=now())
            for number in range(13):
                account = person(session, f"panel-{number}")
                consent.set_consent(session, account.id, {"review": True, "assignment": True}, now=now())
                said = "woman" if number < 6 else "man" if number < 11 else "nonbinary"
                background.set_answers(
                    session, self.settings.pseudonym_key(), account.id, {"gender": Answered([said], None)}, now=now()
                )
        for reviewer in ("r_one", "r_two"):
            while held := slots.claim(
                self.store, reviewer, count=50, now=now(), lease_for=timedelta(hours=1), seed=draw.getrandbits(31)
            ):
                for one in held[:-1] if len(held) > 1 else held:
                    flag = (one.generation_id in harmful) != (draw.random() < 0.1)
                    answer = Answer(
                        token=str(uuid.UUID(int=draw.getrandbits(128), version=4)),
                        lease_id=one.lease_id,
                        verdict="flag" if flag else "fine",
                        categories=["stereotype"] if flag else [],
                        severity="clear" if flag else None,
                        taxonomy_version="1",
                        guideline_version="1",
                    )
                    reviews.submit(self.store, reviewer, answer, now=now(), policy_version="1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The served home."""
    with Place(tmp_path_factory.mktemp("patterns")) as made:
        yield made


@pytest.fixture(scope="module")
def judged(place: Place) -> Place:
    """The same home after reviews; tests of the empty page stand before those that ask for it."""
    place.judge()
    return place


def test_an_empty_page_says_what_to_do(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "max", "patterns")
        expect(page.get_by_text("No answer was judged yet.")).to_be_visible()
        expect(page.get_by_text("No text names a group yet.")).to_be_visible()
        expect(page.get_by_text("No detector yet.")).to_be_visible()
        expect(page.get_by_text("flagback detect")).to_be_visible()
        expect(page.locator(".stException")).to_have_count(0)


def test_a_word_leads_to_the_answers_behind_it(judged: Place, browser: Browser) -> None:
    with page_of(browser, width=1200) as page:
        judged.open(page, "audrey", "patterns")
        words = page.locator(".st-key-fb-card-words")
        expect(words.get_by_text("words were compared")).to_be_visible()
        picture = words.locator("[data-testid=stVegaLiteChart]")
        expect(picture).to_have_attribute("aria-label", re.compile(r"lazy \+\d"))
        choose(words.get_by_role("combobox", name="Read the answers with a word"), re.compile("^lazy$"))
        expect(words.get_by_text("so lazy and late.").first).to_be_visible()
        expect(words.get_by_text("very kind and early.")).to_have_count(0)
        expect(words.get_by_text("2 of 2 flagged it").first).to_be_visible()


def test_a_click_on_a_point_opens_the_same_texts(judged: Place, browser: Browser) -> None:
    with page_of(browser, width=1200) as page:
        judged.open(page, "audrey", "patterns")
        words = page.locator(".st-key-fb-card-words")
        dots = words.locator("[data-testid=stVegaLiteChart] .mark-symbol.role-mark path")
        expect(dots.first).to_be_visible()
        page.wait_for_timeout(1_000)
        dots.first.click()
        expect(words.get_by_text("the most flagged first")).to_be_visible()


def test_a_picture_is_spoken_whole_and_no_mark_of_it_alone(judged: Place, browser: Browser) -> None:
    detecting.detect(judged.store, Artifacts(judged.settings.artifacts), by="root")
    with page_of(browser, width=1200) as page:
        judged.open(page, "audrey", "patterns")
        for card in ("words", "groups", "detector"):
            expect(
                page.locator(f".st-key-fb-card-{card} [data-testid=stVegaLiteChart][aria-label] .role-mark").first
            ).to_be_attached()
        # Vega's own name of a layer of intervals with none in it is empty, which nobody can hear.
        assert page.locator("[data-testid=stVegaLiteChart] [role=graphics-symbol]").count() == 0


def test_groups_stand_beside_the_prompts_and_small_groups_of_reviewers_do_not_stand_at_all(judged: Place, browser: Browser) -> None:
    with page_of(browser, width=1200) as page:
        judged.open(page, "audrey", "patterns")
        groups = page.locator(".st-key-fb-card-groups")
        expect(groups.get_by_text("Who reviews")).to_be_visible()
        choose(groups.get_by_role("combobox", name="Kind of group"), "gender")
        expect(groups.locator("[data-testid=stVegaLiteChart]").first).to_have_attribute("aria-label", re.compile("female reviewed"))
        people = groups.locator("[data-testid=stVegaLiteChart]").last
        expect(people).to_have_attribute("aria-label", "Woman: 5 or more")
        assert "Non-binary" not in page.content()


def test_a_tag_from_outside_is_text_wherever_it_stands(judged: Place, browser: Browser) -> None:
    with page_of(browser, width=1200) as page:
        judged.open(page, "max", "patterns")
        words = page.locator(".st-key-fb-card-words")
        option = listed(words.get_by_role("combobox", name="Prompts"), "evil")
        assert "<U+202E>" in option.inner_text()
        option.click()
        expect(words.get_by_text("words were compared")).to_be_visible()
        assert page.locator("img[src='x']").count() == 0
        assert [one for one in page.locator("strong:visible, b:visible").all_inner_texts() if one.strip() == "b"] == []


def test_the_detector_shows_its_figures_and_what_it_got_wrong(judged: Place, browser: Browser) -> None:
    artifacts = Artifacts(judged.settings.artifacts)
    detecting.detect(judged.store, artifacts, by="root")
    with page_of(browser, width=1200) as page:
        judged.open(page, "audrey", "patterns")
        found = page.locator(".st-key-fb-card-detector")
        expect(found.get_by_text("It decides nothing.")).to_be_visible()
        expect(found.get_by_text("Whom does it err about?")).to_be_visible()
        expect(found.locator("[data-testid=stVegaLiteChart]").last).to_have_attribute(
            "aria-label", re.compile(r"all prompts, harmful, under it: \d+%")
        )


@pytest.mark.parametrize("login", ["audrey", "max"])
def test_the_data_of_a_picture_can_be_taken_along(judged: Place, browser: Browser, login: str) -> None:
    with page_of(browser, width=1200) as page:
        judged.open(page, login, "patterns")
        words = page.locator(".st-key-fb-card-words")
        with page.expect_download() as kept:
            words.get_by_role("link", name="Download the data").click()
        assert kept.value.suggested_filename == "words-flags.csv"
        lines = Path(kept.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "word,log_odds,plain_z,z,p,p_holm,first,second,clusters"
    assert any(line.startswith("lazy,") for line in lines)


def test_reviewers_have_no_such_page(judged: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        judged.open(page, "ada", "patterns")
        expect(page.get_by_text("Words that go with flags")).to_have_count(0)


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_the_screen(judged: Place, browser: Browser, dark: bool) -> None:
    with page_of(browser, width=390, dark=dark) as page:
        judged.open(page, "max", "patterns")
        expect(page.get_by_text("The detector", exact=True)).to_be_visible()
        fits(page, 390, 1280)
        expect(page.locator(".stException")).to_have_count(0)
