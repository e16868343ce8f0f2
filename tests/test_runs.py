"""Claims about asking for work."""

import pytest
from sqlmodel import select

from flagback.storage import runs
from flagback.storage.preferences import NoPairs
from flagback.storage.prompts import HELD_OUT_SHARDS, TRAINING_SHARDS, NewPrompt, add_prompts
from flagback.storage.records import AuditEntry, CorrectionRun, SamplingRun, WorkerHeartbeat, now
from flagback.storage.store import Store
from flagback.storage.versions import NewBase, NoModel, register_base


def with_model(store: Store, prompts: int = 40) -> int:
    """A base version and some prompts; returns the version's number."""
    with store.writing() as session:
        version = register_base(
            session, NewBase("tiny", "nowhere", "plain", {"model.safetensors": "0" * 64}, {}, "f" * 64), by="ada"
        )
        add_prompts(session, [NewPrompt([{"role": "user", "content": f"Prompt number {number}"}]) for number in range(prompts)])
    return version.id


def test_sampling_without_a_model_or_without_prompts_says_what_to_do(store: Store) -> None:
    with pytest.raises(NoModel, match="flagback model add"), store.writing() as session:
        runs.request_sampling(session, by="ada", now=now())
    with_model(store, prompts=0)
    with pytest.raises(runs.NoPrompts, match="flagback import prompts"), store.writing() as session:
        runs.request_sampling(session, by="ada", now=now())
    with store.reading() as session:
        assert session.exec(select(SamplingRun)).all() == []


def test_a_request_is_one_waiting_row_with_an_audit_entry(store: Store) -> None:
    version = with_model(store)
    with store.writing() as session:
        run = runs.request_sampling(session, by="ada", now=now(), limit=7, decoding={"k": 2, "seed": 5})
    assert (run.state, run.version_id, len(run.prompt_ids), run.asked_by) == ("waiting", version, 7, "ada")
    assert run.decoding == {**runs.DECODING, "k": 2, "seed": 5}
    with store.reading() as session:
        assert [entry.action for entry in session.exec(select(AuditEntry)).all()].count("sampling.asked") == 1


def test_sides_are_chosen_by_shard_and_nothing_else(store: Store) -> None:
    version = with_model(store, prompts=120)
    with store.reading() as session:
        held_out = runs.choose_prompts(session, version_id=version, limit=500, seed=0, side="held_out")
        training = runs.choose_prompts(session, version_id=version, limit=500, seed=0, side="training")
    assert {prompt.shard for prompt in held_out} <= set(HELD_OUT_SHARDS)
    assert {prompt.shard for prompt in training} <= set(TRAINING_SHARDS)
    assert len(held_out) + len(training) == 120


def test_the_choice_of_prompts_follows_their_content_not_their_row_ids(store: Store) -> None:
    version = with_model(store)
    with store.reading() as session:
        first = [prompt.content_hash for prompt in runs.choose_prompts(session, version_id=version, limit=10, seed=3)]
        again = [prompt.content_hash for prompt in runs.choose_prompts(session, version_id=version, limit=10, seed=3)]
        other = [prompt.content_hash for prompt in runs.choose_prompts(session, version_id=version, limit=10, seed=4)]
    assert first == again != other


@pytest.mark.parametrize(("name", "value"), [("k", 0), ("temperature", -1.0), ("top_p", 0.0), ("max_tokens", 0)])
def test_impossible_decoding_is_refused_by_name(store: Store, name: str, value: float) -> None:
    with_model(store)
    with pytest.raises(ValueError, match=name), store.writing() as session:
        runs.request_sampling(session, by="ada", now=now(), decoding={name: value})


def test_a_correction_without_a_flag_is_refused_and_nothing_is_stored(store: Store) -> None:
    with_model(store)
    with pytest.raises(NoPairs, match="Nobody has flagged"), store.writing() as session:
        runs.request_correction(session, by="ada", now=now())
    with store.reading() as session:
        assert session.exec(select(CorrectionRun)).all() == []


def test_only_one_correction_at_a_time(store: Store) -> None:
    version = with_model(store)
    with store.writing() as session:
        session.add(CorrectionRun(parent_id=version, recipe={}, seed=0, asked_by="ada"))
    with pytest.raises(runs.RunUnderWay, match=r"no worker is at it; 'flagback worker' goes on"), store.writing() as session:
        runs.request_correction(session, by="ada", now=now())
    with store.writing() as session:
        session.add(WorkerHeartbeat(worker_id="w", started_at=now(), seen_at=now()))
    with (
        pytest.raises(runs.RunUnderWay, match=r"is waiting .*; wait for it, or stop it"),
        store.writing() as session,
    ):
        runs.request_correction(session, by="ada", now=now())


def test_a_base_has_nothing_to_be_compared_with(store: Store) -> None:
    version = with_model(store)
    with pytest.raises(runs.UnknownRow, match="has no parent"), store.writing() as session:
        runs.request_evaluation(session, candidate_id=version, by="ada", now=now())


def test_a_stopped_run_stays_stopped_and_a_finished_one_stays_finished(store: Store) -> None:
    with_model(store)
    with store.writing() as session:
        run = runs.request_sampling(session, by="ada", now=now(), limit=2)
        runs.cancel(session, SamplingRun, run.id, by="bo", now=now())
        done = runs.request_sampling(session, by="ada", now=now(), limit=2)
        done.state = "succeeded"
        runs.cancel(session, SamplingRun, done.id, by="bo", now=now())
    assert (run.state, run.error) == ("cancelled", "Stopped by bo.")
    assert done.state == "succeeded"
