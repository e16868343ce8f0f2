"""Which declared group each reviewer is weighed under when votes are put together: of those who consented, five people or more.

Knows the answers about background, consent to "training" and the smallest group; knows no policy. Whoever calls it holds the key
that ties a background to reviews, and nothing it returns is stored beside a pseudonym.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlmodel import Session

from flagback.storage import background
from flagback.storage.suppression import SMALLEST

#: Members of groups under five, and who said nothing or agreed to nothing: weighed together where they are five or more.
REST = "rest"


class Grouping(NamedTuple):
    """Reviewers by the answers to one question."""

    #: The question's code; empty where there is no grouping.
    question: str
    #: Groups that may be weighed, in order.
    groups: tuple[str, ...]
    #: Reviewer -> the groups among those; nobody else is in one.
    of: Mapping[str, tuple[str, ...]]


NOBODY = Grouping("", (), {})


class NoSuchQuestion(ValueError):
    """A question about background that nobody is asked, or that gives no groups."""


def grouping(session: Session, key: bytes, reviewers: Collection[str], question: str | None = None) -> Grouping:
    """The groups that these reviewers form by one question, or by the only one that gives two; `NOBODY` where none does.

    Raises NoSuchQuestion for a question that is not asked, and where several would do and none is named.
    """
    said = background.consented(session, key, "training")
    codes = [asked.code for asked in background.questions(session)[0]]
    if question is not None and question not in codes:
        raise NoSuchQuestion(f"No question about background is called {question!r}; expected one of: {', '.join(codes)}.")
    found = [
        made
        for code in ([question] if question is not None else codes)
        if len((made := grouped(code, {name: said.get(name, {}).get(code, []) for name in reviewers})).groups) > 1
    ]
    if len(found) > 1:
        able = ", ".join(made.question for made in found)
        raise NoSuchQuestion(f"Reviewers form groups by several questions: {able}; say which one counts with --by.")
    return found[0] if found else NOBODY


def grouped(question: str, said: Mapping[str, Collection[str]], *, smallest: int = SMALLEST) -> Grouping:
    """Groups of at least `smallest` among reviewers by what each said; the others together form one if they are so many."""
    counts = Counter(code for codes in said.values() for code in set(codes))
    kept = {code for code, people in counts.items() if people >= smallest}
    of = {name: tuple(sorted(kept & set(codes))) for name, codes in said.items()}
    others = [name for name, groups in of.items() if not groups]
    if len(others) >= smallest and kept:
        of |= dict.fromkeys(others, (REST,))
        kept.add(REST)
    return Grouping(question, tuple(sorted(kept)), {name: groups for name, groups in of.items() if groups})
