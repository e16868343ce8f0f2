"""Over- and under-representation: which groups prompts, answers, reviews and pairs speak of, beside their share among the prompts.

Knows texts' groups, clusters and weights as plain values; knows neither the store nor who reviews. A text counts for an axis where
it speaks of one group of it alone: what names women and men says nothing of which of the two there is more.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import exp
from typing import Any, NamedTuple

import numpy as np

from flagback.model.groups import Axis
from flagback.model.intervals import jackknife
from flagback.model.mentions import mentions

#: The axis of groups that prompts were tagged with by whoever brought them.
TAGGED = "as tagged"
#: A weight under this is none: what rounding leaves of a difference.
_NOTHING = 1e-9


class Spoken(NamedTuple):
    """Which groups one text speaks of."""

    #: Axis -> group.
    groups: Mapping[str, str]
    cluster: str
    #: How often it counts.
    weight: float = 1.0


class Cell(NamedTuple):
    """One group at one station."""

    axis: str
    group: str
    station: str
    #: Texts about it, and texts about any one group of its axis, by weight.
    texts: float
    of: float
    #: Texts over of, 0-1.
    share: float
    #: Share over the group's share at the first station, with a 95 % interval; None where it cannot be known.
    ratio: float | None
    low: float | None
    high: float | None


def spoken_of(text: str, tags: Mapping[str, Any], *, lang: str, extra: Sequence[Axis] = ()) -> dict[str, str]:
    """Axis -> the one group a text speaks of, by its words and by what it was tagged with."""
    found = dict(mentions(text, lang=lang, extra=extra).alone)
    tagged = tags.get("groups")
    if isinstance(tagged, list) and len(tagged) == 1 and isinstance(tagged[0], str):
        found[TAGGED] = tagged[0]
    return found


def compare(stations: Mapping[str, Sequence[Spoken]]) -> list[Cell]:
    """Every group of every axis at every station beside the first station; by axis, group, then stations as given.

    The interval of a ratio of shares is that of its logarithm, by a jackknife over the clusters of both stations.
    """
    sums = {name: _by_axis(spoken) for name, spoken in stations.items()}
    first = next(iter(sums), None)
    made = []
    for axis in sorted({axis for by_axis in sums.values() for axis in by_axis}):
        for group in sorted({group for by_axis in sums.values() for group in by_axis.get(axis, {})}):
            for name, by_axis in sums.items():
                cell = _cell(axis, group, name, by_axis, sums[str(first)] if name != first else None)
                if cell is not None:
                    made.append(cell)
    return made


#: Axis -> group -> cluster -> weight.
_Sums = dict[str, dict[str, dict[str, float]]]


def _by_axis(spoken: Sequence[Spoken]) -> _Sums:
    found: _Sums = {}
    for text in spoken:
        for axis, group in text.groups.items():
            clusters = found.setdefault(axis, {}).setdefault(group, defaultdict(float))
            clusters[text.cluster] += text.weight
    return found


def _cell(axis: str, group: str, station: str, here: _Sums, first: _Sums | None) -> Cell | None:
    whole = _clusters(here.get(axis, {}).values())
    total = sum(whole.values())
    if not total:
        return None
    own = here[axis].get(group, {})
    share = sum(own.values()) / total
    ratio = low = high = None
    if first is not None and (before := first.get(axis, {})).get(group):
        ratio, low, high = _ratio((own, whole), (before[group], _clusters(before.values())))
    return Cell(axis, group, station, sum(own.values()), total, share, ratio, low, high)


def _clusters(groups: Any) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for clusters in groups:
        for cluster, weight in clusters.items():
            found[cluster] += weight
    return found


#: Weights of one group and of its whole axis, by cluster.
_Part = tuple[Mapping[str, float], Mapping[str, float]]


def _ratio(here: _Part, first: _Part) -> tuple[float, float | None, float | None]:
    """Share over share, and the ends of its interval."""
    clusters = sorted({*here[1], *first[1]})
    # (4, G): weight of the group and of its axis here, and at the first station.
    columns = np.asarray([[column.get(cluster, 0.0) for cluster in clusters] for column in (*here, *first)])
    sums = columns.sum(axis=1)
    if sums.min() < _NOTHING:
        return 0.0, None, None
    signs = np.asarray([1.0, -1.0, -1.0, 1.0])
    found = float(signs @ np.log(sums))
    left = sums[:, None] - columns
    interval = jackknife(found, (signs @ np.log(left)).tolist()) if left.min() > _NOTHING else None
    if interval is None:
        return exp(found), None, None
    return exp(found), exp(interval.low), exp(interval.high)
