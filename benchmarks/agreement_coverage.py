"""How often the interval of Krippendorff's alpha over raters holds the truth, for panels of 5, 10 and 30. Prints JSON.

Run `python benchmarks/agreement_coverage.py [--panels 1000]`; about two minutes of one core. Raters differ in strictness, and three
in ten see harm in a fifth of the items that the others do not see. The truth is the alpha of endlessly many such raters on the same
items. "crossed": everyone rates every item; "sparse": five of the panel rate each. Beside the jackknife that is used stand what was
tried in its place, on flags: the jackknife of log(1 - alpha), the percentile bootstrap over raters, and the same without pairs of a
rater with a copy of himself. "differences": how often the interval of a difference between two groups of raters holds it,
and how often the interval, or the null dealt anew among raters, calls a difference where there is none. "speed": seconds of alpha
with its interval on 100,000 ratings of 5,000 items; --panels 0 measures nothing else.
"""

import argparse
import json
import time
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from flagback.model import cross_agreement, group_rates, intervals
from flagback.model.agreement import Ratings, alpha, without_each
from flagback.storage.records import ScaleType

_Floats: TypeAlias = NDArray[np.float64]
PANELS = (5, 10, 30)
ITEMS = 80
#: Ratings of an item in the sparse design.
SEATS = 5
#: Raters that stand for endlessly many.
MANY = 3000
DRAWS = 400


class World(NamedTuple):
    """Items, and how people of one kind or the other rate them."""

    #: (U,) how bad an item is, and how much worse the minority finds it.
    badness: _Floats
    unseen: _Floats
    #: Spread of strictness between raters.
    spread: float
    #: Steps of the scale: two for flags.
    cuts: _Floats


def world(rng: np.random.Generator, scale: ScaleType, *, rare: bool) -> World:
    """Flags where the scale is nominal, else five steps."""
    steps = [1.8 if rare else 0.3] if scale == "nominal" else [-1.5, -0.5, 0.5, 1.5]
    cuts = np.asarray(steps, dtype=np.float64)
    badness = rng.normal(size=ITEMS)
    return World(badness, np.where(rng.random(ITEMS) < 0.2, 1.5, 0.0), 0.6, cuts)


def rated(rng: np.random.Generator, of: World, minority: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(R, U) ratings of a panel."""
    strict = rng.normal(0, of.spread, len(minority))
    felt = of.badness + strict[:, None] + minority[:, None] * of.unseen + rng.normal(0, 0.7, (len(minority), len(of.badness)))
    return np.asarray(np.searchsorted(of.cuts, felt), dtype=np.int64)


def truth(rng: np.random.Generator, of: World, scale: ScaleType) -> float:
    """Alpha of endlessly many raters."""
    votes = rated(rng, of, np.arange(MANY) < 0.3 * MANY)
    steps = len(of.cuts) + 1
    shares = np.stack([(votes == step).mean(axis=0) for step in range(steps)], axis=1)  # (U, C)
    marginal = shares.mean(axis=0)
    place = {"ordinal": np.cumsum(marginal) - marginal / 2, "interval": np.arange(steps), "nominal": np.arange(steps)}[scale]
    apart = (place[:, None] != place) * 1.0 if scale == "nominal" else (place[:, None] - place) ** 2
    met = shares.T @ shares / len(shares)
    return float(1 - (met * apart).sum() / (np.outer(marginal, marginal) * apart).sum())


def panel(rng: np.random.Generator, of: World, raters: int, *, sparse: bool) -> tuple[Ratings, NDArray[np.bool_]]:
    """One panel's ratings, and which rating is whose by number."""
    minority = rng.random(raters) < 0.3
    votes = rated(rng, of, minority)
    seen = np.ones_like(votes, dtype=np.bool_)
    if sparse:
        seen = np.argsort(rng.random(votes.shape), axis=0) < SEATS
    who, what = np.nonzero(seen)
    return Ratings(what, who, votes[who, what].astype(np.float64)), minority


# ------------------------------------------------------------------------ what was tried instead


def of_logarithm(whole: float, without: _Floats) -> tuple[float, float] | None:
    """Jackknife of log(1 - alpha), back again."""
    if whole >= 1 or (without >= 1).any():
        return None
    found = intervals.jackknife_of_strata(float(np.log(1 - whole)), np.log(1 - without).tolist())
    return (1 - float(np.exp(found.high)), 1 - float(np.exp(found.low))) if found else None


def bootstrap(rng: np.random.Generator, ratings: Ratings, raters: int, *, copies: bool) -> tuple[float, float]:
    """Percentile bootstrap over raters, of flags; a rater drawn twice agrees with the copy, or (copies=False) is not compared."""
    flags, seen = np.zeros((raters, ITEMS)), np.zeros((raters, ITEMS))
    flags[ratings.raters, ratings.items], seen[ratings.raters, ratings.items] = ratings.values, 1
    drawn = rng.multinomial(raters, np.full(raters, 1 / raters), size=DRAWS).astype(np.float64)
    m, k = drawn @ seen, drawn @ flags  # (D, U)
    pairs = m * (m - 1) - (0 if copies else (drawn * (drawn - 1)) @ seen)
    n, flagged = np.where(pairs > 0, m, 0).sum(axis=1), np.where(pairs > 0, k, 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.where(pairs > 0, m * 2 * k * (m - k) / pairs, 0).sum(axis=1) / n
        found = 1 - observed / (2 * flagged * (n - flagged) / (n * (n - 1)))
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


# ------------------------------------------------------------------------ coverage


def coverage(
    scale: ScaleType, raters: int, panels: int, *, sparse: bool, rare: bool = False, others: bool = False
) -> dict[str, Any]:
    """Shares of intervals that hold the truth, by method, with the jackknife's mean width and the share of panels without one."""
    rng = np.random.default_rng([raters, sparse, rare, len(scale)])
    held: dict[str, list[bool]] = {}
    widths: list[float] = []
    for number in range(panels):
        if number % 20 == 0:  # a world is dear, a panel is cheap
            of = world(rng, scale, rare=rare)
            true = truth(rng, of, scale)
        ratings, _ = panel(rng, of, raters, sparse=sparse)
        found = alpha(ratings, scale)
        ends: dict[str, tuple[float, float] | None] = {"jackknife": None}
        if found.low is not None and found.high is not None:
            ends["jackknife"] = (found.low, found.high)
            widths.append(found.high - found.low)
        if others:
            ends["jackknife of log(1 - alpha)"] = of_logarithm(*without_each(ratings, scale))
            ends["bootstrap"] = bootstrap(rng, ratings, raters, copies=True)
            ends["bootstrap without copies"] = bootstrap(rng, ratings, raters, copies=False)
        for method, pair in ends.items():
            if pair is not None:
                held.setdefault(method, []).append(pair[0] <= true <= pair[1])
    return {method: round(float(np.mean(one)), 3) for method, one in held.items()} | {
        "width": round(float(np.mean(widths)), 3),
        "without one": round(1 - len(widths) / panels, 3),
    }


def differences(raters: int, panels: int, *, sparse: bool, apart: float) -> dict[str, float]:
    """Two groups of equal size, one of them stricter by `apart` (in logits' kin): held, and how often a difference is called."""
    rng = np.random.default_rng([raters, sparse, round(apart * 10)])
    held, called, null = [], [], []
    for number in range(panels):
        if number % 20 == 0:
            of = world(rng, "nominal", rare=False)._replace(unseen=np.full(ITEMS, apart))
            true = float(
                rated(rng, of, np.ones(MANY, dtype=np.bool_)).mean() - rated(rng, of, np.zeros(MANY, dtype=np.bool_)).mean()
            )
        group = np.arange(raters) < raters // 2
        votes = rated(rng, of, group)
        seen = np.argsort(rng.random(votes.shape), axis=0) < SEATS if sparse else np.ones_like(votes, dtype=np.bool_)
        who, what = np.nonzero(seen)
        ratings = Ratings(what, who, votes[who, what].astype(np.float64))
        found = group_rates.difference(ratings, group[who], seed=number, permutations=199)
        if found.low is None or found.high is None or found.p is None:
            continue
        held.append(found.low <= (true if apart else 0.0) <= found.high)
        called.append(not found.low <= 0 <= found.high)
        null.append(found.p <= 0.05)
    return {"held": _mean(held), "called by interval": _mean(called), "called by null": _mean(null)}


def crossing(raters: int, panels: int) -> float:
    """Coverage of agreement across two equal groups that see the same: its truth is then alpha's own."""
    rng = np.random.default_rng([raters, 99])
    held = []
    for number in range(panels):
        if number % 20 == 0:
            of = world(rng, "nominal", rare=False)
            true = truth(rng, of, "nominal")
        ratings, _ = panel(rng, of, raters, sparse=False)
        found = cross_agreement.across(ratings, ratings.raters < raters // 2, "nominal")
        if found.low is not None and found.high is not None:
            held.append(found.low <= true <= found.high)
    return _mean(held)


def speed() -> dict[str, float]:
    """Seconds of alpha with its interval, on 100,000 ratings of 5,000 items by 400 raters on five steps; the best of three."""
    rng = np.random.default_rng(0)
    raters = np.concatenate([rng.choice(400, 20, replace=False) for _ in range(5000)])
    ratings = Ratings(np.repeat(np.arange(5000), 20), raters, rng.integers(0, 5, 100_000).astype(np.float64))
    found = {}
    for scale in get_args(ScaleType):
        times = []
        for _ in range(3):
            began = time.perf_counter()
            alpha(ratings, scale)
            times.append(time.perf_counter() - began)
        found[scale] = round(min(times), 3)
    return found


def _mean(of: list[bool]) -> float:
    return round(float(np.mean(of)), 3)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panels", type=int, default=1000)
    panels = parser.parse_args().panels
    began = time.perf_counter()
    report: dict[str, Any] = {"panels": panels, "alpha": {}, "differences": {}, "across": {}}
    report["speed"] = speed()
    for raters in PANELS if panels else ():
        for sparse in (False, True) if raters > SEATS else (False,):
            design = f"{raters} raters, {'sparse' if sparse else 'crossed'}"
            report["alpha"][f"flags, {design}"] = coverage("nominal", raters, panels, sparse=sparse, others=True)
            report["alpha"][f"rare flags, {design}"] = coverage("nominal", raters, panels, sparse=sparse, rare=True, others=True)
            for scale in get_args(ScaleType)[1:]:
                report["alpha"][f"{scale}, {design}"] = coverage(scale, raters, panels, sparse=sparse)
            if raters >= 10:
                for apart in (0.0, 0.8):
                    report["differences"][f"{design}, apart {apart}"] = differences(raters, panels, sparse=sparse, apart=apart)
        if raters >= 10:
            report["across"][f"{raters} raters"] = crossing(raters, panels)
    report["seconds"] = round(time.perf_counter() - began, 1)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
