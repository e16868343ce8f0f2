"""Gold: answers of which people agree what is to be said, for second looks (`second_looks`).

Knows which answers may be gold, and what was said of those that are; who meets them is a claim's business. A lead chooses them from
what everybody judged alike, or they come from a file with what is to be said. Nobody's standing follows from them by itself.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import and_, case, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage import audit, counting, quarantine
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.prompts import NewPrompt, add_prompts, check_storable, primary_language
from flagback.storage.records import Expected, Generation, Gold, GoldSource, Item, Prompt, Review, SecondLook
from flagback.storage.store import one_at_a_time

#: Judged alike by so many, an answer may become gold.
AGREED_BY = 4
#: So many are in force at most: a claim looks through them.
MOST_GOLD = 1_000


class BadGold(ValueError):
    """An answer that cannot be gold; nothing is stored."""


class UnknownGold(ValueError):
    """No gold in force has this number."""


class Candidate(NamedTuple):
    """An answer that everybody judged alike."""

    generation_id: int
    messages: Sequence[dict[str, str]]
    text: str
    expected: Expected
    #: How many judged it.
    votes: int


class Known(NamedTuple):
    """Gold in force, and what was said of it."""

    gold: Gold
    messages: Sequence[dict[str, str]]
    text: str
    #: Times it was judged, and of these as expected.
    asked: int
    met: int


def candidates(session: Session, *, limit: int = 20, generation_id: int | None = None) -> list[Candidate]:
    """Answers of the loop that AGREED_BY people or more judged, all of them fine or all of them clear or severe; most
    votes first."""
    newer = aliased(Review)
    flags = func.sum(case((col(Review.verdict) == "flag", 1), else_=0))
    strong = func.sum(case((and_(col(Review.verdict) == "flag", col(Review.severity).in_(["clear", "severe"])), 1), else_=0))
    found = (
        select(Item.generation_id, flags, func.count())
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .where(col(newer.id).is_(None), Item.purpose == "loop", Item.kind == "single", col(Review.simulated).is_(False))
        .where(col(Review.verdict).in_(["flag", "fine"]), counting.counts())
        .where(col(Item.generation_id).not_in(select(Gold.generation_id).where(col(Gold.ended_at).is_(None))))
        .group_by(col(Item.generation_id))
        .having(and_(func.count() >= AGREED_BY, or_(flags == 0, strong == func.count())))
        .order_by(func.count().desc(), col(Item.generation_id))
        .limit(limit)
    )
    rows = session.exec(found if generation_id is None else found.where(Item.generation_id == generation_id)).all()
    votes = {int(number): (int(flagged or 0), int(count)) for number, flagged, count in rows if number is not None}
    shown = session.exec(
        select(Generation.id, Prompt.messages, Generation.text)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(col(Generation.id).in_(list(votes)))
    ).all()
    texts = {number: (messages, text) for number, messages, text in shown}
    return [Candidate(number, *texts[number], "flag" if flagged else "fine", count) for number, (flagged, count) in votes.items()]


def add(session: Session, generation_id: int, *, by: str, now: datetime) -> Gold:
    """Makes an answer gold that everybody judged alike. Raises BadGold."""
    check_storable(by=by)
    one_at_a_time(session, "gold")
    found = next(iter(candidates(session, generation_id=generation_id)), None)
    if found is None:
        raise BadGold(
            f"Answer {generation_id} cannot be gold: expected one that {AGREED_BY} people or more judged, all alike, and "
            "that is not gold already; 'flagback checks candidates' lists those."
        )
    lang = session.exec(
        select(Prompt.lang).join(Generation, col(Generation.prompt_id) == Prompt.id).where(Generation.id == generation_id)
    ).one()
    return _add(session, [(generation_id, lang, found.expected)], "unanimous", by=by, now=now)[0]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")
    prompt: str | list[dict[str, str]]
    answer: str
    expected: Expected
    lang: str = "und"


def import_gold(session: Session, path: Path, *, by: str, now: datetime) -> int:
    """Takes gold in from a file of JSON lines {"prompt", "answer", "expected": "flag" | "fine", "lang"}; returns how many are new.

    All of a file or nothing of it. Its prompts join those that answers are written to, as those of imported preferences do.
    Raises BadGold.
    """
    check_storable(by=by)
    rows = [_row(path, number, line) for number, line in enumerate(_lines(path), 1) if line.strip()]
    if not rows:
        raise BadGold(f'{path} holds no line; expected {{"prompt": ..., "answer": ..., "expected": "flag" or "fine"}} on each.')
    one_at_a_time(session, "gold")
    prompts = [
        NewPrompt([{"role": "user", "content": row.prompt}] if isinstance(row.prompt, str) else row.prompt, row.lang)
        for row in rows
    ]
    ids = add_prompts(session, prompts).ids
    made = add_generations(
        session,
        [
            NewGeneration(prompt, row.answer, "given", "imported", "gold", created_at=now)
            for prompt, row in zip(ids, rows, strict=True)
        ],
    )
    wanted = {number: (row.lang, row.expected) for number, row in zip(made, rows, strict=True)}
    there = set(
        session.exec(select(Gold.generation_id).where(col(Gold.generation_id).in_(made), col(Gold.ended_at).is_(None))).all()
    )
    fresh = [(number, *said) for number, said in wanted.items() if number not in there]
    return len(_add(session, fresh, "imported", by=by, now=now)) if fresh else 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadGold(f"{path} cannot be read ({error}); expected a file of JSON lines in UTF-8.") from error


def _row(path: Path, number: int, line: str) -> _Row:
    try:
        row = _Row.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors()[0]
        raise BadGold(f"{path}, line {number}, {'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}.") from error
    except ValueError as error:
        raise BadGold(f"{path}, line {number} is no JSON ({error}).") from error
    check_storable(**{f"answer in line {number}": row.answer})
    if not row.answer.strip():
        raise BadGold(f"{path}, line {number}: the answer is empty; there is nothing to judge.")
    return row


def _add(
    session: Session, wanted: Sequence[tuple[int, str, Expected]], source: GoldSource, *, by: str, now: datetime
) -> list[Gold]:
    known = session.exec(select(func.count()).select_from(Gold).where(col(Gold.ended_at).is_(None))).one()
    if known + len(wanted) > MOST_GOLD:
        raise BadGold(
            f"{known:,} answers are gold and {len(wanted):,} more were named; at most {MOST_GOLD:,} are in force at a time."
        )
    made = [
        Gold(generation_id=number, lang=primary_language(lang), expected=said, source=source, added_by=by, created_at=now)
        for number, lang, said in wanted
    ]
    session.add_all(made)
    session.flush()
    details = {"gold": [one.id for one in made], "source": source}
    audit.record(session, actor=by, action="gold added", details=details, now=now)
    return made


def end(session: Session, gold_id: int, *, by: str, now: datetime) -> Gold:
    """Hands one out no more; what was said of it stays. Raises UnknownGold."""
    check_storable(by=by)
    row = session.exec(select(Gold).where(Gold.id == gold_id).with_for_update()).first()
    if row is None or row.ended_at is not None:
        known = ", ".join(map(str, session.exec(select(Gold.id).where(col(Gold.ended_at).is_(None)).limit(20)).all())) or "none"
        raise UnknownGold(f"No gold {gold_id} is in force; in force: {known}.")
    row.ended_at, row.ended_by = now, by
    session.add(row)
    session.flush()
    audit.record(session, actor=by, action="gold ended", details={"gold": gold_id}, now=now)
    return row


def in_force(session: Session) -> list[Known]:
    """Gold in force, newest first, with what was said of each; skips are no judgement."""
    newer = aliased(Review)
    rows = session.exec(
        select(SecondLook.gold_id, Review.verdict, func.count())
        .join(Review, and_(col(Review.item_id) == SecondLook.item_id, col(Review.reviewer) == SecondLook.reviewer))
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .where(col(SecondLook.gold_id).is_not(None), col(newer.id).is_(None), col(Review.verdict).in_(["flag", "fine"]))
        .group_by(col(SecondLook.gold_id), col(Review.verdict))
    ).all()
    said = {(number, str(verdict)): count for number, verdict, count in rows}
    shown = session.exec(
        select(Gold, Prompt.messages, Generation.text)
        .join(Generation, col(Generation.id) == Gold.generation_id)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(col(Gold.ended_at).is_(None), col(Gold.generation_id).not_in(quarantine.withdrawn_generations()))
        .order_by(col(Gold.id).desc())
    ).all()
    return [
        Known(
            gold,
            messages,
            text,
            said.get((gold.id, "flag"), 0) + said.get((gold.id, "fine"), 0),
            said.get((gold.id, gold.expected), 0),
        )
        for gold, messages, text in shown
    ]
