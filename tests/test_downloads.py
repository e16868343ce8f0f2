"""Claims about prepared exports: fetched by who prepared them, by nobody else, for an hour, from one folder only."""

import io
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from flagback.review_app import auth, downloads
from flagback.review_app.guard import Guard
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts
from flagback.storage.records import Account, Role, now
from flagback.storage.store import Store
from tests.fresh import migrate
from tests.people import person, sign_in_by_form

OURS = "http://127.0.0.1"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A home with two maintainers and a reviewer."""
    settings = Settings(home=tmp_path / "home")
    store = Store(settings.records_url)
    migrate(store)
    people: dict[str, Role] = {"max": "maintainer", "mia": "maintainer", "ada": "reviewer"}
    with store.writing() as session:
        for login, role in people.items():
            person(session, login, role)
    store.close()
    opened = open_installation(settings)
    yield opened
    opened.store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export."""
    made = tmp_path / "export"
    (made / "data").mkdir(parents=True)
    (made / "README.md").write_text("what this is")
    (made / "data" / "rows.jsonl").write_text("{}\n")
    return made


def account(installation: Installation, login: str = "max") -> Account:
    """Who prepares."""
    with installation.store.reading() as session:
        return accounts.by_login(session, login)


def browser(installation: Installation, login: str | None) -> TestClient:
    """A signed-in browser."""
    routes = [*auth.routes(installation), *downloads.routes(installation)]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, installation=installation)])
    client = TestClient(app, base_url=OURS, headers={"Origin": OURS}, follow_redirects=False)
    if login is not None:
        sign_in_by_form(client, login)
    return client


def test_who_prepared_it_gets_the_whole_folder_and_no_browser_keeps_it(installation: Installation, folder: Path) -> None:
    ticket = downloads.prepare(installation, account(installation), folder, "flagback-reviews")
    answer = browser(installation, "max").get(f"/downloads/{ticket}")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"].startswith("attachment")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["flagback-reviews/README.md", "flagback-reviews/data/rows.jsonl"]
    assert downloads.size(installation, account(installation), ticket) == len(answer.content)


def test_nobody_else_gets_it_whatever_their_role(installation: Installation, folder: Path) -> None:
    ticket = downloads.prepare(installation, account(installation), folder, "x")
    assert browser(installation, "mia").get(f"/downloads/{ticket}").status_code == 404
    assert browser(installation, "ada").get(f"/downloads/{ticket}").status_code == 404  # as if there were none
    assert browser(installation, None).get(f"/downloads/{ticket}").status_code == 401
    assert downloads.size(installation, account(installation, "mia"), ticket) is None


def test_who_lost_the_role_or_the_session_gets_it_no_more(installation: Installation, folder: Path) -> None:
    ticket = downloads.prepare(installation, account(installation), folder, "x")
    client = browser(installation, "max")
    with installation.store.writing() as session:
        accounts.set_role(session, "max", "reviewer", now=now(), by="test")
    assert client.get(f"/downloads/{ticket}").status_code == 401
    assert browser(installation, "max").get(f"/downloads/{ticket}").status_code == 404  # the role it was made for is gone


def test_a_made_up_ticket_leads_nowhere(installation: Installation, folder: Path) -> None:
    downloads.prepare(installation, account(installation), folder, "x")
    client = browser(installation, "max")
    (name,) = [path.stem for path in installation.settings.downloads.iterdir()]
    for ticket in (name, name[:32], "x" * 32, "..%2f..%2fflagback.db", "%00" * 32, ("../" * 11)[:32].replace("/", "%2f")):
        assert client.get(f"/downloads/{ticket}").status_code == 404, ticket


def test_an_hour_later_it_is_gone_and_what_is_younger_stays(installation: Installation, folder: Path) -> None:
    old, young = (downloads.prepare(installation, account(installation), folder, "x") for _ in range(2))
    place = downloads._place(installation, account(installation), old)
    past = time.time() - downloads.KEPT_FOR - 1
    os.utime(place, (past, past))
    left = installation.settings.downloads / "broken.part"
    left.write_bytes(b"")
    os.utime(left, (past, past))
    assert downloads.sweep(installation.settings.downloads) == 2
    assert downloads.sweep(installation.settings.downloads) == 0
    client = browser(installation, "max")
    assert client.get(f"/downloads/{old}").status_code == 404
    assert "prepare it again" in client.get(f"/downloads/{old}").json()["error"]["message"]
    assert client.get(f"/downloads/{young}").status_code == 200


def test_a_file_that_another_sweep_took_meanwhile_stops_nobody(installation: Installation, tmp_path: Path) -> None:
    assert downloads.sweep(tmp_path / "no such folder") == 0

    class Gone(type(tmp_path)):  # type: ignore[misc]
        """A folder whose files go while they are listed."""

        def glob(self, *_: object, **__: object) -> Iterator[Path]:
            yield tmp_path / "gone.zip"

    assert installation
    assert downloads.sweep(Gone(tmp_path)) == 0


def test_only_the_owner_of_the_home_can_look_into_the_folder(installation: Installation, folder: Path) -> None:
    downloads.prepare(installation, account(installation), folder, "x")
    assert installation.settings.downloads.stat().st_mode & 0o077 == 0


def test_the_table_behind_a_picture_is_put_down_once_and_fetched_as_csv(installation: Installation) -> None:
    table = b"group,share\nolder people,0.25\n"
    ticket = downloads.prepare_file(installation, account(installation), table, "csv")
    assert downloads.prepare_file(installation, account(installation), table, "csv") == ticket
    assert len(list(installation.settings.downloads.iterdir())) == 1
    answer = browser(installation, "max").get(f"/downloads/{ticket}")
    assert (answer.status_code, answer.content) == (200, table)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment", "the link names the file"
    assert browser(installation, "mia").get(f"/downloads/{ticket}").status_code == 404
