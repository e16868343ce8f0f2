"""How good a detector is on prompts it never saw, over all and for each group that prompts speak of.

Knows probabilities, votes, clusters and groups as plain values; knows neither texts nor how the probabilities were made. What
has too few kinds of prompt (clusters) to be shown is listed by name, so that nobody takes silence for good news.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flagback.model.intervals import Interval, jackknife, mean_difference
from flagback.model.shares import share_of

_Floats: TypeAlias = NDArray[np.float64]

#: Bands of equally many answers in the reliability picture.
BANDS = 10
#: A group with fewer kinds of prompt than this is named and not shown.
MIN_CLUSTERS = 10
#: Probabilities nearer to 0 or 1 than this count as this: one certain mistake must not make the log loss infinite.
NEAREST = 1e-6


class Told(NamedTuple):
    """What was said of one answer, and what people say."""

    #: Probability of harm, by a detector that had not seen the cluster.
    probability: float
    #: What that detector would have said of everything: the share of harm in what it had learnt from.
    base_rate: float
    harm: int
    votes: int
    cluster: str
    #: Axis -> the group that the prompt speaks of.
    groups: Mapping[str, str]


def figures(told: Sequence[Told]) -> dict[str, Any]:
    """All of it, ready for JSON; what cannot be known is None. The same whatever the order."""
    rows = sorted(told, key=lambda one: (one.cluster, one.probability, one.harm, one.votes, sorted(one.groups.items())))
    harmful = [one for one in rows if 2 * one.harm > one.votes]
    fine = [one for one in rows if 2 * one.harm < one.votes]
    line = _line(rows, len(harmful), len(harmful) + len(fine))
    shown, suppressed = _errors(harmful, fine, line)
    return {
        "answers": len(rows),
        "harmful": len(harmful),
        "fine": len(fine),
        "votes": sum(one.votes for one in rows),
        "clusters": len({one.cluster for one in rows}),
        "auc": _auc(harmful, fine),
        **_losses(rows),
        "calibration_error": _calibration_error(rows),
        "reliability": [_band(band) for band in _bands(rows)],
        "line": line,
        "errors": shown,
        "suppressed": suppressed,
    }


def _told(interval: Interval | None, low: float = -np.inf, high: float = np.inf) -> dict[str, float | int | None]:
    if interval is None:
        return {"value": None, "low": None, "high": None, "clusters": None}
    return {
        "value": interval.estimate,
        "low": max(low, interval.low),
        "high": min(high, interval.high),
        "clusters": interval.clusters,
    }


# ------------------------------------------------------------------------ discrimination


def _auc(harmful: Sequence[Told], fine: Sequence[Told]) -> dict[str, float | int | None]:
    """Chance that a harmful answer is put above a fine one, ties half (Hanley and McNeil 1982); jackknife over clusters."""
    if not harmful or not fine:
        return _told(None)
    above, below = (np.asarray([one.probability for one in side]) for side in (harmful, fine))
    won, lost = _beaten(above, below), len(above) - _beaten(below, above)
    places: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, rows in enumerate((harmful, fine)):
        for number, one in enumerate(rows):
            places[one.cluster][side].append(number)
    total, without = float(won.sum()), []
    for mine, theirs in places.values():
        pairs = float(won[mine].sum() + lost[theirs].sum() - _beaten(above[mine], below[theirs]).sum())
        left = (len(above) - len(mine)) * (len(below) - len(theirs))
        if not left:
            return _told(None)
        without.append((total - pairs) / left)
    return _told(jackknife(total / (len(above) * len(below)), without), 0.0, 1.0)


def _beaten(ones: _Floats, others: _Floats) -> _Floats:
    """How many of the others each one lies above, ties half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, ones, "left") + np.searchsorted(ordered, ones, "right")) / 2


# ------------------------------------------------------------------------ calibration


def _losses(rows: Sequence[Told]) -> dict[str, Any]:
    """Brier score and log loss in nats a vote, beside those of the base rate, and what is saved against it."""
    votes = np.asarray([one.votes for one in rows], dtype=np.float64)
    harm = np.asarray([one.harm for one in rows], dtype=np.float64)
    clusters = [one.cluster for one in rows]
    p, base = (np.clip([getattr(one, name) for one in rows], NEAREST, 1 - NEAREST) for name in ("probability", "base_rate"))
    nothing = np.zeros(len(rows))

    def mean(values: _Floats, against: _Floats = nothing) -> dict[str, float | int | None]:
        return _told(mean_difference(against.tolist(), values.tolist(), clusters, seed=0, weights=votes.tolist()))

    def brier(said: _Floats) -> _Floats:
        return np.asarray(harm * (1 - said) ** 2 + (votes - harm) * said**2)

    def log_loss(said: _Floats) -> _Floats:
        return np.asarray(-harm * np.log(said) - (votes - harm) * np.log1p(-said))

    return {
        "brier": mean(brier(p)),
        "brier_base": mean(brier(base)),
        "log_loss": mean(log_loss(p)),
        "log_loss_base": mean(log_loss(base)),
        "log_loss_saved": mean(log_loss(base), log_loss(p)),
    }


def _bands(rows: Sequence[Told]) -> list[list[Told]]:
    """About equally many answers each, from the lowest probability up; equal probabilities are never parted."""
    ordered = sorted(rows, key=lambda one: one.probability)
    bands: list[list[Told]] = []
    for number, one in enumerate(ordered):
        band = number * BANDS // len(ordered)
        if bands and (len(bands) > band or one.probability == bands[-1][-1].probability):
            bands[-1].append(one)
        else:
            bands.append([one])
    return bands


def _band(band: Sequence[Told]) -> dict[str, float | int | None]:
    votes = sum(one.votes for one in band)
    by_cluster: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for one in band:
        by_cluster[one.cluster][0] += one.harm
        by_cluster[one.cluster][1] += one.votes
    share = share_of((harm, n) for harm, n in by_cluster.values())
    return {
        "predicted": sum(one.probability * one.votes for one in band) / votes,
        "share": sum(one.harm for one in band) / votes,
        "low": share.low if share else None,
        "high": share.high if share else None,
        "from": band[0].probability,
        "to": band[-1].probability,
        "answers": len(band),
        "votes": votes,
    }


def _calibration_error(rows: Sequence[Told]) -> dict[str, float | int | None]:
    """Expected calibration error (Naeini et al. 2015) over the bands, votes as weights; jackknife over clusters.

    It is over 0 even for a perfect detector, by what votes scatter; the more votes, the less.
    """
    bands = _bands(rows)
    names = {name: number for number, name in enumerate(sorted({one.cluster for one in rows}))}
    apart = np.zeros((len(names), len(bands)))
    votes = np.zeros(len(names))
    for place, band in enumerate(bands):
        for one in band:
            apart[names[one.cluster], place] += one.probability * one.votes - one.harm
            votes[names[one.cluster]] += one.votes
    whole = np.abs(apart.sum(axis=0)).sum() / votes.sum()
    left = votes.sum() - votes
    if not np.all(left > 0):
        return _told(None)
    without = np.abs(apart.sum(axis=0) - apart).sum(axis=1) / left
    return _told(jackknife(float(whole), without.tolist()), 0.0, 1.0)


# ------------------------------------------------------------------------ errors by group


def _line(rows: Sequence[Told], harmful: int, judged: int) -> float | None:
    """The probability from which an answer counts as flagged: as large a share of answers lies at or over it as people flag."""
    if not judged:
        return None
    ordered = sorted((one.probability for one in rows), reverse=True)
    return float(ordered[min(len(ordered) - 1, max(0, round(len(ordered) * harmful / judged) - 1))])


def _errors(harmful: Sequence[Told], fine: Sequence[Told], line: float | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Share of fine answers over the line and of harmful ones under it: over all prompts (axis None), then by group."""
    if line is None:
        return [], []
    shown: list[dict[str, Any]] = []
    suppressed: list[dict[str, Any]] = []
    named = sorted({group for one in (*harmful, *fine) for group in one.groups.items()})
    cells: list[tuple[str, str] | None] = [None, *named]
    for cell in cells:
        for kind, side in (("false_alarm", fine), ("missed", harmful)):
            members = [one for one in side if cell is None or one.groups.get(cell[0]) == cell[1]]
            by_cluster: dict[str, list[int]] = defaultdict(lambda: [0, 0])
            for one in members:
                by_cluster[one.cluster][0] += (one.probability >= line) == (kind == "false_alarm")
                by_cluster[one.cluster][1] += 1
            axis, group = cell or (None, None)
            about = {"axis": axis, "group": group, "kind": kind, "answers": len(members), "clusters": len(by_cluster)}
            share = share_of((wrong, n) for wrong, n in by_cluster.values()) if len(by_cluster) >= MIN_CLUSTERS else None
            if share is None:
                suppressed.append(about)
            else:
                shown.append({**about, "share": share.share, "low": share.low, "high": share.high})
    return shown, suppressed
