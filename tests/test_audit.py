"""Claims about the audit log."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from flagback.storage.audit import START, BrokenChain, entry_hash, record, verify
from flagback.storage.records import AuditEntry
from flagback.storage.store import Store

NOON = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)


def fill(store: Store, count: int = 4) -> None:
    for number in range(count):
        with store.writing() as session:
            record(session, actor="ada", action="test.done", details={"n": number, "x": [0.1, "ü", None]}, now=NOON)


def forge(store: Store, statement: str) -> None:
    """Does what the triggers refuse, as somebody with the database file could."""
    with store.writing() as session:
        connection = session.connection()
        if store.is_sqlite:
            connection.execute(text("DROP TRIGGER append_only_audit_entry_update"))
            connection.execute(text("DROP TRIGGER append_only_audit_entry_delete"))
        else:
            connection.execute(text("ALTER TABLE audit_entry DISABLE TRIGGER USER"))
        connection.execute(text(statement))


def test_the_hash_is_the_documented_one() -> None:
    row = f'["{START}","ada","a.b",{{"a":[1,"\\u00fc"],"b":null}},"2026-03-01T12:00:00.000005+00:00"]'
    expected = hashlib.sha256(row.encode("ascii")).hexdigest()
    assert entry_hash(START, "ada", "a.b", {"b": None, "a": [1, "ü"]}, NOON) == expected
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    assert entry_hash(START, "ada", "a.b", {"b": None, "a": [1, "ü"]}, elsewhere) == expected


def test_an_untouched_log_is_whole(store: Store) -> None:
    fill(store)
    with store.reading() as session:
        verify(session)
        rows = session.exec(select(AuditEntry).order_by(col(AuditEntry.id))).all()
    assert [row.previous_hash for row in rows] == [START, *(row.entry_hash for row in rows[:-1])]


def test_an_altered_row_is_named(store: Store) -> None:
    fill(store, 6)
    forge(store, "SELECT 1")
    for row, change in enumerate(
        [
            "previous_hash = 'x'",
            "entry_hash = 'x'",
            "created_at = '2025-01-01 00:00:00+00:00'",
            "details = '{\"n\": 9}'",
            "action = 'x'",
            "actor = 'eve'",
        ]
    ):
        with store.writing() as session:  # from the last to the first, so that each alteration is the first that verify meets
            session.connection().execute(text(f"UPDATE audit_entry SET {change} WHERE id = {6 - row}"))  # nosec B608 # a forger's SQL, written here
        with pytest.raises(BrokenChain, match=f"Audit entry {6 - row} "), store.reading() as session:
            verify(session)


def test_a_removed_row_shows_at_the_next(store: Store) -> None:
    fill(store)
    forge(store, "DELETE FROM audit_entry WHERE id = 2")
    with pytest.raises(BrokenChain, match=r"Audit entry 3 .* a row was removed"), store.reading() as session:
        verify(session)


@pytest.mark.parametrize("statement", ["UPDATE audit_entry SET actor = 'eve'", "DELETE FROM audit_entry"])
def test_the_database_refuses_to_change_the_log(store: Store, statement: str) -> None:
    fill(store, 1)
    with pytest.raises(IntegrityError, match="rows of audit_entry are never changed"), store.writing() as session:
        session.connection().execute(text(statement))


def test_many_writers_make_one_chain(store: Store) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: fill(store, 5), range(6)))
    with store.reading() as session:
        verify(session)
        assert len(session.exec(select(AuditEntry.id)).all()) == 30


def test_an_entry_stays_or_goes_with_what_it_tells_of(store: Store) -> None:
    fill(store, 1)
    with pytest.raises(ZeroDivisionError), store.writing() as session:
        record(session, actor="ada", action="x", details={}, now=NOON)
        _ = 1 // 0
    fill(store, 1)
    with store.reading() as session:
        verify(session)
        assert len(session.exec(select(AuditEntry.id)).all()) == 2
