"""The adversary: a linear probe that tries to tell a prompt from its counterfactual by the model's mean hidden state, and a
gradient turned round, so that the model learns to leave it nothing to tell by.

Knows states and which of two sides they come from; knows no model and no text. The probe is no part of what is saved as the
correction. Shapes: R rows, H width.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: Of the probe's own Adam.
PROBE_RATE = 0.01
#: A loss nearer to log 2 is a probe that does not know.
TIE = 1e-6


class _Reversal(torch.autograd.Function):
    """x forwards, -strength times the gradient backwards."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return states.view_as(states)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reversed_gradient(states: Tensor, strength: float) -> Tensor:
    """The states as they are, whose gradient comes back times -strength.

    Ganin & Lempitsky 2015 ("Unsupervised domain adaptation by backpropagation", arXiv 1409.7495, eq. 11 and 12).
    """
    turned: Tensor = _Reversal.apply(states, strength)  # type: ignore[no-untyped-call]
    return turned


def probe_losses(states: Tensor, swapped: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns (R,) losses -log p of the right side, p = sigmoid(weight . norm(state) + bias) the probability of "swapped".

    States (R, H) are brought to mean 0 and variance 1 first, so that the model cannot win by making them small; `swapped` is (R,)
    of 0 and 1. log 2 is a probe that knows nothing.
    """
    logits = functional.layer_norm(states.float(), states.shape[-1:]) @ weight + bias  # (R,)
    return functional.binary_cross_entropy_with_logits(logits, swapped, reduction="none")


class Probe:
    """The probe's weights and its optimiser."""

    def __init__(self, width: int, device: torch.device) -> None:
        """At 0: it draws no random number, and at first it tells nothing."""
        self.weight = torch.zeros(width, device=device, requires_grad=True)  # (H,)
        self.bias = torch.zeros((), device=device, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.weight, self.bias], lr=PROBE_RATE)

    def losses(self, states: Tensor, strength: float) -> tuple[Tensor, float]:
        """(R,) losses of states of which the second half is swapped, and the share of them that the probe tells right."""
        swapped = torch.arange(len(states), device=states.device).ge(len(states) // 2).float()
        each = probe_losses(reversed_gradient(states, strength), swapped, self.weight, self.bias)
        # A loss below log 2 is a right guess; a probe that says one half is right half the time.
        beside = each.detach() - math.log(2)
        right = (beside < -TIE).float() + (beside.abs() <= TIE).float() / 2
        return each, float(right.mean())

    def step(self) -> None:
        """One step along what the losses left behind."""
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """All that goes on from a checkpoint."""
        return {"weight": self.weight.detach(), "bias": self.bias.detach(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from there."""
        with torch.no_grad():
            self.weight.copy_(state["weight"])
            self.bias.copy_(state["bias"])
        self.optimizer.load_state_dict(state["optimizer"])
