"""A sweep proposes a rate at which the loss falls, leaves the model alone, and says when none helps."""

import math
from pathlib import Path

import pytest
import torch

from flagback.model import rate_sweep
from flagback.model.rate_sweep import NoRateFound, chosen, sweep, usual_rates
from flagback.model.recipe import Pair, Recipe, rate_cost
from flagback.model.training import Stopped, correct, weights_fingerprint
from tests.tiny_model import Held, random_lines, random_pairs, tiny_llama

RECIPE = Recipe(steps=8, pairs_per_step=8, replay_weight=0.0, schedule="constant", beta=0.2)


def test_rates_are_a_geometric_row() -> None:
    row = usual_rates(1e-4, 1e-1, 4)
    assert row == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])


def test_the_steepest_fall_before_the_turn_is_proposed() -> None:
    row = usual_rates(1e-4, 1.0, 9)
    found = [0.69, 0.69, 0.68, 0.64, 0.5, 0.3, 0.2, 0.9, 3.0]
    told = chosen(row, found, climbed=True)
    smoothed = [one.smoothed for one in told.tried]
    lowest = smoothed.index(min(smoothed))
    place = row.index(told.suggestion)
    slopes = [(smoothed[i + 1] - smoothed[i - 1]) / math.log(row[i + 1] / row[i - 1]) for i in range(1, lowest)]
    assert 0 < place < lowest
    assert slopes[place - 1] == min(slopes)
    assert told.diverged == row[-1]
    assert smoothed[1] == pytest.approx(0.69)
    assert smoothed[2] == pytest.approx(rate_sweep.MEMORY * 0.69 + (1 - rate_sweep.MEMORY) * 0.68)


def test_a_loss_that_never_falls_is_said_and_not_guessed() -> None:
    with pytest.raises(NoRateFound, match=r"fell at none of 5 rates from 0\.0001 to 1; .*Name a learning_rate"):
        chosen(usual_rates(1e-4, 1.0, 5), [0.6, 0.7, 0.8, 0.9, 1.0], climbed=False)
    with pytest.raises(NoRateFound, match="none of 0 rates"):
        chosen([], [], climbed=True)


def test_the_rate_that_is_found_teaches_and_the_model_stays_as_it_was(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model, pairs = tiny_llama(), random_pairs(8)
    before = weights_fingerprint(model)
    told = sweep(Held(model), pairs, recipe=RECIPE, seed=3, rates=usual_rates(1e-5, 3.0, 21))
    assert weights_fingerprint(model) == before
    assert not hasattr(model, "peft_config")
    assert told.told() == sweep(Held(model), pairs, recipe=RECIPE, seed=3, rates=usual_rates(1e-5, 3.0, 21)).told()

    def learnt(rate: float) -> float:
        recipe = Recipe(**{**RECIPE.__dict__, "learning_rate": rate})
        return correct(Held(model), pairs, recipe=recipe, seed=3, folder=tmp_path / f"{rate}").metrics[-1].loss

    proposed = learnt(told.suggestion)
    assert proposed < learnt(told.suggestion / 100) - 0.05
    assert proposed < learnt(3.0)


def test_the_loss_beside_a_rate_is_what_the_step_at_that_rate_left() -> None:
    model, pairs = tiny_llama(), random_pairs(8)
    told = sweep(Held(model), pairs, recipe=RECIPE, seed=3, rates=[1e-3, 1e-2, 3e-2])
    assert told.tried[0].loss < math.log(2) - 1e-4, "with every pair in every step the first step already shows"
    assert [one.rate for one in told.tried] == [1e-3, 1e-2, 3e-2]


def test_what_differs_from_rate_to_rate_is_the_rate_and_no_batch() -> None:
    pairs = random_pairs(40)
    recipe = Recipe(steps=8, pairs_per_step=4, replay_per_step=2, schedule="constant")
    told = sweep(Held(tiny_llama()), pairs, replay=random_lines(30), recipe=recipe, seed=3, rates=usual_rates(1e-9, 1e-7, 6))
    losses = [one.loss for one in told.tried]
    assert max(losses) - min(losses) < 1e-4, "rates that low do nothing, so that only other examples could make a difference"
    turned = sweep(
        Held(tiny_llama()), pairs[::-1], replay=random_lines(30), recipe=recipe, seed=3, rates=usual_rates(1e-9, 1e-7, 6)
    )
    assert turned == told


def test_a_sweep_that_is_stopped_by_hand_says_so() -> None:
    asked = [0]

    def stop() -> bool:
        asked[0] += 1
        return asked[0] > 4

    with pytest.raises(Stopped):
        sweep(Held(tiny_llama()), random_pairs(4), replay=random_lines(2), recipe=RECIPE, seed=3, should_stop=stop)


def test_pairs_that_contradict_one_another_give_no_rate() -> None:
    (one,) = random_pairs(1)
    pairs = [one, Pair("turned", one.prompt_ids, one.rejected_ids, one.chosen_ids, weight=one.weight, soft_label=one.soft_label)]
    with pytest.raises(NoRateFound):
        sweep(Held(tiny_llama()), pairs, recipe=RECIPE, seed=3, rates=usual_rates(1e-4, 1e-1, 7))


def test_what_it_costs_is_said_in_steps() -> None:
    assert rate_cost(Recipe(steps=24)).endswith("up to 2.3 times the time of the run alone.")
