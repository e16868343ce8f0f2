"""Answers without a counterpart on the page Corrections, in a real browser: told of, chosen to teach, and listed afterwards."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from sqlmodel import select

from flagback.model import cycle, explaining
from flagback.storage import quarantine, unpaired
from flagback.storage.records import CorrectionRun, now
from tests.browser import drawn, page_of, sign_in
from tests.loop_home import RECIPE, LoopHome
from tests.people import PASSWORD


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopHome]:
    """A served home in which every answer was flagged, so that no pair can be made."""
    made = LoopHome(tmp_path_factory.mktemp("unpaired"), prompts=3)
    made.loop.sample()
    made.loop.review(flags=lambda _, __: True)
    with made:
        yield made


def test_flags_that_make_no_pair_can_be_let_teach_and_are_listed_with_their_run(place: LoopHome, browser: Browser) -> None:
    store = place.loop.store
    with page_of(browser) as page:
        place.open(page, "max", "corrections", "Corrections")
        start = page.get_by_role("button", name="Start the correction")
        expect(page.get_by_text("but no pair yet.")).to_be_visible()
        expect(page.get_by_text("have no counterpart and teach nothing")).to_be_visible()
        expect(start).to_be_disabled()
        page.get_by_test_id("stExpander").filter(has_text="How votes become pairs").first.locator("summary").click()
        drawn(page)
        page.wait_for_timeout(500)  # it unfolds, and what is clicked moves on
        page.get_by_text("Have flagged answers without a counterpart teach too").click()
        expect(page.get_by_text("without a counterpart teach too, beside 0 fine ones")).to_be_visible()
        expect(start).to_be_enabled()
        start.click()
        expect(page.get_by_text("is waiting")).to_be_visible()
        with store.writing() as session:
            run = session.exec(select(CorrectionRun)).one()
            assert run.pairs == {"unpaired": True}
            run.recipe = dict(RECIPE)
        cycle.freeze(store, run.id)
        cycle.train(store, place.loop.shelf, run.id, work=place.loop.folder / "work")
        cycle.register(store, place.loop.shelf, run.id)
        explaining.explain(store, place.loop.shelf, run.id)
        cycle.finish(store, run.id, by="max")
        with store.reading() as session:
            rows = list(unpaired.each_unpaired(session, session.get_one(CorrectionRun, run.id).set_id or 0))
        page.goto(f"{place.web.url}/corrections?run={run.id}")
        expect(page.get_by_text(f"0 pairs learnt, 0 kept to test on, {len(rows)} answers without one")).to_be_visible()
        expect(page.get_by_text("times less likely")).to_be_visible()
        expect(page.get_by_text("Answers without a counterpart", exact=True)).to_be_visible()
        expect(page.get_by_text(rows[0].text.strip()).first).to_be_visible()
        expect(page.get_by_text("harmful, weight 0.").first).to_be_visible()
        expect(page.locator(".stException")).to_have_count(0)
        page.goto(f"{place.web.url}/loop")
        expect(page.get_by_text(f"in the newest set, and {len(rows)} answers without one")).to_be_visible()
    with store.writing() as session:
        quarantine.put_away(session, rows[0].generation_id, review_id=None, category="real_person", seats=1, now=now())
    with page_of(browser) as page:
        place.open(page, "max", f"corrections?run={run.id}", "Corrections")
        expect(page.get_by_text("Answer 1: its text was withdrawn.")).to_be_visible()
        expect(page.locator(".stException")).to_have_count(0)


def test_data_people_take_such_answers_from_the_page_data(place: LoopHome, browser: Browser) -> None:
    with page_of(browser) as page:
        sign_in(page, place.web.url, "max", PASSWORD)
        page.goto(f"{place.web.url}/data")
        page.get_by_role("tab", name="Take out").click()
        page.get_by_text("Unpaired answers of the newest set").click()
        page.get_by_role("button", name="Prepare the download").click()
        expect(page.get_by_role("link", name="rows of unpaired")).to_be_visible()
