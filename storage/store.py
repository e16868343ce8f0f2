"""The store: one engine, its transactions, and the schema's state. SQLite (WAL) or PostgreSQL, same code.

Knows how to open, migrate and write safely; knows nothing of what the rows mean.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, String, bindparam, create_engine, event, func, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Row, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError, InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session

from flagback.storage.records import Record

Result = TypeVar("Result")

#: Seconds without use after which a connection to a server is asked for a sign of life.
RESTED = 1.0
#: How often a transaction that lost a race is run again before its error is shown.
TRIES = 5


class NewerSchema(Exception):
    """The home was written by a newer Flagback than this one."""


class OlderSchema(Exception):
    """The home needs a migration before this Flagback can use it."""


class UnreachableDatabase(Exception):
    """The database cannot be opened."""


class Store:
    """An installation's records.

    `reading()` gives a session that is rolled back at its end; `writing()` commits, or rolls back on any exception. On
    SQLite a process-wide lock lines writers up: without it one thread starves the others for seconds.
    """

    def __init__(self, url: str | URL) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._write_lock = threading.RLock() if self.is_sqlite else None
        if self.is_sqlite:
            if self.url.database in (None, "", ":memory:"):
                raise UnreachableDatabase("An in-memory SQLite has no file that web and worker can share; give a file path.")
            self.engine = create_engine(self.url, connect_args={"timeout": 30})
            event.listen(self.engine, "do_connect", lambda *_: make_private(Path(str(self.url.database))))
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_immediate)
        else:
            self.engine = create_engine(self.url, pool_size=20, max_overflow=40, pool_use_lifo=True)
            event.listen(self.engine, "checkin", lambda _, record: record.info.update(rests_since=time.monotonic()))
            event.listen(self.engine, "checkout", self._check_rested)

    def _check_rested(self, connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        """Asks the server for a sign of life where a connection has rested: after a restart all are made anew.

        Not at each checkout, as `pool_pre_ping` does: under load that is one message in ten.
        """
        if time.monotonic() - record.info.get("rests_since", math.inf) < RESTED:
            return
        try:
            self.engine.dialect.do_ping(connection)
        except self.engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session to read with; what it changed is discarded."""
        with Session(self.engine.execution_options(flagback_read_only=True), expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction: all of it or none of it."""
        if self._write_lock is not None:
            self._write_lock.acquire()
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                yield session
        finally:
            if self._write_lock is not None:
                self._write_lock.release()

    def settle(self, work: Callable[[Session], Result]) -> Result:
        """Runs `work` in a transaction; where it lost a race (a constraint refused its row), runs it again.

        `work` must look before it writes: at its second look it finds the winner's row and gives the right answer.
        """
        for _ in range(TRIES - 1):
            try:
                with self.writing() as session:
                    return work(session)
            except IntegrityError:
                continue
        with self.writing() as session:
            return work(session)

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()

    # ----------------------------------------------------------------- schema

    def _alembic(self) -> Config:
        config = Config()
        config.set_main_option("script_location", str(files("flagback.storage").joinpath("migrations")))
        config.attributes["engine"] = self.engine
        return config

    def schema_revision(self) -> str | None:
        """The revision the database is at, None for an empty one."""
        with self.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def migrate(self, revision: str = "head") -> None:
        """Brings the schema to `revision`. Raises NewerSchema where the database is ahead of this code."""
        self._refuse_newer()
        if revision == "base" or revision.startswith("-"):
            command.downgrade(self._alembic(), revision)
        else:
            command.upgrade(self._alembic(), revision)

    def check_schema(self) -> None:
        """Raises NewerSchema or OlderSchema unless the database is at this code's revision."""
        self._refuse_newer()
        head = ScriptDirectory.from_config(self._alembic()).get_current_head()
        found = self.schema_revision()
        if found != head:
            raise OlderSchema(
                f"The records in {self.shown_url} are at schema {found or 'none'}, this Flagback needs {head}; "
                "run 'flagback migrate' (a copy of the home first is wise)."
            )

    def _refuse_newer(self) -> None:
        found = self.schema_revision()
        known = {script.revision for script in ScriptDirectory.from_config(self._alembic()).walk_revisions()}
        if found is not None and found not in known:
            raise NewerSchema(
                f"The records in {self.shown_url} are at schema {found}, which this Flagback does not know (it is "
                "from a newer one); install that version again, or point FLAGBACK_HOME at another folder."
            )

    @property
    def shown_url(self) -> str:
        """The address without its password."""
        return self.url.render_as_string(hide_password=True)

    def ping(self) -> None:
        """Raises UnreachableDatabase when the database does not answer."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except Exception as error:
            raise UnreachableDatabase(
                f"The database {self.shown_url} does not answer ({error.__class__.__name__}); check that "
                "it runs and that FLAGBACK_DATABASE_URL names it."
            ) from error


def make_private(file: Path) -> None:
    """Makes an empty SQLite file, and its folder, that only their owner can open. What is there already stays as it is.

    SQLite gives its -wal and -shm files the mode of the file itself. What cannot be made is left for SQLite to name.
    A file that is there must never be opened here: closing it would drop every lock that this process holds on it (POSIX), and
    the next process would take our log for a dead one's and delete it (sqlite.org/howtocorrupt.html, 2.2).
    """
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def insert_missing(
    session: Session, table_name: str, rows: Sequence[Mapping[str, Any]], *, returning: Sequence[str]
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Inserts the rows that break no UNIQUE constraint; returns the named columns of those inserted, in any order.

    Another transaction's equal row, committed or under way, is waited for and then counts as there. Rows name every column but
    id.
    """
    if not rows:
        return []
    table = Record.metadata.tables[table_name]
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing().returning(*(table.c[name] for name in returning))
    return session.connection().execute(statement, list(rows)).all()


def insert_all(session: Session, table_name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts many rows at once; rows name every column but id."""
    if rows:
        session.connection().execute(insert(Record.metadata.tables[table_name]), list(rows))


def one_at_a_time(session: Session, *what: str, by_index: bool = False) -> None:
    """Until this transaction ends, no other one that names the same passes here. On SQLite writers are alone anyway.

    Several are waited for in the order given, which must be the same everywhere. With `by_index` PostgreSQL reads no whole table
    in this transaction where an index will do: it plans by counts that may be a minute old, and of a table that was empty then it
    thinks that reading it whole is cheapest.
    """
    if session.get_bind().dialect.name == "postgresql":
        given = {f"what{place}": name for place, name in enumerate(what)}
        session.connection().execute(_lock(len(what), by_index), given)


@cache
def _lock(count: int, by_index: bool) -> Any:
    names = (bindparam(f"what{place}", type_=String) for place in range(count))
    locks = select(*(func.pg_advisory_xact_lock(func.hashtextextended(name, 0)) for name in names))
    return locks.add_columns(func.set_config("enable_seqscan", "off", True)) if by_index else locks


def _prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    """WAL, foreign keys, durable commits; transactions are begun by us (BEGIN IMMEDIATE), not by the driver."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    """Readers begin deferred; writers take the write lock at once, so that no transaction fails half-way for a lock."""
    read_only = connection.get_execution_options().get("flagback_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
