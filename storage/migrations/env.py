"""Alembic's entry: runs on the engine that Store hands over, never on one of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from sqlalchemy import Connection, Engine

from flagback.storage.records import Record


def _ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:
    """Leaves tables that are not ours (DBOS keeps its own in the same database) alone."""
    return kind != "table" or name in Record.metadata.tables


@contextmanager
def _foreign_keys_at_rest(connection: Connection) -> Iterator[None]:
    """SQLite changes a column by rebuilding its table, which its rows' children forbid; so they are checked at the end instead.

    https://www.sqlite.org/lang_altertable.html, section 7. The switch works outside a transaction only.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver = connection.connection.driver_connection
    assert driver is not None  # nosec B101 # an open connection has one, for the type checker
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        connection.rollback()
        driver.execute("PRAGMA foreign_keys=ON")


class OrphanLeft(Exception):
    """A migration broke a foreign key; it is rolled back."""


def _refuse_orphans(connection: Connection) -> None:
    orphan = connection.exec_driver_sql("PRAGMA foreign_key_check").first() if connection.dialect.name == "sqlite" else None
    if orphan is not None:
        raise OrphanLeft(f"The migration left a row without what it points to: {tuple(orphan)}; nothing was changed.")


def run() -> None:
    """Runs the migrations asked for inside one transaction."""
    engine = context.config.attributes["engine"]
    assert isinstance(engine, Engine)  # nosec B101 # set by Store.migrate, for the type checker
    with engine.connect() as connection, _foreign_keys_at_rest(connection):
        context.configure(
            connection=connection, target_metadata=Record.metadata, render_as_batch=True, include_object=_ours, compare_type=True
        )
        with context.begin_transaction():
            context.run_migrations()
        _refuse_orphans(connection)
        connection.commit()


run()
