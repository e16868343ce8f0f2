"""The home folder of an installation as commands and workers meet it: opening its records, its locks, its worker names, its logs.

Knows files, ports and who may listen where; knows nothing of what a command then does.
"""

import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlmodel import col, select

from flagback.review_app.settings import Settings
from flagback.storage.records import Account
from flagback.storage.store import Store


class NoInstallation(Exception):
    """There are no records in the home folder yet."""


class UnusableHome(Exception):
    """The home is not a folder that can be written to."""


class HomeInUse(Exception):
    """Another process does already what may be done once at a time."""


class PortInUse(Exception):
    """Something else listens where the web would."""


class DemoInTheOpen(Exception):
    """Accounts whose passwords were printed must not be reachable from other machines."""


def prepare_home(settings: Settings) -> Path:
    """Makes the home folder where there is none, for its owner only. Raises UnusableHome."""
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableHome(
            f"The home {settings.home} cannot be made ({error.strerror}); name a folder that can be written to: "
            "flagback --home FOLDER, or FLAGBACK_HOME."
        ) from error
    if not os.access(settings.home, os.W_OK | os.X_OK):
        raise UnusableHome(
            f"The home {settings.home} cannot be written to; change its owner, or name another folder: "
            "flagback --home FOLDER, or FLAGBACK_HOME."
        )
    return settings.home


def open_records(settings: Settings) -> Store:
    """The records of an existing installation. Raises NoInstallation, OlderSchema, NewerSchema or UnreachableDatabase."""
    if settings.database_url is None and not (settings.home / "flagback.db").exists():
        raise NoInstallation(
            f"There is no installation in {settings.home}; make one with 'flagback migrate', try it with "
            "'flagback demo', or name another folder: flagback --home FOLDER."
        )
    store = Store(settings.records_url)
    store.ping()
    if store.schema_revision() is None:
        raise NoInstallation(f"The database {store.shown_url} holds no records yet; make them with 'flagback migrate'.")
    store.check_schema()
    return store


def migrated_records(settings: Settings) -> Store:
    """The records, made or brought to this schema where needed. Raises NewerSchema or UnreachableDatabase."""
    prepare_home(settings)
    store = Store(settings.records_url)
    store.ping()
    store.migrate()
    return store


def log_file(settings: Settings, name: str) -> Path:
    """Where a process's output is kept."""
    folder = settings.home / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{name}.log"


# ---------------------------------------------------------------------- locks


@contextmanager
def only_one(path: Path, doing: str) -> Iterator[None]:
    """Holds a lock that the kernel lets go of with the process, however that ends. Raises HomeInUse."""
    handle = _locked(path)
    if handle is None:
        raise HomeInUse(
            f"Another process is {doing} in {path.parent}; stop that one first, or name another folder: flagback --home FOLDER."
        )
    try:
        yield
    finally:
        os.close(handle)


class WorkerName(NamedTuple):
    """What a worker is called in the ledger, and the lock that keeps the name its own."""

    worker_id: str
    handle: int


def worker_name(home: Path) -> WorkerName:
    """The first free name of this home: unique among live workers, and the same again after a restart.

    A restarted worker thereby finds its own unfinished runs at once. The home's random part keeps apart two homes that share a
    database and a host name (containers do).
    """
    folder = home / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "name"
    if not part.exists():
        with _held(folder / "name.lock"):
            if not part.exists():
                made = folder / "name.new"
                made.write_text(secrets.token_hex(4), encoding="utf-8")
                made.replace(part)
    number = 1
    while (handle := _locked(folder / f"{number}.lock")) is None:
        number += 1
    return WorkerName(f"{socket.gethostname()}-{part.read_text(encoding='utf-8')}-{number}", handle)


def _locked(path: Path) -> int | None:
    """A handle that holds the lock, None where someone else does."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


@contextmanager
def _held(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# ---------------------------------------------------------- where the web listens


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        family, address = (socket.AF_INET6, host) if ":" in host else (socket.AF_INET, host)
        packed = socket.inet_pton(family, address)
    except OSError:
        return False
    return packed[0] == 127 if family == socket.AF_INET else packed == bytes(15) + b"\x01"


def refuse_taken_port(host: str, port: int) -> None:
    """Raises PortInUse where the web could not listen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUse(
                f"Port {port} on {host} cannot be listened on ({error.strerror}); stop what uses it, or choose "
                f"another: --port {port + 1 if port < 65535 else 8501}."
            ) from error


def refuse_open_demo(store: Store, host: str) -> None:
    """Raises DemoInTheOpen where other machines could sign in with a demo account."""
    if is_loopback(host):
        return
    with store.reading() as session:
        demo = session.exec(select(Account.login).where(col(Account.demo).is_(True), col(Account.disabled).is_(False))).all()
    if demo:
        raise DemoInTheOpen(
            f"Demo accounts ({', '.join(sorted(demo))}) would be reachable from other machines on {host}; use "
            "--host 127.0.0.1, or start a home of its own with 'flagback --home FOLDER migrate' and "
            "'flagback --home FOLDER account create'."
        )
