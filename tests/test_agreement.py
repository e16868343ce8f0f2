"""Claims about agreement: Krippendorff's own worked values, the reference implementation, and what is not said."""

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagback.model.agreement import nominal
from flagback.model.intervals import MIN_CLUSTERS

Counts = list[tuple[int, int]]
COUNTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40)


def _by_the_package(counts: Counts) -> float | None:
    try:
        return float(krippendorff.alpha(value_counts=np.array(counts), level_of_measurement="nominal"))
    except ValueError:  # one category only, or nothing to pair
        return None


def test_two_observers_of_the_papers_ten_units() -> None:
    """Krippendorff 2011, A: binary data, 2 observers, 10 units; 4 of them disagree; alpha = 0.095."""
    counts = [(1, 1), (0, 2), (2, 0), (2, 0), (2, 0), (2, 0), (1, 1), (1, 1), (2, 0), (1, 1)]
    assert nominal(counts, range(10)).alpha == pytest.approx(0.095, abs=5e-4)
    assert nominal(counts, range(10)).same == pytest.approx(0.6)


@given(counts=COUNTS)
def test_alpha_is_the_reference_implementations(counts: Counts) -> None:
    usable = [one for one in counts if sum(one) >= 2]
    mine = nominal(counts, range(len(counts))).alpha
    theirs = _by_the_package(usable) if usable and all(sum(column) for column in zip(*usable, strict=True)) else None
    assert mine == (None if theirs is None else pytest.approx(theirs, abs=1e-9))


@given(counts=COUNTS, seed=st.integers(0, 99))
def test_the_order_of_items_changes_nothing(counts: Counts, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(counts)).tolist()
    first, second = nominal(counts, range(len(counts))), nominal([counts[i] for i in order], order)
    assert [one is None for one in first] == [one is None for one in second]
    assert [x for x in first if x is not None] == pytest.approx([x for x in second if x is not None])


def test_items_with_one_vote_say_nothing() -> None:
    assert nominal([(1, 0), (0, 1)], ["a", "b"]) == (None, None, None, None, 0, 0)
    assert nominal([], []).items == 0
    assert nominal([(2, 0), (1, 1), (0, 1)], "abc") == nominal([(2, 0), (1, 1)], "ab")


def test_where_all_votes_are_alike_chance_explains_all_and_there_is_no_alpha() -> None:
    found = nominal([(0, 3)] * 30, range(30))
    assert (found.alpha, found.low, found.same, found.items) == (None, None, 1.0, 30)


def test_an_interval_needs_enough_families_of_prompts() -> None:
    flags = np.random.default_rng(3).integers(0, 4, 40).tolist()
    counts = [(one, 3 - one) for one in flags]
    few, enough = (
        nominal(counts, [i % (MIN_CLUSTERS - 1) for i in range(40)]),
        nominal(counts, [i % MIN_CLUSTERS for i in range(40)]),
    )
    assert few.low is None
    assert few.alpha == enough.alpha
    assert enough.low is not None
    assert enough.high is not None
    assert enough.alpha is not None
    assert enough.low < enough.alpha < enough.high


def test_votes_at_random_agree_as_chance_has_it_and_the_interval_says_so() -> None:
    """400 sets of 60 items with 3 random votes each: the interval holds 0 in 95 of 100, give or take four."""
    chance = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        flags = chance.binomial(3, 0.3, 60)
        found = nominal([(int(f), int(3 - f)) for f in flags], range(60))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0 <= found.high
    assert 0.91 <= held / 400 <= 0.99
