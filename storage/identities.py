"""Who a person of the single sign-on is here: ties (issuer, subject) to accounts and lets groups give roles.

Knows accounts, sessions and identities; knows no token, no claim and no HTTP. Nobody is ever found by an equal name or e-mail
address: both can be chosen or handed out anew at the provider, and whoever gets "ada" there would have ada's account here. Every
function looks before it writes, so that `Store.settle` gives the right answer to two logins at once.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from sqlmodel import Session, col, delete, select

from flagback.storage import accounts, audit, records
from flagback.storage.records import Account, Identity, Role

#: How long a browser that asked to connect may take at the provider.
CONNECT_WITHIN = timedelta(minutes=10)
#: no_role = none of the person's groups gives one; disabled = an administrator shut the account out; replayed = this login was used
#: before; taken = the person has another account here; ended = the session that asked to connect is over.
Refusal = Literal["no_role", "disabled", "replayed", "taken", "ended"]


class Person(NamedTuple):
    """What a verified login says."""

    issuer: str
    subject: str
    #: sha256 of the login's nonce.
    nonce_hash: str
    #: What the account may be called, best first.
    names: Sequence[str]
    #: What the person's groups give, None for nothing.
    role: Role | None


class Admission(NamedTuple):
    """What became of a login: exactly one of the two."""

    #: Value of the session cookie.
    cookie: str | None
    refusal: Refusal | None


def enter(session: Session, person: Person, *, now: datetime, for_: timedelta) -> Admission:
    """Opens a session for the person's account, made at the first login; its role follows the groups where those gave it."""
    if _used(session, person):
        return Admission(None, "replayed")
    identity = _identity(session, person)
    account = None if identity is None else session.get_one(Account, identity.account_id)
    if account is not None and account.disabled:
        return Admission(None, "disabled")
    if person.role is None and (account is None or account.role_source == "groups"):
        if account is not None:
            accounts.end_sessions(session, account.id, now=now)
        return Admission(None, "no_role")
    if account is None:
        account = _made(session, person, now)
    elif person.role is not None and account.role_source == "groups" and account.role != person.role:
        _follow(session, account, person.role, now)
    if identity is not None:
        identity.last_seen_at = now
        session.add(identity)
    cookie = accounts.open_session(session, account.id, now=now, for_=for_, opened_by="oidc", nonce_hash=person.nonce_hash)
    return Admission(cookie, None)


def connect(session: Session, cookie: str, person: Person, *, now: datetime) -> Refusal | None:
    """Ties the person to the account whose live session asked for it; the session goes on. None: done."""
    asking = _asking(session, cookie, now)
    if asking is None or asking.connecting_until is None or asking.connecting_until <= now:
        return "ended"
    asking.connecting_until = None
    session.add(asking)
    if _used(session, person):
        return "replayed"
    identity = _identity(session, person)
    if identity is not None and identity.account_id != asking.account_id:
        return "taken"
    _spend(session, person, asking.account_id, now)
    if identity is None:
        account = session.get_one(Account, asking.account_id)
        _tie(session, person, account, now)
        details = {"login": account.login, "issuer": person.issuer}
        audit.record(session, actor=account.login, action="identity connected", details=details, now=now)
    return None


def may_connect(session: Session, cookie: str, *, now: datetime) -> bool:
    """Whether this browser's account is one whose role is given here and which no single sign-on leads to yet."""
    found = accounts.signed_in(session, cookie, now=now)
    if found is None or found.account.role_source != "local":
        return False
    return session.exec(select(Identity.id).where(Identity.account_id == found.account.id)).first() is None


def ask_to_connect(session: Session, cookie: str, *, now: datetime) -> bool:
    """Marks a live session as asking to connect; False where it may not."""
    asking = _asking(session, cookie, now)
    if asking is None or not may_connect(session, cookie, now=now):
        return False
    asking.connecting_until = now + CONNECT_WITHIN
    session.add(asking)
    session.flush()
    return True


def disconnect(session: Session, login: str, *, by: str, now: datetime) -> int:
    """Forgets who an account is at the single sign-on and ends its sessions; returns how many ties there were."""
    account = accounts.by_login(session, login)
    gone = session.exec(delete(Identity).where(col(Identity.account_id) == account.id)).rowcount
    accounts.end_sessions(session, account.id, now=now)
    if gone:
        details = {"login": account.login, "identities": gone}
        audit.record(session, actor=by, action="identity disconnected", details=details, now=now)
    return gone


def _asking(session: Session, cookie: str, now: datetime) -> records.Session | None:
    found = accounts.signed_in(session, cookie, now=now)
    return None if found is None else found.session


def _identity(session: Session, person: Person) -> Identity | None:
    return session.exec(select(Identity).where(Identity.issuer == person.issuer, Identity.subject == person.subject)).first()


def _used(session: Session, person: Person) -> bool:
    before = select(records.Session.token_hash).where(records.Session.nonce_hash == person.nonce_hash)
    return session.exec(before).first() is not None


def _spend(session: Session, person: Person, account_id: int, now: datetime) -> None:
    """Notes that a login was used where it opens no session: as a session that is over when it begins."""
    accounts.open_session(session, account_id, now=now, for_=timedelta(0), opened_by="oidc", nonce_hash=person.nonce_hash)
    spent = session.exec(select(records.Session).where(records.Session.nonce_hash == person.nonce_hash)).one()
    spent.ended_at = now
    session.add(spent)


def _made(session: Session, person: Person, now: datetime) -> Account:
    assert person.role is not None  # nosec B101 # looked at by enter, for the type checker
    account = Account(login=_free_login(session, person.names), role=person.role, role_source="groups", created_at=now)
    session.add(account)
    session.flush()
    _tie(session, person, account, now)
    details = {"login": account.login, "role": account.role, "issuer": person.issuer}
    audit.record(session, actor=account.login, action="account made by single sign-on", details=details, now=now)
    return account


def _tie(session: Session, person: Person, account: Account, now: datetime) -> None:
    session.add(Identity(issuer=person.issuer, subject=person.subject, account_id=account.id, created_at=now, last_seen_at=now))
    session.flush()


def _follow(session: Session, account: Account, role: Role, now: datetime) -> None:
    """Gives the account the role of its groups; what was open with the old role ends."""
    before, account.role = account.role, role
    session.add(account)
    accounts.end_sessions(session, account.id, now=now)
    details = {"login": account.login, "from": before, "to": role}
    audit.record(session, actor="single sign-on", action="role changed by groups", details=details, now=now)


def _free_login(session: Session, names: Sequence[str]) -> str:
    """The first usable name, with -2, -3, ... where another account has it."""
    forms = (accounts.login_form(name)[: accounts.LONGEST_LOGIN - 8] for name in names)
    name = next((form for form in forms if form and form.isprintable()), "person")
    taken = set(session.exec(select(Account.login).where(col(Account.login).startswith(name, autoescape=True))).all())
    number = 1
    while (login := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return login
