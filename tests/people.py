"""People for tests: accounts that have agreed to review, and HTTP clients that sign in by the form as a browser does."""

import re
from typing import Any

from sqlmodel import Session

from flagback.review_app import auth
from flagback.review_app.installation import Installation
from flagback.storage import accounts, consent
from flagback.storage.records import Account, Role, now

PASSWORD = "a long password"  # pragma: allowlist secret - of accounts that live for one test


def person(session: Session, login: str, role: Role = "reviewer", *, password: str = PASSWORD, demo: bool = False) -> Account:
    """An account that reads English and, where its role reviews, has agreed to."""
    account = accounts.create(session, login, password, role, demo=demo)
    agree(session, account)
    return account


def agree(session: Session, account: Account) -> None:
    """What a reviewer says on the first page."""
    accounts.set_languages(session, account.id, ["en"])
    if account.role in ("reviewer", "lead"):
        consent.set_consent(session, account.id, {"review": True}, now=now())


def form_token(page: str) -> str:
    """The hidden token of a page's form."""
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found, page[:500]
    return found[1]


def sign_in_by_form(client: Any, login: str, password: str = PASSWORD) -> Any:
    """Opens the form and sends it; the client is httpx's or Starlette's, and so is the answer."""
    token = form_token(client.get("/signin").text)
    return client.post("/signin", data={"login": login, "password": password, "token": token})


def page_token(installation: Installation, login: str) -> dict[str, str]:
    """The header with which an account's own pages ask."""
    with installation.store.reading() as session:
        return {"X-Flagback-Token": auth.page_token(installation, accounts.by_login(session, login))}
