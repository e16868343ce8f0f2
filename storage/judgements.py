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

from flagback.storage import counting
from flagback.storage.prompts import AT_A_TIME
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


class Given(NamedTuple):
    """One answer in force, as its reviewer gave it."""

    reviewer: str
    item_id: int
    #: What was judged, the same for the same answer to the same prompt: two content hashes.
    content: str
    verdict: str
    categories: Sequence[str]
    severity: str | None
    #: How long it was open; None where the browser did not tell.
    seconds: float | None
    #: Not left out by a lead.
    counts: bool = True


def given(session: Session, *, simulated: bool = False) -> list[Given]:
    """Every answer in force, of the loop and of blind samples, skips and late ones included, in id order."""
    newer = aliased(Review)
    rows = session.exec(
        select(*_GIVEN)
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(col(newer.id).is_(None), Review.simulated == simulated)
        .order_by(col(Review.id))
    ).all()
    return [Given(who, item, f"{prompt} {text}", *said) for who, item, prompt, text, *said in rows]


#: More columns than typed select takes.
_GIVEN: Any = (
    Review.reviewer,
    Review.item_id,
    Prompt.content_hash,
    Generation.text_hash,
    Review.verdict,
    Review.categories,
    Review.severity,
    Review.seconds_open,
    counting.counts(),
)


def reviewed(session: Session, *, simulated: bool = False, most: int | None = None) -> list[Reviewed]:
    """In id order of the generations; with `most`, that many at most, drawn by the hash of their text."""
    rows = session.exec(
        select(*_COLUMNS)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .join(Item, col(Item.generation_id) == Generation.id)
        .where(Item.purpose == "loop", col(Item.id).in_(select(Review.item_id).where(Review.simulated == simulated)))
        .order_by(col(Generation.text_hash), col(Generation.id))
        .limit(most)
    ).all()
    votes = _votes(session, None if most is None else [row[0] for row in rows], simulated=simulated)
    return [
        Reviewed(
            generation, version, prompt, prompt_hash, lang, tags, family, messages[-1]["content"], text, text_hash, votes[item]
        )
        for item, generation, version, text, text_hash, prompt, prompt_hash, lang, tags, family, messages in sorted(
            rows, key=lambda row: int(row[1])
        )
        if item in votes
    ]


#: Columns and no whole rows: an answer's token ids are not wanted.
_COLUMNS: Any = (
    Item.id,
    Generation.id,
    Generation.version_id,
    Generation.text,
    Generation.text_hash,
    Prompt.id,
    Prompt.content_hash,
    Prompt.lang,
    Prompt.tags,
    Prompt.split_key,
    Prompt.messages,
)


def _votes(session: Session, items: Sequence[int] | None, *, simulated: bool) -> dict[int, list[Vote]]:
    """The votes in force, of some items or of all."""
    newer = aliased(Review)
    query = (
        select(Review.item_id, Review.verdict, Review.categories)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .where(col(newer.id).is_(None), Review.simulated == simulated, Item.purpose == "loop", counting.counts())
        .order_by(col(Review.id))
    )
    found: dict[int, list[Vote]] = defaultdict(list)
    parts = [None] if items is None else [items[start : start + AT_A_TIME] for start in range(0, len(items), AT_A_TIME)]
    for part in parts:
        chosen = query if part is None else query.where(col(Review.item_id).in_(part))
        for item, verdict, categories in session.exec(chosen).all():
            found[item].append(Vote(verdict, categories))
    return dict(found)


def count(session: Session, *, simulated: bool = False) -> int:
    """How many answers of the loop have a flag or a "fine" in force."""
    newer = aliased(Review)
    return session.exec(
        select(func.count(func.distinct(Review.item_id)))
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .where(col(newer.id).is_(None), Review.simulated == simulated, Item.purpose == "loop")
        .where(col(Review.verdict).in_(["flag", "fine"]), counting.counts())
    ).one()
