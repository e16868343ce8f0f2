"""Which words go with one kind of answers against another: flagged against fine ones, about one group against about the others.

Knows words, which side a text stands on and which texts hang together (answers to prompts of one template). Knows neither the store
nor a model. Log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words", eq. 16 for the
ratio, 20 and 22 for its z), the prior in proportion to how often both sides together write a word: rare ones are pulled to 0.

Their variance takes every word for a draw of its own. Answers to one prompt repeat its words: by labels shuffled over prompts the
plain z called 8 to 14 % of words different at 5 % (docs/log.md). So a word is judged by another p, that of counts divided by how
much more they vary between texts and between clusters (the design effect of Rao and Scott 1992, from both sides together).

Words that name a group are to be taken out before anything is counted (`mentions`): answers about women hold "woman", which
nobody needs to be told.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import exp, lgamma, log, log1p
from statistics import NormalDist
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float64]
_Whole: TypeAlias = NDArray[np.int64]

#: How far clustering may be taken to sharpen a difference: sides that share their clusters can vary less than words drawn singly.
SMALLEST_EFFECT = 0.5
#: Words of the prior: as many words of everyday use are added to each side.
PRIOR_WORDS = 500.0
#: A word in fewer clusters than this is counted, and nothing is said of it.
MIN_CLUSTERS = 10
#: Share of false findings accepted among all words looked at (family-wise, Holm).
LEVEL = 0.05
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


class Said(NamedTuple):
    """The words of one text."""

    words: tuple[str, ...]
    #: Texts of one cluster hang together: a split key.
    cluster: str


class Odds(NamedTuple):
    """One word on both sides."""

    word: str
    #: Natural logarithm of the odds ratio after the prior; over 0 where the first side writes it more.
    log_odds: float
    #: log_odds over its standard error, every word a draw of its own (eq. 22): for comparison with the paper, judged by nobody.
    plain_z: float
    #: The point of the normal distribution with the same p, texts and clusters hanging together.
    z: float
    #: Two-sided p of this word alone, and after Holm's correction for all words looked at: under LEVEL is a finding.
    p: float
    p_holm: float
    #: How often each side wrote it.
    first: int
    second: int
    #: In how many clusters.
    clusters: int


class WordOdds(NamedTuple):
    """All words of two sides."""

    #: By z, those of the first side on top; equal ones by the word.
    words: list[Odds]
    #: Words that stand in too few clusters to be compared.
    rare: int
    #: Texts and words of each side.
    texts: tuple[int, int]
    tokens: tuple[int, int]
    clusters: int

    @property
    def found(self) -> list[Odds]:
        """Those that differ after the correction for how many were looked at."""
        return [word for word in self.words if word.p_holm < LEVEL]


def words(text: str) -> tuple[str, ...]:
    """The words of a text in order, casefolded, letters of any script. Give it `mentions.rest`, where groups are not to count."""
    return tuple(_WORD.findall(text.replace("’", "'").casefold()))


def compare(first: Iterable[Said], second: Iterable[Said], *, minimum: int = MIN_CLUSTERS) -> WordOdds:
    """Every word that both sides together write in `minimum` clusters or more. The same whatever the order of the texts."""
    sides = (list(first), list(second))
    tokens = (sum(len(text.words) for text in sides[0]), sum(len(text.words) for text in sides[1]))
    names = {cluster: number for number, cluster in enumerate(sorted({text.cluster for side in sides for text in side}))}
    holding: dict[str, set[str]] = defaultdict(set)
    for side in sides:
        for text in side:
            for word in text.words:
                holding[word].add(text.cluster)
    listed = sorted(word for word, clusters in holding.items() if len(clusters) >= minimum)
    shape = (len(holding) - len(listed), (len(sides[0]), len(sides[1])), tokens, len(names))
    if not listed or not all(tokens):
        return WordOdds([], *shape)
    numbers = {word: number for number, word in enumerate(listed)}
    cells = [
        (place, names[text.cluster], number, count, len(text.words))
        for place, side in enumerate(sides)
        for text in side
        for word, count in Counter(text.words).items()
        if (number := numbers.get(word)) is not None
    ]
    # Counts are whole numbers, so that these sums are exact and no order shows in them.
    lengths = np.zeros((2, len(names)))
    squared = 0.0
    for place, side in enumerate(sides):
        for text in side:
            lengths[place, names[text.cluster]] += len(text.words)
            squared += float(len(text.words) ** 2)
    counted = _Counts(np.asarray(cells, dtype=np.int64), lengths, squared, len(listed))
    totals = counted.totals.astype(np.float64)
    ratios, errors = _log_odds(totals, lengths.sum(axis=1))
    chances = _chances(counted)
    found = [
        Odds(
            word,
            float(ratios[i]),
            float(ratios[i] / errors[i]),
            _z(chances[i], rising=float(totals[0, i] / tokens[0] - totals[1, i] / tokens[1])),
            chances[i],
            corrected,
            int(totals[0, i]),
            int(totals[1, i]),
            len(holding[word]),
        )
        for i, (word, corrected) in enumerate(zip(listed, holm(chances), strict=True))
    ]
    return WordOdds(sorted(found, key=lambda odds: (-odds.z, odds.word)), *shape)


def holm(chances: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979): any false one under .05 has a chance of .05 at most."""
    order = sorted(range(len(chances)), key=lambda i: chances[i])
    corrected, largest = [0.0] * len(chances), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[i]))
        corrected[i] = largest
    return corrected


class _Counts:
    """Words of both sides as sums, from one row a word and text: (side, cluster, word, count, words of the text)."""

    def __init__(self, cells: _Whole, lengths: _Floats, squared: float, n_words: int) -> None:
        side, cluster, word, count, length = (column.astype(np.int64) for column in cells.T)
        #: How often each side wrote each word, (2, W), and how many words each side has in each cluster, (2, G).
        self.totals = np.stack([np.bincount(word, np.where(side == place, count, 0), n_words) for place in (0, 1)])
        self.lengths = lengths
        #: Sum over texts of their squared lengths.
        self.squared = squared
        #: Sums over texts of count squared and of count times length, (W,).
        self.text_squares = np.bincount(word, count**2, n_words)
        self.text_crossed = np.bincount(word, count * length, n_words)
        pairs, where = np.unique(np.stack([word, cluster]), axis=1, return_inverse=True)
        together = np.bincount(where.ravel(), count)
        #: The same over clusters.
        self.cluster_squares = np.bincount(pairs[0], together**2, n_words)
        self.cluster_crossed = np.bincount(pairs[0], together * lengths.sum(axis=0)[pairs[1]], n_words)


def _log_odds(totals: _Floats, lengths: _Floats) -> tuple[_Floats, _Floats]:
    """Eq. 16 and the root of eq. 20, (W,) each, from (2, W) counts in (2,) words; the prior follows both sides together."""
    prior = PRIOR_WORDS * totals.sum(axis=0) / lengths.sum()
    above = totals + prior
    # Where nobody writes another word, that one stands as often on both sides.
    only = totals.sum(axis=0) == lengths.sum()
    logits = np.log(above) - np.log(np.where(only, 1.0, lengths[:, None] + PRIOR_WORDS - above))
    return np.where(only, 0.0, logits[0] - logits[1]), np.sqrt((1 / above).sum(axis=0))


def _chances(counted: _Counts) -> list[float]:
    """Two-sided p of each word's difference of shares; 1 where nothing varies.

    A word of share s comes in a text of n words n s times, give or take: the variance is n a within a cluster and n² b between
    clusters more. a and b are those that give the squares seen around n s, over texts and over clusters, in both sides together:
    a side that happens not to write the word has no spread of its own to go by. By what the variance is larger than that of words
    drawn one by one, counts are divided (Rao and Scott 1992), and their split is judged as a binomial one. By a normal tail, where
    few of many clusters were flagged, 30 worlds of 100 held a false word after Holm's correction.
    """
    lengths = counted.lengths
    sizes, whole = lengths.sum(axis=1), float(lengths.sum())
    own = lengths.sum(axis=0)
    g = int(np.count_nonzero(own))
    share = counted.totals.sum(axis=0) / whole
    by_text, by_cluster = counted.squared, float((own**2).sum())
    text_squares = counted.text_squares - 2 * share * counted.text_crossed + share**2 * by_text
    cluster_squares = (counted.cluster_squares - 2 * share * counted.cluster_crossed + share**2 * by_cluster) * g / max(1, g - 1)
    if by_cluster > by_text:
        between = np.maximum(0.0, (cluster_squares - text_squares) / (by_cluster - by_text))
        within = np.where(between > 0, np.maximum(0.0, (text_squares - between * by_text) / whole), text_squares / whole)
    else:
        between, within = np.zeros_like(share), cluster_squares / whole
    apart = float(((lengths[0] / sizes[0] - lengths[1] / sizes[1]) ** 2).sum())
    variance = within * (1 / sizes).sum() + between * apart
    effect = np.maximum(variance / (share * (1 / sizes).sum()), SMALLEST_EFFECT)
    first, second = counted.totals / effect
    return [_split(float(one), float(other), float(sizes[0] / whole)) for one, other in zip(first, second, strict=True)]


def _split(first: float, second: float, expected: float) -> float:
    """Two-sided p of so many of (first + second) where the share `expected` belongs on the first side.

    Counts divided by a design effect are not whole, and go in steps smaller than one: the tail begins in the middle of a count.
    """
    above, below = _beta(first + 0.5, second + 0.5, expected), _beta(second + 0.5, first + 0.5, 1 - expected)
    return min(1.0, 2 * min(above, below))


def _beta(a: float, b: float, x: float) -> float:
    """I_x(a, b) by its continued fraction (Abramowitz and Stegun 26.5.8), to 1e-12, tails included."""
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta(b, a, 1 - x)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a
    tiny = 1e-300
    upper, lower = 1.0, 1 / _off(1 - (a + b) * x / (a + 1), tiny)
    found = lower
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower = 1 / _off(1 + even * lower, tiny)
        upper = _off(1 + even / upper, tiny)
        found *= lower * upper
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        lower = 1 / _off(1 + odd * lower, tiny)
        upper = _off(1 + odd / upper, tiny)
        found *= lower * upper
        if abs(lower * upper - 1) < 1e-12:
            break
    return front * found


def _off(value: float, least: float) -> float:
    """Away from 0, by which nothing can be divided."""
    return value if abs(value) > least else least


def _z(p: float, *, rising: float) -> float:
    """The point of the normal distribution with this two-sided p, with the sign of the difference."""
    if rising == 0:
        return 0.0
    size = -NormalDist().inv_cdf(max(p, 1e-300) / 2) if p < 1 else 0.0
    return size if rising > 0 else -size
