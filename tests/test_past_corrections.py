"""Past corrections on the page Corrections, in a real browser: what became of the pairs, the texts behind it, and the report."""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, expect
from sqlmodel import Session, col, select

from flagback.model import cycle, embedded, explaining
from flagback.model.explanation import Explanation, FlaggedMove, read, summary
from flagback.model.kept_recipe import FORM
from flagback.model.recipe import Recipe
from flagback.review_app.screens import moves
from flagback.review_app.settings import Settings
from flagback.storage import preferences, quarantine, recipes, run_report
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.moves import moved_lines
from flagback.storage.prompts import TRAINING_SHARDS, NewPrompt, add_prompts, shard_of
from flagback.storage.records import Account, CorrectionRun, ModelVersion, PreferenceSet, Review, RunMetric, now
from flagback.storage.store import Store
from tests.browser import drawn, page_of
from tests.command_line import Run
from tests.loop_home import RECIPE, LoopHome
from tests.test_cli import home, run  # noqa: F401
from tests.test_leads_pages import pick

#: Runs that were stopped before they began, so that the list has a second page.
STOPPED = 20


class Place(LoopHome):
    """A served home with one correction that was trained and explained, the oldest of many."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, prompts=6)
        with self.store.writing() as session:
            aside = [one for one in embedded.prompts() if one.tags and shard_of(one.split_key) not in TRAINING_SHARDS][:8]
            add_prompts(session, [NewPrompt(one.messages, "en", one.tags, one.split_key) for one in aside])
            kept = asdict(Recipe(steps=7, loss="ipo")) | {"beta": 1}  # written as a whole number
            recipes.keep(session, "swift", kept, form=FORM, note="for a trial", by="max", now=now())
        self.loop.sample()
        self.loop.review()
        made = self.loop.correction()
        with self.store.writing() as session:
            session.get_one(CorrectionRun, made.id).recipe = dict(RECIPE, steps=12, learning_rate=5e-3, pairs_per_step=16)
        cycle.freeze(self.store, made.id)
        cycle.train(self.store, self.loop.shelf, made.id, work=self.home / "work")
        cycle.register(self.store, self.loop.shelf, made.id)
        sha256 = explaining.explain(self.store, self.loop.shelf, made.id)
        cycle.finish(self.store, made.id, by="max")
        with self.store.writing() as session:
            for _ in range(STOPPED):
                row = CorrectionRun(parent_id=made.parent_id, recipe=dict(RECIPE), seed=0, asked_by="max", state="cancelled")
                session.add(row)
        with self.store.reading() as session:
            self.run = session.get_one(CorrectionRun, made.id)
        self.found = read(self.loop.shelf.artifacts, sha256)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Place(tmp_path_factory.mktemp("past")) as made:
        yield made


def test_a_run_shows_what_became_of_its_pairs_and_the_texts_that_went_amiss(place: Place, browser: Browser) -> None:
    told = summary(place.found)
    amiss = [pair for pair in place.found.pairs if pair.direction == "against"]
    with page_of(browser) as page:
        place.open(page, "max", f"corrections?run={place.run.id}", "Corrections")
        learnt = told["learnt"]
        moved = "Of {pairs} pairs that it learnt from, {pairs_towards} moved towards".format(**learnt)
        expect(page.get_by_text(moved)).to_be_visible()
        picture = page.locator(f".st-key-picture-moves-{place.run.id}")
        expect(picture.get_by_text("held out").first).to_be_visible()
        with page.expect_download() as waiting:
            page.locator(f'a[download="moves-{place.run.id}.csv"]').click()
        rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text(encoding="utf-8"))))
        counted = {(row["pairs"], row["moved"]): int(row["count"]) for row in rows}
        assert counted["learnt", "towards"] == learnt["pairs_towards"]
        assert counted["held out", "against"] == told["held_out"]["pairs_against"]
        assert amiss, "twelve steps of a model this small move some held-out pair the wrong way"
        worst = min(amiss, key=lambda pair: pair.change)
        with place.store.reading() as session:
            pair = preferences.pairs_at(session, place.run.set_id or 0, [worst.position])[worst.position]
        assert pair is not None
        page.get_by_text(f"Moved against the reviewers ({len(amiss)})").click()
        expect(page.get_by_text(pair.chosen_text.strip()).first).to_be_visible()


def test_what_is_folded_is_not_read_and_the_run_that_was_asked_for_stands_on_its_page(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "max", "corrections", "Corrections")
        listed = page.get_by_test_id("stExpander").filter(has_text="Correction ")
        expect(listed).to_have_count(STOPPED)
        expect(page.get_by_text("stopped by hand").first).to_be_visible()
        assert page.get_by_text("asked by").count() == 0
        listed.first.locator("summary").click()
        expect(page.get_by_text("asked by")).to_have_count(1)
        page.goto(f"{place.web.url}/corrections?run={place.run.id}")
        expect(listed).to_have_count(1)
        expect(page.get_by_text("What became of its pairs")).to_be_visible()


def test_the_report_of_a_run_is_written_and_fetched(place: Place, browser: Browser) -> None:
    with page_of(browser) as page:
        place.open(page, "max", f"corrections?run={place.run.id}", "Corrections")
        page.get_by_role("button", name="Write the report").click()
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Download the report").click()
        text = Path(waiting.value.path()).read_text(encoding="utf-8")
        [kept] = [path for path in place.settings.home.rglob("*.md") if path.read_text(encoding="utf-8") == text]
        kept.unlink()  # as after its hour
        page.locator(f".st-key-page-{place.run.id}").get_by_test_id("stNumberInputStepUp").click()
        expect(page.get_by_text("is no longer kept; write it again")).to_be_visible()
    assert waiting.value.suggested_filename == f"flagback-correction-{place.run.id}.md"
    with place.store.reading() as session:
        run_row = session.get_one(CorrectionRun, place.run.id)
        assert text == run_report.run_report(session, run_row, summary(place.found))
        names = set(session.exec(select(Review.reviewer)).all())
        version = session.get_one(ModelVersion, place.run.candidate_id)
    assert "on the word of one person" in text
    assert not any(name in text for name in names), "who only reviewed is not named"
    for told in (
        f"`{place.run.adapter_sha256}`",
        f"`{version.fingerprint}`",
        "| learnt |",
        "steps 12",
        "12 of 12 steps",
        "seed: 0",
    ):
        assert told in text
    assert f"| all | {len(place.found.pairs):,} |" in text


def test_a_kept_recipe_can_be_begun_from_and_changed(place: Place, browser: Browser) -> None:
    with place.store.reading() as session:
        kept = recipes.find(session, "swift")
        before = session.exec(select(CorrectionRun.id).order_by(col(CorrectionRun.id).desc())).first()
        login = session.exec(select(Account.login)).first()
    assert login == "max"
    with page_of(browser) as page:
        place.open(page, "max", "corrections", "Corrections")
        page.get_by_test_id("stExpander").filter(has_text="Recipe").first.locator("summary").click()
        pick(page, "Begin from", "swift@1")
        expect(page.get_by_text("Unlike the default: steps 7, beta 1, loss ipo")).to_be_visible()
        expect(page.get_by_role("spinbutton", name="Steps")).to_have_value("7")
        page.get_by_role("spinbutton", name="LoRA rank").fill("4")
        page.keyboard.press("Enter")
        drawn(page)
        with place.store.writing() as session:  # by somebody else, meanwhile
            recipes.keep(session, "swift", asdict(Recipe(steps=3)), form=FORM, by="lena", now=now())
        page.get_by_role("button", name="Start the correction").click()
        expect(page.get_by_text("is waiting")).to_be_visible()
    with place.store.writing() as session:
        asked = session.exec(select(CorrectionRun).where(col(CorrectionRun.id) > before)).one()
        asked.state = "cancelled"
        session.add(asked)
    assert (asked.recipe_id, asked.recipe) == (kept.id, asdict(Recipe(steps=7, loss="ipo", beta=1.0, rank=4)))


def test_a_text_that_was_withdrawn_is_shown_nowhere(place: Place, browser: Browser) -> None:
    amiss = [pair for pair in place.found.pairs if pair.direction == "against"]
    worst = min(amiss, key=lambda pair: pair.change)
    with place.store.writing() as session:
        there = preferences.pairs_at(session, place.run.set_id or 0, range(len(place.found.pairs)))
        pair = there[worst.position]
        assert pair is not None
        text = pair.rejected_text.strip()
        quarantine.put_away(session, pair.rejected_id, review_id=None, category="personal_data", seats=1, now=now())
        left = preferences.pairs_at(session, place.run.set_id or 0, range(len(place.found.pairs)))
        assert left[worst.position] is None
        assert {found.position for found in left.values() if found} < set(left), "the others are there"
    with page_of(browser) as page:
        place.open(page, "max", f"corrections?run={place.run.id}", "Corrections")
        page.get_by_text("Moved against the reviewers").click()
        expect(page.get_by_text(f"Pair {worst.position + 1}: its text was withdrawn.").first).to_be_visible()
        drawn(page)
        assert page.get_by_text(text, exact=True).count() == 0


def test_an_answer_that_was_withdrawn_is_named_by_its_number_alone(place: Place) -> None:
    rows = list(place.found.flagged[:2])
    with place.store.writing() as session:
        quarantine.put_away(session, rows[0].generation_id, review_id=None, category="personal_data", seats=1, now=now())
        found = moves.answers_of(session, rows)
    assert rows[0].generation_id not in found
    assert rows[1].generation_id in found or rows[1].generation_id in _same_text(place, rows[0].generation_id)


def _same_text(place: Place, generation_id: int) -> list[int]:
    with place.store.reading() as session:
        return quarantine.same_texts(session, generation_id)


@given(st.floats(-5000, 5000))
def test_a_change_of_likelihood_can_be_read_whatever_it_is(nats: float) -> None:
    flagged = FlaggedMove(8, "learnt", ("origin: a|b",), 0.9, -10.0, -10.0 + nats)
    said = moved_lines(summary(Explanation(2, 1, 3, (), (flagged,), 0)))
    assert len(said[0]) < 500
    assert len(moves.factor_of(nats)) < 15
    if abs(nats) > 14:
        assert "more than 1,000,000 times" in said[0]
    row = next(line for line in said if "origin" in line)
    assert row.replace("\\|", "").count("|") == said[2].count("|"), "a name does not add a cell"


def test_factors_by_hand() -> None:
    told = {0.0: "1.00", math.log(37.13): "37.1", math.log(0.25): "0.25", math.log(1808): "1,808", math.log(0.0042): "0.0042"}
    assert {nats: moves.factor_of(nats) for nats in told} == told
    assert (moves.factor_of(800), moves.factor_of(-800)) == (">1,000,000", "<0.0000010")


def test_a_run_that_learnt_the_sets_of_all_rounds_anew_names_them_all(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        made = [_set(session, number) for number in (1, 2)]
        base = ModelVersion(id=1, kind="base", state="retired", name="m", location="m", template="plain", fingerprint="f1")
        round_two = {"round": {"sets": [one.id for one in made]}}
        session.add(base)
        session.add(
            ModelVersion(
                id=2,
                kind="correction",
                state="retired",
                name="m",
                location="m",
                template="plain",
                fingerprint="f2",
                facts=round_two,
            )
        )
        session.flush()
        session.add(
            CorrectionRun(
                id=1, parent_id=1, candidate_id=2, set_id=made[1].id, recipe={"rounds": "rebase"}, seed=0, asked_by="lena",
                state="succeeded", environment={"pairs": 2}, explanation_sha256="gone",
            )
        )  # fmt: skip
        session.add_all(RunMetric(run_id=1, step=step, metrics={"loss": 1 / step, "steps": 24.0}) for step in range(9, 25))
    with sqlite_store.reading() as session:
        text = run_report.run_report(session, session.get_one(CorrectionRun, 1), None)
    assert "- set 1: 1 pairs" in text
    assert "- set 2: 1 pairs" in text
    assert "- kinds of pairs: imported 2" in text
    assert "- loss: 0.111 to 0.042" in text, "the steps before a kill may never have been told"
    assert "gone, or was altered" in text


def _set(session: Session, number: int) -> PreferenceSet:
    """A set of one pair of its own."""
    (prompt,) = add_prompts(session, [NewPrompt([{"role": "user", "content": f"Say {number}"}], "en")]).ids
    rows = [
        NewGeneration(prompt_id=prompt, text=f" {word} {number}", finish_reason="given", source="imported", origin="test")
        for word in ("good", "bad")
    ]
    chosen, rejected = add_generations(session, rows)
    pair = preferences.NewPair("imported", prompt, chosen, rejected, 1.0, 1.0, [])
    return preferences.freeze(session, [pair], origin="import:x", policy="given", policy_version="1", arguments={}, salt="s")


def test_the_command_reports_a_run_and_names_one_that_is_not_there(run: Run, tmp_path: Path) -> None:  # noqa: F811
    assert run("migrate").code == 0
    missing = run("runs", "report", "correction-3")
    assert (missing.code, missing.err.strip()) == (1, "There is no correction 3; list them with 'flagback runs'.")
    assert "names no correction" in run("runs", "report", "sampling-1").err
    store = Store(Settings(home=tmp_path / "home").records_url)
    with store.writing() as session:
        session.add(ModelVersion(kind="base", state="current", name="none", location="none", template="plain", fingerprint="0"))
        session.flush()
        session.add(
            CorrectionRun(parent_id=1, recipe={"steps": 3}, seed=5, asked_by="lena", state="failed", error="The disk was full.")
        )
    store.close()
    said = run("runs", "report", "1")
    assert said.code == 0
    for told in ("# Correction 1", "Asked for by lena", "**failed**", "The disk was full.", "no set was frozen", "seed: 5"):
        assert told in said.out
    kept = run("runs", "report", "correction-1", "--out", str(tmp_path / "report.md"), "--json")
    assert kept.json == {"run": "correction-1", "file": str(tmp_path / "report.md")}
    assert (tmp_path / "report.md").read_text(encoding="utf-8").strip() == said.out.strip()
