"""Reviews: what a person says about an answer, kept for good. Append-only; a correction is a new row that supersedes the old.

Knows the seat an answer fills and what is in force; knows no aggregation. What happens to the seat:

- an answer fills the seat its reviewer holds on that item at this moment; one who holds none any more is late: the answer is
  stored and fills no seat;
- a skip fills no seat: the one held opens again for someone else, never for the same reviewer;
- a correction keeps the seat of what it corrects. A judgement corrected into a skip leaves its seat behind and a fresh one is
  made for someone else, unless the answer was taken back from review; a skip corrected into a judgement takes an open seat of the
  item that is kept for nobody, or stands as extra overlap.

A seat that was kept for a group forgets the group when it is filled. Where an overlap policy holds, an answer may open further
seats.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, insert, literal_column, or_, update
from sqlalchemy import select as select_core
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage import counting, live_batches, quarantine, withdrawals, work
from flagback.storage.answers import Answer, BadAnswer, check, check_comparison
from flagback.storage.claims import Claim, answers_of
from flagback.storage.items import shown_generation, slot_row, widen
from flagback.storage.prompts import AT_A_TIME, unstorable
from flagback.storage.records import Generation, Item, ItemPurpose, Lease, Prompt, Record, Review, Slot
from flagback.storage.slots import ANYBODY, OPEN_AGAIN
from flagback.storage.store import Store, insert_all, one_at_a_time
from flagback.storage.taxonomy import GUIDELINE_VERSION

#: How versions of the guidelines are numbered; the first, which comes with Flagback, is no row.
GUIDELINE_NUMBER = re.compile("[1-9][0-9]{0,8}", re.ASCII)
#: Columns of a review that hold what its reviewer said.
JUDGEMENT = frozenset(
    ["verdict", "categories", "targets", "target_other", "severity", "sure", "spans", "rewrite", "ranking", "note", "skip_reason"]
)
#: What a slot becomes when it is answered: for whom it was kept is not to be read beside who answered.
FILLED: dict[str, Any] = {"state": "done", "expires_at": None, "want_group": ANYBODY, "relax_at": None}


class Receipt(NamedTuple):
    """Proof that an answer is in the database."""

    review_id: int
    saved_at: datetime
    #: again = this very answer had been stored before; nothing was added.
    stored: Literal["new", "again"]
    late: bool
    #: The newest version of the guidelines when it was stored.
    guideline: int


class UnknownLease(Exception):
    """The lease never belonged to this reviewer."""


class AlreadyAnswered(Exception):
    """The reviewer has another answer to this item, or the answer to correct was corrected elsewhere."""


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
        receipt, seconds = _submit(session, reviewer, answer, now, policy_version, simulated)
        if worker is not None and receipt.stored == "new" and answer.supersedes_token is None:
            work.add(session, worker, seconds=seconds, now=now)
        return receipt

    return store.settle(work_once)


def _submit(
    session: Session, reviewer: str, answer: Answer, now: datetime, policy_version: str, simulated: bool
) -> tuple[Receipt, float | None]:
    """The receipt, and how long the item was open as it is kept, s."""
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
            return Receipt(stored.id, stored.created_at, "again", stored.late, lease.guideline), None
    if not 1 <= _guideline_number(answer.guideline_version) <= lease.guideline:
        raise BadAnswer(
            "guideline_version",
            f"Version {answer.guideline_version!r} of the guidelines is not known here; reload the page.",
        )
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
    seconds = _open_for(answer.seconds_open, lease.claimed_at, now)
    row = answer.model_dump(exclude={"supersedes_token"}) | {
        "item_id": lease.item_id,
        "slot_id": slot_id,
        "reviewer": reviewer,
        "policy_version": policy_version if overlap_id is None else f"{policy_version};overlap:{overlap_id}",
        "late": late,
        "supersedes": supersedes,
        "simulated": simulated,
        "created_at": now,
        "seconds_open": seconds,
    }
    stored_id = int(connection.execute(_new_review(), row).scalar_one())
    category = withdrawals.asked_for(answer.categories)
    if category is not None:
        withdrawals.withdraw(session, lease.item_id, category=category, review_id=stored_id, by="a reviewer", now=now)
    elif may_widen and overlap_id is not None:
        widen(session, lease.item_id, overlap_id, now=now)
    return Receipt(stored_id, now, "new", late, lease.guideline), seconds


def _open_for(said: float | None, claimed_at: datetime, now: datetime) -> float | None:
    """How long an item was open, s: no longer than since it was handed out, by the server's clock."""
    return None if said is None else min(said, max((now - claimed_at).total_seconds(), 0.0))


def _guideline_number(said: str) -> int:
    """A version's number, 0 for what is no such number."""
    return int(said) if GUIDELINE_NUMBER.fullmatch(said) else 0


@cache
def _leased() -> Any:
    """A lease with what it is about, and the newest version of the guidelines; the text as shown, even if withdrawn meanwhile."""
    lease, item, generation, away, guideline = (
        Record.metadata.tables[name] for name in ("lease", "item", "generation", "withdrawal", "guideline")
    )
    return (
        select_core(
            lease.c.id,
            lease.c.reviewer,
            lease.c.item_id,
            lease.c.slot_id,
            lease.c.claimed_at,
            func.coalesce(away.c.text, generation.c.text).label("text"),
            away.c.id.label("withdrawal"),
            generation.c.source,
            generation.c.origin,
            item.c.overlap_id,
            func.coalesce(select_core(func.max(guideline.c.version)).scalar_subquery(), int(GUIDELINE_VERSION)).label("guideline"),
        )
        .join(item, item.c.id == lease.c.item_id)
        .outerjoin(generation, generation.c.id == shown_generation(item))
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
        .outerjoin(Generation, col(Generation.id) == shown_generation())
        .where(Review.token == token, Review.reviewer == reviewer)
    ).first()
    if row is None:
        raise UnknownLease(f"Token {token!r} names no answer of this reviewer; reload the page to see your last answers.")
    review, lease, generation, prompt = row
    earlier = review.model_dump(include={"token", *JUDGEMENT})
    shown = (prompt.messages, prompt.lang, generation.text if generation else "", lease.expires_at, earlier)
    several = () if generation else answers_of(session, [review.item_id])[review.item_id]
    return Claim(lease.id, review.item_id, generation.id if generation else None, *shown, several)
