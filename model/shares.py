"""A share among things that hang together: of reviews, answers or texts by cluster. Knows numbers; knows not what they count."""

from collections.abc import Iterable
from math import sqrt
from typing import NamedTuple

from flagback.model.intervals import LEVEL, t_quantile


class Share(NamedTuple):
    """A share with its 95 % interval."""

    share: float
    low: float
    high: float
    #: How many clusters it rests on.
    clusters: int


def share_of(clusters: Iterable[tuple[float, float]]) -> Share | None:
    """The share of (so many, of so many) by cluster, all together; None where there are fewer than three clusters.

    The ratio estimate and its between-cluster variance (Cochran 1977, 6.5), as a Wilson interval on the number of things that would
    vary as much (Korn and Graubard 1998), with Student's t of the clusters in place of the normal. That number is at most how many
    there are, and it is the number of clusters where all of them say the same.
    """
    rows = [(float(part), float(whole)) for part, whole in clusters if whole > 0]
    total, k = sum(whole for _, whole in rows), len(rows)
    if k < 3:
        return None
    share = sum(part for part, _ in rows) / total
    spread = sum((part - share * whole) ** 2 for part, whole in rows) * k / (k - 1) / total**2
    size = min(total, share * (1 - share) / spread) if spread > 1e-18 else float(k)
    z = t_quantile((1 + LEVEL) / 2, k - 1)
    centre = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * sqrt(share * (1 - share) / size + z**2 / (4 * size**2))
    return Share(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), k)
