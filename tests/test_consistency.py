"""What a swapped group term changes in the next word costs what the definition says, in both layouts."""

import math
from random import Random

import pytest
import torch

from flagback.model.consistency import consistency_loss, rows_of, seen, symmetric_kl
from flagback.model.layout import flat_model
from flagback.model.recipe import SwappedPrompt
from tests.tiny_model import random_ids, tiny_llama


def test_symmetric_kl_worked_by_hand() -> None:
    # p = (3/4, 1/4) and q = (1/4, 3/4): KL is 1/2 ln 3 each way, and so is their mean.
    one = torch.tensor([[math.log(3.0), 0.0]])
    assert symmetric_kl(one, one.flip(1)).item() == pytest.approx(math.log(3) / 2)
    assert symmetric_kl(one, one + 7).item() == pytest.approx(0, abs=1e-7), "logits know no level"


def test_it_is_the_mean_of_torchs_own_both_ways() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(2, 5, 11)
    p, q = one.log_softmax(-1), other.log_softmax(-1)
    kl = torch.nn.functional.kl_div
    own = (kl(p, q, reduction="none", log_target=True) + kl(q, p, reduction="none", log_target=True)).sum(-1) / 2
    assert torch.allclose(symmetric_kl(one, other), own, atol=1e-6)
    assert torch.equal(symmetric_kl(one, other), symmetric_kl(other, one))


def test_a_swap_with_a_long_continuation_counts_no_more_than_one_without() -> None:
    apart, equal = [math.log(3.0), 0.0], [0.0, 0.0]
    # The first swap has one position, apart; the second has two, of which one is apart.
    logits = torch.tensor([apart, apart, equal, apart[::-1], apart[::-1], equal])
    half = math.log(3) / 2
    assert consistency_loss(logits, [1, 2], total_swaps=4).item() == pytest.approx((half + half / 2) / 4)


def swaps() -> list[SwappedPrompt]:
    draw = Random(5)
    made = []
    for number in range(5):
        prompt = random_ids(draw, 3, 9)
        made.append(SwappedPrompt(f"{number}", prompt, [*random_ids(draw, 1, 3), *prompt[1:]], random_ids(draw, 0, 4)))
    return made


def test_both_layouts_see_the_same_and_a_prompt_swapped_with_itself_costs_nothing() -> None:
    model, rows = tiny_llama(), rows_of(swaps())
    padded = seen(model, rows, "padded", states=True)
    with flat_model(model, "flat"):
        flat = seen(model, rows, "flat", states=True)
    assert flat.states is not None
    assert padded.states is not None
    assert torch.allclose(flat.logits, padded.logits, atol=1e-4)
    assert torch.allclose(flat.states, padded.states, atol=1e-4)
    lengths = [max(len(swap.continuation_ids), 1) for swap in swaps()]
    assert consistency_loss(flat.logits, lengths, 5).item() > 0.01
    same = rows_of([SwappedPrompt(swap.key, swap.prompt_ids, swap.prompt_ids, swap.continuation_ids) for swap in swaps()])
    again = seen(model, same, "padded", states=False)
    assert again.states is None
    assert consistency_loss(again.logits, lengths, 5).item() == pytest.approx(0, abs=1e-6)


def test_states_are_the_means_of_the_last_layer_over_the_prompt_alone() -> None:
    model, (swap, *_) = tiny_llama(), swaps()
    own = model(input_ids=torch.tensor([swap.swapped_ids]), output_hidden_states=True).hidden_states[-1][0].mean(0)
    found = seen(model, rows_of([swap]), "padded", states=True).states
    assert found is not None
    assert torch.allclose(found[1], own, atol=1e-5)
