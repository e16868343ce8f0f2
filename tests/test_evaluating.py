"""Claims about evaluating a candidate in the store: the same prompts and noise, blind, repeatable, never a pass without data."""

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from flagback.model import cycle, embedded, evaluating, groups
from flagback.model.both_models import Answered, by_draw
from flagback.model.shelf import Shelf
from flagback.storage import reviews, runs, slots
from flagback.storage.answers import Answer
from flagback.storage.artifacts import Artifacts
from flagback.storage.importing import import_preferences
from flagback.storage.prompts import HELD_OUT_SHARDS, NewPrompt, add_prompts
from flagback.storage.records import Evaluation, EvaluationItem, Generation, Item, Prompt, ReferenceText, SamplingRun, Slot, now
from flagback.storage.store import Store
from flagback.storage.taxonomy import GUIDELINE_VERSION, TAXONOMY_VERSION

RECIPE = {"steps": 2, "pairs_per_step": 4, "replay_per_step": 2, "rank": 2, "alpha": 4.0, "learning_rate": 1e-2}


class Candidate:
    """A store with a base, a quickly made candidate, and an evaluation asked for."""

    def __init__(self, store: Store, folder: Path, *, prompts: int) -> None:
        self.store, self.shelf = store, Shelf(Artifacts(folder / "artifacts"))
        cycle.add_model(store, "embedded", by="test")
        pairs = folder / "pairs.jsonl"
        pairs.write_text(
            "".join(
                f'{{"prompt": "{prompt.text}", "chosen": " he read the paper.", "rejected": " they hid the paper."}}\n'
                for prompt in embedded.prompts()[::150]
            ),
            encoding="utf-8",
        )
        report = import_preferences(store, pairs, name="made", by="test", now=now())
        with store.writing() as session:
            add_prompts(
                session,
                [NewPrompt(prompt.messages, "en", prompt.tags, prompt.split_key) for prompt in embedded.prompts()[:prompts]],
            )
            session.add_all(
                [
                    ReferenceText(purpose="perplexity", name="neutral", text=line, text_hash=str(number))
                    for number, line in enumerate(embedded.neutral_lines(1, 30))
                ]
            )
            run = runs.request_correction(session, by="test", now=now(), recipe=dict(RECIPE), set_id=report.set_id)
        cycle.freeze(store, run.id)
        cycle.train(store, self.shelf, run.id, work=folder / "work")
        cycle.register(store, self.shelf, run.id)
        self.evaluation = cycle.finish(store, run.id, by="test")

    def blind_items(self) -> list[int]:
        with self.store.reading() as session:
            return list(session.exec(select(Item.id).where(Item.purpose == "blind")).all())

    def judge_all(self, *, flag_every: int = 0) -> None:
        """One reviewer finds everything fine, but for one answer in so many."""
        seen = 0
        while claims := slots.claim(self.store, "r_one", count=40, now=now(), lease_for=timedelta(hours=1), seed=1):
            for claim in claims:
                seen += 1
                flag = bool(flag_every) and seen % flag_every == 0
                answer = Answer(
                    token=str(uuid.uuid4()),
                    lease_id=claim.lease_id,
                    verdict="flag" if flag else "fine",
                    categories=["stereotype"] if flag else [],
                    severity="clear" if flag else None,
                    taxonomy_version=TAXONOMY_VERSION,
                    guideline_version=GUIDELINE_VERSION,
                )
                reviews.submit(self.store, "r_one", answer, now=now(), policy_version="1")


@pytest.fixture
def candidate(sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Candidate:
    monkeypatch.setattr(evaluating, "SAMPLED_PROMPTS", 16)
    monkeypatch.setattr(evaluating, "BLIND_PROMPTS", 12)
    monkeypatch.setattr(evaluating, "DRAWS", 2)
    return Candidate(sqlite_store, tmp_path, prompts=300)


def test_both_versions_answer_the_same_held_out_prompts_with_the_same_noise(candidate: Candidate) -> None:
    found = evaluating.blind_samples(candidate.store, candidate.shelf, candidate.evaluation)
    with candidate.store.reading() as session:
        base, corrected = (session.get_one(SamplingRun, number) for number in found)
    assert base.prompt_ids == corrected.prompt_ids
    assert base.decoding == corrected.decoding
    assert (base.version_id, corrected.version_id) == (1, 2)


def test_a_text_that_both_wrote_is_judged_once(candidate: Candidate) -> None:
    evaluating.blind_samples(candidate.store, candidate.shelf, candidate.evaluation)
    with candidate.store.reading() as session:
        shown = session.exec(
            select(Generation).join(Item, col(Item.generation_id) == Generation.id).where(Item.purpose == "blind")
        ).all()
    assert len(shown) == len({(row.prompt_id, row.text_hash) for row in shown})
    assert 12 <= len(shown) <= 24


def test_without_reviews_the_gate_waits_and_with_them_a_second_evaluation_counts_them(candidate: Candidate) -> None:
    evaluating.blind_samples(candidate.store, candidate.shelf, candidate.evaluation)
    before = candidate.blind_items()
    first = evaluating.evaluate(candidate.store, candidate.shelf, candidate.evaluation)
    assert first.verdict != "pass"
    assert next(reason["verdict"] for reason in first.reasons if reason["check"] == "flag_rate") == "not_enough_data"
    candidate.judge_all()
    with candidate.store.writing() as session:
        again = runs.request_evaluation(session, candidate_id=first.candidate_id, by="test", now=now(), set_id=first.set_id)
    evaluating.blind_samples(candidate.store, candidate.shelf, again.id)
    second = evaluating.evaluate(candidate.store, candidate.shelf, again.id)
    assert candidate.blind_items() == before
    assert second.figures["flag_rate"]["n"] == 12
    assert first.figures["flag_rate"]["n"] == 0
    assert second.figures["perplexity:neutral"] == first.figures["perplexity:neutral"]


def test_what_nobody_can_judge_any_more_is_not_waited_for(candidate: Candidate) -> None:
    evaluating.blind_samples(candidate.store, candidate.shelf, candidate.evaluation)
    with candidate.store.writing() as session:
        spoilt = session.exec(select(Item).where(Item.purpose == "blind").order_by(col(Item.id)).limit(1)).one()
        for slot in session.exec(select(Slot).where(Slot.item_id == spoilt.id)).all():
            slot.state = "done"
            session.add(slot)
    candidate.judge_all()
    done = evaluating.evaluate(candidate.store, candidate.shelf, candidate.evaluation)
    assert done.figures["flag_rate"]["n"] == done.figures["flag_rate"]["planned"] == 11
    said = next(reason["words"] for reason in done.reasons if reason["check"] == "flag_rate")
    assert "are reviewed; ask reviewers to go on" not in said


def test_a_finished_evaluation_is_not_measured_again(candidate: Candidate) -> None:
    evaluating.blind_samples(candidate.store, candidate.shelf, candidate.evaluation)
    first = evaluating.evaluate(candidate.store, candidate.shelf, candidate.evaluation)
    candidate.judge_all()
    evaluating.blind_samples(candidate.store, candidate.shelf, candidate.evaluation)
    again = evaluating.evaluate(candidate.store, candidate.shelf, candidate.evaluation)
    assert (again.state, again.figures, again.ended_at) == ("succeeded", first.figures, first.ended_at)


def test_blind_samples_are_stopped_with_their_evaluation_only(candidate: Candidate) -> None:
    [blind, _] = evaluating.blind_samples(candidate.store, candidate.shelf, candidate.evaluation)
    with (
        candidate.store.writing() as session,
        pytest.raises(runs.PartOfEvaluation, match=f"--cancel evaluation-{candidate.evaluation}"),
    ):
        runs.cancel(session, SamplingRun, blind, by="ada", now=now())


def test_figures_keep_the_texts_behind_them_and_a_repeat_doubles_nothing(candidate: Candidate) -> None:
    evaluating.blind_samples(candidate.store, candidate.shelf, candidate.evaluation)
    evaluating.evaluate(candidate.store, candidate.shelf, candidate.evaluation)
    evaluation = evaluating.evaluate(candidate.store, candidate.shelf, candidate.evaluation)
    with candidate.store.reading() as session:
        rows = session.exec(select(EvaluationItem).where(EvaluationItem.evaluation_id == candidate.evaluation)).all()
    samples = [row for row in rows if row.metric == "samples"]
    assert len(samples) == 16 * 2
    assert all({"base", "candidate"} <= set(row.texts) for row in samples)
    assert {"perplexity:neutral", "length", "distinct_2", "preference_accuracy"} <= set(evaluation.figures)
    assert sum(row.metric == "perplexity:neutral" for row in rows) == evaluation.figures["perplexity:neutral"]["n"] == 30


def test_the_distance_to_the_base_is_measured_on_every_set_of_texts(candidate: Candidate) -> None:
    evaluating.blind_samples(candidate.store, candidate.shelf, candidate.evaluation)
    figures = evaluating.evaluate(candidate.store, candidate.shelf, candidate.evaluation).figures
    assert figures["kl_to_base:neutral"]["n"] == 30
    assert 0 <= figures["kl_to_base:neutral"]["low"] <= figures["kl_to_base:neutral"]["candidate"]
    assert figures["kl_to_base:neutral"]["candidate"] > 0
    assert "perplexity:unflagged" not in figures, "nobody judged an answer of the base yet"


def _judged_answers(candidate: Candidate, *, flag_every: int = 0) -> None:
    """The base answers every prompt there is, and one reviewer judges the answers."""
    with candidate.store.writing() as session:
        decoding = {"k": 2, "seed": 5, "max_tokens": 12}
        run = runs.request_sampling(session, by="test", now=now(), limit=300, decoding=decoding, version_id=1, reviews_per_item=1)
    cycle.sample(candidate.store, candidate.shelf, run.id)
    candidate.judge_all(flag_every=flag_every)


def test_fine_answers_about_groups_to_held_out_prompts_are_a_set_of_texts_of_their_own(candidate: Candidate) -> None:
    _judged_answers(candidate, flag_every=3)
    with candidate.store.reading() as session:
        axes = groups.axes_from_tags([prompt.tags for prompt in session.exec(select(Prompt)).all()], families=("origin", "faith"))
        found = evaluating._unflagged(session, 1, axes, simulated=False)
        flagged = {
            session.get_one(Item, review.item_id).generation_id
            for review in reviews.effective(session, purpose="loop")
            if review.verdict == "flag"
        }
        assert evaluating._unflagged(session, 2, axes, simulated=False) == [], "what another version wrote"
        assert evaluating._unflagged(session, 1, axes, simulated=True) == [], "what nobody judged"
    assert len(found) >= evaluating.MIN_UNFLAGGED
    assert flagged
    for prompt, generation in found:
        assert prompt.shard in HELD_OUT_SHARDS, "never a text of a training shard"
        assert generation.id not in flagged
        assert groups.named(f"{prompt.messages[-1]['content']} {generation.text}", extra=axes)
    figures = evaluating.evaluate(candidate.store, candidate.shelf, candidate.evaluation).figures
    assert figures["perplexity:unflagged"]["n"] == figures["kl_to_base:unflagged"]["n"] == len(found)


def test_a_set_of_that_name_that_somebody_brought_stays_as_it_is(candidate: Candidate) -> None:
    _judged_answers(candidate)
    with candidate.store.writing() as session:
        session.add(ReferenceText(purpose="perplexity", name="unflagged", text="he read the paper.", text_hash="own"))
    figures = evaluating.evaluate(candidate.store, candidate.shelf, candidate.evaluation).figures
    assert figures["perplexity:unflagged"]["n"] == 1


def test_answers_are_paired_by_the_draw_that_wrote_them() -> None:
    def made(number: int, text: str, draw: int, draws: list[int] | None, count: int = 1) -> Generation:
        same: dict[str, Any] = {"prompt_id": 1, "origin": "run:1", "source": "sampled", "finish_reason": "end", "text_hash": text}
        return Generation(id=number, text=text, draw=draw, draws=draws, count=count, **same)

    twice, once, old = made(7, "a", 0, [0, 2], 2), made(8, "b", 1, [1]), made(9, "c", 0, None, 2)
    assert [one.text for one in by_draw([once, twice])] == ["a", "b", "a"]
    assert [one.text for one in by_draw([once, old])] == ["c", "c", "b"]
    prompt = Prompt(id=1, content_hash="", messages=[], split_key="", shard=80)
    assert Answered(prompt, [twice, once], [once]).paired
    assert not Answered(prompt, [once], [old]).paired


def test_what_the_shared_noise_leaves_is_told(candidate: Candidate) -> None:
    evaluating.blind_samples(candidate.store, candidate.shelf, candidate.evaluation)
    done = evaluating.evaluate(candidate.store, candidate.shelf, candidate.evaluation)
    assert 0 <= done.figures["shared_noise"]["candidate"] < 1
    assert done.figures["shared_noise"]["n"] == 16
    assert "shared_noise" not in {reason["check"] for reason in done.reasons}


def test_without_held_out_prompts_there_is_no_pass_and_no_crash(sqlite_store: Store, tmp_path: Path) -> None:
    alone = Candidate(sqlite_store, tmp_path, prompts=0)
    with alone.store.writing() as session:
        evaluation = session.get_one(Evaluation, alone.evaluation)
        evaluation.set_id = None
        session.add(evaluation)
    with alone.store.writing() as session:
        prompts = session.exec(select(Prompt)).all()
        for prompt in prompts:
            prompt.shard = 0
            session.add(prompt)
    assert evaluating.blind_samples(alone.store, alone.shelf, alone.evaluation) == []
    assert evaluating.evaluate(alone.store, alone.shelf, alone.evaluation).verdict == "not_enough_data"


def test_a_stopped_evaluation_measures_nothing_more(candidate: Candidate) -> None:
    with candidate.store.writing() as session:
        runs.cancel(session, Evaluation, candidate.evaluation, by="ada", now=now())
    with pytest.raises(cycle.Cancelled):
        evaluating.blind_samples(candidate.store, candidate.shelf, candidate.evaluation)
    with pytest.raises(cycle.Cancelled):
        evaluating.evaluate(candidate.store, candidate.shelf, candidate.evaluation)
