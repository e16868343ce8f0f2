"""An exchange test for numbers that are no sums over items: how often chance alone gives so large a difference of distinct words.

If nothing changed, base and candidate of each cluster may as well have stood the other way round. Knows sets of things and which
cluster they stand in; knows nothing of texts.
"""

from collections.abc import Collection, Hashable, Mapping

import numpy as np
from numpy.typing import NDArray

#: Exchanges drawn, p down to 1 / 2,000.
EXCHANGES = 1999
#: Numbers computed at once.
_AT_ONCE = 2**24


def distinct_p(
    base: Mapping[str, Collection[Hashable]],
    candidate: Mapping[str, Collection[Hashable]],
    *,
    seed: int,
    exchanges: int = EXCHANGES,
) -> float:
    """Two-sided p that as many different things more, or fewer, stand on the candidate's side, by cluster.

    Both sides of each cluster are exchanged or not by a coin (Fisher 1935, 21; Edgington 1969). 1 where both sides hold the same.
    """
    clusters = sorted({*base, *candidate})
    places: dict[Hashable, int] = {}
    for side in (base, candidate):
        for cluster in clusters:
            for thing in sorted(set(side.get(cluster, ())), key=repr):
                places.setdefault(thing, len(places))
    if not places:
        return 1.0
    held: list[NDArray[np.float32]] = []
    for side in (base, candidate):
        present = np.zeros((len(clusters), len(places)), dtype=np.float32)  # (G, T)
        for row, cluster in enumerate(clusters):
            present[row, [places[thing] for thing in side.get(cluster, ())]] = 1
        held.append(present)
    # What stands on both sides of the same clusters is there whichever way they are turned.
    differs = (held[0] != held[1]).any(axis=0)
    below, above = held[0][:, differs], held[1][:, differs]
    constant = int(held[0][:, ~differs].any(axis=0).sum())
    seen = _ratio(below.any(axis=0).sum() + constant, above.any(axis=0).sum() + constant)
    lots = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // max(1, below.shape[1]))
    as_far = 0
    for start in range(0, exchanges, rows):
        turned = (lots.random((min(rows, exchanges - start), len(clusters))) < 0.5).astype(np.float32)  # (R, G)
        mine = ((turned @ below + (1 - turned) @ above) > 0).sum(axis=1) + constant
        theirs = ((turned @ above + (1 - turned) @ below) > 0).sum(axis=1) + constant
        as_far += int((_ratio(theirs, mine) >= seen - 1e-12).sum())
    return (1 + as_far) / (1 + exchanges)


def _ratio(below: NDArray[np.int64] | np.integer, above: NDArray[np.int64] | np.integer) -> NDArray[np.float64]:
    """How far two counts lie apart, as a distance of logarithms; with none on one side they lie as far apart as can be."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.abs(np.log(np.asarray(above, dtype=np.float64)) - np.log(np.asarray(below, dtype=np.float64)))
    apart: NDArray[np.float64] = np.nan_to_num(found, nan=0.0, posinf=np.inf)
    return apart
