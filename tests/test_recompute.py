"""Blocks that are computed twice give the same adapter to the byte, keep less, and have their own forward again afterwards."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flagback.model import memory
from flagback.model.adapter import take_out, with_adapter
from flagback.model.recipe import BadRecipe, Recipe
from flagback.model.recompute import recomputing
from flagback.model.trees import Tree
from tests.test_fairness import SWAPS
from tests.test_fairness import run as run_with_swaps
from tests.test_training import RECIPE, run
from tests.tiny_model import tiny_llama


def twice(recipe: Recipe) -> Recipe:
    """The recipe with blocks computed twice."""
    return replace(recipe, gradient_checkpointing=True)


def blocks_computed(model: Any) -> list[int]:
    """How often each block is computed from now on."""
    counts = [0] * len(model.model.layers)
    for number, block in enumerate(model.model.layers):

        def count(*_: Any, number: int = number) -> None:
            counts[number] += 1

        block.input_layernorm.register_forward_pre_hook(count)
    return counts


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"layout": "padded"},
        {"dropout": 0.2},
        {"precision": "bfloat16"},
        {"tuning": "full", "learning_rate": 1e-4},
        {"sharing": "prompt", "stop_every": 0},
    ],
)
def test_an_adapter_is_the_same_to_the_byte(settings: dict[str, Any], tmp_path: Path) -> None:
    plain = replace(RECIPE, **settings)
    expected = run(tmp_path / "once", recipe=plain, model=tiny_llama(num_hidden_layers=3))
    found = run(tmp_path / "twice", recipe=twice(plain), model=tiny_llama(num_hidden_layers=3))
    assert found.weights_sha256 == expected.weights_sha256


@pytest.mark.parametrize("settings", [{}, {"combine": "mgda"}, {"adversary_weight": 1.0}])
def test_swapped_prompts_teach_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    plain = replace(SWAPS, **settings)
    expected, found = (run_with_swaps(tmp_path / name, one) for name, one in (("once", plain), ("twice", twice(plain))))
    assert found.weights_sha256 == expected.weights_sha256


def test_all_blocks_but_the_last_are_computed_twice() -> None:
    model = tiny_llama(num_hidden_layers=3)
    adapted = with_adapter(model, Recipe())
    counts = blocks_computed(model)
    with recomputing(model, True):
        adapted(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()
    assert counts == [2, 2, 1]
    assert not [module for module in model.modules() if "forward" in vars(module)]
    take_out(adapted)


def test_less_is_kept_and_that_is_foretold() -> None:
    model = tiny_llama(num_hidden_layers=6, hidden_size=64, intermediate_size=256)
    tree = Tree((5,) * 20, ((5,) * 10, (6,) * 10))
    adapted = with_adapter(model, Recipe())
    plain, less = (memory._kept(adapted, tree, recipe, "flat") for recipe in (Recipe(), twice(Recipe())))
    assert less < plain / 3
    take_out(adapted)


def test_it_is_yes_or_no() -> None:
    with pytest.raises(BadRecipe, match=r"gradient_checkpointing is 'yes'; true or false was expected"):
        Recipe(gradient_checkpointing="yes")  # type: ignore[arg-type]
