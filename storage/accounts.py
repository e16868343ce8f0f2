"""Accounts and sign-in sessions. Knows passwords and cookies only as hashes; knows no review and no pseudonym.

Whatever changes what an account may do (password, role, disabled) ends its sessions, and the links that would undo it: a link for
a new password ends with a new password and when the account is shut out; and who stops being an administrator leaves no link
behind that makes more than a reviewer.
"""

import hashlib
import secrets
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import func, or_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from flagback.storage import audit, records
from flagback.storage.invisible import pieces
from flagback.storage.prompts import primary_language, unstorable
from flagback.storage.records import Account, Invitation, OpenedBy, Role
from flagback.storage.store import one_at_a_time

#: argon2id, the second choice of the OWASP password cheat sheet (19 MiB, 2 passes): about 20 ms on one core here.
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, hash_len=32, salt_len=16)
#: A hash of a password that nobody has: an unknown login costs as long as a wrong password.
NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$/Km5m+Gd2WzbQfw1L3PpXw$HGxMtDnFjAAJVgXx2Aimtg1F/ySRUHuZOY2lHEhXpX4"
SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 1_000
#: What guessers try first, of 8 characters or more (the head of the usual lists); a wait after failures is no help against these.
_COMMON = """
password password1 password12 password123 passw0rd passwort 12345678 123456789 1234567890 0123456789
0987654321 87654321 qwertyui qwertyuiop qwerty12 qwerty123 1q2w3e4r 1q2w3e4r5t 1qaz2wsx asdfghjk
asdfghjkl zxcvbnm1 abcdefgh abcd1234 abc12345 iloveyou sunshine princess football baseball superman
starwars whatever trustno1 letmein1 welcome1 changeme changeme1 administrator flagback flagback1
contraseña reviewer maintainer
"""
GUESSED_FIRST = frozenset(_COMMON.split())
LONGEST_LOGIN = 100
#: How stale a session's "last seen" may be: a write a request would cost more than the figure is worth.
SEEN_EVERY = timedelta(hours=1)


class LoginTaken(Exception):
    """Another account has this login."""


class BadLogin(ValueError):
    """A login that cannot be one."""


class BadPassword(ValueError):
    """A password that is too short, too long, or not text."""


def login_form(login: str) -> str:
    """The form in which logins are compared: NFKC, lower case, no space around. "Ada" and "ada" are one."""
    return unicodedata.normalize("NFKC", login).strip().casefold()


def create(
    session: Session,
    login: str,
    password: str | None,
    role: Role,
    *,
    demo: bool = False,
    pool_id: int | None = None,
    external_hash: str | None = None,
) -> Account:
    """Makes an account; without a password it signs in another way only. Raises LoginTaken, BadLogin or BadPassword."""
    name = login_form(login)
    if not name or len(name) > LONGEST_LOGIN or not name.isprintable() or any(piece.sign for piece in pieces(name)):
        raise BadLogin(f"The login {login!r} cannot be used; expected 1 to {LONGEST_LOGIN} visible characters.")
    if password is not None:
        _check_password(password)
    taken = LoginTaken(f"The login {name!r} is taken; choose another, or see 'flagback account --help' for changing that one.")
    if session.exec(select(Account.id).where(Account.login == name)).first() is not None:
        raise taken
    account = Account(
        login=name,
        role=role,
        password_hash=None if password is None else HASHER.hash(password),
        demo=demo,
        pool_id=pool_id,
        external_hash=external_hash,
        created_at=records.now(),
    )
    try:
        with session.begin_nested():
            session.add(account)
    except IntegrityError as error:
        if session.exec(select(Account.id).where(Account.login == name)).first() is None:
            raise
        raise taken from error
    return account


def verify(session: Session, login: str, password: str) -> Account | None:
    """The account whose password this is; None for an unknown login, a wrong password, a disabled account: after equal work."""
    account = None if unstorable(login) else session.exec(select(Account).where(Account.login == login_form(login))).first()
    try:
        HASHER.verify(account.password_hash if account and account.password_hash else NOBODY, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return None
    return account if account and not account.disabled else None


def open_session(
    session: Session,
    account_id: int,
    *,
    now: datetime,
    for_: timedelta,
    browser: str = "",
    opened_by: OpenedBy = "password",
    nonce_hash: str | None = None,
) -> str:
    """Signs a browser in and returns its cookie's value (43 URL-safe characters, 256 bits); only its hash is stored."""
    cookie = secrets.token_urlsafe(32)
    session.add(
        records.Session(
            token_hash=_cookie_hash(cookie),
            account_id=account_id,
            browser=browser[:80],
            created_at=now,
            seen_at=now,
            expires_at=now + for_,
            opened_by=opened_by,
            nonce_hash=nonce_hash,
        )
    )
    session.flush()
    return cookie


class SignedIn(NamedTuple):
    """A live session and whose it is."""

    account: Account
    session: records.Session

    def stale(self, now: datetime) -> bool:
        """Whether "last seen" is due to be written again."""
        return now - self.session.seen_at > SEEN_EVERY


def signed_in(session: Session, cookie: str, *, now: datetime) -> SignedIn | None:
    """Whose browser this is; None once signed out, expired, disabled or never signed in."""
    found = session.exec(
        select(Account, records.Session)
        .join(records.Session, col(records.Session.account_id) == Account.id)
        .where(
            records.Session.token_hash == _cookie_hash(cookie),
            col(records.Session.ended_at).is_(None),
            records.Session.expires_at > now,
            col(Account.disabled).is_(False),
        )
    ).first()
    return None if found is None else SignedIn(*found)


def seen(session: Session, cookie: str, *, now: datetime) -> None:
    """Writes down that a browser was here."""
    session.exec(update(records.Session).where(col(records.Session.token_hash) == _cookie_hash(cookie)).values(seen_at=now))


def live_sessions(session: Session, account_id: int, *, now: datetime) -> Sequence[records.Session]:
    """An account's signed-in browsers, newest first."""
    return session.exec(
        select(records.Session)
        .where(
            records.Session.account_id == account_id,
            col(records.Session.ended_at).is_(None),
            records.Session.expires_at > now,
        )
        .order_by(col(records.Session.created_at).desc())
    ).all()


def end_sessions(session: Session, account_id: int, *, now: datetime, token_hash: str | None = None) -> int:
    """Signs an account out everywhere, or in the one browser whose `token_hash` is given; returns how many it ended."""
    ended = update(records.Session).where(
        col(records.Session.account_id) == account_id,
        col(records.Session.ended_at).is_(None),
        col(records.Session.expires_at) > now,
    )
    if token_hash is not None:
        ended = ended.where(col(records.Session.token_hash) == token_hash)
    return len(session.connection().execute(ended.values(ended_at=now).returning(col(records.Session.token_hash))).all())


def end_session(session: Session, cookie: str, *, now: datetime) -> None:
    """Signs a browser out; an unknown cookie, one that ran out, or one signed out before, changes nothing."""
    found = session.get(records.Session, _cookie_hash(cookie))
    if found is not None and found.ended_at is None and found.expires_at > now:
        found.ended_at = now
        session.add(found)
        session.flush()


def is_signed_in(session: Session, account_id: int, *, now: datetime) -> bool:
    """Whether an account has a sign-in that has not ended, in any browser."""
    return (
        session.exec(
            select(records.Session.token_hash)
            .where(
                records.Session.account_id == account_id,
                col(records.Session.ended_at).is_(None),
                col(records.Session.expires_at) > now,
            )
            .limit(1)
        ).first()
        is not None
    )


class UnknownLogin(Exception):
    """A login that no account has."""


class LastAdministrator(Exception):
    """The account is the only one left that can manage accounts."""


class RoleFromGroups(Exception):
    """The groups of single sign-on give the account's role, and would give it again at the next sign-in."""


def change_password(session: Session, login: str, password: str, *, now: datetime) -> Account:
    """Gives an account another password; ends its sessions and links for a new one. Raises UnknownLogin or BadPassword."""
    account = by_login(session, login)
    _check_password(password)
    account.password_hash = HASHER.hash(password)
    session.add(account)
    end_sessions(session, account.id, now=now)
    end_links(session, account.id, now=now)
    return account


def end_links(session: Session, account_id: int, *, now: datetime) -> None:
    """Ends the links with which an account's password could be set, or its owner come back."""
    ending = update(Invitation).where(col(Invitation.account_id) == account_id, col(Invitation.ended_at).is_(None))
    session.connection().execute(ending.values(ended_at=now))


def set_role(session: Session, login: str, role: Role, *, now: datetime, by: str) -> Account:
    """Gives an account another role and ends its sessions. Raises UnknownLogin, LastAdministrator or RoleFromGroups."""
    one_at_a_time(session, "administrators")
    account = by_login(session, login)
    if role != account.role:
        if account.role_source == "groups":
            raise RoleFromGroups(
                f"The groups of single sign-on make {account.login} {account.role}, and would again at the next sign-in; change "
                f"the groups there, or shut the account out: 'flagback account disable {account.login}'."
            )
        _keep_one_administrator(session, account)
        _end_links_made(session, account, now=now)
        details = {"login": account.login, "from": account.role, "to": role}
        account.role = role
        session.add(account)
        end_sessions(session, account.id, now=now)
        audit.record(session, actor=by, action="role changed", details=details, now=now)
    return account


def set_languages(session: Session, account_id: int, languages: Sequence[str]) -> None:
    """Notes which languages a person reads; of a tag its primary subtag counts, "pt" of "pt-BR"."""
    account = session.get_one(Account, account_id)
    account.languages = sorted({primary_language(language) for language in languages})
    session.add(account)


def set_language(session: Session, account_id: int, language: str | None) -> None:
    """Notes in which language pages and board speak to a person; None leaves it to their browser."""
    account = session.get_one(Account, account_id)
    account.language = language
    session.add(account)


def set_disabled(session: Session, login: str, *, disabled: bool, now: datetime, by: str) -> Account:
    """Shuts an account out, ending its sessions, or lets it in again; what it wrote stays.

    Raises UnknownLogin or LastAdministrator.
    """
    one_at_a_time(session, "administrators")
    account = by_login(session, login)
    if disabled:
        _keep_one_administrator(session, account)
        _end_links_made(session, account, now=now)
        end_sessions(session, account.id, now=now)
        end_links(session, account.id, now=now)
    account.disabled = disabled
    session.add(account)
    action = "account shut out" if disabled else "account let in again"
    audit.record(session, actor=by, action=action, details={"login": account.login}, now=now)
    return account


def administrators(session: Session) -> int:
    """How many accounts can manage accounts."""
    return session.exec(
        select(func.count()).select_from(Account).where(Account.role == "administrator", col(Account.disabled).is_(False))
    ).one()


def _keep_one_administrator(session: Session, account: Account) -> None:
    if account.role == "administrator" and not account.disabled and administrators(session) == 1:
        raise LastAdministrator(
            f"{account.login} is the only administrator; make another one first: flagback account role LOGIN administrator."
        )


def _end_links_made(session: Session, account: Account, *, now: datetime) -> None:
    """Ends the links that an administrator made, but for those of reviewers: a study goes on when its administrator leaves."""
    if account.role != "administrator":
        return
    ending = update(Invitation).where(
        col(Invitation.made_by) == account.login,
        or_(col(Invitation.purpose) != "join", col(Invitation.role) != "reviewer"),
        col(Invitation.ended_at).is_(None),
    )
    session.connection().execute(ending.values(ended_at=now))


def by_login(session: Session, login: str) -> Account:
    """The account of a login. Raises UnknownLogin."""
    account = None if unstorable(login) else session.exec(select(Account).where(Account.login == login_form(login))).first()
    if account is None:
        raise UnknownLogin(
            f"There is no account {login_form(login)!r}; see 'flagback account list', or make it with 'flagback account create'."
        )
    return account


def _cookie_hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()


def _check_password(password: str) -> None:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise BadPassword(f"The password has {len(password)} characters; expected {SHORTEST_PASSWORD} to {LONGEST_PASSWORD}.")
    if any("\ud800" <= character <= "\udfff" for character in password):
        raise BadPassword("The password holds half a surrogate pair, which cannot be typed again; choose other characters.")
    plain = "".join(password.casefold().split())
    if plain in GUESSED_FIRST or len(set(plain)) < 4:
        raise BadPassword("This password is among those that are guessed first; choose a few words that you use nowhere else.")
