"""Recipes survive JSON and refuse what cannot work."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from flagback.model.recipe import BadRecipe, Recipe, StepMetrics, metrics_from


def test_a_recipe_comes_back_from_json_as_it_went() -> None:
    recipe = Recipe(rank=4, targets=("q_proj", "v_proj"), schedule="cosine")
    assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe
    assert Recipe(**json.loads(json.dumps(asdict(Recipe())))) == Recipe()


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("rank", 0, "at least 1"),
        ("rank", 100_000, "at most 4096"),
        ("steps", 0, "at least 1"),
        ("steps", 2.5, "whole number"),
        ("steps", 100_000_000, "at most 100000"),
        ("pairs_per_step", True, "whole number"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("beta", -0.1, "above 0"),
        ("replay_weight", -1.0, "0 or more"),
        ("dropout", 1.0, "below 1"),
        ("schedule", "stairs", "one of constant, linear, cosine"),
        ("layout", "round", "one of auto, flat, padded"),
        ("group_weights", "fair", "one of given, even, worst"),
        ("group_rate", 0.0, "above 0"),
        ("consistency_weight", -1.0, "0 or more"),
        ("adversary_weight", float("inf"), "0 or more"),
        ("reversal", 0.0, "above 0"),
        ("swaps_per_step", -1, "at least 0"),
        ("combine", "mean", "one of sum, mgda"),
        ("stop_every", -1, "at least 0"),
        ("stop_patience", 0, "at least 1"),
        ("stop_shards", 36, "at most 35"),
    ],
)
def test_a_setting_that_cannot_work_is_named_with_value_and_expectation(setting: str, value: object, expected: str) -> None:
    with pytest.raises(BadRecipe, match=f"{setting} is {value!r}; .*{expected}"):
        Recipe(**{setting: value})  # type: ignore[arg-type]


def test_a_learning_rate_to_be_found_is_asked_for_by_word() -> None:
    recipe = Recipe(learning_rate="find")  # type: ignore[arg-type]
    assert (recipe.find_rate, recipe.learning_rate) == (True, Recipe().learning_rate)
    assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe


def test_only_the_last_training_shards_are_kept_aside_and_none_without_an_early_stop() -> None:
    assert list(Recipe().shards_aside) == []
    assert list(Recipe(stop_every=4, stop_shards=3).shards_aside) == [67, 68, 69]


def test_a_recipe_that_learns_nothing_is_refused() -> None:
    with pytest.raises(BadRecipe, match="nothing would be learned"):
        Recipe(preference_weight=0.0, replay_weight=0.0)


def test_figures_come_back_from_the_log_they_are_kept_in() -> None:
    metrics = StepMetrics(3, 24, 0.7, 0.6, 0.2, 0.1, 0.5, 0.3, -0.2, 1.1, 1e-3, 90.0)
    assert metrics_from({**asdict(metrics), "epoch": 0.1}) == metrics
    assert metrics_from({"train_runtime": 3.0}) is None
    looked = replace(metrics, aside_loss=0.4, aside_accuracy=0.75)
    assert set(looked.shown()) - set(metrics.shown()) == {"aside_loss", "aside_accuracy"}
    assert metrics.shown() == {n: value for n, value in asdict(metrics).items() if n != "step" and value is not None}


def test_recipe_and_plan_need_no_torch() -> None:
    code = "import sys, flagback.model.plan, flagback.model.recipe, flagback.model.resume; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
