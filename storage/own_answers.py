"""One person's own answers: what they judged, what they said, how much that was. Gives nothing of anybody else.

Knows reviews, prompts and texts; what became of a flag is `fates`, and what is covered on a page is `wellbeing`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import case, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from flagback.storage.claims import generations_of
from flagback.storage.quarantine import PLACEHOLDER
from flagback.storage.records import Generation as Text
from flagback.storage.records import Item, Prompt, Review, WorkLog

#: Which of one's own answers: flagged, found fine, judged side by side, skipped.
Kind = Literal["all", "flagged", "fine", "compared", "skipped"]
_VERDICTS: dict[Kind, tuple[str, ...]] = {
    "flagged": ("flag",),
    "fine": ("fine",),
    "compared": ("left", "right", "equal", "both_bad", "ranked"),
    "skipped": ("skip",),
}


class Shown(NamedTuple):
    """A text that was judged."""

    generation_id: int
    #: PLACEHOLDER where it was withdrawn from everybody since.
    text: str

    @property
    def withdrawn(self) -> bool:
        """Whether it was taken away from everybody."""
        return self.text == PLACEHOLDER


class Own(NamedTuple):
    """One answer in force, with what it is about."""

    review: Review
    prompt: Prompt
    #: One, or those side by side in the order shown.
    texts: list[Shown]


class Tally(NamedTuple):
    """How many answers in force, by what they say; severe is a part of flagged."""

    flagged: int = 0
    fine: int = 0
    compared: int = 0
    skipped: int = 0
    severe: int = 0

    @property
    def judged(self) -> int:
        """All but those skipped."""
        return self.flagged + self.fine + self.compared


class Week(NamedTuple):
    """Work of one week as it is counted for payment, unrounded."""

    #: ISO week in UTC.
    week: str
    answers: int
    seconds: float


def tally(session: Session, reviewer: str, *, since: datetime | None = None) -> Tally:
    """A person's answers in force, all or since a moment."""
    newer = aliased(Review)
    query = (
        select(
            Review.verdict,
            func.count(),
            func.coalesce(func.sum(case((col(Review.severity) == "severe", 1), else_=0)), 0),
        )
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .where(Review.reviewer == reviewer, col(newer.id).is_(None))
        .group_by(col(Review.verdict))
    )
    rows = session.exec(query if since is None else query.where(Review.created_at >= since)).all()
    counted = {kind: sum(count for verdict, count, _ in rows if verdict in verdicts) for kind, verdicts in _VERDICTS.items()}
    return Tally(**counted, severe=sum(int(severe) for _, _, severe in rows))


def page(session: Session, reviewer: str, *, kind: Kind = "all", number: int = 0, size: int = 10) -> list[Own]:
    """Page `number` (0 is the newest) of a person's answers in force, newest first."""
    return _own(session, session.exec(_mine(reviewer, kind).offset(number * size).limit(size)).all())


def everything(session: Session, reviewer: str) -> list[Own]:
    """All of a person's answers in force, oldest first."""
    return _own(session, session.exec(_mine(reviewer, "all")).all()[::-1])


def flags(session: Session, reviewer: str) -> Sequence[Review]:
    """All of a person's flags in force, newest first."""
    return session.exec(_mine(reviewer, "flagged")).all()


def weeks(session: Session, worker: str) -> list[Week]:
    """Hours under a "w_" pseudonym, newest week first."""
    rows = session.exec(select(WorkLog).where(WorkLog.person == worker).order_by(col(WorkLog.week).desc())).all()
    return [Week(row.week, row.answers, row.seconds) for row in rows]


def _mine(reviewer: str, kind: Kind) -> SelectOfScalar[Review]:
    newer = aliased(Review)
    query = (
        select(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .where(Review.reviewer == reviewer, col(newer.id).is_(None))
        .order_by(col(Review.id).desc())
    )
    return query if kind == "all" else query.where(col(Review.verdict).in_(_VERDICTS[kind]))


#: Rows of one query; SQLite takes some thousand values in a list.
_AT_A_TIME = 500


def _own(session: Session, reviews: Sequence[Review]) -> list[Own]:
    found = []
    for start in range(0, len(reviews), _AT_A_TIME):
        part = reviews[start : start + _AT_A_TIME]
        items = {
            item.id: (item, prompt)
            for item, prompt in session.exec(
                select(Item, Prompt)
                .join(Prompt, col(Prompt.id) == Item.prompt_id)
                .where(col(Item.id).in_([review.item_id for review in part]))
            ).all()
        }
        beside = generations_of(session, [number for number, (item, _) in items.items() if item.generation_id is None])
        shown = {
            number: [item.generation_id] if item.generation_id is not None else beside.get(number, [])
            for number, (item, _) in items.items()
        }
        wanted = sorted({generation for numbers in shown.values() for generation in numbers})
        texts = dict(session.exec(select(Text.id, Text.text).where(col(Text.id).in_(wanted))).all())
        found += [
            Own(
                review,
                items[review.item_id][1],
                [Shown(generation, texts[generation]) for generation in shown[review.item_id]],
            )
            for review in part
        ]
    return found
