"""Items and their slots, made ahead of any reviewer, and more of them where votes ask for it. Knows no lease.

How many slots an item has and for whom is the overlap policy's word (`overlap`), or a fixed number where none is in force.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from random import SystemRandom
from typing import Any

from sqlalchemy import ColumnElement, FromClause, bindparam, case, func, literal_column, not_, or_
from sqlalchemy import select as select_core
from sqlmodel import Session, col, select

from flagback.storage import counting, overlap, quarantine
from flagback.storage.prompts import AT_A_TIME, primary_language
from flagback.storage.records import Generation, Item, ItemPurpose, OutputBatch, Overlap, Prompt, Record, Slot, SlotMode, now
from flagback.storage.store import insert_all, insert_missing

#: Ranks are random numbers under this; a claim starts somewhere among them.
RANKS = 2**31
#: Where seats are put that are wanted at once: blind samples, contested answers, seats that somebody left.
FIRST_BUCKET = 1
#: Where the loop's items wait until they are dealt (`queue`).
LAST_BUCKET = 9


def make_items(session: Session, generation_ids: Sequence[int], *, purpose: ItemPurpose, reviews_per_item: int, seed: int) -> int:
    """Makes an item with open slots for each generation that has none yet; returns how many were made.

    The loop's items get the slots that the overlap policy asks for; without one, and for blind samples, it is `reviews_per_item`.
    An empty text gets no item: there is nothing to judge; nor does one that was withdrawn before.
    A slot's rank comes from (seed, prompt, text, slot number) by hash, so
    that the order of reviewing does not follow the order of sampling.
    """
    if reviews_per_item < 1:
        raise ValueError(f"reviews_per_item is {reviews_per_item}; an item needs at least 1 review.")
    policy, moment = (overlap.in_force(session) if purpose == "loop" else None), now()
    seats = overlap.kept_seats(policy.seats, policy.steps[0]) if policy else ["any"] * reviews_per_item
    relax_at = moment + timedelta(hours=policy.relax_after_hours) if policy else None
    bucket = LAST_BUCKET if purpose == "loop" else FIRST_BUCKET
    made = 0
    wanted = sorted(set(generation_ids) - quarantine.written_again(session, sorted(set(generation_ids)), now=moment))
    for start in range(0, len(wanted), AT_A_TIME):
        rows = session.exec(
            select(Generation, Prompt.content_hash, Prompt.lang)
            .join(Prompt, col(Prompt.id) == Generation.prompt_id)
            .where(col(Generation.id).in_(wanted[start : start + AT_A_TIME]))
            .order_by(col(Generation.id))
        ).all()
        content = {
            generation.id: (f"{prompt_hash}:{generation.text_hash}", primary_language(lang))
            for generation, prompt_hash, lang in rows
        }
        items = [
            {
                "kind": "single",
                "purpose": purpose,
                "prompt_id": generation.prompt_id,
                "generation_id": generation.id,
                "overlap_id": policy.id if policy else None,
                "created_at": moment,
            }
            for generation, _, _ in rows
            if generation.text.strip()
        ]
        returned = insert_missing(session, "item", items, returning=["id", "generation_id"])
        new = sorted((int(row.id), int(row.generation_id)) for row in returned)
        insert_all(
            session, "item_generation", [{"item_id": item, "position": 0, "generation_id": generation} for item, generation in new]
        )
        insert_all(
            session,
            "slot",
            [
                slot_row(item, number, *content[generation], seed, want_group=group, relax_at=relax_at, bucket=bucket)
                for item, generation in new
                for number, group in enumerate(_shuffled(seats))
            ],
        )
        made += len(new)
    return made


def shown_generation(item: FromClause | None = None) -> ColumnElement[int]:
    """The number of the one answer that an item shows, null where several stand side by side: its own, or what is asked again.

    For queries that show an item; those that count join `Item.generation_id`, which what is asked again does not have.
    """
    table = Record.metadata.tables["item"] if item is None else item
    beside = Record.metadata.tables["item_generation"].alias()
    again = select_core(beside.c.generation_id).where(beside.c.item_id == table.c.id, beside.c.position == literal_column("0"))
    return case((table.c.purpose == literal_column("'check'"), again.scalar_subquery()), else_=table.c.generation_id)


def widen(session: Session, item_id: int, overlap_id: int, *, now: datetime) -> int:
    """Opens the further seats that the votes on an item ask for once all its seats are filled; returns how many.

    The caller holds `one_at_a_time(session, f"item {item_id}")`.
    """
    connection = session.connection()
    found = connection.execute(_seats_statement(), {"item": item_id}).one()
    seats, filled, lang = int(found[0]), int(found[1] or 0), str(found[2])
    if seats > filled or not filled:
        return 0
    votes = {str(row[0]): int(row[1]) for row in connection.execute(_votes_statement(), {"item": item_id})}
    policy = session.get_one(Overlap, overlap_id)
    more = overlap.wanted(votes.get("flag", 0), votes.get("fine", 0), filled=filled, steps=policy.steps) - filled
    if more > 0:
        first = (session.exec(select(func.max(Slot.number)).where(Slot.item_id == item_id)).one() or 0) + 1
        relax_at = now + timedelta(hours=policy.relax_after_hours)
        insert_all(
            session,
            "slot",
            [
                slot_row(item_id, first + place, f"further:{item_id}", lang, 0, want_group=group, relax_at=relax_at)
                for place, group in enumerate(_shuffled(overlap.kept_seats(policy.seats, more)))
            ],
        )
    return more


def seat_others(session: Session, reviewer: str, item_id: int | None = None) -> int:
    """Makes a fresh seat for each that a reviewer filled in the loop, or for that of one item, and empties the old one; how many.

    For answers that no longer count: others are to give the item as many votes as it is to have. What was taken back from review
    gets no seat.
    """
    filled = (
        select(Slot, Generation.origin)
        .join(Item, col(Item.id) == Slot.item_id)
        .outerjoin(Generation, col(Generation.id) == Item.generation_id)
        .where(Slot.reviewer == reviewer, Slot.state == "done", Item.purpose == "loop")
        .order_by(col(Slot.id))
    )
    left = session.exec(filled if item_id is None else filled.where(Slot.item_id == item_id)).all()
    gone = {f"live:{name}" for name in session.exec(select(OutputBatch.name).where(col(OutputBatch.withdrawn_at).is_not(None)))}
    last = {
        number: int(found)
        for number, found in session.exec(
            select(Slot.item_id, func.max(Slot.number))
            .where(col(Slot.item_id).in_(select(Slot.item_id).where(Slot.reviewer == reviewer, Slot.state == "done")))
            .group_by(col(Slot.item_id))
        ).all()
    }
    fresh = []
    for slot, origin in left:
        slot.reviewer = None
        if origin not in gone:
            fresh.append(slot_row(slot.item_id, last[slot.item_id] + 1, f"fresh:{slot.id}", slot.lang, 0, mode=slot.mode))
    session.flush()
    insert_all(session, "slot", fresh)
    return len(fresh)


@cache
def _seats_statement() -> Any:
    """How many seats an item has, how many are filled, and their language; one that is done and nobody's was left or closed."""
    slot = Record.metadata.tables["slot"]
    done = slot.c.state == literal_column("'done'")
    return select_core(func.count(), func.sum(case((done, 1), else_=0)), func.min(slot.c.lang)).where(
        slot.c.item_id == bindparam("item"), or_(not_(done), slot.c.reviewer.is_not(None))
    )


@cache
def _votes_statement() -> Any:
    """How many answers of each verdict are in force on an item and count."""
    review = Record.metadata.tables["review"]
    newer = review.alias("newer")
    return (
        select_core(review.c.verdict, func.count())
        .select_from(review.outerjoin(newer, newer.c.supersedes == review.c.id))
        .where(review.c.item_id == bindparam("item"), newer.c.id.is_(None), counting.counts())
        .group_by(review.c.verdict)
    )


def _shuffled(groups: Sequence[str]) -> list[str]:
    """In an order that nobody can work out: else a seat's number would tell afterwards whose answer came from a group."""
    return SystemRandom().sample(groups, len(groups))


def slot_row(
    item_id: int,
    number: int,
    content: str,
    lang: str,
    seed: int,
    *,
    want_group: str = "any",
    relax_at: datetime | None = None,
    bucket: int = FIRST_BUCKET,
    mode: SlotMode = "single",
) -> dict[str, Any]:
    """The columns of one open slot; `content` names what is judged, independent of row ids; `lang` is a primary subtag."""
    digest = hashlib.sha256(f"{seed}:{content}:{number}".encode()).digest()
    return {
        "item_id": item_id,
        "number": number,
        "mode": mode,
        "want_group": want_group,
        "lang": lang,
        "state": "open",
        "bucket": bucket,
        "rank": int.from_bytes(digest[:8], "big") % RANKS,
        "reviewer": None,
        "expires_at": None,
        "relax_at": None if want_group == "any" else relax_at,
        "probability": None,
    }
