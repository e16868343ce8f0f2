"""Answers of the loop with the votes in force, as light rows for counting: no review is loaded whole.

Knows prompts, answers and votes; knows not what a vote means (`flagback.model.policy`). People's votes and simulated ones are never
given together.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage.records import Generation, Item, Prompt, Review


class Vote(NamedTuple):
    """What one review says."""

    verdict: str
    #: Main one first.
    categories: Sequence[str]


class Reviewed(NamedTuple):
    """An answer that at least one review is in force on, skips included."""

    generation_id: int
    version_id: int | None
    prompt_id: int
    #: The prompt's content hash, language, tags, family, and its last turn.
    prompt_hash: str
    lang: str
    tags: dict[str, Any]
    split_key: str
    prompt: str
    answer: str
    text_hash: str
    votes: list[Vote]


def reviewed(session: Session, *, simulated: bool = False) -> list[Reviewed]:
    """In id order of the generations."""
    newer = aliased(Review)
    votes: dict[int, list[Vote]] = defaultdict(list)
    for item, verdict, categories in session.exec(
        select(Review.item_id, Review.verdict, Review.categories)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .where(col(newer.id).is_(None), Review.simulated == simulated, Item.purpose == "loop")
        .order_by(col(Review.id))
    ).all():
        votes[item].append(Vote(verdict, categories))
    rows = session.exec(
        select(Generation, Prompt, Item.id)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .join(Item, col(Item.generation_id) == Generation.id)
        .where(Item.purpose == "loop", col(Item.id).in_(select(Review.item_id)))
        .order_by(col(Generation.id))
    ).all()
    return [
        Reviewed(
            generation.id,
            generation.version_id,
            prompt.id,
            prompt.content_hash,
            prompt.lang,
            prompt.tags,
            prompt.split_key,
            prompt.messages[-1]["content"],
            generation.text,
            generation.text_hash,
            votes[item],
        )
        for generation, prompt, item in rows
        if item in votes
    ]


def count(session: Session, *, simulated: bool = False) -> int:
    """How many answers of the loop have a flag or a "fine" in force."""
    newer = aliased(Review)
    return session.exec(
        select(func.count(func.distinct(Review.item_id)))
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .where(col(newer.id).is_(None), Review.simulated == simulated, Item.purpose == "loop")
        .where(col(Review.verdict).in_(["flag", "fine"]))
    ).one()
