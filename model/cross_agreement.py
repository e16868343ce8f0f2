"""How far the raters of one group agree with those of others. Knows ratings and which are of the group; knows no group's name."""

import numpy as np
from numpy.typing import NDArray

from flagback.model import intervals
from flagback.model.agreement import MIN_RATERS, Alpha, Floats, Numbers, Ratings, totals_by
from flagback.storage.records import ScaleType

#: Raters of a side are left out one by one up to here; of more, in as many blocks.
BLOCKS = 30


def across(ratings: Ratings, ours: NDArray[np.bool_], scale: ScaleType) -> Alpha:
    """How far one group of raters (`ours`, of each rating) agrees with the others: 1 - observed / expected disagreement of pairs of
    one rating by each.

    After the cross-kappa of Wong, Paritosh and Aroyo (2021, "Cross-replication Reliability"): an item weighs as many times as it
    has ratings, chance is every rating of the one beside every of the other. Compare it with the alpha within each: where it is
    lower, the groups see other things; where all are low, people do. Items that both rated count, and no
    others; `raters` is how many of the smaller side rated them.
    """
    size = int(ratings.items.max(initial=-1)) + 1
    ours_in, theirs_in = (totals_by(ratings.items, side.astype(np.float64), size=size) for side in (ours, ~ours))
    both = (ours_in > 0) & (theirs_in > 0)
    kept = both[ratings.items]
    used, mine = ratings.where(kept), ours[kept]
    sides = [np.unique(used.raters[mine]), np.unique(used.raters[~mine])]
    raters = min(map(len, sides))
    if not len(used.items):
        return Alpha(None, None, None, 0, 0)
    figure = _Crossing(used, mine, scale).alpha
    whole = figure(np.ones(len(mine)))
    if not np.isfinite(whole):
        return Alpha(None, None, None, int(both.sum()), raters)
    interval = None
    if raters >= MIN_RATERS:
        blocks = [np.array_split(side, min(len(side), BLOCKS)) for side in sides]
        left_out = [[figure((~np.isin(used.raters, one)).astype(np.float64)) for one in side] for side in blocks]
        interval = intervals.jackknife_of_strata(whole, *left_out)
    low, high = (interval.low, min(1.0, interval.high)) if interval else (None, None)
    return Alpha(whole, low, high, int(both.sum()), raters)


class _Crossing:
    """Cross-group alpha of ratings with weights 0 or 1; what does not hang on the weights is reckoned once."""

    def __init__(self, used: Ratings, mine: NDArray[np.bool_], scale: ScaleType) -> None:
        self.items = np.unique(used.items, return_inverse=True)[1]
        self.size, self.mine, self.labels = int(self.items.max()) + 1, mine, None
        codes = np.unique(used.values, return_inverse=True)[1]
        if scale == "nominal":
            self.labels = codes
            self.cell = np.unique(self.items * (codes.max() + 1) + codes, return_inverse=True)
        elif scale == "ordinal":
            totals = np.bincount(codes)
            self.x = (np.cumsum(totals) - totals / 2)[codes]
        else:
            self.x = used.values - used.values.mean()

    def alpha(self, weights: Floats) -> float:
        first, second = weights * self.mine, weights * ~self.mine
        a, b = (totals_by(self.items, side, size=self.size) for side in (first, second))
        there = (a > 0) & (b > 0)
        first, second = first * there[self.items], second * there[self.items]
        if not there.any():
            return float("nan")
        observed = self._apart(self.items, first, second, self.size)[there]
        votes = (a + b)[there]
        expected = float(self._apart(np.zeros_like(self.items), first, second, 1)[0])
        return 1 - float(votes @ observed / votes.sum()) / expected if expected > 1e-12 else float("nan")

    def _apart(self, which: Numbers, first: Floats, second: Floats, size: int) -> Floats:
        """Mean distance of a rating of the one from one of the other, by item or over all."""
        a, b = (np.maximum(totals_by(which, side, size=size), 1.0) for side in (first, second))
        if self.labels is not None:
            if size == 1:
                alike = (totals_by(self.labels, first, size=0) @ totals_by(self.labels, second, size=0)).reshape(1)
            else:
                cells, cell = self.cell
                met = totals_by(cell, first, size=len(cells)) * totals_by(cell, second, size=len(cells))
                alike = totals_by(cells // (self.labels.max() + 1), met, size=size)
            met_apart: Floats = 1 - alike / (a * b)
            return met_apart
        sums = [totals_by(which, side * self.x, size=size) for side in (first, second)]
        squares = [totals_by(which, side * self.x**2, size=size) for side in (first, second)]
        apart: Floats = squares[0] / a + squares[1] / b - 2 * (sums[0] / a) * (sums[1] / b)
        return apart
