"""The audit log: what was done and by whom, as a hash chain, so that a removed or altered row shows.

Knows the chain only. An entry's hash is sha256, in hex, of the JSON array [previous_hash, actor, action, details, created_at]
written with sorted keys, no spaces and every non-ASCII character escaped; created_at is UTC as
2026-01-31T12:00:00.000000+00:00; the first entry's previous_hash is 64 zeros. Rows cut off at the end leave a whole shorter
chain: compare the last hash with one noted elsewhere.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, col, select

from flagback.storage.records import AuditEntry
from flagback.storage.store import one_at_a_time

#: What the first entry names as its predecessor.
START = "0" * 64
#: Rows read at a time, so that no long snapshot holds up the database's own cleaning.
PAGE = 1_000


class BrokenChain(Exception):
    """The audit log was altered outside Flagback."""


def record(session: Session, *, actor: str, action: str, details: Mapping[str, Any], now: datetime) -> AuditEntry:
    """Appends an entry in the caller's transaction. Entries are written one after the other until that ends, so record last."""
    one_at_a_time(session, "audit")
    last = session.exec(select(AuditEntry.entry_hash).order_by(col(AuditEntry.id).desc()).limit(1)).first() or START
    kept = json.loads(json.dumps(details, allow_nan=False))
    entry = AuditEntry(
        actor=actor,
        action=action,
        details=kept,
        created_at=now,
        previous_hash=last,
        entry_hash=entry_hash(last, actor, action, kept, now),
    )
    session.add(entry)
    session.flush()
    return entry


def entry_hash(previous_hash: str, actor: str, action: str, details: Mapping[str, Any], created_at: datetime) -> str:
    """The hash of one entry, as the module's docstring defines it."""
    moment = created_at.astimezone(UTC).isoformat(timespec="microseconds")
    row = json.dumps([previous_hash, actor, action, details, moment], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(row.encode("ascii")).hexdigest()


def verify(session: Session) -> None:
    """Recomputes the whole chain; raises BrokenChain naming the first row that does not fit."""
    last, seen = START, 0
    while page := session.exec(select(AuditEntry).where(AuditEntry.id > seen).order_by(col(AuditEntry.id)).limit(PAGE)).all():
        for entry in page:
            if entry.previous_hash != last:
                raise BrokenChain(
                    f"Audit entry {entry.id} names {entry.previous_hash[:12]}… as its predecessor, but {last[:12]}… "
                    "stands before it: a row was removed or put in. Compare with a backup."
                )
            if entry.entry_hash != entry_hash(last, entry.actor, entry.action, entry.details, entry.created_at):
                raise BrokenChain(
                    f"Audit entry {entry.id} ({entry.action} by {entry.actor}) does not have the content it was "
                    "written with. Compare with a backup."
                )
            last, seen = entry.entry_hash, entry.id
