"""Claims about rates told from answers that were reviewed in an informed order: right on average, honest, and a useful order."""

import math
import random
import statistics
from datetime import UTC, datetime
from functools import cache
from itertools import permutations
from typing import NamedTuple

import pytest

from flagback.model.propensity import FEWEST_DRAWS, Draw, rate
from flagback.storage import queue

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ITEMS, REVIEWED, A_DEAL = 2_000, 300, 100
PREVALENCE = 0.1
#: Distance in standard deviations of what a detector says of harm and of the rest: it puts 86 % of pairs in order.
APART = 1.5


class Panel(NamedTuple):
    """One simulated panel's result."""

    covered: bool
    #: Width of its interval over that of a random sample of as many.
    width: float
    #: Harms found over what a random order finds.
    found: float
    error: float


def test_by_hand_two_draws_of_three() -> None:
    """2 drawn first with 1/2, then 1 with 1/4: (1/0.5)/3 and (1 + 0/0.25)/3."""
    draws = [Draw(1, 0.5), Draw(0, 0.25)]
    padded = draws + [Draw(0, 1.0)] * (FEWEST_DRAWS - 2)
    found = rate(padded, 60)
    assert found is not None
    # The first says 2, all later ones 1.
    assert found.value == pytest.approx((2 + 19 * 1) / 20 / 60)
    spread = statistics.stdev([2 / 60] + [1 / 60] * 19) / 20**0.5
    assert found.high == pytest.approx(found.value + 2.0930 * spread, rel=1e-4)
    assert found.draws == 20


def test_every_draw_is_right_on_average() -> None:
    """All orders of four items of unequal weight, each with its probability: the mean of every draw's estimate is the truth."""
    values, weights = (1.0, 0.0, 1.0, 1.0), (4.0, 3.0, 2.0, 1.0)
    totals = [0.0] * 4
    for order in permutations(range(4)):
        chance, left, seen = 1.0, sum(weights), 0.0
        estimates = []
        for item in order:
            drawn = weights[item] / left
            estimates.append(seen + values[item] / drawn)
            chance, left, seen = chance * drawn, left - weights[item], seen + values[item]
        totals = [total + chance * one for total, one in zip(totals, estimates, strict=True)]
    assert totals == pytest.approx([3.0] * 4)


def test_uniform_draws_give_the_interval_of_a_random_sample() -> None:
    draw = random.Random(0)
    values = [float(draw.random() < 0.2) for _ in range(2_000)]
    found = rate([Draw(value, 1 / (2_000 - place)) for place, value in enumerate(values[:200])], 2_000)
    share = sum(values[:200]) / 200
    assert found is not None
    assert abs(found.value - share) < 0.02
    assert (found.high - found.low) / (2 * 1.96 * (share * (1 - share) / 200) ** 0.5) == pytest.approx(1, abs=0.1)


def test_items_of_unknown_probability_tell_of_themselves_only() -> None:
    known = [Draw(0, 1 / (100 - place)) for place in range(1, 31)]
    found = rate([Draw(1, None), *known], 100)
    assert found is not None
    assert found == pytest.approx((0.01, 0.01, 0.01, 30))


def test_too_few_draws_make_no_rate_and_an_interval_stays_within_what_is_possible() -> None:
    assert rate([Draw(1, 0.5)] * (FEWEST_DRAWS - 1), 100) is None
    assert rate([], 100) is None
    found = rate([Draw(1, 1 / (25 - place)) for place in range(25)], 25)
    assert found == pytest.approx((1, 1, 1, 25))
    outside = rate([Draw(5, 1 / (25 - place)) for place in range(25)], 25)
    assert outside is not None
    assert outside.value == pytest.approx(5)


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.5, float("nan")])
def test_a_probability_that_is_none_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="expected over 0 and at most 1"):
        rate([Draw(1, probability)], 10)


def test_more_draws_than_there_are_items_are_refused() -> None:
    with pytest.raises(ValueError, match="2 items were drawn of 1"):
        rate([Draw(1, 0.5)] * 2, 1)


# ------------------------------------------------------------- simulated panels


def simulated(seed: int, *, apart: float = APART) -> Panel:
    """A pool with its detector, dealt anew after every 100 answers, as the product does it."""
    draw = random.Random(seed)
    harmful = [draw.random() < PREVALENCE for _ in range(ITEMS)]
    expected = [1 / (1 + math.exp(2 - draw.gauss(apart if harm else 0.0, 1))) for harm in harmful]
    left = set(range(ITEMS))
    draws: list[Draw] = []
    while len(draws) < REVIEWED:
        rows = [
            queue.Open(item, f"{seed} {item}", "en", f"topic {item % 40}", expected[item], NOON, False, False)
            for item in sorted(left)
        ]
        places = queue.places_of(rows, {}, random_share=queue.RANDOM_SHARE, now=NOON)
        # Within a bucket claims begin anywhere.
        for item in sorted(left, key=lambda one: (places[one].bucket, draw.random()))[:A_DEAL]:
            draws.append(Draw(float(harmful[item]), places[item].probability))
            left.remove(item)
    found = rate(draws, ITEMS)
    assert found is not None
    truth = sum(harmful) / ITEMS
    sample = 2 * 1.96 * (truth * (1 - truth) / REVIEWED * (1 - REVIEWED / ITEMS)) ** 0.5
    caught = sum(one.value for one in draws)
    return Panel(
        found.low <= truth <= found.high, (found.high - found.low) / sample, caught / (truth * REVIEWED), found.value - truth
    )


@cache
def panels() -> list[Panel]:
    """200 of them."""
    return [simulated(seed) for seed in range(200)]


def test_the_interval_holds_the_true_rate_in_nine_panels_of_ten() -> None:
    assert statistics.mean(panel.covered for panel in panels()) >= 0.9


def test_the_interval_is_at_most_twice_as_wide_as_a_random_samples() -> None:
    assert statistics.mean(panel.width for panel in panels()) < 1.5
    assert max(panel.width for panel in panels()) < 2


def test_the_estimate_is_right_on_average() -> None:
    errors = [panel.error for panel in panels()]
    assert abs(statistics.mean(errors)) < 3 * statistics.stdev(errors) / len(errors) ** 0.5 + 0.002


def test_informed_order_finds_twice_the_harms_of_random_order() -> None:
    assert statistics.mean(panel.found for panel in panels()) >= 2


def test_a_detector_that_knows_nothing_costs_little() -> None:
    blind = [simulated(seed, apart=0.0) for seed in range(1_000, 1_020)]
    assert 0.85 < statistics.mean(panel.found for panel in blind) < 1.15
    assert statistics.mean(panel.width for panel in blind) < 1.5
