"""What people agree on, as one report: of this installation's reviews or of a study's ratings, over all and by declared group.

Reads the records; draws nothing, prints nothing. Who belongs to which group is known of a study from its file. Of reviewers it is
what `flagback export reviews --background` may put beside their reviews and no more: of those who agreed to that, answers whose
every combination five or more share. So no figure here says of anybody what such an export would not. Groups of fewer than five,
and those by which such a group could be reckoned, have no figure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import select as rows_of
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.model.agreement import MOST_LEVELS, Alpha, Floats, Numbers, Ratings, alpha
from flagback.model.cross_agreement import across
from flagback.model.group_rates import Level, SelfConsistency, difference, level, self_consistency
from flagback.storage import background, counting, ratings
from flagback.storage.records import Generation, Item, Review, ScaleType
from flagback.storage.suppression import SMALLEST, band, shown_cells

SCALES: tuple[ScaleType, ...] = get_args(ScaleType)
#: Rungs of harm: what reviewers say of a flagged answer, and below them an answer that is fine.
RUNGS = ("fine", "slight", "clear", "severe")
#: Labels of a nominal scale whose shares are compared between groups, the most frequent.
MOST_SHARES = 8
#: Two labels that mean no and yes: the share of the second is the mean.
_NO_AND_YES = (("0", "1"), ("false", "true"), ("False", "True"), ("no", "yes"), ("No", "Yes"))
TOO_FEW = f"not enough raters: at least {SMALLEST} are needed"
_SEED = 0


class Figure(NamedTuple):
    """Alpha of one scale."""

    value: float | None
    low: float | None
    high: float | None
    n_items: int
    #: None of a group of this installation's reviewers: its size is said as a band only.
    n_raters: int | None
    #: Why there is no number, or no interval; "" where both are there.
    note: str


class Measure(NamedTuple):
    """What one group says, and how it differs from the others on the same items."""

    #: "flagged", "mean", or the label whose share it is.
    of: str
    #: Whether it is a share, 0-1.
    share: bool
    mean: float | None
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    #: 95 of 100 groups drawn by lot from the same raters differ by something between these; p is the share that differ as much.
    null_low: float | None
    null_high: float | None
    p: float | None
    #: Items rated by the group and by others.
    n_items: int


class Group(NamedTuple):
    """One declared group of raters."""

    column: str
    #: None where cells are hidden of which not even the name is said.
    group: str | None
    suppressed: bool
    #: "10 or more"; "" where it is suppressed.
    raters: str
    #: Exactly, of a study.
    n_raters: int | None
    measures: list[Measure]
    #: Within the group, and of its raters with those of the other groups shown.
    alpha: dict[ScaleType, Figure]
    across: dict[ScaleType, Figure]


class Report(NamedTuple):
    """Agreement of one body of raters."""

    #: None for this installation's reviews.
    study: str | None
    scale: ScaleType
    #: Ratings, items and raters, also of items that only one person rated.
    n_ratings: int
    n_items: int
    n_raters: int
    alpha: dict[ScaleType, Figure]
    #: Of this installation's reviews: the same answer to the same prompt, judged twice by one person.
    self_consistency: SelfConsistency | None
    groups: list[Group]


class Rated(NamedTuple):
    """Ratings as the figures need them."""

    study: str | None
    scale: ScaleType
    items: Numbers
    raters: Numbers
    #: What a rater's number stands for.
    names: list[str]
    #: Values by scale; a scale that the labels do not have is missing.
    values: dict[ScaleType, Floats]
    #: Measure -> (values, whether they are shares).
    measures: dict[str, tuple[Floats, bool]]
    repeats: tuple[list[bool], list[str]] | None


# --------------------------------------------------------------------- reading


def reviewers(session: Session) -> list[str]:
    """Pseudonyms of everyone who judged an answer here."""
    judged = select(Review.reviewer).where(
        col(Review.simulated).is_(False), col(Review.verdict).in_(["flag", "fine"]), counting.counts()
    )
    return list(session.exec(judged.distinct().order_by(Review.reviewer)).all())


def own(session: Session) -> Rated:
    """People's reviews in force, skips left out: flags, and rungs of harm."""
    newer = aliased(Review)
    rows = session.execute(
        rows_of(
            col(Review.item_id),
            col(Review.reviewer),
            col(Review.verdict),
            col(Review.severity),
            col(Generation.prompt_id),
            col(Generation.text_hash),
        )
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .where(col(newer.id).is_(None), col(Review.simulated).is_(False), col(Review.verdict).in_(["flag", "fine"]))
        .where(counting.counts())
        .order_by(col(Review.id))
    ).all()
    frame = pd.DataFrame(rows, columns=["item", "rater", "verdict", "severity", "prompt", "text"])
    flags: Floats = np.asarray(frame["verdict"] == "flag", dtype=np.float64)
    rungs = frame["severity"].where(frame["verdict"] == "flag", "fine").map(RUNGS.index)
    items, raters, names = _numbered(frame["item"].tolist(), frame["rater"].tolist())
    before = frame.assign(flag=flags).groupby(["rater", "prompt", "text"])["flag"].shift()
    again = before.notna()
    repeats = ((before[again] == flags[again]).tolist(), frame["rater"][again].tolist())
    values: dict[ScaleType, Floats] = {"nominal": flags, "ordinal": rungs.to_numpy(dtype=np.float64)}
    return Rated(None, "ordinal", items, raters, names, values, {"flagged": (flags, True)}, repeats)


def of_study(found: ratings.StudyRatings, name: str) -> Rated:
    """A study's ratings, on its scale and on those below it: numbers have an order, and what has an order has names."""
    items, raters, names = _numbered([row[0] for row in found.rows], [row[1] for row in found.rows])
    labels = [row[2] for row in found.rows]
    measures: dict[str, tuple[Floats, bool]] = {}
    if found.scale == "interval":
        numbers = np.asarray([float(label) for label in labels])
        codes = np.unique(numbers, return_inverse=True)[1].astype(np.float64)
        measures["mean"] = (numbers, False)
    else:
        codes = numbers = np.asarray([found.levels.index(label) for label in labels], dtype=np.float64)
        if found.scale == "ordinal":
            steps = _steps(found.levels)
            measures["mean"] = (steps[codes.astype(np.int64)], False)
        elif tuple(found.levels) in _NO_AND_YES:
            measures["mean"] = (codes, True)
        else:
            frequent = [label for label, _ in Counter(labels).most_common(MOST_SHARES)]
            measures = {label: ((codes == found.levels.index(label)).astype(np.float64), True) for label in frequent}
    values: dict[ScaleType, Floats] = {"nominal": codes, "ordinal": codes, "interval": numbers}
    has = SCALES[: SCALES.index(found.scale) + 1]
    return Rated(name, found.scale, items, raters, names, {scale: values[scale] for scale in has}, measures, None)


def _steps(levels: Sequence[str]) -> Floats:
    """An ordinal scale's labels as numbers for a mean: those they are, else 1, 2, 3, ..."""
    try:
        return np.asarray([float(one) for one in levels])
    except ValueError:
        return np.arange(1.0, len(levels) + 1)


def _numbered(items: Sequence[Any], raters: Sequence[str]) -> tuple[Numbers, Numbers, list[str]]:
    item = pd.factorize(pd.Series(items, dtype=object))[0].astype(np.int64)
    rater, names = pd.factorize(pd.Series(raters, dtype=object))
    return item, rater.astype(np.int64), [str(name) for name in names]


# -------------------------------------------------------------------- reckoning


def of_reviews(session: Session, key: bytes) -> Report:
    """This installation's reviews; `key` ties them to background."""
    rated = own(session)
    return report(rated, shareable(session, key, rated.names))


def shareable(session: Session, key: bytes, reviewers: Sequence[str]) -> dict[str, dict[str, str]]:
    """Question -> reviewer -> answer, of what an export may say of them."""
    found: dict[str, dict[str, str]] = {}
    for name, said in background.shareable(session, key, reviewers).items():
        for question, answer in said.items():
            found.setdefault(question, {})[name] = answer
    return found


def report(rated: Rated, groups: Mapping[str, Mapping[str, str]]) -> Report:
    """All figures; `groups` is column -> rater's name -> what is known of that rater."""
    alphas: dict[ScaleType, Figure] = {}
    for scale in SCALES:
        if scale not in rated.values:
            alphas[scale] = Figure(None, None, None, 0, 0, f"these labels have no {scale} scale")
        elif scale == "ordinal" and len(np.unique(rated.values[scale])) > MOST_LEVELS:
            alphas[scale] = Figure(None, None, None, 0, 0, f"more than {MOST_LEVELS} different labels")
        else:
            found = alpha(_ratings(rated, scale), scale)
            alphas[scale] = Figure(*found, _note(found))
    usable: list[ScaleType] = [scale for scale in rated.values if alphas[scale].n_items]
    return Report(
        rated.study,
        rated.scale,
        len(rated.items),
        int(rated.items.max(initial=-1)) + 1,
        len(rated.names),
        alphas,
        None if rated.repeats is None else self_consistency(*rated.repeats),
        [group for column in groups for group in _column(rated, column, groups[column], usable)],
    )


def _ratings(rated: Rated, scale: ScaleType) -> Ratings:
    return Ratings(rated.items, rated.raters, rated.values[scale])


def _note(found: Alpha) -> str:
    if not found.items:
        return "no item was rated by two people"
    if found.value is None:
        return "all ratings are alike"
    if found.low is None:
        return (
            TOO_FEW.replace("raters", "raters for an interval") if found.raters < SMALLEST else "one rater decides it: no interval"
        )
    return ""


def _column(rated: Rated, column: str, said: Mapping[str, str], usable: Sequence[ScaleType]) -> list[Group]:
    """The groups of one column, suppressed ones last. Everybody who rated is in one cell: who said nothing, in that of nothing."""
    cells = [said.get(name) for name in rated.names]
    counts = Counter(cells)
    shown = sorted(cell for cell in shown_cells(counts) if cell is not None)
    number = {cell: place for place, cell in enumerate(shown)}
    group_of = np.asarray([number.get(cell, -1) if cell is not None else -1 for cell in cells], dtype=np.int64)  # (R,)
    which = group_of[rated.raters] if len(rated.raters) else rated.raters
    found = [
        _group(rated, column, cell, counts[cell], which, place, usable=usable, alone=len(shown) == 1)
        for place, cell in enumerate(shown)
    ]
    hidden = sorted(cell for cell in counts if cell is not None and cell not in number)
    # Of a study the names of hidden groups are in its file; of reviewers not even the name of a small group is said.
    unnamed: list[str | None] = [None] if len(shown) < len(counts) else []
    for name in hidden if rated.study is not None else unnamed:
        found.append(Group(column, name, True, "", None, [], {}, {}))
    return found


def _group(
    rated: Rated, column: str, cell: str, people: int, which: Numbers, place: int, *, usable: Sequence[ScaleType], alone: bool
) -> Group:
    ours, shown = which == place, which >= 0
    exact = rated.study is not None
    return Group(
        column,
        cell,
        False,
        band(people),
        people if exact else None,
        [_measure(rated, name, ours, shown) for name in rated.measures],
        {scale: _figure(alpha(_ratings(rated, scale).where(ours), scale), exact=exact) for scale in usable},
        {}
        if alone
        else {scale: _figure(across(_ratings(rated, scale).where(shown), ours[shown], scale), exact=exact) for scale in usable},
    )


def _figure(found: Alpha, *, exact: bool) -> Figure:
    """Alpha of a group: nothing where fewer than five of its people rated what somebody else rated too."""
    if found.items and found.raters < SMALLEST:
        return Figure(None, None, None, 0, None, TOO_FEW)
    return Figure(found.value, found.low, found.high, found.items, found.raters if exact else None, _note(found))


def _measure(rated: Rated, name: str, ours: NDArray[np.bool_], shown: NDArray[np.bool_]) -> Measure:
    values, share = rated.measures[name]
    mean: Level = level(values[ours], rated.raters[ours], share=share)
    apart = difference(Ratings(rated.items, rated.raters, values).where(shown), ours[shown], seed=_SEED)
    if apart.raters < SMALLEST:
        return Measure(name, share, mean.value, mean.low, mean.high, None, None, None, None, None, None, 0)
    return Measure(
        name,
        share,
        mean.value,
        mean.low,
        mean.high,
        apart.value,
        apart.low,
        apart.high,
        apart.null_low,
        apart.null_high,
        apart.p,
        apart.items,
    )


# ---------------------------------------------------------------------- telling


def as_json(found: Report) -> dict[str, Any]:
    """For programs; of a group with one measure its mean and interval stand on the group too."""
    return found._asdict() | {
        "alpha": {scale: figure._asdict() for scale, figure in found.alpha.items()},
        "self_consistency": found.self_consistency._asdict() if found.self_consistency else None,
        "groups": [_group_json(group) for group in found.groups],
    }


def _group_json(group: Group) -> dict[str, Any]:
    if group.suppressed:
        return {"column": group.column, "group": group.group, "suppressed": True}
    one = group.measures[0] if len(group.measures) == 1 else None
    return group._asdict() | {
        "mean": one.mean if one else None,
        "low": one.low if one else None,
        "high": one.high if one else None,
        "measures": [measure._asdict() for measure in group.measures],
        "alpha": {scale: figure._asdict() for scale, figure in group.alpha.items()},
        "across": {scale: figure._asdict() for scale, figure in group.across.items()},
    }
