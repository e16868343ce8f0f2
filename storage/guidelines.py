"""The guidelines that reviewers read: Markdown in versions that never change, each in one language or several.

Knows versions and what their words may hold; knows no screen. A new version names what changed, in one line that reviewers are
told; an old one is brought back as a new one. Version 1 comes with Flagback (`guidance_words`).
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from sqlmodel import Session, col, select

from flagback.storage import audit
from flagback.storage.guidance_words import DEFAULT_LANGUAGE, GUIDELINES
from flagback.storage.invisible import visible
from flagback.storage.prompts import check_storable, primary_language
from flagback.storage.records import Guideline
from flagback.storage.store import one_at_a_time

LONGEST_TEXT = 20_000
LONGEST_NOTE = 200
MOST_LANGUAGES = 30
_LANGUAGE = re.compile("[a-z]{2,3}")
_HTML = re.compile("<[A-Za-z/!?]")
_IMAGE = re.compile(r"!\[")
_LINK = re.compile(r"\]\s*\(\s*<?\s*([^)\s>]*)|^ {0,3}\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_SAFE = re.compile("(?:https?://|mailto:)", re.IGNORECASE)
#: What any words that can be shown in several languages are kept as.
Words = TypeVar("Words")


class BadGuideline(ValueError):
    """Words that cannot be a version of the guidelines; nothing is stored."""


class KeptMeanwhile(BadGuideline):
    """Somebody kept a version since the one that the words were written from; nothing is stored."""


class UnknownGuideline(ValueError):
    """There is no such version."""


class Version(NamedTuple):
    """One version."""

    version: int
    #: Primary language subtag -> Markdown.
    texts: dict[str, str]
    default_lang: str
    #: What changed, in one line.
    note: str
    brought_back: int | None
    set_by: str
    #: None for version 1, which comes with Flagback.
    created_at: datetime | None


FIRST = Version(1, GUIDELINES, DEFAULT_LANGUAGE, "The words that Flagback comes with.", None, "Flagback", None)


def in_force(session: Session) -> Version:
    """The newest version."""
    row = session.exec(select(Guideline).order_by(col(Guideline.version).desc()).limit(1)).first()
    return FIRST if row is None else _version(row)


def newest(session: Session) -> int:
    """The newest version's number."""
    return session.exec(select(Guideline.version).order_by(col(Guideline.version).desc()).limit(1)).first() or FIRST.version


def history(session: Session) -> list[Version]:
    """Every version, newest first."""
    return [*map(_version, session.exec(select(Guideline).order_by(col(Guideline.version).desc())).all()), FIRST]


def version(session: Session, number: int) -> Version:
    """One version. Raises UnknownGuideline."""
    row = None if number == FIRST.version else session.get(Guideline, number)
    if row is None and number != FIRST.version:
        raise UnknownGuideline(
            f"There is no version {number} of the guidelines; the newest is {newest(session)}, and 'flagback guidelines history' "
            "lists them all."
        )
    return FIRST if row is None else _version(row)


def notes_since(session: Session, number: int, read: Sequence[str]) -> list[str]:
    """What changed after a version for somebody who reads these languages, oldest first: one line a version.

    A version that left their words as they were is none of them, and where they stand again as they stood there is none at all.
    """
    later = session.exec(select(Guideline).where(Guideline.version >= number).order_by(col(Guideline.version))).all()
    versions = [*([FIRST] if number <= FIRST.version else []), *map(_version, later)]
    words = [one.texts[language_for(one.texts, one.default_lang, read)] for one in versions]
    if not words or words[0] == words[-1]:
        return []
    return [after.note for after, old, new in zip(versions[1:], words, words[1:], strict=False) if old != new]


def words_of(versions: Sequence[Version]) -> dict[str, int]:
    """Language of the newest version -> the version that its words were written for. Takes the history, newest first.

    What was brought back was written for the version that it was brought back from.
    """
    written: dict[int, dict[str, int]] = {}
    before: dict[str, str] = {}
    for one in reversed(versions):
        kept = written[one.brought_back if one.brought_back is not None else one.version - 1] if written else {}
        back = one.brought_back is not None
        written[one.version] = {
            lang: kept[lang] if lang in kept and (back or before.get(lang) == text) else one.version
            for lang, text in one.texts.items()
        }
        before = one.texts
    return written[versions[0].version]


def behind(versions: Sequence[Version]) -> dict[str, int]:
    """The languages whose words are older than those of the first language, with the version that they were written for."""
    written = words_of(versions)
    return {lang: number for lang, number in sorted(written.items()) if number < written[versions[0].default_lang]}


def language_for(words: Mapping[str, Words], default: str, read: Sequence[str]) -> str:
    """Of the languages that something was written in, the first that somebody reads, else the default."""
    return next((lang for lang in map(primary_language, read) if lang in words), default)


def set_text(
    session: Session, text: str, *, lang: str, note: str, by: str, now: datetime, after: int | None = None, default: bool = False
) -> Version:
    """Makes a version whose words in one language are these; those in others stay as they were, no words take a language away.

    `after` is the version that was on the screen while it was written: where another one came in between nothing is stored.
    Raises BadGuideline; the same words again store nothing.
    """
    one_at_a_time(session, "guidelines")
    before = in_force(session)
    if after is not None and after != before.version:
        raise KeptMeanwhile(
            f"Version {before.version} was kept meanwhile, by {before.set_by}: {before.note} Look at it, and write your "
            f"changes into it."
        )
    if not _LANGUAGE.fullmatch(lang):
        raise BadGuideline(f"The language is {lang!r}; expected a primary subtag such as en, es or pt.")
    text = text.replace("\r\n", "\n").strip() + "\n"
    texts = {one: words for one, words in before.texts.items() if one != lang} | ({lang: text} if text.strip() else {})
    chosen = lang if default else before.default_lang
    if chosen not in texts:
        raise BadGuideline(f"Nothing is written in {chosen!r}, the language that whoever reads no other is shown; write something.")
    if text.strip():
        _check(text)
    if len(texts) > MOST_LANGUAGES:
        raise BadGuideline(f"There are words in {len(texts)} languages; at most {MOST_LANGUAGES} are kept.")
    if (texts, chosen) == (before.texts, before.default_lang):
        return before
    return _add(session, texts, chosen, note=note, brought_back=None, by=by, now=now)


def bring_back(session: Session, number: int, *, by: str, now: datetime) -> Version:
    """Makes a new version that says what an old one said. Raises UnknownGuideline, or BadGuideline where it is in force."""
    one_at_a_time(session, "guidelines")
    wanted, before = version(session, number), in_force(session)
    if (wanted.texts, wanted.default_lang) == (before.texts, before.default_lang):
        raise BadGuideline(f"Version {before.version}, which is in force, says what version {number} says; nothing was changed.")
    note = f"Version {number} is back."
    return _add(session, wanted.texts, wanted.default_lang, note=note, brought_back=number, by=by, now=now)


def differences(before: str, after: str) -> list[tuple[str, str]]:
    """Line by line: (" ", "-" or "+", line), of what two texts share, what went and what came."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [(line[0], line[2:]) for line in lines if line[0] in " -+"]


def _add(
    session: Session, texts: dict[str, str], lang: str, *, note: str, brought_back: int | None, by: str, now: datetime
) -> Version:
    note = " ".join(note.split())
    check_storable(by=by, note=note)
    if not note:
        raise BadGuideline("Say in one line what changed: reviewers are told that line.")
    if len(note) > LONGEST_NOTE:
        raise BadGuideline(f"What changed is told in {len(note)} characters; at most {LONGEST_NOTE}, since it is one line.")
    row = Guideline(
        version=newest(session) + 1,
        texts=texts,
        default_lang=lang,
        note=note,
        brought_back=brought_back,
        set_by=by,
        created_at=now,
    )
    session.add(row)
    session.flush()
    details: dict[str, Any] = {"version": row.version, "languages": sorted(texts), "note": note, "brought_back": brought_back}
    audit.record(session, actor=by, action="guidelines set", details=details, now=now)
    return _version(row)


def _check(text: str) -> None:
    """Raises BadGuideline for what no page should draw: raw HTML, pictures, other links than to pages, hidden characters."""
    check_storable(text=text)
    if len(text) > LONGEST_TEXT:
        raise BadGuideline(f"The guidelines have {len(text):,} characters; at most {LONGEST_TEXT:,} are kept in one language.")
    for number, line in enumerate(text.splitlines(), 1):
        if _HTML.search(line):
            raise BadGuideline(
                f"Line {number} holds HTML ({shown(line)}); write Markdown: # headings, - lists, **bold**, *italic*."
            )
        if _IMAGE.search(line):
            raise BadGuideline(
                f"Line {number} holds a picture ({shown(line)}); say it in words, pages load nothing from elsewhere."
            )
        if visible(line.replace("\t", " ")) != line.replace("\t", " "):
            raise BadGuideline(f"Line {number} holds a character that cannot be seen ({shown(visible(line))}); remove it.")
    for found in _LINK.finditer(text):
        address = found[1] if found[1] is not None else found[2]
        if not _SAFE.match(address):
            raise BadGuideline(
                f"A link leads to {shown(address)!r}; expected an address that begins with https://, http:// or mailto:."
            )


def shown(line: str) -> str:
    """The beginning of a line, for a message."""
    return line.strip() if len(line.strip()) <= 60 else line.strip()[:59] + "…"


def _version(row: Guideline) -> Version:
    return Version(row.version, dict(row.texts), row.default_lang, row.note, row.brought_back, row.set_by, row.created_at)
