"""Quarantine of texts: a withdrawn text stands in no generation any more, so that no page, queue, set or export can show it.

Knows generations and withdrawals; who withdraws and what becomes of seats is `withdrawals`. The hash of the text stays with the
generation, so that the same text is recognised when a model writes it again.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, CompoundSelect, union_all
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from flagback.storage.prompts import AT_A_TIME
from flagback.storage.records import Generation, Item, ItemGeneration, Withdrawal

#: What stands in a withdrawn text's place.
PLACEHOLDER = "[withdrawn]"


def is_withdrawn() -> ColumnElement[bool]:
    """The condition that a withdrawal is in force."""
    return col(Withdrawal.restored_at).is_(None)


def withdrawn_generations() -> SelectOfScalar[int]:
    """Numbers of the generations whose text is withdrawn, for queries."""
    return select(Withdrawal.generation_id).where(is_withdrawn())


def withdrawn_items() -> CompoundSelect[tuple[int]]:
    """Numbers of the items that show one of those, alone or beside others, for queries."""
    alone = select(Item.id).join(Withdrawal, col(Withdrawal.generation_id) == Item.generation_id).where(is_withdrawn())
    beside = select(ItemGeneration.item_id).where(col(ItemGeneration.generation_id).in_(withdrawn_generations()))
    return union_all(alone, beside)


def shows_withdrawn(session: Session, item_id: int) -> bool:
    """Whether an item shows a text that is withdrawn."""
    item = select(Item.id).where(Item.id == item_id, col(Item.id).in_(withdrawn_items()))
    return session.exec(item).first() is not None


def same_texts(session: Session, generation_id: int) -> list[int]:
    """The generation and all others that say the same to the same prompt, in id order."""
    one = session.get_one(Generation, generation_id)
    return list(
        session.exec(
            select(Generation.id)
            .where(Generation.prompt_id == one.prompt_id, Generation.text_hash == one.text_hash)
            .order_by(col(Generation.id))
        ).all()
    )


def put_away(session: Session, generation_id: int, *, review_id: int | None, category: str, seats: int, now: datetime) -> None:
    """Moves a generation's text out of it. One that is away already stays as it is."""
    away = select(Withdrawal.id).where(Withdrawal.generation_id == generation_id, is_withdrawn())
    if session.exec(away).first() is not None:
        return
    generation = session.exec(select(Generation).where(Generation.id == generation_id).with_for_update()).one()
    session.add(
        Withdrawal(
            generation_id=generation_id,
            review_id=review_id,
            category=category,
            text=generation.text,
            token_ids=generation.token_ids,
            seats=seats,
            created_at=now,
        )
    )
    generation.text, generation.token_ids = PLACEHOLDER, None
    session.add(generation)
    session.flush()


def written_again(session: Session, generation_ids: Sequence[int], *, now: datetime) -> set[int]:
    """Puts away those that say what was withdrawn before from the same prompt; returns them all, those away before too."""
    if session.exec(select(Withdrawal.id).where(is_withdrawn()).limit(1)).first() is None:
        return set()
    gone = session.exec(
        select(Generation.prompt_id, Generation.text_hash, Withdrawal.category)
        .join(Withdrawal, col(Withdrawal.generation_id) == Generation.id)
        .where(is_withdrawn())
    ).all()
    categories = {(prompt, text_hash): category for prompt, text_hash, category in gone}
    found = set()
    for start in range(0, len(generation_ids), AT_A_TIME):
        for number, prompt, text_hash in session.exec(
            select(Generation.id, Generation.prompt_id, Generation.text_hash).where(
                col(Generation.id).in_(generation_ids[start : start + AT_A_TIME])
            )
        ).all():
            if (prompt, text_hash) in categories:
                put_away(session, number, review_id=None, category=categories[prompt, text_hash], seats=0, now=now)
                found.add(number)
    return found
