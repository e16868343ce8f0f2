"""Claiming, answering and giving back: the routes of the review board.

Knows what a reviewer may see: prompt, answer and language. No model name, no score, no version, nobody else's answer.

Consent to reviewing is asked for whenever items are handed out, and never when an answer comes in: an answer that waited in the
browser was given while consent was in force, and is never lost. It is stored as late, since the item went back with the consent.
Somebody paid by a study holds no more items than they still owe, so that the code comes with the last answer and no item after it.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, Field
from sqlmodel import Session

from flagback.model.policy import POLICY_VERSION
from flagback.review_app import downloads, words
from flagback.review_app.access import REVIEWING_ROLES, role_name
from flagback.review_app.api.errors import Refused
from flagback.review_app.auth import account_at, page_token_fits
from flagback.review_app.installation import Installation
from flagback.review_app.words import tr
from flagback.storage import (
    background,
    claims,
    consent,
    guidelines,
    practice,
    reviews,
    second_looks,
    set_aside,
    slots,
    studies,
    wellbeing,
    withdrawals,
)
from flagback.storage.answers import Answer
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Account, Review, SlotMode, now
from flagback.storage.taxonomy import CATEGORIES, TARGETS

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
    #: Exactly the stored text: span offsets count its code points. Empty where several answers stand side by side.
    text: str
    #: Answers of one prompt side by side, in the order to show; empty for a single one.
    answers: list[str] = Field(default_factory=list)
    #: How long the lease still runs, by the server's clock.
    seconds_left: float
    #: Null, or what the answer may be about (perhaps nothing that is known): it is covered until its reader asks for it.
    veil: list[str] | None


class Wanted(BaseModel):
    """How many items the browser wants to hold, those it already holds included."""

    count: int = Field(default=8, ge=1, le=MOST_HELD)
    #: One answer at a time, or several of one prompt side by side.
    mode: SlotMode = "single"


class Claimed(BaseModel):
    """The items held now; empty when there is nothing to review."""

    items: list[Shown]
    #: For an anonymous reviewer: what the platform asks for, once enough is answered.
    completion_code: str | None = None
    #: The reviewer has met as many severe answers as one should in a day: nothing more is handed out for now.
    enough: bool = False
    #: Severe answers met in the last 24 hours.
    severe: int = 0
    #: Whether something waits for this reviewer in the other mode too; who is paid by a study is asked one thing only.
    other: bool = False
    #: The version of the guidelines that is in force.
    guideline: int = 1
    #: The first practice is not gone through yet: nothing is handed out before.
    practice: bool = False
    #: Languages that this reviewer reads (primary subtags), where nothing waits in those and something does in others; else empty.
    only_in: list[str] = Field(default_factory=list)


class Saved(BaseModel):
    """The answer is in the database."""

    saved_at: AwareDatetime
    #: "again" when this very answer had been stored before.
    stored: str
    #: Stored, but after its lease had run out.
    late: bool
    #: The version of the guidelines that is in force.
    guideline: int


class Released(BaseModel):
    """How many items were given back."""

    released: int


class Today(BaseModel):
    """The reviewer's day so far."""

    answered: int
    #: What the maintainer suggests for a day; nothing hangs on it.
    aim: int
    #: Severe answers met in the last 24 hours, and how many of them are enough.
    severe: int
    budget: int


class Recent(BaseModel):
    """An answer that can still be taken up again: what was shown and what was said."""

    shown: Shown
    answer: Answer


class RecentAnswers(BaseModel):
    """The reviewer's own last answers, oldest first."""

    answers: list[Recent]


# Asynchronous, though nothing is waited for: each other dependency would cost every request a thread of its own.
async def _installation(request: Request) -> Installation:
    installation: Installation = request.app.state.installation
    return installation


Here = Annotated[Installation, Depends(_installation)]


class Reviewer:
    """Who asks: the account for what it may do, and the pseudonym its answers stand under."""

    def __init__(self, here: Installation, account: Account) -> None:
        self.account = account
        self.pseudonym = here.reviewer(account)
        #: What hours are counted under.
        self.worker = pseudonym(here.pseudonym_key, account.id, "work")


async def signed_in(request: Request, here: Here) -> Account:
    """The account, whose own page must have sent the request: a browser may have changed hands since the page was drawn."""
    account = account_at(here, request)  # what the guard has found; the database is not asked here
    if account is None:
        raise Refused(401, "not_signed_in", tr("You are not signed in, or your sign-in has ended; sign in again at /signin."))
    if not page_token_fits(here, account, request.headers.get("x-flagback-token")):
        raise Refused(
            403,
            "other_account",
            tr(
                "This page was made for another sign-in, so nothing was stored or shown. Reload the page; what was answered "
                "under the other sign-in is sent when that person signs in again."
            ),
        )
    return account


async def _reviewer(account: Annotated[Account, Depends(signed_in)], here: Here) -> Reviewer:
    """The signed-in reviewer."""
    if account.role not in REVIEWING_ROLES:
        raise Refused(
            403,
            "not_a_reviewer",
            tr(
                "Your role is {role}; reviewing needs the account of a reviewer ('flagback account create').",
                role=role_name(account.role),
            ),
        )
    return Reviewer(here, account)


Who = Annotated[Reviewer, Depends(_reviewer)]


@router.get("/session", status_code=204)
def session(_account: Annotated[Account, Depends(signed_in)]) -> None:
    """204 as long as the page's sign-in lives, 401 once it has ended, 403 where someone else signed in since."""


@router.post("/claim")
def claim(wanted: Wanted, who: Who, here: Here) -> Claimed:
    """Items to review: those this reviewer already holds, then new ones, in languages they read."""
    moment = now()
    if who.account.languages is None:
        raise Refused(403, "no_languages", tr("You have not said which languages you read; open the page Review and choose them."))
    code: str | None = None
    severe, paid, practising = 0, False, False
    with here.store.reading() as session:
        care = wellbeing.terms(session)
        declined = wellbeing.declined(session, who.account.id)
        guideline = guidelines.newest(session)
        rates = second_looks.rates(session)

    def limit(session: Session) -> int:
        """Inside the claim: consent is not taken back, and no answer comes in, between the look and what is handed out."""
        nonlocal code, severe, paid, practising
        if not consent.in_force(session, who.account.id)["review"]:
            raise Refused(403, "no_consent", tr("You have not agreed to review, or took it back; see the page You."))
        if wellbeing.away_since(session, who.account.id) is not None:
            raise Refused(
                403,
                "away",
                tr("You said that you are away, so nothing is handed out. Say that you are back on the page You, and go on."),
            )
        if set_aside.paused(session, who.pseudonym):
            raise Refused(
                403,
                "paused",
                tr(
                    "Reviewing is paused for you by those who run this panel, so no answers are handed out. Nothing that you "
                    "have answered is lost. Ask them if you want to know why."
                ),
            )
        severe = wellbeing.met_severe(session, who.pseudonym, now=moment)
        enough = severe >= care.severe_a_day
        way = practice.under_way(session, who.pseudonym, read=who.account.languages or [])
        practising = way is not None and not way.passed
        part = studies.part_of(session, who.account, who.pseudonym)
        if part is None:
            return 0 if enough or practising else MOST_HELD
        code, paid = part.code, True
        return 0 if enough or practising else part.owed

    def groups(session: Session) -> list[str]:
        return background.groups_of(session, here.pseudonym_key, who.account.id)

    def left_out(session: Session, prompts: Mapping[int, Mapping[str, Any]]) -> set[int]:
        return wellbeing.to_avoid(session, prompts, declined)

    avoid = left_out if declined else None
    held = slots.claim(
        here.store,
        who.pseudonym,
        count=wanted.count,
        now=moment,
        lease_for=timedelta(minutes=here.settings.lease_minutes),
        seed=secrets.randbits(32),
        languages=who.account.languages,
        limit=limit,
        groups=groups,
        mode=wanted.mode,
        avoid=avoid,
        harmless=wellbeing.HARMLESS,
        mix=second_looks.mixer(rates, who.pseudonym, now=moment, languages=who.account.languages, avoid=avoid),
    )
    enough = severe >= care.severe_a_day
    if code is not None or enough:
        if held:
            slots.release(here.store, who.pseudonym, now=now())
        return Claimed(items=[], completion_code=code, enough=enough, severe=severe, guideline=guideline)
    if practising:
        return Claimed(items=[], severe=severe, guideline=guideline, practice=True)
    other: SlotMode = "compare" if wanted.mode == "single" else "single"
    with here.store.reading() as session:
        veils = _veils(session, held, care)
        more = not paid and slots.waits(
            session, who.pseudonym, mode=other, now=moment, languages=who.account.languages, groups=groups, avoid=avoid
        )
        elsewhere = (not held and not more and not paid) and any(
            slots.waits(session, who.pseudonym, mode=mode, now=moment, groups=groups, avoid=avoid) for mode in (wanted.mode, other)
        )
    return Claimed(
        items=[
            _shown(item, seconds_left=(item.expires_at - moment).total_seconds(), veil=veils.get(item.lease_id)) for item in held
        ],
        severe=severe,
        other=more,
        guideline=guideline,
        only_in=who.account.languages if elsewhere else [],
    )


def _veils(session: Session, held: Sequence[claims.Claim], care: wellbeing.Terms) -> dict[str, list[str]]:
    """Lease -> what its answer may be about, of those to be covered; several side by side are covered where one of them is."""
    several = claims.generations_of(session, [item.item_id for item in held if item.generation_id is None])
    shown = {item.lease_id: several.get(item.item_id, [item.generation_id or 0]) for item in held}
    covered = wellbeing.covers(session, [number for numbers in shown.values() for number in numbers], care)
    names = {one.name: words.stored(f"taxonomy {one.code}", one.name) for one in CATEGORIES}
    names |= {one.name: words.stored(f"taxonomy {one.code}", one.name) for one in TARGETS}
    return {
        lease: list(dict.fromkeys(names.get(word, word) for number in numbers for word in covered.get(number, [])))
        for lease, numbers in shown.items()
        if any(number in covered for number in numbers)
    }


@router.post("/answers")
def answer(given: Answer, who: Who, here: Here) -> Saved:
    """Stores one answer; the same token again gives the first receipt again."""
    receipt = reviews.submit(here.store, who.pseudonym, given, now=now(), policy_version=POLICY_VERSION, worker=who.worker)
    if withdrawals.asked_for(given.categories) is not None:
        downloads.sweep(here.settings.downloads, kept_for=-1.0)  # any of them may hold the text
    return Saved(saved_at=receipt.saved_at, stored=receipt.stored, late=receipt.late, guideline=receipt.guideline)


@router.post("/release")
def release(who: Who, here: Here) -> Released:
    """Stop for today: everything this reviewer holds goes back, for others to take."""
    return Released(released=slots.release(here.store, who.pseudonym, now=now()))


@router.get("/today")
def today(
    who: Who, here: Here, since: Annotated[AwareDatetime | None, Query(description="Midnight where the reviewer is.")] = None
) -> Today:
    """How many answers this reviewer has given since midnight, at most 2 days ago."""
    moment = now()
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0) if since is None else since
    start = min(max(start, moment - timedelta(days=2)), moment)  # the year 9999 has no UTC form beyond a few hours' offset
    with here.store.reading() as session:
        part = studies.part_of(session, who.account, who.pseudonym)
        care = wellbeing.terms(session)
        return Today(
            answered=reviews.answered_today(session, who.pseudonym, since=start),
            aim=here.settings.items_a_day if part is None else part.wanted,
            severe=wellbeing.met_severe(session, who.pseudonym, now=moment),
            budget=care.severe_a_day,
        )


@router.get("/recent")
def recent(who: Who, here: Here) -> RecentAnswers:
    """The last ten answers, for undo after the page was opened anew."""
    with here.store.reading() as session:
        newest_first = reviews.recent(session, who.pseudonym, limit=10)
        return RecentAnswers(answers=[_again(session, review) for review in reversed(newest_first)])


def _again(session: Session, review: Review) -> Recent:
    """The review with what its reviewer saw."""
    item = reviews.reopened(session, review.reviewer, review.token)
    said = Answer.model_validate(review.model_dump(include=set(Answer.model_fields)))
    return Recent(shown=_shown(item, seconds_left=0.0, veil=None), answer=said)


def _shown(item: claims.Claim, *, seconds_left: float, veil: list[str] | None) -> Shown:
    return Shown(
        lease_id=item.lease_id,
        messages=[Turn(**turn) for turn in item.prompt],
        lang=item.prompt_lang,
        text=item.text,
        answers=list(item.answers),
        seconds_left=seconds_left,
        veil=veil,
    )
