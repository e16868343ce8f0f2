"""A run that stops early keeps its best weights, never learns from what told it, and stops there again after a kill."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from flagback.model import losses
from flagback.model.early_stop import EarlyStop, Reading
from flagback.model.layout import sequence_logps
from flagback.model.recipe import NoPairs, Pair, Recipe
from flagback.model.training import Stopped, Trained, correct
from tests.tiny_model import Held, random_lines, random_pairs, tiny_llama

#: PEFT 0.21 asks transformers 5.23 by an old name when it loads an adapter.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
#: Random pairs teach nothing of one another: the loss on those kept aside falls at first, if at all, and then climbs.
RECIPE = Recipe(
    steps=12,
    pairs_per_step=4,
    replay_per_step=2,
    learning_rate=1e-2,
    schedule="constant",
    beta=0.3,
    checkpoint_every=3,
    stop_every=2,
    stop_patience=2,
)
ASIDE = random_pairs(6, seed=50)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(folder: Path, *, recipe: Recipe = RECIPE, aside: list[Pair] | None = None, **more: Any) -> Trained:
    return correct(
        Held(tiny_llama()),
        random_pairs(8),
        aside=ASIDE if aside is None else aside,
        replay=random_lines(6),
        recipe=recipe,
        seed=3,
        folder=folder,
        **more,
    )


@pytest.fixture(scope="module")
def stopped_early(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The undisturbed run."""
    torch.set_num_threads(1)
    return run(tmp_path_factory.mktemp("early") / "run")


def test_in_bfloat16_it_looks_in_the_numbers_that_the_reference_was_scored_in(tmp_path: Path) -> None:
    still = replace(RECIPE, precision="bfloat16", learning_rate=1e-12, steps=2)
    looks = run(tmp_path / "run", recipe=still).environment["early_stop"]["readings"]
    assert [reading["loss"] for reading in looks] == pytest.approx([math.log(2)], abs=1e-4), (
        "nothing moved, so nothing is preferred"
    )


def test_it_ends_when_looks_find_nothing_better_and_keeps_the_weights_of_the_best(stopped_early: Trained, tmp_path: Path) -> None:
    told = stopped_early.environment["early_stop"]
    looks = [reading["step"] for reading in told["readings"]]
    best = told["best_step"]
    assert len(stopped_early.metrics) < RECIPE.steps, "these pairs cannot be learnt from others, so it must end early"
    assert looks == list(range(2, best + 2 * RECIPE.stop_patience + 1, 2))
    assert min(told["readings"], key=lambda reading: reading["loss"])["step"] == best
    plain = replace(RECIPE, stop_every=0, checkpoint_every=best)
    # A run of all steps, stopped by hand after as many, has the same weights in its checkpoint.
    seen: list[int] = []
    with pytest.raises(Stopped):
        run(tmp_path / "plain", recipe=plain, on_step=lambda m: seen.append(m.step), should_stop=lambda: len(seen) >= best)
    checkpoint = next((tmp_path / "plain").glob(f"step-{best:06d}")) / "adapter_model.safetensors"
    assert checkpoint.read_bytes() == (stopped_early.adapter / "adapter_model.safetensors").read_bytes()


def test_a_reading_is_the_weighted_loss_and_accuracy_of_the_pairs_kept_aside(stopped_early: Trained) -> None:
    told = stopped_early.environment["early_stop"]
    best = next(reading for reading in told["readings"] if reading["step"] == told["best_step"])
    corrected = PeftModel.from_pretrained(tiny_llama(), stopped_early.adapter).merge_and_unload()
    rows = [(pair.prompt_ids, ids) for pair in ASIDE for ids in (pair.chosen_ids, pair.rejected_ids)]
    change = (sequence_logps(corrected, rows) - sequence_logps(tiny_llama(), rows)).view(-1, 2)  # (B, 2)
    margin = RECIPE.beta * (change[:, 0] - change[:, 1])
    weight = torch.tensor([pair.weight for pair in ASIDE])
    each = losses.preference_losses(margin, torch.tensor([pair.soft_label for pair in ASIDE]))
    assert best["loss"] == pytest.approx(float((weight * each).sum() / weight.sum()), abs=1e-4)
    assert best["accuracy"] == pytest.approx(float((weight * (margin > 0)).sum() / weight.sum()), abs=1e-6)


def test_a_run_killed_anywhere_stops_at_the_same_look_with_the_same_bytes(stopped_early: Trained, tmp_path: Path) -> None:
    last = len(stopped_early.metrics)
    for after in range(1, last + 1):
        folder = tmp_path / f"after {after}"

        def killed(metrics: Any, after: int = after) -> None:
            if metrics.step == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(folder, on_step=killed)
        again = run(folder)
        assert again.weights_sha256 == stopped_early.weights_sha256
        assert again.environment["early_stop"] == stopped_early.environment["early_stop"]


def test_a_run_killed_between_its_last_checkpoint_and_its_end_takes_no_further_step(stopped_early: Trained, tmp_path: Path) -> None:
    last = len(stopped_early.metrics)
    recipe = replace(RECIPE, checkpoint_every=1)
    first = run(tmp_path / "run", recipe=recipe)
    assert (tmp_path / "run" / f"step-{last:06d}").is_dir()
    steps: list[int] = []
    again = run(tmp_path / "run", recipe=recipe, on_step=lambda m: steps.append(m.step))
    assert steps == []
    assert again.weights_sha256 == first.weights_sha256 == stopped_early.weights_sha256
    assert [one.step for one in again.metrics] == [one.step for one in first.metrics]


def test_figures_of_a_step_with_a_look_hold_it(stopped_early: Trained) -> None:
    looked = {one.step: one.aside_loss for one in stopped_early.metrics if one.aside_loss is not None}
    assert looked == {reading["step"]: reading["loss"] for reading in stopped_early.environment["early_stop"]["readings"]}


def test_pairs_kept_aside_are_part_of_what_the_folder_is_for(tmp_path: Path) -> None:
    one = run(tmp_path / "run")
    with pytest.raises(ValueError, match="checkpoints of another run"):
        run(tmp_path / "run", aside=ASIDE[:-1])
    assert one.pairs == 8, "none of those kept aside is learnt from"


def test_a_run_that_shall_stop_early_without_a_pair_to_tell_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoPairs, match=r"stop_every is 2, but none of 0 pairs kept aside .*raise stop_shards \(7\)"):
        run(tmp_path / "run", aside=[])


def test_without_an_early_stop_pairs_kept_aside_change_no_byte(tmp_path: Path) -> None:
    plain = replace(RECIPE, stop_every=0, steps=2)
    with_some, without = run(tmp_path / "some", recipe=plain), run(tmp_path / "none", recipe=plain, aside=[])
    assert with_some.weights_sha256 == without.weights_sha256
    assert "early_stop" not in with_some.environment


@pytest.mark.parametrize(
    ("losses_seen", "over", "best"),
    [
        ([0.7, 0.6, 0.5], False, 6),
        ([0.7, 0.6, 0.65, 0.64], True, 4),
        ([0.7, 0.6, 0.6, 0.6], True, 4),
        ([0.7, 0.8, 0.6, 0.7], False, 6),
        ([], False, None),
    ],
)
def test_patience_counts_looks_since_the_best(losses_seen: list[float], over: bool, best: int | None) -> None:
    watch = EarlyStop([], [], RECIPE, "padded")
    watch.readings = [Reading(2 * (place + 1), loss, 0.5) for place, loss in enumerate(losses_seen)]
    assert watch.over is over
    assert (watch.best.step if watch.best else None) == best
    assert json.dumps(watch.told())
