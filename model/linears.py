"""Linear layers, alone and with a low-rank adapter beside them, in as few passes and as quick products as can be.

y = x W' + s (x A') B' (Hu et al. 2021, arXiv 2106.09685, eq. 3). PEFT computes the adapter's part, scales it and adds it: three
more passes over the output forwards and two backwards. Here the small product is added to the large one where it stands. Under
autocast a fixed weight is cast once, not once a call, and an input once for all layers that read it.
Knows torch's plain linear layers and PEFT's plain LoRA layers; all others (dropout, merged, several adapters, DoRA, quantised,
cut over processes) keep their own forward.
Shapes: N rows, I inputs, O outputs, R rank.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Identity, Linear, Parameter

from flagback.model.forwards import computing_by
from flagback.model.products import linear, mm

#: By name, so that PEFT, which takes seconds to come, is not brought for a model without an adapter.
PEFTS_LINEAR = ("peft.tuners.lora.layer", "Linear")


class PlainLinear(torch.autograd.Function):
    """(N, O) outputs; differentiable once in rows (N, I), weight (O, I) and bias (O,)."""

    @staticmethod
    def forward(ctx: Any, _rows: Tensor, used: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`used` are the rows in the numbers that are computed in, which those of weight and bias are."""
        ctx.save_for_backward(used if ctx.needs_input_grad[2] else None, weight if ctx.needs_input_grad[0] else None)
        return linear(used, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None, Tensor | None]:
        """By the chain rule, each only where it is asked for."""
        used, weight = ctx.saved_tensors
        of_rows, _, of_weight, of_bias = ctx.needs_input_grad
        return (
            mm(gradient, weight) if of_rows else None,
            None,
            torch.mm(gradient.t(), used) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


class AdaptedLinear(torch.autograd.Function):
    """(N, O) outputs; differentiable once in rows (N, I), A (R, I) and B (O, R). Weight and bias are fixed."""

    @staticmethod
    def forward(
        ctx: Any, _rows: Tensor, used: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        """`used` are the rows in the numbers that are computed in, which those of `weight` (O, I) and `bias` (O,) are."""
        a, b = a.to(used.dtype), b.to(used.dtype)
        inner = torch.mm(a, used.t())  # (R, N): long rows, which are quicker than many short ones
        ctx.save_for_backward(used, weight, a, b, inner)
        ctx.scaling = scaling
        return linear(used, weight, bias).addmm_(inner.t(), b.t(), alpha=scaling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, None, Tensor, Tensor, None]:
        """By the chain rule; the rows' gradient only where it is asked for."""
        used, weight, a, b, inner = ctx.saved_tensors
        back = torch.mm(b.t(), gradient.t()).mul_(ctx.scaling)  # (R, N)
        of_rows = mm(gradient, weight).addmm_(back.t(), a) if ctx.needs_input_grad[0] else None
        return of_rows, None, None, None, torch.mm(back, used), torch.mm(inner, gradient).mul_(ctx.scaling).t(), None


class Casts:
    """What autocast would make anew for every layer."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._rows: tuple[weakref.ref[Tensor], int, Tensor] | None = None
        self._weights: dict[int, tuple[weakref.ref[Tensor], tuple[int, int], Tensor]] = {}

    def rows(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """(N, I), outside any graph, of x (..., I); the last one is remembered, since layers side by side read the same."""
        if x.dtype == dtype:
            return x.detach().flatten(0, -2)
        if x.is_inference():  # nothing tells whether it has changed
            return x.to(dtype).flatten(0, -2)
        if self._rows is not None:
            of, version, found = self._rows
            if of() is x and version == x._version and found.dtype == dtype:
                return found
        found = x.detach().to(dtype).flatten(0, -2)
        self._rows = (weakref.ref(x), x._version, found)
        return found

    def weight(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """A fixed weight, cast once; anew where it was changed or replaced, but for what is done to its `.data` in place."""
        if weight.dtype == dtype:
            return weight
        if weight.is_inference():
            return weight.to(dtype)
        now = weight._version, weight.data_ptr()
        of, then, found = self._weights.get(id(weight), (None, now, weight))
        if of is None or of() is not weight or then != now or found.dtype != dtype:
            found = weight.detach().to(dtype)
            self._weights[id(weight)] = (weakref.ref(weight), now, found)
        return found


@contextmanager
def quick_linears(model: Any) -> Iterator[int]:
    """Within it plain linear layers and PEFT's plain LoRA layers compute by the functions above; gives how many of the latter
    there are. A model that is within it already stays as it is."""
    casts, adapted = Casts(), 0
    with ExitStack() as stack:
        for module in model.modules():
            if "forward" in vars(module):
                continue
            if _is_adapted(module):
                stack.enter_context(computing_by(module, _adapted_forward(module, casts)))
                adapted += 1
            elif type(module) is Linear and type(module.weight) is Parameter:
                stack.enter_context(computing_by(module, _plain_forward(module, casts)))
        yield adapted


def _is_adapted(layer: Any) -> bool:
    """Whether one unscaled, undropped, unmerged adapter stands beside a plain linear layer of its own type of number."""
    if (type(layer).__module__, type(layer).__name__) != PEFTS_LINEAR:
        return False
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


def _computed_in(x: Tensor) -> torch.dtype:
    """The numbers that a linear layer computes x in."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) and x.is_floating_point() else x.dtype


def _plain_forward(layer: Linear, casts: Casts) -> Callable[[Tensor], Tensor]:
    def forward(input: Tensor) -> Tensor:  # as torch's own calls it
        x, dtype = input, _computed_in(input)
        trained = layer.weight.requires_grad or (layer.bias is not None and layer.bias.requires_grad)
        if x.dim() < 2 or (dtype != layer.weight.dtype and (trained or not torch.is_autocast_enabled(x.device.type))):
            return Linear.forward(layer, x)
        used, weight = casts.rows(x, dtype), casts.weight(layer.weight, dtype)
        bias = None if layer.bias is None else casts.weight(layer.bias, dtype)
        found: Tensor = PlainLinear.apply(x.flatten(0, -2), used, weight, bias)  # type: ignore[no-untyped-call]
        return found.view(*x.shape[:-1], len(weight))

    return forward


def _adapted_forward(layer: Any, casts: Casts) -> Callable[[Tensor], Tensor]:
    base, (name,) = layer.base_layer, layer.active_adapters
    a, b, scaling = layer.lora_A[name], layer.lora_B[name], layer.scaling[name]

    def forward(x: Tensor) -> Tensor:
        dtype = _computed_in(x)
        own = dtype == base.weight.dtype or torch.is_autocast_enabled(x.device.type)
        if x.dim() < 2 or layer.disable_adapters or base.weight.requires_grad or not own:
            plainly: Tensor = type(layer).forward(layer, x)
            return plainly
        used, weight = casts.rows(x, dtype), casts.weight(base.weight, dtype)
        bias = None if base.bias is None else casts.weight(base.bias, dtype)
        found: Tensor = AdaptedLinear.apply(x.flatten(0, -2), used, weight, bias, a.weight, b.weight, scaling)  # type: ignore[no-untyped-call]
        return found.view(*x.shape[:-1], len(weight))

    return forward
