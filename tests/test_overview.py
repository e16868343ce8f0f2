"""Claims about the maintainer's first page: what it counts and what it says to do next."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlmodel import select

from flagback.storage.answers import Answer
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.overview import ENOUGH_FLAGS, LoopState, loop_state
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import CorrectionRun, Evaluation, SamplingRun
from flagback.storage.reviews import submit
from flagback.storage.slots import claim
from flagback.storage.store import Store
from flagback.storage.versions import NewBase, promote, register_base, register_candidate

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASE = NewBase("tiny", "/models/tiny", "plain", {"model.safetensors": "a" * 64}, {}, "f" * 64)


def state(store: Store) -> LoopState:
    with store.reading() as session:
        return loop_state(session)


def test_the_page_leads_from_an_empty_home_to_the_first_decision(store: Store) -> None:
    assert (state(store).next.code, state(store).flag_share, state(store).current_id) == ("add_model", None, None)
    with store.writing() as session:
        register_base(session, BASE, by="ada")
    assert (state(store).next.code, state(store).current_name) == ("import_prompts", "tiny")
    with store.writing() as session:
        prompts = add_prompts(
            session,
            [NewPrompt([{"role": "user", "content": f"p{number}"}], lang="en" if number % 3 else "de") for number in range(12)],
        ).ids
    assert state(store).next.code == "sample"

    with store.writing() as session:
        session.add(SamplingRun(version_id=1, decoding={}, prompt_ids=prompts, asked_by="ada"))
    assert state(store).next.code == "wait"
    with store.writing() as session:
        run = session.exec(select(SamplingRun)).one()
        run.state = "succeeded"
        session.add(run)
        ids = add_generations(
            session,
            [NewGeneration(prompt, f" {text}", "end", "sampled", "run:1", version_id=1) for prompt in prompts for text in range(2)],
        )
        make_items(session, ids, purpose="loop", reviews_per_item=1, seed=1)
    now = state(store)
    assert (now.next.code, now.prompts, now.languages, now.generations) == ("review", 12, {"de": 4, "en": 8}, 24)
    assert (now.items_waiting, now.seats_open, now.samplings) == (24, 24, {"succeeded": 1})

    held = claim(store, "r_ada", count=24, now=NOON, lease_for=timedelta(hours=1), seed=1)
    assert (state(store).items_waiting, state(store).seats_open) == (24, 0)
    assert state(store).next.code == "review", "what reviewers hold at this moment is still to be judged"
    assert state(store).next.words.startswith("24 reviews are wanted;")
    for number, one in enumerate(held):
        verdict = "flag" if number < ENOUGH_FLAGS else "fine" if number < 23 else "skip"
        submit(
            store,
            "r_ada",
            Answer(
                token=str(uuid4()),
                lease_id=one.lease_id,
                verdict=verdict,
                categories=["attack"] if verdict == "flag" else [],
                severity="clear" if verdict == "flag" else None,
                skip_reason="unclear" if verdict == "skip" else None,
                taxonomy_version="1",
                guideline_version="1",
            ),
            now=NOON,
            policy_version="1",
        )
    now = state(store)
    assert (now.next.code, now.reviews, now.flags_on_current, now.items_waiting) == ("correct", 23, ENOUGH_FLAGS, 1)
    assert now.flag_share == ENOUGH_FLAGS / 23

    with store.writing() as session:
        correction = CorrectionRun(parent_id=1, recipe={}, seed=1, asked_by="ada")
        session.add(correction)
    assert (state(store).next.code, state(store).corrections) == ("wait", {"waiting": 1})
    with store.writing() as session:
        correction.state = "succeeded"
        session.add(correction)
        session.flush()
        register_candidate(session, run=correction, adapter_sha256="b" * 64, distance_to_base=0.1, facts={})
    assert state(store).next.code == "evaluate"
    with store.writing() as session:
        session.add(Evaluation(candidate_id=2, base_id=1, seed=1, asked_by="ada", state="succeeded", verdict="pass"))
    assert state(store).next.code == "decide"
    promote(store, 2, by="ada", now=NOON)
    now = state(store)
    assert (now.current_id, now.current_name, now.current_since) == (2, "correction 1", NOON)
    assert (now.next.code, now.flags_on_current) == ("review", 0)


def test_a_candidate_that_failed_does_not_block_the_page_for_ever(store: Store) -> None:
    with store.writing() as session:
        register_base(session, BASE, by="ada")
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": "p"}])]).ids
        correction = CorrectionRun(parent_id=1, recipe={}, seed=1, asked_by="ada", state="succeeded")
        session.add(correction)
        session.flush()
        register_candidate(session, run=correction, adapter_sha256="b" * 64, distance_to_base=0.1, facts={})
        session.add(
            Evaluation(
                candidate_id=2, base_id=1, seed=1, asked_by="ada", state="succeeded", verdict="fail", created_at=NOON, ended_at=NOON
            )
        )
    assert state(store).next.code == "decide"
    assert "said 'fail'" in state(store).next.words
    with store.writing() as session:
        session.add(
            SamplingRun(
                version_id=1,
                decoding={},
                prompt_ids=prompts,
                asked_by="ada",
                state="succeeded",
                created_at=NOON + timedelta(minutes=1),
            )
        )
    assert state(store).next.code == "sample"


def test_simulated_answers_are_counted_apart(store: Store) -> None:
    with store.writing() as session:
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": "p"}])]).ids
        ids = add_generations(session, [NewGeneration(prompts[0], " x", "end", "sampled", "run:1")])
        make_items(session, ids, purpose="loop", reviews_per_item=1, seed=1)
    [held] = claim(store, "r_sim", count=1, now=NOON, lease_for=timedelta(hours=1), seed=1)
    submit(
        store,
        "r_sim",
        Answer(token=str(uuid4()), lease_id=held.lease_id, verdict="fine", taxonomy_version="1", guideline_version="1"),
        now=NOON,
        policy_version="1",
        simulated=True,
    )
    assert (state(store).reviews, state(store).simulated_reviews, state(store).flag_share) == (0, 1, None)


def test_flags_that_a_correction_learnt_from_are_not_counted_again(store: Store) -> None:
    with store.writing() as session:
        register_base(session, BASE, by="ada")
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": "p"}])]).ids
        ids = add_generations(session, [NewGeneration(prompts[0], f" {x}", "end", "sampled", "run:1", version_id=1) for x in "ab"])
        make_items(session, ids, purpose="loop", reviews_per_item=1, seed=1)
    held = claim(store, "r_ada", count=2, now=NOON, lease_for=timedelta(hours=1), seed=1)
    for one, moment in zip(held, (NOON, NOON + timedelta(minutes=2)), strict=True):
        flag = Answer(
            token=str(uuid4()),
            lease_id=one.lease_id,
            verdict="flag",
            categories=["attack"],
            severity="clear",
            taxonomy_version="1",
            guideline_version="1",
        )
        submit(store, "r_ada", flag, now=moment, policy_version="1")
    assert state(store).flags_on_current == 2
    with store.writing() as session:
        learnt = NOON + timedelta(minutes=1)
        session.add(CorrectionRun(parent_id=1, recipe={}, seed=1, asked_by="ada", state="succeeded", created_at=learnt))
    assert state(store).flags_on_current == 1
