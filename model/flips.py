"""Flips: answers that turned right or wrong between two models, and how small a change so many items could show.

Knows pairs of yes and no, and which items hang together; knows nothing of what was asked.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from math import comb, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from flagback.model.intervals import POWER, NotANumber, UnequalLengths

#: The share of items taken to flip where nothing is known: between two close versions 5 to 20 % do.
USUAL_FLIPS = 0.10


class Flips(NamedTuple):
    """What turned."""

    items: int
    #: Wrong (False) under the base and right (True) under the candidate, and the other way round.
    won: int
    lost: int
    clusters: int
    #: Two-sided p that no change at all would come out so far from even, exact: never too small.
    p: float
    #: The same with half the chance of just this outcome (Lancaster 1961): right on average, where p is cautious for few flips.
    mid_p: float


def compare(base: Sequence[bool], candidate: Sequence[bool], clusters: Sequence[Hashable]) -> Flips:
    """McNemar's exact test on clusters: if nothing changed, each cluster's net flips may as well have the other sign.

    The distribution over all 2^clusters signs is counted, not drawn. With a cluster an item it is McNemar's test to the letter
    (McNemar 1947); with several items a cluster it does not take three flips of one template for three witnesses.
    """
    if not len(base) == len(candidate) == len(clusters):
        raise UnequalLengths(
            f"Flips of {len(base)} and {len(candidate)} answers for {len(clusters)} clusters; expected equal lengths."
        )
    net: dict[Hashable, int] = defaultdict(int)
    for before, after, cluster in zip(base, candidate, clusters, strict=True):
        net[cluster] += int(after) - int(before)
    won = sum(after and not before for before, after in zip(base, candidate, strict=True))
    lost = sum(before and not after for before, after in zip(base, candidate, strict=True))
    p, mid_p = _two_sided(list(net.values()))
    return Flips(len(base), won, lost, len(net), p, mid_p)


def _two_sided(net: Sequence[int]) -> tuple[float, float]:
    """P(|sum with random signs| >= |sum|), and that with half of the equality."""
    sizes = Counter(abs(value) for value in net if value)
    chances = np.ones(1)  # over sums -m..m
    for size, count in sorted(sizes.items()):
        spread = np.zeros(2 * size * count + 1)
        spread[:: 2 * size] = [comb(count, up) / (1 << count) for up in range(count + 1)]
        chances = np.convolve(chances, spread)
    most = len(chances) // 2
    seen = abs(sum(net))
    if seen == 0:
        return 1.0, 1.0
    beyond, equal = float(chances[most + seen + 1 :].sum()), float(chances[most + seen])
    return min(1.0, 2 * (beyond + equal)), min(1.0, 2 * beyond + equal)


def detectable_change(
    items: int, *, flips: float = USUAL_FLIPS, level: float = 0.05, tests: int = 1, one_sided: bool = False, power: float = POWER
) -> float:
    """The smallest true change of a rate (0..1) that so many independent pairs show with this power, if this share of them flips.

    (z of the level over the tests + z of the power) * sqrt(flips / items): the normal approximation of McNemar's test. A change
    can be no larger than the share that flips: where the answer is, such data cannot show any change at all.
    """
    if items < 1 or not 0 < flips <= 1 or tests < 1:
        raise NotANumber(
            f"{items} items of which {flips} flip, in {tests} tests; expected items and tests >= 1 and a share in 0..1."
        )
    normal = NormalDist()
    tail = level / tests / (1 if one_sided else 2)
    return (normal.inv_cdf(1 - tail) + normal.inv_cdf(power)) * sqrt(flips / items)


def detectable_words(items: int, *, flips: float = USUAL_FLIPS, tests: int = 1) -> str:
    """The same as a sentence: "With 60 items only changes above 11 points would show (8 times in 10, where 10 % flip)."."""
    if items < 1:
        return "With no items no change would show."
    points = 100 * detectable_change(items, flips=flips, tests=tests)
    shown = f"{points:.0f}" if points >= 10 else f"{points:.1f}"
    assumed = f"8 times in 10, where {100 * flips:.0f} % flip" + (f", in {tests} tests sharing one level" if tests > 1 else "")
    if points >= 100:
        return f"With {items} items not even a change of every answer would show."
    return f"With {items} items only changes above {shown} points would show ({assumed})."
