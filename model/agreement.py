"""How far people who judged the same answers agree. Knows counts of votes; knows nothing of who voted or on what.

An item is the counts of its votes by category, e.g. (flags, fines): (2, 1). Items with fewer than two votes say nothing.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flagback.model import intervals


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
