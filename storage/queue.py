"""The order in which open slots are served: half of the items by what a detector expects of them, half at random.

Knows slots, items and expected harm; knows no detector. A claim takes the lowest bucket first and begins somewhere in it at random
(`slots`), so an order is made by buckets: each holds as large a part of the random half as of the other, whose likeliest harm is
in the first ones. So at any moment about half of what people judge was drawn without looking, and rates over that half stay
estimates of the whole. Which half an item is in follows from its content and never changes.

Blind items of an evaluation are never moved, nor is anything expected of them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from sqlalchemy import ColumnElement, func, literal_column, update
from sqlmodel import col, select

from flagback.storage.prompts import AT_A_TIME
from flagback.storage.records import Generation, Item, Prompt, Review, Slot
from flagback.storage.store import Store

#: Buckets that open slots are dealt into; slots are made in the first.
FIRST_BUCKET, BUCKETS = 1, 8
#: Items whose slots are moved in one transaction, so that no claim waits long.
MOVED_AT_A_TIME = 200
Row = TypeVar("Row")
_EVEN = ("0", "2", "4", "6", "8", "a", "c", "e")

# Literal, not bound: only then do both databases use the partial indexes.
_OPEN = col(Slot.state) == literal_column("'open'")


class Waiting(NamedTuple):
    """An answer of the loop with open slots."""

    generation_id: int
    #: The prompt's last turn.
    prompt: str
    answer: str
    #: Somebody has answered it already, be it with a skip.
    begun: bool


class Dealt(NamedTuple):
    """What a new order did."""

    #: Items by expected harm, and items at random.
    by_harm: int
    at_random: int
    #: Slots that changed their bucket.
    moved: int


def is_at_random(prompt_hash: str, text_hash: str) -> bool:
    """Whether an item is of the half whose order no detector touches: by the parity of the two hashes' first digits."""
    return (int(prompt_hash[0], 16) + int(text_hash[0], 16)) % 2 == 0


def at_random() -> ColumnElement[bool]:
    """The same as a condition on Prompt and Generation, for figures that are to rest on what was drawn without looking."""
    prompt, answer = (func.substr(column, 1, 1).in_(_EVEN) for column in (col(Prompt.content_hash), col(Generation.text_hash)))
    return prompt == answer


def waiting(store: Store) -> list[Waiting]:
    """Answers of the loop that wait for people, in id order."""
    with store.reading() as session:
        rows = session.exec(
            select(Generation.id, Prompt.messages, Generation.text, col(Item.id).in_(select(Review.item_id)))
            .join(Prompt, col(Prompt.id) == Generation.prompt_id)
            .join(Item, col(Item.generation_id) == Generation.id)
            .where(Item.purpose == "loop", col(Item.id).in_(select(Slot.item_id).where(_OPEN)))
            .order_by(col(Generation.id))
        ).all()
    return [Waiting(number, messages[-1]["content"], text, bool(begun)) for number, messages, text, begun in rows]


def expect(store: Store, harm: Mapping[int, float], *, source: str) -> None:
    """Writes what is expected of some generations, a few at a time; of those judged meanwhile and blind ones nothing is."""
    for part in _parts(sorted(harm.items()), AT_A_TIME):
        with store.writing() as session:
            kept = session.exec(
                select(Generation.id)
                .join(Item, col(Item.generation_id) == Generation.id)
                .where(col(Generation.id).in_([number for number, _ in part]), Item.purpose == "loop")
                .where(col(Item.id).not_in(select(Review.item_id)))
            ).all()
            allowed = set(kept)
            rows = [
                {"id": number, "expected_harm": float(value), "expected_harm_source": source}
                for number, value in part
                if number in allowed
            ]
            session.bulk_update_mappings(Generation, rows)


def deal(store: Store, harm: Mapping[int, float]) -> Dealt:
    """Deals the open slots of the loop into buckets anew, by the harm expected of generations; what is not among them is at random.

    Claims may go on meanwhile: only slots open at that moment are moved.
    """
    with store.reading() as session:
        rows = session.exec(
            select(Item.id, Generation.id, Prompt.content_hash, Generation.text_hash)
            .join(Generation, col(Generation.id) == Item.generation_id)
            .join(Prompt, col(Prompt.id) == Generation.prompt_id)
            .where(Item.purpose == "loop", col(Item.id).in_(select(Slot.item_id).where(_OPEN)))
        ).all()
    chosen: list[tuple[float, bytes, int]] = []
    drawn: list[tuple[bytes, int]] = []
    for item, generation, prompt_hash, text_hash in rows:
        place = hashlib.sha256(f"queue:{prompt_hash}:{text_hash}".encode()).digest()
        if generation not in harm or is_at_random(prompt_hash, text_hash):
            drawn.append((place, item))
        else:
            chosen.append((-harm[generation], place, item))
    buckets: dict[int, list[int]] = {}
    for ordered in ([item for *_, item in sorted(chosen)], [item for _, item in sorted(drawn)]):
        for number, item in enumerate(ordered):
            buckets.setdefault(FIRST_BUCKET + number * BUCKETS // len(ordered), []).append(item)
    moved = sum(_move(store, items, bucket) for bucket, items in sorted(buckets.items()))
    return Dealt(len(chosen), len(drawn), moved)


def _move(store: Store, items: Sequence[int], bucket: int) -> int:
    """Puts the open slots of some items into a bucket; a slot that someone is just taking is left alone."""
    moved = 0
    for part in _parts(sorted(items), MOVED_AT_A_TIME):
        with store.writing() as session:
            found = session.exec(
                select(Slot.id)
                .where(col(Slot.item_id).in_(part), _OPEN, col(Slot.bucket) != bucket)
                .order_by(col(Slot.id))
                .with_for_update(skip_locked=True)
            ).all()
            session.exec(
                update(Slot)
                .where(col(Slot.id).in_(found), _OPEN)
                .values(bucket=bucket)
                .execution_options(synchronize_session=False)
            )
            moved += len(found)
    return moved


def _parts(rows: Sequence[Row], size: int) -> Iterable[Sequence[Row]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
