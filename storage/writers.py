"""Writes rows of declared columns into a file: JSON lines, CSV or Parquet. Knows no query and no card.

Every writer takes rows as dicts of plain values (datetimes with zone, lists, None) and loses nothing of them.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from flagback.storage.card import CSV_NULL, Column, Format, arrow_schema
from flagback.storage.invisible import CANDIDATE

#: Where readers other than JSON's see a line end; JSON allows their escapes anywhere in a text.
_LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_LIKE_NULL = re.compile(r"\\+N")
#: What parts cells or rows where a spreadsheet reads ";" or tabs: a formula may begin behind it too.
_PARTS = ";\t\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
#: What spreadsheets may pass over before a formula: blanks, quotation marks, what cannot be seen.
_PASSED_OVER = "\\s;\"'‘’“”`´" + CANDIDATE.pattern[1:-1]
#: A sign that begins a formula, wide and small forms too, and what stands before it. Linear: it looks at each run once.
_FORMULA = re.compile(f"(?<![{_PASSED_OVER}])([{_PASSED_OVER}]*+)([=+\\-@＝＋－＠﹦﹢﹣﹫−])")
#: Characters of one cell that spreadsheets take; what is over runs on into other cells.
LONGEST_CELL = 32_000


class Writer(Protocol):
    """A file under way; use it in a with statement."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows; keys beyond the declared columns are an error of ours."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def iso(moment: datetime) -> str:
    """A moment with its zone, microseconds always written: "2026-02-03T04:05:06.000007+00:00"."""
    return moment.isoformat(timespec="microseconds")


def json_text(value: Any) -> str:
    """JSON, readable (not ASCII-only), with no character that any reader takes for a line end."""
    text = _ENCODER.encode(value)
    if not text.isascii():
        for character, escape in _LINE_ENDS.items():
            text = text.replace(character, escape)
    return text


def _encodable(value: object) -> str:
    assert isinstance(value, datetime), value  # nosec B101 # JSON of ours holds no other kind
    return iso(value)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_encodable)


class _TextFile:
    """Shared by the two text formats: opens, counts columns, closes."""

    def __init__(self, path: Path, columns: Sequence[Column], *, encoding: str = "utf-8") -> None:
        self._columns = list(columns)
        self._file = path.open("w", encoding=encoding, newline="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


class JsonLines(_TextFile):
    """One object a line, keys in the columns' order."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows."""
        names = [column.name for column in self._columns]
        self._file.writelines(json_text({name: row[name] for name in names}) + "\n" for row in rows)


class Csv(_TextFile):
    """Texts always quoted, missing values \\N unquoted in nullable columns only."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        super().__init__(path, columns)
        self._file.write(",".join(_quoted(column.name) for column in columns) + "\n")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows."""
        names = [(column.name, column) for column in self._columns]
        self._file.writelines(",".join([_cell(row[name], column) for name, column in names]) + "\n" for row in rows)


class Spreadsheet(_TextFile):
    """A copy for people: a byte order mark for spreadsheet programs, an apostrophe before what they would run as a formula."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        super().__init__(path, columns, encoding="utf-8-sig")
        self._file.write(",".join(_quoted(column.name) for column in columns) + "\n")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows."""
        self._file.writelines(",".join(_harmless(row[column.name]) for column in self._columns) + "\n" for row in rows)


class Parquet:
    """Declared Arrow types; one row group a call of write."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._schema = arrow_schema(columns)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends rows."""
        self._writer.write_table(pa.Table.from_pylist(list(rows), schema=self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()


def writer(path: Path, columns: Sequence[Column], file_format: Format) -> Writer:
    """The writer of a format."""
    made: dict[str, type[JsonLines] | type[Csv] | type[Parquet]] = {"jsonl": JsonLines, "csv": Csv, "parquet": Parquet}
    return made[file_format](path, columns)


def _quoted(text: str) -> str:
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if '"' in text else f'"{text}"'


def _unquoted(value: Any) -> str | None:
    """A number or a truth value as CSV holds it, None for what stands in quotation marks."""
    if value is True or value is False:
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else None


def _plain(value: Any) -> str:
    """Text, time or list as text, before quotation marks."""
    if isinstance(value, str):
        return value
    return iso(value) if isinstance(value, datetime) else json_text(value) if value else "[]"


def _cell(value: Any, column: Column) -> str:
    if value is None:
        assert column.nullable, f"the column {column.name} was declared as never missing"  # nosec B101 # the declaration is ours
        return CSV_NULL
    if bare := _unquoted(value):
        return bare
    text = _plain(value)
    return _quoted("\\" + text if column.nullable and text.endswith("N") and _LIKE_NULL.fullmatch(text) else text)


def _harmless(value: Any) -> str:
    if value is None:
        return ""
    if bare := _unquoted(value):
        return bare
    return _quoted(harmless(_plain(value)))


def harmless(text: str) -> str:
    """A text that no spreadsheet runs: an apostrophe before each place where a formula could begin; cut where a cell ends."""
    if len(text) > LONGEST_CELL:
        text = f"{text[:LONGEST_CELL]}… ({len(text):,} characters; the whole text is in the exact file)"
    made = _FORMULA.sub(_apostrophe, text)
    return f"'{made}" if text.startswith(("\t", "\r")) and made == text else made


def _apostrophe(found: re.Match[str]) -> str:
    """One before all that a program may pass over at the start, and one before a sign that may begin a cell inside the text."""
    before, sign = found.groups()
    parted = "'" if any(character in _PARTS for character in before) else ""
    return f"{'' if found.start() else chr(39)}{before}{parted}{sign}"
