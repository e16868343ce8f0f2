"""Claims about what groups rate: means over people, differences on the same items, and what groups drawn by lot would show."""

import numpy as np
import pytest
from numpy.typing import NDArray

from flagback.model.agreement import MIN_RATERS, Ratings
from flagback.model.group_rates import difference, level, self_consistency


def _panel(seed: int, raters: int, items: int, *, lift: float = 0.0) -> tuple[Ratings, NDArray[np.bool_]]:
    """A panel whose first half flags by `lift` more often; people differ, and seven in ten cells are rated."""
    random = np.random.default_rng(seed)
    chance = 0.3 + random.normal(0, 0.08, (raters, 1)) + lift * (np.arange(raters)[:, None] < raters // 2)
    votes = random.random((raters, items)) < chance
    who, what = np.nonzero(random.random((raters, items)) < 0.7)
    return Ratings(what, who, votes[who, what].astype(np.float64)), who < raters // 2


def _by_regression(ratings: Ratings, ours: NDArray[np.bool_]) -> float:
    """The coefficient of the group beside a constant for each item."""
    constants = np.eye(int(ratings.items.max()) + 1)[ratings.items]
    return float(np.linalg.lstsq(np.column_stack([ours, constants]), ratings.values, rcond=None)[0][0])


# --------------------------------------------------------------------------- level


def test_forty_ratings_of_one_person_are_one_persons() -> None:
    """Five people of forty ratings each, two of them always 1: five answers' worth of sureness, not two hundred."""
    raters = np.repeat(np.arange(5), 40)
    found = level((raters < 2).astype(float), raters, share=True)
    assert found.value == pytest.approx(0.4)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.1
    assert found.high > 0.8


def test_what_nobody_was_seen_to_do_may_still_happen() -> None:
    found = level([0.0] * 60, [n % 6 for n in range(60)], share=True)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high is not None
    assert 0.3 < found.high < 0.7


def test_a_mean_of_people_with_one_rating_each_has_students_interval() -> None:
    values = [1.0, 2.0, 4.0, 4.0, 9.0, 4.0]
    found = level(values, range(6), share=False)
    assert found.value == pytest.approx(4)
    half = 2.5706 * np.std(values, ddof=1) / np.sqrt(6)
    assert found[1:3] == pytest.approx((4 - half, 4 + half), abs=0.02)


def test_fewer_than_five_people_have_no_interval() -> None:
    found = level([0.0, 1.0] * 20, [n % (MIN_RATERS - 1) for n in range(40)], share=True)
    assert (found.value, found.low, found.high, found.raters) == (0.5, None, None, 4)
    assert level([], [], share=True) == (None, None, None, 0)


# ----------------------------------------------------------------------- difference


@pytest.mark.parametrize("seed", range(5))
def test_the_difference_is_that_of_a_regression_with_a_constant_for_each_item(seed: int) -> None:
    ratings, ours = _panel(seed, 12, 25, lift=0.2)
    assert difference(ratings, ours, seed=0, permutations=9).value == pytest.approx(_by_regression(ratings, ours))


def test_the_interval_is_that_of_leaving_each_rater_out_and_reckoning_anew() -> None:
    ratings, ours = _panel(1, 12, 25, lift=0.2)
    found = difference(ratings, ours, seed=0, permutations=9)
    parts = []
    for side in (range(6), range(6, 12)):
        without = []
        for rater in side:
            kept = ratings.where(ratings.raters != rater)
            without.append(_by_regression(kept, ours[ratings.raters != rater]))
        parts.append(5 / 6 * np.sum((np.array(without) - np.mean(without)) ** 2))
    freedom = int(sum(parts) ** 2 / sum(part**2 / 5 for part in parts))
    assert 5 <= freedom <= 10
    assert found.value is not None
    assert found.high is not None
    students = {5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228}
    assert found.high - found.value == pytest.approx(students[freedom] * np.sqrt(sum(parts)), rel=2e-3)


def test_a_group_that_was_dealt_worse_items_is_not_stricter() -> None:
    """Both groups flag item by item alike; the one rated mostly the items that all flag."""
    cells = [(u, r, float(u < 10)) for u in range(20) for r in range(12) if (r < 6) == (u < 10) or u in (9, 10)]
    ratings = Ratings(*(np.array(column) for column in zip(*cells, strict=True)))
    ours = ratings.raters < 6
    assert ratings.values[ours].mean() - ratings.values[~ours].mean() > 0.8
    found = difference(ratings, ours, seed=0)
    assert found.value == pytest.approx(0)
    assert found.items == 2


def test_one_strict_person_with_many_ratings_is_no_strict_group() -> None:
    """One of six flags all her hundred; by single ratings that is beyond chance, by raters it is one of twelve."""
    who = np.concatenate([np.zeros(100, dtype=np.int64), np.repeat(np.arange(1, 12), 100)])
    ratings = Ratings(np.tile(np.arange(100), 12), who, (who == 0).astype(float))
    found = difference(ratings, who < 6, seed=0)
    assert found.value == pytest.approx(1 / 6)
    assert found.p == 1.0
    assert found.low is not None
    assert found.low < 0


def test_a_true_difference_stands_out_of_the_null_and_none_does_not() -> None:
    found = difference(*_panel(3, 30, 60, lift=0.3), seed=0)
    assert found.p == pytest.approx(0.001)
    assert found.null_high is not None
    assert found.value is not None
    assert found.low is not None
    assert found.null_high < found.value
    assert found.low > 0


def test_without_a_difference_one_null_in_twenty_is_rejected() -> None:
    """200 panels of 12: at most 1 in 20 by the null, give or take; five would be none at all."""
    found = [difference(*_panel(100 + seed, 12, 20), seed=seed, permutations=99) for seed in range(200)]
    rejected = sum(one.p is not None and one.p <= 0.05 for one in found)
    assert 2 <= rejected <= 20
    held = sum(one.low is not None and one.high is not None and one.low <= 0 <= one.high for one in found)
    assert held >= 180


def test_the_same_seed_gives_the_same_null_and_too_few_people_no_interval() -> None:
    ratings, ours = _panel(5, 12, 20)
    assert difference(ratings, ours, seed=4) == difference(ratings, ours, seed=4)
    assert difference(ratings, ours, seed=4) != difference(ratings, ours, seed=5)
    assert difference(ratings, ratings.raters < MIN_RATERS - 1, seed=4).low is None


def test_groups_without_a_common_item_cannot_be_compared() -> None:
    ratings = Ratings(np.arange(12), np.arange(12), np.ones(12))
    assert difference(ratings, np.arange(12) < 6, seed=0).value is None


# ----------------------------------------------------------------- self-consistency


def test_self_consistency_is_the_share_judged_alike_and_needs_five_people() -> None:
    found = self_consistency([True, True, False, True, True, True], ["a", "a", "b", "c", "d", "e"])
    assert found[0] == pytest.approx(5 / 6)
    assert (found.repeated, found.raters) == (6, 5)
    assert found.low is not None
    assert found.low < 0.6
    assert self_consistency([True, False], ["a", "b"]) == (None, None, None, 2, 2)
    assert self_consistency([], []).value is None
