"""Claims: what a reviewer holds, and what it shows. Reads; who may be given what is decided by `slots`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import bindparam, literal_column
from sqlalchemy import select as select_core
from sqlmodel import Session, col, select

from flagback.storage.items import shown_generation
from flagback.storage.records import Generation, ItemGeneration, Record, Slot, SlotMode

# Literal, not bound: only then do both databases use the partial index.
CLAIMED = col(Slot.state) == literal_column("'claimed'")


class Claim(NamedTuple):
    """One item in a reviewer's hands."""

    #: Random; goes back with the answer.
    lease_id: str
    item_id: int
    #: None where several answers stand side by side.
    generation_id: int | None
    #: The prompt's messages.
    prompt: list[dict[str, str]]
    prompt_lang: str
    #: The stored answer; span offsets count its code points. Empty where several stand side by side.
    text: str
    expires_at: datetime
    #: The reviewer's answer that is being corrected, None for a new item.
    earlier: dict[str, Any] | None
    #: Answers of one prompt side by side, in the order to show; empty for a single one.
    answers: tuple[str, ...] = ()


class Held(NamedTuple):
    """A claim in force, with what the next ones are chosen by."""

    claim: Claim
    #: Of its prompt.
    family: str
    mode: SlotMode
    expected_harm: float | None


def held(session: Session, reviewer: str, *, now: datetime) -> list[Held]:
    """What the reviewer holds at this moment, oldest first."""
    rows = session.connection().execute(_held_statement(), {"who": reviewer, "now": now}).all()
    answers = _answers(session, rows)
    return [Held(_claim_of(row, row.id, row.expires_at, answers), row.split_key, _mode_of(row), row.expected_harm) for row in rows]


def _mode_of(row: Any) -> SlotMode:
    return "compare" if row.generation_id is None else "single"


def claims_of(session: Session, leases: Mapping[int, str], expires_at: datetime) -> list[Claim]:
    """Claims made just now, by item, in the order given."""
    if not leases:
        return []
    rows = session.connection().execute(_shown_statement(), {"items": list(leases)}).all()
    answers, by_item = _answers(session, rows), {row.item_id: row for row in rows}
    return [_claim_of(by_item[item], lease_id, expires_at, answers) for item, lease_id in leases.items()]


def _claim_of(row: Any, lease_id: str, expires_at: datetime, answers: Mapping[int, tuple[str, ...]]) -> Claim:
    shown = (row.item_id, row.generation_id, row.messages, row.lang, row.text or "", expires_at)
    return Claim(lease_id, *shown, None, answers.get(row.item_id, ()))


def _answers(session: Session, rows: Sequence[Any]) -> dict[int, tuple[str, ...]]:
    """Item -> its answers in the order to show, of those items that have several."""
    several = [row.item_id for row in rows if _mode_of(row) == "compare"]
    return answers_of(session, several)


def generations_of(session: Session, item_ids: Sequence[int]) -> dict[int, list[int]]:
    """Item -> the ids of the answers that stand side by side in it."""
    return {item: [number for number, _ in several] for item, several in _beside(session, item_ids).items()}


def answers_of(session: Session, item_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Item -> the answers that stand side by side in it, in the order to show."""
    return {item: tuple(text for _, text in several) for item, several in _beside(session, item_ids).items()}


def _beside(session: Session, item_ids: Sequence[int]) -> dict[int, list[tuple[int, str]]]:
    """Item -> (id, text) of the answers that stand side by side in it, in the order to show."""
    found: dict[int, list[tuple[int, str]]] = {}
    if item_ids:
        for item, number, text in session.exec(
            select(ItemGeneration.item_id, Generation.id, Generation.text)
            .join(Generation, col(Generation.id) == ItemGeneration.generation_id)
            .where(col(ItemGeneration.item_id).in_(item_ids))
            .order_by(col(ItemGeneration.item_id), col(ItemGeneration.position))
        ).all():
            found.setdefault(item, []).append((number, text))
    return found


# Built once: building costs more than a run.


def _shown(*more: Any) -> Any:
    """What items show."""
    item, generation, prompt = (Record.metadata.tables[name] for name in ("item", "generation", "prompt"))
    return (
        select_core(
            item.c.id.label("item_id"),
            generation.c.id.label("generation_id"),
            prompt.c.messages,
            prompt.c.lang,
            prompt.c.split_key,
            generation.c.text,
            generation.c.expected_harm,
            *more,
        )
        .select_from(item)
        .join(prompt, prompt.c.id == item.c.prompt_id)
        .outerjoin(generation, generation.c.id == shown_generation(item))
    )


@cache
def _shown_statement() -> Any:
    return _shown().where(Record.metadata.tables["item"].c.id.in_(bindparam("items", expanding=True)))


@cache
def _held_statement() -> Any:
    slot, lease, item = (Record.metadata.tables[name] for name in ("slot", "lease", "item"))
    return (
        _shown(lease.c.id, lease.c.expires_at)
        .join(lease, lease.c.item_id == item.c.id)
        .join(slot, slot.c.id == lease.c.slot_id)
        .where(
            slot.c.reviewer == bindparam("who", type_=slot.c.reviewer.type),
            CLAIMED,
            slot.c.expires_at > bindparam("now", type_=slot.c.expires_at.type),
            lease.c.outcome == "held",
        )
        .order_by(lease.c.claimed_at, slot.c.rank, lease.c.id)
    )
