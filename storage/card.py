"""The columns of an export, and the dataset card that declares them.

Knows column types, how each file format holds them and what `datasets` needs to be told to read them back; knows no query and no
database. The card is Markdown with a YAML head whose values are written as JSON (every JSON value is YAML).
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from flagback.storage.invisible import visible

Format = Literal["jsonl", "csv", "parquet"]

TEXT = pa.string()
NUMBER = pa.int64()
FRACTION = pa.float64()
FLAG = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
TEXTS = pa.list_(pa.string())
NUMBERS = pa.list_(pa.int64())
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SPANS = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("category", pa.string())]))

#: A cell of a nullable CSV column that holds nothing. A text that is itself backslashes and an N gets one more backslash there.
CSV_NULL = "\\N"


#: Words that no Markdown reader takes for anything else; an address may stand among them.
_PLAIN = re.compile(r"(?!\d+[.)])[^\W_]+(?:[.,;:/?%()' +-]+[^\W_]+)*[.)]*")
#: Characters of a source or a licence that a card shows.
LONGEST_SAID = 300


class Column(NamedTuple):
    """One column of an export, declared and never inferred."""

    name: str
    #: Its Arrow type in Parquet; JSONL and CSV hold the nearest thing they have.
    type: pa.DataType
    #: One line for the card.
    meaning: str
    nullable: bool = False


class Split(NamedTuple):
    """One file of an export."""

    #: "reviews", "train" or "heldout": the split's name in `datasets`.
    name: str
    file: str
    rows: int


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The Parquet schema."""
    return pa.schema([pa.field(column.name, column.type, nullable=column.nullable) for column in columns])


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """An Arrow type as `datasets` writes features in a card."""
    if not pa.types.is_list(kind):
        return {"dtype": str(kind) if kind != FRACTION else "float64"}
    inner = kind.value_type
    if pa.types.is_struct(inner):
        return {"list": [{"name": inner.field(i).name, **_feature(inner.field(i).type)} for i in range(inner.num_fields)]}
    return {"list": str(inner)}


def csv_type(column: Column) -> pa.DataType:
    """What a CSV column reads back as: lists are JSON texts, times ISO 8601 texts, whole numbers with gaps are texts too.

    (pandas, which `datasets` reads CSV with, has no whole number that may be missing, and makes floats of them.)
    """
    is_text = pa.types.is_list(column.type) or column.type == TIME or (column.nullable and column.type == NUMBER)
    return TEXT if is_text else column.type


def features(columns: Sequence[Column], file_format: Format) -> list[dict[str, Any]]:
    """`dataset_info.features` of the card."""
    return [{"name": column.name, **_feature(csv_type(column) if file_format == "csv" else column.type)} for column in columns]


def csv_options(columns: Sequence[Column]) -> dict[str, Any]:
    """The options of pandas.read_csv (and so of a `datasets` config) that read a CSV export back as it went."""
    gaps = {column.name: [CSV_NULL] for column in columns if column.nullable}
    return {"keep_default_na": False, **({"na_values": gaps} if gaps else {})}


def _head(columns: Sequence[Column], splits: Sequence[Split], file_format: Format, name: str) -> str:
    config: dict[str, Any] = {
        "config_name": "default",
        "data_files": [{"split": split.name, "path": split.file} for split in splits],
    }
    if file_format == "csv":
        # The CSV loader takes its types from here alone; with those of dataset_info it would guess first and cast afterwards.
        config |= csv_options(columns) | {"features": features(columns, file_format)}
    lines = [
        "---",
        f"pretty_name: {json.dumps(name)}",
        f"tags: {json.dumps(['flagback', 'human-feedback'])}",
        "configs:",
        f"- {json.dumps(config)}",
        "dataset_info:",
        "  features:",
    ]
    lines += [f"  - {json.dumps(feature)}" for feature in features(columns, file_format)]
    return "\n".join([*lines, "---"])


_READING = {
    "parquet": "Parquet holds every value and type exactly.",
    "jsonl": (
        "One JSON object a line, UTF-8, lines ended by a line feed alone; U+2028, U+2029 and U+0085 inside texts are escaped, so "
        "that no reader cuts there. Without the features declared above, readers guess types from the first rows: let `datasets` "
        "read the folder, or pass types yourself (pandas: `read_json(file, lines=True, dtype=False)`). One case no declaration "
        "cures: where every text of a column is a bare date such as 2024-01-01, `datasets` adds a time to it; Parquet and CSV do "
        "not have it."
    ),
    "csv": (
        "Comma-separated, UTF-8, lines ended by a line feed, every text in quotation marks. A missing value is `\\N` without "
        "quotation marks, and only in columns that may be missing; a text there that is itself backslashes and an N has one more "
        "backslash. Lists are JSON texts, times ISO 8601, whole numbers that may be missing are texts. Read it "
        "with `datasets`, which takes the options from the head of this card, or with pandas and the same options. Cells that "
        "begin with = + - or @ are kept as they are: a spreadsheet may run them, so open only a *.spreadsheet.csv there."
    ),
}


def inert(text: str) -> str:
    """A text from outside as Markdown: as it is where nothing of it could be Markdown or HTML, else cut and as code."""
    if len(text) <= LONGEST_SAID and _PLAIN.fullmatch(text) and visible(text) == text:
        return text
    shown = visible(text if len(text) <= LONGEST_SAID else text[: LONGEST_SAID - 1] + "…")
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    return f"{fence} {shown} {fence}"


def card(
    *,
    name: str,
    about: Sequence[str],
    columns: Sequence[Column],
    splits: Sequence[Split],
    file_format: Format,
    facts: Mapping[str, Sequence[str]],
    sources: Mapping[str, int],
) -> str:
    """The README.md of an export. Every figure is counted; nothing is said that the records do not say.

    `facts` are the versions and the like, each with all values found; `sources` counts rows by "source, licence".
    """
    lines = [_head(columns, splits, file_format, name), "", f"# {name}", "", *about, "", "## Files", ""]
    lines += [f"- `{split.file}`: {split.rows:,} rows" for split in splits]
    lines += ["- `manifest.json`: sha256 of every file, and the versions below", "", "## Versions", ""]
    lines += [f"- {key.replace('_', ' ')}: {', '.join(map(inert, values)) or 'none'}" for key, values in facts.items()]
    lines += ["", "## Where the prompts are from", "", "A row is under the terms of its source; Flagback adds none.", ""]
    lines += [f"- {inert(source)}: {count:,} rows" for source, count in sorted(sources.items())]
    lines += ["", "## Reading it", "", _READING[file_format], "", "## Columns", ""]
    lines += ["| column | type | meaning |", "|---|---|---|"]
    for column in columns:
        kind = csv_type(column) if file_format == "csv" else column.type
        may = ", may be missing" if column.nullable else ""
        lines.append(f"| {column.name} | {kind}{may} | {column.meaning} |".replace("<", "&lt;").replace(">", "&gt;"))
    return "\n".join(lines) + "\n"
