"""What a suite found: its numbers over all items and by group with their intervals, and what changed between two models.

Plain values in, plain values out. Knows suites and intervals; knows nothing of where scores come from.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

from flagback.model import flips, intervals
from flagback.model.figures import Figure, figure_of
from flagback.model.intervals import Interval
from flagback.model.suites.suite import Form, Item, Likelihood, Measures, Metric, ScoringSuite, Suite, mean_of

#: With fewer clusters in which any answer turned, chance alone is called a change of a rate less often than 4 times in 100
#: (benchmarks/null_rejections.py): of so few there are not outcomes enough to come to 5.
FEW_TURNED = 20


class Level(NamedTuple):
    """One number of one model."""

    #: None where it is not defined.
    value: float | None
    #: Ends of its two-sided 95 % interval; None where clusters are too few.
    low: float | None
    high: float | None
    #: Items that say something about it, and the independent clusters they form.
    n: int
    clusters: int
    #: The smallest true distance from any given value that this much data would show with 80 % chance.
    detectable: float | None = None


class Part(NamedTuple):
    """All items, those of one group, or those of two groups at once."""

    #: "" and "" for all; else such as "bias_type" and "age", or "bias_type & direction" and "age & stereo".
    kind: str
    group: str
    places: tuple[int, ...]


class Suppressed(NamedTuple):
    """Two groups at once with too few clusters to say anything; listed so that nobody takes silence for good news."""

    kind: str
    group: str
    n: int
    clusters: int


def measured(suite: ScoringSuite, items: Sequence[Item], found: Sequence[Sequence[Likelihood]], form: Form) -> list[Measures]:
    """Each item's measures."""
    return [suite.score(item, likelihoods, form) for item, likelihoods in zip(items, found, strict=True)]


def parts(items: Sequence[Item]) -> list[Part]:
    """All items first, then every group of every kind, then every two groups of two kinds with clusters enough; by name."""
    return [Part("", "", tuple(range(len(items)))), *_groups(items), *_split(items)[0]]


def suppressed(items: Sequence[Item]) -> list[Suppressed]:
    """Every two groups at once that `parts` leaves out for want of clusters."""
    return [Suppressed(part.kind, part.group, len(part.places), _clusters(items, part)) for part in _split(items)[1]]


def _groups(items: Sequence[Item]) -> list[Part]:
    places: dict[tuple[str, str], list[int]] = {}
    for place, item in enumerate(items):
        for kind, group in item.groups.items():
            places.setdefault((kind, group), []).append(place)
    return [Part(kind, group, tuple(found)) for (kind, group), found in sorted(places.items())]


def _split(items: Sequence[Item]) -> tuple[list[Part], list[Part]]:
    """Intersections of two kinds with enough clusters and those with too few. One of the same items as a group says nothing new."""
    groups = _groups(items)
    known = {part.places for part in groups}
    places: dict[tuple[str, str], list[int]] = {}
    for place, item in enumerate(items):
        for (one, mine), (other, theirs) in combinations(sorted(item.groups.items()), 2):
            places.setdefault((f"{one} & {other}", f"{mine} & {theirs}"), []).append(place)
    crossed = [Part(kind, group, tuple(found)) for (kind, group), found in sorted(places.items()) if tuple(found) not in known]
    enough = [_clusters(items, part) >= intervals.MIN_CLUSTERS for part in crossed]
    return (
        [part for part, shown in zip(crossed, enough, strict=True) if shown],
        [part for part, shown in zip(crossed, enough, strict=True) if not shown],
    )


def _clusters(items: Sequence[Item], part: Part) -> int:
    return len({items[place].cluster for place in part.places})


def levels(suite: Suite, items: Sequence[Item], scored: Sequence[Measures], form: Form, *, seed: int) -> dict[str, Any]:
    """One model's numbers: {"n", "figures": {metric: Level as dict}, "groups": {kind: {group: {"n", "figures"}}}, "suppressed":
    [{"kind", "group", "n", "clusters"}]}; JSON-able. Kinds crossed with each other stand among "groups" as "KIND & KIND"."""
    report: dict[str, Any] = {}
    for part in parts(items):
        chosen, measures = [items[i] for i in part.places], [scored[i] for i in part.places]
        entry = {"n": len(chosen), "figures": _levels(suite, chosen, measures, form, seed)}
        if part.kind:
            report["groups"].setdefault(part.kind, {})[part.group] = entry
        else:
            report = entry | {"groups": {}}
    return report | {"suppressed": [one._asdict() for one in suppressed(items)]}


def _levels(suite: Suite, items: Sequence[Item], scored: Sequence[Measures], form: Form, seed: int) -> dict[str, dict[str, Any]]:
    values = suite.aggregate(items, scored, form)
    metrics = suite.METRICS[form]
    whole = _jackknives(suite, [name for name, metric in metrics.items() if metric.kind == "whole"], items, (scored,), form)
    return {
        name: _level(name, metric, items, scored, values[name], whole.get(name), seed)._asdict() for name, metric in metrics.items()
    }


def _level(
    name: str,
    metric: Metric,
    items: Sequence[Item],
    scored: Sequence[Measures],
    value: float | None,
    whole: Interval | None,
    seed: int,
) -> Level:
    known = [(item.cluster, one) for item, measures in zip(items, scored, strict=True) if (one := measures.get(name)) is not None]
    clusters = [cluster for cluster, _ in known] if metric.of_items else [item.cluster for item in items]
    interval: Interval | None = None
    if value is not None:
        values = [one for _, one in known]
        if metric.kind == "rate":
            interval = intervals.rate_difference([0.0] * len(values), values, clusters)
        elif metric.kind == "mean":
            interval = intervals.mean_difference([0.0] * len(values), values, clusters, seed=seed)
        elif metric.kind == "whole":
            interval = whole
    if interval is None:
        return Level(value, None, None, len(clusters), len(set(clusters)))
    low, high = interval.low, interval.high
    if metric.kind == "rate":
        low, high = max(0.0, low), min(1.0, high)
    return Level(value, low, high, len(clusters), len(set(clusters)), interval.detectable)


def compared(
    suite: Suite, items: Sequence[Item], base: Sequence[Measures], candidate: Sequence[Measures], form: Form, *, seed: int
) -> list[Figure]:
    """What changed from base to candidate, paired by item: over all items, then by group, e.g. "pct_stereotype[bias_type=age]"
    and "pct_stereotype[bias_type & direction=age & stereo]"."""
    return [
        replace(figure, metric=f"{figure.metric}[{part.kind}={part.group}]") if part.kind else figure
        for part in parts(items)
        for figure in changes(
            suite,
            [items[i] for i in part.places],
            [base[i] for i in part.places],
            [candidate[i] for i in part.places],
            form,
            seed=seed,
        )
    ]


def changes(
    suite: Suite, items: Sequence[Item], base: Sequence[Measures], candidate: Sequence[Measures], form: Form, *, seed: int
) -> list[Figure]:
    """What changed over these items, a figure a metric."""
    metrics = suite.METRICS[form]
    of_all = [name for name, metric in metrics.items() if metric.kind == "whole"]
    levels_below, levels_above = (suite.aggregate(items, side, form) for side in (base, candidate))
    whole = _jackknives(suite, of_all, items, (base, candidate), form)
    figures = []
    for name, metric in metrics.items():
        pairs = [
            (item.cluster, b, c)
            for item, mine, theirs in zip(items, base, candidate, strict=True)
            if (b := mine.get(name)) is not None and (c := theirs.get(name)) is not None
        ]
        clusters = [cluster for cluster, _, _ in pairs] if metric.of_items else [item.cluster for item in items]
        one, other = [b for _, b, _ in pairs], [c for _, _, c in pairs]
        # Levels of what is compared: of two tokenizers each has other pairs of equal length.
        base_level, candidate_level = (
            (mean_of(one), mean_of(other)) if metric.of_items else (levels_below[name], levels_above[name])
        )
        interval: Interval | None = None
        if metric.kind == "rate":
            interval = intervals.rate_difference(one, other, clusters)
        elif metric.kind == "mean":
            interval = intervals.mean_difference(one, other, clusters, seed=seed)
        elif metric.kind == "whole" and base_level is not None and candidate_level is not None:
            interval = whole.get(name)
        note = _flipped(one, other, clusters) if metric.kind == "rate" else ""
        figures.append(
            figure_of(
                name,
                metric.words,
                metric.unit,
                metric.better,
                clusters,
                base_level,
                candidate_level,
                interval,
                note=note,
            )
        )
    return figures


def _flipped(base: Sequence[float], candidate: Sequence[float], clusters: Sequence[str]) -> str:
    """How many answers turned, what an exact test says of it, and where the interval of a rate is wider than it need be."""
    words = []
    if base and {*base, *candidate} <= {0.0, 1.0}:
        found = flips.compare([bool(one) for one in base], [bool(one) for one in candidate], clusters)
        words.append(
            f"{found.won} turned from no to yes, {found.lost} back (exact p = {found.p:.3f} over {found.clusters} clusters)."
        )
    turned = len({cluster for below, above, cluster in zip(base, candidate, clusters, strict=True) if below != above})
    if base and turned < FEW_TURNED:
        words.append(
            f"Answers turned in {turned} of {len(set(clusters))} clusters only: the interval is wider than it need be, and chance "
            "alone is called a change less often than 1 time in 20."
        )
    return " ".join(words)


def _jackknives(
    suite: Suite, names: Collection[str], items: Sequence[Item], sides: Sequence[Sequence[Measures]], form: Form
) -> dict[str, Interval | None]:
    """Whole-set numbers of one model, or their changes between two: recomputed without each cluster in turn, all at once."""
    members: dict[str, set[int]] = {}
    for place, item in enumerate(items):
        members.setdefault(item.cluster, set()).add(place)
    if not names or len(members) < intervals.MIN_CLUSTERS:
        return {}

    def of(kept: Sequence[int]) -> list[dict[str, float | None]]:
        return [suite.aggregate([items[i] for i in kept], [side[i] for i in kept], form) for side in sides]

    everything = range(len(items))
    found = [of(everything), *(of([i for i in everything if i not in left_out]) for _, left_out in sorted(members.items()))]
    intervals_by_name: dict[str, Interval | None] = {}
    for name in names:
        known = [[value for side in one if (value := side[name]) is not None] for one in found]
        if all(len(values) == len(sides) for values in known):
            whole, *without = [values[-1] - (values[0] if len(sides) == 2 else 0.0) for values in known]
            intervals_by_name[name] = intervals.jackknife(whole, without)
    return intervals_by_name
