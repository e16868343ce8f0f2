"""Claims about the store and the schema, on SQLite and on PostgreSQL."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from flagback.storage import store as module
from flagback.storage.records import Account, Pool, Record
from flagback.storage.store import NewerSchema, OlderSchema, Store


def test_migrations_build_exactly_the_records(store: Store) -> None:
    with store.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Record.metadata)
    assert differences == []


def test_down_and_up_again_leaves_the_same_tables(store: Store) -> None:
    before = set(inspect(store.engine).get_table_names())
    store.migrate("base")
    assert set(inspect(store.engine).get_table_names()) <= {"alembic_version"}
    store.migrate()
    assert set(inspect(store.engine).get_table_names()) == before


def test_an_unmigrated_database_is_refused_with_the_next_command(empty_database_url: str) -> None:
    empty = Store(empty_database_url)
    with pytest.raises(OlderSchema, match="flagback migrate"):
        empty.check_schema()
    empty.close()


def test_a_newer_schema_is_refused_and_left_alone(store: Store) -> None:
    with store.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (store.check_schema, store.migrate):
        with pytest.raises(NewerSchema, match="9999"):
            attempt()
    assert store.schema_revision() == "9999"


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    with pytest.raises(IntegrityError), store.writing() as session:
        session.add(Account(login="ada", role="reviewer", password_hash="x"))
        session.flush()
        session.add(Account(login="ada", role="reviewer", password_hash="y"))
    with store.reading() as session:
        assert session.exec(select(Account)).all() == []


def test_an_unknown_state_word_is_refused_by_the_database(store: Store) -> None:
    with pytest.raises(IntegrityError), store.writing() as session:
        session.add(Account(login="ada", role="boss", password_hash="x"))  # type: ignore[arg-type]


def test_reading_changes_nothing(store: Store) -> None:
    with store.reading() as session:
        session.add(Account(login="ada", role="reviewer", password_hash="x"))
        session.flush()
    with store.reading() as session:
        assert session.exec(select(Account)).all() == []


def test_connections_that_the_server_has_ended_while_they_rested_are_made_anew(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESTED", 0.0)
    store = Store(postgres_url)
    with store.reading() as one, store.reading() as other:
        ours = [session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar_one() for session in (one, other)]
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for number in ours:
            connection.exec_driver_sql(f"SELECT pg_terminate_backend({number}, 5000)")
    with store.reading() as one, store.reading() as other:
        new = [session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar_one() for session in (one, other)]
    assert not set(ours) & set(new)
    admin.dispose()
    store.close()


def test_sqlite_records_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = Store(f"sqlite:///{tmp_path / 'home' / 'flagback.db'}")
        assert not (tmp_path / "home" / "flagback.db").exists()
        store.migrate()
        with store.reading() as session:
            session.exec(select(Account)).all()
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "home").iterdir()}
    finally:
        os.umask(before)
    store.close()
    assert modes == {"flagback.db": 0o600, "flagback.db-wal": 0o600, "flagback.db-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_records_that_were_opened_to_a_group_stay_so(tmp_path: Path) -> None:
    file = tmp_path / "flagback.db"
    file.touch()
    file.chmod(0o660)
    store = Store(f"sqlite:///{file}")
    store.migrate()
    store.close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o660


def test_alembic_is_reached_without_a_config_file(store: Store) -> None:
    command.check(store._alembic())


def test_another_process_beside_ours_leaves_nothing_of_ours_behind(tmp_path: Path) -> None:
    """Closing any handle of the file drops all locks of its process; SQLite beside us then takes the log for a dead one's."""
    url = f"sqlite:///{tmp_path / 'flagback.db'}"
    store = Store(url)
    store.migrate()
    look = (
        "import sys\nfrom sqlalchemy import text\nfrom flagback.storage.store import Store\nstore = Store(sys.argv[1])\n"
        "with store.reading() as session: print(session.connection().execute(text('SELECT count(*) FROM pool')).scalar_one())\n"
        "store.close()"
    )

    def seen_from_outside() -> int:
        done = subprocess.run([sys.executable, "-c", look, url], capture_output=True, text=True, check=True, timeout=60)
        return int(done.stdout)

    def write(name: str) -> None:
        with store.writing() as session:
            session.add(Pool(name=name, kind="named"))

    with store.engine.connect() as first, store.engine.connect() as second, store.engine.connect() as third:
        for connection in (first, second, third):
            connection.execute(text("SELECT 1"))
            connection.rollback()
        for number in range(3):
            write(f"pool {number}")
            assert seen_from_outside() == number + 1
        assert not [link for link in Path("/proc/self/fd").iterdir() if "flagback.db-wal (deleted)" in _target(link)]
    store.close()
    assert seen_from_outside() == 3


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
