"""A linear layer with a low-rank adapter beside it, in as few passes over its output as can be.

y = x W' + s (x A') B' (Hu et al. 2021, arXiv 2106.09685, eq. 3) with W fixed. PEFT computes the adapter's part, scales it and adds
it: three more passes over the output forwards and two backwards. Here the small product is added to the large one where it stands.
Knows PEFT's plain LoRA layers; all others (dropout, merged, several adapters, DoRA, quantised) keep their own forward.
Shapes: N rows, I inputs, O outputs, R rank.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Identity, Linear, functional


class AdaptedLinear(torch.autograd.Function):
    """(N, O) outputs of rows (N, I); differentiable once in the rows, A (R, I) and B (O, R)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float) -> Tensor:
        """`weight` is (O, I) and `bias` (O,), both fixed."""
        inner = torch.mm(rows, a.t())  # (N, R)
        ctx.save_for_backward(rows, weight, a, b, inner)
        ctx.scaling = scaling
        return functional.linear(rows, weight, bias).addmm_(inner, b.t(), alpha=scaling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        """By the chain rule; the rows' gradient only where it is asked for."""
        rows, weight, a, b, inner = ctx.saved_tensors
        back = torch.mm(gradient, b).mul_(ctx.scaling)  # (N, R)
        of_rows = torch.mm(gradient, weight).addmm_(back, a) if ctx.needs_input_grad[0] else None
        return of_rows, None, None, torch.mm(back.t(), rows), torch.mm(gradient.t(), inner).mul_(ctx.scaling), None


@contextmanager
def quick_adapters(adapted: Any) -> Iterator[int]:
    """Within it PEFT's plain LoRA layers of the model compute by AdaptedLinear; gives how many of them there are."""
    from peft.tuners.lora import Linear as LoraLinear

    layers = [module for module in adapted.modules() if type(module) is LoraLinear and _is_plain(module)]
    for layer in layers:
        layer.forward = _forward_of(layer)
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del layer.forward


def _is_plain(layer: Any) -> bool:
    """Whether one unscaled, undropped, unmerged adapter stands beside a plain linear layer of its own type of number."""
    (name, *others) = layer.active_adapters
    base = layer.base_layer
    return (
        not others
        and name in layer.lora_A
        and name not in layer.lora_variant
        and not layer.merged
        and type(base) is Linear
        and isinstance(layer.lora_dropout[name], Identity)
        and layer.lora_A[name].bias is None
        and layer.lora_B[name].bias is None
        and base.weight.dtype == layer.lora_A[name].weight.dtype
    )


def _forward_of(layer: Any) -> Any:
    base, (name,) = layer.base_layer, layer.active_adapters
    a, b, scaling = layer.lora_A[name], layer.lora_B[name], layer.scaling[name]

    def forward(x: Tensor) -> Tensor:
        if layer.disable_adapters or torch.is_autocast_enabled(x.device.type) or base.weight.requires_grad:
            plainly: Tensor = type(layer).forward(layer, x)
            return plainly
        found: Tensor = AdaptedLinear.apply(x.flatten(0, -2), base.weight, base.bias, a.weight, b.weight, scaling)  # type: ignore[no-untyped-call]
        return found.view(*x.shape[:-1], -1)

    return forward
