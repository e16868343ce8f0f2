"""Guidelines and practice: the routes by which the board shows them.

Knows whose they are; what is said of a practice item is kept for nobody but that person, and is no review.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlmodel import Session

from flagback.review_app import guidance
from flagback.review_app.api.errors import Refused
from flagback.review_app.api.reviewing import Here, Who
from flagback.storage import guidelines, practice
from flagback.storage.records import Expected, now

router = APIRouter()


class Guidelines(BaseModel):
    """The version in force."""

    version: int
    #: Primary subtag of the language that `text` is in.
    lang: str
    #: Markdown.
    text: str
    #: What changed since the version named in the words that this person reads, one line a version, oldest first.
    notes: list[str]


class PracticeItem(BaseModel):
    """A made-up answer, with what most guidelines would say of it."""

    prompt: str
    answer: str
    verdict: Expected
    categories: list[str]
    explanation: str


class Said(BaseModel):
    """What this person said of one."""

    verdict: Expected
    categories: list[str]


class Round(BaseModel):
    """A way through the practice; `round` is null where none goes on."""

    round: int | None = None
    lang: str = "und"
    items: list[PracticeItem] = Field(default_factory=list)
    #: Of the first ones, in order.
    said: list[Said] = Field(default_factory=list)
    #: Some round was gone through before: this one may be left.
    passed: bool = False


class PracticeSaid(BaseModel):
    """What somebody says of the next item."""

    round: int = Field(ge=1, le=2**31 - 1)
    #: From 0.
    position: int = Field(ge=0, lt=practice.MOST_ITEMS)
    verdict: Expected
    categories: list[str] = Field(default_factory=list, max_length=40)


class Kept(BaseModel):
    """It is kept; whether that was the last one."""

    finished: bool


@router.get("/guidelines")
def read(
    request: Request, who: Who, here: Here, since: Annotated[int, Query(ge=1, le=2**31 - 1, description="A version.")] = 1
) -> Guidelines:
    """The guidelines in force, in a language that the reviewer reads, and what changed since a version."""
    with here.store.reading() as session:
        browser = request.headers.get("accept-language")
        shown = guidance.guideline_for(session, who.account, browser)
        notes = guidelines.notes_since(session, since, guidance.preferred(who.account, browser))
        return Guidelines(**shown._asdict(), notes=notes)


@router.get("/practice")
def under_way(who: Who, here: Here) -> Round:
    """The round that goes on."""
    with here.store.reading() as session:
        return _round(practice.under_way(session, who.pseudonym, read=who.account.languages or []))


@router.post("/practice/begin")
def begin(request: Request, who: Who, here: Here) -> Round:
    """Begins a round, unless one goes on: that one is given then."""
    languages = guidance.practised_in(who.account, request.headers.get("accept-language"))
    return here.store.settle(lambda session: _round(practice.begin(session, who.pseudonym, read=languages, now=now())))


@router.post("/practice")
def say(given: PracticeSaid, who: Who, here: Here) -> Kept:
    """Keeps what was said of the next item; the same position again changes nothing."""

    def kept(session: Session) -> Kept:
        finished = practice.say(
            session,
            who.pseudonym,
            round_id=given.round,
            position=given.position,
            verdict=given.verdict,
            categories=given.categories,
            now=now(),
        )
        return Kept(finished=finished)

    try:
        return here.store.settle(kept)
    except practice.OutOfPlace as error:
        raise Refused(409, "out_of_place", str(error)) from error


@router.post("/practice/leave")
def leave(who: Who, here: Here) -> Kept:
    """Ends a repeated round before its end."""
    return here.store.settle(lambda session: Kept(finished=practice.leave(session, who.pseudonym, now=now())))


def _round(way: practice.Way | None) -> Round:
    if way is None:
        return Round()
    return Round(
        round=way.round_id,
        lang=way.lang,
        items=[PracticeItem(**item._asdict()) for item in way.items],
        said=[Said(verdict=verdict, categories=categories) for verdict, categories in way.said],
        passed=way.passed,
    )
