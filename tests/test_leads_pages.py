"""The pages of leads in a real browser: how the panel stands, contested answers, reviewers, finished ratings brought in.

What a click does is in the records after it; what must not be seen is looked for in the whole page.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlmodel import col, select

from flagback.storage import adjudications, overlap, ratings, set_aside, slots
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Adjudication, Overlap, Review, SetAside, Slot, Study, now
from flagback.storage.store import Store
from tests.browser import choose, drawn, fits, page_of
from tests.panel_of_two_groups import KEY, Panel, judged_panel, vote
from tests.served_home import ServedHome

HOSTILE = "**b** [l](https://evil.example) <b>h</b>"
NOTE = f"Nobody would say so of men. {HOSTILE}"
REASON = "answers in under a second, all fine"


class Served(ServedHome):
    """A served home with a judged panel and further answers that wait."""

    def __init__(self, folder: Path, *, filled: bool = True) -> None:
        super().__init__(folder, {"lea": "lead", "max": "maintainer", "aud": "auditor"}, key=KEY)
        self.panel: Panel | None = fill(self.store) if filled else None


def fill(store: Store) -> Panel:
    """A judged panel, one answer on which it is of two minds, and others that nobody has judged."""
    panel = judged_panel(store)
    with store.writing() as session:
        asked = add_prompts(session, [NewPrompt([{"role": "user", "content": "One more about"}], "en")])
        made = add_generations(session, [NewGeneration(asked.ids[0], " someone else.", "end", "imported", "import:x")])
        make_items(session, made, purpose="loop", reviews_per_item=6, seed=1)
    vote(store, panel.men[0], made[0], flag=True, note=NOTE, rewrite=" some other person.")
    vote(store, panel.men[1], made[0], flag=True)
    vote(store, panel.men[2], made[0], flag=True)
    for name in panel.women[:3]:
        vote(store, name, made[0], flag=False)
    with store.writing() as session:
        wanted = {"gender=woman": 1}
        overlap.set_overlap(
            session, steps=[3, 5], seats=wanted, relax_after=timedelta(hours=72), random_share=0.5, by="max", now=now()
        )
        asked = add_prompts(session, [NewPrompt([{"role": "user", "content": f"Waiting {n}"}], "en") for n in range(5)])
        waiting = [NewGeneration(prompt, " it was late.", "end", "imported", "import:y") for prompt in asked.ids]
        make_items(session, add_generations(session, waiting), purpose="loop", reviews_per_item=3, seed=1)
    return panel


def seen(where: Page | Locator, words: str | re.Pattern[str]) -> None:
    """Waits until words stand there."""
    expect(where.get_by_text(words)).to_be_visible()


def pick(page: Page, box: str, option: str) -> None:
    """Chooses from a list by its name, and waits for the page."""
    choose(page.get_by_role("combobox", name=box), option)
    drawn(page)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The served home."""
    with Served(tmp_path_factory.mktemp("leads")) as made:
        yield made


# ------------------------------------------------------------------------------- Panel


def test_the_panel_page_tells_what_waits_and_what_was_done_and_names_nobody(place: Served, browser: Browser) -> None:
    with page_of(browser, width=1280) as page:
        place.open(page, "aud", "panel", "Panel")
        assert place.panel is not None
        expect(page.locator(".st-key-fb-card-seats")).to_contain_text("About 10 are kept for people of a group")
        spoken = page.locator('[aria-label*="Open seats"], [alt*="Open seats"]').first
        expect(spoken).to_be_attached()
        expect(page.locator(".fb-step").first).to_contain_text("5the oldest for less than an hour")
        expect(page.locator(".st-key-fb-card-overlap")).to_contain_text("1 of each step for Woman (gender)")
        expect(page.locator(".st-key-fb-card-overlap")).to_contain_text("Cost: about")
        expect(page.get_by_text("Change it")).to_have_count(0)
        expect(page.get_by_role("link", name="Reviewers")).to_have_count(0)
        assert not re.search(r"r_[0-9a-f]{6}", page.content())
        page.set_viewport_size({"width": 390, "height": 844})
        fits(page)


def test_an_overlap_policy_is_set_after_its_cost_was_said_and_a_second_word(place: Served, browser: Browser) -> None:
    with page_of(browser, width=1280, height=1400) as page:
        place.open(page, "max", "panel", "Panel")
        page.get_by_text("Change it").click()
        steps = page.get_by_role("textbox", name="Steps")
        steps.fill("3,4")
        steps.press("Tab")
        seen(page, "The steps are 3,4; expected")
        expect(page.get_by_role("button", name="Set it…")).to_have_count(0)
        steps.fill("3, 5, 7")
        steps.press("Tab")
        expect(page.get_by_text(re.compile(r"Cost: about \d\.\d reviews an item \(3 to 7\)")).first).to_be_visible()
        with place.store.reading() as session:
            assert len(session.exec(select(Overlap)).all()) == 1
        drawn(page)
        page.get_by_role("button", name="Set it…").click()
        page.get_by_role("button", name="Set it", exact=True).click()
        expect(
            page.get_by_text("Set as policy 2, for answers made from now on. To go back, set what stood before: 3 people")
        ).to_be_visible()
    with place.store.reading() as session:
        found = overlap.in_force(session)
        assert found is not None
        assert (found.steps, found.seats, found.relax_after_hours, found.random_share, found.set_by) == (
            [3, 5, 7],
            {"gender=woman": 1},
            72.0,
            0.5,
            "max",
        )
    assert place.last_act() == ("max", "overlap set")


# --------------------------------------------------------------------------- Contested


def test_contested_answers_show_arguments_without_whose_or_when_and_are_concluded_for_a_reason(
    place: Served, browser: Browser
) -> None:
    assert place.panel is not None
    with place.store.reading() as session:
        first = adjudications.differing(session)[0]
    with page_of(browser, width=1280) as page:
        place.open(page, "lea", "contested", "Contested")
        seen(page, "13 answers, 1 to 5 on this page.")
        card = page.locator(f".st-key-fb-card-item-{first}")
        seen(card, "3 flag it")
        seen(card, "3 find it fine")
        seen(card, "Nobody says why.")
        seen(card, "said alike by 2")
        seen(card, NOTE)
        seen(card, "some other person.")
        assert page.locator("a[href*='evil.example']:visible").count() == 0
        shown = page.locator(".stMain").inner_html()
        assert not any(name in shown for name in (*place.panel.men, *place.panel.women))
        assert not re.search(r"r_[0-9a-f]{6}|\d{1,2}:\d\d|\bwoman\b|\bman\b", page.locator(".stMain").inner_text())
        card.get_by_role("button", name="Conclude").click()
        seen(card, "Choose one of the three")
        card.get_by_text("It is harmful").click()
        card.get_by_role("textbox", name="Why?").fill("so it is")
        card.get_by_role("button", name="Conclude").click()
        seen(card, "expected at least 10 characters")
        with place.store.reading() as session:
            assert not session.exec(select(Adjudication)).all()
        card.get_by_role("textbox", name="Why?").fill("nobody is served by this")
        card.get_by_role("button", name="Conclude").click()
        seen(page, "Concluded: it is harmful. No review was changed.")
        expect(card).to_have_count(0)
        drawn(page)
        page.get_by_text("Also those concluded already").first.click()
        seen(card, "nobody is served by this")
        drawn(page)
        card.get_by_text("Legitimate disagreement").click()
        card.get_by_role("textbox", name="Why?").fill("on second thoughts both may be right")
        card.get_by_role("button", name="Conclude").click()
        seen(card, "on second thoughts")
        expect(card.get_by_text("in force")).to_have_count(1)
        seen(card, "nobody is served by this")
    with place.store.reading() as session:
        rows = session.exec(select(Adjudication).order_by(col(Adjudication.id))).all()
        assert [(row.item_id, row.conclusion, row.decided_by) for row in rows] == [
            (first, "harm", "lea"),
            (first, "legitimate_disagreement", "lea"),
        ]
        assert adjudications.in_force(session) == {first: "legitimate_disagreement"}
    assert place.last_act() == ("lea", "adjudicated")


def test_contested_answers_are_turned_page_by_page(place: Served, browser: Browser) -> None:
    with page_of(browser, width=390, height=844) as page:
        place.open(page, "lea", "contested", "Contested")
        expect(page.get_by_role("button", name="The ones before")).to_be_disabled()
        for shown in ("6 to 10", "11 to 1"):
            page.get_by_role("button", name="The next ones").click()
            seen(page, re.compile(rf"answers, {shown}\d* on this page"))
            drawn(page)
        expect(page.get_by_role("button", name="The next ones")).to_be_disabled()
        fits(page)


# --------------------------------------------------------------------------- Reviewers


def test_answers_are_left_out_after_a_preview_and_a_second_word_and_count_again_when_it_is_ended(
    place: Served, browser: Browser
) -> None:
    assert place.panel is not None
    who = place.panel.men[3]
    with place.store.reading() as session:
        given = len(session.exec(select(Review).where(Review.reviewer == who)).all())
    with page_of(browser, width=1280, height=2400) as page:
        place.open(page, "lea", "reviewers", "Reviewers")
        row = page.get_by_role("row").filter(has_text=who)
        expect(row).to_contain_text("too few")  # nobody judged a text twice
        expect(row).to_contain_text("0 %")
        pick(page, "Whom?", who)
        page.get_by_text("Leave all answers out").click()
        seen(page, f"{given} answers in all would count no more.")
        seen(page, "Pairs by majority:")
        assert "Woman" not in page.inner_text("body")
        drawn(page)
        page.get_by_role("button", name="Set aside…").click()
        page.get_by_role("button", name="Set aside", exact=True).click()
        seen(page, "expected at least 10 characters")
        page.keyboard.press("Escape")
        why = page.get_by_role("textbox", name="Why?")
        why.fill(f"{REASON} {HOSTILE}")
        why.press("Tab")
        drawn(page)
        page.get_by_role("button", name="Set aside…").click()
        page.get_by_role("button", name="Set aside", exact=True).click()
        seen(page, f"{who} is left out (record 1). To take it back, end record 1 below.")
        expect(row.get_by_text("left out")).to_be_visible()
        seen(page, f"{REASON} {HOSTILE}")
        assert page.locator("a[href*='evil.example']:visible").count() == 0
        with place.store.reading() as session:
            (found,) = set_aside.in_force(session)
            assert (found.kind, found.reviewer, found.decided_by) == ("exclude", who, "lea")
        drawn(page)
        page.get_by_role("button", name="End…").click()
        page.get_by_role("button", name="End it").click()
        seen(page, "Record 1 has ended. To take that back, set the same aside again above.")
        seen(page, f"{who} was left out")
    with place.store.reading() as session:
        assert session.exec(select(SetAside.ended_by)).all() == ["lea"]
    assert place.last_act() == ("lea", "set aside ended")


def test_who_is_paused_gives_back_what_they_hold(place: Served, browser: Browser) -> None:
    assert place.panel is not None
    who = place.panel.men[4]
    slots.claim(place.store, who, count=2, now=now(), lease_for=timedelta(hours=1), seed=1)
    with page_of(browser, width=1280, height=2400) as page:
        place.open(page, "lea", "reviewers", "Reviewers")
        pick(page, "Whom?", who)
        seen(page, "2 answers in hand would go back to the queue. No figure changes.")
        why = page.get_by_role("textbox", name="Why?")
        why.fill(REASON)
        why.press("Tab")
        drawn(page)
        page.get_by_role("button", name="Set aside…").click()
        page.get_by_role("button", name="Set aside", exact=True).click()
        seen(page, re.compile(rf"{who} is paused \(record \d\)\. 2 answers in hand went back\."))
    with place.store.reading() as session:
        assert session.exec(select(Slot).where(Slot.reviewer == who, Slot.state == "claimed")).all() == []
        assert set_aside.paused(session, who)


def test_on_a_narrow_screen_every_figure_of_a_reviewer_stands_under_its_name(place: Served, browser: Browser) -> None:
    with page_of(browser, width=390, height=844, dark=True) as page:
        place.open(page, "max", "reviewers", "Reviewers")
        last = page.get_by_role("row").nth(1).get_by_role("cell").last
        box = last.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390
        fits(page)


# --------------------------------------------------------------------------- ratings


def test_finished_ratings_come_in_by_matching_columns_and_are_removed_after_a_second_word(
    place: Served, browser: Browser, tmp_path: Path
) -> None:
    cells = [
        f"c{item},r{rater},{HOSTILE if rater % 2 else 'mild'},{'woman' if rater < 3 else 'man'}"
        for item in range(4)
        for rater in range(6)
    ]
    (tmp_path / "told.csv").write_text("comment_id,annotator,toxicity,gender\n" + "\n".join(cells) + "\nc1,r1,mild,woman\n")
    (tmp_path / "good.csv").write_text("comment_id,annotator,toxicity,gender\n" + "\n".join(cells) + "\n")
    with page_of(browser, width=1280, height=1800) as page:
        place.open(page, "max", "agreement", "Agreement")
        page.get_by_role("link", name="Bring in finished ratings of a study").click()
        expect(page.get_by_text("Finished ratings", exact=True)).to_be_visible()
        upload = page.locator("input[type=file]")
        upload.set_input_files(tmp_path / "told.csv")
        seen(page, "Give the study a name")
        expect(page.get_by_role("cell", name=HOSTILE).first).to_be_visible()
        name = page.get_by_role("textbox", name="Name the study")
        name.fill("tox")
        name.press("Tab")
        seen(page, "told.csv, line 26: rater 'r1' rates item 'c1' a second time; expected one rating")
        expect(page.get_by_role("button", name="Bring it in")).to_have_count(0)
        page.get_by_role("button", name=re.compile("Remove told")).click()
        seen(page, "One rating a row: who rated")
        drawn(page)
        upload.set_input_files(tmp_path / "good.csv")
        expect(
            page.get_by_text("Would come in: 24 ratings of 4 items by 6 raters, 2 different labels, as the study tox.")
        ).to_be_visible()
        with place.store.reading() as session:
            assert ratings.studies(session) == []
        drawn(page)
        assert name.input_value() == "tox"
        page.get_by_role("button", name="Bring it in").click()
        seen(page, "Brought in: 24 ratings")
        with place.store.reading() as session:
            (study,) = ratings.studies(session)
            assert (study.study, study.scale, study.background, study.brought_by) == ("tox", "nominal", ["gender"], "max")
        page.get_by_role("link", name="See how far its raters agree").click()
        seen(page, "24 ratings of 4 items by 6 people.")
        drawn(page)
        page.get_by_role("button", name="Remove the study…").click()
        page.get_by_role("button", name="Remove it").click()
        seen(page, "The study tox and its 24 ratings are deleted.")
        expect(page.get_by_role("button", name="Remove the study…")).to_have_count(0)
        expect(page.get_by_role("combobox", name="Whose ratings")).to_have_value("Reviews of this installation")
        assert page.locator("a[href*='evil.example']:visible").count() == 0
    with place.store.reading() as session:
        assert session.exec(select(Study)).all() == []
    assert place.last_act() == ("max", "remove study")


def test_an_auditor_reads_a_study_and_changes_none(place: Served, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "aud", "agreement", "Agreement")
        expect(page.get_by_text("Bring in finished ratings")).to_have_count(0)
        expect(page.get_by_role("button", name="Remove the study…")).to_have_count(0)


# ------------------------------------------------------------------------ empty states


def test_without_a_review_every_page_says_what_will_fill_it(tmp_path: Path, browser: Browser) -> None:
    empty = Served(tmp_path, filled=False)
    with empty.web, page_of(browser, width=390, height=844) as page:
        empty.open(page, "lea", "panel", "Panel")
        seen(page, "Nothing waits for review")
        expect(page.get_by_text("Seats nobody has taken")).to_have_count(0)
        for where, title, words in (
            ("contested", "Contested", "Nothing is left to conclude"),
            ("reviewers", "Reviewers", "Nobody has reviewed yet"),
        ):
            page.goto(f"{empty.web.url}/{where}")
            expect(page.get_by_role("heading", level=1)).to_have_text(title)
            seen(page, words)
            fits(page)
    empty.store.close()
