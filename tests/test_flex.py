"""One kernel for a whole row gives what SDPA gives path by path. There is no GPU here: its unfused form is computed on the CPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import flex_attention as torch_flex
from torch.nn.attention.flex_attention import flex_attention
from transformers import AutoModelForCausalLM

from flagback.model import flex, layout
from flagback.model.flat_row import flat_row
from flagback.model.layout import answer_logps, attention_by, choose_layout, flat_model
from flagback.model.recipe import Recipe
from flagback.model.trees import Tree
from tests.foreign_models import make
from tests.test_layout import random_trees
from tests.test_training import run
from tests.tiny_model import tiny_llama

TREES = random_trees(4)
# What the fused kernel would be compiled from; torch says so once.
pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),  # while it traces
]


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernel is used, uncompiled; torch lets nobody ask for gradients of it on CPUs, though it computes them."""
    monkeypatch.setattr(flex, "usable", lambda _device: True)
    monkeypatch.setattr(flex, "_kernel", lambda: flex_attention)
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *_: None)
    yield
    layout._WITHOUT_FLEX.clear()


def scores_and_gradients(model: Any, trees: list[Tree]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with flat_model(model, "flat"):
        found = answer_logps(model, trees, "flat")
    return found.detach(), list(torch.autograd.grad((found * torch.arange(len(found))).sum(), list(model.parameters())))


def test_scores_and_gradients_are_those_of_sdpa(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama()
    asked: list[int] = []

    def noted(*given: Any, **named: Any) -> Any:
        asked.append(1)
        return flex_attention(*given, **named)

    monkeypatch.setattr(flex, "_kernel", lambda: noted)
    mine = scores_and_gradients(model, TREES)
    assert len(asked) == model.config.num_hidden_layers
    monkeypatch.setattr(flex, "usable", lambda _device: False)
    expected = scores_and_gradients(model, TREES)
    assert len(asked) == model.config.num_hidden_layers
    assert torch.allclose(mine[0], expected[0], atol=1e-4)
    for one, other in zip(mine[1], expected[1], strict=True):
        assert torch.allclose(one, other, atol=1e-3 * float(other.abs().max()))


@pytest.mark.parametrize("name", ["mistral", "qwen2", "gemma3"])
def test_other_models_fit_too_windows_included(name: str, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(make(tmp_path / name, name), dtype=torch.float32).eval()  # nosec B615 # a folder made here
    assert choose_layout(model, TREES).layout == "flat"
    assert attention_by(model) == "flex"


@pytest.mark.parametrize("wrong", [lambda *given, **_: given[2][:, :1].expand_as(given[0]), lambda *_, **__: 1 / 0])
def test_a_kernel_that_is_wrong_or_fails_is_left_for_sdpa(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flex, "_kernel", lambda: wrong)
    model = tiny_llama()
    embedding = model.get_input_embeddings().weight.requires_grad_(False)
    assert choose_layout(model, TREES) == layout.Choice("flat", "")
    assert attention_by(model) == "sdpa"
    assert not embedding.requires_grad


def test_a_run_says_what_computed_its_attention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_flex = run(tmp_path / "flex", recipe=Recipe(steps=2))
    monkeypatch.setattr(flex, "usable", lambda _device: False)
    by_sdpa = run(tmp_path / "sdpa", recipe=Recipe(steps=2))
    assert (by_flex.environment["attention"], by_sdpa.environment["attention"]) == ("flex", "sdpa")
    for one, other in zip(by_flex.metrics, by_sdpa.metrics, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-4)


def test_everybody_sees_its_own_prompt_and_answer_and_nothing_else() -> None:
    row = flat_row([Tree((1, 2), ((3, 4), (5,))), Tree((6,), ((7,),))], torch.device("cpu"), "flex")
    assert row.lineage is not None
    sees = row.lineage._sees(None)
    length = row.input_ids.shape[1]
    found = [[bool(sees(None, None, torch.tensor(q), torch.tensor(k))) for k in range(length)] for q in range(length)]  # type: ignore[arg-type]
    expected = ["1......", "11.....", "111....", "1111...", "11..1..", ".....1.", ".....11"]
    assert ["".join("1" if one else "." for one in line) for line in found] == expected
    near = row.lineage._sees(2)
    assert [k for k in range(length) if near(None, None, torch.tensor(4), torch.tensor(k))] == [1, 4]  # type: ignore[arg-type]


def test_without_a_gpu_it_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert not flex.usable(torch.device("cpu"))
    assert attention_by(tiny_llama()) == "sdpa"
