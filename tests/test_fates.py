"""Claims about what a person is told of their own flags: each step of the way, and nothing of what anybody else said."""

import re
from datetime import timedelta
from typing import NamedTuple

import pytest
from sqlmodel import Session, col, select

from flagback.model import pair_sets
from flagback.model.pair_sets import Choice
from flagback.review_app import answer_words
from flagback.storage import fates, own_answers, set_aside, withdrawals
from flagback.storage.fates import Fate
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import TRAINING_SHARDS, NewPrompt, add_prompts
from flagback.storage.records import (
    CorrectionRun,
    Decision,
    DecisionKind,
    Evaluation,
    GateVerdict,
    Generation,
    Item,
    ItemPurpose,
    ModelVersion,
    PreferencePair,
    PreferenceSet,
    Prompt,
    SamplingRun,
    UnpairedAnswer,
    now,
)
from flagback.storage.store import Store
from tests.panel_of_two_groups import vote

ME, OTHERS = "r_me", ("r_a", "r_b", "r_c")


class Line(NamedTuple):
    """A base model with answers to judge: two to each prompt, of a training prompt and of one held out."""

    base: int
    #: (bad, good) answers.
    learnt: tuple[int, int]
    held_out: tuple[int, int]


@pytest.fixture
def line(sqlite_store: Store) -> Line:
    """I flag the bad answers; two others agree, and all find the good ones fine."""
    with sqlite_store.writing() as session:
        base = ModelVersion(kind="base", state="current", name="base", location="n", template="plain", fingerprint="f")
        session.add(base)
        session.flush()
        add_prompts(session, [NewPrompt([{"role": "user", "content": f"Prompt {n}"}], "en") for n in range(20)])
        rows = session.exec(select(Prompt)).all()
        sides = [next(row.id for row in rows if (row.shard in TRAINING_SHARDS) is side) for side in (True, False)]
        made = [answers(session, prompt, base.id) for prompt in sides]
        found = Line(base.id, *made)
    for bad, good in made:
        for who in (ME, *OTHERS[:2]):
            vote(sqlite_store, who, bad, flag=True)
            vote(sqlite_store, who, good, flag=False)
    return found


def answers(
    session: Session, prompt: int, version: int, *, purpose: ItemPurpose = "loop", run: int | None = None
) -> tuple[int, int]:
    """Two answers to a prompt, which wait for reviews."""
    new = [
        NewGeneration(
            prompt, f" {word} {version} {run}", "end", "sampled", f"run:{run or version}", version_id=version, sampling_run_id=run
        )
        for word in ("bad", "good")
    ]
    bad, good = add_generations(session, new)
    make_items(session, [bad, good], purpose=purpose, reviews_per_item=4, seed=0)
    return bad, good


def fate(store: Store, generation: int, *, who: str = ME) -> Fate:
    """What a person is told of their flag on an answer."""
    with store.reading() as session:
        item = session.exec(select(Item.id).where(Item.generation_id == generation)).one()
        flags = [flag for flag in own_answers.flags(session, who) if flag.item_id == item]
        [told] = fates.of_flags(session, flags).values()
    assert answer_words.in_full(told)
    assert answer_words.in_short(told)
    return told


def freeze(store: Store, version: int) -> int:
    """A set of what was judged so far."""
    with store.writing() as session:
        return pair_sets.freeze(session, version, simulated=False, choice=Choice()).id


def corrected(session: Session, parent: int, set_id: int, *, verdict: GateVerdict | None = None) -> ModelVersion:
    """What a correction that learnt from a set made, and what its test said."""
    run = CorrectionRun(set_id=set_id, parent_id=parent, recipe={}, seed=0, state="succeeded", asked_by="max")
    session.add(run)
    session.flush()
    made = ModelVersion(
        kind="correction",
        state="candidate",
        parent_id=parent,
        name=f"correction {run.id}",
        location="n",
        template="plain",
        fingerprint=f"f{run.id}",
        correction_run_id=run.id,
    )
    session.add(made)
    session.flush()
    run.candidate_id = made.id
    session.add(Evaluation(candidate_id=made.id, base_id=parent, seed=0, state="succeeded", verdict=verdict, asked_by="max"))
    session.flush()
    return made


def put(session: Session, kind: DecisionKind, version: int, previous: int) -> None:
    """Makes a version the one in use."""
    for number, state in ((previous, "retired"), (version, "current")):
        row = session.get_one(ModelVersion, number)
        row.state = state  # type: ignore[assignment]
        session.add(row)
        session.flush()
    session.add(Decision(kind=kind, version_id=version, previous_id=previous, decided_by="max", reason="r"))
    session.flush()


def test_a_flag_is_followed_from_the_set_to_the_model_in_use_and_back(sqlite_store: Store, line: Line) -> None:
    bad = line.learnt[0]
    assert fate(sqlite_store, bad) == Fate("waiting")
    made = freeze(sqlite_store, line.base)
    assert fate(sqlite_store, bad).state == "in_set"
    assert fate(sqlite_store, line.held_out[0]).state == "kept_aside"
    with sqlite_store.writing() as session:
        first = corrected(session, line.base, made)
    assert fate(sqlite_store, bad) == Fate("learnt", first.name)
    with sqlite_store.writing() as session:
        put(session, "promote", first.id, line.base)
        told = session.exec(select(Decision)).one()
    assert fate(sqlite_store, bad) == Fate("in_use", first.name, since=told.created_at)
    with sqlite_store.writing() as session:
        second = corrected(session, first.id, made)
        put(session, "promote", second.id, first.id)
    assert fate(sqlite_store, bad).state == "in_use"
    with sqlite_store.writing() as session:
        put(session, "roll_back", first.id, second.id)
        put(session, "roll_back", line.base, first.id)
    back = fate(sqlite_store, bad)
    assert (back.state, back.until is not None) == ("was_in_use", True)
    # of two corrections that learnt from it the one that led furthest is told
    with sqlite_store.writing() as session:
        corrected(session, line.base, made, verdict="fail")
    assert fate(sqlite_store, bad).state == "was_in_use"


def test_a_correction_that_failed_its_test_is_told_as_not_in_use(sqlite_store: Store, line: Line) -> None:
    made = freeze(sqlite_store, line.base)
    with sqlite_store.writing() as session:
        stopped = corrected(session, line.base, made, verdict="fail")
    assert fate(sqlite_store, line.learnt[0]) == Fate("stopped", stopped.name)
    assert "did not come into use" in answer_words.in_full(fate(sqlite_store, line.learnt[0]))


def test_a_later_model_goes_on_from_the_one_that_learnt_and_its_new_answer_is_shown_once_judged(
    sqlite_store: Store, line: Line
) -> None:
    made = freeze(sqlite_store, line.base)
    with sqlite_store.writing() as session:
        first = corrected(session, line.base, made)
        put(session, "promote", first.id, line.base)
        second = corrected(session, first.id, made)
        second.parent_id = first.id
        put(session, "promote", second.id, first.id)
        prompt = session.get_one(Generation, line.learnt[0]).prompt_id
        _, again = answers(session, prompt, second.id)
    found = fate(sqlite_store, line.learnt[0])
    assert found.again is None  # people are still to judge it
    for who in (ME, *OTHERS):
        vote(sqlite_store, who, again, flag=False)
    told = fate(sqlite_store, line.learnt[0]).again
    assert told is not None
    assert told.generation_id == again


def lone_flags(store: Store, line: Line) -> list[int]:
    """A set of answers without a counterpart that I flagged and one other person: who agreed on the first alone, and a third
    person too on the last."""
    with store.writing() as session:
        prompts = [
            row.id
            for row in session.exec(select(Prompt)).all()
            if row.shard in TRAINING_SHARDS and row.id != session.get_one(Generation, line.learnt[0]).prompt_id
        ][:3]
        new = [NewGeneration(prompt, " alone", "end", "sampled", "run:9", version_id=line.base) for prompt in prompts]
        made = add_generations(session, new)
        make_items(session, made, purpose="loop", reviews_per_item=4, seed=0)
    for generation, others in zip(made, ([True], [False], [True, True]), strict=True):
        vote(store, ME, generation, flag=True)
        for who, flag in zip(OTHERS, others, strict=False):
            vote(store, who, generation, flag=flag)
    with store.writing() as session:
        pair_sets.freeze(session, line.base, simulated=False, choice=Choice(unpaired=True))
    return made


def test_of_two_votes_on_an_answer_in_a_pair_nothing_is_told_that_would_be_the_others(sqlite_store: Store, line: Line) -> None:
    with sqlite_store.writing() as session:
        other = session.exec(select(Prompt.id).where(col(Prompt.shard).in_(TRAINING_SHARDS))).all()[-1]
        bad, good = answers(session, other, line.base)
    for who in (ME, OTHERS[0]):
        vote(sqlite_store, who, bad, flag=True)
        vote(sqlite_store, who, good, flag=False)
    freeze(sqlite_store, line.base)
    with sqlite_store.reading() as session:
        assert bad in session.exec(select(PreferencePair.rejected_id)).all()
    assert fate(sqlite_store, bad).state == "too_few"
    assert fate(sqlite_store, line.learnt[0]).state == "in_set"


def test_of_two_votes_on_an_answer_without_a_counterpart_nothing_is_told_that_would_be_the_others(
    sqlite_store: Store, line: Line
) -> None:
    agreed, differed, clear = lone_flags(sqlite_store, line)
    with sqlite_store.reading() as session:
        inside = set(session.exec(select(UnpairedAnswer.generation_id)).all())
    assert inside >= {agreed, clear}
    assert differed not in inside
    assert fate(sqlite_store, agreed) == fate(sqlite_store, differed)
    assert fate(sqlite_store, agreed).state == "too_few"
    assert fate(sqlite_store, clear).state == "in_set"


@pytest.mark.parametrize(("recipe", "state"), [({}, "learnt"), ({"flag_weight": 0.0}, "in_set"), ({"flags_per_step": 0}, "in_set")])
def test_a_run_that_does_not_learn_from_such_answers_is_not_named(
    sqlite_store: Store, line: Line, recipe: dict[str, float], state: str
) -> None:
    _, _, clear = lone_flags(sqlite_store, line)
    with sqlite_store.writing() as session:
        made = session.exec(select(PreferenceSet.id)).one()
        run = corrected(session, line.base, made).correction_run_id
        session.get_one(CorrectionRun, run).recipe = recipe
    assert fate(sqlite_store, clear).state == state
    assert fate(sqlite_store, line.learnt[0]).state == "learnt"
    with sqlite_store.writing() as session:
        shard = session.exec(
            select(Prompt.shard).join(Generation, col(Generation.prompt_id) == Prompt.id).where(Generation.id == clear)
        ).one()
        aside = {"stop_every": 4, "stop_shards": len(TRAINING_SHARDS) - shard}
        session.get_one(CorrectionRun, run).recipe = recipe | aside
    assert fate(sqlite_store, clear).state == "in_set"


def test_others_saw_it_otherwise_is_said_of_three_votes_and_never_of_two(sqlite_store: Store, line: Line) -> None:
    with sqlite_store.writing() as session:
        prompt = session.get_one(Generation, line.learnt[0]).prompt_id
        [alone, disputed] = add_generations(
            session,
            [NewGeneration(prompt, f" {word}", "end", "sampled", "run:9", version_id=line.base) for word in ("alone", "disputed")],
        )
        make_items(session, [alone, disputed], purpose="loop", reviews_per_item=4, seed=0)
    vote(sqlite_store, ME, alone, flag=True)
    vote(sqlite_store, OTHERS[0], alone, flag=False)
    vote(sqlite_store, ME, disputed, flag=True)
    for who in OTHERS:
        vote(sqlite_store, who, disputed, flag=False)
    freeze(sqlite_store, line.base)
    assert fate(sqlite_store, alone).state == "too_few"
    told = fate(sqlite_store, disputed)
    assert told.state == "differed"
    words = answer_words.in_full(told)
    assert not re.search(r"\b(three|two)\b|\b[23] (others|people|reviewers|votes)\b", words), (
        "no number of votes; a day may have a 3"
    )


def test_a_flag_that_came_after_the_set_waits_for_the_next_one(sqlite_store: Store, line: Line) -> None:
    freeze(sqlite_store, line.base)
    vote(sqlite_store, OTHERS[2], line.learnt[0], flag=True)
    assert fate(sqlite_store, line.learnt[0], who=OTHERS[2]).state == "waiting"
    assert fate(sqlite_store, line.learnt[0]).state == "in_set"


def test_what_is_left_out_or_taken_away_is_told_as_such(sqlite_store: Store, line: Line) -> None:
    freeze(sqlite_store, line.base)
    with sqlite_store.writing() as session:
        row = set_aside.add(session, "exclude", reviewer=ME, reason="a reason of theirs", by="lea", now=now())
    told = fate(sqlite_store, line.learnt[0])
    assert told.state == "left_out"
    assert "reason of theirs" not in answer_words.in_full(told)
    with sqlite_store.writing() as session:
        set_aside.end(session, row.id, by="lea", now=now())
        item = session.exec(select(Item.id).where(Item.generation_id == line.learnt[0])).one()
        withdrawals.withdraw(session, item, category="minors", review_id=None, by="lea", now=now())
    assert fate(sqlite_store, line.learnt[0]).state == "taken_away"


def test_that_a_text_was_written_for_a_test_is_told_only_once_the_test_is_over(sqlite_store: Store, line: Line) -> None:
    made = freeze(sqlite_store, line.base)
    with sqlite_store.writing() as session:
        candidate = corrected(session, line.base, made, verdict="not_enough_data")
        evaluation = session.exec(select(Evaluation)).one()
        run = SamplingRun(
            version_id=line.base, purpose="blind", evaluation_id=evaluation.id, decoding={}, prompt_ids=[], asked_by="max"
        )
        session.add(run)
        session.flush()
        prompt = session.get_one(Generation, line.held_out[0]).prompt_id
        blind, _ = answers(session, prompt, line.base, purpose="blind", run=run.id)
    vote(sqlite_store, ME, blind, flag=True)
    assert fate(sqlite_store, blind) == Fate("waiting")
    with sqlite_store.writing() as session:
        evaluation = session.get_one(Evaluation, evaluation.id)
        evaluation.verdict, evaluation.ended_at = "pass", now()
        session.add(evaluation)
    told = fate(sqlite_store, blind)
    assert (told.state, told.version, told.verdict) == ("tested", candidate.name, "pass")


def test_a_person_gets_their_own_answers_in_force_and_nobody_elses(sqlite_store: Store, line: Line) -> None:
    with sqlite_store.reading() as session:
        mine = own_answers.page(session, ME, size=3)
        assert [row.review.reviewer for row in mine] == [ME] * 3
        assert mine[0].review.id > mine[-1].review.id
        assert own_answers.page(session, ME, number=1, size=3)[0].review.id < mine[-1].review.id
        assert [row.review.verdict for row in own_answers.page(session, ME, kind="flagged")] == ["flag", "flag"]
        assert own_answers.tally(session, ME) == own_answers.Tally(flagged=2, fine=2)
        assert own_answers.tally(session, ME, since=now() + timedelta(seconds=1)) == own_answers.Tally()
        assert next(row.texts[0].generation_id for row in own_answers.everything(session, ME)) == line.learnt[0]
        assert own_answers.page(session, "r_nobody") == []
