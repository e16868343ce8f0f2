"""Claims about the exchange test: exact where all exchanges can be counted, the same both ways round, right under chance alone."""

from itertools import product
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagback.model.exchange import distinct_p

Sides = list[tuple[set[int], set[int]]]


def _p(sides: Sides, **more: int) -> float:
    base, candidate = ({f"c{i}": pair[side] for i, pair in enumerate(sides)} for side in (0, 1))
    return distinct_p(base, candidate, **{"seed": 1, **more})


def _counted(sides: Sides) -> float:
    """Over all exchanges: the share that is at least as far apart."""

    def apart(ways: tuple[int, ...]) -> float:
        counts = [len(set().union(*(pair[way ^ side] for pair, way in zip(sides, ways, strict=True)))) for side in (0, 1)]
        return float("inf") if min(counts) == 0 < max(counts) else abs(log(counts[1] / counts[0])) if max(counts) else 0.0

    every = [apart(ways) for ways in product((0, 1), repeat=len(sides))]
    return sum(one >= every[0] - 1e-12 for one in every) / len(every)


def test_by_hand() -> None:
    """Three clusters, whose candidates hold one new word each and whose bases all hold the same one: 3 words against 1. As far
    apart are only the two ways in which all stand alike: 2 of 8."""
    sides: Sides = [({0}, {1}), ({0}, {2}), ({0}, {3})]
    assert _counted(sides) == 2 / 8
    assert _p(sides, exchanges=20_000) == pytest.approx(2 / 8, abs=0.015)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sets(st.integers(0, 8), max_size=4), st.sets(st.integers(0, 8), max_size=4)), min_size=1, max_size=6))
def test_it_is_the_share_of_all_exchanges_and_the_same_both_ways(sides: Sides) -> None:
    assert _p(sides, exchanges=4000) == pytest.approx(_counted(sides), abs=0.04)
    assert _p(sides) == pytest.approx(_p([(other, one) for one, other in sides]), abs=0.06)


def test_equal_sides_and_nothing_at_all_are_no_change() -> None:
    assert _p([({1, 2}, {1, 2})] * 12) == 1.0
    assert _p([(set(), set())]) == 1.0
    assert distinct_p({}, {}, seed=1) == 1.0


def test_chance_alone_is_called_a_change_one_time_in_twenty() -> None:
    random = np.random.default_rng(5)
    found = [
        _p([tuple(set(random.integers(0, 300, 12).tolist()) for _ in range(2)) for _ in range(40)], seed=i, exchanges=199)  # type: ignore[misc]
        for i in range(300)
    ]
    share = float(np.mean(np.asarray(found) <= 0.05))
    assert 0.05 - 4 * 0.0126 <= share <= 0.05 + 4 * 0.0126
