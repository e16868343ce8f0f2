"""Hours and counts for payment, a week at a time, under a pseudonym of their own: no answer can be found through them.

Figures leave in round numbers (five minutes, ten answers), so that a single answer moves nobody's line. That hides no one whose
amount of work stands out: who has both the sheet and the reviews with their times can guess whose they are where few people review.
So the sheet is the administrator's alone, and the table knows no account without the key.
"""

import math
import re
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Account, Record, WorkLog

#: Longest time that one answer counts for, seconds: an item left open over lunch is no work.
LONGEST = 900.0


_WEEK = re.compile(r"[0-9]{4}-W(0[1-9]|[1-4][0-9]|5[0-3])")


class BadWeek(ValueError):
    """A text that names no week."""


class Worked(NamedTuple):
    """One person's week, rounded up for payment."""

    login: str
    week: str
    #: To the next ten.
    answers: int
    #: To the next five minutes.
    minutes: int


def week_of(moment: datetime) -> str:
    """ISO week in UTC: "2026-W47"."""
    year, week, _ = moment.astimezone(UTC).isocalendar()
    return f"{year}-W{week:02d}"


def add(session: Session, person: str, *, seconds: float | None, now: datetime) -> None:
    """Counts one answer of a "w_" pseudonym."""
    table = Record.metadata.tables["work_log"]
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    worked = min(max(seconds or 0.0, 0.0), LONGEST)
    row = dialect.insert(table).values(person=person, week=week_of(now), answers=1, seconds=worked)
    session.connection().execute(
        row.on_conflict_do_update(
            index_elements=["person", "week"],
            set_={"answers": table.c.answers + 1, "seconds": table.c.seconds + row.excluded.seconds},
        )
    )


def sheet(session: Session, key: bytes, *, since_week: str = "") -> list[Worked]:
    """Who worked how much, by week and login; from a week on where one is given. Raises BadWeek."""
    if since_week and not _WEEK.fullmatch(since_week):
        raise BadWeek(f"{since_week!r} names no week; expected an ISO week like 2026-W47: 'flagback hours --since 2026-W47'.")
    login = {pseudonym(key, account_id, "work"): name for account_id, name in session.exec(select(Account.id, Account.login)).all()}
    rows = session.exec(select(WorkLog).where(WorkLog.week >= since_week).order_by(col(WorkLog.week), col(WorkLog.person))).all()
    return sorted(
        Worked(login[row.person], row.week, 10 * math.ceil(row.answers / 10), 5 * math.ceil(row.seconds / 300))
        for row in rows
        if row.person in login
    )
