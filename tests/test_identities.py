"""Claims about who a person of the single sign-on is here, on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import MetaData, Table, insert, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from flagback.storage import accounts, audit, identities
from flagback.storage.identities import Person
from flagback.storage.records import Account, Identity, Role
from flagback.storage.store import Store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def person(nonce: str, *, sub: str = "s-1", names: tuple[str, ...] = ("ada",), role: Role | None = "reviewer") -> Person:
    """Somebody who has just logged in at the provider."""
    return Person("https://idp.example", sub, nonce, names, role)


def enter(store: Store, who: Person) -> identities.Admission:
    return store.settle(lambda session: identities.enter(session, who, now=NOON, for_=DAY))


def account(store: Store, admission: identities.Admission) -> Account:
    assert admission.cookie is not None
    with store.reading() as session:
        found = accounts.signed_in(session, admission.cookie, now=NOON)
    assert found is not None
    return found.account


def test_two_first_logins_at_once_are_one_account(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        admissions = list(pool.map(lambda number: enter(store, person(f"n{number}")), range(4)))
    assert len({account(store, admission).id for admission in admissions}) == 1
    with store.reading() as session:
        assert [found.login for found in session.exec(select(Account)).all()] == ["ada"]
        audit.verify(session)


def test_one_login_used_twice_at_once_opens_one_session(store: Store) -> None:
    enter(store, person("first"))
    with ThreadPoolExecutor(4) as pool:
        admissions = list(pool.map(lambda _: enter(store, person("same")), range(4)))
    assert sorted(str(admission.refusal) for admission in admissions) == ["None", "replayed", "replayed", "replayed"]


def test_the_database_itself_refuses_a_second_session_of_one_login(store: Store) -> None:
    ada = account(store, enter(store, person("once")))
    with pytest.raises(IntegrityError), store.writing() as session:
        accounts.open_session(session, ada.id, now=NOON, for_=DAY, opened_by="oidc", nonce_hash="once")


def test_the_same_subject_of_another_provider_is_another_person(sqlite_store: Store) -> None:
    here = account(sqlite_store, enter(sqlite_store, person("n1")))
    there = account(sqlite_store, enter(sqlite_store, person("n2")._replace(issuer="https://other.example")))
    assert (here.login, there.login) == ("ada", "ada-2")


@pytest.mark.parametrize(
    ("names", "login"),
    [
        (("Ada L", "x"), "ada l"),
        (("", " ", "b@example.org"), "b@example.org"),
        (("a\nb", "c"), "c"),
        (("\ud800", "\x00"), "person"),
        ((), "person"),
        (("x" * 500,), "x" * 92),
    ],
)
def test_an_account_gets_the_first_name_that_can_be_a_login(sqlite_store: Store, names: tuple[str, ...], login: str) -> None:
    assert account(sqlite_store, enter(sqlite_store, person("n", names=names))).login == login


def test_a_taken_name_gets_the_next_free_number(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        for login in ("ada", "ada-2", "adah", "ada_3"):
            accounts.create(session, login, "a long password", "reviewer")
    assert account(sqlite_store, enter(sqlite_store, person("n"))).login == "ada-3"


def test_a_parted_account_keeps_its_row_and_the_person_is_a_new_one_at_the_next_login(store: Store) -> None:
    before = enter(store, person("n1"))
    with store.writing() as session:
        assert identities.disconnect(session, "Ada", by="root", now=NOON) == 1
        assert identities.disconnect(session, "ada", by="root", now=NOON) == 0
    with store.reading() as session:
        assert accounts.signed_in(session, str(before.cookie), now=NOON) is None
        assert session.exec(select(Identity)).all() == []
    assert account(store, enter(store, person("n2"))).login == "ada-2"


def test_a_login_that_connected_opens_no_session_afterwards(store: Store) -> None:
    with store.writing() as session:
        eve = accounts.create(session, "eve", "a long password", "lead")
        cookie = accounts.open_session(session, eve.id, now=NOON, for_=DAY)
        assert identities.ask_to_connect(session, cookie, now=NOON)
    with store.writing() as session:
        assert identities.connect(session, cookie, person("n1"), now=NOON) is None
    assert enter(store, person("n1")).refusal == "replayed"
    assert account(store, enter(store, person("n2"))).login == "eve"


def test_an_account_whose_role_groups_give_connects_nobody_else(sqlite_store: Store) -> None:
    admission = enter(sqlite_store, person("n1"))
    with sqlite_store.writing() as session:
        assert not identities.ask_to_connect(session, str(admission.cookie), now=NOON)


def test_the_migration_keeps_the_accounts_and_sessions_that_are_there(empty_database_url: str) -> None:
    store = Store(empty_database_url)
    store.migrate("0002")
    _insert(store, "account", id=7, login="old", role="lead", password_hash="h", created_at=NOON)
    _insert(store, "session", token_hash="t", account_id=7, browser="b", created_at=NOON, seen_at=NOON, expires_at=NOON)
    store.migrate()
    with store.reading() as session:
        kept = session.get_one(Account, 7)
        assert (kept.login, kept.password_hash, kept.role_source) == ("old", "h", "local")
        assert session.execute(text("SELECT opened_by FROM session")).scalar() == "password"
        assert store.engine.dialect.name != "sqlite" or session.execute(text("PRAGMA foreign_keys")).scalar() == 1
    for statement in (
        "UPDATE account SET role = 'king'",
        "UPDATE account SET role_source = 'x'",
        "UPDATE session SET opened_by = 'x'",
    ):
        with pytest.raises(IntegrityError), store.writing() as session:
            session.execute(text(statement))
    store.close()


def _insert(store: Store, table: str, **values: object) -> None:
    """A row of a schema older than the records: what it must have and is not given is false."""
    made = Table(table, MetaData(), autoload_with=store.engine)
    asked = {column.name: False for column in made.columns if not (column.nullable or column.server_default is not None)}
    with store.writing() as session:
        session.execute(insert(made).values(asked | values))
