"""A figure: one comparison of candidate with base, its interval and the items behind it. Knows nothing of how it was measured."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from flagback.model import intervals
from flagback.model.intervals import Interval

#: lower and higher say which direction is an improvement; same means that any large change is suspect.
Better = Literal["lower", "higher", "same"]
#: difference: change is candidate - base, 0 is none; ratio: change is candidate / base, 1 is none.
Scale = Literal["difference", "ratio"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured comparison. `change`, `low`, `high` and `detectable` are None where data are too few: never a number then."""

    #: Stable name: "flag_rate", "perplexity:neutral", ...
    metric: str
    #: What it says, in a sentence.
    words: str
    #: "share", "nats", "nats per token", "tokens", "perplexity" or "probability".
    unit: str
    scale: Scale
    better: Better
    #: Levels, in the unit; None where nothing was measured.
    base: float | None
    candidate: float | None
    change: float | None
    #: Ends of the two-sided 95 % interval of the change.
    low: float | None
    high: float | None
    #: Items compared, and how many independent clusters they form.
    n: int
    clusters: int
    #: The smallest change (as difference, or as factor above 1) that this much data would show with 80 % chance.
    detectable: float | None
    #: How many comparisons were asked for, where people give them.
    planned: int | None = None
    #: Facts to read beside it.
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, for `Evaluation.figures`; `Figure(**figure.to_dict())` gives it back."""
        return asdict(self)


class ItemMeasure(NamedTuple):
    """One thing measured under both models, for `EvaluationItem`."""

    item_key: str
    cluster: str
    base: float | None
    candidate: float | None
    #: {"prompt", "base", "candidate"} or the texts that were scored.
    texts: dict[str, Any]


class Measured(NamedTuple):
    """A figure and the items behind it."""

    figure: Figure
    items: list[ItemMeasure]


def compared(
    metric: str,
    words: str,
    unit: str,
    better: Better,
    items: list[ItemMeasure],
    *,
    seed: int | None = None,
    planned: int | None = None,
    note: str = "",
) -> Measured:
    """A difference of means over items: a bootstrap's interval with a seed, without one the interval of rates within 0..1."""
    base, candidate = [item.base or 0.0 for item in items], [item.candidate or 0.0 for item in items]
    clusters = [item.cluster for item in items]
    interval = (
        intervals.rate_difference(base, candidate, clusters)
        if seed is None
        else intervals.mean_difference(base, candidate, clusters, seed=seed)
    )
    level_base, level_candidate = (sum(side) / len(items) if items else None for side in (base, candidate))
    return Measured(
        figure_of(metric, words, unit, better, clusters, level_base, level_candidate, interval, planned=planned, note=note), items
    )


def figure_of(
    metric: str,
    words: str,
    unit: str,
    better: Better,
    clusters: Sequence[Hashable],
    base: float | None,
    candidate: float | None,
    interval: Interval | None,
    *,
    scale: Scale = "difference",
    planned: int | None = None,
    note: str = "",
) -> Figure:
    """A figure with its interval, if any, in the unit of the scale: a ratio's interval comes as logarithms."""
    change = low = high = detectable = None
    if interval is not None:
        change, low, high, detectable = (
            intervals.as_ratio(interval)
            if scale == "ratio"
            else (interval.estimate, interval.low, interval.high, interval.detectable)
        )
    return Figure(
        metric=metric,
        words=words,
        unit=unit,
        scale=scale,
        better=better,
        base=base,
        candidate=candidate,
        change=change,
        low=low,
        high=high,
        n=len(clusters),
        clusters=len(set(clusters)),
        detectable=detectable,
        planned=planned,
        note=note,
    )


def detectable_words(figure: Figure) -> str:
    """How small a change would have shown: "With 60 items only changes above 11 points would show."; of 8 such in 10 (POWER)."""
    clusters = "" if figure.clusters == figure.n else f" in {figure.clusters} clusters"
    if figure.detectable is None:
        return f"With {figure.n} items{clusters} no change would show: too few for an interval."
    if figure.detectable == 0:
        return f"With {figure.n} items{clusters} nothing differs at all, so that nothing tells how much would show."
    if figure.scale == "ratio":
        size = f"{(figure.detectable - 1) * 100:.2g} %"
    elif figure.unit == "share":
        points = figure.detectable * 100
        size = f"{points:.0f} points" if points >= 10 else f"{points:.1f} points"
    else:
        size = f"{figure.detectable:.2g} {figure.unit}"
    return f"With {figure.n} items{clusters} only changes above {size} would show."
