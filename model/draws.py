"""In which order contents are drawn: by their hashes and a salt, never by their places in a list. Knows numbers and names only."""

import hashlib
import math
from collections.abc import Sequence


def stream(digests: Sequence[str], count: int, salt: str, families: Sequence[str] | None = None) -> list[int]:
    """`count` places: every pass visits each place once, in an order of its own that follows contents and salt.

    With `families` those of one family follow each other, and the families' order is drawn.
    """
    places: list[int] = []
    passed = 0
    while digests and len(places) < count:
        drawn = [hashlib.sha256(f"{salt}:{passed}:{digest}".encode()).digest() for digest in digests]
        order = range(len(digests))
        if families is None:
            places += sorted(order, key=drawn.__getitem__)
        else:
            kin = [hashlib.sha256(f"{salt}:{passed}:{name}".encode()).digest() for name in families]
            places += sorted(order, key=lambda i: (kin[i], drawn[i]))
        passed += 1
    return places[:count]


def even_stream(digests: Sequence[str], count: int, salt: str, groups: Sequence[str]) -> list[int]:
    """`count` places, one of each group in turn, so that a step has each group about equally often; a small group's come again
    sooner. Weighing what a rare draw brings would do the same on average, and leave most steps without the group."""
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    names = sorted(places)
    each = math.ceil(count / max(len(names), 1))
    drawn = [[places[name][i] for i in stream([digests[p] for p in places[name]], each, f"{salt}:{name}")] for name in names]
    return [place for turn in zip(*drawn, strict=True) for place in turn][:count]
