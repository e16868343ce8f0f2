"""Reviews: what a person says about an answer, kept for good. Append-only; a correction is a new row that supersedes the old.

Knows the rules of a well-formed answer, the seat it fills and what is in force; knows no aggregation. What happens to the seat:

- an answer fills the seat its reviewer holds on that item at this moment; one who holds none any more is late: the answer is
  stored and fills no seat;
- a skip fills no seat: the one held opens again for someone else, never for the same reviewer;
- a correction keeps the seat of what it corrects. A judgement corrected into a skip leaves its seat behind and a fresh one is
  made for someone else, unless the answer was taken back from review; a skip corrected into a judgement takes an open seat of the
  item that is kept for nobody, or stands as extra overlap.

A seat that was kept for a group forgets the group when it is filled. Where an overlap policy holds, an answer may open further
seats.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, insert, literal_column, or_, update
from sqlalchemy import select as select_core
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage import counting, live_batches, quarantine, withdrawals, work
from flagback.storage.items import slot_row, widen
from flagback.storage.prompts import AT_A_TIME, unstorable
from flagback.storage.records import Generation, Item, ItemPurpose, Lease, Prompt, Record, Review, Severity, Slot, Verdict
from flagback.storage.slots import ANYBODY, OPEN_AGAIN, Claim, answers_of
from flagback.storage.store import Store, insert_all, one_at_a_time
from flagback.storage.taxonomy import CATEGORY_CODES, KNOWN_GUIDELINE_VERSIONS, KNOWN_TAXONOMY_VERSIONS, SKIP_CODES, TARGET_CODES

LONGEST_NOTE = 2_000
LONGEST_REWRITE = 20_000
LONGEST_TARGET = 200
MOST_SPANS = 100
#: What a slot becomes when it is answered: for whom it was kept is not to be read beside who answered.
FILLED: dict[str, Any] = {"state": "done", "expires_at": None, "want_group": ANYBODY, "relax_at": None}


class Span(BaseModel):
    """Marked words."""

    model_config = ConfigDict(extra="forbid")

    #: First code point of the stored text, and the one after the last.
    start: int
    end: int
    #: One of the answer's categories, None where the words are only marked.
    category: str | None = None


class Answer(BaseModel):
    """What the browser sends. Its shape is checked here, its rules by `submit`."""

    model_config = ConfigDict(extra="forbid")

    #: UUID made by the browser when the answer is given: sent twice, it is stored once.
    token: str
    lease_id: str
    verdict: Verdict
    #: Main one first.
    categories: list[str] = Field(default_factory=list)
    targets: list[str] = Field(default_factory=list)
    target_other: str | None = None
    severity: Severity | None = None
    sure: bool = True
    spans: list[Span] = Field(default_factory=list)
    rewrite: str | None = None
    #: For verdict ranked: the rank of each answer in the order shown, 1 the best.
    ranking: list[int] | None = None
    note: str | None = None
    skip_reason: str | None = None
    seconds_open: float | None = None
    taxonomy_version: str
    guideline_version: str
    #: Token of the earlier answer that this one corrects.
    supersedes_token: str | None = None

    @field_validator("token", "supersedes_token")
    @classmethod
    def _is_uuid(cls, value: str | None) -> str | None:
        return None if value is None else str(UUID(value))


class Receipt(NamedTuple):
    """Proof that an answer is in the database."""

    review_id: int
    saved_at: datetime
    #: again = this very answer had been stored before; nothing was added.
    stored: Literal["new", "again"]
    late: bool


class UnknownLease(Exception):
    """The lease never belonged to this reviewer."""


class AlreadyAnswered(Exception):
    """The reviewer has another answer to this item, or the answer to correct was corrected elsewhere."""


class BadAnswer(ValueError):
    """An answer that breaks a rule; nothing is stored."""

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what)
        #: The field at fault, for the screen to point at.
        self.field = field


def submit(
    store: Store,
    reviewer: str,
    answer: Answer,
    *,
    now: datetime,
    policy_version: str,
    simulated: bool = False,
    worker: str | None = None,
) -> Receipt:
    """Stores an answer, and returns only when it is in the database. Raises UnknownLease, AlreadyAnswered or BadAnswer.

    With `worker`, the pseudonym hours are counted under, a first answer (not its corrections) counts as work.
    """

    def work_once(session: Session) -> Receipt:
        receipt = _submit(session, reviewer, answer, now, policy_version, simulated)
        if worker is not None and receipt.stored == "new" and answer.supersedes_token is None:
            work.add(session, worker, seconds=answer.seconds_open, now=now)
        return receipt

    return store.settle(work_once)


def _submit(session: Session, reviewer: str, answer: Answer, now: datetime, policy_version: str, simulated: bool) -> Receipt:
    connection = session.connection()
    # Core statements built once on the way of every answer: under load building them cost more than running them. What a lease is
    # about never changes, so it may be read before anything is locked.
    lease = None if unstorable(answer.lease_id) else connection.execute(_leased(), {"lease": answer.lease_id}).one_or_none()
    if lease is None or lease.reviewer != reviewer:
        raise UnknownLease(
            f"Lease {answer.lease_id!r} was never handed to this reviewer; reload the page to get the items that are yours."
        )
    # The item for widen(): whoever answers it at the same time waits, else neither would see the other's vote.
    names = [f"reviewer {reviewer}", *([] if lease.overlap_id is None else [f"item {lease.item_id}"])]
    one_at_a_time(session, *names, by_index=True)
    # One statement, so that a parallel transaction's answer is seen with its token or not at all.
    chain = connection.execute(_chain(), {"item": lease.item_id, "who": reviewer, "token": answer.token}).all()
    for stored in chain:
        if stored.reviewer != reviewer or stored.item_id != lease.item_id:
            raise BadAnswer("token", f"Token {answer.token} was used for another answer; make a new one for each answer.")
        if stored.token == answer.token:
            return Receipt(stored.id, stored.created_at, "again", stored.late)
    if lease.text is None:
        check_comparison(answer, answers_of(session, [lease.item_id])[lease.item_id])
    else:
        check(answer, lease.text)
    overlap_id: int | None = lease.overlap_id
    # Before any seat is locked, as in live_batches.withdraw.
    may_widen = overlap_id is not None and lease.withdrawal is None
    may_widen = may_widen and (lease.source != "logged" or live_batches.stays(session, lease.origin))
    if answer.supersedes_token is None:
        if chain:
            raise AlreadyAnswered("You have answered this item already; to change that answer, undo it.")
        slot_id, late = _seat_for_new(connection, reviewer, answer.verdict, lease, now)
        supersedes = None
    else:
        earlier = _to_correct(chain, answer.supersedes_token)
        slot_id, late, supersedes = _seat_for_correction(session, reviewer, answer, earlier), earlier.late, earlier.id
    row = answer.model_dump(exclude={"supersedes_token"}) | {
        "item_id": lease.item_id,
        "slot_id": slot_id,
        "reviewer": reviewer,
        "policy_version": policy_version if overlap_id is None else f"{policy_version};overlap:{overlap_id}",
        "late": late,
        "supersedes": supersedes,
        "simulated": simulated,
        "created_at": now,
    }
    stored_id = int(connection.execute(_new_review(), row).scalar_one())
    category = withdrawals.asked_for(answer.categories)
    if category is not None:
        withdrawals.withdraw(session, lease.item_id, category=category, review_id=stored_id, by="a reviewer", now=now)
    elif may_widen and overlap_id is not None:
        widen(session, lease.item_id, overlap_id, now=now)
    return Receipt(stored_id, now, "new", late)


@cache
def _leased() -> Any:
    """A lease with what it is about; the text as it was shown, even where it was withdrawn meanwhile."""
    lease, item, generation, away = (Record.metadata.tables[name] for name in ("lease", "item", "generation", "withdrawal"))
    return (
        select_core(
            lease.c.id,
            lease.c.reviewer,
            lease.c.item_id,
            lease.c.slot_id,
            func.coalesce(away.c.text, generation.c.text).label("text"),
            away.c.id.label("withdrawal"),
            generation.c.source,
            generation.c.origin,
            item.c.overlap_id,
        )
        .join(item, item.c.id == lease.c.item_id)
        .outerjoin(generation, generation.c.id == item.c.generation_id)
        .outerjoin(away, and_(away.c.generation_id == generation.c.id, away.c.restored_at.is_(None)))
        .where(lease.c.id == bindparam("lease"))
    )


@cache
def _chain() -> Any:
    """A reviewer's answers to an item, and whatever has the token, by whomever."""
    review = Record.metadata.tables["review"]
    names = ("id", "token", "item_id", "slot_id", "reviewer", "verdict", "late", "supersedes", "created_at")
    mine = and_(review.c.item_id == bindparam("item"), review.c.reviewer == bindparam("who", type_=review.c.reviewer.type))
    return select_core(*(review.c[name] for name in names)).where(or_(mine, review.c.token == bindparam("token")))


@cache
def _new_review() -> Any:
    review = Record.metadata.tables["review"]
    return insert(review).returning(review.c.id)


# ---------------------------------------------------------------------- rules


def check(answer: Answer, text: str) -> None:
    """Raises BadAnswer naming the first rule that the answer breaks; `text` is the judged generation's."""
    _check_common(answer)
    if answer.verdict not in ("flag", "fine", "skip"):
        raise BadAnswer(
            "verdict", f"{answer.verdict!r} says which of several answers is better; this item shows one: flag, fine or skip."
        )
    if answer.ranking is not None:
        raise BadAnswer("ranking", "A ranking is of several answers; this item shows one: leave it out.")
    if answer.verdict == "flag":
        _check_flag(answer, text)
        return
    _check_only(answer, frozenset())


def check_comparison(answer: Answer, answers: Sequence[str]) -> None:
    """The same for an item that shows several answers side by side."""
    _check_common(answer)
    allowed = ("left", "right", "equal", "both_bad", "skip") if len(answers) == 2 else ("ranked", "skip")
    if answer.verdict not in allowed:
        raise BadAnswer(
            "verdict",
            f"{answer.verdict!r} is no answer to {len(answers)} texts side by side; expected one of {', '.join(allowed)}.",
        )
    _check_only(answer, frozenset({"rewrite"}) if answer.verdict == "both_bad" else frozenset())
    if answer.rewrite is not None:
        for text in answers:
            _check_rewrite(answer.rewrite, text)
    if answer.verdict != "ranked":
        if answer.ranking is not None:
            raise BadAnswer("ranking", f"An answer with verdict {answer.verdict!r} takes no ranking; leave it out.")
        return
    ranks = answer.ranking or []
    if len(ranks) != len(answers) or set(ranks) != set(range(1, len(set(ranks)) + 1)):
        raise BadAnswer(
            "ranking",
            f"The ranking is {ranks}; expected a rank for each of the {len(answers)} answers in the order shown, from 1 for the "
            "best without a gap, equal ranks for ties.",
        )


def _check_common(answer: Answer) -> None:
    if answer.taxonomy_version not in KNOWN_TAXONOMY_VERSIONS:
        raise BadAnswer("taxonomy_version", f"Taxonomy version {answer.taxonomy_version!r} is not known here; reload the page.")
    if answer.guideline_version not in KNOWN_GUIDELINE_VERSIONS:
        raise BadAnswer("guideline_version", f"Guideline version {answer.guideline_version!r} is not known here; reload the page.")
    if answer.seconds_open is not None and not (math.isfinite(answer.seconds_open) and answer.seconds_open >= 0):
        raise BadAnswer("seconds_open", f"The time open is {answer.seconds_open} s; expected 0 or more.")
    _check_codes("categories", answer.categories, CATEGORY_CODES)
    _check_codes("targets", answer.targets, TARGET_CODES)
    for field, value, longest in (
        ("note", answer.note, LONGEST_NOTE),
        ("rewrite", answer.rewrite, LONGEST_REWRITE),
        ("target_other", answer.target_other, LONGEST_TARGET),
    ):
        _check_text(field, value, longest)


def _check_only(answer: Answer, allowed: frozenset[str]) -> None:
    """Of what belongs to a flag, only what is allowed; a skip has its reason, and nothing else has one."""
    for field in ("categories", "targets", "target_other", "severity", "spans", "rewrite"):
        if getattr(answer, field) and field not in allowed:
            raise BadAnswer(
                field,
                f"An answer with verdict '{answer.verdict}' takes no {field.replace('_', ' ')}; flag the item, or leave it out.",
            )
    if answer.verdict == "skip" and answer.skip_reason not in SKIP_CODES:
        raise BadAnswer(
            "skip_reason", f"A skip needs a reason; got {answer.skip_reason!r}, expected one of {', '.join(sorted(SKIP_CODES))}."
        )
    if answer.verdict != "skip" and answer.skip_reason is not None:
        raise BadAnswer("skip_reason", f"An answer with verdict '{answer.verdict}' takes no skip reason; leave it out.")


def _check_flag(answer: Answer, text: str) -> None:
    if not answer.categories:
        raise BadAnswer("categories", "A flag needs at least one category; tick what is wrong.")
    if answer.severity is None:
        raise BadAnswer("severity", "A flag needs a severity: slight, clear or severe.")
    if answer.skip_reason is not None:
        raise BadAnswer("skip_reason", "A flag takes no skip reason; leave it out.")
    if "other" in answer.categories and not (answer.note or "").strip():
        raise BadAnswer("note", "The category 'other' needs a note that says what is wrong.")
    if answer.target_other and "other" not in answer.targets:
        raise BadAnswer("target_other", "A group in your own words needs the target 'other' ticked.")
    if len(answer.spans) > MOST_SPANS:
        raise BadAnswer("spans", f"{len(answer.spans)} passages are marked; at most {MOST_SPANS} are kept.")
    for span in answer.spans:
        if not 0 <= span.start < span.end <= len(text):
            raise BadAnswer(
                "spans",
                f"A marked passage runs from {span.start} to {span.end}; expected 0 <= start < end <= "
                f"{len(text)}, counted in code points of the stored text.",
            )
        if span.category is not None and span.category not in answer.categories:
            raise BadAnswer("spans", f"A marked passage has category {span.category!r}, which the answer does not tick.")
    if answer.rewrite is not None:
        _check_rewrite(answer.rewrite, text)


def _check_rewrite(rewrite: str, text: str) -> None:
    if not rewrite.strip():
        raise BadAnswer("rewrite", "The rewrite is empty; write how it should read, or leave it out.")
    if rewrite.split() == text.split():
        raise BadAnswer("rewrite", "The rewrite is the same as the answer but for white space; change something, or leave it out.")


def _check_codes(field: str, codes: Sequence[str], known: frozenset[str]) -> None:
    unknown = [code for code in codes if code not in known]
    if unknown:
        raise BadAnswer(field, f"Unknown among the {field}: {unknown[0]!r}; expected some of {', '.join(sorted(known))}.")
    if len(set(codes)) != len(codes):
        raise BadAnswer(field, f"The {field} name one twice: {', '.join(codes)}.")


def _check_text(field: str, value: str | None, longest: int) -> None:
    if value is None:
        return
    if len(value) > longest:
        raise BadAnswer(field, f"The {field.replace('_', ' ')} has {len(value)} characters; at most {longest} are kept.")
    if bad := unstorable(value):
        raise BadAnswer(field, f"The {field.replace('_', ' ')} holds {bad}, which no database keeps; remove it.")


# ---------------------------------------------------------------------- seats


def _seat_for_new(connection: Connection, reviewer: str, verdict: str, lease: Any, now: datetime) -> tuple[int | None, bool]:
    """The seat a first answer fills (None for none) and whether it is late; opens and closes seats and leases on the way."""
    mine = {"item": lease.item_id, "who": reviewer}
    live = connection.execute(_close_live(skip=verdict == "skip"), mine | {"now": now}).scalar_one_or_none()
    if live is not None:
        connection.execute(_end_lease(), {"slot": live, "who": reviewer, "how": "submitted"})
        return (None if verdict == "skip" else int(live)), False
    stale = connection.execute(_open_stale(), mine).scalar_one_or_none()
    if stale is not None and stale != lease.slot_id:
        connection.execute(_end_lease(), {"slot": stale, "who": reviewer, "how": "expired"})
    connection.execute(_mark_late(), {"lease": lease.id})
    return None, True


@cache
def _close_live(*, skip: bool) -> Any:
    """Fills the seat that the reviewer holds at this moment, or opens it again for others."""
    slot = Record.metadata.tables["slot"]
    ends = slot.c.expires_at > bindparam("now", type_=slot.c.expires_at.type)
    return update(slot).where(*_in_hand(), ends).values(**(OPEN_AGAIN if skip else FILLED)).returning(slot.c.id)


@cache
def _open_stale() -> Any:
    """Opens the seat that the reviewer held too long."""
    slot = Record.metadata.tables["slot"]
    return update(slot).where(*_in_hand()).values(**OPEN_AGAIN).returning(slot.c.id)


def _in_hand() -> tuple[ColumnElement[bool], ...]:
    slot = Record.metadata.tables["slot"]
    who = bindparam("who", type_=slot.c.reviewer.type)
    return slot.c.item_id == bindparam("item"), slot.c.reviewer == who, slot.c.state == literal_column("'claimed'")


@cache
def _end_lease() -> Any:
    lease = Record.metadata.tables["lease"]
    who = bindparam("who", type_=lease.c.reviewer.type)
    return (
        update(lease)
        .where(lease.c.slot_id == bindparam("slot"), lease.c.reviewer == who, lease.c.outcome == literal_column("'held'"))
        .values(outcome=bindparam("how", type_=lease.c.outcome.type))
    )


@cache
def _mark_late() -> Any:
    lease = Record.metadata.tables["lease"]
    return update(lease).where(lease.c.id == bindparam("lease")).values(outcome=literal_column("'late'"))


def _to_correct(chain: Sequence[Any], token: str) -> Any:
    """The answer to correct, which must be the newest of the reviewer's chain on the item."""
    earlier = next((review for review in chain if review.token == token), None)
    if earlier is None:
        raise BadAnswer("supersedes_token", f"Token {token} names no answer of yours to this item; reload the page.")
    if any(review.supersedes == earlier.id for review in chain):
        raise AlreadyAnswered("That answer was corrected already; reload the page to correct the newer one.")
    return earlier


def _seat_for_correction(session: Session, reviewer: str, answer: Answer, earlier: Any) -> int | None:
    """The seat after a correction; see the module's docstring."""
    if answer.verdict != "skip" and earlier.verdict == "skip" and not earlier.late:
        free = (
            select(Slot.id)
            .where(Slot.item_id == earlier.item_id, col(Slot.state) == literal_column("'open'"), Slot.want_group == ANYBODY)
            .order_by(col(Slot.number))
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        return (
            session.exec(
                update(Slot)
                .where(col(Slot.id) == free.scalar_subquery())
                .values(reviewer=reviewer, **FILLED)
                .returning(col(Slot.id))
                .execution_options(synchronize_session=False)
            )
            .scalars()
            .one_or_none()
        )
    if answer.verdict == "skip" and earlier.slot_id is not None:
        left = session.exec(select(Slot).where(Slot.id == earlier.slot_id)).one()
        if left.reviewer is None:  # left out meanwhile: others were asked in its place
            return None
        left.reviewer = None
        session.add(left)
        number = session.exec(select(func.max(Slot.number)).where(Slot.item_id == earlier.item_id)).one() or 0
        session.flush()
        if not quarantine.shows_withdrawn(session, earlier.item_id) and not live_batches.taken_back(session, earlier.item_id):
            insert_all(
                session, "slot", [slot_row(earlier.item_id, number + 1, f"fresh:{earlier.token}", left.lang, 0, mode=left.mode)]
            )
        return None
    kept: int | None = earlier.slot_id
    return kept


# --------------------------------------------------------------------- reading


def effective(
    session: Session, *, item_ids: Sequence[int] | None = None, purpose: ItemPurpose | None = None, simulated: bool | None = None
) -> list[Review]:
    """The answers in force, in id order: the newest of each chain of corrections, skips and late ones included.

    Those that were set aside (`flagback.storage.set_aside`) are not among them.
    """
    newer = aliased(Review)
    query = (
        select(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .where(col(newer.id).is_(None), counting.counts())
        .order_by(col(Review.id))
    )
    if simulated is not None:
        query = query.where(Review.simulated == simulated)
    if purpose is not None:
        query = query.join(Item, col(Item.id) == Review.item_id).where(Item.purpose == purpose)
    if item_ids is None:
        return list(session.exec(query).all())
    wanted = sorted(set(item_ids))
    found = [
        review
        for start in range(0, len(wanted), AT_A_TIME)
        for review in session.exec(query.where(col(Review.item_id).in_(wanted[start : start + AT_A_TIME]))).all()
    ]
    return sorted(found, key=lambda review: review.id)


def judged(session: Session, version_id: int, *, simulated: bool) -> list[tuple[Generation, Prompt, list[Review]]]:
    """Every answer of a version that was reviewed for the loop, with its prompt and the reviews in force, in item order."""
    votes: dict[int, list[Review]] = {}
    for review in effective(session, purpose="loop", simulated=simulated):
        votes.setdefault(review.item_id, []).append(review)
    rows = session.exec(
        select(Generation, Prompt, Item.id)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .join(Item, col(Item.generation_id) == Generation.id)
        .where(Generation.version_id == version_id, Item.purpose == "loop")
        .order_by(col(Item.id))
    ).all()
    return [(generation, prompt, votes[item_id]) for generation, prompt, item_id in rows if item_id in votes]


def recent(session: Session, reviewer: str, *, limit: int = 10) -> list[Review]:
    """The reviewer's answers in force, newest first; those to texts that were withdrawn are not shown again."""
    newer = aliased(Review)
    return list(
        session.exec(
            select(Review)
            .outerjoin(newer, col(newer.supersedes) == Review.id)
            .where(Review.reviewer == reviewer, col(newer.id).is_(None), col(Review.item_id).not_in(quarantine.withdrawn_items()))
            .order_by(col(Review.id).desc())
            .limit(limit)
        ).all()
    )


def answered_today(session: Session, reviewer: str, *, since: datetime) -> int:
    """How many items the reviewer judged since then: answers in force, skips not counted."""
    newer = aliased(Review)
    return session.exec(
        select(func.count())
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .where(Review.reviewer == reviewer, col(newer.id).is_(None), Review.verdict != "skip", Review.created_at >= since)
    ).one()


def reopened(session: Session, reviewer: str, token: str) -> Claim:
    """An answered item as it was claimed, with the answer in `earlier`, for undo. Raises UnknownLease for someone else's."""
    row = session.exec(
        select(Review, Lease, Generation, Prompt)
        .join(Lease, col(Lease.id) == Review.lease_id)
        .join(Item, col(Item.id) == Review.item_id)
        .join(Prompt, col(Prompt.id) == Item.prompt_id)
        .outerjoin(Generation, col(Generation.id) == Item.generation_id)
        .where(Review.token == token, Review.reviewer == reviewer)
    ).first()
    if row is None:
        raise UnknownLease(f"Token {token!r} names no answer of this reviewer; reload the page to see your last answers.")
    review, lease, generation, prompt = row
    earlier = review.model_dump(
        include={
            "token",
            "verdict",
            "categories",
            "targets",
            "target_other",
            "severity",
            "sure",
            "spans",
            "rewrite",
            "ranking",
            "note",
            "skip_reason",
        }
    )
    shown = (prompt.messages, prompt.lang, generation.text if generation else "", lease.expires_at, earlier)
    several = () if generation else answers_of(session, [review.item_id])[review.item_id]
    return Claim(lease.id, review.item_id, generation.id if generation else None, *shown, several)
