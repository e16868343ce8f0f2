"""Claims about rates told from answers that were reviewed in an informed order: right on average, honest, and a useful order."""

import importlib.util
import random
import statistics
import sys
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from flagback.model.propensity import FEWEST_DRAWS, Draw, PartDraw, parts_by_cluster, rate

#: Distance in standard deviations of what a detector says of harm and of the rest: it puts 86 % of pairs in order.
APART = 1.5


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


def test_a_part_of_what_is_drawn_is_told_right_on_average() -> None:
    """600 things of which half are asked about and a fifth of those, likelier to be drawn, are found: 150 draws, 400 times."""
    asked = [number % 2 == 0 for number in range(600)]
    found = [number % 10 == 0 for number in range(600)]
    weights = [3.0 if one else 1.0 for one in found]
    told = []
    for seed in range(400):
        draw = random.Random(seed)
        order = sorted(range(600), key=lambda one: draw.expovariate(weights[one]))[:150]
        left, draws = sum(weights), []
        for one in order:
            draws.append(PartDraw("en", str(one), float(found[one]), float(asked[one]), weights[one] / left))
            left -= weights[one]
        parts = parts_by_cluster(draws)
        assert parts is not None
        told.append(sum(part for part, _ in parts) / sum(whole for _, whole in parts))
    assert statistics.mean(told) == pytest.approx(0.2, abs=0.006)
    plain = 3 * 60 / (3 * 60 + 240)
    assert max(told) < plain


def test_lanes_are_told_apart_and_added_up() -> None:
    """All of both lanes are drawn uniformly: 3 of 30 found in one, 40 of 50 in the other, 43 of 80 in all."""
    draws = [PartDraw("en", f"e{n}", float(n % 10 == 0), 1.0, 1 / (30 - n)) for n in range(30)]
    draws += [PartDraw("es", f"s{n}", float(n % 5 > 0), 1.0, 1 / (50 - n)) for n in range(50)]
    parts = parts_by_cluster(draws)
    assert parts is not None
    whole = sum(whole for _, whole in parts)
    assert sum(part for part, _ in parts) / whole == pytest.approx(43 / 80, abs=0.01)
    assert 40 < whole < 80


def test_fewer_than_twenty_of_known_probability_tell_no_part() -> None:
    known = [PartDraw("en", str(n), 1.0, 1.0, 0.01) for n in range(FEWEST_DRAWS - 1)]
    elsewhere = [PartDraw("en", str(n), 0.0, 0.0, 0.01) for n in range(50)]
    assert parts_by_cluster([*known, *elsewhere, PartDraw("en", "x", 1.0, 1.0, None)]) is None


# ------------------------------------------------------------- simulated panels


@cache
def benchmark() -> Any:
    """benchmarks/order_of_work.py, in which the panels are simulated."""
    file = Path(__file__).parent.parent / "benchmarks" / "order_of_work.py"
    spec = importlib.util.spec_from_file_location("order_of_work", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def panels() -> list[Any]:
    """200 of them."""
    return [benchmark().panel(seed, apart=APART) for seed in range(200)]


def test_the_interval_holds_the_true_rate_in_nine_panels_of_ten() -> None:
    assert statistics.mean(one.covered for one in panels()) >= 0.9


def test_the_interval_is_at_most_twice_as_wide_as_a_random_samples() -> None:
    assert statistics.mean(one.width for one in panels()) < 1.5
    assert max(one.width for one in panels()) < 2


def test_the_estimate_is_right_on_average() -> None:
    errors = [one.error for one in panels()]
    assert abs(statistics.mean(errors)) < 3 * statistics.stdev(errors) / len(errors) ** 0.5 + 0.002


def test_informed_order_finds_twice_the_harms_of_random_order() -> None:
    assert statistics.mean(one.found for one in panels()) >= 2


def test_a_detector_that_knows_nothing_costs_little() -> None:
    blind = [benchmark().panel(seed, apart=0.0) for seed in range(1_000, 1_020)]
    assert 0.85 < statistics.mean(one.found for one in blind) < 1.15
    assert statistics.mean(one.width for one in blind) < 1.5
