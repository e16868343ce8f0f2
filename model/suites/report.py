"""What a suite found: its numbers over all items and by group with their intervals, and what changed between two models.

Plain values in, plain values out. Knows suites and intervals; knows nothing of where scores come from.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from flagback.model import intervals
from flagback.model.figures import Figure, figure_of
from flagback.model.intervals import Interval
from flagback.model.suites.suite import Form, Item, Likelihood, Measures, Metric, ScoringSuite, Suite, mean_of


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


class Part(NamedTuple):
    """All items, or those of one group."""

    #: "" and "" for all; else such as "bias_type" and "age".
    kind: str
    group: str
    places: tuple[int, ...]


def measured(suite: ScoringSuite, items: Sequence[Item], found: Sequence[Sequence[Likelihood]], form: Form) -> list[Measures]:
    """Each item's measures."""
    return [suite.score(item, likelihoods, form) for item, likelihoods in zip(items, found, strict=True)]


def parts(items: Sequence[Item]) -> list[Part]:
    """All items first, then every group of every kind, by name."""
    places: dict[tuple[str, str], list[int]] = {}
    for place, item in enumerate(items):
        for kind, group in item.groups.items():
            places.setdefault((kind, group), []).append(place)
    groups = [Part(kind, group, tuple(found)) for (kind, group), found in sorted(places.items())]
    return [Part("", "", tuple(range(len(items)))), *groups]


def levels(suite: Suite, items: Sequence[Item], scored: Sequence[Measures], form: Form, *, seed: int) -> dict[str, Any]:
    """One model's numbers: {"n", "figures": {metric: Level as dict}, "groups": {kind: {group: {"n", "figures"}}}}; JSON-able."""
    report: dict[str, Any] = {}
    for part in parts(items):
        chosen, measures = [items[i] for i in part.places], [scored[i] for i in part.places]
        values = suite.aggregate(chosen, measures, form)
        figures = {
            name: _level(suite, name, metric, chosen, measures, form, values[name], seed)._asdict()
            for name, metric in suite.METRICS[form].items()
        }
        entry = {"n": len(chosen), "figures": figures}
        if part.kind:
            report["groups"].setdefault(part.kind, {})[part.group] = entry
        else:
            report = entry | {"groups": {}}
    return report


def _level(
    suite: Suite,
    name: str,
    metric: Metric,
    items: Sequence[Item],
    scored: Sequence[Measures],
    form: Form,
    value: float | None,
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
            interval = _jackknife(suite, name, items, (scored,), form)
    low, high = (interval.low, interval.high) if interval else (None, None)
    if low is not None and high is not None and metric.kind == "rate":
        low, high = max(0.0, low), min(1.0, high)
    return Level(value, low, high, len(clusters), len(set(clusters)))


def compared(
    suite: Suite, items: Sequence[Item], base: Sequence[Measures], candidate: Sequence[Measures], form: Form, *, seed: int
) -> list[Figure]:
    """What changed from base to candidate, paired by item: over all items, then by group, e.g. "pct_stereotype[bias_type=age]"."""
    figures = []
    for part in parts(items):
        chosen = [items[i] for i in part.places]
        below, above = [base[i] for i in part.places], [candidate[i] for i in part.places]
        levels_below, levels_above = suite.aggregate(chosen, below, form), suite.aggregate(chosen, above, form)
        for name, metric in suite.METRICS[form].items():
            pairs = [
                (item.cluster, b, c)
                for item, mine, theirs in zip(chosen, below, above, strict=True)
                if (b := mine.get(name)) is not None and (c := theirs.get(name)) is not None
            ]
            clusters = [cluster for cluster, _, _ in pairs] if metric.of_items else [item.cluster for item in chosen]
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
                interval = _jackknife(suite, name, chosen, (below, above), form)
            figures.append(
                figure_of(
                    name if not part.kind else f"{name}[{part.kind}={part.group}]",
                    metric.words,
                    metric.unit,
                    metric.better,
                    clusters,
                    base_level,
                    candidate_level,
                    interval,
                )
            )
    return figures


def _jackknife(suite: Suite, name: str, items: Sequence[Item], sides: Sequence[Sequence[Measures]], form: Form) -> Interval | None:
    """A whole-set number of one model, or its change between two: recomputed without each cluster in turn."""

    def of(kept: Sequence[int]) -> float | None:
        values = [suite.aggregate([items[i] for i in kept], [side[i] for i in kept], form)[name] for side in sides]
        known = [value for value in values if value is not None]
        return known[-1] - (known[0] if len(sides) == 2 else 0.0) if len(known) == len(sides) else None

    members: dict[str, set[int]] = {}
    for place, item in enumerate(items):
        members.setdefault(item.cluster, set()).add(place)
    if len(members) < intervals.MIN_CLUSTERS:
        return None
    everything = range(len(items))
    whole = of(everything)
    without = [of([i for i in everything if i not in left_out]) for _, left_out in sorted(members.items())]
    known = [value for value in without if value is not None]
    return intervals.jackknife(whole, known) if whole is not None and len(known) == len(without) else None
