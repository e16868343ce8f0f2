"""Intervals of paired comparisons: how sure a difference between two models is.

Knows numbers and which of them hang together (clusters: the prompts of one template, the pairs of one dialogue). Knows nothing
of models, texts or gates. Every function gives None where there are too few clusters: not enough data is never a number.
Results follow values, cluster names and seed only, never the order in which the items come.
"""

from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from math import comb, exp, inf, isfinite, lgamma, log, log1p, sqrt
from statistics import NormalDist
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float64]
#: How often each cluster was drawn (D, G) -> estimates (D, S) and their standard errors (D, S), without the G / (G - 1).
_Estimate: TypeAlias = Callable[[_Floats], tuple[_Floats, _Floats]]

#: Fewer clusters than this give no interval. With 4 and 8 clusters a cluster bootstrap's "95 %" holds .79 and .90 of the truth.
MIN_CLUSTERS = 10
#: With fewer events (or fewer non-events) than this a rate gets its exact interval.
FEW_EVENTS = 10
#: Bootstrap draws of an interval.
DRAWS = 2000
#: Two-sided level of every interval; the gate reads its ends, so each of its bounds is a one-sided 97.5 % bound.
LEVEL = 0.95
#: The chance of seeing a true change of the size called detectable.
POWER = 0.8
#: How alike items of one cluster are taken to be in what was never seen to happen (intra-cluster correlation).
UNSEEN_CORRELATION = 0.1
_CHUNK = 250


class Interval(NamedTuple):
    """A paired comparison of candidate with base."""

    #: Candidate minus base, or the natural logarithm of candidate over base.
    estimate: float
    low: float
    high: float
    #: Standard error of the estimate, in its unit.
    error: float
    #: How many independent clusters it rests on.
    clusters: int

    @property
    def detectable(self) -> float:
        """The smallest true change that this much data shows with 80 % chance (POWER) at this level."""
        return (t_quantile((1 + LEVEL) / 2, self.clusters - 1) + t_quantile(POWER, self.clusters - 1)) * self.error


class UnequalLengths(ValueError):
    """Values of a paired comparison that do not pair up."""


class NotANumber(ValueError):
    """A value that is no finite number, or no rate where one was expected."""


def t_quantile(probability: float, freedom: float) -> float:
    """The point below which Student's t of so many degrees of freedom, over 0, lies with this probability."""
    from scipy import special  # not before it is needed: the web process starts without it

    return float(special.stdtrit(freedom, probability))


def wilson(k: int, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """Interval of one rate, k of n independent trials (Wilson 1927). n = 0 gives (0, 1): nothing is known."""
    if not 0 <= k <= n:
        raise NotANumber(f"{k} of {n} is no rate; expected 0 <= k <= n.")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * sqrt(k * (n - k) / n + z * z / 4)
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def exact(k: int, n: int, *, level: float = LEVEL, mid: bool = False) -> tuple[float, float]:
    """Exact interval of one rate, k of n independent trials (Clopper and Pearson 1934): holds the truth at least at its level.

    With mid, half the chance of k itself counts in each tail (Lancaster 1961): on average at its level, where the other is near
    97.5 % for rare events, but under it for some rates (worst .92). 0 of 300 ends at .0099 then: the rule of three.
    """
    if not 0 <= k <= n:
        raise NotANumber(f"{k} of {n} is no rate; expected 0 <= k <= n.")
    if n == 0:
        return 0.0, 1.0
    tail, whole = (1 - level) / 2, 0.5 if mid else 1.0
    return (
        0.0 if k == 0 else _where(lambda p: 1 - _below(k, n, p) - (1 - whole) * _chance(k, n, p) - tail),
        1.0 if k == n else _where(lambda p: tail - _below(k, n, p) - whole * _chance(k, n, p)),
    )


def rate(k: int, n: int, *, level: float = LEVEL) -> tuple[float, float]:
    """The interval to show of one rate: mid-p exact under FEW_EVENTS events or non-events, Wilson's from there on."""
    return exact(k, n, level=level, mid=True) if min(k, n - k) < FEW_EVENTS else wilson(k, n, level=level)


def _chance(k: int, n: int, p: float) -> float:
    """Binomial probability of exactly k."""
    return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p))


def _below(k: int, n: int, p: float) -> float:
    """Binomial probability of fewer than k, summed over the shorter side."""
    if k <= n - k:
        return sum(_chance(smaller, n, p) for smaller in range(k))
    return 1 - sum(_chance(larger, n, p) for larger in range(k, n + 1))


def _where(rising: Callable[[float], float]) -> float:
    """Where a function of a rate that rises through 0 does so, to 1e-12."""
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high


def mcnemar(lost: int, won: int) -> float:
    """Exact two-sided p of won against lost flips if both were as likely (binomial, McNemar 1947). No flip gives 1."""
    flips = lost + won
    tail = sum(comb(flips, smaller) for smaller in range(min(lost, won) + 1))
    return min(1.0, float(Fraction(2 * tail, 1 << flips)))


def mean_difference(
    base: Sequence[float],
    candidate: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    seed: int,
    weights: Sequence[float] | None = None,
) -> Interval | None:
    """Mean of (candidate - base), by cluster bootstrap-t (Efron and Tibshirani 1993, 12.5), never narrower than Student's t.

    With weights: sum of differences over sum of weights, e.g. nats over tokens. The interval of values that never differ is
    the point 0: for rates of rare events use `rate_difference`, which knows what was not seen.
    """
    base_sums, candidate_sums, sizes = _totals(clusters, base, candidate, weights if weights is not None else [1.0] * len(base))
    return _interval(ratios_of_sums(candidate_sums - base_sums, sizes, seed=seed), len(sizes)) if np.any(sizes > 0) else None


def log_ratio(base: Sequence[float], candidate: Sequence[float], clusters: Sequence[Hashable], *, seed: int) -> Interval | None:
    """Logarithm of (sum of candidate / sum of base) over values >= 0, by cluster bootstrap-t; None where a sum is (next to) 0."""
    below, above = _totals(clusters, base, candidate)
    if min(below.sum(), above.sum()) < 1e-100:
        return None
    return _interval(ratios_of_sums(above, below, seed=seed, logarithms=True), len(below))


def ratios_of_sums(above: _Floats, below: _Floats, *, seed: int, logarithms: bool = False) -> _Floats:
    """Intervals of S ratios (sum of above / sum of below, or their logarithms) from sums per cluster, (G,) or (S, G) each.

    Returns (S, 4): estimate, low, high and error, NaN where there is no interval. The S problems share their draws of clusters:
    what makes thousands of simulated results cheap (benchmarks/interval_coverage.py).
    """
    above, below = np.atleast_2d(above), np.atleast_2d(below)
    ratio = _ratio_of_sums(above, below)

    def logarithm(counts: _Floats) -> tuple[_Floats, _Floats]:
        values, spreads = ratio(counts)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.log(np.maximum(values, 0.0)), spreads / values

    return _bootstrap_t(logarithm if logarithms else ratio, above.shape[1], seed)


def rate_difference(base: Sequence[float], candidate: Sequence[float], clusters: Sequence[Hashable]) -> Interval | None:
    """Difference of two paired rates, each value within 0..1: the adjusted Wald interval of Bonett and Price (2012), on clusters.

    Two made-up answers are added, one that got worse and one that got better; so nothing seen to change in n clusters of one
    item still leaves about +- 2.8 / n, where a bootstrap would claim certainty. In clusters of m items the made-up answers
    weigh 1 + (m - 1) * UNSEEN_CORRELATION items each. Student's t in place of the normal, sums of clusters in place of items.
    With fewer than about ten answers that changed it is wider than it must be (.98 in place of .95), never narrower.
    """
    for value in (*base, *candidate):
        if not 0 <= value <= 1:
            raise NotANumber(f"The rate {value} is not within 0..1.")
    base_sums, candidate_sums, sizes = _totals(clusters, base, candidate, [1.0] * len(base))
    n = len(sizes)
    if n < MIN_CLUSTERS:
        return None
    total = candidate_sums - base_sums
    raw = float(total.sum() / sizes.sum())
    weight = 1 + (float(sizes.mean()) - 1) * UNSEEN_CORRELATION
    total, sizes = np.append(total, [weight, -weight]), np.append(sizes, [weight, weight])
    centre = float(total.sum() / sizes.sum())
    error = float(np.sqrt(np.sum((total - centre * sizes) ** 2)) / sizes.sum())
    half = t_quantile((1 + LEVEL) / 2, n - 1) * error
    return Interval(raw, max(-1.0, min(raw, centre - half)), min(1.0, max(raw, centre + half)), error, n)


def jackknife(whole: float, without: Sequence[float]) -> Interval | None:
    """Interval of a figure that is no sum over items (distinct words of a corpus): delete-one-cluster jackknife, Student's t.

    `without` holds the figure recomputed without each cluster in turn. Its error is too large rather than too small (Efron and
    Stein 1981): intervals of distinct words hold the truth .96 of the time while most words are rare, .99 once nearly all are seen.
    """
    n = len(without)
    if n < MIN_CLUSTERS or not all(map(isfinite, (whole, *without))):
        return None
    left_out = np.asarray(without, dtype=np.float64)
    error = float(np.sqrt((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2)))
    half = t_quantile((1 + LEVEL) / 2, n - 1) * error
    return Interval(whole, whole - half, whole + half, error, n)


def jackknife_of_strata(whole: float, *without: Sequence[float]) -> Interval | None:
    """Interval of a figure of independent samples (the raters of one group, and of another), each left out one by one.

    `without` holds, a stratum each, the figure recomputed without each of its units in turn: variance is the sum over strata of
    (k - 1) / k times their squared deviations (Shao and Tu 1995, 6.2), degrees of freedom are Welch's. Unlike `jackknife` it asks
    for no least number of units but two a stratum: how few may be spoken of, and whether it then holds, is the caller's business.
    """
    left_out = [np.asarray(values, dtype=np.float64) for values in without]
    if not isfinite(whole) or any(len(values) < 2 or not np.isfinite(values).all() for values in left_out):
        return None
    parts = [float((len(v) - 1) / len(v) * np.sum((v - v.mean()) ** 2)) for v in left_out]
    variance = sum(parts)
    if variance <= (1e-12 * max(abs(whole), 1.0)) ** 2:
        return None
    freedom = int(variance**2 / sum(part**2 / (len(v) - 1) for part, v in zip(parts, left_out, strict=True)))
    error = sqrt(variance)
    half = t_quantile((1 + LEVEL) / 2, max(1, freedom)) * error
    return Interval(whole, whole - half, whole + half, error, sum(map(len, left_out)))


def as_ratio(interval: Interval) -> tuple[float, float, float, float]:
    """A log ratio's estimate, low, high and detectable change as factors: 1.05 is five per cent more. At most e^700."""
    estimate, low, high, detectable = (
        exp(min(value, 700.0)) for value in (interval.estimate, interval.low, interval.high, interval.detectable)
    )
    return estimate, low, high, detectable


def _totals(clusters: Sequence[Hashable], *columns: Sequence[float]) -> list[_Floats]:
    """Sums of each column per cluster, (G,) each; the same whatever order the items come in."""
    if any(len(column) != len(clusters) for column in columns):
        raise UnequalLengths(
            f"Paired values of lengths {[len(column) for column in columns]} for {len(clusters)} clusters; expected equal lengths."
        )
    values = np.asarray(columns, dtype=np.float64).reshape(len(columns), len(clusters))
    if not np.isfinite(values).all():
        raise NotANumber(f"A value of a paired comparison is {values[~np.isfinite(values)][0]}; expected finite numbers.")
    names = [str(cluster) for cluster in clusters]
    order = np.lexsort((*values, np.asarray(names, dtype=np.str_))) if names else np.asarray([], dtype=np.int64)
    _, where = np.unique(np.asarray(names, dtype=np.str_)[order], return_inverse=True)
    return [np.bincount(where, weights=column[order]).astype(np.float64) for column in values]


def _ratio_of_sums(above: _Floats, below: _Floats) -> _Estimate:
    """Sum of above over sum of below, (S, G) each, and its linearised spread (Cochran 1977, 6.4), per draw of cluster counts.

    Reckoned from what is left around the whole sample's ratio: subtracting squares would drown small spreads in rounding.
    """
    whole = above.sum(axis=1) / below.sum(axis=1)  # (S,)
    left = above - whole[:, None] * below  # (S, G)
    squares, crossed, sizes = (left**2).T, (left * below).T, (below**2).T  # (G, S)

    def estimate(counts: _Floats) -> tuple[_Floats, _Floats]:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            weight = counts @ below.T  # (D, S)
            shift = counts @ left.T / weight
            square = counts @ squares - 2 * shift * (counts @ crossed) + shift**2 * (counts @ sizes)
            return whole + shift, np.sqrt(np.maximum(square, 0.0)) / weight

    return estimate


def _bootstrap_t(estimate: _Estimate, n: int, seed: int) -> _Floats:
    """Studentised cluster bootstrap of S problems, (S, 4): estimate, low, high, error; NaN under MIN_CLUSTERS or where the spread
    hangs on too few clusters to be known. By itself it called 6.0 % of sign-flipped exponential results of 60 clusters a change;
    held apart by Student's t at least, 4.8 % (benchmarks/interval_coverage.py --null 20000)."""
    value, spread = (part[0] for part in estimate(np.ones((1, n))))  # (S,)
    if n < MIN_CLUSTERS:
        return np.full((len(value), 4), np.nan)
    # What rounding leaves of equal values is no spread.
    tiny = 1e-12 * np.maximum(np.abs(value), 1.0)
    random = np.random.default_rng(seed)
    drawn: list[_Floats] = []
    for start in range(0, DRAWS, _CHUNK):
        rows = min(_CHUNK, DRAWS - start)
        counts = random.multinomial(n, np.full(n, 1 / n), size=rows).astype(np.float64)  # (rows, G)
        values, spreads = estimate(counts)
        apart = values - value
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            students = np.where(spreads > tiny, apart / spreads, np.where(np.abs(apart) > tiny, np.sign(apart) * inf, 0.0))
        drawn.append(students)
    students = np.sort(np.concatenate(drawn), axis=0)
    outside = int((1 - LEVEL) / 2 * (DRAWS + 1))
    correction = sqrt(n / (n - 1))
    classic = t_quantile((1 + LEVEL) / 2, n - 1) * correction
    # Order statistics, the same count from either end, so that swapping base and candidate mirrors the interval exactly; and never
    # nearer than Student's t, since chance in the draws and tails lighter in the sample than in truth would only claim too much.
    low_student, high_student = np.minimum(students[outside - 1], -classic), np.maximum(students[-outside], classic)
    with np.errstate(invalid="ignore"):
        low, high = np.minimum(value, value - high_student * spread), np.maximum(value, value - low_student * spread)
    found = np.column_stack([value, low, high, spread * correction])
    found[~(np.isfinite(low_student) & np.isfinite(high_student))] = np.nan
    still = spread <= tiny
    found[still] = np.column_stack([value, value, value, np.zeros_like(value)])[still]
    return found


def _interval(found: _Floats, clusters: int) -> Interval | None:
    """The one problem of (1, 4), None where it has no interval."""
    estimate, low, high, error = (float(part) for part in found[0])
    return Interval(estimate, low, high, error, clusters) if isfinite(low) and isfinite(high) else None
