"""Setting aside: a reviewer paused, or answers left out of sets and figures, by a person, for a reason, until it is ended.

Nothing is deleted or overwritten: every record says who, why and when, ends with who ended it, and stands in the audit log. Answers
already given stay in all tables. Whether somebody agrees with others is no ground that anything here can see: it knows no votes.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from flagback.storage import audit
from flagback.storage.items import seat_others
from flagback.storage.prompts import check_storable
from flagback.storage.records import Review, SetAside, SettingAside
from flagback.storage.store import one_at_a_time

#: Shortest reason, characters without blanks at the ends.
SHORTEST_REASON = 10


class NoReason(ValueError):
    """Somebody was to be set aside without a reason."""


class UnknownReviewer(ValueError):
    """A pseudonym under which nobody reviewed, or a review that does not exist."""


class AlreadySetAside(ValueError):
    """The same is in force already."""


class NotSetAside(ValueError):
    """There is nothing in force to end."""


def add(
    session: Session,
    kind: SettingAside,
    *,
    reviewer: str | None = None,
    review_id: int | None = None,
    reason: str,
    by: str,
    now: datetime,
) -> SetAside:
    """Pauses a reviewer, or leaves out a reviewer's answers or one review. Raises NoReason, UnknownReviewer or AlreadySetAside.

    A review left out takes its corrections with it, earlier and later ones. What is left out fills no seat any more: others are
    asked in its place, and stay when the record is ended.
    """
    check_storable(by=by, reason=reason)
    reason = reason.strip()
    if len(reason) < SHORTEST_REASON:
        raise NoReason(
            f"The reason is {reason!r}; expected at least {SHORTEST_REASON} characters that say why, for who reads it later."
        )
    _check_whom(session, kind, reviewer, review_id)
    whose = reviewer or (session.get_one(Review, review_id).reviewer if review_id is not None else "")
    one_at_a_time(session, f"reviewer {whose}")  # no answer of theirs is stored and nothing handed out meanwhile
    same = [row for row in in_force(session, kind) if (row.reviewer, row.review_id) == (reviewer, review_id)]
    if same:
        raise AlreadySetAside(
            f"Record {same[0].id} says so already since {same[0].created_at:%Y-%m-%d}; end it first: "
            f"'flagback set-aside end {same[0].id}'."
        )
    row = SetAside(kind=kind, reviewer=reviewer, review_id=review_id, reason=reason, decided_by=by, created_at=now)
    session.add(row)
    session.flush()
    details = {"record": row.id, "kind": kind, "reviewer": reviewer, "review": review_id, "reason": reason}
    if kind == "exclude":
        item_id = None if review_id is None else session.get_one(Review, review_id).item_id
        details["seats_opened"] = seat_others(session, whose, item_id)
    audit.record(session, actor=by, action="set aside", details=details, now=now)
    return row


def end(session: Session, record_id: int, *, by: str, now: datetime) -> SetAside:
    """Ends one record: the reviewer is handed items again, the answers count again. Raises NotSetAside."""
    check_storable(by=by)
    row = session.get(SetAside, record_id)
    if row is None or row.ended_at is not None:
        listed = ", ".join(str(known.id) for known in in_force(session)) or "none"
        raise NotSetAside(f"Nothing with the number {record_id} is in force; in force: {listed}. See 'flagback set-aside list'.")
    row.ended_at, row.ended_by = now, by
    session.add(row)
    session.flush()
    audit.record(session, actor=by, action="set aside ended", details={"record": row.id, "kind": row.kind}, now=now)
    return row


def in_force(session: Session, kind: SettingAside | None = None) -> list[SetAside]:
    """Records that were not ended, oldest first."""
    rows = select(SetAside).where(col(SetAside.ended_at).is_(None)).order_by(col(SetAside.id))
    return list(session.exec(rows if kind is None else rows.where(SetAside.kind == kind)).all())


def everything(session: Session) -> Sequence[SetAside]:
    """All records, ended ones too, newest first."""
    return session.exec(select(SetAside).order_by(col(SetAside.id).desc())).all()


def paused(session: Session, reviewer: str) -> bool:
    """Whether a reviewer is to be handed nothing: paused, or left out, whose answers would fill seats and count nowhere."""
    row = select(SetAside.id).where(SetAside.reviewer == reviewer, col(SetAside.ended_at).is_(None))
    return session.exec(row.limit(1)).first() is not None


def _check_whom(session: Session, kind: SettingAside, reviewer: str | None, review_id: int | None) -> None:
    if (reviewer is None) == (review_id is None) or (kind == "pause" and reviewer is None):
        raise UnknownReviewer("Say whom it is about: a reviewer's pseudonym, or, to leave one answer out, a review's number.")
    if reviewer is not None:
        check_storable(reviewer=reviewer)
        if session.exec(select(Review.id).where(Review.reviewer == reviewer).limit(1)).first() is None:
            raise UnknownReviewer(f"Nobody reviewed as {reviewer!r}; expected a pseudonym from 'flagback reviewers'.")
    if review_id is not None and session.get(Review, review_id) is None:
        raise UnknownReviewer(f"There is no review {review_id}; expected a number from 'flagback reviews'.")
