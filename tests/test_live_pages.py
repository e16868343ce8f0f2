"""Logged answers on the pages, in a real browser: brought in on Data, taken back there, keys made and withdrawn on People."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlmodel import select

from flagback.storage import outputs, reviews, slots
from flagback.storage.logged import read_outputs
from flagback.storage.reading import Place, Row
from flagback.storage.records import OutputBatch, OutputKey, Slot, now
from tests.browser import choose, fits, page_of
from tests.served_home import ServedHome
from tests.test_outputs import AGREED, answer, numbered

HOUR = timedelta(hours=1)
HOSTILE = "Users **agreed** <b>h</b> [l](https://evil.example) that reviewers read."


class Served(ServedHome):
    """A served home with one batch that people have seen a part of."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {"root": "administrator", "max": "maintainer"})
        self.folder = folder
        rows = [Row(Place("log", n), row) for n, row in enumerate(numbered(60), 1)]
        under = outputs.Terms("october", HOSTILE, "key chat-production", share=0.4, seed=1)
        with self.store.writing() as session:
            outputs.take_in(session, read_outputs(rows, now=now()), under, where="log", now=now())
        for place, claim in enumerate(slots.claim(self.store, "r_one", count=12, now=now(), lease_for=HOUR, seed=1)):
            verdict = "flag" if place % 3 == 0 else "fine"
            said = {"categories": ["stereotype"], "severity": "clear"} if verdict == "flag" else {}
            reviews.submit(self.store, "r_one", answer(claim.lease_id, verdict, **said), now=now(), policy_version="1")

    def open_tab(self, page: Page, login: str, where: str, tab: str) -> None:
        """Signs in and opens a page's tab."""
        self.open(page, login, where)
        page.get_by_role("tab", name=tab).click()

    def batch(self, name: str) -> OutputBatch | None:
        """As it stands in the records."""
        with self.store.reading() as session:
            return session.exec(select(OutputBatch).where(OutputBatch.name == name)).first()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The served home."""
    with Served(tmp_path_factory.mktemp("live")) as made:
        yield made


def test_a_log_is_looked_at_brought_in_and_listed(place: Served, browser: Browser, tmp_path: Path) -> None:
    rows = [*numbered(8), {"prompt": "My mail is ada@mail.example", "answer": "Thanks."}]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    with page_of(browser) as page:
        place.open_tab(page, "max", "data", "Bring in")
        page.get_by_text("Logged answers", exact=True).click()
        page.get_by_role("textbox", name="Name it").fill("november")
        page.get_by_role("textbox", name="Name it").press("Tab")
        page.get_by_role("spinbutton", name="How many").fill("3")
        page.locator("input[type=file]").set_input_files(tmp_path / "log.jsonl")
        page.get_by_role("button", name="Bring it in").click()
        expect(page.get_by_text("Nothing was stored; declare it")).to_be_visible()
        page.get_by_role("textbox", name="What did the people").fill(AGREED)
        page.get_by_role("button", name="Only look").click()
        expect(page.get_by_text("8 of 9 would be added, 0 were here already; 3 would be drawn")).to_be_visible()
        expect(page.get_by_text("1 refused: it holds something like an e-mail address")).to_be_visible()
        assert place.batch("november") is None
        page.get_by_role("button", name="Bring it in").click()
        expect(page.get_by_text("8 of 9 added, 0 were here already; 3 drawn for review.")).to_be_visible()
        page.get_by_role("tab", name="In use").click()
        expect(page.get_by_role("cell", name="november").first).to_be_visible()
    found = place.batch("november")
    assert found is not None
    assert (found.n_answers, found.n_drawn, found.brought_by, found.consent) == (8, 3, "max", AGREED)


def test_a_batch_shows_its_flagged_share_and_is_taken_back_after_a_second_word(place: Served, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open_tab(page, "max", "data", "In use")
        row = page.get_by_role("row").filter(has_text="october")
        expect(row).to_contain_text("33.3%")
        choose(page.get_by_role("combobox", name="Which batch?"), "october")
        button = page.get_by_role("button", name="Take it back", exact=True)
        expect(button).to_be_disabled()
        expect(page.get_by_text(HOSTILE)).to_be_visible()
        assert page.locator("a[href*='evil.example']:visible").count() == 0
        page.get_by_text("Take it back from review").click()
        button.click()
        expect(page.get_by_text("reviews of october are wanted no more")).to_be_visible()
        expect(row).to_contain_text("taken back")
    assert place.last_act() == ("max", "outputs withdrawn")
    found = place.batch("october")
    assert found is not None
    assert found.withdrawn_at is not None


def test_a_programs_key_is_shown_once_works_and_is_withdrawn_after_a_second_word(place: Served, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open_tab(page, "root", "people", "Programs")
        expect(page.get_by_text("No program has a key")).to_be_visible()
        page.get_by_role("textbox", name="Which program?").fill("a b")
        page.get_by_role("button", name="Make a key").click()
        expect(page.get_by_text("The key name 'a b' cannot be used")).to_be_visible()
        page.get_by_role("textbox", name="Which program?").fill("chat")
        page.get_by_role("button", name="Make a key").click()
        shown = page.locator("code", has_text="fbk_")
        expect(shown).to_be_visible()
        key = shown.inner_text().strip()
        sent = {"batch": "by-key", "consent": AGREED, "outputs": numbered(2)}
        first = httpx.post(f"{place.web.url}/api/v1/outputs", json=sent, headers={"Authorization": f"Bearer {key}"}, timeout=20)
        assert (first.status_code, first.json()["added"]) == (200, 2)
        page.reload()
        page.get_by_role("tab", name="Programs").click()
        expect(page.get_by_text("last used")).to_be_visible()
        expect(shown).to_have_count(0)
        page.get_by_role("button", name="Withdraw", exact=True).click()
        page.get_by_role("button", name="Withdraw the key").click()
        expect(page.get_by_text("withdrawn", exact=True)).to_be_visible()
    assert place.last_act() == ("root", "output key withdrawn")
    again = httpx.post(f"{place.web.url}/api/v1/outputs", json=sent, headers={"Authorization": f"Bearer {key}"}, timeout=20)
    assert again.status_code == 401
    with place.store.reading() as session:
        assert session.exec(select(OutputKey.ended_at)).one() is not None
        assert session.exec(select(Slot.id)).first() is not None


def test_the_pages_fit_the_screen(place: Served, browser: Browser) -> None:
    with page_of(browser, width=390) as page:
        for login, where, tab in (("max", "data", "In use"), ("max", "data", "Bring in"), ("root", "people", "Programs")):
            page.context.clear_cookies()
            place.open_tab(page, login, where, tab)
            if tab == "In use":
                choose(page.get_by_role("combobox", name="Which batch?"))
                expect(page.get_by_text("What people agreed to")).to_be_visible()
            if tab == "Bring in":
                page.get_by_text("Logged answers", exact=True).click()
                expect(page.get_by_role("textbox", name="What did the people")).to_be_visible()
            fits(page, 390, 1280)
