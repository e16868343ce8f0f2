"""Log-probabilities of wanted tokens from a vocabulary head that is not trained, a few rows of logits at a time.

The gradient of log p(t | x) with respect to x is W_t - sum_v p_v W_v: with W fixed it is known as soon as the logits are, so that
none are kept for the backward pass (Liger's fused linear losses, arXiv 2410.10989, do the same for a mean loss).
Knows heads that are plain linear layers. Whatever a model does to its logits afterwards is noticed; then its own logits are used.
Shapes: N scored positions, H width, V vocabulary.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor
from torch.nn import Linear, Module

from flagback.model.forwards import computing_by
from flagback.model.products import linear, mm

#: Logits computed at once: 16 MB of them.
LOGITS_AT_ONCE = 2**22
#: Heads whose logits their models work over (scaled, capped).
_WORKED_OVER: WeakSet[Module] = WeakSet()


class FrozenHeadLogps(torch.autograd.Function):
    """(N,) log-probabilities of `targets` (N,) at `hidden` (N, H), in float32; differentiable once, in `hidden` alone."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, wanted: bool) -> Tensor:
        """`wanted` says whether a gradient will be asked for; `weight` is (V, H)."""
        found = torch.empty(len(hidden), device=hidden.device)
        direction = torch.empty_like(hidden) if wanted else None
        size = max(64, LOGITS_AT_ONCE // len(weight))
        for start in range(0, len(hidden), size):
            some = slice(start, start + size)
            logits = linear(hidden[some], weight, bias).float()  # (n, V)
            own = logits.gather(1, targets[some, None])[:, 0]
            highest = logits.amax(1, keepdim=True)
            shares = logits.sub_(highest).exp_()  # in place, like the next: logits are the largest tensors there are
            total = shares.sum(1, keepdim=True)
            found[some] = own - (highest + total.log())[:, 0]
            if direction is not None:
                mean = mm(shares.div_(total).to(weight.dtype), weight)  # (n, H)
                direction[some] = weight[targets[some]] - mean
        if direction is not None:
            ctx.save_for_backward(direction)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Each position's direction times what its log-probability is worth."""
        (direction,) = ctx.saved_tensors
        return gradient[:, None].to(direction.dtype) * direction, None, None, None, None


def frozen_logps(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Returns (N,) log-probabilities of `targets` (N,) at `hidden` (N, H) under weights (V, H) that are fixed, in float32.

    Under autocast the products are computed in its numbers.
    """
    wanted = torch.is_grad_enabled() and hidden.requires_grad
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden, weight = (some.to(torch.get_autocast_dtype(device)) for some in (hidden, weight))
        bias = None if bias is None else bias.to(weight.dtype)
    found: Tensor = FrozenHeadLogps.apply(hidden, weight, bias, targets, wanted)  # type: ignore[no-untyped-call]
    return found


class Asked:
    """What a model's head was asked for, and gave."""

    def __init__(self, head: Module) -> None:
        """Nothing given yet."""
        self.head = head
        self.logps: Tensor | None = None

    def found_in(self, logits: Tensor) -> Tensor | None:
        """(N,) log-probabilities that the head gave, if the model handed them on as they were; `logits` is (1, N, 1 or V).

        None where it did not, or where the head was left alone: then `logits` or another call have to do.
        """
        if self.logps is None:
            return None
        if logits.shape[-1] == 1 and torch.equal(logits[0, :, 0], self.logps):
            return self.logps
        _WORKED_OVER.add(self.head)
        return None


def answers_itself(head: Any) -> bool:
    """Whether a model's head can be asked for log-probabilities."""
    if type(head) is not Linear or head in _WORKED_OVER:
        return False
    weights = list(head.parameters())
    trained = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
    cut = any(isinstance(weight, DTensor) for weight in weights)
    return not (trained or cut)


@contextmanager
def asked_for(model: Any, targets: Tensor) -> Iterator[Asked]:
    """Within it the model's head gives back log-probabilities of `targets`, (1, N, 1), where its logits would stand.

    A head that is trained, wrapped by an adapter, cut over processes or no plain linear layer is left alone.
    """
    head: Any = model.get_output_embeddings()
    asked = Asked(head)
    if not answers_itself(head):
        yield asked
        return

    def forward(hidden: Tensor) -> Tensor:
        found = asked.logps = frozen_logps(hidden.flatten(0, -2), head.weight, head.bias, targets)
        return found.view(*hidden.shape[:-1], 1)

    with computing_by(head, forward):
        yield asked
