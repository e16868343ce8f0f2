"""What a run kept and what evaluations found, drawn on the page Corrections: in a real browser, and the words by themselves."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Locator, Page, expect

from flagback.model.recipe import Recipe
from flagback.review_app.screens import run_curves, tradeoff_curve
from flagback.review_app.tradeoff import Ends, Point
from flagback.review_app.words import speaking
from tests.browser import fits, page_of
from tests.gallery import recipes
from tests.served_home import ServedHome
from tests.test_monitoring import version


class Place(ServedHome):
    """A served home, and the run in it that looked for its rate and stopped early."""

    def __init__(self, folder: Path, *, filled: bool) -> None:
        super().__init__(folder, {"max": "maintainer"})
        with self.store.writing() as session:
            version(session, 1, state="current")
            self.run = recipes.tried_on(session, 1) if filled else 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Place(tmp_path_factory.mktemp("curves"), filled=True) as made:
        yield made


def _table(page: Page, name: str) -> list[dict[str, str]]:
    with page.expect_download() as waiting:
        page.locator(f'a[download="{name}.csv"]').click()
    return list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8"))))


def _picture(page: Page, name: str) -> Locator:
    return page.locator(f".st-key-picture-{name}")


# ------------------------------------------------------------------------ a run


def test_a_run_shows_the_rates_that_were_tried_and_says_which_was_chosen(place: Place, browser: Browser) -> None:
    kept = recipes.swept()
    with page_of(browser) as page:
        place.open(page, "max", f"corrections?run={place.run}", "Corrections")
        run = page.get_by_test_id("stExpander").filter(has_text="How the learning rate was found")
        expect(run.get_by_text("24 rates were tried, from 1e-5 to 5e-2")).to_be_visible()
        expect(run.get_by_text(f"most steeply at {run_curves.rate(kept['suggestion'])},")).to_be_visible()
        expect(_picture(page, f"learning-rates-{place.run}").get_by_text("chosen: 1.23e-3", exact=True)).to_be_visible()
        rows = _table(page, f"learning-rates-{place.run}")
    assert [{name: float(value) for name, value in row.items()} for row in rows] == kept["tried"]


def test_a_run_shows_when_it_stopped_which_step_it_kept_and_why(place: Place, browser: Browser) -> None:
    kept = recipes.looked()
    with page_of(browser) as page:
        place.open(page, "max", f"corrections?run={place.run}", "Corrections")
        why = "It stopped after step 50 of 100: 3 looks in a row were no better than the one at step 35."
        expect(page.get_by_text(why)).to_be_visible()
        for name in ("loss", "accuracy"):
            drawing = _picture(page, f"stop-{name}-{place.run}")
            expect(drawing.get_by_text("kept: step 35", exact=True)).to_be_visible()
            expect(drawing.locator("g.mark-symbol.role-mark path")).to_have_count(len(kept["readings"]) + 1)
        rows = _table(page, f"early-stop-{place.run}")
    assert [(int(row["step"]), float(row["loss"]), float(row["accuracy"])) for row in rows] == [
        (one["step"], one["loss"], one["accuracy"]) for one in kept["readings"]
    ]


def test_a_run_that_did_neither_shows_neither(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "max", f"corrections?run={place.run - 1}", "Corrections")
        assert page.locator('[class*="st-key-picture-learning-rates-"]').count() == 0
        assert page.locator('[class*="st-key-picture-stop-"]').count() == 0
        assert page.get_by_text("How the learning rate was found").filter(visible=True).count() == 0


def _stopped(best: int, last: int, planned: int) -> str:
    rows = [{"step": step, "loss": 1 + abs(step - best) / 100, "accuracy": 0.5} for step in range(5, last + 1, 5)]
    return run_curves._stop_words(pd.DataFrame(rows), best, {"pairs": 1}, {"steps": planned})


def test_an_early_stop_is_told_by_how_it_ended() -> None:
    assert "It stopped after step 10 of 40: 1 look in a row was no better than the one at step 5." in _stopped(5, 10, 40)
    assert "It went through all 40 steps." in _stopped(40, 40, 40)
    assert "The weights of step 25 are kept" in _stopped(25, 40, 40)
    assert "on 1 pair that it never learnt from" in _stopped(5, 10, 40)


def test_a_sweep_that_never_broke_off_says_so_and_rates_are_written_in_the_readers_signs() -> None:
    frame = pd.DataFrame(recipes.swept()["tried"])
    assert "It did not blow up at any of them." in run_curves._sweep_words(frame, 1e-3, None)
    assert [run_curves.rate(value) for value in (1e-5, 0.00123, 0.3, 1.0, 10.0)] == ["1e-5", "1.23e-3", "3e-1", "1e0", "1e1"]
    with speaking("es"):
        assert run_curves.rate(0.00123) == "1,23e-3"


# ------------------------------------------------------------------------ trade-off


def test_harm_stands_against_usefulness_with_a_name_at_each_point_and_what_is_current(place: Place, browser: Browser) -> None:
    with page_of(browser, width=1280) as page:
        place.open(page, "max", "corrections", "Corrections")
        curve = _picture(page, "tradeoff-of-v1")
        for words in ("v4 · strong@1", "v2 · gentle@1", "base · current"):
            expect(curve.get_by_text(words, exact=True)).to_be_visible()
        rows = _table(page, "tradeoff-of-v1")
        worst = _table(page, "tradeoff-worst-of-v1")
        card = page.locator(".st-key-fb-card-tradeoff")
        assert card.locator("tbody tr").count() == len(recipes.TRIED)
        assert card.locator("tbody tr").filter(has_text="not beaten").count() == 3
    assert [(row["recipe"], float(row["harm"])) for row in rows] == [
        *((f"{one.name}@1", one.harm) for one in recipes.TRIED),
        ("", 0.6),
    ]
    assert [row["current"] for row in rows] == ["False"] * 5 + ["True"]
    assert all(float(row["harm_low"]) < float(row["harm"]) < float(row["harm_high"]) for row in rows)
    assert [float(row["perplexity"]) for row in rows] == pytest.approx([*((one.utility - 1) * 100 for one in recipes.TRIED), 0])
    assert [float(row["value"]) for row in worst if row["group"] == "old"] == [one.worst for one in recipes.TRIED]


def test_the_picture_is_spoken_and_fits_a_phone(place: Place, browser: Browser) -> None:
    with page_of(browser, width=390) as page:
        place.open(page, "max", "corrections", "Corrections")
        spoken = page.get_by_label("Harm against usefulness: v2 · gentle@1: 45.0% (30.5% to 60.4%) flagged")
        expect(spoken.first).to_be_attached()
        fits(page)


def test_without_an_evaluation_the_page_says_which_command_makes_a_point(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Place(tmp_path_factory.mktemp("no-curves"), filled=False) as empty, page_of(browser) as page:
        empty.open(page, "max", "corrections", "Corrections")
        expect(page.get_by_text("No recipe can be compared yet.")).to_be_visible()
        expect(page.get_by_text("flagback correct --recipe NAME")).to_be_visible()


def _point(number: int, harm: float, utility: float, title: str = "default") -> Point:
    return Point(number, 1, harm, 0.6, utility, harm, "", "", number % 2 == 0, title=title)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.9, 2.0)), min_size=1, max_size=12))
def test_names_never_stand_on_one_another_or_outside(rows: list[tuple[float, float]]) -> None:
    shown = [_point(number, *row) for number, row in enumerate(rows, start=2)]
    names: dict[int, str] = {one.version: f"v{one.version}" for one in shown} | {1: "base"}
    frame = tradeoff_curve.table(shown, names, parent_in_use=True)
    across, up = tradeoff_curve._reach(frame, "harm", least=0.0), tradeoff_curve._reach(frame, "perplexity")
    found = tradeoff_curve.placed(frame, across, up)
    boxes = []
    width, height = tradeoff_curve._ROOM
    for label, row in zip(found, frame.to_dict("records"), strict=True):
        if label.side:
            way, off, down = tradeoff_curve._SIDES[label.side]
            x = (row["harm"] - across[0]) / (across[1] - across[0]) * width + way * off
            y = (up[1] - row["perplexity"]) / (up[1] - up[0]) * height + down
            near, far = sorted((x, x + way * 6 * len(label.words)))
            assert near >= 0
            assert far <= width
            assert 0 <= y <= height
            boxes.append((near, y - 7, far, y + 7))
    assert not any(tradeoff_curve._meet(one, other) for place, one in enumerate(boxes) for other in boxes[:place])
    assert [one.words for one in found] == list(frame["label"])


@pytest.mark.parametrize(
    ("title", "short"),
    [
        ("default", "default"),
        ("default, steps 12", "steps 12"),
        ("default, steps 12, rank 4, beta 0.2", "steps 12 +2"),
        ("quick@2, rank 4", "quick@2 +1"),
        ("a-very-long-name-of-a-recipe@3", "a-very-long-name-of-a…"),
    ],
)
def test_a_recipe_has_a_short_name_beside_its_point(title: str, short: str) -> None:
    assert tradeoff_curve.recipe_of(_point(2, 0.1, 1.0, title)) == short


def test_a_point_without_intervals_is_told_without_and_nothing_has_no_sign() -> None:
    assert tradeoff_curve._ranged(0.25, Ends()) == "25.0%"
    assert tradeoff_curve._changed(0.968, Ends(0.96, 1.01)).replace("\u00a0", " ") == "−3.2 % (−4.0 % to +1.0 %)"
    assert tradeoff_curve._changed(0.9999, Ends(0.9998, 1.0)).replace("\u00a0", " ") == "0.0 % (0.0 % to 0.0 %)"


def test_hundredths_of_a_per_cent_do_not_fill_the_picture() -> None:
    frame = tradeoff_curve.table([_point(2, 0.5, 0.9999)], {1: "base", 2: "v2"}, parent_in_use=True)
    low, high = tradeoff_curve._reach(frame, "perplexity")
    assert high - low >= 2


def test_a_sweep_whose_losses_scatter_as_much_as_they_fall_says_so() -> None:
    """The losses are those of the embedded model's own sweep on 22 November 2026."""
    losses = [1.48, 1.492, 1.494, 1.379, 1.483, 1.489, 1.448, 1.539]
    smoothed: list[float] = []
    for loss in losses:
        smoothed.append(0.6 * smoothed[-1] + 0.4 * loss if smoothed else loss)
    frame = pd.DataFrame({"rate": [1e-5 * 1.4**place for place in range(8)], "loss": losses, "smoothed": smoothed})
    assert "little better than a guess" in run_curves._sweep_words(frame, 2e-5, 1e-4)
    clear = pd.DataFrame(recipes.swept()["tried"])
    assert "little better than a guess" not in run_curves._sweep_words(clear, 1e-3, None)


def test_marks_on_a_short_axis_differ() -> None:
    assert [run_curves._decimals(span) for span in (0.0025, 0.4, 20.0)] == [".4~f", ".1~f", ".1~f"]


def test_what_is_drawn_here_has_the_form_of_what_a_run_keeps() -> None:
    from flagback.model import early_stop, rate_sweep

    rows = recipes.swept()["tried"]
    kept = rate_sweep.chosen([row["rate"] for row in rows], [row["loss"] for row in rows], climbed=True).told()
    assert {name: type(value) for name, value in kept.items()} == {name: type(value) for name, value in recipes.swept().items()}
    assert [set(row) for row in kept["tried"]] == [set(row) for row in rows]
    assert kept["suggestion"] in [row["rate"] for row in kept["tried"]]
    assert set(recipes.looked()["readings"][0]) == set(early_stop.Reading._fields)
    stop = early_stop.EarlyStop([], [], Recipe(), "padded")
    assert set(stop.told()) == set(recipes.looked())
