"""Answers of a preference set that were judged alone: harmful or fine, with no counterpart under their prompt.

Examples for losses that need no pair (Ethayarajh 2024, "KTO: Model alignment as prospect theoretic optimization", arXiv
2402.01306; TRL's "unpaired preference"). A row's hash is sha256 of the UTF-8 bytes of the JSON array `[salt, prompt_hash,
answer_hash, verdict, weight]` with no spaces, `verdict` being "harmful" or "fine" and the others as in `preferences`, where the
fingerprint of a set is described: these hashes stand among those of its pairs.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select

from flagback.storage.prompts import AT_A_TIME, HELD_OUT_SHARDS, TRAINING_SHARDS
from flagback.storage.quarantine import withdrawn_generations
from flagback.storage.records import Generation, Prompt, UnpairedAnswer


class NewUnpaired(NamedTuple):
    """An answer to freeze: rather not this, or rather this, whatever else there might be."""

    prompt_id: int
    #: A generation of that prompt.
    generation_id: int
    harmful: bool
    #: Over 0.
    weight: float
    #: The reviews it came from.
    review_ids: list[int]


class UnpairedRow(NamedTuple):
    """A frozen one with everything a trainer or an export needs."""

    #: Hex; the order of the set, and the answer's name.
    row_hash: str
    messages: list[dict[str, str]]
    lang: str
    #: The prompt's content hash.
    prompt_hash: str
    split_key: str
    shard: int
    text: str
    token_ids: list[int] | None
    harmful: bool
    weight: float
    review_ids: list[int]
    #: Its place among the set's unpaired answers, and its generation.
    position: int
    generation_id: int


def row_hash_of(salt: str, prompt_hash: str, answer_hash: str, *, harmful: bool, weight: float) -> str:
    """One answer's row hash in hex, as the module's docstring defines it."""
    row = [salt, prompt_hash, answer_hash, "harmful" if harmful else "fine", repr(float(weight))]
    return hashlib.sha256(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def flaw_of(answer: NewUnpaired, text: str, prompt_id: int) -> str | None:
    """Why an answer with this text, to this prompt, can teach nothing; None where it can."""
    if prompt_id != answer.prompt_id:
        return f"is an answer to prompt {prompt_id}"
    if not text.strip():
        return "has an empty text; silence must not be taught or punished"
    if not (math.isfinite(answer.weight) and answer.weight > 0):
        return f"has weight {answer.weight}; expected a number over 0"
    return None


def each_unpaired(session: Session, set_id: int, *, training: bool | None = None) -> Iterator[UnpairedRow]:
    """A set's unpaired answers in its order: all, those of training shards (True), or those held out (False).

    Read some at a time. Answers whose text was withdrawn since are left out.
    """
    query = _with_texts(set_id).limit(AT_A_TIME)
    if training is not None:
        query = query.where(col(Prompt.shard).in_(TRAINING_SHARDS if training else HELD_OUT_SHARDS))
    last = -1
    while found := session.exec(query.where(col(UnpairedAnswer.position) > last)).all():
        yield from (_row_of(*one) for one in found)
        last = found[-1][0].position


def unpaired_at(session: Session, set_id: int, positions: Iterable[int]) -> dict[int, UnpairedRow | None]:
    """A set's unpaired answers at some positions, in the order asked for; None for one whose text was withdrawn since."""
    asked = list(positions)
    rows = session.exec(_with_texts(set_id).where(col(UnpairedAnswer.position).in_(asked))).all()
    found = {row[0].position: _row_of(*row) for row in rows}
    return {position: found.get(position) for position in asked}


def _with_texts(set_id: int) -> Select[UnpairedAnswer, Prompt, Generation]:
    return (
        select(UnpairedAnswer, Prompt, Generation)
        .join(Prompt, col(Prompt.id) == UnpairedAnswer.prompt_id)
        .join(Generation, col(Generation.id) == UnpairedAnswer.generation_id)
        .where(UnpairedAnswer.set_id == set_id, col(UnpairedAnswer.generation_id).not_in(withdrawn_generations()))
        .order_by(col(UnpairedAnswer.position))
    )


def _row_of(answer: UnpairedAnswer, prompt: Prompt, generation: Generation) -> UnpairedRow:
    return UnpairedRow(
        row_hash=answer.row_hash,
        messages=prompt.messages,
        lang=prompt.lang,
        prompt_hash=prompt.content_hash,
        split_key=prompt.split_key,
        shard=prompt.shard,
        text=generation.text,
        token_ids=generation.token_ids,
        harmful=answer.harmful,
        weight=answer.weight,
        review_ids=answer.review_ids,
        position=answer.position,
        generation_id=generation.id,
    )


def counts(session: Session, set_id: int) -> tuple[int, int]:
    """How many harmful and how many fine ones a set was frozen with."""
    rows = session.exec(
        select(UnpairedAnswer.harmful, func.count()).where(UnpairedAnswer.set_id == set_id).group_by(col(UnpairedAnswer.harmful))
    ).all()
    found = dict(rows)
    return found.get(True, 0), found.get(False, 0)
