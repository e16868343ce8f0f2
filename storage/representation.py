"""The texts of each station of the loop as light rows: prompts, answers, what was reviewed, what is taught.

Knows where texts lie and which hang together; which groups they name is `flagback.model.representation`'s business. Of many rows a
bounded part is drawn by hash, so that a page never waits for a large installation. Who reviews is `flagback.storage.panel`'s.
"""

from typing import Any, NamedTuple

from sqlalchemy import func, union_all
from sqlmodel import Session, col, select

from flagback.storage import counting
from flagback.storage.records import Generation, Item, PreferencePair, PreferenceSet, Prompt, Review, UnpairedAnswer

#: Rows of one station at most.
MOST = 5_000


#: Columns and no whole rows, which cost three times as much to read.
_PROMPT: Any = (Prompt.id, Prompt.messages, Prompt.lang, Prompt.tags, Prompt.split_key)
_COUNTED: Any = (*_PROMPT, func.count())
_ANSWER: Any = (Generation.id, Generation.text, Prompt.lang, Prompt.split_key, Generation.count)


class Row(NamedTuple):
    """One text."""

    #: What names it on a page: a generation's or a prompt's id.
    id: int
    text: str
    lang: str
    #: The prompt's tags where the text is a prompt, none for an answer, which speaks for itself.
    tags: dict[str, Any]
    #: The prompt's family.
    cluster: str
    #: How often it counts: draws of an answer.
    weight: int


class Station(NamedTuple):
    """Rows of one station."""

    rows: list[Row]
    #: How many there are in all; more than rows where a part was drawn.
    total: int


def prompts(session: Session, *, most: int = MOST) -> Station:
    """What the model is asked."""
    found = session.exec(select(*_PROMPT).order_by(col(Prompt.content_hash)).limit(most)).all()
    return Station([_asked(*row) for row in found], session.exec(select(func.count()).select_from(Prompt)).one())


def answers(session: Session, *, most: int = MOST) -> Station:
    """What versions wrote to be learnt from, in their own words; blind samples and logged answers left out."""
    chosen = (Item.purpose == "loop", Generation.source == "sampled")
    query = select(*_ANSWER).join(Prompt, col(Prompt.id) == Generation.prompt_id)
    found = session.exec(
        query.join(Item, col(Item.generation_id) == Generation.id)
        .where(*chosen)
        .order_by(col(Generation.text_hash), col(Generation.id))
        .limit(most)
    ).all()
    total = session.exec(
        select(func.count()).select_from(Generation).join(Item, col(Item.generation_id) == Generation.id).where(*chosen)
    ).one()
    rows = [Row(number, text, lang, {}, family, count) for number, text, lang, family, count in found]
    return Station(rows, total)


def reviewed(session: Session, *, most: int = MOST) -> Station:
    """The prompts of answers that people judged, once for each answer."""
    judged = select(Review.item_id).where(
        col(Review.simulated).is_(False), col(Review.verdict).in_(["flag", "fine"]), counting.counts()
    )
    chosen = (Item.purpose == "loop", col(Item.id).in_(judged))
    found = session.exec(
        select(*_COUNTED)
        .join(Item, col(Item.prompt_id) == Prompt.id)
        .where(*chosen)
        .group_by(col(Prompt.id))
        .order_by(col(Prompt.content_hash))
        .limit(most)
    ).all()
    total = session.exec(select(func.count(func.distinct(Item.prompt_id))).where(*chosen)).one()
    return Station([_asked(*row) for row in found], total)


def pairs(session: Session, *, most: int = MOST) -> Station:
    """The prompts of the newest set, once for each pair and each answer without one: what a correction learns about."""
    newest = session.exec(
        select(PreferenceSet.id).where(col(PreferenceSet.simulated).is_(False)).order_by(col(PreferenceSet.id).desc()).limit(1)
    ).first()
    if newest is None:
        return Station([], 0)
    rows = union_all(*(select(kind.prompt_id).where(kind.set_id == newest) for kind in (PreferencePair, UnpairedAnswer))).subquery()
    found = session.exec(
        select(*_COUNTED)
        .join(rows, rows.c.prompt_id == Prompt.id)
        .group_by(col(Prompt.id))
        .order_by(col(Prompt.content_hash))
        .limit(most)
    ).all()
    total = session.exec(select(func.count(func.distinct(rows.c.prompt_id)))).one()
    return Station([_asked(*row) for row in found], total)


def _asked(number: int, messages: list[dict[str, str]], lang: str, tags: dict[str, Any], family: str, weight: int = 1) -> Row:
    return Row(number, messages[-1]["content"], lang, tags, family, weight)
