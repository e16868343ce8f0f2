"""What a logged answer of a model in use looks like: its columns, who agreed to it, and what of it is not taken in.

Knows values, never bytes (reading.py) nor the store (outputs.py). A value of the wrong kind refuses the whole file or
request. Left out one by one, by reason and place and never by value: what nobody agreed to, what holds something like an e-mail
address or a telephone number, what is empty.
"""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flagback.storage.layouts import asked_in, groups_of, lang_of, text_in, wrong_columns
from flagback.storage.reading import Place, Row, WrongColumns, WrongValue, json_type, parse_json, shortened

PROMPT_COLUMNS = ("prompt", "messages")
ANSWER_COLUMNS = ("answer", "completion", "output", "response")
WRITTEN_COLUMNS = ("written_at", "timestamp")
COLUMNS = (*PROMPT_COLUMNS, *ANSWER_COLUMNS, *WRITTEN_COLUMNS, "lang", "version", "consent", "groups", "topic", "tags")

NO_CONSENT = "nobody agreed to it"
EMPTY_PROMPT = "the prompt is empty"
EMPTY_ANSWER = "the answer is empty"
HOLDS_EMAIL = "it holds something like an e-mail address"
HOLDS_TELEPHONE = "it holds something like a telephone number"

#: Before this no log was written; a clock is wrong by no more than a day.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
CLOCKS_DIFFER = timedelta(days=1)

#: Something, an @, and a name with a dot.
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(\.[\w-]{1,63})+")
#: A number begins where no letter, digit or sign stands before it, and ends where no letter or digit follows.
_TELEPHONE = re.compile(
    r"""(?<![\w.,+-])(?:
      (?:\+|00)(?:[ ./()-]{0,2}\d){8,15}          # +49 30 901820: + or 00 and 8 to 15 digits
    | \(?0[1-9](?:[ /()-]{0,2}\d){7,11}           # (030) 901820: 0 and 8 to 12 more
    | \(?\d{3}\)?[ ./-]{1,2}\d{3}[ .-]\d{4}      # (555) 123-4567: 3, 3 and 4 digits set apart
    )(?!\w)""",
    re.VERBOSE,
)
_SECONDS = re.compile(r"[0-9]{9,11}(\.[0-9]{1,9})?")
#: pandas writes the whole numbers of a column with gaps as 2.0.
_NUMBER = re.compile(r"([0-9]{1,9})(\.0)?")
_AGREED = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class NewOutput(NamedTuple):
    """One logged answer."""

    place: Place
    #: What was asked; the last message is the user's.
    messages: list[dict[str, str]]
    #: Exactly as it was given, a leading space included.
    answer: str
    lang: str
    #: None where the log does not say.
    written_at: datetime | None
    #: Number of the version that wrote it, None where that is not known.
    version: int | None
    tags: dict[str, Any]


class Refused(NamedTuple):
    """An answer that is not taken in; what it holds is not kept, not even here."""

    place: Place
    reason: str


class Outputs(NamedTuple):
    """What read_outputs found."""

    taken: list[NewOutput]
    refused: list[Refused]
    #: Columns that are not taken in: a log often holds more about people than reviewers need.
    columns_left: list[str]


def contact_in(text: str) -> str | None:
    """HOLDS_EMAIL or HOLDS_TELEPHONE where a text holds something that looks like one, else None.

    Two simple patterns and no more: names, addresses and numbers written in words pass.
    """
    if "@" in text and _EMAIL.search(text):
        return HOLDS_EMAIL
    return HOLDS_TELEPHONE if _TELEPHONE.search(text) else None


def read_outputs(rows: Iterable[Row], *, now: datetime, keep_contacts: bool = False, strict: bool = False) -> Outputs:
    """Every answer of some rows that may be taken in, and which are not. Raises WrongValue or WrongColumns.

    Where any row has the column consent, each must say true. Columns that are not known are left and named, or refused if `strict`.
    """
    found = list(rows)
    by_row = any("consent" in row.values for row in found)
    others = {name: row.place for row in reversed(found) for name in row.values if name not in COLUMNS}
    if strict and others:
        name, place = next(iter(others.items()))
        raise WrongColumns(f"{place}: the field {shortened(name)} is not known; expected some of {', '.join(COLUMNS)}.")
    taken: list[NewOutput] = []
    refused: list[Refused] = []
    for row in found:
        read = Refused(row.place, NO_CONSENT) if by_row and not _agreed(row) else _output(row, now)
        if isinstance(read, NewOutput) and not keep_contacts and (reason := _contact(read)):
            read = Refused(row.place, reason)
        if isinstance(read, Refused):
            refused.append(read)
        else:
            taken.append(read)
    return Outputs(taken, refused, sorted(others))


def _output(row: Row, now: datetime) -> NewOutput | Refused:
    """The answer of a row, or that there is nothing to review."""
    asked, answered = _one_of(row, PROMPT_COLUMNS), _one_of(row, ANSWER_COLUMNS)
    if answered is None or asked is None:
        columns = f"expected {' or '.join(PROMPT_COLUMNS)}, and {' or '.join(ANSWER_COLUMNS)}"
        raise wrong_columns(row, f"{columns}; beside them, if you like, lang, written_at, version, consent, groups, topic, tags")
    answer = row.values[answered]
    if answer is None or (isinstance(answer, str) and not answer.strip()):
        return Refused(row.place, EMPTY_ANSWER)
    prompt = row.values[asked]
    if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
        return Refused(row.place, EMPTY_PROMPT)
    return NewOutput(
        row.place,
        _messages(row.place, asked, prompt),
        text_in(row.place, answered, answer),
        lang_of(row),
        _written(row, now),
        _version(row),
        _tags(row),
    )


def _one_of(row: Row, columns: Sequence[str]) -> str | None:
    """Which of some columns the row fills, the first where all are empty, None where it has none of them."""
    there = [column for column in columns if column in row.values]
    filled = [column for column in there if not _missing(row.values[column])]
    if len(filled) > 1:
        raise WrongValue(f"{row.place}: both {filled[0]} and {filled[1]} are given; expected one of them.")
    return next(iter([*filled, *there]), None)


def _missing(value: Any) -> bool:
    """Nothing was said: null, an empty cell, or the NaN that pandas writes for it."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _messages(place: Place, column: str, value: Any) -> list[dict[str, str]]:
    if column == "prompt" and isinstance(value, str):
        return [{"role": "user", "content": text_in(place, column, value)}]
    return asked_in(place, column, parse_json(value, place) if isinstance(value, str) else value)


def _agreed(row: Row) -> bool:
    """Whether the row says that it may be read; saying nothing is no."""
    value = row.values.get("consent")
    if _missing(value):
        return False
    known = _AGREED.get(str(int(value) if isinstance(value, bool) else value).strip().casefold())
    if known is None or isinstance(value, float):
        raise WrongValue(f"{row.place}: consent is {shortened(value)}; expected true or false.")
    return known


def _written(row: Row, now: datetime) -> datetime | None:
    column = _one_of(row, WRITTEN_COLUMNS)
    value = None if column is None else row.values[column]
    if _missing(value):
        return None
    expected = "expected a moment with its time zone, such as 2026-11-21T09:30:00Z, or seconds since 1970"
    seconds = _seconds(value)
    if seconds is not None:
        low, high = EARLIEST.timestamp(), (now + CLOCKS_DIFFER).timestamp()
        moment = datetime.fromtimestamp(seconds, UTC) if low <= seconds <= high else None
    else:
        moment = _moment(value)
        if moment is not None and moment.utcoffset() is None:
            raise WrongValue(f"{row.place}: {column} is {shortened(value)}, without a time zone; {expected}.")
    if moment is None or not EARLIEST.year <= moment.year <= now.year + 1 or not EARLIEST <= moment <= now + CLOCKS_DIFFER:
        raise WrongValue(f"{row.place}: {column} is {shortened(value)}; {expected}, after 1999 and not in the future.")
    return moment.astimezone(UTC)


def _seconds(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < 1e15 else math.inf
    return float(value) if isinstance(value, str) and _SECONDS.fullmatch(value) else None


def _moment(value: Any) -> datetime | None:
    """The moment of an ISO 8601 text or of Parquet's own timestamp."""
    text = value.isoformat() if isinstance(value, datetime) else value
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _version(row: Row) -> int | None:
    value = row.values.get("version")
    if _missing(value):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e9:
        value = int(value)
    if isinstance(value, str) and (number := _NUMBER.fullmatch(value)):
        value = int(number[1])
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise WrongValue(f"{row.place}: version is {shortened(value)}; expected the number of a version, or nothing if not known.")
    return value


def _tags(row: Row) -> dict[str, Any]:
    packed = row.values.get("tags")
    if isinstance(packed, str) and packed:
        packed = parse_json(packed, row.place)
    if not _missing(packed) and not isinstance(packed, dict):
        raise WrongValue(f"{row.place}: tags is a JSON {json_type(packed)}, {shortened(packed)}; expected an object.")
    tags: dict[str, Any] = packed if isinstance(packed, dict) else {}
    if not _missing(row.values.get("topic")):
        tags = tags | {"topic": text_in(row.place, "topic", row.values["topic"])}
    groups = groups_of(row)
    return tags if groups is None else tags | {"groups": groups}


def _contact(output: NewOutput) -> str | None:
    """The first reason of the prompt, the answer and the tags."""
    texts = [*(message["content"] for message in output.messages), output.answer, *_texts(output.tags)]
    return next((reason for text in texts if (reason := contact_in(text))), None)


def _texts(value: Any) -> list[str]:
    """Every text and number inside a JSON value, keys included, as text."""
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (str(key), *_texts(inner))]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []
