"""Exports of reviews, and what every export shares: a folder with data, card and manifest, whole or not at all.

Knows queries and which columns an export has; formats are writers.py's, the card is card.py's. Rows stream in pages by key, each
in a short transaction of its own, so that an export of any size holds up nobody. The same records give the same bytes: no clock,
no order of chance.
"""

import hashlib
import os
import secrets
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import and_, case, func
from sqlalchemy import select as columns_select
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from flagback.storage import background, counting
from flagback.storage.card import (
    FLAG,
    FRACTION,
    MESSAGES,
    NUMBER,
    SPANS,
    TEXT,
    TEXTS,
    TIME,
    Column,
    Format,
    Split,
    card,
)
from flagback.storage.items import shown_generation
from flagback.storage.plain import plain_text
from flagback.storage.quarantine import withdrawn_items
from flagback.storage.records import Generation, Item, ModelVersion, Prompt, Review, SamplingRun
from flagback.storage.store import Store
from flagback.storage.writers import Spreadsheet, Writer, json_text, writer

#: Rows read in one transaction.
PAGE = 5_000
FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet")


class ExportRefused(Exception):
    """An export cannot be made; nothing was written. The message says what was found, expected and to be done."""


class FolderInUse(ExportRefused):
    """The folder to export to holds something."""


class NothingToExport(ExportRefused):
    """There is no row, or no such set."""


class TellsGroups(ExportRefused):
    """The pairs, beside exported reviews, would tell who is of which group."""


class UnknownFormat(ExportRefused):
    """The format is none of FORMATS."""


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote."""

    #: "reviews", "pairs" or "unpaired".
    what: str
    folder: str
    format: str
    #: Rows by file name.
    rows: dict[str, int]
    #: Policy, taxonomy and guideline versions and the like: all values found.
    versions: dict[str, list[str]] = field(default_factory=dict)
    #: Rows of the set that were not written: answers they rest on were left out since the set was frozen.
    left_out: int = 0
    #: sha256 of the manifest, which holds those of all other files.
    manifest_sha256: str = ""


@contextmanager
def written_aside(folder: Path) -> Iterator[Path]:
    """A new folder beside the wanted one, renamed to it at the end; whatever goes wrong, the wanted one is whole or absent.

    A killed process leaves a hidden `.NAME.….part` folder, which may be deleted.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found = "holds files" if folder.is_dir() else "is a file"
        raise FolderInUse(
            f"{folder} {found}; expected a new or empty folder, so that no older export is mixed with this one: "
            "name another one, or empty it first."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{folder.name}.{secrets.token_hex(6)}.part"
    aside.mkdir()
    try:
        yield aside
        for path in [*aside.iterdir(), aside]:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


class Output:
    """The files of one export under way: rows in, and counts, versions and sources for card and manifest."""

    def __init__(self, folder: Path, columns: Sequence[Column], file_format: Format, *, spreadsheet: bool) -> None:
        self._folder, self._columns, self._format, self._spreadsheet = folder, columns, file_format, spreadsheet
        self._writers: dict[str, list[Writer]] = {}
        self._closing = ExitStack()
        self.rows: Counter[str] = Counter()
        self.found: dict[str, set[str]] = defaultdict(set)
        self.sources: Counter[str] = Counter()

    def write(self, split: str, rows: Sequence[dict[str, Any]]) -> None:
        """Appends rows to the file of a split, which is made with its first rows."""
        if not rows:
            return
        if split not in self._writers:
            made: list[Writer] = [writer(self._folder / self._file(split), self._columns, self._format)]
            if self._spreadsheet:
                made.append(Spreadsheet(self._folder / f"{split}.spreadsheet.csv", self._columns))
            self._writers[split] = [self._closing.enter_context(each) for each in made]
        for each in self._writers[split]:
            each.write(rows)
        self.rows[split] += len(rows)
        for row in rows:
            for key in ("policy_version", "taxonomy_version", "guideline_version"):
                self.found[key].add(row[key])

    def _file(self, split: str) -> str:
        return f"{split}.{self._format}"

    def close(self) -> None:
        """Closes the data files, whole or not."""
        self._closing.close()

    def finish(self, *, what: str, name: str, about: Sequence[str], facts: dict[str, list[str]]) -> tuple[dict[str, int], str]:
        """Closes the data files, writes card and manifest; returns rows by file, and the manifest's sha256."""
        self.close()
        splits = [Split(split, self._file(split), self.rows[split]) for split in self._writers]
        facts |= {key: sorted(values) for key, values in self.found.items()} | {"flagback": [version("flagback")]}
        text = card(
            name=name,
            about=about,
            columns=self._columns,
            splits=splits,
            file_format=self._format,
            facts=facts,
            sources=self.sources,
        )
        (self._folder / "README.md").write_text(text, encoding="utf-8", newline="\n")
        rows = {split.file: split.rows for split in splits}
        files = {
            path.name: {"sha256": _sha256(path), "bytes": path.stat().st_size, "rows": rows.get(path.name)}
            for path in sorted(self._folder.iterdir())
        }
        manifest = {"flagback_export": 1, "what": what, "format": self._format, "versions": facts, "files": files}
        path = self._folder / "manifest.json"
        path.write_text(json_text(manifest) + "\n", encoding="utf-8", newline="\n")
        return rows, _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_format(file_format: str, spreadsheet: bool) -> None:
    if file_format not in FORMATS:
        raise UnknownFormat(f"The format {file_format!r} is not known; expected one of {', '.join(FORMATS)}.")
    if spreadsheet and file_format != "csv":
        raise UnknownFormat(f"A copy for spreadsheets goes with the format csv, not with {file_format}; ask for csv.")


def source_of(tags: dict[str, Any]) -> str:
    return f"{tags.get('source') or 'source not given'}, {tags.get('licence') or 'licence not given'}"


# ------------------------------------------------------------------------- reviews

REVIEW_COLUMNS = (
    Column("review_id", NUMBER, "number of the review in its installation"),
    Column("item_id", NUMBER, "what was judged; several reviewers answer one item"),
    Column(
        "item_kind", TEXT, "single = one response was shown; gold and repeat likewise, but asked a second time (only where wanted)"
    ),
    Column(
        "purpose",
        TEXT,
        "loop = to learn from; blind = fresh samples of two versions, judged without knowing which; check = asked a second time",
    ),
    Column("prompt", TEXT, "the prompt as plain text"),
    Column("prompt_messages", MESSAGES, "the prompt as it is: messages with role and content"),
    Column("lang", TEXT, "BCP 47, und where unknown"),
    Column("groups", TEXTS, "groups the prompt is about"),
    Column("tags", TEXT, "all tags of the prompt, as JSON"),
    Column("prompt_hash", TEXT, "sha256 of messages and language: equal prompts have equal hashes everywhere"),
    Column("shard", NUMBER, "0-69 may be trained on, 70-99 are held out; fixed at import"),
    Column("response", TEXT, "the judged text exactly as stored, a leading space included", nullable=True),
    Column("finish_reason", TEXT, "end, length (cut) or given (from a file or a person)", nullable=True),
    Column("model_version", NUMBER, "number of the version that wrote it", nullable=True),
    Column("model_fingerprint", TEXT, "sha256 over that version's weights", nullable=True),
    Column("sampling_seed", NUMBER, "seed of the sampling run", nullable=True),
    Column("pseudonym", TEXT, "the reviewer, by keyed pseudonym; no account is in any export"),
    Column("verdict", TEXT, "flag, fine or skip; left, right, equal or both_bad for pairs"),
    Column("categories", TEXTS, "what is wrong, codes of the taxonomy version, main one first"),
    Column("targets", TEXTS, "who is hit"),
    Column("target_other", TEXT, "who is hit, in the reviewer's words", nullable=True),
    Column("severity", TEXT, "slight, clear or severe", nullable=True),
    Column("sure", FLAG, "false where the reviewer was unsure"),
    Column("spans", SPANS, "marked parts of the response: code points, end exclusive"),
    Column("rewrite", TEXT, "the reviewer's better wording", nullable=True),
    Column("note", TEXT, "the reviewer's note", nullable=True),
    Column("skip_reason", TEXT, "why it was skipped", nullable=True),
    Column("seconds_open", FRACTION, "how long it was open in a visible tab", nullable=True),
    Column("late", FLAG, "answered after the reviewer's claim had run out; counted all the same"),
    Column("supersedes", NUMBER, "the earlier review that this one corrects", nullable=True),
    Column("superseded", FLAG, "true where a later review corrects this one: leave these out to count each answer once"),
    Column(
        "left_out",
        FLAG,
        "true where somebody answerable for the panel left the answer out, with a reason on record: no figure, set or other "
        "export counts it, so leave it out too",
    ),
    Column("policy_version", TEXT, "how votes become one judgement, and the policy of overlap that the answer was under"),
    Column("taxonomy_version", TEXT, "which categories were offered"),
    Column("guideline_version", TEXT, "which guideline the reviewer had"),
    Column("simulated", FLAG, "true for a rehearsal's simulated reviewers; an export holds either people's reviews or these"),
    Column("created_at", TIME, "when it was stored, UTC"),
)


#: Only in an export that was asked for with background.
BACKGROUND_COLUMN = Column(
    "reviewer_background",
    TEXT,
    "the reviewer's background as JSON, {question: answer}: of those who agreed to its export, and only answers whose every "
    "combination at least five reviewers of this export share",
    nullable=True,
)


def export_reviews(
    store: Store,
    folder: Path,
    *,
    format: Format,
    simulated: bool = False,
    spreadsheet: bool = False,
    background_key: bytes | None = None,
    second_looks: bool = False,
) -> ExportReport:
    """Writes all reviews of people (or, with `simulated`, of simulated reviewers) to a new folder, superseded ones marked.

    What was asked a second time (gold, own earlier answers) is among them with `second_looks` only, marked by item_kind.

    `spreadsheet` adds a CSV copy for people, with formulas made harmless. `background_key`, the pseudonym key, adds the column
    reviewer_background. Raises ExportRefused.
    """
    check_format(format, spreadsheet)
    columns = REVIEW_COLUMNS if background_key is None else (*REVIEW_COLUMNS, BACKGROUND_COLUMN)
    known = {} if background_key is None else _background(store, background_key, simulated=simulated)
    with written_aside(folder) as aside:
        output = Output(aside, columns, format, spreadsheet=spreadsheet)
        try:
            for page in _review_pages(store, simulated=simulated, second_looks=second_looks):
                output.sources.update(source_of(found["tags"]) for found in page)
                exported = [_review_row(found) for found in page]
                for row in exported if background_key is not None else ():
                    row["reviewer_background"] = known.get(row["pseudonym"])
                output.write("reviews", exported)
        finally:
            output.close()
        if not output.rows:
            whose = "of a rehearsal's simulated reviewers" if simulated else "by people"
            raise NothingToExport(f"There is no review {whose} to export; review some items first ('flagback serve').")
        about = [
            "What reviewers said about a model's answers, one row a review, exported by Flagback.",
            "Corrected answers are kept, and so are those that were left out: the columns superseded and left_out mark them.",
        ]
        if second_looks:
            about.append(
                "\nRows whose item_kind is gold or repeat tell how steadily one person judges; leave them out of every "
                "figure about "
                "answers."
            )
        if simulated:
            about.append("\n**The reviewers are simulated: a rehearsal's rules, no people.**")
        rows, manifest = output.finish(what="reviews", name="Flagback reviews", about=about, facts={})
    versions = {key: sorted(values) for key, values in output.found.items()}
    return ExportReport("reviews", str(folder), format, rows, versions, manifest_sha256=manifest)


def _background(store: Store, key: bytes, *, simulated: bool) -> dict[str, str]:
    """What may stand beside the reviews, by pseudonym: small groups are reckoned among those who stand in this export."""
    with store.reading() as session:
        reviewers = session.exec(select(Review.reviewer).where(col(Review.simulated) == simulated).distinct()).all()
        shown = background.shareable(session, key, reviewers)
    return {reviewer: json_text(answers) for reviewer, answers in shown.items()}


#: Columns of the review row that stand in the export under their own name.
_AS_STORED = (
    "item_id",
    "verdict",
    "categories",
    "targets",
    "target_other",
    "severity",
    "sure",
    "spans",
    "rewrite",
    "note",
    "skip_reason",
    "seconds_open",
    "late",
    "supersedes",
    "policy_version",
    "taxonomy_version",
    "guideline_version",
    "simulated",
    "created_at",
)


def _review_pages(store: Store, *, simulated: bool, second_looks: bool) -> Iterator[list[dict[str, Any]]]:
    """Pages of joined columns by rising review id, up to the newest review of the moment it began."""
    with store.reading() as session:
        top = session.exec(select(func.max(col(Review.id)))).one() or 0
    later = aliased(Review)
    wanted = (
        columns_select(
            col(Review.id).label("review_id"),
            col(Review.reviewer).label("pseudonym"),
            *(getattr(Review, name).label(name) for name in _AS_STORED),
            col(later.id).label("later"),
            case((counting.counts(), 0), else_=1).label("left_out"),
            col(Item.kind).label("item_kind"),
            col(Item.purpose).label("purpose"),
            col(Prompt.messages).label("prompt_messages"),
            col(Prompt.lang).label("lang"),
            col(Prompt.tags).label("tags"),
            col(Prompt.content_hash).label("prompt_hash"),
            col(Prompt.shard).label("shard"),
            col(Generation.text).label("response"),
            col(Generation.finish_reason).label("finish_reason"),
            col(Generation.version_id).label("model_version"),
            col(ModelVersion.fingerprint).label("model_fingerprint"),
            col(SamplingRun.decoding).label("decoding"),
        )
        .join(Item, col(Item.id) == col(Review.item_id))
        .join(Prompt, col(Prompt.id) == col(Item.prompt_id))
        .outerjoin(Generation, col(Generation.id) == shown_generation())
        .outerjoin(ModelVersion, col(ModelVersion.id) == col(Generation.version_id))
        .outerjoin(SamplingRun, col(SamplingRun.id) == col(Generation.sampling_run_id))
        .outerjoin(later, and_(col(later.supersedes) == col(Review.id), col(later.id) <= top))
        .where(col(Review.simulated) == simulated, col(Review.id) <= top, col(Review.item_id).not_in(withdrawn_items()))
        .order_by(col(Review.id))
        .limit(PAGE)
    )
    if not second_looks:
        wanted = wanted.where(col(Item.purpose) != "check")
    last = 0
    while True:
        with store.reading() as session:
            rows = session.connection().execute(wanted.where(col(Review.id) > last))
            page = [dict(row) for row in rows.mappings()]
        if not page:
            return
        yield page
        last = page[-1]["review_id"]


def _review_row(found: dict[str, Any]) -> dict[str, Any]:
    """An exported row of the columns that were found."""
    decoding, tags = found.pop("decoding"), found["tags"]
    return found | {
        "prompt": plain_text(found["prompt_messages"]),
        "groups": _groups(tags),
        "tags": json_text(tags),
        "sampling_seed": None if decoding is None else decoding.get("seed"),
        "superseded": found.pop("later") is not None,
        "left_out": bool(found["left_out"]),
        "spans": [{"start": span["start"], "end": span["end"], "category": span.get("category")} for span in found["spans"]],
    }


def _groups(tags: dict[str, Any]) -> list[str]:
    groups = tags.get("groups") or []
    return [str(group) for group in (groups if isinstance(groups, list) else [groups])]
