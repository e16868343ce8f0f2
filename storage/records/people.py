"""Records of people: accounts, sign-ins, consent, background and hours. Kept apart from reviews, which know pseudonyms only."""

from typing import Any, Literal

from pydantic import AwareDatetime
from sqlalchemy import JSON, Index, String, UniqueConstraint
from sqlmodel import Field

from flagback.storage.records.record import Record, now, one_of

Role = Literal["reviewer", "lead", "maintainer", "auditor", "administrator"]
#: local = an administrator of Flagback gives the role; groups = the groups of the single sign-on do, at every login.
RoleSource = Literal["local", "groups"]
#: password = name and password; oidc = single sign-on; link = an address that was given to the person.
OpenedBy = Literal["password", "oidc", "link"]
#: join = makes an account; reset = a new password for one; first = makes the first administrator.
InvitationPurpose = Literal["join", "reset", "first"]
#: named = people choose a name and a password; anonymous = a crowd platform sends people who give neither.
PoolKind = Literal["named", "anonymous"]
#: review = to judge answers at all; the others are uses of one's background: who gets which item, weights in training, exports.
ConsentPurpose = Literal["review", "assignment", "training", "export"]


class Pool(Record, table=True):
    """Reviewers who came by one invitation code: a team, or the takers of a crowd platform's task."""

    __tablename__ = "pool"
    __table_args__ = (one_of("kind", PoolKind),)
    id: int = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    kind: PoolKind = Field(sa_type=String)
    #: Answers after which an anonymous reviewer is shown the completion code; null: there is no end.
    answers_wanted: int | None = None
    completion_code: str | None = None
    created_at: AwareDatetime = Field(default_factory=now)


class Account(Record, table=True):
    """Who may sign in. Lives apart from reviews, which know pseudonyms only."""

    __tablename__ = "account"
    __table_args__ = (one_of("role", Role), one_of("role_source", RoleSource), UniqueConstraint("pool_id", "external_hash"))
    id: int = Field(default=None, primary_key=True)
    login: str = Field(unique=True)
    role: Role = Field(sa_type=String)
    role_source: RoleSource = Field(default="local", sa_type=String)
    #: argon2id; null for who signs in another way only.
    password_hash: str | None = None
    #: Made by `flagback demo`; marked as such everywhere.
    demo: bool = False
    disabled: bool = False
    pool_id: int | None = Field(default=None, foreign_key="pool.id")
    #: Keyed hash of the id that a crowd platform knows the person by; the id itself is kept nowhere.
    external_hash: str | None = None
    #: Primary subtags of the languages the person reads; null until asked.
    languages: list[str] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    #: Language of pages and board that the person chose; null: the browser's.
    language: str | None = None
    #: Since when the person is away by their own word; null while they are there.
    away_since: AwareDatetime | None = None
    created_at: AwareDatetime = Field(default_factory=now)


class Invitation(Record, table=True):
    """A link that lets someone in. Known by its code's hash only; shown once, when it is made."""

    __tablename__ = "invitation"
    __table_args__ = (one_of("purpose", InvitationPurpose), one_of("role", Role))
    id: int = Field(default=None, primary_key=True)
    #: sha256 of the code.
    code_hash: str = Field(unique=True)
    purpose: InvitationPurpose = Field(sa_type=String)
    role: Role = Field(sa_type=String)
    pool_id: int | None = Field(default=None, foreign_key="pool.id")
    #: Whose password is reset; null for the other purposes.
    account_id: int | None = Field(default=None, foreign_key="account.id")
    uses_left: int = 1
    made_by: str
    created_at: AwareDatetime = Field(default_factory=now)
    expires_at: AwareDatetime
    #: Withdrawn before its time.
    ended_at: AwareDatetime | None = None


class Session(Record, table=True):
    """A signed-in browser. Checked on every rerun and every request."""

    __tablename__ = "session"
    __table_args__ = (one_of("opened_by", OpenedBy),)
    #: sha256 of the cookie's value.
    token_hash: str = Field(primary_key=True)
    account_id: int = Field(foreign_key="account.id", index=True)
    #: The browser in a few words, for its owner to tell one from another.
    browser: str = ""
    created_at: AwareDatetime = Field(default_factory=now)
    expires_at: AwareDatetime
    #: When a request last came, to the hour.
    seen_at: AwareDatetime = Field(default_factory=now)
    ended_at: AwareDatetime | None = None
    opened_by: OpenedBy = Field(default="password", sa_type=String)
    #: sha256 of the nonce of the single sign-on that opened it: one login there opens one session here.
    nonce_hash: str | None = Field(default=None, unique=True)
    #: Until when a single sign-on in this browser is tied to this account instead of opening one of its own.
    connecting_until: AwareDatetime | None = None


class Identity(Record, table=True):
    """Who an account's person is at the single sign-on. Never found by name or address: both are handed out anew."""

    __tablename__ = "identity"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)
    id: int = Field(default=None, primary_key=True)
    #: The provider's own address, `iss`.
    issuer: str
    #: What the provider calls the person for ever, `sub`.
    subject: str
    account_id: int = Field(foreign_key="account.id", index=True)
    created_at: AwareDatetime = Field(default_factory=now)
    last_seen_at: AwareDatetime = Field(default_factory=now)


class SignInFailure(Record, table=True):
    """Failed sign-ins in a row of one login, or from one address; what the growing delay is reckoned from."""

    __tablename__ = "sign_in_failure"
    #: Keyed hash of the login or the address.
    who: str = Field(primary_key=True)
    failures: int = 0
    last_at: AwareDatetime


class Consent(Record, table=True):
    """What a person agreed to, or took back. Append-only: the newest row of a purpose is in force."""

    __tablename__ = "consent"
    __table_args__ = (one_of("purpose", ConsentPurpose), Index("ix_consent_account_id_purpose", "account_id", "purpose"))
    id: int = Field(default=None, primary_key=True)
    account_id: int = Field(foreign_key="account.id")
    purpose: ConsentPurpose = Field(sa_type=String)
    given: bool
    #: Version of the words that were on the screen.
    text_version: str
    created_at: AwareDatetime = Field(default_factory=now)


class BackgroundForm(Record, table=True):
    """The questions about people's background, as the administrator set them. Append-only: the newest is asked."""

    __tablename__ = "background_form"
    id: int = Field(default=None, primary_key=True)
    #: [{"code", "question", "options": [{"code", "words"}, ...], "several": bool, "own_words": bool}, ...]
    questions: list[dict[str, Any]] = Field(sa_type=JSON)
    made_by: str
    created_at: AwareDatetime = Field(default_factory=now)


class Background(Record, table=True):
    """One answer about someone's background, under a pseudonym that is neither the account nor the one on the reviews."""

    __tablename__ = "background"
    #: "b_" pseudonym: only the key file's holder can tell whose it is, or which reviews are the same person's.
    person: str = Field(primary_key=True)
    question: str = Field(primary_key=True)
    #: Option codes; empty where only own words were given.
    answers: list[str] = Field(sa_type=JSON)
    own_words: str | None = None
    form_id: int = Field(foreign_key="background_form.id")
    #: The month: a moment could be laid beside a sign-in.
    updated_at: AwareDatetime = Field(default_factory=now)


class WorkLog(Record, table=True):
    """Time and answers of a week, for payment: under a pseudonym of its own, so that no answer can be found through it."""

    __tablename__ = "work_log"
    #: "w_" pseudonym.
    person: str = Field(primary_key=True)
    #: ISO week in UTC: "2026-W47".
    week: str = Field(primary_key=True)
    answers: int = 0
    seconds: float = 0.0
