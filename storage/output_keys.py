"""Keys with which programs in use send logged answers: made once, shown once, kept as a hash, withdrawn at any time.

Knows no request and no answer. A key opens one thing only, and that is not decided here (flagback.review_app.access).
"""

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from flagback.storage import audit
from flagback.storage.reading import shortened
from flagback.storage.records import OutputKey
from flagback.storage.store import one_at_a_time

#: What a key begins with, so that people and scanners of code recognise one.
PREFIX = "fbk_"
#: seen_at is kept to the hour: when a program runs is nobody's business to the second.
SEEN_EVERY = timedelta(hours=1)
LONGEST_KEY = 200

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class BadKeyName(ValueError):
    """A name that no key can have."""


class KeyExists(Exception):
    """A key of this name was made before."""


class UnknownKey(Exception):
    """No key has this name."""


def make(session: Session, name: str, *, by: str, now: datetime) -> str:
    """Makes a key and returns it; nobody can be shown it again. Raises BadKeyName or KeyExists."""
    if not _NAME.fullmatch(name):
        raise BadKeyName(
            f"The key name {shortened(name)} cannot be used; expected 1 to 64 letters, digits, dots, dashes or underscores."
        )
    one_at_a_time(session, "output keys")
    if session.exec(select(OutputKey.id).where(OutputKey.name == name)).first() is not None:
        raise KeyExists(
            f"There is, or was, a key {name!r}, and what it brought stands under that name; choose another. 'flagback outputs key "
            "list' has all."
        )
    key = PREFIX + secrets.token_urlsafe(32)
    session.add(OutputKey(name=name, key_hash=_hash(key), made_by=by, created_at=now))
    session.flush()
    audit.record(session, actor=by, action="output key made", details={"key": name}, now=now)
    return key


def known(session: Session) -> list[OutputKey]:
    """Every key that was ever made, newest first."""
    return list(session.exec(select(OutputKey).order_by(col(OutputKey.id).desc())).all())


def withdraw(session: Session, name: str, *, by: str, now: datetime) -> OutputKey:
    """Ends a key at once; one that was ended before stays so. What it brought stays. Raises UnknownKey."""
    found = session.exec(select(OutputKey).where(OutputKey.name == name)).first() if _NAME.fullmatch(name) else None
    if found is None:
        raise UnknownKey(f"There is no key {shortened(name)}; see 'flagback outputs key list'.")
    if found.ended_at is None:
        found.ended_at = now
        session.add(found)
        session.flush()
        audit.record(session, actor=by, action="output key withdrawn", details={"key": name}, now=now)
    return found


def holder(session: Session, key: str) -> OutputKey | None:
    """The live key that this is, None for any other text.

    Found by its hash, which tells nothing of the key by how long it takes, and compared once more in constant time.
    """
    if not key.startswith(PREFIX) or len(key) > LONGEST_KEY or not key.isascii():
        return None
    hashed = _hash(key)
    found = session.exec(select(OutputKey).where(OutputKey.key_hash == hashed, col(OutputKey.ended_at).is_(None))).first()
    return found if found is not None and hmac.compare_digest(found.key_hash, hashed) else None


def lives(session: Session, key_id: int) -> bool:
    """Whether a key is there and was not withdrawn."""
    return session.exec(select(OutputKey.id).where(OutputKey.id == key_id, col(OutputKey.ended_at).is_(None))).first() is not None


def stale(key: OutputKey, now: datetime) -> bool:
    """Whether `seen` has something to note."""
    return key.seen_at is None or now - key.seen_at >= SEEN_EVERY


def seen(session: Session, key_id: int, *, now: datetime) -> None:
    """Notes, to the hour, that a request came."""
    found = session.get_one(OutputKey, key_id)
    found.seen_at = now.replace(minute=0, second=0, microsecond=0)
    session.add(found)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
