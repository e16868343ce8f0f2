"""How often someone may try to sign in: failures in a row of one login or one address make the next try wait longer.

Counts under keyed hashes, so that the table tells nobody's address. A try is counted before the password is looked at: a hundred
guesses sent at once are a hundred tries.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete
from sqlmodel import Session, col

from flagback.storage.pseudonyms import keyed_hash
from flagback.storage.records import SignInFailure
from flagback.storage.store import one_at_a_time

#: Tries after which waiting begins, by what is counted: an address may be a whole office.
FREE = {"login": 5, "address": 30}
#: The first wait; it doubles with every further failure.
FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=15)
#: After so long without a try the count begins anew.
FORGET_AFTER = timedelta(hours=24)


class Counted(NamedTuple):
    """What a try is counted under."""

    #: "login" or "address".
    what: str
    who: str


def counted(key: bytes, *, login: str, address: str | None) -> list[Counted]:
    """What a try is counted under: the login, and the address where there is one to tell."""
    found = {"login": login} | ({} if address is None else {"address": address})
    return [Counted(what, keyed_hash(key, f"flagback sign-in {what} {text}")) for what, text in found.items()]


def wait_after(what: str, failures: int) -> timedelta:
    """How long to wait after so many failures in a row: none at first, then doubling, up to 15 minutes."""
    over = failures - FREE[what]
    return timedelta(0) if over < 0 else min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(over, 20))


def attempt(session: Session, under: Iterable[Counted], *, now: datetime) -> timedelta:
    """Counts a try, or says how long to wait before one is taken; a try that came too early is not counted."""
    for each in sorted(under):
        one_at_a_time(session, f"sign-in {each.who}")
    rows = {each: session.get(SignInFailure, each.who) for each in under}
    waits = [
        row.last_at + wait_after(each.what, row.failures) - now
        for each, row in rows.items()
        if row is not None and now - row.last_at < FORGET_AFTER
    ]
    longest = max(waits, default=timedelta(0))
    if longest > timedelta(0):
        return longest
    for each, row in rows.items():
        kept = row or SignInFailure(who=each.who, failures=0, last_at=now)
        kept.failures = 1 if now - kept.last_at >= FORGET_AFTER else kept.failures + 1
        kept.last_at = now
        session.add(kept)
    session.flush()
    return timedelta(0)


def succeeded(session: Session, under: Iterable[Counted]) -> None:
    """Forgets a login's failures and gives the address its try back."""
    for each in under:
        row = session.get(SignInFailure, each.who)
        if row is None:
            continue
        if each.what == "login" or row.failures <= 1:
            session.delete(row)
        else:
            row.failures -= 1
            session.add(row)
    session.flush()


def forget_old(session: Session, *, now: datetime) -> None:
    """Deletes counts that no longer matter."""
    session.connection().execute(delete(SignInFailure).where(col(SignInFailure.last_at) < now - FORGET_AFTER))
