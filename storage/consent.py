"""Consent: four separate questions, what each means, and what taking it back does. Append-only: the newest answer is in force.

Knows the words and what is in force; what each purpose is used for is its user's business (`flagback.storage.background`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select

from flagback.storage.records import Consent, ConsentPurpose

#: Version of the words below; changing them asks nobody again but is recorded with every answer.
TEXT_VERSION = "2026-11"


class Purpose(NamedTuple):
    """One question."""

    code: ConsentPurpose
    #: What is agreed to, beside the box.
    words: str
    #: What it means.
    more: str
    #: What taking it back does, said before it is done.
    on_withdrawal: str


PURPOSES: tuple[Purpose, ...] = (
    Purpose(
        "review",
        "I want to review answers of a language model.",
        "Some are biased, insulting or upsetting. You may skip any, and stop at any time, without giving a reason. Your answers "
        "are kept under a pseudonym and are used to measure and to correct the model.",
        "You get no more answers to review, and those in your hands go to someone else. What you have answered stays, under "
        "its pseudonym.",
    ),
    Purpose(
        "assignment",
        "My background may be used to choose what I am asked about.",
        "So that answers about a group reach people who belong to it. Nobody sees which facts are yours.",
        "From then on you get answers whoever you are. Reviews that you have given stay as they are.",
    ),
    Purpose(
        "training",
        "My background may be used to weigh reviews when the model is corrected.",
        "So that the views of small groups are not outvoted. Only groups of five or more people are ever weighed.",
        "The next correction weighs your reviews like anyone's. Models corrected before stay as they are.",
    ),
    Purpose(
        "export",
        "My background may stand beside my reviews in data sets that are given away.",
        "Under a pseudonym, and only where at least five people share the same facts. A data set that has been given away cannot "
        "be called back.",
        "The next data set leaves your background out. Those given away before cannot be called back.",
    ),
)
CODES: frozenset[str] = frozenset(purpose.code for purpose in PURPOSES)


class UnknownPurpose(ValueError):
    """A purpose nobody is asked about."""


def in_force(session: Session, account_id: int) -> dict[ConsentPurpose, bool]:
    """What a person's newest answers say, by purpose; False where never asked: silence is no consent."""
    newest = select(func.max(col(Consent.id))).where(Consent.account_id == account_id).group_by(col(Consent.purpose))
    rows = session.exec(select(Consent).where(col(Consent.id).in_(newest))).all()
    given = {row.purpose: row.given for row in rows}
    return {purpose.code: given.get(purpose.code, False) for purpose in PURPOSES}


def set_consent(
    session: Session, account_id: int, answers: Mapping[ConsentPurpose, bool], *, now: datetime, text_version: str = TEXT_VERSION
) -> list[ConsentPurpose]:
    """Stores what changed and returns it. Raises UnknownPurpose."""
    for code in answers:
        if code not in CODES:
            raise UnknownPurpose(f"{code!r} is no purpose of consent; expected some of {', '.join(sorted(CODES))}.")
    before = in_force(session, account_id)
    changed: list[ConsentPurpose] = [code for code, given in answers.items() if given != before[code]]
    for code in changed:
        session.add(Consent(account_id=account_id, purpose=code, given=answers[code], text_version=text_version, created_at=now))
    session.flush()
    return changed


def accounts_with(session: Session, purpose: ConsentPurpose) -> list[int]:
    """The accounts whose newest answer to a purpose is yes."""
    newest = select(func.max(col(Consent.id))).where(Consent.purpose == purpose).group_by(col(Consent.account_id))
    return list(
        session.exec(
            select(Consent.account_id)
            .where(col(Consent.id).in_(newest), col(Consent.given).is_(True))
            .order_by(col(Consent.account_id))
        ).all()
    )
