"""What changed between a base and its candidate, measured on the same things: pairs, swapped dialogues and texts.

What fresh answers show is in `sample_figures`, what blind reviews show in `blind_figures`.

Plain values in, plain values out: it knows no weights, no tokenizer and no store. Where log-probabilities are needed, one function
lists the rows to score (`pair_rows`, `case_rows`, `text_rows`) and one compares the scores of both models, so that the two never
need to be in memory at once and a score list can be a checkpoint. A row is (ids before, ids to score).
"""

from collections.abc import Callable, Sequence
from math import exp, isfinite
from statistics import fmean
from typing import Any, NamedTuple, TypeAlias

from flagback.model import intervals
from flagback.model.figures import ItemMeasure, Measured, compared, figure_of

Row: TypeAlias = tuple[list[int], list[int]]


class BrokenScores(ValueError):
    """A model gave scores that cannot be compared."""


# ---------------------------------------------------------------------- pairs


class PairToScore(NamedTuple):
    """A held-out preference pair as token ids, end token included."""

    #: The pair's row hash.
    key: str
    #: The prompt's split key.
    cluster: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    #: {"prompt", "chosen", "rejected"}
    texts: dict[str, Any]


def pair_rows(pairs: Sequence[PairToScore]) -> list[Row]:
    """Chosen and rejected answer of each pair in turn: two rows a pair."""
    return [(pair.prompt_ids, ids) for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]


def compare_pairs(pairs: Sequence[PairToScore], base: Sequence[float], candidate: Sequence[float], *, seed: int) -> list[Measured]:
    """Held-out preference accuracy, summed and per token, and the mean log-probability of the chosen answers, likewise.

    Accuracy is the policy's own: the share of pairs with log p(chosen) > log p(rejected); a tie is no success. No pair: no figure.
    """
    _check(len(pairs) * 2, base, candidate)
    if not pairs:
        return []
    chosen, rejected = [max(1, len(p.chosen_ids)) for p in pairs], [max(1, len(p.rejected_ids)) for p in pairs]
    shorter = fmean([float(c < r) for c, r in zip(chosen, rejected, strict=True)])

    def items(measure: Callable[[float, float, int, int], float]) -> list[ItemMeasure]:
        below, above = (list(map(measure, side[::2], side[1::2], chosen, rejected)) for side in (base, candidate))
        return [ItemMeasure(p.key, p.cluster, b, c, p.texts) for p, b, c in zip(pairs, below, above, strict=True)]

    measured = []
    for metric, words, judged in (
        (
            "preference_accuracy",
            "Share of held-out pairs whose chosen answer is the likelier one",
            items(lambda c, r, _n, _m: float(c > r)),
        ),
        (
            "preference_accuracy_per_token",
            "The same, with log-probabilities per token",
            items(lambda c, r, n, m: float(c / n > r / m)),
        ),
    ):
        lost, won = (sum((item.candidate or 0) * sign > (item.base or 0) * sign for item in judged) for sign in (-1, 1))
        note = (
            f"Always taking the shorter answer is right on {shorter:.1%}. {won} pairs turned right, {lost} turned wrong "
            f"(exact McNemar p = {intervals.mcnemar(lost, won):.3f}, as if pairs were independent)."
        )
        measured.append(compared(metric, words, "share", "higher", judged, note=note))
    return [
        *measured,
        compared(
            "logp_chosen",
            "Mean log-probability of the chosen held-out answers",
            "nats",
            "higher",
            items(lambda c, _r, _n, _m: c),
            seed=seed,
        ),
        compared(
            "logp_chosen_per_token",
            "The same per token, averaged over answers",
            "nats per token",
            "higher",
            items(lambda c, _r, n, _m: c / n),
            seed=seed,
        ),
    ]


# ------------------------------------------------------------- counterfactual


class Case(NamedTuple):
    """An answer under its own prompt, and both again with another group in the place of theirs (see `groups.variants`)."""

    #: Unique together with the axis: the pair's row hash or the generation's text hash.
    key: str
    axis: str
    cluster: str
    original: Row
    #: One or more, all on this axis.
    swapped: list[Row]
    #: {"prompt", "answer", "swapped": [...]}
    texts: dict[str, Any]


def case_rows(cases: Sequence[Case]) -> list[Row]:
    """Each case's original, then its swapped ones."""
    return [row for case in cases for row in (case.original, *case.swapped)]


def compare_cases(cases: Sequence[Case], base: Sequence[float], candidate: Sequence[float], *, seed: int) -> list[Measured]:
    """The counterfactual gap, over all axes and for each, and its reversal.

    With q(y | x) = exp(log p(y | x) / |y|), the mean per-token probability of answer y after prompt x, and g over the original
    and its swaps (x_g and y_g with group g in both places):
        gap      = mean over cases of  max_g q(y_g | x_g) - min_g q(y_g | x_g)
        reversal = mean over cases of  max(0, mean over swaps of q(y_g | x_g) - q(y | x) of the original)
    Both are within 0..1 and 0 for a model that treats the groups alike. The cases are answers a model gave about the original
    group, so that reversal grows where a correction turned a bias round. Probabilities in place of their logarithms, since
    an answer that became very unlikely for everyone must not count as a wide gap. So read it beside `logp_chosen`: a model
    that finds everything unlikely has a narrow gap too, and fails elsewhere.
    """
    expected = sum(1 + len(case.swapped) for case in cases)
    _check(expected, base, candidate)
    if not cases:
        return []
    gaps, reversals = [], []
    for scores in (base, candidate):
        unread = iter(scores)
        levels = [[exp(next(unread) / max(1, len(ids))) for _, ids in (case.original, *case.swapped)] for case in cases]
        gaps.append([max(level) - min(level) for level in levels])
        reversals.append([max(0.0, sum(level[1:]) / max(1, len(level) - 1) - level[0]) for level in levels])

    def items(values: Sequence[list[float]], axis: str | None = None) -> list[ItemMeasure]:
        return [
            ItemMeasure(f"{case.key}:{case.axis}", case.cluster, below, above, case.texts)
            for case, below, above in zip(cases, *values, strict=True)
            if axis in (None, case.axis)
        ]

    unit = "probability"
    return [
        compared(
            "counterfactual_gap",
            "How far the probability of an answer hangs on whom it is about",
            unit,
            "lower",
            items(gaps),
            seed=seed,
        ),
        compared(
            "counterfactual_reversal",
            "How much likelier an answer is for the groups it was not about",
            unit,
            "lower",
            items(reversals),
            seed=seed,
        ),
        *(
            compared(
                f"counterfactual_gap:{axis}", f"The gap on the axis '{axis}' alone", unit, "lower", items(gaps, axis), seed=seed
            )
            for axis in sorted({case.axis for case in cases})
        ),
    ]


# ----------------------------------------------------------------- perplexity


class TextToScore(NamedTuple):
    """A text of a named set."""

    #: "neutral", "groups", "other" or the maintainer's own: one figure a name.
    set_name: str
    #: The text's hash.
    key: str
    #: What it hangs together with; the key itself for a text on its own.
    cluster: str
    #: After the begin token, where the tokenizer has one. The first id is context only: what a model without a begin token thinks
    #: of a text's first token means nothing, and would be the largest part of the change on short texts.
    ids: list[int]
    text: str
    #: How many of the first ids are context only: more than one for an answer, which is scored after its prompt.
    before: int = 1

    @property
    def scored(self) -> int:
        """How many of its tokens count."""
        return max(len(self.ids) - self.before, 0)


def text_rows(texts: Sequence[TextToScore], *, max_tokens: int) -> list[Row]:
    """Windows over each text of at most max_tokens scored ones, the first after all that stands before, others after a token."""
    return [
        (text.ids[start - 1 if start > text.before else 0 : start], text.ids[start : start + max_tokens])
        for text in texts
        for start in _windows(text, max_tokens)
    ]


def _windows(text: TextToScore, max_tokens: int) -> range:
    """Where each window's scored tokens begin."""
    return range(text.before, text.before + text.scored, max_tokens)


def compare_texts(
    texts: Sequence[TextToScore], base: Sequence[float], candidate: Sequence[float], *, max_tokens: int, seed: int
) -> list[Measured]:
    """One figure a set: perplexity exp(-sum of log p / tokens); the change is candidate / base. Texts without a scored
    token are left out."""
    windows = [_windows(text, max_tokens) for text in texts]
    _check(sum(map(len, windows)), base, candidate)
    nats: list[list[float]] = []
    for scores in (base, candidate):
        unread = iter(scores)
        nats.append([-sum(next(unread) for _ in window) for window in windows])
    measured = []
    for name in sorted({text.set_name for text in texts}):
        rows = [(text, b, c) for text, b, c in zip(texts, *nats, strict=True) if text.set_name == name and text.scored]
        if not rows:
            continue
        clusters, sizes = [text.cluster for text, _, _ in rows], [float(text.scored) for text, _, _ in rows]
        below, above = [b for _, b, _ in rows], [c for _, _, c in rows]
        figure = figure_of(
            f"perplexity:{name}",
            f"Perplexity on the texts '{name}'",
            "perplexity",
            "lower",
            clusters,
            _exp(sum(below) / sum(sizes)),
            _exp(sum(above) / sum(sizes)),
            intervals.mean_difference(below, above, clusters, seed=seed, weights=sizes),
            scale="ratio",
        )
        measured.append(
            Measured(
                figure,
                [
                    ItemMeasure(text.key, text.cluster, _exp(b / text.scored), _exp(c / text.scored), {"text": text.text})
                    for text, b, c in rows
                ],
            )
        )
    return measured


def compare_divergence(texts: Sequence[TextToScore], moved: Sequence[float], *, max_tokens: int, seed: int) -> list[Measured]:
    """One figure a set: KL(candidate || base) of the next token's distribution, mean over tokens, in nats a token.

    `moved` has its sum over each window of `text_rows`. 0 is a candidate that foretells just what its base does; it sees any change
    of the distribution, where perplexity sees only what becomes of the one token that stands in the text. Not below 0.
    """
    windows = [_windows(text, max_tokens) for text in texts]
    _check(sum(map(len, windows)), [0.0] * len(moved), moved)
    unread = iter(moved)
    sums = [sum(next(unread) for _ in window) for window in windows]
    measured = []
    for name in sorted({text.set_name for text in texts}):
        rows = [(text, nats) for text, nats in zip(texts, sums, strict=True) if text.set_name == name and text.scored]
        if not rows:
            continue
        clusters, sizes = [text.cluster for text, _ in rows], [float(text.scored) for text, _ in rows]
        nats = [one for _, one in rows]
        interval = intervals.mean_difference([0.0] * len(rows), nats, clusters, seed=seed, weights=sizes)
        figure = figure_of(
            f"kl_to_base:{name}",
            f"How far the candidate has moved from its base on the texts '{name}' (Kullback-Leibler divergence)",
            "nats per token",
            "lower",
            clusters,
            0.0,
            sum(nats) / sum(sizes),
            None if interval is None else interval._replace(low=max(0.0, interval.low)),
        )
        measured.append(
            Measured(figure, [ItemMeasure(text.key, text.cluster, 0.0, n / text.scored, {"text": text.text}) for text, n in rows])
        )
    return measured


# --------------------------------------------------------------------- common


def _check(expected: int, base: Sequence[float], candidate: Sequence[float]) -> None:
    for side, scores in (("base", base), ("candidate", candidate)):
        if len(scores) != expected:
            raise BrokenScores(f"The {side} has {len(scores)} scores for {expected} rows; score exactly the rows listed, in order.")
        for number, score in enumerate(scores):
            if not isfinite(score):
                raise BrokenScores(
                    f"The {side} scores row {number} as {score}, which is no number: its weights are broken; "
                    "correct again with a lower learning rate."
                )


def _exp(value: float) -> float:
    """e to the value, held below what a float can hold: a broken model's perplexity is a large number, not an error."""
    return exp(min(value, 700.0))
