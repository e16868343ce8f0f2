"""Claims about the loop's steps on the embedded model and a real store: repeatable, on-policy, traceable."""

from pathlib import Path

import pytest
from sqlmodel import col, select

from flagback.model import cycle, embedded
from flagback.model.recipe import Recipe
from flagback.model.shelf import ChangedWeights
from flagback.storage import preferences, runs, versions
from flagback.storage.preferences import NoPairs
from flagback.storage.prompts import TRAINING_SHARDS, NewPrompt, add_prompts, shard_of
from flagback.storage.records import (
    CorrectionRun,
    Evaluation,
    Generation,
    Item,
    ModelVersion,
    PreferencePair,
    Review,
    RunMetric,
    now,
)
from flagback.storage.store import Store
from tests.loop_home import RECIPE, Loop


@pytest.fixture
def loop(sqlite_store: Store, tmp_path: Path) -> Loop:
    return Loop(sqlite_store, tmp_path, prompts=8)


def texts_of(store: Store, run_id: int) -> dict[tuple[int, str], int]:
    with store.reading() as session:
        rows = session.exec(select(Generation).where(Generation.sampling_run_id == run_id)).all()
    return {(row.prompt_id, row.text): row.count for row in rows}


def test_sampling_counts_equal_completions_once_and_makes_an_item_of_each_text(loop: Loop) -> None:
    run = loop.sample(k=6)
    found = texts_of(loop.store, run.id)
    assert sum(found.values()) == 8 * 6
    with loop.store.reading() as session:
        assert len(session.exec(select(Item)).all()) == sum(bool(text.strip()) for _, text in found)
    assert (run.state, run.done) == ("succeeded", 8)


def test_a_sampling_run_stopped_half_way_goes_on_without_doubling_and_to_the_same_texts(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle, "PROMPTS_AT_A_TIME", 1)
    whole = loop.sample(seed=3)
    with loop.store.writing() as session:
        run = runs.request_sampling(session, by="test", now=now(), limit=100, decoding={"k": 4, "seed": 3}, reviews_per_item=1)
    asked = 0

    def stop_soon() -> bool:
        nonlocal asked
        asked += 1
        return asked > 20

    with pytest.raises(cycle.Cancelled):
        cycle.sample(loop.store, loop.shelf, run.id, should_stop=stop_soon)
    partial = texts_of(loop.store, run.id)
    cycle.sample(loop.store, loop.shelf, run.id)
    cycle.sample(loop.store, loop.shelf, run.id)
    assert len(partial) < len(texts_of(loop.store, run.id))
    assert texts_of(loop.store, run.id) == texts_of(loop.store, whole.id)


def test_every_step_of_a_correction_may_be_repeated_and_happens_once(loop: Loop) -> None:
    loop.sample()
    loop.review()
    run = loop.correction()
    assert cycle.freeze(loop.store, run.id).id == cycle.freeze(loop.store, run.id).id
    first = cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work")
    assert cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "other") == first
    candidate = cycle.register(loop.store, loop.shelf, run.id)
    assert cycle.register(loop.store, loop.shelf, run.id).id == candidate.id
    assert cycle.finish(loop.store, run.id, by="test") == cycle.finish(loop.store, run.id, by="test")
    with loop.store.reading() as session:
        kept = session.get_one(CorrectionRun, run.id)
        assert [len(session.exec(select(kind)).all()) for kind in (CorrectionRun, Evaluation)] == [1, 1]
        assert len(session.exec(select(ModelVersion)).all()) == 2
        assert [row.step for row in session.exec(select(RunMetric).order_by(col(RunMetric.step))).all()] == [1, 2]
    assert (kept.state, kept.stage, kept.adapter_sha256) == ("succeeded", "done", first)
    assert kept.environment["threads"] >= 1
    assert {"freeze", "train", "register"} <= set(kept.seconds)
    assert candidate.adapters == [first]
    assert 0 < candidate.distance_to_base < 0.5


def test_the_same_set_and_seed_give_the_same_adapter(loop: Loop) -> None:
    loop.sample()
    loop.review()
    made = []
    for name in ("one", "two"):
        run = loop.correction()
        cycle.freeze(loop.store, run.id)
        made.append(cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / name))
        with loop.store.writing() as session:
            session.get_one(CorrectionRun, run.id).state = "failed"
    assert made[0] == made[1]


def test_a_pair_leads_back_to_the_clicks_and_a_rewrite_is_its_chosen_side(loop: Loop) -> None:
    loop.sample()
    loop.review(rewrite="walked to the station and read the paper.")
    run = loop.correction()
    frozen = cycle.freeze(loop.store, run.id)
    with loop.store.reading() as session:
        pairs = session.exec(select(PreferencePair).where(PreferencePair.set_id == frozen.id)).all()
        by_id = {review.id: review for review in session.exec(select(Review)).all()}
        [rewritten] = [pair for pair in pairs if pair.kind == "rewrite"]
        chosen, rejected = session.get_one(Generation, rewritten.chosen_id), session.get_one(Generation, rewritten.rejected_id)
    assert all(set(pair.review_ids) <= set(by_id) and pair.review_ids for pair in pairs)
    assert (chosen.source, chosen.token_ids) == ("rewrite", None)
    assert (
        chosen.text
        == rejected.text[: len(rejected.text) - len(rejected.text.lstrip())] + "walked to the station and read the paper."
    )


def test_answers_of_an_older_version_teach_only_their_own_correction(loop: Loop) -> None:
    loop.sample()
    loop.review()
    run = loop.correction()
    cycle.freeze(loop.store, run.id)
    cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work")
    candidate = cycle.register(loop.store, loop.shelf, run.id)
    cycle.finish(loop.store, run.id, by="test")
    versions.promote(loop.store, candidate.id, by="test", now=now(), override_reason="a test")
    with pytest.raises(NoPairs):
        loop.correction()
    loop.sample(seed=9)
    loop.review()
    second = loop.correction()
    frozen = cycle.freeze(loop.store, second.id)
    with loop.store.reading() as session:
        ids = {id_ for row in preferences.pairs_of(session, frozen.id) for id_ in row.review_ids}
        judged = session.exec(
            select(Generation.version_id)
            .join(Item, col(Item.generation_id) == Generation.id)
            .join(Review, col(Review.item_id) == Item.id)
            .where(col(Review.id).in_(ids))
        ).all()
    assert set(judged) == {candidate.id}
    cycle.train(loop.store, loop.shelf, second.id, work=loop.folder / "work")
    grandchild = cycle.register(loop.store, loop.shelf, second.id)
    assert len(grandchild.adapters) == 2
    assert grandchild.adapters[0] == candidate.adapters[0]
    assert grandchild.distance_to_base > 0


def test_a_set_with_held_out_pairs_only_says_so(sqlite_store: Store, tmp_path: Path) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=0)
    held_out = [prompt for prompt in embedded.prompts() if shard_of(prompt.split_key) not in TRAINING_SHARDS][:4]
    with loop.store.writing() as session:
        add_prompts(session, [NewPrompt(prompt.messages, "en", prompt.tags, prompt.split_key) for prompt in held_out])
    loop.sample()
    loop.review()
    run = loop.correction()
    cycle.freeze(loop.store, run.id)
    with pytest.raises(NoPairs, match="all on held-out prompts"):
        cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work")


def test_a_base_whose_files_changed_is_refused(loop: Loop) -> None:
    with loop.store.reading() as session:
        version = versions.current(session)
    version.files = {**version.files, "config.json": "0" * 64}
    with pytest.raises(ChangedWeights, match=r"config\.json changed"):
        loop.shelf.get(version)


def test_the_same_correction_asked_for_twice_ends_twice_with_one_candidate(loop: Loop) -> None:
    loop.sample()
    loop.review()
    ended = []
    for _ in range(2):
        run = loop.correction()
        cycle.freeze(loop.store, run.id)
        cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work")
        cycle.register(loop.store, loop.shelf, run.id)
        cycle.finish(loop.store, run.id, by="test")
        with loop.store.reading() as session:
            kept = session.get_one(CorrectionRun, run.id)
            ended.append((kept.state, kept.stage, kept.candidate_id))
    assert ended[0] == ended[1] == ("succeeded", "done", 2)


def test_a_correction_stopped_after_its_training_stays_stopped(loop: Loop) -> None:
    loop.sample()
    loop.review()
    run = loop.correction()
    cycle.freeze(loop.store, run.id)
    cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work")
    cycle.register(loop.store, loop.shelf, run.id)
    with loop.store.writing() as session:
        runs.cancel(session, CorrectionRun, run.id, by="ada", now=now())
    with pytest.raises(cycle.Cancelled):
        cycle.finish(loop.store, run.id, by="test")
    with loop.store.reading() as session:
        assert session.get_one(CorrectionRun, run.id).state == "cancelled"
        assert not session.exec(select(Evaluation)).all()


def test_a_text_written_again_is_not_put_before_reviewers_again(loop: Loop) -> None:
    loop.sample()
    with loop.store.reading() as session:
        items = len(session.exec(select(Item)).all())
    loop.sample()
    with loop.store.reading() as session:
        assert len(session.exec(select(Item)).all()) == items
    loop.sample(seed=1)
    with loop.store.reading() as session:
        shown = session.exec(
            select(Generation.prompt_id, Generation.text_hash).join(Item, col(Item.generation_id) == Generation.id)
        ).all()
    assert len(shown) == len(set(shown)) > items


def test_a_rate_is_found_once_a_run_and_pairs_of_the_last_training_shards_tell_when_to_stop(
    sqlite_store: Store, tmp_path: Path
) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=16)  # of two families, in shards 35 and 0
    run = asked_with(loop, {"learning_rate": "find", "stop_every": 1, "stop_shards": 35, "steps": 4, "stop_patience": 1})
    cycle.freeze(loop.store, run.id)
    cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work")
    with loop.store.reading() as session:
        done = session.get_one(CorrectionRun, run.id)
        rows = preferences.pairs_of(session, done.set_id or 0, training=True)
    swept, early = done.environment["rate_sweep"], done.environment["early_stop"]
    assert done.recipe["learning_rate"] == swept["suggestion"] != Recipe().learning_rate
    assert early["pairs"] == sum(row.shard >= 35 for row in rows) > 0
    assert done.environment["pairs"] == sum(row.shard < 35 for row in rows) > 0

    def again(*_: object, **__: object) -> None:
        raise AssertionError("the rate is looked for once")

    with loop.store.writing() as session:  # as if killed before the adapter was kept
        left = session.get_one(CorrectionRun, run.id)
        left.adapter_sha256 = None
        session.add(left)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flagback.model.rate_sweep.sweep", again)
        assert cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work") == done.adapter_sha256


def test_a_set_all_of_whose_pairs_would_be_kept_aside_says_so(loop: Loop) -> None:
    run = asked_with(loop, {"stop_every": 1, "stop_shards": 35})  # all of them are in shard 35
    cycle.freeze(loop.store, run.id)
    with pytest.raises(NoPairs, match=r"of the 35 shards kept aside .*; lower stop_shards"):
        cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work")


def asked_with(loop: Loop, more: dict[str, object]) -> CorrectionRun:
    """A correction of a sampled and reviewed loop, with other settings."""
    loop.sample()
    loop.review()
    with loop.store.writing() as session:
        return runs.request_correction(session, by="test", now=now(), recipe=RECIPE | more)
