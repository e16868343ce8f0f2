"""Flat and padded give what a plain forward pass of every single row gives, on Llama and on other makes of models."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from flagback.model.flat_row import flat_row
from flagback.model.layout import answer_logps, choose_layout, flat_model, sequence_logps, tree_logps
from flagback.model.recipe import LayoutName, Stopped
from flagback.model.trees import Tree
from tests.foreign_models import make
from tests.tiny_model import VOCABULARY, random_ids, tiny_llama


def random_trees(count: int, *, seed: int = 0, answers: int = 3, longest: int = 14, vocabulary: int = VOCABULARY) -> list[Tree]:
    draw = Random(seed)

    def ids(shortest: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, vocabulary) for _ in range(draw.randint(shortest, longest)))

    return [Tree(ids(1), tuple(ids(1) for _ in range(draw.randint(1, answers)))) for _ in range(count)]


def plainly(model: Any, prompt: tuple[int, ...], answer: tuple[int, ...]) -> float:
    """One row, one forward pass, every position's log-softmax."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0].float()
    found = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return float(found[torch.arange(len(answer)), torch.tensor(answer)].sum())


def all_answers(model: Any, trees: list[Tree], layout: LayoutName) -> torch.Tensor:
    with flat_model(model, layout):
        return answer_logps(model, trees, layout)


@pytest.mark.parametrize("layout", ["flat", "padded"])
def test_every_answer_scores_as_in_a_row_of_its_own(layout: LayoutName) -> None:
    model, trees = tiny_llama(), random_trees(7)
    expected = [plainly(model, tree.prompt, answer) for tree in trees for answer in tree.answers]
    assert all_answers(model, trees, layout).tolist() == pytest.approx(expected, abs=1e-4)


def test_both_layouts_give_the_same_gradient() -> None:
    model, trees = tiny_llama(), random_trees(5, seed=3)
    gradients = []
    for layout in ("flat", "padded"):
        model.zero_grad()
        scores = all_answers(model, trees, layout)
        torch.autograd.backward((scores * torch.arange(1, len(scores) + 1)).sum())
        gradients.append(torch.cat([weight.grad.reshape(-1) for weight in model.parameters()]))
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[1].norm()


@pytest.mark.parametrize("window", [3, 8, 17])
def test_a_window_hides_the_same_when_a_long_prompt_asks_once(window: int, tmp_path: Path) -> None:
    folder = make(tmp_path / "mistral", "mistral", sliding_window=window)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()  # nosec B615 # a folder made here
    draw = Random(window)
    trees = [Tree(tuple(random_ids(draw, 12, 20)), tuple(tuple(random_ids(draw, 1, 9)) for _ in range(4))) for _ in range(5)]
    expected = [plainly(model, tree.prompt, answer) for tree in trees for answer in tree.answers]
    with torch.no_grad():
        assert all_answers(model, trees, "flat").tolist() == pytest.approx(expected, abs=2e-3)


def test_a_long_prompt_asks_once_and_a_short_one_with_every_answer() -> None:
    long, short = Tree(tuple(range(3, 23)), ((3, 4), (5, 6, 7))), Tree((3,), ((4, 5, 6, 7), (8, 9, 10, 11)))
    attention = flat_row([long, short], torch.device("cpu")).attention
    asked = sorted(place for block in attention.blocks for place in block.queries.flatten().tolist())
    assert [asked.count(place) for place in range(20)] == [1] * 20
    assert asked.count(25) == 2


def test_an_answer_does_not_see_its_neighbours() -> None:
    model = tiny_llama()
    alone = all_answers(model, [Tree((5, 6), ((7, 8, 9),))], "flat")
    crowd = all_answers(model, [Tree((9, 9, 9), ((4,), (5, 5))), Tree((5, 6), ((11,), (7, 8, 9), (12, 13)))], "flat")
    assert crowd[3].item() == pytest.approx(alone[0].item(), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("llama", "flat"),
        ("qwen2", "flat"),
        ("qwen3", "flat"),
        ("gpt2", "flat"),
        ("gemma", "flat"),
        ("gemma3", "flat"),
        ("mistral", "flat"),
        ("gpt_neox", "flat"),
        ("gemma2", "padded"),
    ],
)
def test_other_makes_of_models_score_the_same_in_the_layout_that_fits_them(name: str, layout: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(make(tmp_path / name, name), dtype=torch.float32).eval()  # nosec B615 # a folder made here
    trees = random_trees(6, seed=4, longest=20, vocabulary=300)
    choice = choose_layout(model, trees)
    assert choice.layout == layout, choice.reason
    assert ("softcap" in choice.reason) == (name == "gemma2")
    expected = [plainly(model, tree.prompt, answer) for tree in trees for answer in tree.answers]
    assert [value for values in tree_logps(model, trees, choice.layout) for value in values] == pytest.approx(expected, abs=2e-3)


def test_a_model_whose_flat_result_differs_is_computed_padded() -> None:
    model = tiny_llama()
    forward = model.forward

    def without_positions(input_ids: Any = None, position_ids: Any = None, **more: Any) -> Any:  # noqa: ARG001
        return forward(input_ids=input_ids, **more)

    without_positions.__signature__ = __import__("inspect").signature(forward)  # type: ignore[attr-defined]
    model.forward = without_positions
    choice = choose_layout(model, random_trees(4))
    assert choice.layout == "padded"
    assert "differs" in choice.reason


def test_a_model_without_the_needed_arguments_is_computed_padded() -> None:
    model = tiny_llama()
    forward = model.forward

    def bare(input_ids: Any = None, use_cache: Any = None) -> Any:
        return forward(input_ids=input_ids, use_cache=use_cache)

    trees = random_trees(4)
    expected = all_answers(model, trees, "padded").tolist()
    model.forward = bare
    assert choose_layout(model, trees).reason == "its forward takes no logits_to_keep and position_ids"
    assert sequence_logps(model, [(t.prompt, a) for t in trees for a in t.answers]).tolist() == pytest.approx(expected, abs=1e-4)


def test_the_model_keeps_its_own_attention_and_mode() -> None:
    model = tiny_llama()
    model.train()
    choose_layout(model, random_trees(3))
    sequence_logps(model, [((3, 4), (5, 6))])
    assert model.config._attn_implementation == "sdpa"
    assert model.training


def test_rows_come_back_in_their_order_and_equal_rows_get_equal_values() -> None:
    model, draw = tiny_llama(), Random(7)
    prompts = [random_ids(draw, 1, 9) for _ in range(4)]
    rows = [(prompts[i % 4], random_ids(draw, 1, 12)) for i in range(41)]
    rows += [rows[3], rows[0]]
    found = sequence_logps(model, rows)
    assert found.tolist() == pytest.approx([plainly(model, tuple(p), tuple(a)) for p, a in rows], abs=1e-4)
    assert found[-2:].tolist() == [found[3].item(), found[0].item()]
    assert not found.requires_grad


def test_no_rows_give_no_values() -> None:
    assert sequence_logps(tiny_llama(), []).shape == (0,)


def test_an_empty_answer_is_named() -> None:
    with pytest.raises(ValueError, match="Row 1 has 2 prompt and 0 answer tokens"):
        sequence_logps(tiny_llama(), [((3,), (4,)), ((3, 4), ())])


def test_scoring_can_be_stopped() -> None:
    with pytest.raises(Stopped):
        sequence_logps(tiny_llama(), [((3,), (4,))], should_stop=lambda: True)
