"""Claims about accounts and sign-in."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select

from flagback.storage import accounts, records
from flagback.storage.accounts import (
    HASHER,
    NOBODY,
    BadLogin,
    BadPassword,
    LastAdministrator,
    LoginTaken,
    RoleFromGroups,
    SignedIn,
    UnknownLogin,
    administrators,
    change_password,
    create,
    end_session,
    open_session,
    set_disabled,
    set_languages,
    set_role,
    signed_in,
    verify,
)
from flagback.storage.records import Account
from flagback.storage.store import Store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
GOOD = "correct horse"


def found(signed: SignedIn | None) -> Account | None:
    """Whose session it is."""
    return None if signed is None else signed.account


def test_only_the_right_password_lets_in(store: Store) -> None:
    with store.writing() as session:
        made = create(session, " Ada ", GOOD, "reviewer")
        assert verify(session, "ADA", GOOD) == made
        assert verify(session, "ada", GOOD + "x") is None
        assert verify(session, "bob", GOOD) is None
        assert verify(session, "ada", "\ud800" * 9) is None
    assert (made.login, made.role, made.demo) == ("ada", "reviewer", False)
    assert made.password_hash is not None
    assert made.password_hash.startswith("$argon2id$")
    assert GOOD not in made.password_hash


def test_a_login_is_taken_once_however_it_is_written(store: Store) -> None:
    with store.writing() as session:
        create(session, "ada", GOOD, "reviewer")
    with pytest.raises(LoginTaken, match="'ada' is taken"), store.writing() as session:
        create(session, "Ａda", GOOD, "maintainer")


def test_of_two_that_want_one_login_at_once_one_gets_it(store: Store) -> None:
    def attempt(_: int) -> str:
        try:
            with store.writing() as session:
                return create(session, "ada", GOOD, "reviewer").login
        except LoginTaken:
            return "taken"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == ["ada", "taken", "taken", "taken"]


@pytest.mark.parametrize("login", ["", "  ", "a\nb", "a\0b", "x" * 101])
def test_an_unusable_login_is_refused(sqlite_store: Store, login: str) -> None:
    with pytest.raises(BadLogin, match="expected 1 to 100 visible"), sqlite_store.writing() as session:
        create(session, login, GOOD, "reviewer")


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("short", "has 5 characters"),
        ("x" * 1001, "1001"),
        ("\ud800" * 8, "surrogate"),
        ("Pass Word", "guessed first"),
        ("12345678", "guessed first"),
        ("abababab", "guessed first"),
    ],
)
def test_an_unusable_password_is_refused(sqlite_store: Store, password: str, words: str) -> None:
    with pytest.raises(BadPassword, match=words), sqlite_store.writing() as session:
        create(session, "ada", password, "reviewer")


def test_an_unknown_login_costs_as_much_as_a_wrong_password(sqlite_store: Store) -> None:
    assert HASHER.check_needs_rehash(NOBODY) is False
    with sqlite_store.writing() as session:
        create(session, "ada", GOOD, "reviewer")
        seconds: dict[str, list[float]] = {"ada": [], "bob": []}
        for _ in range(5):
            for login, taken in seconds.items():
                start = time.perf_counter()
                assert verify(session, login, "wrong password") is None
                taken.append(time.perf_counter() - start)
    assert 0.4 < min(seconds["bob"]) / min(seconds["ada"]) < 2.5


def test_a_cookie_lets_in_until_it_ends_and_is_stored_as_a_hash_only(store: Store) -> None:
    with store.writing() as session:
        ada = create(session, "ada", GOOD, "reviewer")
        cookie = open_session(session, ada.id, now=NOON, for_=DAY)
        other = open_session(session, ada.id, now=NOON, for_=DAY)
        assert found(signed_in(session, cookie, now=NOON)) == ada
        assert signed_in(session, cookie, now=NOON + DAY) is None
        assert signed_in(session, cookie + "x", now=NOON) is None
        assert signed_in(session, "\udc80", now=NOON) is None
        end_session(session, cookie, now=NOON)
        end_session(session, cookie, now=NOON + DAY)
        end_session(session, "unknown", now=NOON)
        assert signed_in(session, cookie, now=NOON) is None
        assert found(signed_in(session, other, now=NOON)) == ada
        rows = session.exec(select(records.Session)).all()
    assert all(cookie not in str(row.model_dump()) for row in rows)
    assert [row.ended_at for row in rows if row.ended_at] == [NOON]


def test_a_disabled_account_is_out_at_once_and_can_come_back(store: Store) -> None:
    with store.writing() as session:
        ada = create(session, "ada", GOOD, "reviewer")
        cookie = open_session(session, ada.id, now=NOON, for_=DAY)
    with store.writing() as session:
        set_disabled(session, "Ada", disabled=True, now=NOON, by="max")
    with store.writing() as session:
        assert signed_in(session, cookie, now=NOON) is None
        assert verify(session, "ada", GOOD) is None
        set_disabled(session, "ada", disabled=False, now=NOON, by="max")
        assert verify(session, "ada", GOOD) is not None
        assert signed_in(session, cookie, now=NOON) is None


def test_a_new_password_replaces_the_old_one_and_ends_its_sessions(store: Store) -> None:
    with store.writing() as session:
        cookie = open_session(session, create(session, "ada", GOOD, "reviewer").id, now=NOON, for_=DAY)
    with store.writing() as session:
        change_password(session, "ada", "battery staple", now=NOON)
    with store.reading() as session:
        assert signed_in(session, cookie, now=NOON) is None
        assert verify(session, "ada", GOOD) is None
        assert verify(session, "ada", "battery staple") is not None


def test_an_unknown_login_is_named(sqlite_store: Store) -> None:
    with pytest.raises(UnknownLogin, match="no account 'bob'"), sqlite_store.writing() as session:
        change_password(session, "bob", GOOD, now=NOON)


def test_an_account_of_the_demo_says_so(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        create(session, "ada", GOOD, "reviewer", demo=True)
    with sqlite_store.reading() as session:
        assert session.exec(select(Account.demo)).one() is True


def test_the_last_administrator_is_neither_demoted_nor_shut_out(store: Store) -> None:
    with store.writing() as session:
        create(session, "root", GOOD, "administrator")
        set_disabled(session, create(session, "gone", GOOD, "administrator").login, disabled=True, now=NOON, by="root")
    refused = r"root is the only administrator.*flagback account role"
    with pytest.raises(LastAdministrator, match=refused), store.writing() as session:
        set_role(session, "root", "auditor", now=NOON, by="root")
    with pytest.raises(LastAdministrator, match=refused), store.writing() as session:
        set_disabled(session, "root", disabled=True, now=NOON, by="root")
    with store.writing() as session:
        set_disabled(session, "gone", disabled=True, now=NOON, by="root")
        set_role(session, "gone", "reviewer", now=NOON, by="root")
        assert administrators(session) == 1


def test_two_administrators_who_turn_on_each_other_at_once_leave_one(store: Store) -> None:
    def turn(pair: tuple[str, str, str]) -> str:
        by, whom, how = pair
        try:
            with store.writing() as session:
                if how == "demote":
                    set_role(session, whom, "reviewer", now=NOON, by=by)
                else:
                    set_disabled(session, whom, disabled=True, now=NOON, by=by)
                time.sleep(0.05)
                return "done"
        except LastAdministrator:
            return "refused"

    for number, how in enumerate(("demote", "shut out")):
        pair = [f"a{number}", f"b{number}"]
        with store.writing() as session:
            for login in pair:
                create(session, login, GOOD, "administrator")
            for account in session.exec(select(Account).where(Account.role == "administrator")).all():
                if account.login not in pair:
                    set_role(session, account.login, "reviewer", now=NOON, by="test")
        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(turn, [(*pair, how), (*reversed(pair), how)])) == ["done", "refused"]
        with store.reading() as session:
            assert administrators(session) == 1


def test_a_role_that_groups_give_is_changed_there(store: Store) -> None:
    with store.writing() as session:
        session.add(Account(login="sso", role="maintainer", role_source="groups", created_at=NOON))
    refused = r"groups of single sign-on make sso maintainer.*flagback account disable sso"
    with pytest.raises(RoleFromGroups, match=refused), store.writing() as session:
        set_role(session, "sso", "reviewer", now=NOON, by="root")
    with store.writing() as session:
        assert set_role(session, "sso", "maintainer", now=NOON, by="root").role == "maintainer"
        assert set_disabled(session, "sso", disabled=True, now=NOON, by="root").disabled


def test_languages_are_kept_as_primary_subtags_each_once(store: Store) -> None:
    with store.writing() as session:
        ada = create(session, "ada", GOOD, "reviewer")
        set_languages(session, ada.id, ["pt-BR", "pt", "EN_us", "es"])
    with store.reading() as session:
        assert session.get_one(Account, ada.id).languages == ["en", "es", "pt"]


def test_signing_out_a_session_that_ran_out_changes_nothing(sqlite_store: Store) -> None:
    with sqlite_store.writing() as session:
        account = accounts.create(session, "ada", "a long password", "reviewer")
        moment = records.now()
        cookie = accounts.open_session(session, account.id, now=moment, for_=timedelta(hours=1))
        accounts.end_session(session, cookie, now=moment + timedelta(hours=2))
        [row] = session.exec(select(records.Session)).all()
        assert row.ended_at is None
        accounts.end_session(session, cookie, now=moment + timedelta(minutes=1))
        assert row.ended_at == moment + timedelta(minutes=1)
