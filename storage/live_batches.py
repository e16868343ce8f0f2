"""Batches of live outputs: what people said of each so far, and taking one back from review.

Knows reviews in force and seats; how answers come in is outputs.py's business.
"""

from collections import defaultdict
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import case, func, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage import audit, counting
from flagback.storage.prompts import AT_A_TIME, check_storable
from flagback.storage.reading import shortened
from flagback.storage.records import Generation, Item, Lease, OutputBatch, Prompt, Review, Slot
from flagback.storage.store import one_at_a_time


class UnknownBatch(Exception):
    """No batch has this name."""


class LiveBatch(NamedTuple):
    """One batch, and what people said of it so far. Simulated reviews and skips are left out."""

    name: str
    consent: str
    brought_by: str
    created_at: datetime
    withdrawn_at: datetime | None
    #: Chance with which each answer was drawn as it came; None where a number was drawn of the whole.
    review_share: float | None
    n_answers: int
    n_drawn: int
    #: Drawn answers that somebody has judged.
    reviewed: int
    #: Reviews in force of them, and how many of those flag.
    reviews: int
    flags: int
    #: (flags, reviews) by family of prompts, which hang together: for intervals.
    by_family: list[tuple[int, int]]
    #: Reviews still wanted.
    waiting: int


class Withdrawn(NamedTuple):
    """What taking a batch back from review did."""

    #: Seats that nobody is asked to fill any more, and how many of these somebody held at that moment.
    closed: int
    held: int


def batches(session: Session) -> list[LiveBatch]:
    """Every batch, newest first, with what people said of it."""
    newer = aliased(Review)
    judged = session.exec(
        select(
            Generation.origin,
            func.sum(case((col(Review.verdict) == "flag", 1), else_=0)),
            func.count(),
            func.count(func.distinct(Review.item_id)),
        )
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(Generation.source == "logged", col(newer.id).is_(None))
        .where(col(Review.simulated).is_(False), col(Review.verdict).in_(["flag", "fine"]), counting.counts())
        .group_by(col(Generation.origin), col(Prompt.split_key))
    ).all()
    families: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for origin, flags, reviews, items in judged:
        families[origin].append((int(flags), int(reviews), int(items)))
    waiting = dict(
        session.exec(
            select(Generation.origin, func.count())
            .select_from(Slot)
            .join(Item, col(Item.id) == Slot.item_id)
            .join(Generation, col(Generation.id) == Item.generation_id)
            .where(Generation.source == "logged", Slot.state != "done")
            .group_by(col(Generation.origin))
        ).all()
    )
    found = []
    for batch in session.exec(select(OutputBatch).order_by(col(OutputBatch.id).desc())).all():
        rows = families.get(f"live:{batch.name}", [])
        found.append(
            LiveBatch(
                name=batch.name,
                consent=batch.consent,
                brought_by=batch.brought_by,
                created_at=batch.created_at,
                withdrawn_at=batch.withdrawn_at,
                review_share=batch.review_share,
                n_answers=batch.n_answers,
                n_drawn=batch.n_drawn,
                reviewed=sum(items for _, _, items in rows),
                reviews=sum(reviews for _, reviews, _ in rows),
                flags=sum(flags for flags, _, _ in rows),
                by_family=sorted((flags, reviews) for flags, reviews, _ in rows),
                waiting=waiting.get(f"live:{batch.name}", 0),
            )
        )
    return found


def withdraw(session: Session, name: str, *, by: str, now: datetime) -> Withdrawn:
    """Takes a batch back from review: nobody is handed one of its answers any more, and nothing is added to it.

    Texts and reviews stay. Who holds an item at that moment keeps it on the screen; what they answer is stored, as late. Repeating
    it changes nothing. Raises UnknownBatch.
    """
    check_storable(by=by, name=name)
    one_at_a_time(session, f"live outputs {name}")
    batch = session.exec(select(OutputBatch).where(OutputBatch.name == name).with_for_update()).first()
    if batch is None:
        raise UnknownBatch(f"There is no batch {shortened(name)}; see 'flagback outputs list'.")
    if batch.withdrawn_at is not None:
        return Withdrawn(0, 0)
    # Row locks in the order in which storage.slots.release takes them; a claim skips what is locked, so none waits for another.
    slots = session.exec(
        select(Slot.id, Slot.state)
        .join(Item, col(Item.id) == Slot.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .where(Generation.origin == f"live:{name}", Slot.state != "done")
        .order_by(col(Slot.id))
        .with_for_update(of=Slot)
    ).all()
    for start in range(0, len(slots), AT_A_TIME):
        ids = [slot for slot, _ in slots[start : start + AT_A_TIME]]
        # Closed, not deleted: leases name their slots.
        session.exec(update(Slot).where(col(Slot.id).in_(ids)).values(state="done", reviewer=None, expires_at=None))
        session.exec(update(Lease).where(col(Lease.slot_id).in_(ids), col(Lease.outcome) == "held").values(outcome="released"))
    batch.withdrawn_at = now
    session.add(batch)
    session.flush()
    done = Withdrawn(len(slots), sum(state == "claimed" for _, state in slots))
    audit.record(session, actor=by, action="outputs withdrawn", details={"batch": name} | done._asdict(), now=now)
    return done


def taken_back(session: Session, item_id: int) -> bool:
    """Whether an item belongs to a batch that was taken back from review."""
    return (
        session.exec(
            select(OutputBatch.id)
            .join(Generation, col(Generation.origin) == "live:" + col(OutputBatch.name))
            .join(Item, col(Item.generation_id) == Generation.id)
            .where(Item.id == item_id, col(OutputBatch.withdrawn_at).is_not(None))
        ).first()
        is not None
    )


def stays(session: Session, origin: str) -> bool:
    """Whether a logged answer's batch is still in review. Until this transaction ends it is not taken back."""
    withdrawn = session.exec(
        select(OutputBatch.withdrawn_at).where(OutputBatch.name == origin.removeprefix("live:")).with_for_update(read=True)
    ).first()
    return withdrawn is None
