"""A direction along which no objective gets worse: the shortest point between several gradients (MGDA).

Knows gradients as vectors; knows no model. Shapes: K objectives, P parameters.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

#: Frank-Wolfe ends when a step gains less than this share, or after so many steps.
TOLERANCE = 1e-9
STEPS = 1000
#: A gradient shorter than this says nothing: its objective is where it wants to be.
SHORTEST = 1e-12


class Direction(NamedTuple):
    """A common direction, to be gone along downhill."""

    vector: Tensor  # (P,)
    #: What each objective's gradient, brought to length 1, counts in it; 0 of one that says nothing.
    weights: list[float]


def min_norm_weights(gram: Tensor) -> Tensor:
    """Returns (K,) weights a >= 0, sum a = 1, that make |sum_k a_k g_k| smallest, from the Gram matrix g_j . g_k (K, K).

    Désidéri 2012 ("Multiple-gradient descent algorithm", C. R. Math. 350): the shortest point d of the gradients' convex hull has
    d . g_k >= |d|^2 for every k, so that going along -d makes no objective worse; d = 0 is Pareto-stationary. Found by
    Frank-Wolfe with exact line search (Sener & Koltun 2018, arXiv 1810.04650, alg. 2), away steps included, in float64.
    """
    gram = gram.double()
    weights = torch.full((len(gram),), 1 / len(gram), dtype=torch.float64)
    for _ in range(STEPS):
        slope = gram @ weights  # (K,), half the gradient of |d|^2
        length = weights @ slope
        best = int(slope.argmin())
        worst = int(torch.where(weights > 0, slope, -torch.inf).argmax())
        if float(length - slope[best]) <= TOLERANCE * max(float(length), SHORTEST):
            break
        towards = torch.zeros_like(weights)
        # From the worst to the best objective, as far as the worst's weight goes: ends in corners, where plain steps zigzag.
        towards[best], towards[worst] = 1.0, -1.0
        bent = float(towards @ gram @ towards)
        gained = float(-(towards @ slope))
        far = float(weights[worst])
        if bent > 0:
            far = min(far, gained / bent)
        weights = (weights + far * towards).clamp(min=0)
        weights /= weights.sum()
    return weights


def common_direction(gradients: Sequence[Tensor]) -> Direction:
    """The shortest point between gradients (P,), each brought to length 1 first: else the shortest of them, the objective nearest
    to its aim, decides alone (Sener & Koltun's code names this normalisation "l2"). Factors of objectives therefore say nothing.
    """
    lengths = [float(gradient.norm()) for gradient in gradients]
    told = [number for number, length in enumerate(lengths) if length > SHORTEST]
    weights = [0.0] * len(gradients)
    if not told:
        return Direction(torch.zeros_like(gradients[0]), weights)
    unit = torch.stack([gradients[number] / lengths[number] for number in told])  # (K', P)
    found = min_norm_weights((unit @ unit.T).cpu())
    for number, weight in zip(told, found.tolist(), strict=True):
        weights[number] = weight
    return Direction(found.to(unit) @ unit, weights)
