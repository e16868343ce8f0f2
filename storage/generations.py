"""Generations: answers to prompts, whether sampled, imported or written by a reviewer. Knows no model."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import tuple_
from sqlmodel import Session, col, select

from flagback.storage.prompts import AT_A_TIME, text_hash
from flagback.storage.records import FinishReason, Generation, GenerationSource, now
from flagback.storage.store import insert_missing

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class NewGeneration(NamedTuple):
    """An answer to add."""

    prompt_id: int
    #: Exactly what the token ids decode to, a leading space included.
    text: str
    finish_reason: FinishReason
    source: GenerationSource
    #: "run:<id>", "import:<name>" or "rewrite": within one origin a text stands once a prompt.
    origin: str
    token_ids: list[int] | None = None
    sampling_run_id: int | None = None
    version_id: int | None = None
    #: How many of the k draws gave this text.
    count: int = 1  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    #: The lowest draw that gave it.
    draw: int = 0
    #: When it was written, None for this moment.
    created_at: datetime | None = None


def storable(text: str) -> str:
    """The text with NUL and halves of surrogate pairs, which no database keeps, replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def add_generations(session: Session, generations: Sequence[NewGeneration]) -> list[int]:
    """Adds answers and returns one id for each, in the order given.

    Repeating a call changes nothing: (prompt, origin, text) names a generation, and one that is there keeps its count. Equal ones
    within a call are merged: counts added, all draws listed, lowest draw and its token ids kept. NUL and lone surrogates in a text
    become U+FFFD; token ids keep the truth.
    """
    merged: dict[tuple[int, str, str], dict[str, Any]] = {}
    keys: list[tuple[int, str, str]] = []
    for generation in generations:
        drawn = [generation.draw] if generation.source == "sampled" and generation.count == 1 else None
        row = generation._asdict() | {"text": storable(generation.text), "draws": drawn}
        key = (generation.prompt_id, generation.origin, text_hash(row["text"]))
        keys.append(key)
        if key in merged:
            first, second = sorted((merged[key], row), key=lambda one: int(one["draw"]))
            both = None if None in (first["draws"], second["draws"]) else sorted({*first["draws"], *second["draws"]})
            row = first | {"count": first["count"] + second["count"], "draws": both}
        merged[key] = row | {"text_hash": key[2]}
    ids: dict[tuple[int, str, str], int] = {}
    rows = list(merged.items())
    for start in range(0, len(rows), AT_A_TIME):
        chunk = dict(rows[start : start + AT_A_TIME])
        known = _ids_of(session, list(chunk))
        insert_missing(
            session,
            "generation",
            [
                row | {"expected_harm": None, "expected_harm_source": None, "created_at": row["created_at"] or now()}
                for key, row in chunk.items()
                if key not in known
            ],
            returning=["id"],
        )
        ids |= known if len(known) == len(chunk) else _ids_of(session, list(chunk))
    return [ids[key] for key in keys]


def _ids_of(session: Session, keys: Sequence[tuple[int, str, str]]) -> dict[tuple[int, str, str], int]:
    rows = session.exec(
        select(Generation.prompt_id, Generation.origin, Generation.text_hash, Generation.id).where(
            tuple_(col(Generation.prompt_id), col(Generation.origin), col(Generation.text_hash)).in_(keys)
        )
    ).all()
    return {(prompt, origin, text): row for prompt, origin, text, row in rows}
