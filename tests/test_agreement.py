"""Claims about agreement: Krippendorff's own worked values, the reference implementation, and what is not said."""

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flagback.model.agreement import Ratings, TooManyLevels, TwiceRated, alpha, nominal, without_each
from flagback.model.cross_agreement import across
from flagback.model.intervals import MIN_CLUSTERS
from flagback.storage.records import ScaleType

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


@settings(deadline=None)
@given(counts=COUNTS)
def test_alpha_is_the_reference_implementations(counts: Counts) -> None:
    usable = [one for one in counts if sum(one) >= 2]
    mine = nominal(counts, range(len(counts))).alpha
    theirs = _by_the_package(usable) if usable and all(sum(column) for column in zip(*usable, strict=True)) else None
    assert mine == (None if theirs is None else pytest.approx(theirs, abs=1e-9))


@settings(deadline=None)
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


# ---------------------------------------------------------------- over raters

SCALES: tuple[ScaleType, ...] = ("nominal", "ordinal", "interval")
#: Krippendorff 2011, C: 4 observers, 12 units, missing data; no value stands for "not rated".
PAPER_C = [
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]


def _ratings(rows: list[str]) -> Ratings:
    cells = [(u, r, float(v)) for r, row in enumerate(rows) for u, v in enumerate(row.split()) if v != "."]
    return Ratings(*(np.array(column) for column in zip(*cells, strict=True)))


def _of_matrix(matrix: NDArray[np.float64]) -> Ratings:
    raters, items = np.nonzero(~np.isnan(matrix))
    return Ratings(items, raters, matrix[raters, items])


def _reference(matrix: NDArray[np.float64], scale: ScaleType) -> float:
    try:
        with np.errstate(invalid="ignore"):  # paired ratings all equal
            return float(krippendorff.alpha(reliability_data=matrix, level_of_measurement=scale))
    except ValueError:  # one value only, or nothing to pair
        return float("nan")


@st.composite
def _matrices(draw: st.DrawFn) -> NDArray[np.float64]:
    raters, items = draw(st.integers(2, 7)), draw(st.integers(1, 12))
    cell = st.one_of(st.just(np.nan), st.sampled_from([0.0, 1.0, 2.0, 5.5]))
    return np.array(draw(st.lists(st.lists(cell, min_size=items, max_size=items), min_size=raters, max_size=raters)))


@pytest.mark.parametrize(("scale", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_papers_four_observers_with_missing_data(scale: ScaleType, value: float) -> None:
    """Krippendorff 2011, C and D: nominal .743, ordinal .815, interval .849; the unit that one observer rated alone is left out."""
    found = alpha(_ratings(PAPER_C), scale)
    assert found.value == pytest.approx(value, abs=5e-4)
    assert (found.items, found.raters) == (11, 4)


@pytest.mark.parametrize("scale", SCALES)
@settings(deadline=None)
@given(matrix=_matrices())
def test_alpha_is_the_reference_implementations_with_any_cell_missing(scale: ScaleType, matrix: NDArray[np.float64]) -> None:
    mine, theirs = alpha(_of_matrix(matrix), scale).value, _reference(matrix, scale)
    assert mine == (None if np.isnan(theirs) else pytest.approx(theirs, abs=1e-9))


@pytest.mark.parametrize("scale", SCALES)
@settings(deadline=None)
@given(matrix=_matrices())
def test_leaving_a_rater_out_by_the_closed_form_is_reckoning_without_that_rater(
    scale: ScaleType, matrix: NDArray[np.float64]
) -> None:
    _, without = without_each(_of_matrix(matrix), scale)
    paired = (~np.isnan(matrix[:, (~np.isnan(matrix)).sum(axis=0) >= 2])).any(axis=1)
    assert len(without) == paired.sum()
    for rater, mine in zip(np.flatnonzero(paired), without, strict=True):
        rest = matrix.copy()
        rest[rater] = np.nan
        assert mine == pytest.approx(_reference(rest, scale), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("scale", SCALES)
@settings(deadline=None)
@given(matrix=_matrices(), seed=st.integers(0, 99))
def test_the_names_and_order_of_raters_and_items_change_nothing(scale: ScaleType, matrix: NDArray[np.float64], seed: int) -> None:
    random = np.random.default_rng(seed)
    mixed = matrix[random.permutation(len(matrix))][:, random.permutation(matrix.shape[1])]
    first, second = alpha(_of_matrix(matrix), scale), alpha(_of_matrix(mixed), scale)
    for one, other in zip(first, second, strict=True):
        assert one == (None if other is None else pytest.approx(other, abs=1e-9))


def test_large_numbers_far_from_zero_lose_nothing() -> None:
    matrix = np.random.default_rng(1).normal(size=(6, 30))
    near, far = alpha(_of_matrix(matrix), "interval").value, alpha(_of_matrix(matrix + 1e6), "interval").value
    assert near == pytest.approx(far, abs=1e-8)


def test_an_interval_over_raters_needs_five_of_them_and_ends_at_one() -> None:
    matrix = np.random.default_rng(2).integers(0, 2, 40).astype(float) * np.ones((6, 1))
    matrix[0, :3] = 1 - matrix[0, :3]
    four, six = alpha(_of_matrix(matrix[:4]), "nominal"), alpha(_of_matrix(matrix), "nominal")
    assert (four.low, four.high) == (None, None)
    assert four.value is not None
    assert six.low is not None
    assert six.value is not None
    assert six.low < six.value < 1
    assert six.high == 1.0


def test_somebody_who_rates_an_item_twice_is_refused() -> None:
    with pytest.raises(TwiceRated):
        alpha(Ratings(np.array([0, 0, 0]), np.array([1, 1, 2]), np.array([0.0, 1.0, 0.0])), "nominal")


def test_an_ordinal_scale_has_an_end() -> None:
    many = Ratings(np.repeat(np.arange(300), 2), np.tile([0, 1], 300), np.arange(600.0))
    with pytest.raises(TooManyLevels, match="600 levels"):
        alpha(many, "ordinal")


def test_no_ratings_give_no_alpha() -> None:
    nothing = Ratings(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    for scale in SCALES:
        assert alpha(nothing, scale) == (None, None, None, 0, 0)
    assert across(nothing, np.zeros(0, dtype=np.bool_), "nominal").value is None


# -------------------------------------------------------------- across groups


def test_agreement_across_groups_by_hand() -> None:
    """Item 0: the one says 1, the others 1 and 0; item 1: the one 0, the other 0. Item 2 was rated by one side only.

    Observed: item 0 has 1 of 2 pairs apart and 3 votes, item 1 none and 2 votes: (3 * 1/2 + 2 * 0) / 5 = .3. Chance: of the one
    side's (1, 0) and the other's (1, 0, 0) 3 of 6 pairs are apart. 1 - .3 / .5 = .4.
    """
    ratings = Ratings(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 0, 1, 0]), np.array([1.0, 1, 0, 0, 0, 1]))
    found = across(ratings, ratings.raters == 0, "nominal")
    assert found.value == pytest.approx(0.4)
    assert found[1:] == (None, None, 2, 1)
    assert across(ratings, ratings.raters == 0, "interval").value == pytest.approx(0.4)
    assert across(ratings, ratings.raters == 0, "ordinal").value == pytest.approx(0.4)


@pytest.mark.parametrize("scale", SCALES)
def test_across_groups_is_the_same_from_either_side(scale: ScaleType) -> None:
    matrix = np.random.default_rng(4).integers(0, 4, (12, 30)).astype(float)
    ratings = _of_matrix(matrix)
    ours = ratings.raters < 6
    assert across(ratings, ours, scale) == pytest.approx(across(ratings, ~ours, scale))


def test_two_groups_that_each_agree_and_see_other_things_agree_within_and_not_across() -> None:
    truth = np.random.default_rng(5).integers(0, 2, (2, 60)).astype(float)
    ratings = _of_matrix(np.repeat(truth, 6, axis=0))
    ours = ratings.raters < 6
    assert alpha(ratings.where(ours), "nominal").value == pytest.approx(1)
    assert alpha(ratings.where(~ours), "nominal").value == pytest.approx(1)
    crossed = across(ratings, ours, "nominal").value
    assert crossed is not None
    assert abs(crossed) < 0.3
