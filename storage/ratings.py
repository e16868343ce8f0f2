"""Finished ratings of studies made elsewhere: taken in whole or not at all, listed, given as columns, removed.

Knows the long layout (one rating a row: item, rater, label, further columns) and what makes it unusable; knows no figure. A study
is never mixed with this installation's reviews. Raters' names are hashed with a salt that is drawn for the study and kept nowhere,
so that who has the records and a list of names learns nothing. (Studies of crowd platforms, in which people review here, are
`flagback.storage.studies`.)
"""

import math
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import delete, func
from sqlmodel import Session, col, select

from flagback.storage import audit
from flagback.storage.generations import storable
from flagback.storage.prompts import check_storable
from flagback.storage.pseudonyms import keyed_hash
from flagback.storage.reading import BadImport, Row, WrongColumns, WrongValue, read_rows, shortened
from flagback.storage.records import ScaleType, Study, StudyItem, StudyRater, StudyRating
from flagback.storage.store import Store, insert_all

#: Characters of a name of an item or a rater, and of a label or a fact about a rater.
LONGEST_NAME, LONGEST_LABEL = 500, 200
#: Different labels of a scale without numbers, and different facts in one column about raters: more are free text.
MOST_LABELS, MOST_FACTS = 200, 100
#: Largest number of a scale, either way: beyond it squares have no room.
LARGEST = 1e100
#: How other programs write that there is no value: R, pandas, SQL.
MISSING = frozenset({"NA", "N/A", "<NA>", "NaN", "nan", "NULL", "null"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


class RatedTwice(BadImport):
    """One rater rated one item twice: which of the two counts, nobody can tell."""


class OneRater(BadImport):
    """Nobody else rated: there is nothing to agree on."""


class StudyThere(BadImport):
    """A study of this name is there already."""


class NoStudy(ValueError):
    """There is no study of this name."""


class Columns(NamedTuple):
    """Which column of a file is what."""

    item: str
    rater: str
    label: str
    text: str | None = None
    #: Facts about the rater.
    background: Sequence[str] = ()


class StudyReport(NamedTuple):
    """What an import took in."""

    study: str
    file: str
    scale: ScaleType
    ratings: int
    items: int
    raters: int
    #: Different labels; of an interval scale, different numbers.
    labels: int
    background: list[str]
    #: Rows whose label was empty or says that there is none (NA): that rater did not rate that item.
    without_label: int


class Listed(NamedTuple):
    """A study as it is listed."""

    study: str
    scale: ScaleType
    ratings: int
    items: int
    raters: int
    background: list[str]
    brought_by: str
    created_at: datetime


class StudyRatings(NamedTuple):
    """A study's ratings, one by one."""

    scale: ScaleType
    #: (item, rater, label), by rater and item.
    rows: list[tuple[str, str, str]]
    #: An ordinal scale's labels from low to high, all labels of a nominal one by text; empty for an interval scale.
    levels: list[str]
    #: Column -> rater -> what the file says; raters of whom it says nothing are left out.
    background: dict[str, dict[str, str]]


def import_ratings(
    store: Store,
    path: Path,
    *,
    study: str,
    columns: Columns,
    scale: ScaleType,
    levels: Sequence[str] = (),
    by: str,
    now: datetime,
) -> StudyReport:
    """Takes a file's ratings in as one study. `levels` are an ordinal scale's labels from low to high; without, they are numbers.

    Raises BadImport naming line, value and what was expected, and stores nothing then.
    """
    check_storable(by=by)
    read = _read(path, study, columns, scale, levels)
    salt = secrets.token_bytes(32)
    named = {rater: keyed_hash(salt, rater) for rater in read.raters}
    with store.writing() as session:
        _check_free(session, study)
        made = Study(
            name=study,
            scale=scale,
            columns=columns._asdict() | {"background": list(columns.background), "levels": read.levels()},
            brought_by=by,
            created_at=now,
        )
        session.add(made)
        session.flush()
        at = {"study_id": made.id}
        insert_all(session, "study_item", [at | {"item": item, "text": text} for item, text in read.items.items()])
        insert_all(session, "study_rater", [at | {"rater": named[one], "background": said} for one, said in read.raters.items()])
        insert_all(
            session,
            "study_rating",
            [at | {"item": item, "rater": named[rater], "label": label} for (item, rater), label in read.labels.items()],
        )
        report = read.report(study, path)
        details = {**report._asdict(), "file": storable(path.name)}
        audit.record(session, actor=by, action="import ratings", details=details, now=now)
    return report


def preview_ratings(
    store: Store, path: Path, *, study: str, columns: Columns, scale: ScaleType, levels: Sequence[str] = ()
) -> StudyReport:
    """What `import_ratings` would take in; stores nothing. Raises BadImport as it does."""
    with store.reading() as session:
        _check_free(session, study)
    return _read(path, study, columns, scale, levels).report(study, path)


def _read(path: Path, study: str, columns: Columns, scale: ScaleType, levels: Sequence[str]) -> "_Reading":
    """A whole file, checked."""
    _check_call(path, study, columns, scale, levels)
    read = _Reading(columns, scale, levels)
    for row in read_rows(path):
        read.add(row)
    read.check(path)
    return read


def _check_free(session: Session, study: str) -> None:
    if session.exec(select(Study.id).where(Study.name == study)).first() is not None:
        raise StudyThere(
            f"There is a study {study!r} already.",
            todo=f"choose another --study, or remove that one ('flagback study remove {study}').",
        )


def _check_call(path: Path, study: str, columns: Columns, scale: ScaleType, levels: Sequence[str]) -> None:
    if not _NAME.fullmatch(study):
        raise WrongValue(
            f"The study's name is {shortened(study)}; expected 1 to 64 letters, digits, dots, dashes or underscores.",
            todo="choose another --study and run the command again.",
        )
    asked = [columns.item, columns.rater, columns.label, *([columns.text] if columns.text else []), *columns.background]
    if len(set(asked)) != len(asked):
        twice = next(name for name in asked if asked.count(name) > 1)
        raise WrongColumns(
            f"{path}: the column {twice!r} was named for two things; expected a column of its own for each.",
            todo="name the columns again (--item, --rater, --label, --text, --background).",
        )
    if levels and scale != "ordinal":
        raise WrongValue(
            f"Labels from low to high were given for a scale that is {scale}.",
            todo="take --scale ordinal, or leave --levels out.",
        )
    if len(set(levels)) != len(levels):
        raise WrongValue(f"The labels from low to high are {', '.join(levels)}; expected each once.", todo="correct --levels.")


class _Reading:
    """What is read so far. Nothing of it is stored before the last row is in."""

    def __init__(self, columns: Columns, scale: ScaleType, levels: Sequence[str]) -> None:
        self.columns, self.scale, self._given = columns, scale, list(levels)
        self.items: dict[str, str | None] = {}
        self.raters: dict[str, dict[str, str]] = {}
        self.labels: dict[tuple[str, str], str] = {}
        self.without_label = 0
        self._seen: dict[str, Row] = {}

    def add(self, row: Row) -> None:
        """One rating."""
        item = self._name(row, self.columns.item)
        rater = self._name(row, self.columns.rater)
        said = _value(cell(row, self.columns.label))
        facts = {name: fact for name in self.columns.background if (fact := _value(_short(row, name, LONGEST_LABEL)))}
        text = cell(row, self.columns.text) if self.columns.text else None
        if not said:
            self.without_label += 1
            return
        if (item, rater) in self.labels:
            raise RatedTwice(
                f"{row.place}: rater {shortened(rater)} rates item {shortened(item)} a second time; expected one rating of an "
                "item by each rater."
            )
        self.labels[item, rater] = self._label(row, said)
        if self.raters.setdefault(rater, facts) != facts:
            raise WrongValue(
                f"{row.place}: rater {shortened(rater)} is {_said(facts)} here and {_said(self.raters[rater])} before; expected "
                "the same background in all rows of a rater."
            )
        if self.items.setdefault(item, text) != text:
            raise WrongValue(f"{row.place}: item {shortened(item)} has another text than before; expected one text an item.")

    def _name(self, row: Row, column: str) -> str:
        name = _short(row, column, LONGEST_NAME)
        if not name:
            raise WrongValue(f"{row.place}: the column {column!r} is empty; expected a name in every row.")
        return name

    def _label(self, row: Row, said: str) -> str:
        if len(said) > LONGEST_LABEL:
            raise WrongValue(
                f"{row.place}: the label {shortened(said)} has {len(said):,} characters; expected at most {LONGEST_LABEL}."
            )
        if self.scale == "nominal":
            return said
        if self._given:
            if said not in self._given:
                raise WrongValue(f"{row.place}: the label is {shortened(said)}; expected one of {', '.join(self._given)}.")
            return said
        if not _NUMBER.fullmatch(said) or not math.isfinite(float(said)):
            ranked = self.scale == "ordinal"
            raise WrongValue(
                f"{row.place}: the label is {shortened(said)}, which is no number; expected a number on a scale that is "
                f"{self.scale}{', or labels named from low to high' if ranked else ''}.",
                todo=f"{'name the labels with --levels, or ' if ranked else ''}correct the file and run the same command again.",
            )
        number = float(said) or 0.0  # minus nought is nought
        if abs(number) > LARGEST:
            raise WrongValue(f"{row.place}: the label is {shortened(said)}; expected a number from -{LARGEST:g} to {LARGEST:g}.")
        return repr(number).removesuffix(".0")

    def levels(self) -> list[str]:
        """The scale's labels in order; none of an interval scale."""
        used = set(self.labels.values())
        if self.scale == "interval":
            return []
        if self._given:
            return self._given
        return sorted(used, key=float) if self.scale == "ordinal" else sorted(used)

    def report(self, study: str, path: Path) -> StudyReport:
        """What was read, counted."""
        return StudyReport(
            study,
            str(path),
            self.scale,
            len(self.labels),
            len(self.items),
            len(self.raters),
            len(set(self.labels.values())),
            list(self.columns.background),
            self.without_label,
        )

    def check(self, path: Path) -> None:
        """What only the whole file shows."""
        if not self.labels:
            raise WrongValue(f"{path}: no row has a label in the column {self.columns.label!r}.")
        if len(self.raters) < 2:
            raise OneRater(
                f"{path}: all {len(self.labels):,} ratings are by one rater, {shortened(next(iter(self.raters)))}; expected two or "
                f"more in the column {self.columns.rater!r}.",
                todo="name the column that tells raters apart and run the command again.",
            )
        if len(self.levels()) > MOST_LABELS:
            raise WrongValue(
                f"{path}: {len(self.levels()):,} different labels in {self.columns.label!r}; expected at most {MOST_LABELS} on a "
                f"scale that is {self.scale}.",
                todo="take --scale interval for numbers, or another column.",
            )
        for column in self.columns.background:
            different = len({said[column] for said in self.raters.values() if column in said})
            if different > MOST_FACTS:
                raise WrongValue(
                    f"{path}: {different:,} different values in the column {column!r} about raters; expected at most {MOST_FACTS}. "
                    "More are names or free text, which are not kept.",
                    todo="leave the column out of --background, or make bands of it.",
                )


def _value(said: str) -> str:
    """What a cell says; nothing where it says that there is no value."""
    return "" if said in MISSING else said


def cell(row: Row, column: str) -> str:
    """A value as text, without space around it; numbers as a CSV file would have them."""
    if column not in row.values:
        raise WrongColumns(
            f"{row.place}: there is no column {column!r}; the columns are {', '.join(map(shortened, row.values))}.",
            todo="name the columns as the file does and run the command again.",
        )
    value: Any = row.values[column]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, str | int | float):
        return str(value).strip()
    raise WrongValue(f"{row.place}: {column!r} is {shortened(value)}; expected a text or a number.")


def _short(row: Row, column: str, longest: int) -> str:
    value = cell(row, column)
    if len(value) > longest:
        raise WrongValue(f"{row.place}: {column!r} has {len(value):,} characters; expected at most {longest}.")
    return value


def _said(facts: dict[str, str]) -> str:
    return ", ".join(f"{name} {shortened(fact)}" for name, fact in facts.items()) or "nothing"


def studies(session: Session) -> list[Listed]:
    """All studies, newest first."""
    counts = [
        dict(session.exec(select(table.study_id, func.count()).group_by(col(table.study_id))).all())
        for table in (StudyRating, StudyItem, StudyRater)
    ]
    return [
        Listed(
            found.name,
            found.scale,
            counts[0].get(found.id, 0),
            counts[1].get(found.id, 0),
            counts[2].get(found.id, 0),
            list(found.columns.get("background", [])),
            found.brought_by,
            found.created_at,
        )
        for found in session.exec(select(Study).order_by(col(Study.id).desc())).all()
    ]


def ratings_of(session: Session, name: str) -> StudyRatings:
    """A study's ratings. Raises NoStudy."""
    found = _study(session, name)
    rows = session.exec(
        select(StudyRating.item, StudyRating.rater, StudyRating.label)
        .where(StudyRating.study_id == found.id)
        .order_by(col(StudyRating.rater), col(StudyRating.item))
    ).all()
    said = session.exec(select(StudyRater.rater, StudyRater.background).where(StudyRater.study_id == found.id)).all()
    background = {
        column: {rater: facts[column] for rater, facts in said if column in facts} for column in found.columns["background"]
    }
    return StudyRatings(found.scale, [(item, rater, label) for item, rater, label in rows], found.columns["levels"], background)


def remove(store: Store, name: str, *, by: str, now: datetime) -> int:
    """Deletes a study for good and returns how many ratings that were. Raises NoStudy."""
    with store.writing() as session:
        found = _study(session, name)
        counted = Counter[str]()
        for table in (StudyRating, StudyRater, StudyItem):
            gone = session.connection().execute(delete(table).where(col(table.study_id) == found.id))
            counted[table.__name__] = gone.rowcount
        session.delete(found)
        audit.record(session, actor=by, action="remove study", details={"study": name, "ratings": counted["StudyRating"]}, now=now)
    return counted["StudyRating"]


def _study(session: Session, name: str) -> Study:
    found = session.exec(select(Study).where(Study.name == name)).first()
    if found is None:
        names = ", ".join(session.exec(select(Study.name).order_by(Study.name)).all()) or "none yet: 'flagback import ratings'"
        raise NoStudy(f"There is no study {shortened(name)}; expected one of: {names}.")
    return found
