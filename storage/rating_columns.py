"""What the columns of a file of finished ratings probably are, so that a person only has to correct it. Guesses; decides nothing.

Knows names that such columns usually have and the file's first rows; `flagback.storage.ratings` says what can be taken in.
"""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from flagback.storage.ratings import cell
from flagback.storage.reading import Row, read_rows
from flagback.storage.records import ScaleType

#: Rows that are looked at.
LOOKED_AT = 500
#: Whole numbers up to so many different ones are ranks; more, and fractions, are numbers.
MOST_RANKS = 11
#: What a column is called, the surest first; a name that begins or ends so comes behind.
_NAMES: dict[str, tuple[str, ...]] = {
    "item": ("item", "item_id", "question_id", "comment_id", "text_id", "response_id", "conversation_id", "prompt_id", "id"),
    "rater": (
        "rater",
        "rater_id",
        "annotator",
        "annotator_id",
        "worker",
        "worker_id",
        "coder",
        "user_id",
        "participant",
        "reviewer",
    ),
    "label": (
        "label",
        "rating",
        "score",
        "verdict",
        "judgement",
        "judgment",
        "severity",
        "toxicity",
        "annotation",
        "value",
        "answer",
    ),
    "text": ("text", "comment", "comment_text", "sentence", "response", "tweet", "post", "context", "prompt"),
}
_BACKGROUND = re.compile(
    r"(gender|sex|age|race|ethnic|country|region|local|nation|religio|faith|educat|income|politic|orientation|disab|language|lgbt)"
)


class Sample(NamedTuple):
    """The first rows of a file, as text."""

    #: Columns in the file's order.
    names: list[str]
    rows: list[dict[str, str]]


class Guess(NamedTuple):
    """What the columns probably are; None where nothing fits."""

    item: str | None
    rater: str | None
    label: str | None
    text: str | None
    background: list[str]


def sample(path: Path) -> Sample:
    """The first rows. Raises BadImport where they cannot be read."""
    found: list[Row] = list(islice(read_rows(path), LOOKED_AT))
    names = list(dict.fromkeys(name for row in found for name in row.values))
    return Sample(names, [{name: _text(row, name) for name in names} for row in found])


def _text(row: Row, name: str) -> str:
    """A cell as an import would read it; empty where it is missing or no text and no number."""
    if name not in row.values or isinstance(row.values[name], list | dict):
        return ""
    return cell(row, name)


def guess(found: Sample) -> Guess:
    """By name; facts about raters also by their being the same in all rows of a rater."""
    taken: list[str] = []
    chosen: dict[str, str | None] = {}
    for what, known in _NAMES.items():
        free = [name for name in found.names if name not in taken]
        chosen[what] = _named(free, known)
        taken += [name for name in (chosen[what],) if name is not None]
    rater = chosen["rater"]
    facts = [name for name in found.names if name not in taken and _BACKGROUND.search(name.lower())]
    background = [name for name in facts if rater is not None and _same_for_a_rater(found.rows, rater, name)]
    return Guess(chosen["item"], rater, chosen["label"], chosen["text"], background)


def _named(names: Sequence[str], known: Sequence[str]) -> str | None:
    plain = {name: re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in names}
    exact = [name for word in known for name in names if plain[name] == word]
    close = [name for word in known for name in names if plain[name].startswith(f"{word}_") or plain[name].endswith(f"_{word}")]
    return next(iter([*exact, *close]), None)


def _same_for_a_rater(rows: Sequence[dict[str, str]], rater: str, name: str) -> bool:
    said: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        said[row[rater]].add(row[name])
    return all(len(values) == 1 for values in said.values())


def scale_of(found: Sample, label: str) -> tuple[ScaleType, list[str]]:
    """The scale that the labels of the first rows look like, and the labels: by number where all are numbers, else by text."""
    labels = {row[label] for row in found.rows if row[label]}
    numbers = {said: number for said in labels if (number := _number(said)) is not None}
    if not labels or len(numbers) < len(labels):
        return "nominal", sorted(labels)
    whole = all(number.is_integer() for number in numbers.values())
    return "ordinal" if whole and len(labels) <= MOST_RANKS else "interval", sorted(labels, key=numbers.__getitem__)


def _number(said: str) -> float | None:
    try:
        number = float(said)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
