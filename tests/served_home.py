"""A home of its own with its web process, and a page of it opened by somebody who signs in."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from playwright.sync_api import Page, expect
from sqlmodel import col, select

from flagback.review_app.settings import Settings
from flagback.storage.records import AuditEntry, Role
from flagback.storage.store import Store
from tests.browser import WebProcess, drawn, sign_in
from tests.fresh import migrate
from tests.people import PASSWORD, person


class ServedHome:
    """A migrated home with these people, served while it is entered. `key` is that of the pseudonyms, where it must be known."""

    def __init__(
        self, folder: Path, people: Mapping[str, Role] | None = None, *, key: bytes | None = None, database: str | None = None
    ) -> None:
        self.settings = Settings(home=folder / "home", database_url=database)
        self.home = self.settings.home
        if key is not None:
            self.home.mkdir()
            (self.home / "pseudonym.key").write_bytes(key)
            (self.home / "pseudonym.key").chmod(0o600)
        self.store = Store(self.settings.records_url)
        migrate(self.store)
        self.key = self.settings.pseudonym_key()
        self.web = WebProcess(self.home, folder=folder, FLAGBACK_DATABASE_URL=database or "")
        with self.store.writing() as session:
            for login, role in (people or {}).items():
                person(session, login, role)

    def __enter__(self) -> Self:
        self.web.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.web.__exit__()
        self.store.close()

    def open(self, page: Page, login: str, where: str, title: str | None = None) -> None:
        """Signs in and opens a page; one whose title is told is waited for until it stands whole."""
        sign_in(page, self.web.url, login, PASSWORD)
        page.goto(f"{self.web.url}/{where}")
        if title is not None:
            expect(page.get_by_role("heading", level=1)).to_have_text(title)
            drawn(page)

    def last_act(self) -> tuple[str, str]:
        """(actor, action) of the newest audit entry."""
        with self.store.reading() as session:
            entry = session.exec(select(AuditEntry).order_by(col(AuditEntry.id).desc())).first()
        assert entry is not None
        return entry.actor, entry.action
