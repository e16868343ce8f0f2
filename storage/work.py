"""Hours and counts for payment, a week at a time, under a pseudonym of their own: no answer can be found through them.

Figures leave in round numbers (five minutes, ten answers), so that a sheet of hours laid beside an export of reviews matches
nobody for certain; the table and who may read the sheet stand apart from the reviews as well.
"""

import math
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Account, Record, WorkLog

#: Longest time that one answer counts for, seconds: an item left open over lunch is no work.
LONGEST = 900.0


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
    """Who worked how much, by week and login."""
    login = {pseudonym(key, account_id, "work"): name for account_id, name in session.exec(select(Account.id, Account.login)).all()}
    rows = session.exec(select(WorkLog).where(WorkLog.week >= since_week).order_by(col(WorkLog.week), col(WorkLog.person))).all()
    return sorted(
        Worked(login[row.person], row.week, 10 * math.ceil(row.answers / 10), 5 * math.ceil(row.seconds / 300))
        for row in rows
        if row.person in login
    )
