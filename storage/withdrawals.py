"""Withdrawing a text from everybody at once, and giving it back: what a reviewer's tick does, and what those in charge may undo.

Knows seats, leases and the quarantine. A withdrawal is part of the transaction that stores the answer which asks for it: from then
on no queue, page, set or export holds the text, under whatever number it was written. Giving it back needs a person and a reason.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, union_all, update
from sqlmodel import Session, col, select

from flagback.storage import audit, quarantine
from flagback.storage.items import shown_generation, slot_row
from flagback.storage.prompts import check_storable
from flagback.storage.records import Generation, Item, ItemGeneration, Lease, Slot, Withdrawal
from flagback.storage.store import insert_all, one_at_a_time
from flagback.storage.taxonomy import WITHDRAWING

#: Shortest reason, characters without blanks at the ends.
SHORTEST_REASON = 10


class NoReason(ValueError):
    """A text was to be given back without a reason."""


class NotWithdrawn(ValueError):
    """No withdrawal with this number is in force."""


class Withdrawn(NamedTuple):
    """A withdrawal as those in charge see it: never the text."""

    id: int
    #: The item, None where the answer was never put before people.
    item_id: int | None
    category: str
    #: Code points of the text.
    length: int
    created_at: datetime


def asked_for(categories: list[str]) -> str | None:
    """The category among those ticked that withdraws a text, None for none."""
    return next((code for code in categories if code in WITHDRAWING), None)


def withdraw(session: Session, item_id: int, *, category: str, review_id: int | None, by: str, now: datetime) -> int:
    """Takes an item's text, and the same answer to the same prompt elsewhere, away from everybody; returns how many texts.

    Who holds one of them finds it gone at the next look; what they answer meanwhile is stored, as late.
    """
    one_at_a_time(session, f"withdraw {item_id}")
    generation_id = session.exec(select(shown_generation()).select_from(Item).where(Item.id == item_id)).one()
    if generation_id is None:
        return 0
    numbers = quarantine.same_texts(session, generation_id)
    for number in numbers:
        seats = _close(session, number)
        quarantine.put_away(session, number, review_id=review_id, category=category, seats=seats, now=now)
    audit.record(
        session, actor=by, action="text withdrawn", details={"item": item_id, "category": category, "texts": len(numbers)}, now=now
    )
    return len(numbers)


def give_back(session: Session, withdrawal_id: int, *, by: str, reason: str, now: datetime) -> Withdrawal:
    """Ends a withdrawal: the text stands where it stood, and the seats it cost are open again. Raises NotWithdrawn or NoReason."""
    check_storable(by=by, reason=reason)
    reason = reason.strip()
    if len(reason) < SHORTEST_REASON:
        raise NoReason(
            f"The reason is {reason!r}; expected at least {SHORTEST_REASON} characters that say why, for who reads it later."
        )
    row = session.exec(select(Withdrawal).where(Withdrawal.id == withdrawal_id).with_for_update()).first()
    if row is None or row.restored_at is not None:
        known = ", ".join(str(one.id) for one in in_force(session)) or "none"
        raise NotWithdrawn(f"No withdrawal {withdrawal_id} is in force; in force: {known}.")
    generation = session.exec(select(Generation).where(Generation.id == row.generation_id).with_for_update()).one()
    generation.text, generation.token_ids = row.text, row.token_ids
    row.restored_at, row.restored_by, row.reason = now, by, reason
    session.add_all([generation, row])
    session.flush()
    item_id = session.exec(select(Item.id).where(Item.generation_id == row.generation_id)).first()
    if item_id is not None and row.seats:
        number, lang = session.exec(select(func.max(Slot.number), func.min(Slot.lang)).where(Slot.item_id == item_id)).one()
        fresh = [slot_row(item_id, (number or 0) + 1 + place, f"back:{row.id}", lang or "und", 0) for place in range(row.seats)]
        insert_all(session, "slot", fresh)
    audit.record(session, actor=by, action="text given back", details={"withdrawal": row.id, "reason": reason}, now=now)
    return row


def in_force(session: Session) -> list[Withdrawn]:
    """What is withdrawn, newest first."""
    rows = session.exec(
        select(Withdrawal, Item.id)
        .outerjoin(Item, col(Item.generation_id) == Withdrawal.generation_id)
        .where(quarantine.is_withdrawn())
        .order_by(col(Withdrawal.id).desc())
    ).all()
    return [Withdrawn(row.id, item, row.category, len(row.text), row.created_at) for row, item in rows]


def _close(session: Session, generation_id: int) -> int:
    """Closes a generation's open seats, those that others hold too; returns how many. Closed, not deleted: leases name them.

    Those of comparisons that show it, too; they do not come back, so they are not counted.
    """
    closed = 0
    alone = select(Item.id).where(Item.generation_id == generation_id)
    beside = select(ItemGeneration.item_id).where(ItemGeneration.generation_id == generation_id)
    while True:  # whoever answers at the same time may open further ones
        found = session.exec(
            select(Slot.id, Slot.mode)
            .where(col(Slot.item_id).in_(union_all(alone, beside)), Slot.state != "done")
            .order_by(col(Slot.id))
            .with_for_update()
        ).all()
        seats = [number for number, _ in found]
        if not seats:
            return closed
        session.exec(
            update(Slot).where(col(Slot.id).in_(seats)).values(state="done", reviewer=None, expires_at=None, want_group="any")
        )
        session.exec(update(Lease).where(col(Lease.slot_id).in_(seats), col(Lease.outcome) == "held").values(outcome="released"))
        closed += sum(mode == "single" for _, mode in found)
