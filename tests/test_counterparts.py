"""Pairs know whom their prompts speak of, and prompts their counterparts; what cannot be swapped adds nothing."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from flagback.model import checkpoint, cycle
from flagback.model.checkpoint import Loaded
from flagback.model.counterparts import A_PROMPT, group_of, swapped_prompts, wants_groups, wants_swaps
from flagback.model.mentions import tagged_axes
from flagback.model.recipe import Recipe, SwappedPrompt
from flagback.storage import runs
from flagback.storage.preferences import PairRow
from flagback.storage.records import CorrectionRun, ModelVersion, now
from flagback.storage.store import Store
from flagback.storage.unpaired import UnpairedRow
from tests.loop_home import RECIPE, Loop

ORIGINS = tagged_axes({"family": "origin", "term": f"the {word} man"} for word in ("Norvian", "Tarkesh", "Velmish", "Ostrani"))


def row(prompt: str, chosen: str, *, name: str = "a") -> PairRow:
    """A frozen pair of which only prompt, chosen answer and name matter here."""
    return PairRow(
        row_hash=name,
        kind="contrast",
        messages=[{"role": "user", "content": prompt}],
        lang="en",
        prompt_hash=prompt,
        split_key=prompt,
        shard=0,
        chosen_text=chosen,
        rejected_text=" was a burden",
        chosen_ids=None,
        rejected_ids=None,
        chosen_finish="end",
        rejected_finish="end",
        soft_label=1.0,
        weight=1.0,
        review_ids=[],
        position=0,
        chosen_id=1,
        rejected_id=2,
    )


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return checkpoint.load("embedded", [], template="plain")


def said(loaded: Loaded, swap: SwappedPrompt) -> tuple[str, str, str]:
    """The ids as text."""
    read = loaded.tokenizer.decode
    return read(swap.prompt_ids), read(swap.swapped_ids), read(swap.continuation_ids, skip_special_tokens=True)


def test_a_pairs_group_is_the_axes_that_its_prompt_names() -> None:
    assert group_of(row("Yesterday the Norvian tenant", " paid"), ORIGINS) == "origin"
    assert group_of(row("An old woman met the Norvian", " tenant"), ORIGINS) == "age & gender & origin"
    assert group_of(row("The train to the coast", " was late"), ORIGINS) == ""


def test_a_prompt_has_its_counterparts_with_a_neutral_answer_behind_both(loaded: Loaded) -> None:
    found = [said(loaded, swap) for swap in swapped_prompts([row("The Norvian tenant", " paid the rent.")], loaded, ORIGINS)]
    assert len(found) == A_PROMPT
    assert {prompt for prompt, _, _ in found} == {"The Norvian tenant"}
    assert {swapped for _, swapped, _ in found} <= {"The Tarkesh tenant", "The Velmish tenant", "The Ostrani tenant"}
    assert {behind for _, _, behind in found} == {" paid the rent."}


def test_an_answer_that_names_the_group_is_not_neutral_and_the_next_pairs_is(loaded: Loaded) -> None:
    rows = [row("The Norvian tenant", " met a Norvian.", name="a"), row("The Norvian tenant", " slept.", name="b")]
    assert {said(loaded, swap)[2] for swap in swapped_prompts(rows, loaded, ORIGINS)} == {" slept."}
    assert {said(loaded, swap)[2] for swap in swapped_prompts(rows[:1], loaded, ORIGINS)} == {""}


def test_what_names_nobody_or_cannot_be_swapped_back_adds_nothing(loaded: Loaded) -> None:
    assert swapped_prompts([row("The train to the coast", " was late")], loaded, ORIGINS) == []
    # Both origins stand for the same place after a swap with a third: only reversible ones are made, whatever they are.
    for swap in swapped_prompts([row("A Norvian met a Tarkesh", " there")], loaded, ORIGINS):
        assert said(loaded, swap)[0] != said(loaded, swap)[1]


def test_a_prompt_of_an_answer_without_a_counterpart_is_swapped_with_a_fine_answer_behind_it(loaded: Loaded) -> None:
    def alone(text: str, *, harmful: bool) -> UnpairedRow:
        like = row("The Norvian tenant", "")
        known = {name: getattr(like, name) for name in ("row_hash", "messages", "lang", "prompt_hash", "split_key", "shard")}
        return UnpairedRow(
            **known, text=text, token_ids=None, harmful=harmful, weight=1.0, review_ids=[], position=0, generation_id=1
        )

    fine = swapped_prompts([alone(" slept.", harmful=False)], loaded, ORIGINS)
    assert fine == swapped_prompts([row("The Norvian tenant", " slept.")], loaded, ORIGINS)
    assert {said(loaded, swap)[2] for swap in swapped_prompts([alone(" stole.", harmful=True)], loaded, ORIGINS)} == {""}


def test_the_order_of_pairs_changes_nothing(loaded: Loaded) -> None:
    rows = [row("The Norvian tenant", " slept.", name="b"), row("The old man", " sang.", name="a")]
    assert swapped_prompts(rows, loaded, ORIGINS) == swapped_prompts(rows[::-1], loaded, ORIGINS)


def test_a_default_recipe_asks_for_nothing() -> None:
    assert not wants_groups(Recipe())
    assert not wants_swaps(Recipe())
    assert wants_groups(Recipe(group_weights="even"))
    assert wants_swaps(Recipe(adversary_weight=0.1))
    assert not wants_swaps(Recipe(adversary_weight=0.1, swaps_per_step=0))


def test_a_correction_in_the_store_weighs_groups_and_compares_counterparts(sqlite_store: Store, tmp_path: Path) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=30)
    loop.sample()
    loop.review()
    fair: dict[str, Any] = RECIPE | {
        "group_weights": "worst",
        "consistency_weight": 1.0,
        "adversary_weight": 0.1,
        "swaps_per_step": 4,
    }
    with sqlite_store.writing() as session:
        run = runs.request_correction(session, by="test", now=now(), recipe=dict(fair))
    cycle.freeze(sqlite_store, run.id)
    cycle.train(sqlite_store, loop.shelf, run.id, work=tmp_path / "work")
    with sqlite_store.reading() as session:
        found = session.get_one(CorrectionRun, run.id)
        assert session.get_one(ModelVersion, found.parent_id).parent_id is None
    assert found.recipe == asdict(Recipe(**fair))
    assert sum(found.environment["group_weights"].values()) == pytest.approx(1)
    assert found.environment["alarms"] == []


def test_an_alarm_is_kept_with_the_run_while_it_trains(sqlite_store: Store, tmp_path: Path) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=8)
    loop.sample()
    loop.review()
    # A loss that lowers both answers, much too fast.
    fast = RECIPE | {"steps": 9, "loss": "apo_down", "learning_rate": 0.02, "beta": 0.05, "replay_weight": 0.0}
    with sqlite_store.writing() as session:
        run = runs.request_correction(session, by="test", now=now(), recipe=fast)
    cycle.freeze(sqlite_store, run.id)

    def kept() -> list[dict[str, Any]]:
        with sqlite_store.reading() as session:
            found: list[dict[str, Any]] = session.get_one(CorrectionRun, run.id).environment.get("alarms", [])
            return found

    during: list[list[str]] = []

    def look() -> bool:
        during.append([alarm["kind"] for alarm in kept()])
        return False

    cycle.train(sqlite_store, loop.shelf, run.id, work=tmp_path / "work", should_stop=look)
    assert "displacement" in during[-1]
    assert "displacement" not in during[0]
    (alarm,) = [alarm for alarm in kept() if alarm["kind"] == "displacement"]
    assert "Raise anchor_weight (now 0) to 0.1" in alarm["advice"]
