"""Adjudication: what leads conclude of answers that people differ on. Append-only: the newest conclusion of an item is in force.

What is contested is put together as arguments: what people ticked, marked and wrote, in an order that follows nobody. Names,
pseudonyms, times and backgrounds are not among it. Reviews stay as they are; "legitimate disagreement" keeps the split.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, case, func, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage import audit, counting, reviews
from flagback.storage.prompts import check_storable
from flagback.storage.records import Adjudication, Conclusion, Generation, Item, Prompt, Review

#: Shortest reason, characters without blanks at the ends.
SHORTEST_REASON = 10


class NotContested(ValueError):
    """An item that nobody differs on, or that does not exist."""


class NoReason(ValueError):
    """A conclusion without a reason."""


class Argument(NamedTuple):
    """One side's word on an item, without whose it is."""

    verdict: str
    categories: list[str]
    targets: list[str]
    severity: str | None
    sure: bool
    #: The words that were marked.
    marked: list[str]
    note: str | None
    rewrite: str | None


class Contested(NamedTuple):
    """An item that at least one flags and at least one finds fine."""

    item_id: int
    messages: list[dict[str, str]]
    lang: str
    text: str
    arguments: list[Argument]
    #: What was concluded last; None where nothing was.
    conclusion: Conclusion | None


def contested(session: Session, item_ids: Sequence[int], *, simulated: bool = False) -> list[Contested]:
    """Some of the items in `differing`, in the order given, with their arguments."""
    concluded = in_force(session)
    votes: dict[int, list[Review]] = {item_id: [] for item_id in item_ids}
    for review in reviews.effective(session, item_ids=item_ids, purpose="loop", simulated=simulated):
        if review.verdict in ("flag", "fine"):
            votes[review.item_id].append(review)
    return [_contested(session, item_id, votes[item_id], concluded.get(item_id)) for item_id in item_ids]


def differing(session: Session, *, newest_first: bool = False, open_only: bool = True, simulated: bool = False) -> list[int]:
    """Items of the loop that some flag and others find fine, the most evenly split first, or those judged last; those concluded
    already left out unless asked for, and then also such as nobody differs on any more: a conclusion can always be revised."""
    newer = aliased(Review)
    flags = func.sum(case((col(Review.verdict) == "flag", 1), else_=0))
    rows = session.exec(
        select(Review.item_id, flags, func.count(), func.max(Review.id))
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .where(col(newer.id).is_(None), Item.purpose == "loop", Review.simulated == simulated)
        .where(col(Review.verdict).in_(["flag", "fine"]), counting.counts())
        .group_by(col(Review.item_id))
        .having(or_(and_(flags > 0, flags < func.count()), col(Review.item_id).in_(select(Adjudication.item_id))))
    ).all()
    left_out = in_force(session) if open_only else {}
    ranked = [
        (-int(last) if newest_first else abs(2 * int(flagged) / int(voted) - 1), item_id)
        for item_id, flagged, voted, last in rows
        if item_id not in left_out
    ]
    return [item_id for _, item_id in sorted(ranked)]


def _contested(session: Session, item_id: int, votes: list[Review], conclusion: Conclusion | None) -> Contested:
    generation, prompt = session.exec(
        select(Generation, Prompt)
        .join(Item, col(Item.generation_id) == Generation.id)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(Item.id == item_id)
    ).one()
    # By a hash of each answer's own random token: in the order they came, the first would be whoever works earliest.
    mixed = sorted(votes, key=lambda review: (review.verdict != "flag", hashlib.sha256(review.token.encode()).digest()))
    return Contested(
        item_id,
        prompt.messages,
        prompt.lang,
        generation.text,
        [_argument(review, generation.text) for review in mixed],
        conclusion,
    )


def _argument(review: Review, text: str) -> Argument:
    marked = [text[span["start"] : span["end"]] for span in review.spans]
    return Argument(
        review.verdict, review.categories, review.targets, review.severity, review.sure, marked, review.note, review.rewrite
    )


def conclude(
    session: Session, item_id: int, conclusion: Conclusion, *, reason: str, by: str, now: datetime, simulated: bool = False
) -> Adjudication:
    """Adds a conclusion; an earlier one of the item stays and is no longer in force. Raises NotContested or NoReason."""
    check_storable(by=by, reason=reason)
    reason = reason.strip()
    if len(reason) < SHORTEST_REASON:
        raise NoReason(
            f"The reason is {reason!r}; expected at least {SHORTEST_REASON} characters that say why, for who reads it later."
        )
    said = {review.verdict for review in reviews.effective(session, item_ids=[item_id], purpose="loop", simulated=simulated)}
    if not {"flag", "fine"} <= said and item_id not in in_force(session):
        raise NotContested(
            f"Nobody differs on item {item_id}; expected one that some flag and others find fine: 'flagback contested'."
        )
    row = Adjudication(item_id=item_id, conclusion=conclusion, reason=reason, decided_by=by, created_at=now)
    session.add(row)
    session.flush()
    details: dict[str, Any] = {"record": row.id, "item": item_id, "conclusion": conclusion, "reason": reason}
    audit.record(session, actor=by, action="adjudicated", details=details, now=now)
    return row


def history(session: Session, item_id: int) -> Sequence[Adjudication]:
    """Everything that was concluded of an item, newest first."""
    rows = select(Adjudication).where(Adjudication.item_id == item_id).order_by(col(Adjudication.id).desc())
    return session.exec(rows).all()


def in_force(session: Session) -> dict[int, Conclusion]:
    """Item -> its newest conclusion."""
    newest = select(func.max(col(Adjudication.id))).group_by(col(Adjudication.item_id))
    rows = session.exec(select(Adjudication).where(col(Adjudication.id).in_(newest))).all()
    return {row.item_id: row.conclusion for row in rows}


def of_generations(session: Session) -> Mapping[int, Conclusion]:
    """Generation -> the newest conclusion of its item."""
    concluded = in_force(session)
    if not concluded:
        return {}
    rows = session.exec(select(Item.id, Item.generation_id).where(col(Item.id).in_(select(Adjudication.item_id)))).all()
    return {generation: concluded[item] for item, generation in rows if generation is not None}
