"""Claims about how often someone may try to sign in: guessing gets slow, a person who errs does not, and the table tells nobody."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import select

from flagback.storage import sign_ins
from flagback.storage.records import SignInFailure
from flagback.storage.sign_ins import FORGET_AFTER, FREE, LONGEST_WAIT, Counted, attempt, counted, succeeded, wait_after
from flagback.storage.store import Store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = b"k" * 32
NO_WAIT = timedelta(0)


def under(login: str = "ada", address: str = "203.0.113.9") -> list[Counted]:
    """What a try is counted under."""
    return counted(KEY, login=login, address=address)


def guess(store: Store, who: list[Counted], *, now: datetime = NOON) -> timedelta:
    """One try that is not told to have been right."""
    with store.writing() as session:
        return attempt(session, who, now=now)


@given(what=st.sampled_from(["login", "address"]), failures=st.integers(0, 10_000))
def test_waiting_only_grows_with_failures_and_ends_at_a_quarter_of_an_hour(what: str, failures: int) -> None:
    wait = wait_after(what, failures)
    assert NO_WAIT <= wait <= wait_after(what, failures + 1) <= LONGEST_WAIT
    assert (wait == NO_WAIT) == (failures < FREE[what])


def test_five_wrong_tries_are_free_and_then_each_waits_twice_as_long(store: Store) -> None:
    moment = NOON
    for _ in range(5):
        assert guess(store, under(), now=moment) == NO_WAIT
    for seconds in (1, 2, 4, 8):
        assert guess(store, under(), now=moment) == timedelta(seconds=seconds)
        moment += timedelta(seconds=seconds)
        assert guess(store, under(), now=moment) == NO_WAIT


def test_a_day_of_guessing_one_login_from_many_addresses_is_about_a_hundred_tries(sqlite_store: Store) -> None:
    moment, taken = NOON, 0
    while moment < NOON + timedelta(days=1):
        wait = guess(sqlite_store, under(address=f"203.0.113.{taken % 250}"), now=moment)
        taken += wait == NO_WAIT
        moment += wait
    assert taken < 120


def test_many_logins_from_one_address_are_slowed_too(store: Store) -> None:
    waits = [guess(store, under(login=f"l{n}")) for n in range(40)]
    assert waits[:30] == [NO_WAIT] * 30
    assert all(wait > NO_WAIT for wait in waits[30:])


def test_a_hundred_guesses_at_once_are_counted_one_by_one(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: guess(store, under()), range(40)))
    assert waits.count(NO_WAIT) == 5


def test_the_right_password_forgets_a_logins_failures_but_not_an_addresss(store: Store) -> None:
    for n in range(4):
        guess(store, under())
        guess(store, under(login=f"other{n}"))
    guess(store, under())
    with store.writing() as session:
        succeeded(session, under())
        rows = {row.who: row.failures for row in session.exec(select(SignInFailure)).all()}
    login, address = under()
    assert login.who not in rows
    assert rows[address.who] == 8, "its own try is given back; the failures of others at that address stay"


def test_signing_in_to_ones_own_account_in_between_does_not_speed_up_guessing_others(sqlite_store: Store) -> None:
    mine, taken = under(login="mallory"), 0
    for n in range(60):
        if guess(sqlite_store, mine) == NO_WAIT:
            with sqlite_store.writing() as session:
                succeeded(session, mine)
        taken += guess(sqlite_store, under(login=f"victim{n}")) == NO_WAIT
    assert taken <= FREE["address"]


def test_a_count_begins_anew_after_a_day_and_is_swept_then(store: Store) -> None:
    for _ in range(5):
        guess(store, under())
    assert guess(store, under()) > NO_WAIT
    assert guess(store, under(), now=NOON + FORGET_AFTER) == NO_WAIT
    with store.writing() as session:
        sign_ins.forget_old(session, now=NOON + FORGET_AFTER + timedelta(seconds=1))
        assert len(session.exec(select(SignInFailure)).all()) == 2
        sign_ins.forget_old(session, now=NOON + 2 * FORGET_AFTER + timedelta(seconds=1))
        assert session.exec(select(SignInFailure)).all() == []


def test_the_table_holds_neither_login_nor_address_and_the_two_never_mix(store: Store) -> None:
    guess(store, under("ada", "203.0.113.9"))
    with store.reading() as session:
        text = " ".join(row.who for row in session.exec(select(SignInFailure)).all())
    assert "ada" not in text
    assert "203" not in text
    assert {each.who for each in under("x", "y")}.isdisjoint({each.who for each in under("y", "x")})
