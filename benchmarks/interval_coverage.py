"""How often our 95 % intervals hold the truth, and how often results without an effect are called one. Prints JSON.

Run `python benchmarks/interval_coverage.py [--simulations 5000 --null 2000]`; under five minutes of one core. "coverage": for
each statistic and number of clusters the share of intervals that hold the truth, and on which side the others miss. Wanted from
50 clusters on: .935 to .965. "null": the share of sign-flipped results (each cluster's base and candidate swapped at random, so
that nothing can have changed) that are called a change at the 5 % level. Wanted: .04 to .06.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flagback.model import flips, intervals
from flagback.model.worst_group import worst_group

_Floats: TypeAlias = NDArray[np.float64]
#: Simulated results that share their bootstrap draws; every block has draws of its own.
BLOCK = 100
CLUSTERS = (10, 30, 50, 100)
#: Clusters of a null result set.
NULL_CLUSTERS = 60


class Simulated(NamedTuple):
    """A block of results: their truth, and per result the sums or values of each cluster."""

    #: (S,) or a number.
    truth: _Floats | float
    #: Of base and candidate, (S, G) or (S, G, M).
    base: _Floats
    candidate: _Floats
    #: What sums are divided by, (S, G).
    sizes: _Floats


# ------------------------------------------------------------------------ results of known truth


def differences(rng: np.random.Generator, rows: int, clusters: int, *, skewed: bool) -> Simulated:
    """Sums of 1 to 5 items a cluster, alike within it; skewed: exponential."""

    def draw(shape: tuple[int, ...]) -> _Floats:
        return rng.exponential(size=shape) - 1 if skewed else rng.normal(size=shape)

    sizes = rng.integers(1, 6, (rows, clusters)).astype(np.float64)
    items = draw((rows, clusters, 5)) * (np.arange(5) < sizes[..., None])
    return Simulated(0.0, np.zeros((rows, clusters)), 0.7 * draw((rows, clusters)) * sizes + items.sum(axis=2), sizes)


def nats_of_texts(rng: np.random.Generator, rows: int, clusters: int) -> Simulated:
    """Nats over tokens: texts of 20 to 200 tokens, the change of each text around .02 nats a token."""
    tokens = rng.integers(20, 200, (rows, clusters)).astype(np.float64)
    base = tokens * rng.gamma(9, 1 / 3, (rows, clusters))
    return Simulated(0.02, base, base + tokens * (0.02 + 0.15 * rng.normal(size=(rows, clusters))), tokens)


def lengths(rng: np.random.Generator, rows: int, clusters: int) -> Simulated:
    """Sums of four answers' lengths (geometric, mean hanging on the prompt); the candidate's are 1.1 times as long."""
    means = 20 * rng.gamma(6, 1 / 6, (rows, clusters, 1)) + 1
    base, candidate = (rng.geometric(1 / (means * factor), (rows, clusters, 4)).sum(axis=2) for factor in (1.0, 1.1))
    return Simulated(float(np.log(1.1)), base.astype(np.float64), candidate.astype(np.float64), np.ones((rows, clusters)))


def rates(rng: np.random.Generator, rows: int, clusters: int, *, base: float, candidate: float, items: int) -> Simulated:
    """Yes or no of `items` answers a prompt, each prompt with a leaning of its own (logit-normal)."""
    leaning = rng.normal(size=(rows, clusters, 1))
    grid = np.random.default_rng(1).normal(size=200_000)

    def chance(level: float, lean: _Floats) -> _Floats:
        return np.asarray(1 / (1 + np.exp(-(np.log(level / (1 - level)) + lean))))

    truth = float(chance(candidate, grid).mean() - chance(base, grid).mean())
    drawn = [(rng.random((rows, clusters, items)) < chance(level, leaning)).astype(np.float64) for level in (base, candidate)]
    return Simulated(truth, drawn[0], drawn[1], np.ones((rows, clusters)))


def words(rng: np.random.Generator, rows: int, clusters: int, *, known: int) -> Simulated:
    """Ids of 40 words a prompt, (S, G, 40), of so many `known`; the candidate's are more even. Truth: the mean of all results."""
    sides = []
    for slope in (1.2, 1.0):
        zipf = np.arange(1, known + 1) ** -slope
        drawn = np.searchsorted(np.cumsum(zipf / zipf.sum()), rng.random((rows, clusters, 40)))
        sides.append(np.minimum(drawn, known - 1).astype(np.float64))
    return Simulated(float("nan"), sides[0], sides[1], np.ones((rows, clusters)))


# ------------------------------------------------------------------------ intervals of them, (S, 2) or NaN


def by_sums(given: Simulated, seed: int) -> _Floats:
    """`mean_difference`: sums of differences over sizes."""
    return intervals.ratios_of_sums(given.candidate - given.base, given.sizes, seed=seed)[:, 1:3]


def by_log_ratio(given: Simulated, seed: int) -> _Floats:
    """`log_ratio`."""
    return intervals.ratios_of_sums(given.candidate, given.base, seed=seed, logarithms=True)[:, 1:3]


def by_rates(given: Simulated, _seed: int) -> _Floats:
    """`rate_difference`."""
    _, clusters, items = given.base.shape
    names = np.arange(clusters).repeat(items).tolist()
    found = [
        intervals.rate_difference(b.ravel().tolist(), c.ravel().tolist(), names)
        for b, c in zip(given.base, given.candidate, strict=True)
    ]
    return np.asarray([(np.nan, np.nan) if one is None else (one.low, one.high) for one in found])


def distinct_ratios(given: Simulated) -> tuple[_Floats, _Floats]:
    """log(distinct words of the candidate / of the base), (S,), and without each cluster, (S, G)."""

    def distinct(ids: _Floats) -> tuple[_Floats, _Floats]:
        counted = []
        for row in ids.astype(np.int64):
            present = np.zeros((len(row), int(row.max()) + 1), dtype=np.bool_)
            present[np.arange(len(row))[:, None], row] = True
            prompts = present.sum(axis=0)
            counted.append((np.sum(prompts > 0), present[:, prompts == 1].sum(axis=1)))
        whole = np.asarray([one for one, _ in counted], dtype=np.float64)
        return whole, whole[:, None] - np.asarray([alone for _, alone in counted])

    (below, below_without), (above, above_without) = distinct(given.base), distinct(given.candidate)
    return np.log(above / below), np.log(above_without / below_without)


def by_jackknife(given: Simulated, _seed: int) -> _Floats:
    """`jackknife` of distinct words."""
    found = [intervals.jackknife(float(one), rest.tolist()) for one, rest in zip(*distinct_ratios(given), strict=True)]
    return np.asarray([(np.nan, np.nan) if one is None else (one.low, one.high) for one in found])


_Make: TypeAlias = Callable[[np.random.Generator, int, int], Simulated]
_Hold: TypeAlias = Callable[[Simulated, int], _Floats]

STATISTICS: dict[str, tuple[_Make, _Hold]] = {
    "mean_difference, normal": (lambda r, s, g: differences(r, s, g, skewed=False), by_sums),
    "mean_difference, exponential": (lambda r, s, g: differences(r, s, g, skewed=True), by_sums),
    "mean_difference, weighted by tokens": (nats_of_texts, by_sums),
    "log_ratio, lengths": (lengths, by_log_ratio),
    "rate_difference, .3 to .2, 4 answers a prompt": (lambda r, s, g: rates(r, s, g, base=0.3, candidate=0.2, items=4), by_rates),
    "rate_difference, .5 to .3, 1 answer a prompt": (lambda r, s, g: rates(r, s, g, base=0.5, candidate=0.3, items=1), by_rates),
    "rate_difference, .05 to .02, 1 answer a prompt (2 to 7 flips)": (
        lambda r, s, g: rates(r, s, g, base=0.05, candidate=0.02, items=1),
        by_rates,
    ),
    "jackknife, distinct of 5,000 words": (lambda r, s, g: words(r, s, g, known=5000), by_jackknife),
    "jackknife, distinct of 150 words (soon all seen)": (lambda r, s, g: words(r, s, g, known=150), by_jackknife),
}


# ------------------------------------------------------------------------ coverage


def held(ends: _Floats, truth: _Floats | float) -> dict[str, float]:
    """Shares of intervals that hold the truth, lie above it and below it, and that there are none of."""
    known = ~np.isnan(ends).any(axis=1)
    wanted = np.broadcast_to(np.asarray(truth), known.shape)[known]
    low, high = ends[known].T
    none = float(1 - known.mean())
    shares = {
        "held": float(np.mean((low <= wanted) & (wanted <= high))),
        "too high": float(np.mean(wanted < low)),
        "too low": float(np.mean(wanted > high)),
        **({"no interval": none} if none else {}),
    }
    return {name: round(share, 4) for name, share in shares.items()}


def blocks(total: int) -> Iterator[tuple[int, int]]:
    """(number, size) of the blocks of a simulation."""
    for number, start in enumerate(range(0, total, BLOCK)):
        yield number, min(BLOCK, total - start)


def coverage(make: _Make, hold: _Hold, clusters: int, total: int) -> dict[str, float]:
    """Of `total` results of so many clusters."""
    ends, truths, levels = [], [], []
    for number, rows in blocks(total):
        given = make(np.random.default_rng([clusters, number]), rows, clusters)
        ends.append(hold(given, number))
        truths.append(np.broadcast_to(np.asarray(given.truth, dtype=np.float64), (rows,)))
        if hold is by_jackknife:
            levels.append(distinct_ratios(given)[0])
    truth = float(np.concatenate(levels).mean()) if levels else np.concatenate(truths)
    return held(np.concatenate(ends), truth)


def rare_rates(total: int) -> dict[str, dict[str, float]]:
    """One rate with .2 to 10 events expected in 50, 100 or 300 trials."""
    rng = np.random.default_rng(3)
    kinds: dict[str, Callable[[int, int], tuple[float, float]]] = {
        "rate (mid-p under 10 events, else Wilson)": intervals.rate,
        "wilson": intervals.wilson,
        "exact (Clopper and Pearson)": intervals.exact,
    }
    found: dict[str, dict[str, float]] = {}
    for name, kind in kinds.items():
        for n in (50, 100, 300):
            truth = rng.uniform(0.2 / n, 10 / n, total)
            counts = rng.binomial(n, truth)
            known = {int(k): kind(int(k), n) for k in np.unique(counts)}
            found[f"{name}, {n} trials"] = held(np.asarray([known[int(k)] for k in counts]), truth)
    return found


def groups_of(sizes: list[int], total: int, *, spread: float, lone: float | None = None) -> dict[str, dict[str, float]]:
    """The worst of some groups: its pooled interval, and the own interval of a group named beforehand.

    Groups differ with a standard deviation of `spread`, or not at all but for one that is worse by `lone`; items' is 1.
    """
    rng = np.random.default_rng([len(sizes), sum(sizes)])
    member = np.repeat(np.arange(len(sizes)), sizes)
    labels = [{"group": f"{number:03d}"} for number in member]
    worst, truths, own, first = [], [], [], []
    for number in range(total):
        means = rng.normal(size=len(sizes)) * spread
        if lone is not None:
            means = np.where(np.arange(len(sizes)) == 0, lone, 0.0)
        values = means[member] + rng.normal(size=len(member))
        found = worst_group(values.tolist(), range(len(member)), labels, seed=number, permutations=1)
        assert found.worst is not None  # nosec B101 # every group has data enough
        worst.append((found.worst.pooled_low, found.worst.pooled_high))
        truths.append(means[int(found.worst.name[0][1])])
        [named] = [cell for cell in found.cells if cell.name == (("group", "000"),)]
        own.append((named.low, named.high))
        first.append(means[0])
    return {
        "pooled, of the worst": held(np.asarray(worst), np.asarray(truths)),
        "own, of a named one": held(np.asarray(own), np.asarray(first)),
    }


# ------------------------------------------------------------------------ null


def swapped(given: Simulated, rng: np.random.Generator) -> Simulated:
    """Base and candidate of every cluster exchanged or not, by a coin: the same data without an effect."""
    coin = rng.random(given.base.shape[:2]) < 0.5
    turned = coin.reshape(*coin.shape, *[1] * (given.base.ndim - 2))
    return given._replace(
        truth=0.0,
        base=np.where(turned, given.candidate, given.base),
        candidate=np.where(turned, given.base, given.candidate),
    )


def null(total: int) -> dict[str, float]:
    """Share of results without an effect that each statistic calls one."""
    found: dict[str, float] = {}
    for name, (make, hold) in STATISTICS.items():
        ends = []
        for number, rows in blocks(total):
            rng = np.random.default_rng([7, number])
            ends.append(hold(swapped(make(rng, rows, NULL_CLUSTERS), rng), number))
        low, high = np.concatenate(ends).T
        found[name] = round(float(np.mean((low > 0) | (high < 0))), 4)
    rng = np.random.default_rng(8)
    # 1,508 pairs of which one in ten flips; and 60 templates of 25 with flips that hang together.
    for name, clusters, items in (("1,508 pairs", 1508, 1), ("60 templates of 25", 60, 25)):
        both = []
        for _ in range(total):
            lean = rng.choice([-1, 1], clusters)[:, None]
            net = lean * (rng.random((clusters, items)) < 0.1) * np.where(rng.random((clusters, items)) < 0.9, 1, -1)
            base, candidate = (net < 0).ravel().tolist(), (net > 0).ravel().tolist()
            both.append(flips.compare(base, candidate, np.arange(clusters).repeat(items).tolist())[-2:])
        p, mid_p = np.asarray(both).T
        found[f"flips, {name}: exact p"] = round(float(np.mean(p <= 0.05)), 4)
        found[f"flips, {name}: mid-p"] = round(float(np.mean(mid_p <= 0.05)), 4)
    labels = [{"group": "abcdef"[number % 6]} for number in range(NULL_CLUSTERS)]
    harmed = []
    for number in range(total):
        values = (rng.exponential(size=NULL_CLUSTERS) - 0.3) * rng.choice([-1, 1], NULL_CLUSTERS)
        harmed.append(worst_group(values.tolist(), range(NULL_CLUSTERS), labels, seed=number, permutations=399).p or 1.0)
    found["worst_group, permutation p"] = round(float(np.mean(np.asarray(harmed) <= 0.05)), 4)
    return found


def measured(simulations: int, nulls: int) -> dict[str, object]:
    """Everything, as it is printed."""
    return {
        "coverage": {
            name: {str(clusters): coverage(make, hold, clusters, simulations) for clusters in CLUSTERS}
            for name, (make, hold) in STATISTICS.items()
        },
        "coverage of one rate": rare_rates(simulations),
        "coverage of groups": {
            "8 of 10, spread .3": groups_of([10] * 8, simulations, spread=0.3),
            "8 of 10, spread 1": groups_of([10] * 8, simulations, spread=1.0),
            "8 of 10, alike": groups_of([10] * 8, simulations, spread=0.0),
            "8 of 10, one worse by 1": groups_of([10] * 8, simulations, spread=0.0, lone=1.0),
            "20 of 10, one worse by 1": groups_of([10] * 20, simulations // 2, spread=0.0, lone=1.0),
        },
        "null": null(nulls),
    }


def main() -> None:
    """Reads the arguments, prints what was measured."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--simulations", type=int, default=5000)
    arguments.add_argument("--null", type=int, default=2000)
    chosen = arguments.parse_args()
    began = time.process_time()
    found = measured(chosen.simulations, chosen.null)
    print(json.dumps({**found, "processor seconds": round(time.process_time() - began)}, indent=1))


if __name__ == "__main__":
    main()
