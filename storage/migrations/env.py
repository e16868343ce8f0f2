"""Alembic's entry: runs on the engine that Store hands over, never on one of its own."""

from alembic import context
from sqlalchemy import Engine

from flagback.storage.records import Record


def _ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:
    """Leaves tables that are not ours (DBOS keeps its own in the same database) alone."""
    return kind != "table" or name in Record.metadata.tables


def run() -> None:
    """Runs the migrations asked for inside one transaction."""
    engine = context.config.attributes["engine"]
    assert isinstance(engine, Engine)  # nosec B101 # set by Store.migrate, for the type checker
    with engine.connect() as connection:
        context.configure(
            connection=connection, target_metadata=Record.metadata, render_as_batch=True, include_object=_ours, compare_type=True
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


run()
