"""Shared fixtures: a migrated store on SQLite and on a real PostgreSQL."""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Before anything imports torch, and for the processes that tests start: several of them share two cores, where threads that wait
# for one another cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from sqlalchemy import create_engine, text

from flagback.storage.store import Store
from tests.board_place import Place, asked
from tests.browser import chromium, page_in, sign_in
from tests.fresh import migrate
from tests.people import PASSWORD


@pytest.fixture(autouse=True, scope="module")
def _main_is_pytest() -> Iterator[None]:
    """Streamlit's AppTest leaves its script behind as `__main__`, which a process spawned by a later test would run."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a file's tests."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """One browser profile for a file's tests: what Streamlit's page consists of is fetched once."""
    context = browser.new_context(viewport={"width": 900, "height": 900})
    yield context
    context.close()


@pytest.fixture
def board(place: Place, profile: BrowserContext) -> Iterator[Page]:
    """The board of a new reviewer with the first item on the screen, at the file's own place."""
    profile.clear_cookies()
    with page_in(profile) as page:
        sign_in(page, place.web.url, place.reviewer(), PASSWORD)
        asked(page)
        yield page


def _postgres_binaries() -> Path | None:
    """Where initdb and postgres are: on the PATH, or where Debian puts them."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A throw-away PostgreSQL server on a socket in a temporary folder."""
    binaries = _postgres_binaries()
    if binaries is None:
        reason = "no PostgreSQL here: run 'make test' as root on Debian, or install postgresql"
        if os.environ.get("CI"):
            pytest.fail(f"In CI a skip is a failure: {reason}")
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="flagback-pg-"))
    as_root = os.geteuid() == 0
    if as_root:
        shutil.chown(folder, "postgres", "postgres")
        folder.chmod(0o755)
    prefix = ["runuser", "-u", "postgres", "--"] if as_root else []
    data = folder / "data"
    made = [*prefix, str(binaries / "initdb"), "-D", str(data), "-U", "flagback", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(made, check=True, capture_output=True, cwd=folder)
    control = [*prefix, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=200"
    start = [*control, "-l", str(folder / "log"), "-o", options, "start"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    try:
        yield f"postgresql+psycopg://flagback@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, stdout=subprocess.DEVNULL, cwd=folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> str:
    """The name of a database that the migrations made, for others to be copied from."""
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE migrated"))
    admin.dispose()
    made = Store(postgres_url.replace("/postgres?", "/migrated?"))
    made.migrate()
    made.close()
    return "migrated"


@contextmanager
def _database(server: str, template: str) -> Iterator[str]:
    """The address of a database of its own, gone afterwards."""
    name = f"t{uuid.uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'flagback.db'}"
        return
    with _database(request.getfixturevalue("postgres_url"), "template1") as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind at the newest schema; of SQLite the place for one."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'flagback.db'}"
        return
    with _database(request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_template")) as address:
        yield address


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A migrated store of each kind."""
    opened = Store(database_url)
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """A migrated SQLite store, for tests where the kind of database does not matter."""
    opened = Store(f"sqlite:///{tmp_path / 'flagback.db'}")
    migrate(opened)
    yield opened
    opened.close()
