"""Claims about shares by cluster: worked by hand, and wider where things hang together."""

from math import sqrt

import pytest

from flagback.model.intervals import t_quantile
from flagback.model.shares import share_of


def test_clusters_of_one_are_wilsons_interval_with_students_t() -> None:
    found = share_of([(1, 1)] * 20 + [(0, 1)] * 20)
    assert found is not None
    # Spread with 39 degrees of freedom: .25 / 39; so many draws vary as much.
    size, t = 0.25 / (0.25 / 39), t_quantile(0.975, 39)
    half = t / (1 + t**2 / size) * sqrt(0.25 / size + t**2 / (4 * size**2))
    assert (found.share, found.low, found.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))


def test_answers_that_hang_together_say_less_than_as_many_apart() -> None:
    together, apart = share_of([(5, 5), (0, 5)] * 6), share_of([(1, 1), (0, 1)] * 30)
    assert together is not None
    assert apart is not None
    assert together.high - together.low > 1.8 * (apart.high - apart.low)


def test_what_never_happened_is_as_sure_as_there_are_clusters() -> None:
    few, many = share_of([(0, 100)] * 10), share_of([(0, 1)] * 100)
    assert few is not None
    assert many is not None
    assert few.low == many.low == 0
    assert few.high > 0.25
    assert many.high < 0.05


def test_two_clusters_say_nothing() -> None:
    assert share_of([(1, 2), (0, 2), (0, 0)]) is None
