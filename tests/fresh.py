"""Databases at the newest schema: made by the migrations once a process and then copied: a test's own would take a second."""

import tempfile
from functools import cache
from pathlib import Path

from flagback.storage.store import Store, make_private


def migrate(store: Store) -> None:
    """Brings a store to the newest schema, as its own `migrate` does; a SQLite file that is not there yet is a copy."""
    file = Path(str(store.url.database))
    if not store.is_sqlite or file.exists():
        store.migrate()
        return
    make_private(file)
    file.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    """A SQLite file that the migrations made."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flagback.db"
        store = Store(f"sqlite:///{file}")
        store.migrate()
        store.close()  # the last connection takes its log into the file
        return file.read_bytes()
