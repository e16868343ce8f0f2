"""How the panel's work stands: seats nobody has taken, how long answers wait, reviews a day, what people had to read. Totals only.

Knows no background and tells of nobody: seats are counted by the group they are kept for, never beside who fills one, and what
people met on a day is told only where so many worked that it is no one person's number.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import case, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage import counting
from flagback.storage.overlap import open_seats
from flagback.storage.records import Item, Review, Slot
from flagback.storage.suppression import SMALLEST

#: Ends of the spans that waiting answers are counted in, and what each is called; the last has no end.
AGES: tuple[tuple[timedelta | None, str], ...] = (
    (timedelta(days=1), "under a day"),
    (timedelta(days=3), "1 to 3 days"),
    (timedelta(days=7), "3 to 7 days"),
    (timedelta(days=14), "1 to 2 weeks"),
    (timedelta(days=28), "2 to 4 weeks"),
    (None, "longer"),
)
#: So many days are looked back on, today included.
DAYS = 30


class Day(NamedTuple):
    """One day of everybody's work."""

    day: date
    #: Flags and fines in force that count.
    reviews: int
    #: How often an answer that somebody calls severe was answered or skipped; None where fewer than five people worked, and today:
    #: who watched the number grow would see who met what.
    severe_met: int | None
    #: How often an answer was skipped as too upsetting; None likewise.
    too_upsetting: int | None


class Health(NamedTuple):
    """The panel's work at one moment."""

    #: Open seats by the group they are kept for, "any" included.
    seats: dict[str, int]
    #: Answers with an open seat, since when the oldest of them waits, and how many have waited how long: one for each of AGES.
    waiting: int
    oldest: datetime | None
    ages: tuple[int, ...]
    #: The last DAYS days, oldest first.
    days: list[Day]


def health(session: Session, *, now: datetime) -> Health:
    """Counts everything anew; days are those of `now`'s zone."""
    waiting, oldest, ages = _ages(session, now)
    return Health(open_seats(session), waiting, oldest, ages, _days(session, now))


def _ages(session: Session, now: datetime) -> tuple[int, datetime | None, tuple[int, ...]]:
    """An answer waits from when it was put up for review, however many of its seats are filled."""
    bounds = [now - end for end, _ in AGES if end is not None]
    reaching = [func.sum(case((col(Item.created_at) > bound, 1), else_=0)) for bound in bounds]
    unfilled = col(Item.id).in_(select(Slot.item_id).where(Slot.state == "open", Slot.mode != "own"))
    row: Any = session.connection().execute(select(func.count(), func.min(col(Item.created_at)), *reaching).where(unfilled)).one()
    reached = [0, *(int(younger or 0) for younger in row[2:]), int(row[0])]
    return int(row[0]), row[1], tuple(later - earlier for earlier, later in pairwise(reached))


def _days(session: Session, now: datetime) -> list[Day]:
    today = now.date()
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    since = datetime.combine(days[0], datetime.min.time(), tzinfo=now.tzinfo)
    judged = Counter(_day(moment, now) for moment in _judged(session, since))
    met: dict[date, list[tuple[str, bool, bool]]] = defaultdict(list)
    for moment, *what in _met(session, since):
        met[_day(moment, now)].append((str(what[0]), bool(what[1]), bool(what[2])))
    return [Day(day, judged[day], *(_exposure(met[day]) if day < today else (None, None))) for day in days]


def _day(moment: datetime, now: datetime) -> date:
    return moment.astimezone(now.tzinfo).date()


def _exposure(met: Sequence[tuple[str, bool, bool]]) -> tuple[int | None, int | None]:
    if not met:
        return 0, 0
    if len({reviewer for reviewer, *_ in met}) < SMALLEST:
        return None, None
    return sum(severe for _, severe, _ in met), sum(upset for *_, upset in met)


def _judged(session: Session, since: datetime) -> Sequence[datetime]:
    """When the flags and fines that count were given."""
    newer = aliased(Review)
    return session.exec(
        select(Review.created_at)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .where(col(newer.id).is_(None), Review.created_at >= since, col(Review.simulated).is_(False))
        .where(Review.verdict != "skip", counting.counts())
    ).all()


def _met(session: Session, since: datetime) -> Sequence[tuple[datetime, str, int, int]]:
    """(when, who, whether somebody calls it severe, whether it was too upsetting) of everything that people answered or skipped,
    once each; also of answers left out: who gave them read them all the same."""
    newer, found = aliased(Review), aliased(Review)
    severe = (
        select(found.item_id)
        .outerjoin(newer, col(newer.supersedes) == found.id)
        .where(col(newer.id).is_(None), found.severity == "severe", col(found.simulated).is_(False), counting.counts(found))
    )
    rows = session.exec(
        select(
            Review.created_at,
            Review.reviewer,
            case((col(Review.item_id).in_(severe), 1), else_=0),
            case((col(Review.skip_reason) == "too_upsetting", 1), else_=0),
        ).where(col(Review.supersedes).is_(None), Review.created_at >= since, col(Review.simulated).is_(False))
    ).all()
    return [(moment, reviewer, int(is_severe), int(upset)) for moment, reviewer, is_severe, upset in rows]
