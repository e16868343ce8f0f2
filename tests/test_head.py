"""A head that is not trained gives the log-probabilities and gradients that its logits would, whatever its model does to those."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import GraniteConfig, GraniteForCausalLM

from flagback.model import head as heads
from flagback.model.head import asked_for, frozen_logps
from flagback.model.layout import flat_model
from tests.test_layout import all_answers, plainly, random_trees
from tests.tiny_model import tiny_llama


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 300),
    width=st.integers(1, 9),
    vocabulary=st.integers(2, 50),
    biased=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_is_the_log_softmax_and_its_gradient(rows: int, width: int, vocabulary: int, biased: bool, seed: int) -> None:
    torch.manual_seed(seed)
    weight = torch.randn(vocabulary, width, dtype=torch.float64)
    bias = torch.randn(vocabulary, dtype=torch.float64) if biased else None
    targets, worth = torch.randint(vocabulary, (rows,)), torch.randn(rows, dtype=torch.float64)
    found = torch.randn(rows, width, dtype=torch.float64, requires_grad=True)
    expected = found.detach().clone().requires_grad_()
    plain = functional.linear(expected, weight, bias).log_softmax(-1)[torch.arange(rows), targets]
    torch.autograd.backward((plain * worth).sum())
    ours = frozen_logps(found, weight, bias, targets)
    torch.autograd.backward((ours * worth).sum())
    assert ours.dtype == torch.float32
    assert torch.allclose(ours.double(), plain.detach(), atol=1e-5)
    assert found.grad is not None
    assert expected.grad is not None
    assert torch.allclose(found.grad, expected.grad, atol=1e-5)


def test_rows_beyond_one_portion_are_no_different(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(200, 8), torch.randn(40, 8), torch.randint(40, (200,))
    whole = frozen_logps(hidden, weight, None, targets)
    monkeypatch.setattr(heads, "LOGITS_AT_ONCE", 40 * 70)
    assert torch.allclose(frozen_logps(hidden, weight, None, targets), whole, atol=1e-6)


def test_no_logits_of_all_words_are_kept() -> None:
    model, seen = tiny_llama().requires_grad_(requires_grad=False), []
    embedded = model.get_input_embeddings().weight.requires_grad_()
    model.lm_head.weight = torch.nn.Parameter(embedded.detach().clone(), requires_grad=False)

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        seen.append(tensor.shape)
        return tensor

    with flat_model(model, "flat"), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        all_answers(model, random_trees(4), "flat")
    vocabulary = model.config.vocab_size
    assert seen
    assert not [shape for shape in seen if shape[-1:] == (vocabulary,)]


def test_a_trained_head_is_left_alone() -> None:
    model = tiny_llama()
    with asked_for(model, torch.tensor([3])) as asked:
        logits = model(input_ids=torch.tensor([[5]])).logits
    assert asked.found_in(logits) is None
    assert logits.shape[-1] == model.config.vocab_size


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_a_model_that_scales_its_logits_is_asked_for_them(scale: float) -> None:
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = GraniteForCausalLM(GraniteConfig(vocab_size=300, logits_scaling=scale, **small)).eval()
    trees = random_trees(5, seed=2, vocabulary=300)
    expected = [plainly(model, tree.prompt, answer) for tree in trees for answer in tree.answers]
    with torch.no_grad():
        for _ in range(2):
            assert all_answers(model, trees, "flat").tolist() == pytest.approx(expected, abs=2e-3)
    assert (model.get_output_embeddings() in heads._WORKED_OVER) == (scale != 1.0)
    assert "forward" not in vars(model.get_output_embeddings())
