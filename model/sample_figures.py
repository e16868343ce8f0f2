"""What fresh answers of a base and its candidate to the same prompts show: length, emptiness, refusals, repetition, variety.

Plain values in, plain values out: it knows no weights and no store.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import log
from statistics import fmean
from typing import NamedTuple

from flagback.model import intervals
from flagback.model.exchange import distinct_p
from flagback.model.figures import ItemMeasure, Measured, figure_of
from flagback.model.refusals import is_refusal


class Sample(NamedTuple):
    """One answer: its text, and its token ids without the end token."""

    text: str
    token_ids: Sequence[int]


class SampledPrompt(NamedTuple):
    """Fresh answers of both models to one held-out prompt, draw by draw (a completion with a count stands there that often)."""

    #: The prompt's content hash.
    key: str
    #: Its split key.
    cluster: str
    prompt: str
    base: Sequence[Sample]
    candidate: Sequence[Sample]


def compare_samples(prompts: Sequence[SampledPrompt], *, seed: int) -> list[Measured]:
    """Length, empty and refusal rate, repetition and distinct-1 and -2, over answers paired by prompt and draw.

    An item is a prompt's mean. Prompts without answers of both models are left out.
    """
    both = [prompt for prompt in prompts if prompt.base and prompt.candidate]
    if not both:
        return []

    def items(measure: Callable[[Sample], float]) -> list[ItemMeasure]:
        return [
            ItemMeasure(
                prompt.key,
                prompt.cluster,
                fmean(list(map(measure, prompt.base))),
                fmean(list(map(measure, prompt.candidate))),
                _most_telling(prompt, measure),
            )
            for prompt in both
        ]

    drawn = [
        (prompt.cluster, base, candidate) for prompt in both for base, candidate in zip(prompt.base, prompt.candidate, strict=False)
    ]
    clusters = [cluster for cluster, _, _ in drawn]
    measured = []
    for metric, words, unit, better, measure in (
        ("length", "Mean length of an answer", "tokens", "same", _length),
        ("empty_rate", "Share of answers with nothing in them", "share", "lower", _is_empty),
        ("refusal_rate", "Share of answers that refuse, by their first words", "share", "lower", _refuses),
        ("repeated_share", "Share of an answer's four-token runs that it has said before", "share", "lower", repeated_share),
    ):
        below, above = [measure(base) for _, base, _ in drawn], [measure(candidate) for _, _, candidate in drawn]
        interval = (
            intervals.log_ratio(below, above, clusters, seed=seed)
            if metric == "length"
            else intervals.rate_difference(below, above, clusters)
        )
        measured.append(
            Measured(
                figure_of(
                    metric,
                    words,
                    unit,
                    "same" if better == "same" else "lower",
                    clusters,
                    fmean(below),
                    fmean(above),
                    interval,
                    scale="ratio" if metric == "length" else "difference",
                ),
                items(measure),
            )
        )
    return [*measured, _distinct(both, 1, seed=seed), _distinct(both, 2, seed=seed)]


def repeated_share(sample: Sample) -> float:
    """Share of the four-token runs of an answer that stood in it before; 0 for fewer than five tokens."""
    runs = [tuple(sample.token_ids[start : start + 4]) for start in range(len(sample.token_ids) - 3)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _length(sample: Sample) -> float:
    return float(len(sample.token_ids))


def _is_empty(sample: Sample) -> float:
    return float(not sample.text.strip())


def _refuses(sample: Sample) -> float:
    return float(is_refusal(sample.text))


def _most_telling(prompt: SampledPrompt, measure: Callable[[Sample], float]) -> dict[str, str]:
    """The texts of the draw in which the two models differ most."""
    drawn = list(zip(prompt.base, prompt.candidate, strict=False))
    base, candidate = max(drawn, key=lambda pair: abs(measure(pair[1]) - measure(pair[0])))
    return {"prompt": prompt.prompt, "base": base.text, "candidate": candidate.text}


def _distinct(prompts: Sequence[SampledPrompt], n: int, *, seed: int) -> Measured:
    """Distinct-n: different n-token runs over all n-token runs, of all answers together; the change is candidate / base.

    It falls as a corpus grows, so every pair of answers is first cut to the shorter one. The interval is a jackknife over clusters,
    wider than it need be; the note has an exchange test's p, which is not.
    """
    sides: tuple[dict[str, list[tuple[int, ...]]], ...] = (defaultdict(list), defaultdict(list))
    items = []
    for prompt in prompts:
        for draw, pair in enumerate(zip(prompt.base, prompt.candidate, strict=False)):
            size = min(len(sample.token_ids) for sample in pair)
            for side, sample in zip(sides, pair, strict=True):
                side[prompt.cluster] += [tuple(sample.token_ids[start : start + n]) for start in range(size - n + 1)]
            if draw == 0:
                items.append(
                    ItemMeasure(
                        prompt.key,
                        prompt.cluster,
                        None,
                        None,
                        {"prompt": prompt.prompt, "base": pair[0].text, "candidate": pair[1].text},
                    )
                )
    clusters = sorted({prompt.cluster for prompt in prompts})
    (base, base_without), (candidate, candidate_without) = (_distinct_and_without(side, clusters) for side in sides)
    interval = None
    if base and candidate and all(base_without) and all(candidate_without):
        interval = intervals.jackknife(
            log(candidate / base), [log(c / b) for b, c in zip(base_without, candidate_without, strict=True)]
        )
    figure = figure_of(
        f"distinct_{n}",
        f"Distinct-{n}: share of {n}-token runs that are different ones, at equal length",
        "share",
        "higher",
        [prompt.cluster for prompt in prompts],
        base or None,
        candidate or None,
        interval,
        scale="ratio",
        note="" if interval is None else _exchange_note(distinct_p(*sides, seed=seed)),
    )
    return Measured(figure, items)


def _exchange_note(p: float) -> str:
    return f"Base and candidate exchanged at random differ as much with p = {p:.3f}; the interval is wider than it need be."


def _distinct_and_without(side: dict[str, list[tuple[int, ...]]], clusters: Sequence[str]) -> tuple[float, list[float]]:
    """Distinct-n of one side, and again without each cluster in turn; 0 where there is no run at all."""
    owner: dict[tuple[int, ...], str | None] = {}
    for cluster in clusters:
        for run in set(side[cluster]):
            owner[run] = None if run in owner else cluster
    alone: dict[str, int] = defaultdict(int)
    for cluster_or_none in owner.values():
        if cluster_or_none is not None:
            alone[cluster_or_none] += 1
    total = sum(len(side[cluster]) for cluster in clusters)
    without = [
        (len(owner) - alone[cluster]) / (total - len(side[cluster])) if total > len(side[cluster]) else 0.0 for cluster in clusters
    ]
    return (len(owner) / total if total else 0.0), without
