"""Claims about links that let people in: who they let in, how often, until when, and what they must never do."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from flagback.storage import accounts, invitations
from flagback.storage.invitations import BadInvitation, PoolExists, TakesPartAlready, UnknownInvitation, UnknownPool
from flagback.storage.records import Account, Invitation, Pool, Role
from flagback.storage.store import Store
from tests.people import PASSWORD

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OTHER = "another long one"
SHORT = "short"
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def invite(store: Store, role: Role = "reviewer", *, uses: int = 1, by: str = "root") -> str:
    """A link made at noon."""
    with store.writing() as session:
        return invitations.invite(session, role, by=by, now=NOON, uses=uses)


def use(store: Store, code: str, login: str, *, now: datetime = NOON) -> str:
    """What comes of using a link: the role, or the name of what went wrong."""
    try:
        with store.writing() as session:
            return invitations.accept(session, code, login=login, password=PASSWORD, now=now).role
    except (UnknownInvitation, BadInvitation, accounts.LoginTaken, accounts.BadPassword) as error:
        return type(error).__name__


def at_once(*acts: Callable[[], str]) -> list[str]:
    """Runs the acts at the same moment; what each gave, sorted."""
    together = threading.Barrier(len(acts))

    def run(act: Callable[[], str]) -> str:
        together.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        return sorted(pool.map(run, acts))


def study(session: Session, name: str = "study") -> Pool:
    """A pool of people without a name."""
    return invitations.make_pool(session, name, "anonymous", answers_wanted=3, completion_code="C0DE", now=NOON)


# ------------------------------------------------------------------------ using a link


def test_a_link_makes_one_account_of_its_role_and_is_used_then(store: Store) -> None:
    code = invite(store, "lead")
    assert use(store, code, "ada") == "lead"
    assert use(store, code, "bob") == "UnknownInvitation"


def test_the_code_is_stored_nowhere(store: Store) -> None:
    code = invite(store)
    with store.reading() as session:
        row = session.exec(select(Invitation)).one()
    assert len(code) == 32
    assert code not in str(row.model_dump())


def test_looking_at_a_link_uses_nothing(store: Store) -> None:
    code = invite(store)
    with store.reading() as session:
        for _ in range(3):
            assert invitations.look(session, code, now=NOON).uses_left == 1
    assert use(store, code, "ada") == "reviewer"


def test_two_people_at_once_cannot_both_have_the_last_use(store: Store) -> None:
    for attempt in range(5):
        code = invite(store)
        found = at_once(*(partial(use, store, code, f"p{attempt}-{n}") for n in range(4)))
        assert found == ["UnknownInvitation"] * 3 + ["reviewer"]


def test_a_shared_link_lets_in_exactly_as_many_as_it_says(store: Store) -> None:
    code = invite(store, uses=3)
    found = at_once(*(partial(use, store, code, f"p{n}") for n in range(6)))
    assert found == ["UnknownInvitation"] * 3 + ["reviewer"] * 3


def test_a_link_is_dead_from_its_end_on(store: Store) -> None:
    code = invite(store)
    for after in (timedelta(days=7), timedelta(days=7, seconds=1), timedelta(days=9999)):
        assert use(store, code, "ada", now=NOON + after) == "UnknownInvitation"
    assert use(store, code, "ada", now=NOON + timedelta(days=7) - timedelta(seconds=1)) == "reviewer"


def test_a_withdrawn_link_is_dead_and_is_withdrawn_once(store: Store) -> None:
    code = invite(store, uses=5)
    with store.writing() as session:
        (found,) = session.exec(select(Invitation.id)).all()
        assert invitations.withdraw(session, found, now=NOON)
        assert not invitations.withdraw(session, found, now=NOON)
        assert not invitations.withdraw(session, found + 1, now=NOON)
    assert use(store, code, "ada") == "UnknownInvitation"


def test_a_link_withdrawn_while_it_is_being_used_lets_nobody_in(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    code = invite(store)
    looked = invitations.look

    def slow(session: Session, code: str, *, now: datetime) -> Invitation:
        found = looked(session, code, now=now)
        session.connection().exec_driver_sql("UPDATE invitation SET ended_at = created_at")  # what another one committed meanwhile
        return found

    monkeypatch.setattr(invitations, "look", slow)
    assert use(store, code, "ada") == "UnknownInvitation"


def test_a_try_that_fails_uses_nothing(store: Store) -> None:
    code = invite(store)
    with pytest.raises(accounts.BadPassword), store.writing() as session:
        invitations.accept(session, code, login="ada", password=SHORT, now=NOON)
    with pytest.raises(accounts.BadLogin), store.writing() as session:
        invitations.accept(session, code, login="\u202eada", password=PASSWORD, now=NOON)
    other = invite(store)
    assert use(store, other, "bob") == "reviewer"
    assert use(store, code, "bob") == "LoginTaken"
    assert use(store, code, "ada") == "reviewer"


def test_a_made_up_code_opens_nothing_whatever_it_holds(store: Store) -> None:
    invite(store)
    for code in ("", "x", "\0", "\ud800", "x" * 100_000, "' OR 1=1 --"):
        assert use(store, code, "ada") == "UnknownInvitation"


@pytest.mark.parametrize(
    ("role", "uses", "words"),
    [
        ("reviewer", 0, "expected 1 to"),
        ("reviewer", 100_001, "expected 1 to 100,000"),
        ("administrator", 2, "only reviewers share"),
    ],
)
def test_what_cannot_be_an_invitation_is_refused(sqlite_store: Store, role: Role, uses: int, words: str) -> None:
    with pytest.raises(BadInvitation, match=words), sqlite_store.writing() as session:
        invitations.invite(session, role, by="root", now=NOON, uses=uses)


# --------------------------------------------------------------- the first administrator


def first_link(store: Store, now: datetime = NOON) -> str | None:
    """What a start prints."""
    with store.writing() as session:
        return invitations.first_administrator(session, now=now)


def administrators(store: Store) -> int:
    """How many there are."""
    with store.reading() as session:
        return accounts.administrators(session)


def test_of_two_starts_the_later_ones_link_makes_the_first_administrator_once(store: Store) -> None:
    earlier, later = first_link(store), first_link(store, NOON + MINUTE)
    assert earlier is not None
    assert later is not None
    assert use(store, earlier, "eve") == "UnknownInvitation"
    assert use(store, later, "ada") == "administrator"
    assert use(store, later, "eve") == "UnknownInvitation"
    assert first_link(store) is None


def test_the_first_link_used_twice_at_once_makes_one_administrator(store: Store) -> None:
    code = first_link(store)
    assert code is not None
    found = at_once(*(partial(use, store, code, f"p{n}") for n in range(4)))
    assert found == ["UnknownInvitation"] * 3 + ["administrator"]
    assert administrators(store) == 1


def test_two_first_links_used_at_once_make_one_administrator(store: Store) -> None:
    """Two starts at once cannot leave two live links, but a row may be brought back from a copy: even then."""
    for attempt in range(5):
        codes = [first_link(store), first_link(store)]
        with store.writing() as session:
            session.connection().exec_driver_sql("UPDATE invitation SET ended_at = NULL")
            for account in session.exec(select(Account)).all():
                session.delete(account)
        found = at_once(*(partial(use, store, str(code), f"a{attempt}-{n}") for n, code in enumerate(codes)))
        assert found == ["UnknownInvitation", "administrator"]
        with store.writing() as session:
            session.connection().exec_driver_sql("DELETE FROM account")


def test_a_link_that_a_new_start_ended_while_it_was_used_makes_no_administrator(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = first_link(store)
    assert code is not None
    looked = invitations.look

    def slow(session: Session, code: str, *, now: datetime) -> Invitation:
        found = looked(session, code, now=now)
        invitations.first_administrator(session, now=now)  # another start, in between
        return found

    monkeypatch.setattr(invitations, "look", slow)
    assert use(store, code, "eve") == "UnknownInvitation"
    assert administrators(store) == 0


def test_no_first_link_is_made_or_works_once_an_administrator_exists(store: Store) -> None:
    code = first_link(store)
    with store.writing() as session:
        accounts.create(session, "root", PASSWORD, "administrator")
    assert code is not None
    assert use(store, code, "eve") == "UnknownInvitation"
    assert first_link(store) is None


def test_the_first_link_ends_after_a_day(store: Store) -> None:
    code = first_link(store)
    assert use(store, str(code), "eve", now=NOON + DAY) == "UnknownInvitation"


# --------------------------------------------------------------------- a new password


def reset_link(store: Store, login: str, now: datetime = NOON) -> str:
    """A link for a new password."""
    with store.writing() as session:
        return invitations.reset(session, accounts.by_login(session, login), by="root", now=now)


@pytest.fixture
def ada(store: Store) -> Account:
    """Someone with a password."""
    with store.writing() as session:
        return accounts.create(session, "ada", PASSWORD, "reviewer")


def test_a_reset_link_sets_the_password_once_and_ends_every_session(store: Store, ada: Account) -> None:
    with store.writing() as session:
        cookies = [accounts.open_session(session, ada.id, now=NOON, for_=DAY) for _ in range(3)]
    code = reset_link(store, "ada")
    with store.writing() as session:
        invitations.accept(session, code, login="someone-else", password=OTHER, now=NOON)
        assert [accounts.signed_in(session, cookie, now=NOON) for cookie in cookies] == [None] * 3
        assert accounts.verify(session, "ada", PASSWORD) is None
        assert accounts.verify(session, "ada", "another long one") is not None
        assert session.exec(select(Account.login)).all() == ["ada"], "the login that was sent along does not count"
    assert use(store, code, "ada") == "UnknownInvitation"


def test_a_newer_reset_link_ends_the_older_one_and_a_day_ends_both(store: Store, ada: Account) -> None:
    older, newer = reset_link(store, ada.login), reset_link(store, ada.login)
    assert use(store, older, "ada") == "UnknownInvitation"
    assert use(store, newer, "ada", now=NOON + DAY) == "UnknownInvitation"


def test_a_reset_link_ends_when_the_password_changes_in_another_way(store: Store, ada: Account) -> None:
    code = reset_link(store, ada.login)
    with store.writing() as session:
        accounts.change_password(session, "ada", "battery staple", now=NOON)
    assert use(store, code, "ada") == "UnknownInvitation"


def test_a_reset_link_of_someone_shut_out_does_nothing_and_none_is_made(store: Store, ada: Account) -> None:
    code = reset_link(store, ada.login)
    with store.writing() as session:
        accounts.set_disabled(session, "ada", disabled=True, now=NOON, by="root")
    assert use(store, code, "ada") == "UnknownInvitation"
    with pytest.raises(BadInvitation, match=r"ada is shut out.*flagback account enable ada"):
        reset_link(store, "ada")
    with store.writing() as session:
        accounts.set_disabled(session, "ada", disabled=False, now=NOON, by="root")
    assert use(store, code, "ada") == "UnknownInvitation", "what ended stays ended"
    with store.reading() as session:
        assert accounts.verify(session, "ada", PASSWORD) is not None


def test_a_row_disabled_by_hand_is_not_let_in_by_its_link_either(store: Store, ada: Account) -> None:
    code = reset_link(store, ada.login)
    with store.writing() as session:
        session.get_one(Account, ada.id).disabled = True
    assert use(store, code, "ada") == "UnknownInvitation"


def test_single_sign_on_alone_opens_an_account_of_the_groups(store: Store) -> None:
    with store.writing() as session:
        session.add(Account(login="sso", role="maintainer", role_source="groups", created_at=NOON))
    with pytest.raises(BadInvitation, match=r"sso comes in by single sign-on.*flagback account passwd sso"):
        reset_link(store, "sso")
    with store.writing() as session:
        accounts.change_password(session, "sso", PASSWORD, now=NOON)
    assert use(store, reset_link(store, "sso"), "sso") == "maintainer", "who was given a password can have another"


# ------------------------------------------------------------------- what leavers leave


@pytest.mark.parametrize("leave", ["shut out", "demoted"])
def test_who_stops_being_an_administrator_leaves_no_way_back_in(store: Store, ada: Account, leave: str) -> None:
    with store.writing() as session:
        accounts.create(session, "root", PASSWORD, "administrator")
        accounts.create(session, "eve", PASSWORD, "administrator")
        back = invitations.invite(session, "administrator", by="eve", now=NOON)
        other = invitations.reset(session, session.get_one(Account, ada.id), by="eve", now=NOON)
        roots = invitations.invite(session, "maintainer", by="root", now=NOON)
        crowd = invitations.invite(session, "reviewer", by="eve", now=NOON, uses=100)
        if leave == "shut out":
            accounts.set_disabled(session, "eve", disabled=True, now=NOON, by="root")
        else:
            accounts.set_role(session, "eve", "reviewer", now=NOON, by="root")
    assert [use(store, code, f"x{n}") for n, code in enumerate([back, other, roots, crowd])] == [
        "UnknownInvitation",
        "UnknownInvitation",
        "maintainer",
        "reviewer",
    ], "a study's link goes on; links of others are theirs"


# ------------------------------------------------------------------------- anonymous


def take_part(store: Store, code: str, external_hash: str | None) -> str:
    """What comes of a platform sending someone."""
    try:
        with store.writing() as session:
            made = invitations.accept_anonymously(session, code, external_hash=external_hash, now=NOON)
            assert made.login.startswith("guest-")
            assert made.password_hash is None
            return made.role
    except (UnknownInvitation, TakesPartAlready, BadInvitation) as error:
        return type(error).__name__


@pytest.fixture
def crowd(store: Store) -> str:
    """A study's link for four."""
    with store.writing() as session:
        return invitations.invite(session, "reviewer", by="root", now=NOON, pool=study(session), uses=4)


def test_one_external_id_takes_part_once_also_at_once_and_uses_one_place(store: Store, crowd: str) -> None:
    found = at_once(*(lambda: take_part(store, crowd, "h1") for _ in range(4)))
    assert found == ["TakesPartAlready"] * 3 + ["reviewer"]
    with store.reading() as session:
        assert session.exec(select(Invitation.uses_left)).one() == 3


def test_people_without_an_external_id_are_each_someone_new(store: Store, crowd: str) -> None:
    assert [take_part(store, crowd, None) for _ in range(5)] == ["reviewer"] * 4 + ["UnknownInvitation"]


def test_an_external_id_may_take_part_in_two_studies(store: Store, crowd: str) -> None:
    with store.writing() as session:
        other = invitations.invite(session, "reviewer", by="root", now=NOON, pool=study(session, "other"), uses=4)
    assert take_part(store, crowd, "h1") == take_part(store, other, "h1") == "reviewer"


def test_a_study_makes_no_account_with_a_name_and_a_team_none_without(store: Store, crowd: str) -> None:
    assert use(store, crowd, "mallory") == "BadInvitation"
    team = invite(store, uses=3)
    assert take_part(store, team, "h1") == "BadInvitation"
    assert use(store, team, "ada") == "reviewer"


def test_nobody_without_a_name_is_a_lead(store: Store) -> None:
    with pytest.raises(BadInvitation, match="without a name, who are reviewers"), store.writing() as session:
        invitations.invite(session, "lead", by="root", now=NOON, pool=study(session))


def test_an_anonymous_reviewer_comes_back_by_a_link_of_their_own_once(store: Store, crowd: str) -> None:
    take_part(store, crowd, "h1")
    with store.writing() as session:
        guest = session.exec(select(Account)).one()
        cookie = accounts.open_session(session, guest.id, now=NOON, for_=DAY)
        code = invitations.reset(session, guest, by="root", now=NOON)
    with store.writing() as session:
        assert invitations.come_back(session, code, now=NOON).id == guest.id
        assert accounts.signed_in(session, cookie, now=NOON) is None, "the browser that was lost is signed out"
    with pytest.raises(UnknownInvitation), store.writing() as session:
        invitations.come_back(session, code, now=NOON)


def test_a_link_to_come_back_sets_no_password_and_one_for_a_password_lets_nobody_in_without(
    store: Store, crowd: str, ada: Account
) -> None:
    take_part(store, crowd, "h1")
    with store.writing() as session:
        guest = session.exec(select(Account).where(col(Account.password_hash).is_(None))).one()
    back, new_password = reset_link(store, guest.login), reset_link(store, ada.login)
    assert use(store, back, "mallory") == "BadInvitation"
    for code in (new_password, invite(store)):
        with pytest.raises(BadInvitation, match="nobody in without one"), store.writing() as session:
            invitations.come_back(session, code, now=NOON)


def test_a_study_is_known_by_its_link_also_when_that_works_no_more(store: Store, crowd: str) -> None:
    for n in range(4):
        take_part(store, crowd, f"h{n}")
    with store.reading() as session:
        pool = session.exec(select(Pool.id)).one()
        assert invitations.study_of(session, crowd) == pool
        assert invitations.study_of(session, "made up") is None
        assert invitations.study_of(session, invite(store)) is None


# ----------------------------------------------------------------------------- pools


def test_a_pool_that_a_link_or_a_person_names_cannot_be_taken_away(store: Store, crowd: str) -> None:
    take_part(store, crowd, "h1")
    with pytest.raises(IntegrityError), store.writing() as session:
        session.delete(session.exec(select(Pool)).one())


def test_a_pools_name_is_taken_once_also_at_once(store: Store) -> None:
    def make(name: str) -> str:
        try:
            with store.writing() as session:
                return invitations.make_pool(session, name, "named", now=NOON).name
        except PoolExists:
            return "PoolExists"

    assert at_once(*(partial(make, name) for name in ("team", " team", "team "))) == [
        "PoolExists",
        "PoolExists",
        "team",
    ]
    with store.reading() as session:
        assert invitations.pool_named(session, " team ").name == "team"


def test_a_pools_name_can_be_seen_and_an_unknown_one_is_named(store: Store) -> None:
    for name in ("", "  ", "a\nb", "a\0b", "\ud800", "\u202eteam", "\u3164", "x" * 101):
        with pytest.raises(BadInvitation, match="expected 1 to 100 visible"), store.writing() as session:
            invitations.make_pool(session, name, "named", now=NOON)
        with pytest.raises(UnknownPool, match="flagback pool list"), store.reading() as session:
            invitations.pool_named(session, name)


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        (0, "C0DE", "expected 1 to 100,000"),
        (10**12, "C0DE", "expected 1 to 100,000"),
        (3, "", "completion code ''"),
        (3, " ", "completion code ' '"),
        (3, "\0", "completion code"),
        (3, "x" * 101, "completion code"),
        (None, "C0DE", "needs --answers"),
        (3, None, "needs --answers"),
    ],
)
def test_a_study_without_an_end_that_can_be_shown_is_refused(
    sqlite_store: Store, answers: int | None, code: str | None, words: str
) -> None:
    with pytest.raises(BadInvitation, match=words), sqlite_store.writing() as session:
        invitations.make_pool(session, "study", "anonymous", answers_wanted=answers, completion_code=code, now=NOON)


def test_a_team_takes_neither_answers_nor_code(sqlite_store: Store) -> None:
    with pytest.raises(BadInvitation, match="named ones takes neither"), sqlite_store.writing() as session:
        invitations.make_pool(session, "team", "named", answers_wanted=3, completion_code="C0DE", now=NOON)
