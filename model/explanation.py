"""What a correction did to the very answers it was made of: by pair, by flagged answer, by group. Plain values in and out.

Told in nats of log-probability, before (under the parent) and after (under the candidate). Knows nothing of models or of the
database, and holds no text: rows name pairs and answers of the installation.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from flagback.storage.artifacts import Artifacts, DamagedArtifact, MissingArtifact
from flagback.storage.records import CorrectionRun

#: What the file is called in its artifact.
FILE = "explanation.json"
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
    pairs: Sequence[PairMove]
    flagged: Sequence[FlaggedMove]
    #: Pairs and flagged answers longer than the model can hold.
    left_out: int


def direction(change: float) -> Direction:
    """Which way a change goes that should be above 0."""
    return "still" if abs(change) < STILL else "towards" if change > 0 else "against"


#: What is written with a pair beside its fields.
TOLD = ("margin_before", "margin_after", "change", "direction")


def to_dict(explanation: Explanation) -> dict[str, Any]:
    """For JSON: every row with its margins and its direction, and the summary."""
    return _head(explanation) | {
        "pairs": [_told(row) for row in explanation.pairs],
        "flagged": [_told(row) for row in explanation.flagged],
    }


def json_lines(explanation: Explanation) -> Iterator[str]:
    """The JSON of `to_dict`, a row a line, so that it can be written without being held."""
    yield json.dumps(_head(explanation), sort_keys=True)[:-1]
    lists: tuple[tuple[str, Sequence[PairMove | FlaggedMove]], ...] = (
        ("pairs", explanation.pairs),
        ("flagged", explanation.flagged),
    )
    for name, rows in lists:
        yield f',\n"{name}": ['
        for number, row in enumerate(rows):
            yield (",\n" if number else "\n") + json.dumps(_told(row), sort_keys=True)
        yield "]"
    yield "}\n"


def _told(row: PairMove | FlaggedMove) -> dict[str, Any]:
    return row._asdict() | {name: getattr(row, name) for name in (TOLD if isinstance(row, PairMove) else ("change", "direction"))}


def _head(explanation: Explanation) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "unit": "nats",
        "still_below": STILL,
        "run": explanation.run_id,
        "parent": explanation.parent_id,
        "candidate": explanation.candidate_id,
        "left_out": explanation.left_out,
        "summary": summary(explanation),
    }


def from_dict(kept: Mapping[str, Any]) -> Explanation:
    """An explanation as `to_dict` wrote it."""
    pairs, flagged = tuple(pair_from(**row) for row in kept["pairs"]), tuple(flagged_from(**row) for row in kept["flagged"])
    return Explanation(kept["run"], kept["parent"], kept["candidate"], pairs, flagged, kept["left_out"])


def read(artifacts: Artifacts, sha256: str) -> Explanation:
    """An explanation as it was kept. Raises MissingArtifact and DamagedArtifact."""
    artifacts.verify(sha256)
    return from_dict(json.loads((artifacts.path(sha256) / FILE).read_text()))


def summary_of(run: CorrectionRun, artifacts: Artifacts) -> dict[str, Any] | None:
    """The summary of a run's explanation; None where it has none, or its file is gone or altered."""
    if run.explanation_sha256 is None:
        return None
    try:
        return summary(read(artifacts, run.explanation_sha256))
    except (MissingArtifact, DamagedArtifact):
        return None


def pair_from(**row: Any) -> PairMove:
    """A pair's row as it came back from JSON."""
    known: dict[str, Any] = {name: row[name] for name in PairMove._fields}
    return PairMove(**known | {"groups": tuple(row["groups"])})


def flagged_from(**row: Any) -> FlaggedMove:
    """A flagged answer's row as it came back from JSON."""
    known: dict[str, Any] = {name: row[name] for name in FlaggedMove._fields}
    return FlaggedMove(**known | {"groups": tuple(row["groups"])})


def summary(explanation: Explanation) -> dict[str, Any]:
    """Counts and means over all, by side, and by group (most pairs first); a group counts every row that names it."""
    named = {name: _Tally() for name in ("all", "learnt", "held_out")}
    groups: dict[str, _Tally] = {}
    for pair in explanation.pairs:
        for tally in _of(pair, named, groups):
            tally.add_pair(pair)
    for answer in explanation.flagged:
        for tally in _of(answer, named, groups):
            tally.add_flagged(answer)
    ordered = sorted(groups.items(), key=lambda one: (-one[1].counts["pairs"], -one[1].counts["flagged"], one[0]))
    return {
        **{name: tally.figures() for name, tally in named.items()},
        "groups": {group: tally.figures() for group, tally in ordered},
    }


def _of(row: PairMove | FlaggedMove, named: Mapping[str, "_Tally"], groups: dict[str, "_Tally"]) -> list["_Tally"]:
    """Where a row counts."""
    return [named["all"], named[row.side], *(groups.setdefault(group, _Tally()) for group in row.groups)]


#: What a summary gives means of.
MEANS = ("margin_before", "margin_after", "chosen_change", "rejected_change", "flagged_change")


class _Tally:
    """Counts and sums of rows, which are not kept."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sums: dict[str, float] = dict.fromkeys(MEANS, 0.0)

    def add_pair(self, row: PairMove) -> None:
        self.counts.update(("pairs", f"pairs_{row.direction}"))
        self.sums["margin_before"] += row.margin_before
        self.sums["margin_after"] += row.margin_after
        self.sums["chosen_change"] += row.chosen_after - row.chosen_before
        self.sums["rejected_change"] += row.rejected_after - row.rejected_before

    def add_flagged(self, row: FlaggedMove) -> None:
        self.counts.update(("flagged", f"flagged_{row.direction}"))
        self.sums["flagged_change"] += row.change

    def figures(self) -> dict[str, Any]:
        def told(what: str) -> dict[str, int]:
            return {name: self.counts[name] for name in (what, *(f"{what}_{way}" for way in ("towards", "still", "against")))}

        def mean(name: str, what: str) -> dict[str, float | None]:
            return {name: round(self.sums[name] / self.counts[what], 6) if self.counts[what] else None}

        return {
            **told("pairs"),
            **mean("margin_before", "pairs"),
            **mean("margin_after", "pairs"),
            # Below 0: chosen answers became less likely too (likelihood displacement).
            **mean("chosen_change", "pairs"),
            **mean("rejected_change", "pairs"),
            **told("flagged"),
            **mean("flagged_change", "flagged"),
        }
