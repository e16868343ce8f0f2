"""How common something is among answers, told from those that were drawn with known and unequal probabilities.

Knows values and probabilities; knows no database and no order. What is reviewed first is drawn for a purpose, so a plain share of
flags says nothing of all answers: each draw counts by the inverse of its probability (Horvitz and Thompson 1952), here in the form
for draws one after the other without replacement (Des Raj 1956): what is known so far, plus the drawn value over its probability
among what is left, is at every draw an estimate of the whole without bias. It stays so when the probabilities of later draws depend
on what earlier ones showed, as they do here; the estimates of single draws are then uncorrelated, which gives the variance.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from flagback.model.intervals import t_quantile

#: Fewest draws with a known probability that make an estimate.
FEWEST_DRAWS = 20


class Draw(NamedTuple):
    """One item, in the order in which items were handed out first."""

    #: What was found of it, such as 1 for harm and 0 for none.
    value: float
    #: With what probability it was the next one among those not handed out yet, over 0 and at most 1; None where that is not known:
    #: such an item tells of itself only.
    probability: float | None


class PartDraw(NamedTuple):
    """One item, in the order in which items of its lane were handed out first, of which perhaps a part only is asked about."""

    #: What is drawn apart from the rest, such as a language.
    lane: str
    #: What hangs together, such as the family of a prompt.
    cluster: str
    #: What was found of it and of how much: (share of flags, 1) where it is asked about, (0, 0) where it is not.
    part: float
    whole: float
    #: As in Draw.
    probability: float | None


class Rate(NamedTuple):
    """An estimated mean over the whole population."""

    value: float
    #: 95 % interval.
    low: float
    high: float
    #: Draws that it rests on.
    draws: int


def rate(draws: Sequence[Draw], population: int) -> Rate | None:
    """The mean value of `population` items, drawn ones included; None with fewer than 20 draws of known probability.

    The interval is Student's t over single draws' estimates, cut to what is possible where values lie in 0-1. Raises ValueError
    where a probability is outside (0, 1] or more was drawn than there is.
    """
    if len(draws) > population:
        raise ValueError(f"{len(draws)} items were drawn of {population}; expected at most as many.")
    seen, estimates = 0.0, []
    for draw in draws:
        if draw.probability is not None:
            if not 0 < draw.probability <= 1:
                raise ValueError(f"A draw has probability {draw.probability}; expected over 0 and at most 1.")
            estimates.append((seen + draw.value / draw.probability) / population)
        seen += draw.value
    count = len(estimates)
    if count < FEWEST_DRAWS:
        return None
    value = math.fsum(estimates) / count
    spread = math.sqrt(math.fsum((one - value) ** 2 for one in estimates) / (count * (count - 1)))
    reach = t_quantile(0.975, count - 1) * spread
    # What was seen is a bound from below; what was seen to be fine, one from above.
    least, most = seen / population, 1 - (len(draws) - seen) / population
    if any(not 0 <= draw.value <= 1 for draw in draws):
        least, most = -math.inf, math.inf
    low, high = (min(max(one, least), most) for one in (value - reach, value + reach))
    return Rate(min(max(value, least), most), low, high, count)


def parts_by_cluster(draws: Sequence[PartDraw]) -> list[tuple[float, float]] | None:
    """(part, whole) by cluster, whose ratio of sums estimates that of all items asked about, for `flagback.model.shares`.

    Both are estimated draw by draw as above, the lanes by themselves and then added up; the ratio has no bias worth speaking of, as
    what is not asked about adds to neither. Scaled so that the wholes sum to the number of equally likely draws that would tell as
    much (Kish 1965). None with fewer than 20 draws of known probability that are asked about.
    """
    weights = [draw.whole / draw.probability for draw in draws if draw.whole and draw.probability is not None]
    if len(weights) < FEWEST_DRAWS:
        return None
    seen: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    told: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for draw in draws:
        part, whole = seen[draw.lane]
        if draw.probability is not None:
            told[draw.lane].append((draw.cluster, part + draw.part / draw.probability, whole + draw.whole / draw.probability))
        seen[draw.lane] = part + draw.part, whole + draw.whole
    sums: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for of_lane in told.values():
        # Draws from before anything that is asked about was there tell nothing.
        count = sum(whole > 0 for _, _, whole in of_lane)
        for cluster, part, whole in of_lane:
            if whole > 0:
                sums[cluster] = sums[cluster][0] + part / count, sums[cluster][1] + whole / count
    like = math.fsum(weights) ** 2 / math.fsum(weight * weight for weight in weights)
    scale = like / math.fsum(whole for _, whole in sums.values())
    return [(part * scale, whole * scale) for part, whole in sums.values()]
