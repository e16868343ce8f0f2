"""Totals of the panel for those who steer and oversee it: bands instead of numbers, small cells and what gives them away left out.

Everything about people's background that leaves the records goes through here or `flagback.storage.export`, and both hide by
`flagback.storage.suppression`.
"""

from collections import Counter
from typing import NamedTuple

from sqlalchemy import func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage import background, consent, counting
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Account, Review
from flagback.storage.suppression import SMALLEST, band, shown_cells, shown_options

__all__ = ["SMALLEST", "QuestionTotals", "Totals", "counted", "totals"]


class QuestionTotals(NamedTuple):
    """One question about background."""

    code: str
    words: str
    #: (option, band) of those that may be shown, in the form's order.
    cells: list[tuple[str, str]]
    #: Whether something is left out.
    hidden: bool


class Totals(NamedTuple):
    """The whole page."""

    reviewers: int
    answers: int
    #: (primary subtag, band).
    languages: list[tuple[str, str]]
    languages_hidden: bool
    questions: list[QuestionTotals]


def counted(people: int) -> str:
    """A number of people as pages show it: a band, "no" or "fewer than 5"; who joins or leaves is not to be seen."""
    return "no" if people == 0 else f"fewer than {SMALLEST}" if people < SMALLEST else band(people)


def totals(session: Session, key: bytes) -> Totals:
    """Counts everything anew; nothing of it is kept."""
    reviewing = set(consent.accounts_with(session, "review"))
    reviewers = [
        account
        for account in session.exec(
            select(Account).where(col(Account.role).in_(["reviewer", "lead"]), col(Account.disabled).is_(False))
        ).all()
        if account.id in reviewing
    ]
    reads = Counter(code for account in reviewers for code in account.languages or [])
    shown = shown_options(reads, len(reviewers))
    said = background.consented(session, key, "assignment")
    people = [said[name] for account in reviewers if (name := pseudonym(key, account.id)) in said]
    return Totals(
        reviewers=len(reviewers),
        answers=_answers(session),
        languages=[(code, band(reads[code])) for code in sorted(reads) if code in shown],
        languages_hidden=len(shown) < len(reads),
        questions=[_question(question, people) for question in background.questions(session)[0]],
    )


def _question(question: background.Question, people: list[dict[str, list[str]]]) -> QuestionTotals:
    said = [person.get(question.code, []) for person in people]
    if question.several:
        counts = Counter(code for codes in said for code in codes)
        shown = shown_options(counts, len(people))
        hidden = len(shown) < len(counts)
    else:
        cells: Counter[str | None] = Counter(codes[0] if codes else None for codes in said)
        shown_or_none = shown_cells(cells)
        shown = frozenset(code for code in shown_or_none if code is not None)
        counts = Counter({code: count for code, count in cells.items() if code is not None})
        hidden = len(shown) < len(counts)
    named = [(option.words, band(counts[option.code])) for option in question.options if option.code in shown]
    return QuestionTotals(question.code, question.question, named, hidden)


def _answers(session: Session) -> int:
    newer = aliased(Review)
    return session.exec(
        select(func.count())
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .where(col(newer.id).is_(None), Review.verdict != "skip", col(Review.simulated).is_(False), counting.counts())
    ).one()
