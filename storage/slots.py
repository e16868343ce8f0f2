"""Slots and leases: who may judge what now. Knows claim, release and sweep; knows nothing of what an answer says.

The slot's row is the lock: whoever changes a slot's leases holds it. A reviewer's own requests are handled one at a time, so that
two open tabs show the same items. That no slot has two live claims and no reviewer two of one item is held by the database.
"""

from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import ColumnElement, FromClause, and_, bindparam, case, func, literal_column, update
from sqlalchemy import select as select_core
from sqlmodel import Session, col, select

from flagback.storage.items import RANKS
from flagback.storage.records import Generation, Item, Lease, Prompt, Record, Review, Slot
from flagback.storage.store import Store, one_at_a_time

#: How many open slots a claim looks at to find one of another prompt family than the last.
LOOK_AHEAD = 16
#: Claims of one call at most; a board needs two or three.
MOST_CLAIMS = 100
#: What a slot becomes when its holder leaves it.
OPEN_AGAIN: dict[str, Any] = {"state": "open", "reviewer": None, "expires_at": None}

# Literal, not bound: only then do both databases use the partial indexes.
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
    connection = session.connection()
    given = {"who": reviewer, "family": family or "", "ends": expires_at, "lowest": -1}
    while (bucket := connection.execute(_next_bucket(), given).scalar_one()) is not None:
        given |= {"lowest": bucket, "start": random.randrange(RANKS)}
        for from_start in (True, False):
            taken = connection.execute(_claim_statement(from_start), given).one_or_none()
            if taken is not None:
                return int(taken.id), int(taken.item_id)
    return None


@cache
def _next_bucket() -> Any:
    """The lowest bucket over `lowest` with an open slot, null where there is none."""
    slot = Record.metadata.tables["slot"]
    return select_core(func.min(slot.c.bucket)).where(_is_open(slot), slot.c.bucket > bindparam("lowest"))


@cache
def _claim_statement(from_start: bool) -> Any:
    """One UPDATE ... RETURNING for a bucket, its ranks from `start` on or those before. Built once: it costs more than its run.

    The reviewer's own rows are counted: NOT EXISTS would be planned as an anti join by PostgreSQL, 50 times slower.
    """
    slot, item, prompt, review = (Record.metadata.tables[name] for name in ("slot", "item", "prompt", "review"))
    seen, own, locked = slot.alias("seen"), slot.alias("own"), slot.alias("locked")
    who = bindparam("who", type_=slot.c.reviewer.type)
    holds = select_core(func.count()).where(own.c.item_id == seen.c.item_id, own.c.reviewer == who).scalar_subquery()
    answered = select_core(func.count()).where(
        review.c.item_id == seen.c.item_id, review.c.reviewer == who, review.c.supersedes.is_(None)).scalar_subquery()
    ranks = seen.c.rank >= bindparam("start") if from_start else seen.c.rank < bindparam("start")
    again = case((prompt.c.split_key == bindparam("family"), 1), else_=0).label("again")
    ahead = (select_core(seen.c.id, again, seen.c.rank)
             .join(item, item.c.id == seen.c.item_id).join(prompt, prompt.c.id == item.c.prompt_id)
             .where(_is_open(seen), seen.c.bucket == bindparam("lowest"), ranks, holds == 0, answered == 0)
             .order_by(seen.c.rank, seen.c.id).limit(literal_column(str(LOOK_AHEAD)))).subquery("ahead")
    chosen = (select_core(locked.c.id).join(ahead, ahead.c.id == locked.c.id).where(locked.c.state == literal_column("'open'"))
              .order_by(ahead.c.again, ahead.c.rank, locked.c.id).limit(literal_column("1"))
              .with_for_update(of=locked, skip_locked=True)).scalar_subquery()
    return (update(slot).where(slot.c.id == chosen, slot.c.state == literal_column("'open'"))
            .values(state="claimed", reviewer=who, expires_at=bindparam("ends", type_=slot.c.expires_at.type))
            .returning(slot.c.id, slot.c.item_id))


def _is_open(slot: FromClause) -> ColumnElement[bool]:
    """Literal, not bound: only then do both databases use the partial index."""
    return and_(slot.c.state == literal_column("'open'"), slot.c.want_group == literal_column("'any'"))


def _family_of(session: Session, item_id: int) -> str | None:
    return session.exec(select(Prompt.split_key).join(Item, col(Item.prompt_id) == Prompt.id).where(Item.id == item_id)).first()


def _last_family(session: Session, reviewer: str) -> str | None:
    """The family of the reviewer's newest answer."""
    newest = session.exec(
        select(Review.item_id).where(Review.reviewer == reviewer).order_by(col(Review.id).desc()).limit(1)).first()
    return None if newest is None else _family_of(session, newest)


def _claims(session: Session, lease_ids: Any) -> list[Claim]:
    """The claims of some leases, in the order given."""
    if not lease_ids:
        return []
    rows = session.exec(
        select(Lease, Generation, Prompt).join(Item, col(Item.id) == Lease.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id).join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(col(Lease.id).in_(lease_ids))).all()
    found = {lease.id: Claim(lease.id, lease.item_id, generation.id, prompt.messages, prompt.lang, generation.text,
                             lease.expires_at, None)
             for lease, generation, prompt in rows}
    return [found[lease_id] for lease_id in lease_ids]
