"""How far groups of unequal size lie apart: the largest minus the smallest mean, in draws of equal size from each.

A plain largest minus smallest grows with the number of groups and with how few members the smallest has, even where nothing
differs. So each draw takes equally many entities of every group, and beside the range stands what shuffled groups give. Plain
values only.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flagback.model.intervals import DRAWS, MIN_CLUSTERS
from flagback.model.suites.suite import Item, Measures

_Floats: TypeAlias = NDArray[np.float64]

#: Draws behind a change of ranges, and exchanges behind its p: the smallest p is one in a thousand.
TEST_DRAWS, EXCHANGES = 200, 999


class Range(NamedTuple):
    """One metric over the groups of one kind."""

    kind: str
    metric: str
    #: Mean over draws of largest minus smallest group mean; None where fewer than two groups are large enough.
    value: float | None
    #: Between these lie 95 % of the draws.
    low: float | None
    high: float | None
    #: The same mean where the groups are shuffled, and under which 95 % of such draws lie: a range below is chance.
    by_chance: float | None
    by_chance_95: float | None
    #: By their mean over all entities; None where all are equal.
    lowest: str | None
    highest: str | None
    #: Entities of each group in a draw, and how many draws.
    size: int
    draws: int
    #: Groups with too few entities to be drawn from, with their number.
    left_out: dict[str, int]


class RangeChange(NamedTuple):
    """How a range changed between two models, on the same draws."""

    kind: str
    metric: str
    base: float
    candidate: float
    change: float
    #: Exact two-sided p: how often a change is as large when the models are exchanged entity by entity at random.
    p: float
    size: int
    draws: int


def ranges(items: Sequence[Item], scored: Sequence[Measures], metrics: Sequence[str], *, seed: int) -> list[Range]:
    """Every metric over every kind of group."""
    found = []
    for kind in sorted({kind for item in items for kind in item.groups}):
        for metric in metrics:
            units = _units(items, [scored], kind, metric)
            large, left_out = _large(units)
            if not units:
                continue
            if len(large) < 2:
                found.append(Range(kind, metric, None, None, None, None, None, None, None, 0, DRAWS, left_out))
                continue
            sides, size = [values[:, 0] for values in large.values()], min(map(len, large.values()))
            drawn = _drawn(sides, size, seed)
            spread = drawn.max(axis=1) - drawn.min(axis=1)
            chance = _shuffled(sides, size, seed)
            found.append(
                Range(
                    kind,
                    metric,
                    float(spread.mean()),
                    float(np.quantile(spread, 0.025)),
                    float(np.quantile(spread, 0.975)),
                    float(chance.mean()),
                    float(np.quantile(chance, 0.95)),
                    *_ends({group: float(values.mean()) for group, values in large.items()}),
                    size,
                    DRAWS,
                    left_out,
                )
            )
    return found


def range_changes(
    items: Sequence[Item],
    base: Sequence[Measures],
    candidate: Sequence[Measures],
    metrics: Sequence[str],
    *,
    seed: int,
    exchanges: int = EXCHANGES,
) -> list[RangeChange]:
    """The change of every range that can be drawn, over items that say something of both models."""
    found = []
    for kind in sorted({kind for item in items for kind in item.groups}):
        for metric in metrics:
            large, _ = _large(_units(items, [base, candidate], kind, metric))
            if len(large) > 1:
                size = min(map(len, large.values()))
                below, above, p = _exchanged(list(large.values()), size, seed, exchanges)
                found.append(RangeChange(kind, metric, below, above, above - below, p, size, TEST_DRAWS))
    return found


def _exchanged(sides: Sequence[_Floats], size: int, seed: int, exchanges: int) -> tuple[float, float, float]:
    """Mean ranges of both models, and the permutation test's p (Good 2005, 3.2): every entity's two values swapped by chance."""
    lots = np.random.default_rng([seed, 2])
    lowest, highest = [np.full((2, TEST_DRAWS, 1 + exchanges), end) for end in (np.inf, -np.inf)]  # (2, D, 1 + E)
    for values in sides:
        swapped = lots.random((len(values), 1 + exchanges)) < 0.5
        swapped[:, 0] = False
        drawn = lots.integers(0, len(values), (TEST_DRAWS, size))
        counts = np.stack([np.bincount(row, minlength=len(values)) for row in drawn]) / size  # (D, N)
        for side in (0, 1):
            means = counts @ np.where(swapped, values[:, 1 - side, None], values[:, side, None])  # (D, 1 + E)
            np.minimum(lowest[side], means, out=lowest[side])
            np.maximum(highest[side], means, out=highest[side])
    below, above = (highest - lowest).mean(axis=1)
    change = np.abs(above - below)
    # Rounding must not make an equal change a smaller one.
    as_large = int(np.sum(change[1:] >= change[0] - 1e-12))
    return float(below[0]), float(above[0]), (1 + as_large) / (1 + exchanges)


def _units(items: Sequence[Item], sides: Sequence[Sequence[Measures]], kind: str, metric: str) -> dict[str, _Floats]:
    """Group -> (entities, sides) means of what hangs together, in the order of their names."""
    parts: dict[str, dict[str, list[list[float]]]] = {}
    for place, item in enumerate(items):
        values = [value for side in sides if (value := side[place].get(metric)) is not None]
        if kind in item.groups and len(values) == len(sides):
            parts.setdefault(item.groups[kind], {}).setdefault(item.cluster, []).append(values)
    return {
        group: np.asarray([np.sort(np.asarray(entities[name]), axis=0).mean(axis=0) for name in sorted(entities)])
        for group, entities in sorted(parts.items())
    }


def _large(units: Mapping[str, _Floats]) -> tuple[dict[str, _Floats], dict[str, int]]:
    large = {group: values for group, values in units.items() if len(values) >= MIN_CLUSTERS}
    return large, {group: len(values) for group, values in units.items() if group not in large}


def _ends(levels: Mapping[str, float]) -> tuple[str | None, str | None]:
    lowest, highest = min(sorted(levels), key=levels.__getitem__), max(sorted(levels), key=levels.__getitem__)
    return (lowest, highest) if levels[lowest] < levels[highest] else (None, None)


def _drawn(sides: Sequence[_Floats], size: int, seed: int) -> _Floats:
    """(D, G) means of `size` entities of each group, drawn with replacement; the same entities for the same sizes and seed."""
    lots = np.random.default_rng(seed)
    return np.stack([values[lots.integers(0, len(values), (DRAWS, size))].mean(axis=1) for values in sides], axis=1)


def _shuffled(sides: Sequence[_Floats], size: int, seed: int) -> _Floats:
    """(D,) ranges of groups that are dealt out anew in each draw."""
    lots = np.random.default_rng([seed, 1])
    pool = np.concatenate(sides)
    means = []
    dealt = lots.permuted(np.broadcast_to(pool, (DRAWS, len(pool))), axis=1)  # (D, N)
    start = 0
    for values in sides:
        block = dealt[:, start : start + len(values)]
        means.append(np.take_along_axis(block, lots.integers(0, len(values), (DRAWS, size)), axis=1).mean(axis=1))
        start += len(values)
    spread = np.stack(means, axis=1)
    ranges: _Floats = spread.max(axis=1) - spread.min(axis=1)
    return ranges
