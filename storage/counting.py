"""Which reviews count: those that nobody set aside, whose text is not withdrawn, and that were no second look. The condition that
every query over reviews shares. Knows no votes."""

from typing import Any

from sqlalchemy import ColumnElement, and_, not_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage.quarantine import withdrawn_items
from flagback.storage.records import Review, SecondLook, SetAside


def counts(review: Any = Review) -> ColumnElement[bool]:
    """The condition that a review is not left out, for any query over `Review` or an alias of it."""
    by_person, by_review, meant = aliased(SetAside), aliased(SetAside), aliased(Review)
    person = (
        select(by_person.id)
        .where(by_person.kind == "exclude", col(by_person.ended_at).is_(None), by_person.reviewer == review.reviewer)
        .exists()
    )
    answer = (
        select(by_review.id)
        .join(meant, col(meant.id) == by_review.review_id)
        .where(by_review.kind == "exclude", col(by_review.ended_at).is_(None))
        .where(meant.item_id == review.item_id, meant.reviewer == review.reviewer)
        .exists()
    )
    again = select(SecondLook.item_id).where(SecondLook.item_id == review.item_id).exists()
    return and_(not_(person), not_(answer), not_(again), review.item_id.not_in(withdrawn_items()))


def left_out(session: Session) -> frozenset[int]:
    """The numbers of all reviews that are left out."""
    if (
        session.exec(select(SetAside.id).where(SetAside.kind == "exclude", col(SetAside.ended_at).is_(None)).limit(1)).first()
        is None
    ):
        return frozenset()
    return frozenset(session.exec(select(Review.id).where(not_(counts()))).all())
