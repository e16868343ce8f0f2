"""How much is computed at once: costs of rows, and contents cut into portions that fit. Knows lengths; knows no torch."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

#: Limits of what is computed at once: tokens of all rows, and float32 logits (256 MB of them).
TOKENS_AT_ONCE = 16_384
LOGITS_AT_ONCE = 2**26

T = TypeVar("T")


def cost_of(rows: list[tuple[int, int]], vocabulary: int) -> float:
    """Share of what may be computed at once, for rows of (prompt, answer) lengths laid out one by one."""
    return max(sum(p + a for p, a in rows) / TOKENS_AT_ONCE, sum(a for _, a in rows) * vocabulary / LOGITS_AT_ONCE)


def spread(places: Sequence[int], cost: Sequence[float], bins: int) -> list[tuple[int, ...]]:
    """Places in `bins` parts of about equal cost: the dearest first, each into the cheapest part so far; parts in content order."""
    parts: list[list[int]] = [[] for _ in range(bins)]
    load = [0.0] * bins
    for place in sorted(places, key=lambda i: (-cost[i], i)):
        cheapest = min(range(bins), key=lambda b: (load[b], len(parts[b]), b))
        parts[cheapest].append(place)
        load[cheapest] += cost[place]
    return [tuple(sorted(part)) for part in parts]


def packed(items: Sequence[T], cost: Callable[[T], float]) -> list[list[T]]:
    """Items cut, in their order, into groups whose costs add up to at most 1; a dearer item gets a group of its own."""
    groups: list[list[T]] = []
    load = math.inf
    for item in items:
        load += cost(item)
        if load > 1:
            groups.append([])
            load = cost(item)
        groups[-1].append(item)
    return groups
