"""How common something is among answers, told from those that were drawn with known and unequal probabilities.

Knows values and probabilities; knows no database and no order. What is reviewed first is drawn for a purpose, so a plain share of
flags says nothing of all answers: each draw counts by the inverse of its probability (Horvitz and Thompson 1952), here in the form
for draws one after the other without replacement (Des Raj 1956): what is known so far, plus the drawn value over its probability
among what is left, is at every draw an estimate of the whole without bias. It stays so when the probabilities of later draws depend
on what earlier ones showed, as they do here; the estimates of single draws are then uncorrelated, which gives the variance.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats

#: Fewest draws with a known probability that make an estimate.
FEWEST_DRAWS = 20


class Draw(NamedTuple):
    """One item, in the order in which items were handed out first."""

    #: What was found of it, such as 1 for harm and 0 for none.
    value: float
    #: With what probability it was the next one among those not handed out yet, over 0 and at most 1; None where that is not known:
    #: such an item tells of itself only.
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
    reach = float(stats.t.ppf(0.975, count - 1)) * spread
    # What was seen is a bound from below; what was seen to be fine, one from above.
    least, most = seen / population, 1 - (len(draws) - seen) / population
    if any(not 0 <= draw.value <= 1 for draw in draws):
        least, most = -math.inf, math.inf
    low, high = (min(max(one, least), most) for one in (value - reach, value + reach))
    return Rate(min(max(value, least), most), low, high, count)
