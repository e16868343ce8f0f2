"""Whole corrections through the store: of foreign models, foretold, over two processes, and those that end badly."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel, col, select

from flagback.model import cycle, joint_run
from flagback.model.forecast import Forecast, forecast
from flagback.model.pair_sets import Choice
from flagback.model.progress import Doing, Progress
from flagback.model.recipe import Recipe, Trained
from flagback.review_app import jobs
from flagback.review_app.jobs import Request
from flagback.review_app.settings import Settings
from flagback.review_app.steps import steps_of
from flagback.review_app.worker import Worker
from flagback.storage.preferences import NoPairs
from flagback.storage.records import CorrectionRun, ModelVersion, Prompt, RunMetric
from flagback.storage.store import Store
from tests.foreign_models import make
from tests.fresh import migrate
from tests.loop_home import RECIPE, Loop


class Place:
    """A home whose reviewers have judged what the embedded model wrote, and the worker's steps in it."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder)
        self.store = Store(self.settings.records_url)
        migrate(self.store)
        self.loop = Loop(self.store, folder, prompts=8)
        self.loop.sample()
        self.loop.review()
        self.said: list[str] = []
        self.steps = steps_of(self.settings, self.store)["correction"]
        self.worker = Worker(self.settings, self.store, {"correction": self.steps}, say=self.said.append)

    def done(self, run_id: int) -> CorrectionRun:
        """A correction after all of its steps, or those up to the one that failed, as the worker does them."""
        request = Request("correction", run_id)
        for name, act in self.steps:
            if self.worker._attempt(request, name, act) != "done":
                break
        with self.store.reading() as session:
            return session.get_one(CorrectionRun, run_id)

    def close(self) -> None:
        os.close(self.worker._lock)
        self.store.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("home"))
    yield made
    made.close()


def rows(store: Store) -> dict[str, int]:
    """How many rows every table has."""
    with store.reading() as session:
        return {name: len(session.execute(table.select()).all()) for name, table in SQLModel.metadata.tables.items()}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if ".db" not in path.name}


def test_a_forecast_tells_what_a_run_does_and_stores_nothing(place: Place) -> None:
    before = rows(place.store), files(place.settings.home)
    recipe = Recipe(**RECIPE)
    found = forecast(
        place.store,
        place.loop.shelf,
        recipe=recipe,
        seed=0,
        set_id=None,
        choice=Choice(),
        key=None,
        work=place.settings.home / "work",
    )
    assert (rows(place.store), files(place.settings.home)) == before
    run = place.done(place.loop.correction().id)
    assert run.state == "succeeded"
    told = run.environment
    assert (found.pairs, found.trained_parameters) == (told["pairs"], told["trained_parameters"])
    assert (found.layout, found.parts_per_step) == (told["layout"], told["parts_per_step"])
    assert (found.steps, found.pairs_per_step) == (2, min(4, found.pairs))
    assert 0 < found.needed.activations < found.needed.total
    many = max(os.cpu_count() or 1, 2)
    assert found.command == f"flagback correct --processes {many}"
    folder = place.settings.home / "work/correction-NUMBER/joint"
    assert found.torchrun.endswith(f"--nproc-per-node={many} -m flagback.model.joint_run {folder}")


def test_a_forecast_does_not_count_pairs_that_are_kept_aside_as_learnt_from(place: Place) -> None:
    def told(**more: Any) -> Forecast:
        recipe = Recipe(**RECIPE | more)
        work = place.settings.home / "work"
        return forecast(place.store, place.loop.shelf, recipe=recipe, seed=0, set_id=None, choice=Choice(), key=None, work=work)

    with pytest.raises(NoPairs, match="none is left to learn from"):
        told(stop_every=1, stop_shards=35)  # these prompts are all of one shard

    def move(shard: int) -> int:
        """Puts the last prompts into a shard; returns the one that they were of."""
        with place.store.writing() as session:
            some = session.exec(select(Prompt).order_by(col(Prompt.id)).offset(5)).all()
            before = some[0].shard
            for prompt in some:
                prompt.shard = shard
                session.add(prompt)
        return before

    before = move(69)
    whole, early = told(), told(stop_every=1, stop_shards=1)
    move(before)
    assert whole.aside == 0
    assert 0 < early.aside < whole.pairs
    assert early.pairs + early.aside == whole.pairs


def test_a_run_over_two_processes_goes_through_the_worker(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very command that the forecast shows, started by the worker's step; it tells how far its processes are."""
    heard: list[Doing] = []
    over_processes = joint_run.correct

    def listened(folder: Path, processes: int, *, on_progress: Progress, **more: Any) -> Trained:
        def hear(doing: Doing, done: int, total: int) -> None:
            heard.append(doing)
            on_progress(doing, done, total)

        return over_processes(folder, processes, on_progress=hear, **more)

    monkeypatch.setattr(joint_run, "correct", listened)
    run = place.done(place.loop.correction(processes=2, sharding="full").id)
    assert (run.state, run.error) == ("succeeded", None)
    assert (run.environment["world_size"], run.environment["sharding"]) == (2, "full")
    with place.store.reading() as session:
        steps = session.exec(select(RunMetric.step).where(RunMetric.run_id == run.id).order_by(col(RunMetric.step))).all()
        candidate = session.get_one(ModelVersion, run.candidate_id)
    assert steps == [1, 2]
    assert candidate.adapters == [run.adapter_sha256]
    assert heard[-1] == "train", "before it the scoring of what no earlier run has scored"


def test_a_run_that_trains_every_weight_goes_through_the_worker(place: Place) -> None:
    run = place.done(place.loop.correction(tuning="full", learning_rate=1e-4).id)
    assert (run.state, run.error) == ("succeeded", None)
    with place.store.reading() as session:
        candidate = session.get_one(ModelVersion, run.candidate_id)
    made = place.loop.shelf.fresh(candidate).model
    assert run.environment["trained_parameters"] == sum(weight.numel() for weight in made.parameters())
    assert made.get_output_embeddings().weight is made.get_input_embeddings().weight


def test_a_run_that_stops_being_a_number_leaves_the_current_model_and_may_be_started_again(place: Place) -> None:
    with place.store.reading() as session:
        before = session.exec(select(ModelVersion).where(ModelVersion.state == "current")).one()
        versions = len(session.exec(select(ModelVersion)).all())
    run = place.done(place.loop.correction(learning_rate=1e30, steps=3).id)
    assert run.state == "failed"
    assert run.ended_at is not None
    assert "The current model is untouched. The last good checkpoint, of step" in (run.error or "")
    assert "Lower learning_rate (1e+30)" in (run.error or "")
    with place.store.reading() as session:
        after = session.exec(select(ModelVersion).where(ModelVersion.state == "current")).one()
        assert jobs.standing(session, Request("correction", run.id)).error == run.error
        assert (after.id, after.fingerprint, after.adapters) == (before.id, before.fingerprint, before.adapters)
        assert len(session.exec(select(ModelVersion)).all()) == versions
    assert place.done(place.loop.correction().id).state == "succeeded"


@pytest.mark.parametrize("layout", ["llama", "llama_sentencepiece", "qwen2_chat", "gpt2", "gemma2", "bloom", "qwen3_5"])
def test_a_foreign_directory_goes_through_a_whole_run(layout: str, sqlite_store: Store, tmp_path: Path) -> None:
    """Sharded half-precision weights with grouped queries and an untied head (llama), other tokenizers, layers and templates."""
    folder = make(tmp_path / layout, layout)
    loop = Loop(sqlite_store, tmp_path, prompts=6, model=str(folder))
    loop.sample(k=2)
    loop.review()
    run = loop.correction()
    cycle.freeze(sqlite_store, run.id)
    sha256 = cycle.train(sqlite_store, loop.shelf, run.id, work=tmp_path / "work")
    candidate = cycle.register(sqlite_store, loop.shelf, run.id)
    assert candidate.adapters == [sha256]
    assert 0 < candidate.distance_to_base < 0.5
    with sqlite_store.reading() as session:
        environment = session.get_one(CorrectionRun, run.id).environment
    assert environment["pairs"] > 0
    assert loop.shelf.get(candidate).model.config.model_type == layout.removesuffix("_sentencepiece").removesuffix("_chat").replace(
        "qwen3_5", "qwen3_5_text"
    )
