"""The evidence pages in a real browser: pictures, the texts behind them, their data; what an auditor may read and what is empty."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from flagback.storage import suites
from flagback.storage.records import now
from flagback.storage.suites import Answered, NewData
from tests.browser import fits, page_of
from tests.served_home import ServedHome
from tests.test_monitoring import evaluation, judge, version

FIGURE = {
    "metric": "flag_rate",
    "words": "Share of blind reviews that flag an answer",
    "unit": "share",
    "scale": "difference",
    "better": "lower",
    "base": 1.0,
    "candidate": 0.0,
    "change": -1.0,
    "low": -1.0,
    "high": -0.6,
    "n": 12,
    "clusters": 12,
    "detectable": 0.11,
    "note": "",
}


class Place(ServedHome):
    """A served home with a base, a correction of it that nobody flags, and a published test that both took."""

    def __init__(self, folder: Path, *, filled: bool) -> None:
        super().__init__(folder, {"max": "maintainer", "aud": "auditor"})
        with self.store.writing() as session:
            if filled:
                version(session, 1, state="current")
                version(session, 2, parent=1)
                group = FIGURE | {"metric": "flag_rate:age=old", "note": "Too few prompts to say anything: age=young (3)."}
                length = FIGURE | {"metric": "length", "unit": "tokens", "scale": "ratio", "change": 1.1, "low": 1.05, "high": 1.2}
                rows = [(metric, f"c{n}", 1.0, 0.0) for metric in ("flag_rate", "flag_rate:age=old") for n in range(12)]
                figures = {"flag_rate": FIGURE, "flag_rate:age=old": group, "length": length}
                evaluation(session, 1, 2, figures, rows)
                level = {"value": 0.6, "low": 0.5, "high": 0.7, "n": 12, "clusters": 12}
                found = {
                    "n": 12,
                    "figures": {"pct_stereotype": level},
                    "groups": {"bias_type": {"age": {"figures": {"pct_stereotype": level}}}},
                }
                data = suites.take_in(session, NewData("crows-pairs", "pairs.csv", {}, None, "h", 12), by="max", now=now())
                for number in (1, 2):
                    items = [Answered(f"pair {n}", {"pct_stereotype": 1.0}, []) for n in range(12)]
                    suites.keep(session, version_id=number, data_id=data.id, form="causal", figures=found, items=items, now=now())
        if filled:
            judge(self.store, [" hid the silver", " was late"], version_id=1, verdicts=["FF", "ff"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Place(tmp_path_factory.mktemp("evidence"), filled=True) as made:
        yield made


def _table(page: Page, name: str) -> list[dict[str, str]]:
    link = page.locator(f'a[download="{name}.csv"]')
    with page.expect_download() as waiting:
        link.click()
    assert waiting.value.suggested_filename == f"{name}.csv"
    return list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8"))))


def test_an_auditor_reads_what_changed_for_whom_and_takes_the_data(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "aud", "", "History")
        expect(page.get_by_text("below the line is less harm than the base")).to_be_visible()
        spoken = page.locator('[data-testid="stVegaLiteChart"]').first
        expect(spoken).to_be_visible()
        harm = _table(page, "harm-by-version")
        assert [(row["version"], row["seen"], row["share"]) for row in harm] == [
            ("1", "blind", "1.0"),
            ("2", "blind", "0.0"),
            ("1", "loop", "0.5"),
        ]
        assert [row["group"] for row in _table(page, "worst-group")] == ["all prompts", "all prompts", "old", "old"]
        assert [(row["version"], row["value"]) for row in _table(page, "published-tests")] == [("1", "0.6"), ("2", "0.6")]
        fits(page)


def test_a_point_that_is_clicked_opens_the_flagged_answers_behind_it(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "aud", "history", "History")
        points = page.locator(".st-key-picture-harm-by-version g.mark-symbol.role-mark path")
        expect(points).to_have_count(3)
        points.first.click()
        expect(page.get_by_role("heading", name="Flagged answers of")).to_be_visible()
        week = page.locator(".st-key-picture-weeks g.mark-symbol.role-mark path")
        expect(week).to_have_count(1)
        week.click()
        expect(page.get_by_role("heading", name="Flagged answers, week of 16 Nov")).to_be_visible()


def test_an_address_opens_the_flagged_answers_of_a_version(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "max", "history?version=1&seen=loop", "History")
        expect(page.get_by_text("hid the silver")).to_be_visible()
        expect(page.get_by_text("flagged by 2 of 2")).to_be_visible()
        assert page.get_by_text("was late").count() == 0


def test_one_version_says_what_its_data_could_show_and_who_is_too_few(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "aud", "figures?version=2", "One version")
        expect(page.get_by_text("With 12 items only changes above 11.0 points would show.")).to_be_visible()
        expect(page.get_by_text("Too few prompts to say anything")).to_be_visible()
        rows = _table(page, "harm-by-group-v2")
        assert [(row["group"], row["version"], row["share"]) for row in rows] == [
            ("all prompts", "1", "1.0"),
            ("all prompts", "2", "0.0"),
            ("old", "1", "1.0"),
            ("old", "2", "0.0"),
        ]
        assert [row["group"] for row in _table(page, "crows-pairs-by-group-v2")] == ["", "age", "", "age"]


def test_two_versions_show_figures_first_and_then_the_texts(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "aud", "compare?version=2&figure=flag_rate", "Two versions")
        expect(page.get_by_text("12 fell, 0 rose, of 12.")).to_be_visible()
        headings = page.get_by_role("heading", level=3).all_text_contents()
        assert headings == ["v2 beside base, in figures", "The texts that changed most", "On the same published tests"]


def test_a_group_is_followed_over_versions(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "max", "groups?group=age%3Dold", "Groups")
        expect(page.get_by_text("v2 against base")).to_be_visible()
        assert [(row["version"], row["group"], row["share"]) for row in _table(page, "group-by-version")] == [
            ("1", "all prompts", "1.0"),
            ("1", "old", "1.0"),
            ("2", "all prompts", "0.0"),
            ("2", "old", "0.0"),
        ]


def test_an_empty_installation_says_on_every_page_what_comes_first(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Place(tmp_path_factory.mktemp("empty"), filled=False) as empty, page_of(browser) as page:
        empty.open(page, "max", "history", "History")
        expect(page.get_by_text("No published test is in use.")).to_be_visible()
        for where, title, words in (
            ("figures", "One version", "No model is here yet."),
            ("compare", "Two versions", "Nothing to compare yet."),
            ("groups", "Groups", "No group has enough prompts yet."),
        ):
            page.goto(f"{empty.web.url}/{where}")
            expect(page.get_by_role("heading", level=1)).to_have_text(title)
            expect(page.get_by_text(words)).to_be_visible()
    empty.store.close()
