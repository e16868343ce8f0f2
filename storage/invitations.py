"""Invitations: links that make an account, reset a password, or make the first administrator; and the pools they lead into.

A link carries a random code; only its hash is stored, so that the link can be shown once, when it is made. Knows nothing of HTTP.

Every use takes the link in one statement that looks at all its conditions again (uses left, end, withdrawal), so that a link that
ends while its form is open lets nobody in. Decisions:

- A link for an account that is shut out is refused when it is made and when it is used: letting in again is its own act.
- An account that has no password because single sign-on opens it gets no link: a link would let in someone whom the groups there
  have shut out. Who wants a second way in for them says so with 'flagback account passwd'.
- People of an anonymous pool are reviewers; a lead sees totals of people, which nobody without a name should.
"""

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col, select

from flagback.storage import accounts
from flagback.storage.invisible import blank, pieces
from flagback.storage.prompts import unstorable
from flagback.storage.records import Account, Invitation, Pool, PoolKind, Role
from flagback.storage.store import one_at_a_time

#: How long links live unless told otherwise.
JOIN_FOR, RESET_FOR, FIRST_FOR = timedelta(days=7), timedelta(hours=24), timedelta(hours=24)
MOST_USES = 100_000
LONGEST_NAME = 100
#: Answers that a pool may want of each: more than anyone gives.
MOST_ANSWERS = 100_000


class UnknownInvitation(Exception):
    """The code was never given out, has expired, is used up, or was withdrawn."""


class PoolExists(Exception):
    """Another pool has this name."""


class UnknownPool(Exception):
    """No pool has this name."""


class BadInvitation(ValueError):
    """What was asked for cannot be an invitation."""


class TakesPartAlready(Exception):
    """This external id has an account in the pool already."""


def make_pool(
    session: Session,
    name: str,
    kind: PoolKind,
    *,
    answers_wanted: int | None = None,
    completion_code: str | None = None,
    now: datetime,
) -> Pool:
    """Makes a pool. Raises PoolExists or BadInvitation."""
    if not _one_visible_line(name):
        raise BadInvitation(f"The pool name {name!r} cannot be used; expected 1 to {LONGEST_NAME} visible characters.")
    if answers_wanted is not None and not 1 <= answers_wanted <= MOST_ANSWERS:
        raise BadInvitation(f"{answers_wanted} answers are wanted; expected 1 to {MOST_ANSWERS:,}, or no number for no end.")
    if completion_code is not None and not _one_visible_line(completion_code):
        raise BadInvitation(
            f"The completion code {completion_code!r} cannot be used; expected 1 to {LONGEST_NAME} visible characters, as the "
            "platform gave it."
        )
    if (kind == "anonymous") != (answers_wanted is not None and completion_code is not None):
        raise BadInvitation(
            "A pool of anonymous reviewers needs --answers and --completion-code (what they are shown at the end); a pool of "
            "named ones takes neither."
        )
    one_at_a_time(session, "pools")
    if session.exec(select(Pool.id).where(Pool.name == name.strip())).first() is not None:
        raise PoolExists(f"There is a pool {name.strip()!r} already; choose another name.")
    pool = Pool(name=name.strip(), kind=kind, answers_wanted=answers_wanted, completion_code=completion_code, created_at=now)
    session.add(pool)
    session.flush()
    return pool


def pool_named(session: Session, name: str) -> Pool:
    """The pool of a name. Raises UnknownPool."""
    pool = None if unstorable(name) else session.exec(select(Pool).where(Pool.name == name.strip())).first()
    if pool is None:
        raise UnknownPool(f"There is no pool {name!r}; see 'flagback pool list', or make it with 'flagback pool create'.")
    return pool


def invite(
    session: Session, role: Role, *, by: str, now: datetime, for_: timedelta = JOIN_FOR, pool: Pool | None = None, uses: int = 1
) -> str:
    """A code that lets `uses` people make an account of a role. Raises BadInvitation."""
    if not 1 <= uses <= MOST_USES:
        raise BadInvitation(f"{uses} uses were asked for; expected 1 to {MOST_USES:,}.")
    if uses > 1 and role != "reviewer":
        raise BadInvitation(f"A link for {uses} people was asked for the role {role}; only reviewers share a link.")
    if pool is not None and role not in ("reviewer", "lead"):
        raise BadInvitation(f"A pool holds reviewers and leads; {role} is neither. Make the link without a pool.")
    if pool is not None and pool.kind == "anonymous" and role != "reviewer":
        raise BadInvitation(f"The pool {pool.name} is of people without a name, who are reviewers; {role} was asked for.")
    return _new(session, Invitation(code_hash="", purpose="join", role=role, pool_id=pool.id if pool else None, uses_left=uses,
                                    made_by=by, created_at=now, expires_at=now + for_))  # fmt: skip


def reset(session: Session, account: Account, *, by: str, now: datetime) -> str:
    """A code with which an account's owner sets a new password, or an anonymous reviewer comes back; older ones end.

    Raises BadInvitation for an account that is shut out, or that single sign-on alone opens.
    """
    if account.disabled:
        raise BadInvitation(
            f"{account.login} is shut out, so no link is made; let the account in again first: 'flagback account enable "
            f"{account.login}'."
        )
    if account.password_hash is None and account.role_source == "groups":
        raise BadInvitation(
            f"{account.login} comes in by single sign-on, whose groups decide whether it may, and has no password to set anew; "
            f"help with that sign-in is at the provider. To give it a second way in: 'flagback account passwd {account.login}'."
        )
    accounts.end_links(session, account.id, now=now)
    return _new(session, Invitation(code_hash="", purpose="reset", role=account.role, account_id=account.id, uses_left=1,
                                    made_by=by, created_at=now, expires_at=now + RESET_FOR))  # fmt: skip


def first_administrator(session: Session, *, now: datetime) -> str | None:
    """A code that makes the first administrator, None once there is one; codes of earlier starts end."""
    one_at_a_time(session, "first administrator")
    session.exec(
        update(Invitation).where(col(Invitation.purpose) == "first", col(Invitation.ended_at).is_(None)).values(ended_at=now)
    )
    if session.exec(select(Account.id).where(Account.role == "administrator")).first() is not None:
        return None
    return _new(session, Invitation(code_hash="", purpose="first", role="administrator", made_by="first start", created_at=now,
                                    expires_at=now + FIRST_FOR))  # fmt: skip


def look(session: Session, code: str, *, now: datetime) -> Invitation:
    """The live invitation of a code. Raises UnknownInvitation."""
    found = session.exec(select(Invitation).where(Invitation.code_hash == _hash(code), *_live(now))).first()
    if found is None or not _serves(session, found):
        raise UnknownInvitation(
            "This link was used already, has run out, or was never given out. Ask whoever sent it to you for a new one."
        )
    return found


def study_of(session: Session, code: str) -> int | None:
    """The anonymous pool that a link leads into, whether or not it still works: for who takes part there already."""
    return session.exec(
        select(Invitation.pool_id)
        .join(Pool, col(Pool.id) == Invitation.pool_id)
        .where(Invitation.code_hash == _hash(code), Pool.kind == "anonymous")
    ).first()


def _live(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (col(Invitation.uses_left) > 0, col(Invitation.expires_at) > now, col(Invitation.ended_at).is_(None))


def _serves(session: Session, found: Invitation) -> bool:
    """Whether there is still something that the link is for."""
    if found.purpose == "first":
        return accounts.administrators(session) == 0
    if found.account_id is None:
        return True
    account = session.get_one(Account, found.account_id)
    return not account.disabled


def accept(session: Session, code: str, *, login: str, password: str, now: datetime) -> Account:
    """Uses a link: makes the account, or sets the new password and ends the account's sessions.

    Raises UnknownInvitation, LoginTaken, BadLogin, BadPassword, or BadInvitation for a link of people without a name.
    """
    found = _used(session, code, now=now)
    if found.account_id is not None:
        account = session.get_one(Account, found.account_id)
        if account.password_hash is None:
            raise BadInvitation("This link lets someone without a password come back; open it without further parameters.")
        return accounts.change_password(session, account.login, password, now=now)
    if found.pool_id is not None and session.get_one(Pool, found.pool_id).kind == "anonymous":
        raise BadInvitation("This link is for people who give neither name nor password; open it without further parameters.")
    return accounts.create(session, login, password, found.role, pool_id=found.pool_id)


def come_back(session: Session, code: str, *, now: datetime) -> Account:
    """Uses the reset link of an anonymous reviewer, who has no password to set; ends the sessions the account had.

    Raises UnknownInvitation, or BadInvitation for a link of someone who has a password.
    """
    found = _used(session, code, now=now)
    account = None if found.account_id is None else session.get_one(Account, found.account_id)
    if account is None or account.password_hash is not None:
        raise BadInvitation("This link sets a new password; it lets nobody in without one.")
    accounts.end_sessions(session, account.id, now=now)
    return account


def accept_anonymously(session: Session, code: str, *, external_hash: str | None, now: datetime) -> Account:
    """Makes an account without name or password in an anonymous pool. Raises UnknownInvitation or TakesPartAlready."""
    found = look(session, code, now=now)
    pool = None if found.pool_id is None else session.get_one(Pool, found.pool_id)
    if pool is None or pool.kind != "anonymous":
        raise BadInvitation("This link is for people who choose a name and a password; open it without further parameters.")
    one_at_a_time(session, f"pool {pool.id}")
    if external_hash is not None and by_external_id(session, pool.id, external_hash) is not None:
        raise TakesPartAlready(
            "Someone with this id takes part already. Open Flagback in the browser where you began; if that is not possible, ask "
            "whoever runs the study for a link to come back with."
        )
    _used(session, code, now=now)
    return accounts.create(session, f"guest-{secrets.token_hex(6)}", None, found.role, pool_id=pool.id, external_hash=external_hash)


def by_external_id(session: Session, pool_id: int, external_hash: str) -> Account | None:
    """Who has this external id in a pool."""
    return session.exec(select(Account).where(Account.pool_id == pool_id, Account.external_hash == external_hash)).first()


def withdraw(session: Session, invitation_id: int, *, now: datetime) -> bool:
    """Ends a link before its time; False where it had ended."""
    found = session.get(Invitation, invitation_id)
    if found is None or found.ended_at is not None or found.uses_left == 0:
        return False
    found.ended_at = now
    session.add(found)
    return True


def _used(session: Session, code: str, *, now: datetime) -> Invitation:
    """Takes one use of a link, in one statement: two people at once cannot both have the last one."""
    found = look(session, code, now=now)
    if found.purpose == "first":
        one_at_a_time(session, "first administrator")
    taken = session.connection().execute(
        update(Invitation)
        .where(col(Invitation.id) == found.id, *_live(now))
        .values(uses_left=Invitation.uses_left - 1)
        .returning(col(Invitation.id))
    )
    if taken.one_or_none() is None or not _serves(session, found):
        raise UnknownInvitation("This link was used a moment ago. Ask whoever sent it to you for a new one.")
    return found


def _one_visible_line(text: str) -> bool:
    """Whether a name or code is one that people can see and type."""
    seen = text.isprintable() and not any(piece.sign for piece in pieces(text))
    return seen and not blank(text) and len(text) <= LONGEST_NAME


def _new(session: Session, invitation: Invitation) -> str:
    code = secrets.token_urlsafe(24)
    invitation.code_hash = _hash(code)
    session.add(invitation)
    session.flush()
    return code


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()
