"""The last block computes what is read of it and no more; what is read is the same to the last digits that matter."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from flagback.model.adapter import take_out, with_adapter
from flagback.model.flat_row import ending_of, flat_row
from flagback.model.layout import answer_logps, choose_layout, flat_model
from flagback.model.linears import quick_linears
from flagback.model.narrow import last_block, narrowed
from flagback.model.recipe import Recipe
from tests.foreign_models import make
from tests.test_layout import random_trees
from tests.tiny_model import tiny_llama

TREES = random_trees(6, seed=4)


def seen_by(part: Any) -> list[int]:
    """How many positions a module without children is given from now on."""
    seen: list[int] = []
    part.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    return seen


def test_the_last_block_alone_computes_what_is_read_alone() -> None:
    model, row = tiny_llama(), flat_row(TREES, torch.device("cpu"))
    first, last = model.model.layers
    parts = [block.mlp.down_proj for block in (first, last)]
    asked = [seen_by(part) for part in (*parts, first.self_attn.q_proj, last.self_attn.v_proj, model.lm_head)]
    with flat_model(model, "flat"):
        answer_logps(model, TREES, "flat")
    read = len(ending_of(TREES, None, torch.device("cpu")).read)
    length = row.input_ids.shape[1]
    assert read == len(set(row.keep.tolist()))
    assert read < length
    assert asked == [[length], [read], [length], [length], asked[4]]
    assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_scores_and_gradients_are_those_of_the_whole_block(tuning: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama()
    adapted = with_adapter(model, Recipe(tuning=tuning, learning_rate=1e-3))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0.0, 0.1)
    found = []
    for whole in (False, True):
        if whole:
            monkeypatch.setattr("flagback.model.layout.last_block", lambda _: None)
        adapted.zero_grad()
        with flat_model(model, "flat"), quick_linears(adapted):
            scores = answer_logps(adapted, TREES, "flat")
            torch.autograd.backward((scores * torch.arange(1, len(scores) + 1)).sum())
        trained = [weight for weight in adapted.parameters() if weight.requires_grad]
        found.append((scores.detach(), torch.cat([weight.grad.reshape(-1) for weight in trained])))
    assert found[0][0].tolist() == pytest.approx(found[1][0].tolist(), abs=1e-5)
    assert (found[0][1] - found[1][1]).norm() < 1e-5 * found[1][1].norm()
    take_out(adapted)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3", "gpt2", "gemma3"])
def test_other_makes_of_models_are_narrowed_too(name: str, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(make(tmp_path / name, name), dtype=torch.float32).eval()  # nosec B615 # a folder made here
    assert last_block(model) is not None
    assert choose_layout(model, TREES).layout == "flat"


def test_a_part_that_gives_more_than_its_output_is_computed_whole() -> None:
    class Two(torch.nn.Module):
        def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, None]:
            return states * 2, None

    model = tiny_llama()
    model.model.layers[-1].mlp = Two()
    states = torch.ones(1, 5, 32)
    with narrowed(last_block(model), torch.tensor([1, 3]), 5):
        assert torch.equal(model.model.layers[-1].mlp(states)[0], states * 2)
