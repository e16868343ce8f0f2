"""How far a run is, as its parts tell it and as screens and commands find it in the store."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from flagback.model import cycle, evaluating, explaining, joint_run
from flagback.model.layout import tree_logps
from flagback.model.progress import Doing, Progress
from flagback.model.rate_sweep import sweep, usual_rates
from flagback.model.recipe import Alarm, OutOfMemory, Recipe
from flagback.model.training import correct
from flagback.model.trees import Tree
from flagback.review_app import jobs
from flagback.review_app.jobs import Request, Standing
from flagback.storage.records import CorrectionRun, Evaluation
from flagback.storage.store import Store
from tests.loop_home import Loop
from tests.test_evaluating import Candidate
from tests.tiny_model import Held, random_lines, random_pairs, tiny_llama

SMALL = Recipe(steps=3, pairs_per_step=4, replay_per_step=1, rank=2, alpha=4.0)


class Heard:
    """What a piece of work told."""

    def __init__(self) -> None:
        self.all: list[tuple[Doing, int, int]] = []

    def __call__(self, doing: Doing, done: int, total: int) -> None:
        self.all.append((doing, done, total))

    def of(self, doing: Doing) -> list[tuple[int, int]]:
        """What was said of one part; each further than the one before, and none past the end."""
        found = [(done, total) for one, done, total in self.all if one == doing]
        assert found == sorted(found)
        assert all(0 <= done <= total for done, total in found)
        return found


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Standing]:
    """Where runs stood, as anybody would have read it right after each time that it was kept."""
    found: list[Standing] = []
    kept = cycle.progress_keeper

    def keeper(store: Store, kind: type[CorrectionRun] | type[Evaluation], row_id: int) -> Progress:
        keep = kept(store, kind, row_id)

        def keep_and_look(doing: Doing, done: int, total: int) -> None:
            keep(doing, done, total)
            with store.reading() as session:
                found.append(jobs.standing(session, Request("correction" if kind is CorrectionRun else "evaluation", row_id)))

        return keep_and_look

    for module in (cycle, explaining, evaluating):
        monkeypatch.setattr(module, "progress_keeper", keeper)
    return found


def test_scoring_tells_each_batch_and_ends_at_the_last_tree() -> None:
    trees = [Tree((3, 4, number % 7), ((5, 6, number % 5), (7,))) for number in range(1500)]
    heard: list[tuple[int, int]] = []
    tree_logps(tiny_llama(), trees, "padded", cuts=4, on_scored=lambda *far: heard.append(far))
    assert len(heard) > 2, "in several batches"
    assert heard == sorted(heard)
    assert heard[-1] == (1500, 1500)


def test_a_correction_tells_that_it_scores_before_it_learns(tmp_path: Path) -> None:
    heard = Heard()
    pairs, lines = random_pairs(8), random_lines(3)
    correct(Held(tiny_llama()), pairs, replay=lines, recipe=SMALL, seed=1, folder=tmp_path, on_progress=heard)
    done, total = heard.of("score the answers")[-1]
    assert done == total > 0
    assert heard.all[-1] == ("train", 0, SMALL.steps)


def test_a_sweep_tells_its_step_sizes_and_of_no_training() -> None:
    heard = Heard()
    told = sweep(Held(tiny_llama()), random_pairs(8), recipe=SMALL, seed=3, rates=usual_rates(1e-5, 1e-1, 7), on_progress=heard)
    tried = heard.of("try step sizes")
    assert tried[0] == (0, 8)
    assert tried[-1][0] == len(told.tried) + 1
    assert not heard.of("train")


def test_a_run_shows_how_far_it_is_in_every_long_part(seen: list[Standing], sqlite_store: Store, tmp_path: Path) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=8)
    loop.sample()
    loop.review()
    run = loop.correction(find_rate=True, learning_rate=3.2e-3, pairs_per_step=8)
    cycle.freeze(sqlite_store, run.id)
    cycle.train(sqlite_store, loop.shelf, run.id, work=tmp_path / "work")
    cycle.register(sqlite_store, loop.shelf, run.id)
    explaining.explain(sqlite_store, loop.shelf, run.id)
    assert list(dict.fromkeys(at.words for at in seen)) == ["score the answers", "try step sizes", "train", "explain"]
    explained = [(at.done, at.total) for at in seen if at.words == "explain"]
    assert explained == sorted(explained)
    assert len({total for _, total in explained}) == 1, "what was kept from the training is done, and not left out"
    assert all(0 <= at.share <= 1 and at.total for at in seen)
    with sqlite_store.reading() as session:
        assert set(session.get_one(CorrectionRun, run.id).seconds) == {"freeze", "train", "register", "explain"}
    cycle.finish(sqlite_store, run.id, by="test")
    with sqlite_store.reading() as session:
        at = jobs.standing(session, Request("correction", run.id))
    assert (at.state, at.words, at.total) == ("succeeded", "done", 0)


def test_what_cannot_be_kept_or_is_over_ends_no_run(sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=2)
    loop.sample(k=2)
    loop.review()
    run = loop.correction()
    keep = cycle.progress_keeper(sqlite_store, CorrectionRun, run.id)

    def stage() -> tuple[str, int]:
        with sqlite_store.reading() as session:
            found = session.get_one(CorrectionRun, run.id)
            return found.stage, found.stage_done

    keep("score the answers", 1, 4)
    assert stage() == ("freeze", 0), "nobody is at it"
    with sqlite_store.writing() as session:
        session.get_one(CorrectionRun, run.id).state = "running"
    keep("explain", 2, 4)
    assert stage() == ("explain", 2)

    def locked() -> None:
        raise OperationalError("UPDATE", {}, Exception("database is locked"))

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_store, "writing", locked)
        keep("train", 3, 4)
    assert stage() == ("explain", 2)


def test_an_error_of_one_process_is_told_though_another_goes_on_talking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [{"error": "OutOfMemory", "words": "memory ran out"}, {"progress": ["score the answers", 3, 4]}]
    lines = "".join(json.dumps(line) + "\n" for line in said)
    code = f"import pathlib, sys; pathlib.Path({str(tmp_path / 'joint/told.jsonl')!r}).write_text({lines!r}); sys.exit(1)"
    monkeypatch.setattr(joint_run, "command", lambda *_: [sys.executable, "-c", code])
    (tmp_path / "joint").mkdir()
    heard = Heard()
    alarms: list[Alarm] = []
    with pytest.raises(OutOfMemory, match="memory ran out"):
        joint_run.correct(tmp_path, 2, on_progress=heard, on_alarm=alarms.append)
    assert heard.of("score the answers") == [(3, 4), (3, 4)], "tried once more with half as much at once"
    assert [alarm.kind for alarm in alarms] == ["memory"]


def test_an_evaluation_shows_its_samples_and_what_it_measures(seen: list[Standing], sqlite_store: Store, tmp_path: Path) -> None:
    made = Candidate(sqlite_store, tmp_path, prompts=40)
    seen.clear()
    request = Request("evaluation", made.evaluation)

    def standing() -> Standing:
        with sqlite_store.reading() as session:
            return jobs.standing(session, request)

    between: list[Standing] = []

    def look(ask: Callable[[], bool] = lambda: False) -> bool:
        between.append(standing())
        return ask()

    evaluating.blind_samples(sqlite_store, made.shelf, request.row_id, should_stop=look)
    assert {(at.words, at.state) for at in between} == {("blind samples", "running")}
    assert between[0].total > 0
    assert [at.done for at in between] == sorted(at.done for at in between)
    evaluating.evaluate(sqlite_store, made.shelf, request.row_id)
    assert {"measure pairs", "measure texts"} <= {at.words for at in seen}
    assert ("measure texts", 0) in {(at.words, at.done) for at in seen}, "how far the texts' words differ is measured first"
    assert all(at.total for at in seen)
    assert (standing().state, standing().words, standing().total) == ("succeeded", "done", 0)
