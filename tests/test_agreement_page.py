"""The page Agreement in a real browser: figures by group, what is hidden, studies, the data behind, and the empty state."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from flagback.review_app.settings import Settings
from flagback.storage.ratings import Columns, import_ratings
from flagback.storage.store import Store
from tests.browser import WebProcess, fits, listed, page_of, sign_in
from tests.fresh import migrate
from tests.people import PASSWORD, person
from tests.reviewed_panel import NOON, Member, fill


def _severity(member: int, answer: int) -> str | None:
    """Women (even numbers) flag answers 0 to 5, men 0 to 3; number 1 flags one more."""
    return "clear" if answer < (6 if member % 2 == 0 else 5 if member == 1 else 4) else None


def _home(folder: Path, *, filled: bool) -> Settings:
    settings = Settings(home=folder / "home")
    store = Store(settings.records_url)
    migrate(store)
    key = settings.pseudonym_key()
    with store.writing() as session:
        person(session, "aud", "auditor")
    if filled:
        members = [Member({"gender": "woman" if n % 2 == 0 else "man", "faith": "hindu" if n < 3 else "none"}) for n in range(14)]
        fill(store, key, members, answers=8, severity=_severity)
        path = folder / "ratings.csv"
        labels = ("<b>*no*</b>", "yes")
        cells = [f"i{u},p{r},{labels[(u + r // 6) % 2]},{'India' if r < 6 else 'Peru'}" for u in range(8) for r in range(12)]
        path.write_text("item,who,label,country\n" + "\n".join(cells) + "\n")
        columns = Columns("item", "who", "label", None, ["country"])
        import_ratings(store, path, study="safety", columns=columns, scale="nominal", by="max", now=NOON)
    store.close()
    return settings


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    folder = tmp_path_factory.mktemp("agreement")
    with WebProcess(_home(folder, filled=True).home, folder=folder) as running:
        yield running


def _open(page: Page, web: WebProcess, where: str) -> None:
    sign_in(page, web.url, "aud", PASSWORD)
    page.goto(f"{web.url}/{where}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Agreement")
    expect(page.get_by_text("Sign out")).to_be_visible()
    assert page.get_by_text("Something went wrong").count() == 0
    assert page.locator(".stException").count() == 0


def _table(page: Page, name: str) -> list[dict[str, str]]:
    with page.expect_download() as waiting:
        page.locator(f'a[download="{name}.csv"]').click()
    return list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8"))))


def test_reviews_by_group_stand_beside_groups_drawn_by_lot(web: WebProcess, browser: Browser) -> None:
    with page_of(browser) as page:
        _open(page, web, "agreement")
        expect(page.get_by_text("112 ratings of 8 answers by 14 people.")).to_be_visible()
        assert [row["scale"] for row in _table(page, "agreement")] == ["flag or fine (nominal)", "severity (ordinal)"]
        within = {(row["group"], row["agreement"]): row["value"] for row in _table(page, "agreement-by-group")}
        assert within["woman", "within the group"] == "1.0"
        assert 0 < float(within["woman", "with other groups"]) < 1
        levels = {row["group"]: float(row["value"]) for row in _table(page, "level-by-group")}
        assert levels == {"man": pytest.approx(29 / 56), "woman": pytest.approx(0.75)}
        apart = _table(page, "difference-by-group")
        assert [(row["group"], row["difference"]) for row in apart][2:] == [("woman", "found"), ("woman", "groups drawn by lot")]
        assert float(apart[3]["high"]) < float(apart[2]["value"]) == pytest.approx(100 * (0.75 - 29 / 56))
        assert "hindu" not in page.content()
        fits(page)


def test_a_study_is_chosen_and_its_labels_are_shown_as_they_are(web: WebProcess, browser: Browser) -> None:
    with page_of(browser) as page:
        _open(page, web, "agreement?study=safety")
        expect(page.get_by_text("96 ratings of 8 items by 12 people.")).to_be_visible()
        expect(page.get_by_text("India: 5 or more; Peru: 5 or more.")).to_be_visible()
        listed(page.get_by_role("combobox", name="Label"), "<b>*no*</b>")
        page.keyboard.press("Escape")
        crossed = [row for row in _table(page, "agreement-by-group") if row["agreement"] == "with other groups"]
        assert [float(row["value"]) for row in crossed] == [pytest.approx(-1), pytest.approx(-1)]
        page.set_viewport_size({"width": 390, "height": 844})
        fits(page)


def test_without_a_review_the_page_says_what_will_fill_it(tmp_path: Path, browser: Browser) -> None:
    with WebProcess(_home(tmp_path, filled=False).home, folder=tmp_path) as empty, page_of(browser) as page:
        _open(page, empty, "agreement")
        expect(page.get_by_text("Nobody has judged an answer yet.")).to_be_visible()
        expect(page.get_by_text("flagback import ratings FILE")).to_be_visible()
