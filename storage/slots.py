"""Slots and leases: who may judge what now. Knows claim, release and sweep; knows nothing of what an answer says.

The slot's row is the lock: whoever changes a slot's leases holds it. A reviewer's own requests are handled one at a time, so that
two open tabs show the same items. That no slot has two live claims and no reviewer two of one item is held by the database.

A slot may be kept for a declared group. A claim is told the groups of whoever claims, takes theirs first, and writes them nowhere;
the slot forgets its group once it is answered (`reviews`), and a slot that no one of its group takes is opened to all (`relax`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    update,
)
from sqlalchemy import select as select_core
from sqlmodel import Session, col, select

from flagback.storage import claims
from flagback.storage.claims import CLAIMED, Claim
from flagback.storage.items import RANKS, shown_generation
from flagback.storage.lightness import EVERY, Light, Seat
from flagback.storage.records import Lease, Record, Slot, SlotMode
from flagback.storage.store import Store, insert_all, one_at_a_time

#: How many open slots a claim looks at to find one of another prompt family than the last.
LOOK_AHEAD = 16
#: A reviewer who has done all of those sees pages four times as large, up to this.
LARGEST_PAGE = 1_024
#: How many slots of a bucket a claim looks at before it tries the later ones: who has done a long queue need not read it all.
PATIENCE = 1_000
#: Claims of one call at most; a board needs two or three.
MOST_CLAIMS = 100
#: Told prompts (id -> tags), says which of them a reviewer is not to be asked about.
Avoid = Callable[[Session, Mapping[int, Mapping[str, Any]]], Collection[int]]
#: Asked after each new item of a claim, with when the claim ends and by what to draw: perhaps a seat besides, taken already.
Mix = Callable[[Session, datetime, Random], Seat | None]
#: Of a slot that anybody may take.
ANYBODY = "any"
#: What a slot becomes when its holder leaves it.
OPEN_AGAIN: dict[str, Any] = {"state": "open", "reviewer": None, "expires_at": None}

# Literal, not bound: only then do both databases use the partial indexes.
_KEPT = and_(col(Slot.state) == literal_column("'open'"), col(Slot.want_group) != literal_column("'any'"))


def claim(
    store: Store,
    reviewer: str,
    *,
    count: int,
    now: datetime,
    lease_for: timedelta,
    seed: int,
    languages: Sequence[str] | None = None,
    limit: Callable[[Session], int] | None = None,
    groups: Callable[[Session], Collection[str]] | None = None,
    mode: SlotMode = "single",
    avoid: Avoid | None = None,
    harmless: float | None = None,
    mix: Mix | None = None,
) -> list[Claim]:
    """The reviewer's live claims of a mode, filled up to `count` with new ones, where there are open slots for them.

    Never an item that the reviewer holds or has answered, skipped ones included, nor one in a language that is not among
    `languages` (primary subtags; None stands for all; prompts of unknown language go to everyone). Lowest bucket first; within a
    bucket from a random start (by `seed`) in rank order, so that reviewers do not crowd at one place; not two of one prompt
    family in a row where the next 16 open slots hold another. Expired claims of others are not taken: sweep() frees them. On
    PostgreSQL a slot that the queue's dealer moves at this very moment may be missed; whoever asks again finds it.

    `limit` is asked for a smaller count in the claim's own transaction, during which no answer of this reviewer is stored and
    nothing is given back; what it raises ends the claim. `groups` is asked there for the declared groups that the reviewer agreed
    to be chosen by, where any slot is kept for one; slots kept for those come before slots for anybody. `avoid` is told prompts
    and says which of them this reviewer is not to be asked about.

    Of any five in a row one is expected to be harmless (expected harm at most `harmless`), where there are such: what was dealt
    out is put into such an order, and only where it holds too few, some are taken out of their turn, with no probability known.

    `mix` may add to what is new, never to nothing: what it gives counts among `count`, and moves no draw of the others.
    """
    if not 0 <= count <= MOST_CLAIMS:
        raise ValueError(f"{count} claims were asked for at once; expected 0 to {MOST_CLAIMS}.")
    # Streams of their own, so that a search out of turn, or what is mixed in, moves no draw.
    random, aside, besides = Random(seed), Random(seed + 1), Random(seed + 2)  # nosec B311 # deals items out, repeatable by seed; guards nothing
    with store.writing() as session:
        one_at_a_time(session, f"reviewer {reviewer}", by_index=True)
        if limit is not None:
            count = min(count, limit(session))
        held = [one for one in claims.held(session, reviewer, now=now) if one.mode == mode]
        if len(held) >= count:
            return [one.claim for one in held]
        before = _before(session, reviewer)
        mine = sorted(groups(session)) if groups is not None and before.any_kept else []
        wanted = _Wanted(reviewer, mode, mine, languages, now + lease_for, avoid, set())
        light = Light(
            harmless if mode == "single" else None, [*reversed(before.expected_harm), *(one.expected_harm for one in held)]
        )
        family, fresh = held[-1].family if held else before.family, list[Seat]()
        while len(held) + len(fresh) < count:
            taken = None
            if light.short(fresh, left=count - len(held) - len(fresh)):
                taken = _take(session, wanted, family=family, random=aside, harmless=harmless)
            taken = taken or _take(session, wanted, family=family, random=random)
            if taken is None:
                break
            fresh.append(taken)
            wanted.taken.add(taken.item_id)
            family = taken.family
            if mix is not None and mode == "single" and len(held) + len(fresh) < count:
                more = mix(session, wanted.expires_at, besides)
                fresh += [] if more is None else [more]
        dealt = light.spread(fresh)
        new = {seat.item_id: str(uuid4()) for seat in dealt}
        leases = [
            {
                "id": new[seat.item_id],
                "slot_id": seat.slot_id,
                "item_id": seat.item_id,
                "reviewer": reviewer,
                # A microsecond apart: the order in which they are to be shown.
                "claimed_at": now + timedelta(microseconds=place),
                "expires_at": wanted.expires_at,
                "outcome": "held",
                "probability": seat.probability,
            }
            for place, seat in enumerate(dealt)
        ]
        insert_all(session, "lease", leases)
        return [one.claim for one in held] + claims.claims_of(session, new, wanted.expires_at)


def waits(
    session: Session,
    reviewer: str,
    *,
    mode: SlotMode,
    now: datetime,
    languages: Sequence[str] | None = None,
    groups: Callable[[Session], Collection[str]] | None = None,
    avoid: Avoid | None = None,
) -> bool:
    """Whether a claim of a mode would give this reviewer something: held already, or open to them and new.

    A look, not a claim, by the claim's own rules (`groups` and `avoid` as there), so that nobody is promised what they would not be
    handed. Who has had a long queue gets no for an answer sooner than it is read.
    """
    if any(one.mode == mode for one in claims.held(session, reviewer, now=now)):
        return True
    wanted = _Wanted(reviewer, mode, [], languages, now, avoid, set())
    first = Random(0)  # nosec B311 # where to begin looking

    def finds(group: str) -> bool:
        of = {"mode": mode, "group": group}
        lanes = _lanes(session.connection(), of, languages)
        pages = _looks(session.connection(), reviewer, of, lanes=lanes, patience=LARGEST_PAGE, random=first)
        return any(page and _allowed(session, wanted, page, None) for page in pages)

    # What anybody may have first: nobody's background is read for what is known already.
    if finds(ANYBODY):
        return True
    if groups is None or not _before(session, reviewer).any_kept:
        return False
    return any(finds(group) for group in sorted(groups(session)))


def release(store: Store, reviewer: str, *, now: datetime) -> int:
    """Gives back everything the reviewer holds ("stop for today"); returns how many slots are open again."""
    with store.writing() as session:
        one_at_a_time(session, f"reviewer {reviewer}")
        # In one order, so that two who lock several slots never wait for each other.
        mine = session.exec(
            select(Slot.id, Slot.expires_at).where(Slot.reviewer == reviewer, CLAIMED).order_by(col(Slot.id)).with_for_update()
        ).all()
        session.exec(update(Slot).where(col(Slot.id).in_([slot for slot, _ in mine])).values(**OPEN_AGAIN))
        _end_leases(session, [slot for slot, ends in mine if ends and ends > now], outcome="released")
        _end_leases(session, [slot for slot, ends in mine if not ends or ends <= now], outcome="expired")
        return len(mine)


def sweep(store: Store, *, now: datetime, batch: int = 100) -> int:
    """Opens the slots of expired claims again, `batch` a transaction so that nobody waits long; returns how many."""

    def expire(session: Session, slot_ids: Sequence[int]) -> None:
        session.exec(update(Slot).where(col(Slot.id).in_(slot_ids)).values(**OPEN_AGAIN))
        _end_leases(session, slot_ids, outcome="expired")

    return _in_batches(store, (CLAIMED, col(Slot.expires_at) <= now), Slot.expires_at, expire, batch=batch)


def relax(store: Store, *, now: datetime, batch: int = 100) -> int:
    """Opens to anybody the seats that nobody of their group has taken in time, `batch` a transaction; returns how many."""

    def open_up(session: Session, slot_ids: Sequence[int]) -> None:
        session.exec(
            update(Slot).where(col(Slot.id).in_(slot_ids)).values(want_group=ANYBODY).execution_options(synchronize_session=False)
        )

    return _in_batches(store, (_KEPT, col(Slot.relax_at) <= now), Slot.relax_at, open_up, batch=batch)


def _in_batches(
    store: Store,
    where: Iterable[ColumnElement[bool]],
    by: Any,
    change: Callable[[Session, Sequence[int]], None],
    *,
    batch: int,
) -> int:
    """Changes the slots that answer a condition, which they no longer do afterwards, `batch` a transaction; returns how many."""
    if batch < 1:
        raise ValueError(f"batch is {batch}; expected at least 1.")
    total = 0
    while True:
        with store.writing() as session:
            found = session.exec(select(Slot.id).where(*where).order_by(by).limit(batch).with_for_update(skip_locked=True)).all()
            change(session, found)
        total += len(found)
        if len(found) < batch:
            return total


def _end_leases(session: Session, slot_ids: Any, *, outcome: str) -> None:
    session.exec(update(Lease).where(col(Lease.slot_id).in_(slot_ids), col(Lease.outcome) == "held").values(outcome=outcome))


class _Wanted(NamedTuple):
    """Whose claim it is, and what they may be handed."""

    reviewer: str
    mode: SlotMode
    groups: Sequence[str]
    languages: Sequence[str] | None
    expires_at: datetime
    avoid: Avoid | None
    #: Items taken for this claim already; their leases are written when all are taken.
    taken: set[int]


def _take(session: Session, wanted: _Wanted, *, family: str | None, random: Random, harmless: float | None = None) -> Seat | None:
    """Claims one slot, or returns None when nothing is open for this reviewer. With `harmless` only what is expected to be so."""
    connection = session.connection()
    for group in [*random.sample(wanted.groups, len(wanted.groups)), ANYBODY]:  # nosec B311 # which group's seat is tried first
        of = {"mode": wanted.mode, "group": group}
        lanes = _lanes(connection, of, wanted.languages)
        random.shuffle(lanes)  # a language with few items is not left behind by one with many
        # A second look is for who has done all that the first one saw.
        for patience in (PATIENCE, None) if harmless is None else (PATIENCE,):
            given_up = False
            for page in _looks(connection, wanted.reviewer, of, lanes=lanes, patience=patience, random=random):
                if page is None:
                    given_up = True
                    continue
                # Sorting is stable: rank order, those of the last family behind.
                for seat in sorted(_allowed(session, wanted, page, harmless), key=lambda seat: seat.family == family):
                    given = {"slot": seat.slot_id, "who": wanted.reviewer, "ends": wanted.expires_at}
                    if connection.execute(_claim_statement(), given).one_or_none() is not None:
                        return seat if harmless is None else seat._replace(probability=None)
            if not given_up:
                break
    return None


def _allowed(session: Session, wanted: _Wanted, page: Sequence[Seat], harmless: float | None) -> list[Seat]:
    """The seats of a page that this reviewer may be handed."""
    seats = [
        seat
        for seat in page
        if seat.item_id not in wanted.taken
        and (harmless is None or (seat.expected_harm is not None and seat.expected_harm <= harmless))
    ]
    if wanted.avoid is None or not seats:
        return seats
    rows = session.connection().execute(_prompts_statement(), {"items": [seat.item_id for seat in seats]}).all()
    prompts = {row.item_id: row.id for row in rows}
    left_out = wanted.avoid(session, {row.id: row.tags for row in rows})
    return [seat for seat in seats if prompts[seat.item_id] not in left_out]


def _looks(
    connection: Connection, reviewer: str, of: Mapping[str, str], *, lanes: Sequence[str], patience: int | None, random: Random
) -> Iterator[list[Seat] | None]:
    """Pages of open slots, lowest bucket first, each lane from a random start round; None where patience left slots unseen."""
    bucket = -1
    while found := _next_buckets(connection, of, lanes, over=bucket):
        bucket, start = min(found.values()), random.randrange(RANKS)  # nosec B311 # where to begin dealing
        for lane in (lane for lane in lanes if found.get(lane) == bucket):
            looked = 0
            for low, high in ((start, RANKS - 1), (0, start)):
                for page, size in _pages(connection, reviewer, of, lang=lane, bucket=bucket, low=low, high=high):
                    yield page
                    looked += size
                    if patience is not None and looked >= patience:
                        break
                if patience is not None and looked >= patience:
                    yield None
                    break


def _lanes(connection: Connection, of: Mapping[str, str], languages: Sequence[str] | None) -> list[str]:
    """The languages whose open slots are looked at: all there are, or those that somebody reads."""
    return list(_open_languages(connection, of)) if languages is None else sorted({*languages, "und"})


def _open_languages(connection: Connection, of: Mapping[str, str]) -> Iterator[str]:
    """The languages that open slots of a mode and group have: one look into the index for each, however many slots there are."""
    slot = Record.metadata.tables["slot"]
    after: str | None = ""
    statement = select_core(func.min(slot.c.lang)).where(_is_open(slot), slot.c.lang > bindparam("after"))
    while (after := connection.execute(statement, {"after": after, **of}).scalar_one()) is not None:
        yield after


def _next_buckets(connection: Connection, of: Mapping[str, str], lanes: Sequence[str], *, over: int) -> dict[str, int]:
    """Of each language that has one, the next bucket over `over` with an open slot."""
    if not lanes:
        return {}
    given = {**of, "over": over} | {f"lang{place}": lane for place, lane in enumerate(lanes)}
    found = connection.execute(_bucket_statement(len(lanes)), given).one()
    return {lane: bucket for lane, bucket in zip(lanes, found, strict=True) if bucket is not None}


def _pages(
    connection: Connection, reviewer: str, of: Mapping[str, str], *, lang: str, bucket: int, low: int, high: int
) -> Iterator[tuple[list[Seat], int]]:
    """A language's open slots of a bucket with low <= rank <= high that are new to the reviewer, by rank, in growing pages; with
    each page how many slots it looked at."""
    size, rank, slot_id = LOOK_AHEAD, low, 0
    while True:
        given = {**of, "who": reviewer, "lang": lang, "bucket": bucket, "rank": rank, "slot": slot_id, "high": high}
        rows = connection.execute(_page_statement(size), given).all()
        yield (
            [
                Seat(row.id, row.item_id, row.split_key, None if row.had else row.probability, row.expected_harm)
                for row in rows
                if row.had != 2
            ],
            len(rows),
        )
        if len(rows) < size:
            return
        rank, slot_id, size = rows[-1].rank, rows[-1].id, min(size * 4, LARGEST_PAGE)


@cache
def _bucket_statement(lanes: int) -> Any:
    """For each of so many languages the next bucket over `over` with an open slot, null where there is none."""
    slot = Record.metadata.tables["slot"]
    return select_core(
        *(
            select_core(func.min(slot.c.bucket))
            .where(_is_open(slot), slot.c.lang == bindparam(f"lang{place}"), slot.c.bucket > bindparam("over"))
            .scalar_subquery()
            .label(f"bucket{place}")
            for place in range(lanes)
        )
    )


@cache
def _page_statement(size: int) -> Any:
    """Up to `size` open slots after (rank, slot), with who has had their items: null nobody, 1 somebody, 2 the reviewer for good.

    The LIMIT stands inside, under the look at leases and the joins: with that as a condition beside it PostgreSQL expects one row,
    reads all open slots and joins them by scanning (30 s a claim at 30,000 slots). Whose the item is or was is read from leases,
    where only one index will do, by item: asked of reviews it took the index by reviewer, 3 s for who had done 20,000. Built once
    a size: that costs more than a run.
    """
    slot, item, prompt, lease, generation = (
        Record.metadata.tables[name] for name in ("slot", "item", "prompt", "lease", "generation")
    )
    rank: BindParameter[int] = bindparam("rank")
    ahead = (
        select_core(slot.c.id, slot.c.item_id, slot.c.rank, slot.c.probability)
        .where(
            _is_open(slot),
            slot.c.lang == bindparam("lang"),
            slot.c.bucket == bindparam("bucket"),
            slot.c.rank >= rank,
            slot.c.rank <= bindparam("high"),
            or_(slot.c.rank > rank, slot.c.id > bindparam("slot")),
        )
        .order_by(slot.c.rank, slot.c.id)
        .limit(literal_column(str(size)))
    ).subquery("ahead")
    # Every answer has a lease of its reviewer's to its item, and such a lease ends as submitted or late.
    mine = and_(
        lease.c.reviewer == bindparam("who", type_=lease.c.reviewer.type),
        lease.c.outcome.in_([literal_column(f"'{outcome}'") for outcome in ("held", "submitted", "late")]),
    )
    had = (
        select_core(func.max(case((mine, literal_column("2")), else_=literal_column("1"))))
        .where(lease.c.item_id == ahead.c.item_id)
        .scalar_subquery()
    )
    return (
        select_core(
            ahead.c.id,
            ahead.c.item_id,
            ahead.c.rank,
            ahead.c.probability,
            prompt.c.split_key,
            generation.c.expected_harm,
            had.label("had"),
        )
        .join(item, item.c.id == ahead.c.item_id)
        .join(prompt, prompt.c.id == item.c.prompt_id)
        .outerjoin(generation, generation.c.id == item.c.generation_id)
        .order_by(ahead.c.rank, ahead.c.id)
    )


@cache
def _claim_statement() -> Any:
    """The claim itself: one UPDATE ... RETURNING that gives way to whoever is at the same slot."""
    slot = Record.metadata.tables["slot"]
    free = (
        (
            select_core(slot.c.id)
            .where(slot.c.id == bindparam("slot"), slot.c.state == literal_column("'open'"))
            .with_for_update(skip_locked=True)
        )
        .correlate(None)
        .scalar_subquery()
    )
    return (
        update(slot)
        .where(slot.c.id == free)
        .values(
            state="claimed",
            reviewer=bindparam("who", type_=slot.c.reviewer.type),
            expires_at=bindparam("ends", type_=slot.c.expires_at.type),
        )
        .returning(slot.c.id)
    )


def _is_open(slot: FromClause) -> ColumnElement[bool]:
    """Open, of `mode` and for `group`. The state is literal, not bound: only then do both databases use the partial index."""
    of = slot.c.mode == bindparam("mode"), slot.c.want_group == bindparam("group")
    return and_(slot.c.state == literal_column("'open'"), *of)


class _Before(NamedTuple):
    #: Of the reviewer's newest answer.
    family: str | None
    #: Of the newest answers, newest first; as many as the order of the harmless looks back.
    expected_harm: list[float | None]
    #: Whether any open slot is kept for a group: nobody's background is read while there is none.
    any_kept: bool


def _before(session: Session, reviewer: str) -> _Before:
    rows = session.connection().execute(_before_statement(), {"who": reviewer}).all()
    read = [row for row in rows if row.id is not None]
    return _Before(read[0].split_key if read else None, [row.expected_harm for row in read], bool(rows[0].any_kept))


# Built once: building costs more than a run.


@cache
def _prompts_statement() -> Any:
    item, prompt = Record.metadata.tables["item"], Record.metadata.tables["prompt"]
    return (
        select_core(item.c.id.label("item_id"), prompt.c.id, prompt.c.tags)
        .join(prompt, prompt.c.id == item.c.prompt_id)
        .where(item.c.id.in_(bindparam("items", expanding=True)))
    )


@cache
def _before_statement() -> Any:
    """Family and expected harm of the reviewer's newest answers, newest first, each with whether any open slot is kept for a group;
    one row of nulls where there are none."""
    slot, review, item, prompt, generation = (
        Record.metadata.tables[name] for name in ("slot", "review", "item", "prompt", "generation")
    )
    newest = (
        select_core(review.c.id, review.c.item_id)
        .where(review.c.reviewer == bindparam("who", type_=review.c.reviewer.type))
        .order_by(review.c.id.desc())
        .limit(literal_column(str(EVERY - 1)))
    ).subquery("newest")
    read = (
        select_core(newest.c.id, prompt.c.split_key, generation.c.expected_harm)
        .join(item, item.c.id == newest.c.item_id)
        .join(prompt, prompt.c.id == item.c.prompt_id)
        .outerjoin(generation, generation.c.id == shown_generation(item))
    ).subquery("read")
    kept = select_core(select_core(slot.c.id).where(_KEPT).exists().label("any_kept")).subquery("kept")
    return (
        select_core(read.c.id, read.c.split_key, read.c.expected_harm, kept.c.any_kept)
        .select_from(kept)
        .outerjoin(read, literal_column("1") == literal_column("1"))
        .order_by(read.c.id.desc())
    )
