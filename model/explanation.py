"""What a correction did to the very answers it was made of: by pair, by flagged answer, by group. Plain values in and out.

Told in nats of log-probability, before (under the parent) and after (under the candidate). Knows nothing of models or of the store,
and holds no text: rows name pairs and answers of the installation.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

#: Raised when the file's fields change their meaning.
FORMAT = 1
#: A change of less than this is none, in nats: the odds moved by less than a tenth (e^0.1 = 1.105).
STILL = 0.1

#: learnt = of a training prompt; held_out = never trained on: what moved there was carried over.
Side = Literal["learnt", "held_out"]
#: towards = as the reviewers said; still = by less than STILL; against = the other way.
Direction = Literal["towards", "still", "against"]


class PairMove(NamedTuple):
    """One pair of the set."""

    #: Its place in the frozen set, and its salted hash there.
    position: int
    row_hash: str
    kind: str
    side: Side
    #: "axis: group" of every group that the prompt or the rejected answer names.
    groups: tuple[str, ...]
    weight: float
    soft_label: float
    chosen_id: int
    rejected_id: int
    chosen_before: float
    chosen_after: float
    rejected_before: float
    rejected_after: float

    @property
    def margin_before(self) -> float:
        """How much likelier the parent was to write the chosen answer than the rejected one, in nats."""
        return self.chosen_before - self.rejected_before

    @property
    def margin_after(self) -> float:
        """The same of the candidate."""
        return self.chosen_after - self.rejected_after

    @property
    def change(self) -> float:
        """Above 0: towards what the reviewers said."""
        return self.margin_after - self.margin_before

    @property
    def direction(self) -> Direction:
        """Which way the pair moved."""
        return direction(self.change)


class FlaggedMove(NamedTuple):
    """One answer that the policy judged harmful, with a counterpart among the pairs or without."""

    generation_id: int
    side: Side
    groups: tuple[str, ...]
    #: The policy's probability that it is harmful, 0-1; 1 for rejected answers of a set that was brought in.
    harm: float
    before: float
    after: float

    @property
    def change(self) -> float:
        """Below 0: it became less likely, by the factor e^change."""
        return self.after - self.before

    @property
    def direction(self) -> Direction:
        """towards = it became less likely."""
        return direction(-self.change)


class Explanation(NamedTuple):
    """All that is kept of one correction."""

    run_id: int
    parent_id: int
    candidate_id: int
    pairs: tuple[PairMove, ...]
    flagged: tuple[FlaggedMove, ...]
    #: Pairs and flagged answers longer than the model can hold.
    left_out: int


def direction(change: float) -> Direction:
    """Which way a change goes that should be above 0."""
    return "still" if abs(change) < STILL else "towards" if change > 0 else "against"


#: What is written with a pair beside its fields.
TOLD = ("margin_before", "margin_after", "change", "direction")


def to_dict(explanation: Explanation) -> dict[str, Any]:
    """For JSON: every row with its margins and its direction, and the summary."""
    return {
        "format": FORMAT,
        "unit": "nats",
        "still_below": STILL,
        "run": explanation.run_id,
        "parent": explanation.parent_id,
        "candidate": explanation.candidate_id,
        "left_out": explanation.left_out,
        "summary": summary(explanation),
        "pairs": [row._asdict() | {name: getattr(row, name) for name in TOLD} for row in explanation.pairs],
        "flagged": [row._asdict() | {"change": row.change, "direction": row.direction} for row in explanation.flagged],
    }


def from_dict(kept: Mapping[str, Any]) -> Explanation:
    """An explanation as `to_dict` wrote it."""
    pairs = tuple(PairMove(**{name: _value(row[name]) for name in PairMove._fields}) for row in kept["pairs"])
    flagged = tuple(FlaggedMove(**{name: _value(row[name]) for name in FlaggedMove._fields}) for row in kept["flagged"])
    return Explanation(kept["run"], kept["parent"], kept["candidate"], pairs, flagged, kept["left_out"])


def summary(explanation: Explanation) -> dict[str, Any]:
    """Counts and means over all, by side, and by group (most pairs first); a group counts every row that names it."""
    pairs, flagged = explanation.pairs, explanation.flagged
    by_group: dict[str, tuple[list[PairMove], list[FlaggedMove]]] = {}
    for pair in pairs:
        for group in pair.groups:
            by_group.setdefault(group, ([], []))[0].append(pair)
    for answer in flagged:
        for group in answer.groups:
            by_group.setdefault(group, ([], []))[1].append(answer)
    ordered = sorted(by_group.items(), key=lambda named: (-len(named[1][0]), -len(named[1][1]), named[0]))
    sides: tuple[Side, ...] = ("learnt", "held_out")
    return {
        "all": _figures(pairs, flagged),
        **{side: _figures([p for p in pairs if p.side == side], [one for one in flagged if one.side == side]) for side in sides},
        "groups": {group: _figures(*rows) for group, rows in ordered},
    }


def _figures(pairs: Sequence[PairMove], flagged: Sequence[FlaggedMove]) -> dict[str, Any]:
    return {
        "pairs": len(pairs),
        **_directions(pairs, "pairs"),
        "margin_before": _mean([row.margin_before for row in pairs]),
        "margin_after": _mean([row.margin_after for row in pairs]),
        # Below 0: chosen answers became less likely too (likelihood displacement).
        "chosen_change": _mean([row.chosen_after - row.chosen_before for row in pairs]),
        "rejected_change": _mean([row.rejected_after - row.rejected_before for row in pairs]),
        "flagged": len(flagged),
        **_directions(flagged, "flagged"),
        "flagged_change": _mean([row.change for row in flagged]),
    }


def _directions(rows: Sequence[PairMove | FlaggedMove], what: str) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row.direction] += 1
    return {f"{what}_{name}": counts[name] for name in ("towards", "still", "against")}


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None


def _value(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
