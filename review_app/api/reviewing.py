"""Claiming, answering and giving back: the routes of the review board.

Knows what a reviewer may see: prompt, answer and language. No model name, no score, no version, nobody else's answer.
"""

import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, Field
from sqlmodel import Session

from flagback.model.policy import POLICY_VERSION
from flagback.review_app.api.errors import Refused
from flagback.review_app.auth import account_of, cookie_name
from flagback.review_app.installation import REVIEWING_ROLES, Installation
from flagback.storage import reviews, slots
from flagback.storage.records import Review, now
from flagback.storage.reviews import Answer

#: Most items one browser holds at a time.
MOST_HELD = 40

router = APIRouter()


class Turn(BaseModel):
    """One message of the prompt."""

    role: str
    content: str


class Shown(BaseModel):
    """What a reviewer sees of an item, and the lease that lets them answer it."""

    lease_id: str
    messages: list[Turn]
    lang: str
    #: Exactly the stored text: span offsets count its code points.
    text: str
    #: How long the lease still runs, by the server's clock.
    seconds_left: float


class Wanted(BaseModel):
    """How many items the browser wants to hold, those it already holds included."""

    count: int = Field(default=8, ge=1, le=MOST_HELD)


class Claimed(BaseModel):
    """The items held now; empty when there is nothing to review."""

    items: list[Shown]


class Saved(BaseModel):
    """The answer is in the database."""

    saved_at: AwareDatetime
    #: "again" when this very answer had been stored before.
    stored: str
    #: Stored, but after its lease had run out.
    late: bool


class Released(BaseModel):
    """How many items were given back."""

    released: int


class Today(BaseModel):
    """The reviewer's day so far."""

    answered: int
    #: What the maintainer suggests for a day; nothing hangs on it.
    aim: int


class Recent(BaseModel):
    """An answer that can still be taken up again: what was shown and what was said."""

    shown: Shown
    answer: Answer


class RecentAnswers(BaseModel):
    """The reviewer's own last answers, oldest first."""

    answers: list[Recent]


def _installation(request: Request) -> Installation:
    installation: Installation = request.app.state.installation
    return installation


Here = Annotated[Installation, Depends(_installation)]


def _reviewer(request: Request, here: Here) -> str:
    """The pseudonym of the signed-in reviewer."""
    account = account_of(here, request.cookies.get(cookie_name(here)))
    if account is None:
        raise Refused(401, "not_signed_in", "You are not signed in, or your sign-in has ended; sign in again at /signin.")
    if account.role not in REVIEWING_ROLES:
        raise Refused(
            403,
            "not_a_reviewer",
            f"Your role is {account.role}; reviewing needs the account of a reviewer ('flagback account create').",
        )
    return here.reviewer(account)


Who = Annotated[str, Depends(_reviewer)]


@router.post("/claim")
def claim(wanted: Wanted, who: Who, here: Here) -> Claimed:
    """Items to review: those this reviewer already holds, then new ones."""
    moment = now()
    held = slots.claim(
        here.store,
        who,
        count=wanted.count,
        now=moment,
        lease_for=timedelta(minutes=here.settings.lease_minutes),
        seed=secrets.randbits(32),
    )
    return Claimed(items=[_shown(item, seconds_left=(item.expires_at - moment).total_seconds()) for item in held])


@router.post("/answers")
def answer(given: Answer, who: Who, here: Here) -> Saved:
    """Stores one answer; the same token again gives the first receipt again."""
    receipt = reviews.submit(here.store, who, given, now=now(), policy_version=POLICY_VERSION)
    return Saved(saved_at=receipt.saved_at, stored=receipt.stored, late=receipt.late)


@router.post("/release")
def release(who: Who, here: Here) -> Released:
    """Stop for today: everything this reviewer holds goes back, for others to take."""
    return Released(released=slots.release(here.store, who, now=now()))


@router.get("/today")
def today(
    who: Who, here: Here, since: Annotated[AwareDatetime | None, Query(description="Midnight where the reviewer is.")] = None
) -> Today:
    """How many answers this reviewer has given since midnight, at most 2 days ago."""
    moment = now()
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0) if since is None else max(since, moment - timedelta(days=2))
    with here.store.reading() as session:
        return Today(answered=reviews.answered_today(session, who, since=start), aim=here.settings.items_a_day)


@router.get("/recent")
def recent(who: Who, here: Here) -> RecentAnswers:
    """The last ten answers, for undo after the page was opened anew."""
    with here.store.reading() as session:
        newest_first = reviews.recent(session, who, limit=10)
        return RecentAnswers(answers=[_again(session, review) for review in reversed(newest_first)])


def _again(session: Session, review: Review) -> Recent:
    """The review with what its reviewer saw."""
    item = reviews.reopened(session, review.reviewer, review.token)
    said = Answer.model_validate(review.model_dump(include=set(Answer.model_fields)))
    return Recent(shown=_shown(item, seconds_left=0.0), answer=said)


def _shown(item: slots.Claim, *, seconds_left: float) -> Shown:
    return Shown(
        lease_id=item.lease_id,
        messages=[Turn(**turn) for turn in item.prompt],
        lang=item.prompt_lang,
        text=item.text,
        seconds_left=seconds_left,
    )
