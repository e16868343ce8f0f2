"""What groups of people rate alike and apart: means over raters, and differences between groups on the same items.

Knows numbers and who gave them; knows no group's name and hides nothing (`flagback.storage.suppression` says who is too few to be
spoken of). Every interval is over raters: tens of ratings of one person are one person's.
"""

from collections.abc import Hashable, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flagback.model import intervals
from flagback.model.agreement import MIN_RATERS, Floats, Numbers, Ratings, totals_by

#: Shuffles of the null, p down to 1 / 1,000.
PERMUTATIONS = 999
_CHUNK = 20_000_000


class Level(NamedTuple):
    """A mean of ratings."""

    #: None where there is no rating.
    value: float | None
    #: 95 % over raters; None under MIN_RATERS of them.
    low: float | None
    high: float | None
    raters: int


def level(values: Sequence[float] | Floats, raters: Sequence[Hashable] | Numbers, *, share: bool) -> Level:
    """Mean of ratings, each counting alike, and its interval over raters.

    A share (values 0 or 1) gets Wilson's interval on the number of ratings that would vary as much, with Student's t of the raters
    (Korn and Graubard 1998); where all say the same, that number is the number of raters. Any other mean gets Student's t on the
    between-rater variance of the ratio (Cochran 1977, 6.5).
    """
    x = np.asarray(values, dtype=np.float64)
    if not len(x):
        return Level(None, None, None, 0)
    who = np.unique(np.asarray(raters), return_inverse=True)[1]
    k = int(who.max()) + 1
    sums, sizes = totals_by(who, x, size=k), totals_by(who, size=k)
    n, mean = float(sizes.sum()), float(x.mean())
    if k < MIN_RATERS:
        return Level(mean, None, None, k)
    variance = float(np.sum((sums - mean * sizes) ** 2)) * k / (k - 1) / n**2
    t = intervals.t_quantile((1 + intervals.LEVEL) / 2, k - 1)
    if not share:
        half = t * sqrt(variance)
        return Level(mean, mean - half, mean + half, k) if half > 0 else Level(mean, None, None, k)
    size = min(n, mean * (1 - mean) / variance) if variance > 0 else float(k)
    centre = (mean * size + t**2 / 2) / (size + t**2)
    half = t / (size + t**2) * sqrt(size * mean * (1 - mean) + t**2 / 4)
    return Level(mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)), k)


class Difference(NamedTuple):
    """How a group's ratings differ from the others' on the items that both rated."""

    #: Group minus others; None where no item was rated by both.
    value: float | None
    #: 95 % over raters; None under MIN_RATERS on either side.
    low: float | None
    high: float | None
    #: Items rated by both, and raters of them on the smaller side.
    items: int
    raters: int
    #: Between these stand 95 of 100 differences that groups drawn by lot from the same people would show, and the share of them
    #: that are at least as large as the one found.
    null_low: float | None
    null_high: float | None
    p: float | None


def difference(ratings: Ratings, ours: NDArray[np.bool_], *, seed: int, permutations: int = PERMUTATIONS) -> Difference:
    """Within-item difference of means, items weighted by a * b / (a + b), a ratings of the group and b of others (Mantel and
    Haenszel's weights: what a regression with a constant for each item gives). So a group that was dealt worse items does not
    look stricter.

    The interval is a jackknife that leaves each rater out, group and others as two strata. The null deals the group's name anew
    among *raters*, who keep all their ratings: shuffling ratings would take one strict person's forty flags for forty people's.
    """
    size = int(ratings.items.max(initial=-1)) + 1
    sides = [totals_by(ratings.items, side.astype(np.float64), size=size) > 0 for side in (ours, ~ours)]
    both = (sides[0] & sides[1])[ratings.items]
    ratings, ours = ratings.where(both), ours[both]
    if not len(ratings.items):
        return Difference(None, None, None, 0, 0, None, None, None)
    items = np.unique(ratings.items, return_inverse=True)[1]
    raters = np.unique(ratings.raters, return_inverse=True)[1]
    u, r = int(items.max()) + 1, int(raters.max()) + 1
    z, y = ours.astype(np.float64), ratings.values - ratings.values.mean()
    n, a = totals_by(items, size=u), totals_by(items, z, size=u)
    s, s_ours = totals_by(items, y, size=u), totals_by(items, z * y, size=u)
    above, below = s_ours - a * s / n, a - a * a / n  # (U,) numerator and weight of each item
    value = float(above.sum() / below.sum())
    group = totals_by(raters, z, size=r) > 0  # (R,)
    low, high = _ends(value, _without_each(items, raters, z, y, (n, a, s, s_ours), (above, below)), group)
    residual = totals_by(raters, y - (s / n)[items], size=r)  # (R,): above.sum() is its sum over the group
    null = _null(items, raters, n, residual, int(group.sum()), seed, permutations)
    p = (1 + int(np.sum(np.abs(null) >= abs(value) - 1e-12))) / (1 + len(null)) if len(null) else None
    ends = [float(end) for end in np.quantile(null, [0.025, 0.975])] if len(null) else [None, None]
    return Difference(value, low, high, u, min(int(group.sum()), int((~group).sum())), ends[0], ends[1], p)


def _without_each(
    items: Numbers,
    raters: Numbers,
    z: Floats,
    y: Floats,
    sums: tuple[Floats, Floats, Floats, Floats],
    whole: tuple[Floats, Floats],
) -> Floats:
    """The difference without each rater (R,): only the items that he or she rated change."""
    n, a, s, s_ours = (column[items] for column in sums)
    left = np.maximum(n - 1, 1.0)  # where nobody is left all sums are 0
    above = (s_ours - z * y) - (a - z) * (s - y) / left
    below = (a - z) - (a - z) ** 2 / left
    r = int(raters.max()) + 1
    numerator = whole[0].sum() + totals_by(raters, above - whole[0][items], size=r)
    weight = whole[1].sum() + totals_by(raters, below - whole[1][items], size=r)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(weight > 1e-9, numerator / weight, np.nan)
    return found


def _ends(value: float, without: Floats, group: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    if min(int(group.sum()), int((~group).sum())) < MIN_RATERS:
        return None, None
    interval = intervals.jackknife_of_strata(value, without[group].tolist(), without[~group].tolist())
    return (interval.low, interval.high) if interval else (None, None)


def _null(items: Numbers, raters: Numbers, n: Floats, residual: Floats, size: int, seed: int, permutations: int) -> Floats:
    """Differences of groups of `size` raters drawn by lot; draws in which no item is rated by both are left out."""
    order = np.argsort(items, kind="stable")
    starts = np.searchsorted(items[order], np.arange(len(n)))
    who = raters[order]
    random = np.random.default_rng(seed)
    found: list[Floats] = []
    rows = max(1, min(permutations, _CHUNK // len(items)))
    for start in range(0, permutations, rows):
        drawn = np.zeros((min(rows, permutations - start), len(residual)), dtype=np.float32)  # (D, R)
        for row in drawn:
            row[random.permutation(len(residual))[:size]] = 1
        a = np.add.reduceat(drawn[:, who], starts, axis=1)  # (D, U)
        weight = (a - a * a / n).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(np.where(weight > 1e-6, drawn @ residual / weight, np.nan))
    null = np.concatenate(found) if found else np.zeros(0)
    return null[np.isfinite(null)]


class SelfConsistency(NamedTuple):
    """The share of repeated items that one and the same person judged alike."""

    #: 0-1, each repetition counting alike; None under MIN_RATERS people.
    value: float | None
    low: float | None
    high: float | None
    #: Repetitions, and people who had one.
    repeated: int
    raters: int


def self_consistency(alike: Sequence[bool], raters: Sequence[Hashable]) -> SelfConsistency:
    """From each repetition: whether it was judged as before, and by whom. Under MIN_RATERS people it would be about persons."""
    found = level([float(one) for one in alike], raters, share=True)
    value = found.value if found.raters >= MIN_RATERS else None
    return SelfConsistency(value, found.low, found.high, len(alike), found.raters)
