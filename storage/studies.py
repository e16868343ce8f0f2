"""Studies: how many answers a crowd platform's study wants of someone, how many they gave, and the code they have earned.

Knows pools and counts; who may claim what, and where the code is shown, is its users' business.
"""

from typing import NamedTuple

from sqlmodel import Session

from flagback.storage import reviews
from flagback.storage.records import Account, Pool


class Part(NamedTuple):
    """Someone's part in a study."""

    wanted: int
    given: int
    #: What the platform asks for; None until enough is given.
    code: str | None

    @property
    def owed(self) -> int:
        """Answers still to give."""
        return max(0, self.wanted - self.given)


def part_of(session: Session, account: Account, reviewer: str) -> Part | None:
    """The part of an account whose answers stand under `reviewer`; None for everyone who is in no study that ends."""
    pool = None if account.pool_id is None else session.get(Pool, account.pool_id)
    if pool is None or pool.answers_wanted is None:
        return None
    given = reviews.answered_today(session, reviewer, since=account.created_at)
    return Part(pool.answers_wanted, given, pool.completion_code if given >= pool.answers_wanted else None)
