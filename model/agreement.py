"""How far people who judged the same answers agree: Krippendorff's alpha by scale, with intervals over items or over raters.

Knows votes and numbers that stand for items and raters; knows nothing of who voted or on what. Items with fewer than two votes say
nothing. `nominal` says how sure the number is for other answers, `alpha` for other people on the same answers. Agreement across
groups is `flagback.model.cross_agreement`, how groups differ `flagback.model.group_rates`; who is too few to be spoken of is
`flagback.storage.suppression`.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flagback.model import intervals
from flagback.storage.records import ScaleType

Floats: TypeAlias = NDArray[np.float64]
Numbers: TypeAlias = NDArray[np.int64]
#: Fewer raters than this have no interval; benchmarks/agreement_coverage.py says how well it holds from here on.
MIN_RATERS = 5
#: Ranks that an ordinal scale may have: a table of their pairs is kept for each rater in turn.
MOST_LEVELS = 200


class Agreement(NamedTuple):
    """Agreement over items with two votes or more."""

    #: Krippendorff's alpha for nominal data: 1 full agreement, 0 what chance gives; None where all votes are of one category.
    alpha: float | None
    #: Ends of its 95 % interval over clusters of items; None where they are too few.
    low: float | None
    high: float | None
    #: Share of pairs of votes on one item that agree, each item counting alike.
    same: float | None
    #: Items with two votes or more, and their votes.
    items: int
    votes: int


def nominal(counts: Sequence[Sequence[int]], clusters: Sequence[Hashable]) -> Agreement:
    """Krippendorff's alpha for nominal data from vote counts (N items, C categories), in closed form.

    alpha = 1 - (n - 1) * sum over items of (m^2 - sum of squares) / (m - 1)  /  (n^2 - sum of squared category totals), with m an
    item's votes and n all votes (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", C). The interval is a jackknife
    over clusters (the prompts of one family): it says how sure the number is for other answers, not for other people.
    """
    if not counts:
        return Agreement(None, None, None, None, 0, 0)
    table, owners = np.asarray(counts, dtype=np.float64), list(clusters)  # (N, C)
    paired = table.sum(axis=1) >= 2
    table, owners = table[paired], [owner for owner, keep in zip(owners, paired, strict=True) if keep]
    if not len(table):
        return Agreement(None, None, None, None, 0, 0)
    votes = table.sum(axis=1)  # (N,)
    differing = (votes**2 - (table**2).sum(axis=1)) / (votes - 1)  # (N,) votes' worth of disagreement
    same = float(1 - (differing / votes).mean())
    place = {owner: number for number, owner in enumerate(dict.fromkeys(owners))}
    which = np.array([place[owner] for owner in owners])
    totals = np.zeros((len(place), table.shape[1]))  # (G, C)
    np.add.at(totals, which, table)
    worth = np.bincount(which, differing, minlength=len(place))  # (G,)
    whole = _alpha(totals.sum(axis=0)[None], np.array([worth.sum()]))[0]
    without = _alpha(totals.sum(axis=0) - totals, worth.sum() - worth)
    enough = len(place) >= intervals.MIN_CLUSTERS and np.isfinite(whole) and np.isfinite(without).all()
    interval = intervals.jackknife(float(whole), [float(one) for one in without]) if enough else None
    return Agreement(
        float(whole) if np.isfinite(whole) else None,
        interval.low if interval else None,
        min(1.0, interval.high) if interval else None,
        same,
        len(table),
        int(votes.sum()),
    )


def _alpha(totals: NDArray[np.float64], worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alpha of each row of category totals (S, C) with its disagreement (S,); not a number where nothing could differ."""
    n = totals.sum(axis=1)
    chance = n**2 - (totals**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = np.where(chance > 0, 1 - (n - 1) * worth / chance, np.nan)
    return found


# ---------------------------------------------------------------- over raters


class Ratings(NamedTuple):
    """N ratings in columns; nobody rates an item twice."""

    #: (N,) numbers from 0, of the item and of the rater.
    items: Numbers
    raters: Numbers
    #: (N,) nominal: a number for the label; ordinal: its rank from 0; interval: the value itself.
    values: Floats

    def where(self, keep: NDArray[np.bool_]) -> "Ratings":
        """Some of them."""
        return Ratings(self.items[keep], self.raters[keep], self.values[keep])


class Alpha(NamedTuple):
    """Krippendorff's alpha of one scale, with its 95 % interval over raters."""

    #: 1 full agreement, 0 what chance gives; None where nothing is paired or all paired ratings are equal.
    value: float | None
    #: None under MIN_RATERS, and where the figure hangs on one rater.
    low: float | None
    high: float | None
    #: Items with two ratings or more, and who rated them.
    items: int
    raters: int


class TwiceRated(ValueError):
    """One person rated one item twice: which of the two counts, nobody can tell."""


def alpha(ratings: Ratings, scale: ScaleType) -> Alpha:
    """Alpha of the paired ratings, and the interval it would have with other people of the same kind on the same items.

    The interval is the delete-one-rater jackknife with Student's t, cut at 1. Measured at 5, 10 and 30 raters:
    docs/log.md, 2026-11-21.
    """
    paired = _paired(ratings)
    raters, items = len(np.unique(paired.raters)), len(np.unique(paired.items))
    if not items:
        return Alpha(None, None, None, 0, 0)
    whole, without = without_each(paired, scale)
    if not np.isfinite(whole):
        return Alpha(None, None, None, items, raters)
    interval = intervals.jackknife_of_strata(whole, without.tolist()) if raters >= MIN_RATERS else None
    low, high = (interval.low, min(1.0, interval.high)) if interval else (None, None)
    return Alpha(whole, low, high, items, raters)


def without_each(ratings: Ratings, scale: ScaleType) -> tuple[float, Floats]:
    """Alpha, and alpha without each rater in turn (R,), none of it refitted; not a number where nothing could differ.

    With delta a squared distance (interval: of values; ordinal: of mid-ranks; nominal: half that of indicator vectors), the pairs
    of an item need only its sums: sum over pairs of (x - y)^2 = m * sum x^2 - (sum x)^2. So leaving a rater out changes those sums
    in the items that he or she rated and the totals, and no more: O(N) for all raters together. An item left with one rating
    leaves with it. Ranks depend on who is counted, so the ordinal one changes its table of coincidences instead.
    """
    paired = _paired(ratings)
    items = np.unique(paired.items, return_inverse=True)[1]
    raters = np.unique(paired.raters, return_inverse=True)[1]
    if len(np.unique(items * (raters.max(initial=0) + 1) + raters)) != len(items):
        raise TwiceRated("Somebody rated an item twice; expected one rating of an item by each.")
    if not len(items):
        return float("nan"), np.zeros(0)
    if scale == "interval":
        return _of_values(items, raters, paired.values - paired.values.mean())
    codes = np.unique(paired.values, return_inverse=True)[1]
    return (_of_ranks if scale == "ordinal" else _of_labels)(items, raters, codes)


def _paired(ratings: Ratings) -> Ratings:
    sizes = np.bincount(ratings.items) if len(ratings.items) else np.zeros(0, dtype=np.int64)
    return ratings.where(sizes[ratings.items] >= 2)


def totals_by(which: Numbers, weights: Floats | None = None, *, size: int) -> Floats:
    """Counts or sums of weights by number."""
    return np.bincount(which, weights, minlength=size).astype(np.float64)


def _shared(disagreement: Floats, others: Floats) -> Floats:
    """An item's disagreement over the number of other ratings that each is paired with; 0 where there are none."""
    found: Floats = np.divide(disagreement, others, out=np.zeros_like(disagreement), where=others > 0)
    return found


def _from_totals(n: Floats, worth: Floats, chance: Floats, squares: Floats) -> Floats:
    """Alpha from n ratings, observed worth and what chance gives; `squares` is the size of numbers `chance` is a difference of."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.where(chance > 1e-13 * squares, 1 - (n - 1) * worth / chance, np.nan)
    return found


def _of_values(items: Numbers, raters: Numbers, x: Floats) -> tuple[float, Floats]:
    u, r = int(items.max()) + 1, int(raters.max()) + 1
    m, sums, squares = totals_by(items, size=u), totals_by(items, x, size=u), totals_by(items, x * x, size=u)
    worth = _shared(m * squares - sums**2, m - 1)  # (U,)
    left = m[items] - 1  # (N,) ratings an item has left without this one
    after = _shared(left * (squares[items] - x * x) - (sums[items] - x) ** 2, left - 1)
    alone = left == 1  # the other one leaves with it
    gone = totals_by(raters, 1.0 + alone, size=r)
    gone_sum = totals_by(raters, x + alone * (sums[items] - x), size=r)
    gone_square = totals_by(raters, x * x + alone * (squares[items] - x * x), size=r)
    n = np.append(len(x), len(x) - gone)
    total, square = np.append(x.sum(), x.sum() - gone_sum), np.append((x * x).sum(), (x * x).sum() - gone_square)
    observed = np.append(worth.sum(), worth.sum() + totals_by(raters, after - worth[items], size=r))
    found = _from_totals(n, observed, n * square - total**2, n * (x * x).sum())
    return float(found[0]), found[1:]


def _of_labels(items: Numbers, raters: Numbers, labels: Numbers) -> tuple[float, Floats]:
    u, r, c = int(items.max()) + 1, int(raters.max()) + 1, int(labels.max()) + 1
    m = totals_by(items, size=u)
    cells, cell, alike = np.unique(items * c + labels, return_inverse=True, return_counts=True)
    same = alike[cell].astype(np.float64)  # (N,) votes on this item for this label
    squares = totals_by(cells // c, alike.astype(np.float64) ** 2, size=u)  # (U,)
    worth = _shared(m**2 - squares, m - 1)
    left = m[items] - 1
    after = _shared(left**2 - (squares[items] - 2 * same + 1), left - 1)
    alone = left == 1
    partner = (totals_by(items, labels.astype(np.float64), size=u)[items] - labels).astype(np.int64)
    whose, which = np.append(raters, raters[alone]), np.append(labels, partner[alone])
    totals = totals_by(labels, size=c)
    pairs, gone = np.unique(whose * c + which, return_counts=True)
    whose, which = pairs // c, pairs % c
    n = np.append(len(labels), len(labels) - totals_by(whose, gone.astype(np.float64), size=r))
    lost = totals_by(whose, gone * (gone - 2.0 * totals[which]), size=r)
    square = np.append((totals**2).sum(), (totals**2).sum() + lost)
    observed = np.append(worth.sum(), worth.sum() + totals_by(raters, after - worth[items], size=r))
    found = _from_totals(n, observed, n**2 - square, n**2)
    return float(found[0]), found[1:]


def _of_ranks(items: Numbers, raters: Numbers, ranks: Numbers) -> tuple[float, Floats]:
    u, r, c = int(items.max()) + 1, int(raters.max()) + 1, int(ranks.max()) + 1
    if c > MOST_LEVELS:
        raise TooManyLevels(f"The ordinal scale has {c} levels; expected at most {MOST_LEVELS}: take it as interval.")
    counts = totals_by(items * c + ranks, size=u * c).reshape(u, c)  # (U, C)
    whole = _coincidences(counts)
    order = np.argsort(raters, kind="stable")
    ends = np.cumsum(np.bincount(raters, minlength=r))
    without = np.empty(r)
    for rater, mine in enumerate(np.split(order, ends[:-1])):
        before = counts[items[mine]]
        after = before.copy()
        after[np.arange(len(mine)), ranks[mine]] -= 1
        without[rater] = _from_coincidences(whole - _coincidences(before) + _coincidences(after))
    return _from_coincidences(whole), without


def _coincidences(counts: Floats) -> Floats:
    """(C, C): how often two ratings of one item meet, each item counting as many times as it has ratings."""
    others = counts.sum(axis=1) - 1  # (U,)
    shares = counts / np.where(others > 0, others, np.inf)[:, None]
    found: Floats = shares.T @ counts - np.diag(shares.sum(axis=0))
    return found


def _from_coincidences(table: Floats) -> float:
    """Krippendorff 2011, ordinal: the distance of two ranks is the ratings between them, half of those at either end."""
    totals = table.sum(axis=1)
    middle = np.cumsum(totals) - totals / 2
    distance = (middle[:, None] - middle) ** 2
    n = totals.sum()
    chance = float(totals @ distance @ totals)
    return 1 - (n - 1) * float((table * distance).sum()) / chance if chance > 1e-9 else float("nan")


class TooManyLevels(ValueError):
    """An ordinal scale with so many ranks that it is none."""
