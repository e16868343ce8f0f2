"""Quick linear layers give torch's and PEFT's outputs and gradients, on the layers they are meant for and on no other."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from flagback.model import products
from flagback.model.adapter import with_adapter
from flagback.model.head import asked_for
from flagback.model.linears import Casts, quick_linears
from flagback.model.products import UNIT
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
    with quick_linears(model) as count:
        found = gradients(model, rows)
        with model.disable_adapter():
            bare = model(rows)
    assert count == 1
    assert len(found) == 4
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-12)
    assert torch.equal(bare, nn.functional.linear(rows, model.layer.base_layer.weight, model.layer.base_layer.bias))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("trained", [False, True])
def test_outputs_and_gradients_of_a_plain_layer_are_those_of_torch(bias: bool, trained: bool) -> None:
    model, rows = OneLayer(bias=bias).double().requires_grad_(trained), torch.randn(2, 3, 6, dtype=torch.float64)
    expected = gradients(model, rows)
    with quick_linears(model) as count:
        found = gradients(model, rows)
    assert count == 0
    assert len(found) == 2 + trained * (1 + bias)
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("adapter", [False, True])
def test_under_autocast_they_are_those_of_autocast(adapter: bool) -> None:
    """In bfloat16, and its gradients in float32 as far as the adapter's go."""
    torch.manual_seed(2)
    model = (adapted(bias=True) if adapter else OneLayer(bias=True)).float()
    if not adapter:
        model.requires_grad_(False)
    rows = torch.randn(2, 3, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = gradients(model, rows)
        with quick_linears(model):
            found = gradients(model, rows)
    assert [one.dtype for one in found] == [one.dtype for one in expected]
    assert found[0].dtype == torch.bfloat16
    assert {one.dtype for one in found[1:]} == {torch.float32}
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.allclose(mine.float(), theirs.float(), rtol=0.03, atol=0.03 * float(theirs.abs().max()))


def test_what_is_cast_is_cast_once_and_anew_where_it_has_changed() -> None:
    model, rows = OneLayer(bias=False).requires_grad_(False), torch.randn(4, 6)
    casts = Casts()
    assert casts.rows(rows, torch.bfloat16) is casts.rows(rows, torch.bfloat16)
    assert casts.weight(model.layer.weight, torch.bfloat16) is casts.weight(model.layer.weight, torch.bfloat16)
    before = casts.weight(model.layer.weight, torch.bfloat16), casts.rows(rows, torch.bfloat16)
    model.layer.weight.mul_(2)
    rows.mul_(2)
    assert torch.equal(casts.weight(model.layer.weight, torch.bfloat16), 2 * before[0])
    assert torch.equal(casts.rows(rows, torch.bfloat16), 2 * before[1])


def test_a_weight_that_stands_where_another_stood_is_cast_anew() -> None:
    casts = Casts()
    for number in range(50):
        weight = nn.Parameter(torch.full((3, 4), float(number)), requires_grad=False)
        assert torch.equal(casts.weight(weight, torch.bfloat16), weight.bfloat16())
        weight.data = torch.full((3, 4), number + 0.5)
        assert torch.equal(casts.weight(weight, torch.bfloat16), weight.bfloat16())
        del weight


@pytest.mark.parametrize("adapter", [False, True])
def test_layers_take_whatever_torchs_own_take(adapter: bool) -> None:
    """One row, no row, a name for it, no graph; and what comes out may be worked on in place."""
    model = (adapted(bias=True) if adapter else OneLayer(bias=True)).float()
    for rows in (torch.randn(6), torch.randn(0, 6), torch.randn(2, 0, 6)):
        expected = model(rows)
        with quick_linears(model):
            assert torch.allclose(model(rows), expected, atol=1e-6)
    if not adapter:
        with quick_linears(model):
            assert torch.equal(model.layer(input=rows), expected)
    with quick_linears(model), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.randn(3, 6)).dtype == torch.bfloat16


@pytest.mark.parametrize("count", [UNIT, UNIT + 5])
@pytest.mark.parametrize("adapter", [False, True])
def test_what_comes_out_may_be_worked_on_in_place(adapter: bool, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As OLMo clips its queries."""
    monkeypatch.setattr(products, "slow_elsewhere", lambda: hasattr(torch.ops.mkldnn, "_linear_pointwise"))
    monkeypatch.setattr(products, "WORTH_IT", 0)
    torch.manual_seed(3)
    model: Any = nn.Sequential(nn.Linear(UNIT, UNIT), nn.ReLU(inplace=True))
    if adapter:
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["0"]))
    rows = torch.randn(count, UNIT)
    expected = gradients(model, rows)
    with quick_linears(model):
        found = gradients(model, rows)
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


def test_a_trained_layer_is_left_to_autocast() -> None:
    model, rows = OneLayer(bias=True), torch.randn(2, 3, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = gradients(model, rows)
        with quick_linears(model):
            found = gradients(model, rows)
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.equal(mine, theirs)


def test_a_model_that_is_quick_already_stays_as_it_is() -> None:
    model = with_adapter(tiny_llama(), Recipe())
    with quick_linears(model):
        before = {name: vars(module)["forward"] for name, module in model.named_modules() if "forward" in vars(module)}
        with quick_linears(model) as count:
            assert count == 0
        assert before == {name: vars(module)["forward"] for name, module in model.named_modules() if "forward" in vars(module)}


def test_a_head_that_was_asked_is_quick_again_afterwards() -> None:
    model = tiny_llama().requires_grad_(False)
    head = model.get_output_embeddings()
    with quick_linears(model):
        before = vars(head)["forward"]
        with asked_for(model, torch.tensor([1])):
            assert vars(head)["forward"] is not before
        assert vars(head)["forward"] is before


def test_a_layer_with_dropout_or_another_kind_of_adapter_keeps_its_own_forward() -> None:
    for settings in ({"lora_dropout": 0.5}, {"use_dora": True}):
        with quick_linears(adapted(**settings)) as count:
            assert count == 0


def test_afterwards_every_layer_has_its_own_forward_again() -> None:
    model = with_adapter(tiny_llama(), Recipe())
    with quick_linears(model) as count:
        assert count == 7 * model.config.num_hidden_layers
    assert not [module for module in model.modules() if "forward" in vars(module)]
