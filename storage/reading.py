"""Reads files from outside, record by record: JSON lines, CSV, Parquet, one JSON document, plain lines; gzipped or not.

Knows bytes, lines and limits, and says where a file is broken; knows nothing of what a record means. Lines end at \\n only:
U+2028, U+0085 and a lone \\r inside a text are part of the text (str.splitlines would cut there).
"""

import csv
import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

#: No line (and no CSV record, which may span lines) may be longer. A text this long fits no model.
MAX_LINE_BYTES = 4 * 2**20
#: A JSON document is read whole, so the whole file has a limit.
MAX_DOCUMENT_BYTES = 128 * 2**20
#: The lines of one file together, decompressed: a small .gz can hold a very large text.
MAX_FILE_BYTES = 2 * 2**30

#: JSON may be nested so deep: whatever walks a value later stays far from Python's own limit.
DEEPEST = 100

#: What a JSON text holds where a string of it may need a second look: an escaped NUL or half a surrogate pair.
_SUSPECT = re.compile(r"\\u(0000|[dD][89a-fA-F])")


class BadImport(Exception):
    """A file was refused; nothing of it was stored. The message names file, line, value, what was expected, and what to do."""

    def __init__(self, what: str, *, todo: str = "correct the file and run the same command again.") -> None:
        super().__init__(f"{what} Nothing was stored; {todo}")
        #: What is wrong and what was expected, without what to do.
        self.what = what


class UnusableFile(BadImport):
    """The file is missing, is no file, or is of a kind that is not read."""


class EmptyFile(BadImport):
    """The file holds no record."""


class NotUtf8(BadImport):
    """The file holds bytes that are not UTF-8."""


class TooLong(BadImport):
    """A line, a record or the file is over its limit."""


class BrokenRecord(BadImport):
    """A line is not the JSON or CSV that it should be."""


class WrongColumns(BadImport):
    """The file's columns (or a record's keys) are not those expected."""


class WrongValue(BadImport):
    """A value has the wrong type or lies outside what is allowed."""


class Place(NamedTuple):
    """Where something stands; reads as "prompts.csv, line 12"."""

    #: The file's path as it was given.
    file: str
    #: 1-based; None where the whole file is meant.
    line: int | None = None
    #: What is counted: a record inside a JSON document has no line of its own.
    unit: str = "line"

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}, {self.unit} {self.line}"


class Row(NamedTuple):
    """One record and where it stood."""

    place: Place
    values: dict[str, Any]


class _Line(NamedTuple):
    number: int
    #: With its \n, if it has one.
    raw: bytes
    text: str


def shortened(value: object, limit: int = 60) -> str:
    """A value for an error message: its repr, cut in the middle."""
    shown = repr(value)
    return shown if len(shown) <= limit else f"{shown[: limit - 15]}…{shown[-14:]}"


def kind_of(path: Path) -> str:
    """ "jsonl", "csv", "json", "txt" or "parquet" by the name's ending (.gz aside). Raises UnusableFile."""
    if not path.exists():
        raise UnusableFile(f"{path}: there is no such file.", todo="check the path and run the command again.")
    if not path.is_file():
        raise UnusableFile(f"{path} is not a file (a folder?); a file was expected.", todo="name one and run the command again.")
    name = path.name.lower().removesuffix(".gz")
    for kind, endings in {
        "jsonl": (".jsonl", ".ndjson"),
        "csv": (".csv",),
        "json": (".json",),
        "txt": (".txt",),
        "parquet": (".parquet",),
    }.items():
        if name.endswith(endings):
            return kind
    raise UnusableFile(
        f"{path}: the ending {path.suffix!r} is not read; expected .jsonl, .csv, .parquet, .json or .txt.",
        todo="rename or convert the file and run the command again.",
    )


def _opened(path: Path) -> BinaryIO:
    """The file's bytes, decompressed where its first two bytes say gzip, whatever its name."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")


@contextmanager
def _unpacking(path: Path) -> Iterator[BinaryIO]:
    """The open file; broken gzip data raises UnusableFile."""
    try:
        with _opened(path) as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnusableFile(
            f"{path}: the gzip data is broken or cut short ({error}); expected a whole .gz.",
            todo="fetch the file again ('gzip -t FILE' checks it) and run the command again.",
        ) from error


def _lines(path: Path) -> Iterator[_Line]:
    """The lines, decoded; never holds more than one line of at most the limit in memory."""
    number = offset = 0
    with _unpacking(path) as file:
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            place = Place(str(path), number)
            if len(raw) > MAX_LINE_BYTES:
                begin = shortened(raw[:40].decode("utf-8", "replace"))
                raise TooLong(
                    f"{place}, which begins {begin}, is longer than {MAX_LINE_BYTES:,} bytes, the limit of a line; "
                    "expected one record a line."
                )
            if offset + len(raw) > MAX_FILE_BYTES:
                raise TooLong(
                    f"{place}: the file is longer than {MAX_FILE_BYTES:,} bytes (unpacked), the limit of an import.",
                    todo="split the file and import the parts.",
                )
            yield _Line(number, raw, decoded(raw, place, offset))
            offset += len(raw)


def decoded(raw: bytes, place: Place, offset: int) -> str:
    """The text of bytes that begin at `offset` of the (decompressed) file; a byte order mark at its start is dropped."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = (place.line or 1) + raw.count(b"\n", 0, error.start)
        hint = " (the file looks like UTF-16)" if offset == 0 and raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise NotUtf8(
            f"{Place(place.file, line)}: byte {offset + error.start} of the file, 0x{raw[error.start]:02x}, is no UTF-8"
            f"{hint}; expected UTF-8 throughout.",
            todo="convert the file ('iconv -f ENCODING -t UTF-8') and run the command again.",
        ) from error
    if "\x00" in text:
        line = (place.line or 1) + raw.count(b"\n", 0, raw.index(0))
        at = offset + raw.index(0)
        raise BrokenRecord(f"{Place(place.file, line)}: byte {at} of the file is NUL (0x00); expected text without it.")
    return text.removeprefix("\ufeff") if offset == 0 else text


# ------------------------------------------------------------------------- JSON


def parse_json(text: str, place: Place) -> Any:
    """The JSON value of a text. Refuses what cannot be stored as it is: NaN, Infinity, a key twice, NUL, half surrogates."""
    try:
        value = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        at = place if place.line else Place(place.file, error.lineno)
        expected = (
            "expected one JSON document (a file of one object a line is to end in .jsonl)"
            if place.line is None and error.msg == "Extra data"
            else "expected one whole JSON value"
        )
        where = f"{error.msg}, column {error.colno}"
        raise BrokenRecord(f"{at}: not JSON ({where}): {shortened(text.strip())}; {expected}.") from error
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BrokenRecord(
            f"{place}: JSON that cannot be kept as it is ({why}): {shortened(text.strip())}; expected plain JSON."
        ) from error
    if text.count("[") + text.count("{") > DEEPEST and _depth_over(value, DEEPEST):
        raise BrokenRecord(f"{place}: JSON nested more than {DEEPEST} deep: {shortened(text.strip())}; expected plain JSON.")
    if _SUSPECT.search(text):
        _refuse_unstorable(value, place)
    return value


def _depth_over(value: Any, deepest: int) -> bool:
    """Whether lists and objects stand more than `deepest` inside each other; without recursion, which would find out by failing."""
    level: list[Any] = [value]
    for _ in range(deepest + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits} is too large")
    return number


def _refuse_unstorable(value: Any, place: Place) -> None:
    """Walks a JSON value for texts that no database keeps: NUL (PostgreSQL) and half surrogate pairs (UTF-8)."""
    if isinstance(value, str):
        if "\x00" in value:
            raise WrongValue(f"{place}: a text holds NUL (\\u0000): {shortened(value)}; expected text without it.")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise WrongValue(f"{place}: a text holds half a surrogate pair: {shortened(value)}; expected whole characters.")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _refuse_unstorable(key, place)
            _refuse_unstorable(inner, place)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_unstorable(inner, place)


def read_jsonl(path: Path) -> Iterator[Row]:
    """One JSON object a line; lines of white space only are passed over. Raises EmptyFile where there is none."""
    found = False
    for line in _lines(path):
        if not line.text.strip():
            continue
        place = Place(str(path), line.number)
        values = parse_json(line.text.rstrip("\r\n"), place)
        if not isinstance(values, dict):
            raise BrokenRecord(f"{place}: a JSON {json_type(values)}, {shortened(line.text.strip())}; expected an object a line.")
        found = True
        yield Row(place, values)
    if not found:
        raise EmptyFile(f"{path} holds no record; expected one JSON object a line.")


def read_document(path: Path) -> Any:
    """The one JSON value of a file, read whole."""
    with _unpacking(path) as file:
        raw = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise TooLong(
            f"{path} is longer than {MAX_DOCUMENT_BYTES:,} bytes, the limit of one JSON document.",
            todo="write it as JSON lines (.jsonl), which are read line by line, and run the command again.",
        )
    if not raw.strip():
        raise EmptyFile(f"{path} is empty; expected one JSON document.")
    place = Place(str(path))
    return parse_json(decoded(raw, place, 0), place)


def json_type(value: object) -> str:
    """What JSON calls the value's type, for error messages."""
    if value is None:
        return "null"
    for kinds, name in (((bool,), "boolean"), ((int, float), "number"), ((str,), "string"), ((list,), "array")):
        if isinstance(value, kinds):
            return name
    return "object"


# ------------------------------------------------------------------------- CSV, Parquet and plain lines


class _Feed:
    """Hands lines to csv.reader and keeps where the record under way began and how long it is."""

    def __init__(self, path: Path) -> None:
        self._lines = _lines(path)
        self._bytes = 0
        self._file = str(path)
        self.first = 1
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number = line.number
            self._bytes += len(line.raw)
            if self._bytes > MAX_LINE_BYTES:
                raise TooLong(
                    f"{self.place}: the record that begins here is longer than {MAX_LINE_BYTES:,} bytes, the limit "
                    "of a record; is a quotation mark never closed?"
                )
            yield line.text

    @property
    def place(self) -> Place:
        """Where the record under way began."""
        return Place(self._file, self.first)

    def next_record(self) -> None:
        """The record under way is complete."""
        self._bytes = 0
        self.first = self.number + 1


def read_csv(path: Path) -> Iterator[Row]:
    """Records of a CSV file with a header, comma-separated, texts quoted as in RFC 4180. Every value is the cell's exact text.

    Raises EmptyFile where there is no record, WrongColumns for an unusable header, BrokenRecord for a record of another width.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    feed = _Feed(path)
    reader = csv.reader(feed, strict=True)
    header: list[str] | None = None
    found = False
    while True:
        feed.next_record()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            upto = f" to {feed.number}" if feed.number > feed.first else ""
            raise BrokenRecord(
                f"{feed.place}{upto}: not CSV ({error}); expected cells separated by commas, a text with a comma, "
                'a line end or a quotation mark in quotation marks, and those inside it doubled ("").'
            ) from error
        if cells is None:
            break
        if not cells:
            continue
        if header is None:
            header = _checked_header(cells, feed.place)
            continue
        if len(cells) != len(header):
            raise BrokenRecord(
                f"{feed.place}: {len(cells)} cells where the header has {len(header)} ({', '.join(header)}): "
                f"{shortened(cells)}; expected one cell a column, a text with a comma in quotation marks."
            )
        found = True
        yield Row(feed.place, dict(zip(header, cells, strict=True)))
    if not found:
        raise EmptyFile(f"{path} holds no record{'' if header is None else ' below its header'}; expected a header and records.")


def _checked_header(cells: list[str], place: Place) -> list[str]:
    header = [cell.strip() for cell in cells]
    if len(header) == 1 and re.search(r"[;\t|]", header[0]):
        raise WrongColumns(f"{place}: one column, {shortened(header[0])}; expected columns separated by commas.")
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise WrongColumns(f"{place}: the column {twice!r} stands twice in the header; expected every name once.")
    return header


def read_parquet(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file, values as Python's own. Raises EmptyFile where there is none."""
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1_000):
                for values in batch.to_pylist():
                    number += 1
                    place = Place(str(path), number, "row")
                    _refuse_unstorable(values, place)
                    yield Row(place, values)
    except UnicodeDecodeError as error:
        raise NotUtf8(
            f"{path}, after row {number}: a text holds the byte 0x{error.object[error.start]:02x} where UTF-8 has none; expected "
            "UTF-8 throughout (half a surrogate pair is not).",
            todo="write the file again from whole texts and run the command again.",
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise UnusableFile(
            f"{path}, after row {number}: not Parquet, or cut short ({error}); expected a whole Parquet file.",
            todo="fetch the file again and run the command again.",
        ) from error
    if not number:
        raise EmptyFile(f"{path} holds no row; expected at least one.")


def read_rows(path: Path) -> Iterator[Row]:
    """The records of a .jsonl, .csv or .parquet file. Raises UnusableFile for any other kind."""
    kind = kind_of(path)
    readers = {"jsonl": read_jsonl, "csv": read_csv, "parquet": read_parquet}
    if kind not in readers:
        raise UnusableFile(
            f"{path}: records with columns are read from .jsonl, .csv and .parquet, not from .{kind}.",
            todo="convert the file and run the command again.",
        )
    return readers[kind](path)


def read_texts(path: Path) -> Iterator[tuple[Place, str]]:
    """The lines of a text file without their line ends; lines of white space only are passed over."""
    found = False
    for line in _lines(path):
        if line.text.strip():
            found = True
            yield Place(str(path), line.number), line.text.removesuffix("\n").removesuffix("\r")
    if not found:
        raise EmptyFile(f"{path} holds no text; expected one text a line.")
