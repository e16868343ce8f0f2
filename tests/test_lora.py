"""Quick adapters give PEFT's outputs and gradients, on the layers they are meant for and on no other."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from flagback.model.adapter import with_adapter
from flagback.model.lora import quick_adapters
from flagback.model.recipe import Recipe
from tests.tiny_model import tiny_llama


class OneLayer(nn.Module):
    """A linear layer on its own."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 5, bias=bias)

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.layer(rows)
        return found


def adapted(*, bias: bool = False, **settings: Any) -> Any:
    torch.manual_seed(1)
    model = get_peft_model(OneLayer(bias=bias), LoraConfig(r=2, lora_alpha=6, target_modules=["layer"], **settings)).double()
    for name, weight in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(weight)
    return model


def gradients(model: Any, rows: Tensor) -> list[Tensor]:
    rows = rows.clone().requires_grad_()
    found = model(rows)
    model.zero_grad()
    torch.autograd.backward((found * torch.arange(found.numel()).view_as(found)).sum())
    trained = [weight.grad.clone() for weight in model.parameters() if weight.requires_grad]
    assert rows.grad is not None
    return [found.detach(), rows.grad, *trained]


@pytest.mark.parametrize("bias", [False, True])
def test_outputs_and_gradients_are_those_of_peft(bias: bool) -> None:
    model, rows = adapted(bias=bias), torch.randn(2, 3, 6, dtype=torch.float64)
    expected = gradients(model, rows)
    with quick_adapters(model) as count:
        found = gradients(model, rows)
        with model.disable_adapter():
            bare = model(rows)
    assert count == 1
    assert len(found) == 4
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-12)
    assert torch.equal(bare, nn.functional.linear(rows, model.layer.base_layer.weight, model.layer.base_layer.bias))


def test_a_layer_with_dropout_or_another_kind_of_adapter_keeps_its_own_forward() -> None:
    for settings in ({"lora_dropout": 0.5}, {"use_dora": True}):
        with quick_adapters(adapted(**settings)) as count:
            assert count == 0


def test_afterwards_every_layer_has_its_own_forward_again() -> None:
    model = with_adapter(tiny_llama(), Recipe())
    with quick_adapters(model) as count:
        assert count == 7 * model.config.num_hidden_layers
    assert not [module for module in model.modules() if "forward" in vars(module)]
