"""What each group's pairs weigh in a step: as given, each group alike, or more the worse the group fares (group-robust).

Knows shares and losses by group's name; knows no model, no tensor and no text. Plain floats, so that what a checkpoint keeps
as JSON comes back bit by bit.
"""

import math
from collections.abc import Mapping, Sequence


def shares(groups: Sequence[str], weights: Sequence[float]) -> dict[str, float]:
    """Each group's share of the weight of pairs, by name; the shares add up to 1."""
    sums: dict[str, list[float]] = {}
    for group, weight in zip(groups, weights, strict=True):
        sums.setdefault(group, []).append(weight)
    whole = math.fsum(weights)
    return {group: math.fsum(sums[group]) / whole for group in sorted(sums)}


def even(names: Sequence[str]) -> dict[str, float]:
    """Every group counts alike, 1 / G: where group-robust training begins (Sagawa et al. 2020, alg. 1)."""
    return {name: 1 / len(names) for name in sorted(names)}


def step(weights: Mapping[str, float], losses: Mapping[str, float], rate: float) -> dict[str, float]:
    """The groups' weights after a step in which they had these mean losses: q_g' = q_g exp(rate * loss_g) / sum.

    Exponentiated gradient ascent on the simplex (Sagawa et al. 2020, "Distributionally robust neural networks", arXiv 1911.08731,
    alg. 1; with DPO's loss Ramesh et al. 2024, "Group robust preference optimization", arXiv 2405.20304, alg. 1). A loss added to
    all groups changes nothing; rate 0 leaves the weights. A group without a loss here has 0.
    """
    # The largest exponent is taken off all of them: no overflow, and the same quotients.
    exponents = {name: rate * losses.get(name, 0.0) for name in weights}
    most = max(exponents.values())
    raised = {name: weights[name] * math.exp(exponents[name] - most) for name in weights}
    whole = math.fsum(raised.values())
    return {name: value / whole for name, value in raised.items()}


def factors(weights: Mapping[str, float], share: Mapping[str, float]) -> dict[str, float]:
    """By what a pair of each group is multiplied so that its group counts q_g in all, q_g / p_g: 1 where weights are the shares.

    So a step's expected loss is sum_g q_g E_g[loss], whichever groups the draw brings into it (the N / N_g of Ramesh et al. 2024).
    """
    return {name: weights[name] / share[name] for name in weights}
