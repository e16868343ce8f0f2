"""Practice before the first answer: made-up answers with what most guidelines would say of them, and why.

Knows sets by version and one person's way through them. It is passed by going through it; what was said is for nobody but the
person, is no review, and is in no figure, queue, set or export: no query over reviews can find it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlmodel import Session, col, select

from flagback.storage import audit
from flagback.storage.guidance_words import DEFAULT_LANGUAGE, PRACTICE, PracticeItem
from flagback.storage.prompts import check_storable, primary_language
from flagback.storage.records import Expected, PracticeAnswer, PracticeRound, PracticeSet
from flagback.storage.store import one_at_a_time
from flagback.storage.taxonomy import CATEGORY_CODES, WITHDRAWING

MOST_ITEMS = 20
LONGEST_TEXT = 2_000
LONGEST_NOTE = 200


class BadPractice(ValueError):
    """Words that cannot be a version of the practice; nothing is stored."""


class KeptMeanwhile(BadPractice):
    """Somebody kept a version since the one that was on the screen; nothing is stored."""


class UnknownPractice(ValueError):
    """There is no such version."""


class OutOfPlace(Exception):
    """An answer to a practice item that is not the next one, or while nobody practises."""


class Version(NamedTuple):
    """One version."""

    version: int
    #: Primary language subtag -> items in order; empty where none is offered.
    items: dict[str, tuple[PracticeItem, ...]]
    default_lang: str
    note: str
    set_by: str
    #: None for version 1, which comes with Flagback.
    created_at: datetime | None


class Way(NamedTuple):
    """One person's way through a round."""

    round_id: int
    lang: str
    items: tuple[PracticeItem, ...]
    #: What was said so far, in order: as many as were answered.
    said: list[tuple[Expected, list[str]]]
    #: Some round was gone through to its end before this one.
    passed: bool


class Round(NamedTuple):
    """One person's round, finished or not."""

    row: PracticeRound
    #: Each item that was answered, with what was said of it, in order.
    said: list[tuple[PracticeItem, PracticeAnswer]]


FIRST = Version(1, PRACTICE, DEFAULT_LANGUAGE, "The answers that Flagback comes with.", "Flagback", None)


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid")
    prompt: str
    answer: str
    verdict: Expected
    categories: list[str] = []
    explanation: str


# ------------------------------------------------------------------------ versions


def in_force(session: Session) -> Version:
    """The newest version."""
    row = session.exec(select(PracticeSet).order_by(col(PracticeSet.version).desc()).limit(1)).first()
    return FIRST if row is None else _version(row)


def history(session: Session) -> list[Version]:
    """Every version, newest first."""
    return [*map(_version, session.exec(select(PracticeSet).order_by(col(PracticeSet.version).desc())).all()), FIRST]


def version(session: Session, number: int) -> Version:
    """One version. Raises UnknownPractice."""
    if number == FIRST.version:
        return FIRST
    row = session.get(PracticeSet, number)
    if row is None:
        raise UnknownPractice(
            f"There is no version {number} of the practice; the newest is {in_force(session).version}, and 'flagback practice "
            "history' lists them all."
        )
    return _version(row)


def parsed(rows: object) -> tuple[PracticeItem, ...]:
    """The items that JSON describes: a list of {"prompt", "answer", "verdict", "categories", "explanation"}. Raises BadPractice."""
    if not isinstance(rows, list):
        raise BadPractice(
            f"The practice is a {type(rows).__name__}; expected a list of items, as 'flagback practice show --json' has."
        )
    found = []
    for number, row in enumerate(rows, 1):
        try:
            given = _Given.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "it"
            raise BadPractice(f"Item {number}, {place}: {first['msg']}.") from error
        found.append(PracticeItem(given.prompt, given.answer, given.verdict, tuple(given.categories), given.explanation))
    return tuple(found)


def set_items(
    session: Session, items: Sequence[PracticeItem], *, lang: str, note: str, by: str, now: datetime, after: int | None = None
) -> Version:
    """Makes a version whose items in one language are these; those in others stay. No items take the language away, and where none
    is left no practice is offered. Who is under way stays with the version they began. Raises BadPractice."""
    one_at_a_time(session, "practice")
    before = in_force(session)
    if after is not None and after != before.version:
        raise KeptMeanwhile(f"Version {before.version} was kept meanwhile, by {before.set_by}: {before.note} Look at it first.")
    if primary_language(lang) != lang or lang == "und":
        raise BadPractice(f"The language is {lang!r}; expected a primary subtag such as en, es or pt.")
    note = " ".join(note.split())
    check_storable(by=by, note=note)
    if not note or len(note) > LONGEST_NOTE:
        raise BadPractice(f"What changed is told in {len(note)} characters; expected 1 to {LONGEST_NOTE}.")
    if len(items) > MOST_ITEMS:
        raise BadPractice(f"There are {len(items)} items; at most {MOST_ITEMS}, since everybody goes through all of them.")
    for number, item in enumerate(items, 1):
        _check(number, item)
    kept = {one: rows for one, rows in before.items.items() if one != lang} | ({lang: tuple(items)} if items else {})
    default = before.default_lang if before.default_lang in kept else next(iter(sorted(kept)), lang)
    if kept == before.items:
        return before
    return _add(session, kept, default, number=before.version + 1, note=note, by=by, now=now)


def bring_back(session: Session, number: int, *, by: str, now: datetime) -> Version:
    """Makes a new version of an old one's items. Raises UnknownPractice, or BadPractice where they are in force."""
    one_at_a_time(session, "practice")
    wanted, before = version(session, number), in_force(session)
    if wanted.items == before.items:
        raise BadPractice(f"Version {before.version}, which is in force, has the items of version {number}; nothing was changed.")
    note = f"Version {number} is back."
    return _add(session, wanted.items, wanted.default_lang, number=before.version + 1, note=note, by=by, now=now)


def _add(
    session: Session,
    items: Mapping[str, Sequence[PracticeItem]],
    default: str,
    *,
    number: int,
    note: str,
    by: str,
    now: datetime,
) -> Version:
    row = PracticeSet(
        version=number,
        items={one: [item._asdict() for item in rows] for one, rows in items.items()},
        default_lang=default,
        note=note,
        set_by=by,
        created_at=now,
    )
    session.add(row)
    session.flush()
    details: dict[str, Any] = {"version": row.version, "items": {one: len(rows) for one, rows in items.items()}, "note": note}
    audit.record(session, actor=by, action="practice set", details=details, now=now)
    return _version(row)


def offer_none(session: Session, *, by: str, now: datetime) -> None:
    """Offers no practice from now on, in no language."""
    for lang in list(in_force(session).items):
        set_items(session, (), lang=lang, note="No practice is offered.", by=by, now=now)


def _check(number: int, item: PracticeItem) -> None:
    for name in ("prompt", "answer", "explanation"):
        text = getattr(item, name)
        check_storable(**{f"{name} of item {number}": text})
        if not text.strip() or len(text) > LONGEST_TEXT:
            raise BadPractice(f"Item {number}: the {name} has {len(text.strip())} characters; expected 1 to {LONGEST_TEXT:,}.")
    unknown = sorted(set(item.categories) - (CATEGORY_CODES - WITHDRAWING))
    if unknown:
        raise BadPractice(
            f"Item {number}: {unknown[0]!r} is no reason to flag; expected some of "
            f"{', '.join(sorted(CATEGORY_CODES - WITHDRAWING))}."
        )
    if bool(item.categories) != (item.verdict == "flag"):
        raise BadPractice(f"Item {number}: a flag needs one reason at least, and what looks fine has none.")


# ------------------------------------------------------------------------- the way


def begin(session: Session, reviewer: str, *, read: Sequence[str], now: datetime) -> Way | None:
    """Begins a round in the first language of `read` that there is a set in, unless one goes on already.

    None where there is none: nobody practises on what they cannot read.
    """
    if (way := under_way(session, reviewer, read=read)) is not None:
        return way
    wanted = in_force(session)
    lang = next((lang for lang in map(primary_language, read) if lang in wanted.items), None)
    if lang is None:
        return None
    if (unread := _open(session, reviewer)) is not None:
        unread.ended_at = now
        session.add(unread)
        session.flush()
    session.add(PracticeRound(reviewer=reviewer, version=wanted.version, lang=lang, begun_at=now))
    session.flush()
    return under_way(session, reviewer, read=read)


def begin_first(session: Session, reviewer: str, *, read: Sequence[str], now: datetime) -> None:
    """Begins the first round of somebody who never practised; who has, is not asked again."""
    if session.exec(select(PracticeRound.id).where(PracticeRound.reviewer == reviewer).limit(1)).first() is None:
        begin(session, reviewer, read=read, now=now)


def under_way(session: Session, reviewer: str, *, read: Sequence[str]) -> Way | None:
    """The round that goes on, None where there is none, or only one in a language that its reader does not read (any more)."""
    row = _open(session, reviewer)
    if row is None or row.lang not in map(primary_language, read):
        return None
    said = session.exec(
        select(PracticeAnswer).where(PracticeAnswer.round_id == row.id).order_by(col(PracticeAnswer.position))
    ).all()
    of = version(session, row.version).items[row.lang]
    return Way(row.id, row.lang, of, [(one.verdict, list(one.categories)) for one in said], passed(session, reviewer))


def rounds(session: Session, reviewer: str) -> list[Round]:
    """Everything that somebody practised, oldest first: for that person."""
    rows = session.exec(select(PracticeRound).where(PracticeRound.reviewer == reviewer).order_by(col(PracticeRound.id))).all()
    found = []
    for row in rows:
        items = version(session, row.version).items[row.lang]
        said = select(PracticeAnswer).where(PracticeAnswer.round_id == row.id).order_by(col(PracticeAnswer.position))
        found.append(Round(row, [(items[one.position], one) for one in session.exec(said).all()]))
    return found


def passed(session: Session, reviewer: str) -> bool:
    """Whether somebody went through to the end of a round; what they said there plays no part."""
    done = select(PracticeRound.id).where(PracticeRound.reviewer == reviewer, col(PracticeRound.finished).is_(True)).limit(1)
    return session.exec(done).first() is not None


def say(
    session: Session, reviewer: str, *, round_id: int, position: int, verdict: Expected, categories: Sequence[str], now: datetime
) -> bool:
    """Keeps what was said of the next item; returns whether that was the last one. The same position again changes nothing.

    Raises OutOfPlace.
    """
    one_at_a_time(session, f"practice {reviewer}")
    row = session.get(PracticeRound, round_id)
    if row is None or row.reviewer != reviewer:
        raise OutOfPlace("That is no practice of yours; reload the page.")
    known = len(session.exec(select(PracticeAnswer.position).where(PracticeAnswer.round_id == round_id)).all())
    size = len(version(session, row.version).items[row.lang])
    if position < known:
        return row.finished
    if row.ended_at is not None or position > known or position >= size:
        raise OutOfPlace(f"Practice item {position + 1} is not the next one; {known} of {size} were answered. Reload the page.")
    codes = [code for code in categories if code in CATEGORY_CODES] if verdict == "flag" else []
    session.add(PracticeAnswer(round_id=round_id, position=position, verdict=verdict, categories=codes, created_at=now))
    if known + 1 == size:
        row.ended_at, row.finished = now, True
        session.add(row)
    session.flush()
    return row.finished


def leave(session: Session, reviewer: str, *, now: datetime) -> bool:
    """Ends a repeated round before its end; returns whether there was one. The first is gone through."""
    row = _open(session, reviewer)
    if row is None or not passed(session, reviewer):
        return False
    row.ended_at = now
    session.add(row)
    session.flush()
    return True


def _open(session: Session, reviewer: str) -> PracticeRound | None:
    going_on = select(PracticeRound).where(PracticeRound.reviewer == reviewer, col(PracticeRound.ended_at).is_(None))
    return session.exec(going_on).first()


def _version(row: PracticeSet) -> Version:
    items = {lang: tuple(_item(one) for one in rows) for lang, rows in row.items.items()}
    return Version(row.version, items, row.default_lang, row.note, row.set_by, row.created_at)


def _item(row: Mapping[str, Any]) -> PracticeItem:
    return PracticeItem(row["prompt"], row["answer"], row["verdict"], tuple(row["categories"]), row["explanation"])
