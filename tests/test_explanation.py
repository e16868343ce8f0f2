"""What a correction did to its own pairs: figures by hand, and the way through a real run."""

import json
import shutil
from pathlib import Path

import pytest
from sqlmodel import select

from flagback.model import cycle, dialogue, embedded, explaining
from flagback.model.explanation import FILE, Explanation, FlaggedMove, PairMove, Side, from_dict, json_lines, read, summary, to_dict
from flagback.model.layout import sequence_logps
from flagback.model.lesson import answer_ids
from flagback.review_app.settings import Settings
from flagback.storage import quarantine
from flagback.storage.artifacts import DamagedArtifact
from flagback.storage.prompts import TRAINING_SHARDS, NewPrompt, add_prompts, shard_of
from flagback.storage.records import CorrectionRun, Generation, ModelVersion, PolicyScore, PreferencePair, Prompt, now
from flagback.storage.store import Store
from tests.command_line import run_command
from tests.loop_home import RECIPE, Loop


def moved(change: float, *, side: Side = "learnt", groups: tuple[str, ...] = (), chosen: float = 0.0) -> PairMove:
    """A pair at margin 2 - 3 = -1 that moved by `change`, of which the chosen answer has `chosen`."""
    return PairMove(0, "h", "contrast", side, groups, 1.0, 1.0, 7, 8, -3.0, -3.0 + chosen, -2.0, -2.0 + chosen - change)


def flagged(change: float, *, groups: tuple[str, ...] = ()) -> FlaggedMove:
    return FlaggedMove(8, "learnt", groups, 0.9, -10.0, -10.0 + change)


def test_margins_and_directions_worked_by_hand() -> None:
    pair = moved(1.5, chosen=-0.5)
    # chosen -3 to -3.5, rejected -2 to -4: margin -1 to .5
    assert (pair.margin_before, pair.margin_after, pair.change) == (-1.0, 0.5, 1.5)
    assert [moved(change).direction for change in (0.5, 0.09, -0.09, -0.5)] == ["towards", "still", "still", "against"]
    assert [flagged(change).direction for change in (-0.5, 0.05, 0.5)] == ["towards", "still", "against"]


def test_the_summary_counts_and_averages_by_side_and_by_group() -> None:
    pairs = (
        moved(1.0, groups=("gender: woman",)),
        moved(0.0, groups=("gender: woman", "age: old")),
        moved(-2.0, side="held_out", chosen=-1.0),
    )
    found = summary(Explanation(1, 1, 2, pairs, (flagged(-3.0, groups=("age: old",)), flagged(1.0)), 0))
    everything = found["all"]
    assert [everything[f"pairs_{name}"] for name in ("towards", "still", "against")] == [1, 1, 1]
    assert everything["margin_before"] == -1.0
    assert everything["margin_after"] == pytest.approx(-1 - 1 / 3, abs=1e-6)
    assert everything["chosen_change"] == pytest.approx(-1 / 3, abs=1e-6)
    assert (everything["flagged"], everything["flagged_towards"], everything["flagged_change"]) == (2, 1, -1.0)
    assert (found["learnt"]["pairs"], found["held_out"]["pairs"], found["held_out"]["margin_after"]) == (2, 1, -3.0)
    assert list(found["groups"]) == ["gender: woman", "age: old"]
    old = found["groups"]["age: old"]
    assert (old["pairs"], old["pairs_still"], old["flagged"], old["flagged_change"]) == (1, 1, 1, -3.0)
    assert (found["held_out"]["flagged"], found["held_out"]["flagged_change"]) == (0, None)


def test_an_explanation_comes_back_from_json_as_it_went() -> None:
    found = Explanation(1, 1, 2, (moved(1.0, groups=("gender: woman",)),), (flagged(-3.0),), 4)
    assert from_dict(json.loads(json.dumps(to_dict(found)))) == found
    assert json.loads("".join(json_lines(found))) == json.loads(json.dumps(to_dict(found)))
    assert json.loads("".join(json_lines(found._replace(pairs=(), flagged=()))))["pairs"] == []


# ------------------------------------------------------------------ a real run


@pytest.fixture
def corrected(sqlite_store: Store, tmp_path: Path) -> tuple[Loop, CorrectionRun]:
    """A correction of the embedded model that was trained on a dozen prompts of both sides and has its candidate."""
    loop = Loop(sqlite_store, tmp_path, prompts=6)
    with loop.store.writing() as session:
        held_out = [p for p in embedded.prompts() if p.tags and shard_of(p.split_key) not in TRAINING_SHARDS]
        chosen = held_out[:8]
        add_prompts(session, [NewPrompt(prompt.messages, "en", prompt.tags, prompt.split_key) for prompt in chosen])
    loop.sample()
    loop.review()
    run = loop.correction()
    with loop.store.writing() as session:
        session.get_one(CorrectionRun, run.id).recipe = dict(RECIPE, steps=12, learning_rate=5e-3, pairs_per_step=16)
    cycle.freeze(loop.store, run.id)
    cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work")
    cycle.register(loop.store, loop.shelf, run.id)
    return loop, run


def test_a_run_is_explained_once_pair_by_pair(corrected: tuple[Loop, CorrectionRun]) -> None:
    loop, run = corrected
    sha256 = explaining.explain(loop.store, loop.shelf, run.id)
    assert explaining.explain(loop.store, loop.shelf, run.id) == sha256
    found = read(loop.shelf.artifacts, sha256)
    with loop.store.reading() as session:
        kept = session.get_one(CorrectionRun, run.id)
        pairs = session.exec(select(PreferencePair).where(PreferencePair.set_id == kept.set_id)).all()
        judged = session.exec(select(PolicyScore).where(PolicyScore.set_id == kept.set_id, PolicyScore.harm > 0.5)).all()
        parent, candidate = (session.get_one(ModelVersion, number) for number in (kept.parent_id, kept.candidate_id))
        answers = {row.id: row for row in session.exec(select(Generation)).all()}
        prompts = {row.id: row for row in session.exec(select(Prompt)).all()}
    assert kept.explanation_sha256 == sha256
    assert {"freeze", "train", "register", "explain"} <= set(kept.seconds)
    assert [(row.position, row.chosen_id, row.rejected_id) for row in found.pairs] == sorted(
        (pair.position, pair.chosen_id, pair.rejected_id) for pair in pairs
    )
    assert {row.generation_id for row in found.flagged} == {row.generation_id for row in judged}
    assert {row.side for row in found.pairs} == {"learnt", "held_out"}
    assert any(row.groups for row in found.pairs)
    assert found.left_out == 0
    row = found.pairs[0]
    told = [(parent, (row.chosen_before, row.rejected_before)), (candidate, (row.chosen_after, row.rejected_after))]
    for version, expected in told:
        loaded = loop.shelf.get(version)
        ids = dialogue.prompt_ids(loaded.tokenizer, prompts[answers[row.chosen_id].prompt_id].messages, loaded.template)
        asked = [(ids, answer_ids(answers[n].token_ids, answers[n].text, loaded)) for n in (row.chosen_id, row.rejected_id)]
        assert sequence_logps(loaded.model, asked).tolist() == pytest.approx(expected, abs=1e-3)


def test_what_was_learnt_moved_towards_the_reviewers(corrected: tuple[Loop, CorrectionRun]) -> None:
    loop, run = corrected
    found = summary(read(loop.shelf.artifacts, explaining.explained(loop.store, loop.shelf, run.id)))
    assert found["learnt"]["pairs_towards"] > found["learnt"]["pairs"] / 2
    assert found["learnt"]["margin_after"] > found["learnt"]["margin_before"]
    assert found["learnt"]["rejected_change"] < found["learnt"]["chosen_change"]


def test_what_the_candidate_makes_of_answers_is_kept_for_the_next_correction(corrected: tuple[Loop, CorrectionRun]) -> None:
    loop, run = corrected
    explaining.explained(loop.store, loop.shelf, run.id)
    with loop.store.reading() as session:
        kept = session.get_one(CorrectionRun, run.id)
        candidate = session.get_one(ModelVersion, kept.candidate_id)
    folder = loop.shelf.artifacts.root / "reference"
    assert candidate.fingerprint in {path.name for path in folder.iterdir()}
    assert kept.environment["reference_kept"] == 0


def test_a_pair_whose_text_was_withdrawn_since_is_left_out_of_the_explanation(corrected: tuple[Loop, CorrectionRun]) -> None:
    loop, run = corrected
    with loop.store.writing() as session:
        kept = session.get_one(CorrectionRun, run.id)
        pairs = session.exec(select(PreferencePair).where(PreferencePair.set_id == kept.set_id)).all()
        gone = pairs[0].rejected_id
        quarantine.put_away(session, gone, review_id=None, category="personal_data", seats=1, now=now())
        left = {pair.position for pair in pairs if gone not in (pair.chosen_id, pair.rejected_id)}
    found = read(loop.shelf.artifacts, explaining.explained(loop.store, loop.shelf, run.id))
    assert {row.position for row in found.pairs} == left
    assert gone not in {row.generation_id for row in found.flagged}


def test_an_altered_explanation_is_not_read(corrected: tuple[Loop, CorrectionRun]) -> None:
    loop, run = corrected
    sha256 = explaining.explained(loop.store, loop.shelf, run.id)
    place = loop.shelf.artifacts.path(sha256) / FILE
    place.chmod(0o600)
    place.write_text(place.read_text().replace("towards", "against"))
    with pytest.raises(DamagedArtifact):
        read(loop.shelf.artifacts, sha256)


def test_the_command_tells_it_in_lines_and_as_json(
    corrected: tuple[Loop, CorrectionRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop, run = corrected
    home = tmp_path / "home"
    home.mkdir()
    target = Settings(home=home)
    assert loop.store.engine.url.database is not None
    loop.store.close()
    shutil.copy(loop.store.engine.url.database, str(target.records_url).removeprefix("sqlite:///"))
    shutil.copytree(loop.shelf.artifacts.root, target.artifacts)

    def explained(*words: str) -> str:
        found = run_command(capsys, home, "runs", "explain", *words)
        return found.err if found.code else found.out

    told = json.loads(explained(str(run.id), "--json"))
    assert told["summary"]["all"]["pairs"] == len(told["pairs"]) > 0
    assert len(told["flagged"]) == told["summary"]["all"]["flagged"] > 0
    lines = explained(f"correction-{run.id}").splitlines()
    assert lines[0].startswith(f"Correction {run.id}: version 1 before, {told['candidate']} after")
    assert [line.split()[0] for line in lines[1:5]] == ["what", "all", "learnt", "held"]
    assert "There is no correction 9" in explained("9")
    assert "names no correction" in explained("nine")


def test_a_run_without_a_candidate_is_refused_with_its_state(sqlite_store: Store, tmp_path: Path) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=4)
    loop.sample()
    loop.review()
    run = loop.correction()
    with pytest.raises(explaining.NotTrained, match=f"Correction {run.id} is waiting"):
        explaining.explained(loop.store, loop.shelf, run.id)
    with pytest.raises(explaining.UnknownCorrection, match="no correction 99"):
        explaining.explained(loop.store, loop.shelf, 99)
