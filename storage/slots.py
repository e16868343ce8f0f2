"""Slots and leases: who may judge what now. Knows claim, release and sweep; knows nothing of what an answer says.

The slot's row is the lock: whoever changes a slot's leases holds it. A reviewer's own requests are handled one at a time, so that
two open tabs show the same items. That no slot has two live claims and no reviewer two of one item is held by the database.
"""

from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import and_, case, func, literal_column, update
from sqlalchemy import select as core_select
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage.items import RANKS
from flagback.storage.records import Generation, Item, Lease, Prompt, Review, Slot
from flagback.storage.store import Store, one_at_a_time

#: How many open slots a claim looks at to find one of another prompt family than the last.
LOOK_AHEAD = 16
#: Claims of one call at most; a board needs two or three.
MOST_CLAIMS = 100
#: What a slot becomes when its holder leaves it.
OPEN_AGAIN: dict[str, Any] = {"state": "open", "reviewer": None, "expires_at": None}

# Literal, not bound: only then do both databases use the partial indexes.
_OPEN = and_(col(Slot.state) == literal_column("'open'"), col(Slot.want_group) == "any")
_CLAIMED = col(Slot.state) == literal_column("'claimed'")


class Claim(NamedTuple):
    """One item in a reviewer's hands."""

    #: Random; goes back with the answer.
    lease_id: str
    item_id: int
    generation_id: int
    #: The prompt's messages.
    prompt: list[dict[str, str]]
    prompt_lang: str
    #: The stored answer; span offsets count its code points.
    text: str
    expires_at: datetime
    #: The reviewer's answer that is being corrected, None for a new item.
    earlier: dict[str, Any] | None


def claim(store: Store, reviewer: str, *, count: int, now: datetime, lease_for: timedelta, seed: int) -> list[Claim]:
    """The reviewer's live claims, filled up to `count` with new ones, where there are open slots for them.

    Never an item that the reviewer holds or has answered, skipped ones included. Lowest bucket first; within a bucket from a
    random start (by `seed`) in rank order, so that reviewers do not crowd at one place; not two of one prompt family in a row
    where the next 16 open slots hold another. Expired claims of others are not taken: sweep() frees them.
    """
    if not 0 <= count <= MOST_CLAIMS:
        raise ValueError(f"{count} claims were asked for at once; expected 0 to {MOST_CLAIMS}.")
    random = Random(seed)
    with store.writing() as session:
        one_at_a_time(session, f"reviewer {reviewer}")
        held = held_claims(session, reviewer, now=now)
        family = _family_of(session, held[-1].item_id) if held else _last_family(session, reviewer)
        fresh: list[str] = []
        while len(held) + len(fresh) < count:
            taken = _take(session, reviewer, family=family, expires_at=now + lease_for, random=random)
            if taken is None:
                break
            slot_id, item_id = taken
            lease = Lease(id=str(uuid4()), slot_id=slot_id, item_id=item_id, reviewer=reviewer, claimed_at=now,
                          expires_at=now + lease_for)
            session.add(lease)
            fresh.append(lease.id)
            family = _family_of(session, item_id)
        session.flush()
        return held + _claims(session, fresh)


def held_claims(session: Session, reviewer: str, *, now: datetime) -> list[Claim]:
    """What the reviewer holds at this moment, oldest first."""
    leases = session.exec(
        select(Lease.id).join(Slot, col(Slot.id) == Lease.slot_id)
        .where(Slot.reviewer == reviewer, _CLAIMED, col(Slot.expires_at) > now, Lease.outcome == "held")
        .order_by(col(Lease.claimed_at), col(Slot.rank), col(Lease.id))).all()
    return _claims(session, leases)


def release(store: Store, reviewer: str, *, now: datetime) -> int:
    """Gives back everything the reviewer holds ("stop for today"); returns how many slots are open again."""
    with store.writing() as session:
        one_at_a_time(session, f"reviewer {reviewer}")
        mine = session.exec(select(Slot.id, Slot.expires_at).where(Slot.reviewer == reviewer, _CLAIMED).with_for_update()).all()
        session.exec(update(Slot).where(col(Slot.id).in_([slot for slot, _ in mine])).values(**OPEN_AGAIN))
        _end_leases(session, [slot for slot, ends in mine if ends and ends > now], outcome="released")
        _end_leases(session, [slot for slot, ends in mine if not ends or ends <= now], outcome="expired")
        return len(mine)


def sweep(store: Store, *, now: datetime, batch: int = 100) -> int:
    """Opens the slots of expired claims again, `batch` a transaction so that nobody waits long; returns how many."""
    if batch < 1:
        raise ValueError(f"batch is {batch}; expected at least 1.")
    total = 0
    while True:
        with store.writing() as session:
            expired = session.exec(
                select(Slot.id).where(_CLAIMED, col(Slot.expires_at) <= now).order_by(col(Slot.expires_at)).limit(batch)
                .with_for_update(skip_locked=True)).all()
            session.exec(update(Slot).where(col(Slot.id).in_(expired)).values(**OPEN_AGAIN))
            _end_leases(session, expired, outcome="expired")
        total += len(expired)
        if len(expired) < batch:
            return total


def _end_leases(session: Session, slot_ids: Any, *, outcome: str) -> None:
    session.exec(update(Lease).where(col(Lease.slot_id).in_(slot_ids), col(Lease.outcome) == "held").values(outcome=outcome))


def _take(session: Session, reviewer: str, *, family: str | None, expires_at: datetime, random: Random) -> tuple[int, int] | None:
    """Claims one slot and returns (slot, item), or None when nothing is open for this reviewer."""
    bucket = -1
    while (next_bucket := session.exec(select(func.min(Slot.bucket)).where(_OPEN, col(Slot.bucket) > bucket)).one()) is not None:
        bucket = next_bucket
        start = random.randrange(RANKS)
        for place in (col(Slot.rank) >= start, col(Slot.rank) < start):
            taken = session.exec(_claim_statement(reviewer, place=and_(col(Slot.bucket) == bucket, place), family=family,
                                                  expires_at=expires_at)).one_or_none()
            if taken is not None:
                return int(taken[0]), int(taken[1])
    return None


def _claim_statement(reviewer: str, *, place: Any, family: str | None, expires_at: datetime) -> Any:
    """One UPDATE ... RETURNING. Own rows are counted: PostgreSQL plans NOT EXISTS as an anti join, 50 times slower."""
    other, answer, locked = aliased(Slot), aliased(Review), aliased(Slot)
    holds = core_select(func.count()).select_from(other).where(
        col(other.item_id) == Slot.item_id, col(other.reviewer) == reviewer)
    answered = core_select(func.count()).select_from(answer).where(
        col(answer.item_id) == Slot.item_id, col(answer.reviewer) == reviewer, col(answer.supersedes).is_(None))
    again = case((col(Prompt.split_key) == (family or ""), 1), else_=0)
    ahead = (core_select(col(Slot.id).label("id"), again.label("again"), col(Slot.rank).label("rank"))
             .join(Item, col(Item.id) == Slot.item_id).join(Prompt, col(Prompt.id) == Item.prompt_id)
             .where(_OPEN, place, holds.correlate(Slot).scalar_subquery() == 0, answered.correlate(Slot).scalar_subquery() == 0)
             .order_by(col(Slot.rank), col(Slot.id)).limit(LOOK_AHEAD)).subquery("ahead")
    chosen = (core_select(col(locked.id)).join(ahead, ahead.c.id == locked.id)
              .where(col(locked.state) == literal_column("'open'"))
              .order_by(ahead.c.again, ahead.c.rank, col(locked.id)).limit(1).with_for_update(of=locked, skip_locked=True))
    return (update(Slot).where(col(Slot.id) == chosen.scalar_subquery(), col(Slot.state) == "open")
            .values(state="claimed", reviewer=reviewer, expires_at=expires_at).returning(col(Slot.id), col(Slot.item_id))
            .execution_options(synchronize_session=False))


def _family_of(session: Session, item_id: int) -> str | None:
    return session.exec(select(Prompt.split_key).join(Item, col(Item.prompt_id) == Prompt.id).where(Item.id == item_id)).first()


def _last_family(session: Session, reviewer: str) -> str | None:
    """The family of the reviewer's newest answer."""
    newest = session.exec(
        select(Review.item_id).where(Review.reviewer == reviewer).order_by(col(Review.id).desc()).limit(1)).first()
    return None if newest is None else _family_of(session, newest)


def _claims(session: Session, lease_ids: Any) -> list[Claim]:
    """The claims of some leases, in the order given."""
    rows = session.exec(
        select(Lease, Generation, Prompt).join(Item, col(Item.id) == Lease.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id).join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(col(Lease.id).in_(lease_ids))).all()
    found = {lease.id: Claim(lease.id, lease.item_id, generation.id, prompt.messages, prompt.lang, generation.text,
                             lease.expires_at, None)
             for lease, generation, prompt in rows}
    return [found[lease_id] for lease_id in lease_ids]
