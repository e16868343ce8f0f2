"""Accounts and sign-in sessions. Knows passwords and cookies only as hashes; knows no review and no pseudonym."""

import hashlib
import secrets
import unicodedata
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from flagback.storage import records
from flagback.storage.invisible import pieces
from flagback.storage.prompts import unstorable
from flagback.storage.records import Account, Role

#: argon2id, the second choice of the OWASP password cheat sheet (19 MiB, 2 passes): about 20 ms on one core here.
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, hash_len=32, salt_len=16)
#: A hash of a password that nobody has: an unknown login costs as long as a wrong password.
NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$/Km5m+Gd2WzbQfw1L3PpXw$HGxMtDnFjAAJVgXx2Aimtg1F/ySRUHuZOY2lHEhXpX4"
SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 1_000
LONGEST_LOGIN = 100


class LoginTaken(Exception):
    """Another account has this login."""


class BadLogin(ValueError):
    """A login that cannot be one."""


class BadPassword(ValueError):
    """A password that is too short, too long, or not text."""


def login_form(login: str) -> str:
    """The form in which logins are compared: NFKC, lower case, no space around. "Ada" and "ada" are one."""
    return unicodedata.normalize("NFKC", login).strip().casefold()


def create(session: Session, login: str, password: str, role: Role, *, demo: bool = False) -> Account:
    """Makes an account. Raises LoginTaken, BadLogin or BadPassword."""
    name = login_form(login)
    if not name or len(name) > LONGEST_LOGIN or not name.isprintable() or any(piece.sign for piece in pieces(name)):
        raise BadLogin(f"The login {login!r} cannot be used; expected 1 to {LONGEST_LOGIN} visible characters.")
    _check_password(password)
    taken = LoginTaken(f"The login {name!r} is taken; choose another, or see 'flagback account --help' for changing that one.")
    if session.exec(select(Account.id).where(Account.login == name)).first() is not None:
        raise taken
    account = Account(login=name, role=role, password_hash=HASHER.hash(password), demo=demo, created_at=records.now())
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
        HASHER.verify(account.password_hash if account else NOBODY, password)
    except (VerificationError, InvalidHashError, UnicodeEncodeError):
        return None
    return account if account and not account.disabled else None


def open_session(session: Session, account_id: int, *, now: datetime, for_: timedelta) -> str:
    """Signs a browser in and returns its cookie's value (43 URL-safe characters, 256 bits); only its hash is stored."""
    cookie = secrets.token_urlsafe(32)
    session.add(records.Session(token_hash=_cookie_hash(cookie), account_id=account_id, created_at=now, expires_at=now + for_))
    session.flush()
    return cookie


def session_account(session: Session, cookie: str, *, now: datetime) -> Account | None:
    """Whose browser this is; None once signed out, expired, disabled or never signed in."""
    return session.exec(
        select(Account)
        .join(records.Session, col(records.Session.account_id) == Account.id)
        .where(
            records.Session.token_hash == _cookie_hash(cookie),
            col(records.Session.ended_at).is_(None),
            records.Session.expires_at > now,
            col(Account.disabled).is_(False),
        )
    ).first()


def end_session(session: Session, cookie: str, *, now: datetime) -> None:
    """Signs a browser out; an unknown cookie, or one signed out before, changes nothing."""
    found = session.get(records.Session, _cookie_hash(cookie))
    if found is not None and found.ended_at is None:
        found.ended_at = now
        session.add(found)
        session.flush()


class UnknownLogin(Exception):
    """A login that no account has."""


def change_password(session: Session, login: str, password: str, *, now: datetime) -> Account:
    """Gives an account another password and ends its sessions. Raises UnknownLogin or BadPassword."""
    account = _known(session, login)
    _check_password(password)
    account.password_hash = HASHER.hash(password)
    session.add(account)
    _end_all_sessions(session, account, now)
    return account


def set_disabled(session: Session, login: str, *, disabled: bool, now: datetime) -> Account:
    """Shuts an account out, ending its sessions, or lets it in again; what it wrote stays. Raises UnknownLogin."""
    account = _known(session, login)
    account.disabled = disabled
    session.add(account)
    if disabled:
        _end_all_sessions(session, account, now)
    return account


def _known(session: Session, login: str) -> Account:
    account = None if unstorable(login) else session.exec(select(Account).where(Account.login == login_form(login))).first()
    if account is None:
        raise UnknownLogin(
            f"There is no account {login_form(login)!r}; see 'flagback account list', or make it with 'flagback account create'."
        )
    return account


def _end_all_sessions(session: Session, account: Account, now: datetime) -> None:
    session.exec(
        update(records.Session)
        .where(col(records.Session.account_id) == account.id, col(records.Session.ended_at).is_(None))
        .values(ended_at=now)
    )


def _cookie_hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()


def _check_password(password: str) -> None:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise BadPassword(f"The password has {len(password)} characters; expected {SHORTEST_PASSWORD} to {LONGEST_PASSWORD}.")
    if any("\ud800" <= character <= "\udfff" for character in password):
        raise BadPassword("The password holds half a surrogate pair, which cannot be typed again; choose other characters.")
