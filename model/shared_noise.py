"""How much the shared noise sharpens a comparison: what is left of its variance when both models answer with the same noise.

Base and candidate draw their k-th answer to a prompt with the same random numbers (noise.py), so that a candidate which changed
little writes the same answer, and differences stand out. Knows answers; knows nothing of how they were drawn.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import log
from typing import Any

from flagback.model import intervals
from flagback.model.figures import ItemMeasure, Measured, figure_of
from flagback.model.refusals import is_refusal
from flagback.model.sample_figures import Sample, SampledPrompt

#: An answer as numbers by name; a name that is absent is 0.
_Score = Callable[[Sample], Mapping[Any, float]]

#: What is measured, and what the note calls it. Wording is what the figure itself is of: it varies in every model.
SCORES: dict[str, _Score] = {
    "wording": lambda answer: Counter(answer.token_ids),
    "length": lambda answer: {"tokens": float(len(answer.token_ids))},
    "empty or refusing": lambda answer: {"silent": float(not answer.text.strip() or is_refusal(answer.text))},
}


def compare_noise(prompts: Sequence[SampledPrompt]) -> list[Measured]:
    """Variance of the paired difference of two draws over the sum of both variances, within prompts; 1 is independent samples.

    Of the wording: how often each token stands in an answer, variances summed over tokens. The note tells length and refusals. Only
    prompts with two draws or more of both models say anything; without any variance there is no figure.
    """
    drawn = [one for one in prompts if min(len(one.base), len(one.candidate)) >= 2]
    parts = {name: {one.key: _variances(one, score) for one in drawn} for name, score in SCORES.items()}
    whole = {name: _share(found.values()) for name, found in parts.items()}
    share = whole["wording"]
    if share is None:
        return []
    told = ", ".join(f"{name} {_percent(one)}" for name, one in whole.items() if one is not None)
    same = [base.text == candidate.text for one in drawn for base, candidate in zip(one.base, one.candidate, strict=False)]
    figure = figure_of(
        "shared_noise",
        f"The same noise before and after: the comparison varies {_percent(share)} as much as with independent samples",
        "share",
        "lower",
        [one.cluster for one in drawn],
        1.0,
        share,
        _interval(drawn, parts["wording"], share),
        scale="ratio",
        note=f"What is left of the variance: {told}. {sum(same)} of {len(same)} pairs of answers are word for word the same.",
    )
    items = [
        ItemMeasure(
            one.key,
            one.cluster,
            1.0,
            _share([parts["wording"][one.key]]),
            {"prompt": one.prompt, "base": one.base[0].text, "candidate": one.candidate[0].text},
        )
        for one in drawn
    ]
    return [Measured(figure, items)]


def _variances(prompt: SampledPrompt, score: _Score) -> tuple[float, float]:
    """Variance of the paired difference over a prompt's draws, and the sum of both sides' variances; all names together."""
    pairs = [(score(base), score(candidate)) for base, candidate in zip(prompt.base, prompt.candidate, strict=False)]
    names = {name for pair in pairs for side in pair for name in side}
    difference = apart = 0.0
    for name in names:
        below, above = ([float(side.get(name, 0.0)) for side in sides] for sides in zip(*pairs, strict=True))
        difference += _variance([a - b for a, b in zip(above, below, strict=True)])
        apart += _variance(below) + _variance(above)
    return difference, apart


def _variance(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _share(found: Iterable[tuple[float, float]]) -> float | None:
    """Sum of the first over sum of the second; None where nothing varies."""
    listed = list(found)
    apart = sum(one for _, one in listed)
    return sum(one for one, _ in listed) / apart if apart > 0 else None


def _interval(
    prompts: Sequence[SampledPrompt], found: Mapping[str, tuple[float, float]], share: float
) -> intervals.Interval | None:
    """Of the share's logarithm, over clusters; None where the share is 0, which has none."""
    clusters: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for one in prompts:
        clusters[one.cluster].append(found[one.key])
    without = [
        _share([pair for name, pairs in clusters.items() if name != left_out for pair in pairs]) for left_out in sorted(clusters)
    ]
    if share <= 0 or any(one is None or one <= 0 for one in without):
        return None
    return intervals.jackknife(log(share), [log(one) for one in without if one])


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
