"""Takes prompts, preferences and reference texts in from files: all of a file, or nothing of it.

A file is read and checked to its end (reading.py, layouts.py) before the first row is written, and everything is written in one
transaction. Knows no format.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlmodel import Session, col, select

from flagback.storage import audit
from flagback.storage.generations import NewGeneration, add_generations, storable
from flagback.storage.layouts import NewPreference, Preferences, Skipped, read_preferences, read_prompts, read_reference_texts
from flagback.storage.preferences import SALT, NewPair, freeze
from flagback.storage.prompts import Added, BadPrompt, NewPrompt, add_prompts, check_storable, text_hash
from flagback.storage.reading import BadImport, Place, WrongValue, shortened
from flagback.storage.records import PreferenceSet, ReferenceText, TextPurpose
from flagback.storage.store import Store

__all__ = [
    "BadImport",
    "ImportReport",
    "NewPreference",
    "NothingToImport",
    "Preferences",
    "Skipped",
    "TextUnderOtherPurpose",
    "import_preferences",
    "import_prompts",
    "import_texts",
    "read_preferences",
    "read_prompts",
]

#: How many skipped records a report names one by one; all are counted.
LISTED = 50
#: How many hashes one SELECT asks for.
_PAGE = 500

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class NothingToImport(BadImport):
    """Every record of the file had to be skipped."""


class TextUnderOtherPurpose(BadImport):
    """A text is already kept for the other purpose: what is trained on is never measured on."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did; every record of the file is in exactly one of added, duplicates and skipped."""

    #: "prompts", "preferences" or "texts".
    kind: str
    file: str
    #: Records in the file.
    rows: int
    #: Records new to the store (for preferences: new pairs of the set).
    added: int
    #: Records equal to an earlier one of the file, or (prompts, texts) of the store.
    duplicates: int
    #: How many were left out, by reason.
    skipped: dict[str, int] = field(default_factory=dict)
    #: The first of them: "FILE, line 7: reason: value".
    skipped_rows: list[str] = field(default_factory=list)
    #: Prompts that preferences brought along and that were new.
    prompts_added: int = 0
    #: The frozen set of a preference import and its fingerprint.
    set_id: int | None = None
    fingerprint: str | None = None
    #: False where the store already had this very set.
    new_set: bool = False


def import_prompts(
    store: Store, path: Path, *, source: str | None = None, licence: str | None = None, trim: bool = False, by: str, now: datetime
) -> ImportReport:
    """Adds a file's prompts in one transaction; exact duplicates are counted and skipped."""
    check_storable(by=by, source=source or "", licence=licence or "")
    prompts = read_prompts(path, source=source, licence=licence, trim=trim)
    with store.writing() as session:
        added = _add(session, path, prompts)
        report = ImportReport("prompts", str(path), rows=len(prompts), added=added.added, duplicates=added.duplicates)
        _record(session, report, by=by, now=now)
    return report


def import_preferences(store: Store, path: Path, *, name: str, by: str, now: datetime) -> ImportReport:
    """Adds a file's pairs in one transaction: prompts, generations of source "imported" and one frozen set "import:<name>".

    The same file again adds nothing and reports the set that is there. A pair that stands twice in the file counts once.
    """
    check_storable(by=by)
    _check_name(path, name)
    found = read_preferences(path)
    reasons = dict(Counter(skip.reason for skip in found.skipped))
    pairs = _without_repeats(found.pairs)
    if not pairs:
        raise NothingToImport(
            f"{path}: none of its {len(found.skipped)} records can be used ({reasons}); expected pairs of two "
            "different answers to one prompt."
        )
    origin = f"import:{name}"
    with store.writing() as session:
        before = set(session.exec(select(PreferenceSet.id)))
        added = _add(
            session, path, [NewPrompt(pair.messages, pair.lang, {"source": name} | pair.tags, pair.split_key) for pair in pairs]
        )
        answers = add_generations(
            session,
            [
                NewGeneration(prompt_id, text, "given", "imported", origin)
                for prompt_id, pair in zip(added.ids, pairs, strict=True)
                for text in (pair.chosen, pair.rejected)
            ],
        )
        frozen = freeze(
            session,
            [
                NewPair("imported", prompt_id, chosen_id, rejected_id, pair.soft_label, pair.weight, [])
                for prompt_id, chosen_id, rejected_id, pair in zip(added.ids, answers[::2], answers[1::2], pairs, strict=True)
            ],
            origin=origin,
            policy="imported",
            policy_version="1",
            arguments={"file": storable(path.name)},
            salt=SALT,
        )
        report = ImportReport(
            "preferences",
            str(path),
            rows=len(found.pairs) + len(found.skipped),
            added=len(pairs),
            duplicates=len(found.pairs) - len(pairs),
            skipped=reasons,
            skipped_rows=[f"{skip.place}: {skip.reason}: {skip.value}" for skip in found.skipped[:LISTED]],
            prompts_added=added.added,
            set_id=frozen.id,
            fingerprint=frozen.fingerprint,
            new_set=frozen.id not in before,
        )
        _record(session, report, by=by, now=now)
    return report


def _add(session: Session, path: Path, prompts: list[NewPrompt]) -> Added:
    """add_prompts, its refusals as those of a file."""
    try:
        return add_prompts(session, prompts)
    except BadPrompt as error:
        raise WrongValue(f"{Place(str(path), error.index + 1, 'usable record')}: {error.what}") from error


def _check_name(path: Path, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise WrongValue(
            f"{path}: the name {shortened(name)} cannot be used; expected 1 to 64 letters, digits, dots, dashes or underscores.",
            todo="choose another --name and run the command again.",
        )


def _without_repeats(pairs: list[NewPreference]) -> list[NewPreference]:
    """The first of each (messages, lang, chosen, rejected), in file order."""
    first: dict[tuple[object, ...], NewPreference] = {}
    for pair in pairs:
        key = (*((message["role"], message["content"]) for message in pair.messages), pair.lang, pair.chosen, pair.rejected)
        first.setdefault(key, pair)
    return list(first.values())


def import_texts(store: Store, path: Path, *, purpose: TextPurpose, name: str, by: str, now: datetime) -> ImportReport:
    """Adds reference texts (a .txt with one text a line; .jsonl or .csv with a column text) in one transaction.

    A text that is there for the same purpose counts as a duplicate; one that is there for the other purpose refuses the file.
    """
    check_storable(by=by)
    _check_name(path, name)
    texts = list(read_reference_texts(path))
    first: dict[str, tuple[Place, str]] = {}
    for place, text in texts:
        first.setdefault(text_hash(text), (place, text))
    hashes = list(first)
    with store.writing() as session:
        there: dict[str, ReferenceText] = {}
        for start in range(0, len(hashes), _PAGE):
            page = select(ReferenceText).where(col(ReferenceText.text_hash).in_(hashes[start : start + _PAGE]))
            there.update({row.text_hash: row for row in session.exec(page)})
        for key, (place, text) in first.items():
            if key in there and there[key].purpose != purpose:
                raise TextUnderOtherPurpose(
                    f"{place}: the text {shortened(text)} is already kept for {there[key].purpose} (as {there[key].name!r}); "
                    f"expected texts for {purpose} that are not: what is trained on is never measured on.",
                    todo="take the line out and run the command again.",
                )
        session.add_all(
            ReferenceText(purpose=purpose, name=name, text=text, text_hash=key)
            for key, (_, text) in first.items()
            if key not in there
        )
        added = len(first) - len(there)
        report = ImportReport("texts", str(path), rows=len(texts), added=added, duplicates=len(texts) - added)
        _record(session, report, by=by, now=now)
    return report


def _record(session: Session, report: ImportReport, *, by: str, now: datetime) -> None:
    details = {
        "file": storable(Path(report.file).name),
        "rows": report.rows,
        "added": report.added,
        "duplicates": report.duplicates,
        "skipped": report.skipped,
        "fingerprint": report.fingerprint,
    }
    audit.record(session, actor=by, action=f"import {report.kind}", details=details, now=now)
