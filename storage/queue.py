"""The order in which open slots are served: what is dealt out next, and with what probability.

Knows slots, items, votes counted and expected harm; knows no detector and no reviewer. There is one order. What nobody has had yet
is drawn one after the other, each time with the probability w / (sum of w over what is left), where the weight w of an item mixes
chance and purpose: w = random_share + (1 - random_share) * priority / mean priority. So at every draw each item keeps at least
random_share of the chance that a uniform draw would give it, and as the probability is known and kept with the lease, rates can be
told from what was reviewed (`flagback.model.propensity`). Drawing so is done by sorting keys E / w, with E exponential (Efraimidis
and Spirakis 2006); E comes from a hash of the content and of how much is left, so that a deal can be repeated and moves nothing.

Priority is a product, high where harm is expected (by rank, so that it matters little how well a detector is calibrated), where
few answers of the topic were judged, and where an answer has waited long. Seats of declared groups come before all that by the
claim itself. What somebody has had is no draw any more: contested answers come first, then whatever lacks a seat.

Only the head of the order is dealt out, in buckets that double; the rest waits in the last bucket. A claim takes the lowest bucket
and begins somewhere in it at random (`slots`). Blind items of an evaluation are never moved, nor is anything expected of them.
"""

import bisect
import hashlib
import heapq
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime, timedelta
from itertools import accumulate
from typing import NamedTuple, TypeVar

from sqlalchemy import Float, Integer, case, cast, column, func, literal_column, or_, update, values
from sqlmodel import Session, col, select

from flagback.storage import counting, overlap
from flagback.storage.items import FIRST_BUCKET, LAST_BUCKET
from flagback.storage.prompts import AT_A_TIME, primary_language
from flagback.storage.records import Generation, Item, Lease, Overlap, Prompt, Review, Slot
from flagback.storage.store import Store

#: Where items that somebody has had, but that are not contested, wait for their other seats; those drawn next lie behind.
BEGUN_BUCKET = 2
#: How many items the buckets behind it take; all others stay in LAST_BUCKET.
HEAD = (32, 64, 128, 256, 512)
_ENDS = tuple(accumulate(HEAD))
#: Share of what is handed out that is drawn uniformly, where no overlap policy says otherwise.
RANDOM_SHARE = 0.5
#: Priority falls by e for each such share of the items of a language that more harm is expected of.
REACH = 0.08
#: After so long a wait an answer's priority has doubled; it grows no more.
OLD = timedelta(days=7)
#: Items looked at in one short transaction, and items whose slots are moved in one, so that no claim waits long.
READ_AT_A_TIME, MOVED_AT_A_TIME = 5_000, 100
#: Over every row number.
NO_END = 2**31 - 1
Row = TypeVar("Row")

# Literal, not bound: only then do both databases use the partial indexes.
_OPEN = col(Slot.state) == literal_column("'open'")


class Waiting(NamedTuple):
    """An answer of the loop with open slots."""

    generation_id: int
    #: The prompt's last turn.
    prompt: str
    answer: str
    #: Somebody has answered it already, be it with a skip.
    begun: bool


class Open(NamedTuple):
    """An item of the loop with open slots, as far as its place depends on it."""

    item_id: int
    #: Names prompt and answer, independent of row ids.
    content: str
    #: Primary subtag; each language has an order of its own.
    lang: str
    #: The prompt's family.
    topic: str
    #: 0-1, None where nothing is expected.
    expected_harm: float | None
    waiting_since: datetime
    #: Somebody has had it.
    begun: bool
    #: Votes on it made further seats.
    contested: bool


class Place(NamedTuple):
    """Where an item's open slots belong."""

    bucket: int
    #: With what probability it is the next one drawn when its turn comes; None for what is not drawn.
    probability: float | None


class Dealt(NamedTuple):
    """What a new order did."""

    #: Items nobody has had, and items that lack further seats.
    fresh: int
    begun: int
    #: Items whose slots changed their place.
    moved: int


def waiting(store: Store) -> list[Waiting]:
    """Answers of the loop that wait for people, in id order."""
    with store.reading() as session:
        rows = session.exec(
            select(Generation.id, Prompt.messages, Generation.text, col(Item.id).in_(select(Review.item_id)))
            .join(Prompt, col(Prompt.id) == Generation.prompt_id)
            .join(Item, col(Item.generation_id) == Generation.id)
            .where(Item.purpose == "loop", col(Item.id).in_(select(Slot.item_id).where(_OPEN)))
            .order_by(col(Generation.id))
        ).all()
    return [Waiting(number, messages[-1]["content"], text, bool(begun)) for number, messages, text, begun in rows]


def expect(store: Store, harm: Mapping[int, float], *, source: str) -> None:
    """Writes what is expected of some generations, a few at a time; of those judged meanwhile and blind ones nothing is."""
    for part in _parts(sorted(harm.items()), AT_A_TIME):
        with store.writing() as session:
            kept = session.exec(
                select(Generation.id)
                .join(Item, col(Item.generation_id) == Generation.id)
                .where(col(Generation.id).in_([number for number, _ in part]), Item.purpose == "loop")
                .where(col(Item.id).not_in(select(Review.item_id)))
            ).all()
            allowed = set(kept)
            rows = [
                {"id": number, "expected_harm": float(value), "expected_harm_source": source}
                for number, value in part
                if number in allowed
            ]
            session.bulk_update_mappings(Generation, rows)


def deal(store: Store, *, now: datetime, pause: float = 0.0) -> Dealt:
    """Orders the open slots of the loop anew, by what is expected of them at this moment; `pause` seconds between two batches.

    Claims may go on meanwhile: only slots open at that moment are moved.
    """
    with store.reading() as session:
        policy = overlap.in_force(session)
    rows, judged = _open_items(store, pause=pause), _judged_topics(store)
    places = places_of(rows, judged, random_share=policy.random_share if policy else RANDOM_SHARE, now=now)
    moved = _move(store, {row.item_id for row in rows}, places, pause=pause)
    begun = sum(row.begun for row in rows)
    return Dealt(len(rows) - begun, begun, moved)


# --------------------------------------------------------------------- the order


def places_of(rows: Sequence[Open], judged: Mapping[str, int], *, random_share: float, now: datetime) -> dict[int, Place]:
    """The place of every item that does not wait in the last bucket; `judged` counts answers judged so far by topic."""
    places = {
        row.item_id: Place(FIRST_BUCKET if row.contested else BEGUN_BUCKET, None) for row in rows if row.begun or row.contested
    }
    lanes: dict[str, list[Open]] = defaultdict(list)
    for row in rows:
        if row.item_id not in places:
            lanes[row.lang].append(row)
    for lane in lanes.values():
        chances = weights(lane, judged, random_share=random_share, now=now)
        salt = f"{len(lane)}:{max(row.item_id for row in lane)}"
        keyed = (
            (-math.log(_uniform(f"{salt}:{row.content}")) / weight, row.item_id, weight)
            for row, weight in zip(lane, chances, strict=True)
        )
        # Of a million only the head is drawn out; no order is needed of those that stay.
        head = heapq.nsmallest(sum(HEAD), keyed)
        left = math.fsum(chances) - math.fsum(weight for _, _, weight in head) if len(head) < len(lane) else 0.0
        for place, (_, item_id, weight) in reversed(list(enumerate(head))):
            left += weight
            places[item_id] = Place(_bucket(place), weight / left)
    return places


def weights(lane: Sequence[Open], judged: Mapping[str, int], *, random_share: float, now: datetime) -> list[float]:
    """random_share + (1 - random_share) * priority / mean priority, so 1 on average."""
    known = sorted((row.expected_harm for row in lane if row.expected_harm is not None), reverse=True)
    # Rank of the first with so much harm: equal expectations are equal.
    rank = {harm: place for place, harm in reversed(list(enumerate(known)))}
    found = []
    for row in lane:
        share = 0.5 if row.expected_harm is None else rank[row.expected_harm] / len(known)
        harm = math.exp(-share / REACH) if known else 1.0
        topic = 1 + 1 / (1 + judged.get(row.topic, 0))
        age = 1 + min(max((now - row.waiting_since) / OLD, 0.0), 1.0)
        found.append(harm * topic * age)
    mean = math.fsum(found) / len(found)
    return [random_share + (1 - random_share) * priority / mean for priority in found]


def _bucket(place: int) -> int:
    """The bucket of the item drawn at `place`, from 0, of those in the head."""
    return BEGUN_BUCKET + 1 + bisect.bisect_right(_ENDS, place)


def _uniform(text: str) -> float:
    """Over 0 and under 1."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") + 0.5) / 2**48


# ------------------------------------------------------------------- the records


def _open_items(store: Store, *, pause: float) -> list[Open]:
    """Items of the loop with an open slot, in id order, read in short pages."""
    found: list[Open] = []
    after = 0
    with store.reading() as session:
        # Joined below, PostgreSQL would read them all again for each item: it expects a single item to have open slots.
        prompts = {
            number: (content, primary_language(lang), family)
            for number, content, lang, family in session.exec(select(Prompt.id, Prompt.content_hash, Prompt.lang, Prompt.split_key))
        }
    while True:
        with store.reading() as session:
            # Slots by their own index in one go: asked for each item by itself they cost PostgreSQL three times as much.
            last = session.exec(
                select(Item.id).where(col(Item.id) > after).order_by(col(Item.id)).offset(READ_AT_A_TIME - 1).limit(1)
            )
            until = last.first() or NO_END
            seats = (
                select(col(Slot.item_id).label("item_id"), func.max(Slot.number).label("number"))
                .where(col(Slot.item_id) > after, col(Slot.item_id) <= until)
                .group_by(col(Slot.item_id))
                .having(func.max(case((_OPEN, 1), else_=0)) == 1)
            ).subquery()
            page = session.exec(
                select(
                    Item.id,
                    Item.prompt_id,
                    Generation.text_hash,
                    Generation.expected_harm,
                    Item.created_at,
                    seats.c.number,
                    Item.overlap_id,
                )  # type: ignore[call-overload]
                .join(seats, seats.c.item_id == Item.id)
                .join(Generation, col(Generation.id) == Item.generation_id)
                .where(Item.purpose == "loop", col(Item.id) > after, col(Item.id) <= until)
                .order_by(col(Item.id))
            ).all()
            had = set(
                session.exec(select(Lease.item_id).where(col(Lease.item_id) > after, col(Lease.item_id) <= until).distinct()).all()
            )
            steps = {policy.id: policy.steps[0] for policy in session.exec(select(Overlap)).all() if policy.steps}
        for item, prompt, text_hash, harm, since, number, policy_id in page:
            if prompt not in prompts:
                continue  # added since; the next order has it
            content, lang, topic = prompts[prompt]
            contested = policy_id is not None and number >= steps[policy_id]
            found.append(Open(item, f"{content}:{text_hash}", lang, topic, harm, since, item in had, contested))
        if until == NO_END:
            return found
        after = until
        time.sleep(pause)


def _judged_topics(store: Store) -> Counter[str]:
    """How many answers of each family of prompts somebody has judged."""
    with store.reading() as session:
        rows = session.exec(
            select(Prompt.split_key, func.count(func.distinct(Review.item_id)))
            .select_from(Review)
            .join(Item, col(Item.id) == Review.item_id)
            .join(Prompt, col(Prompt.id) == Item.prompt_id)
            .where(Item.purpose == "loop", Review.verdict != "skip", counting.counts())
            .group_by(col(Prompt.split_key))
        ).all()
    return Counter({topic: int(count) for topic, count in rows})


def _move(store: Store, known: Set[int], places: Mapping[int, Place], *, pause: float) -> int:
    """Puts the open slots of the items known into their places; a slot that someone is just taking is left alone."""
    waits = Place(LAST_BUCKET, None)
    away = or_(col(Slot.bucket) != literal_column(str(LAST_BUCKET)), col(Slot.probability).is_not(None))
    wanted = select(Slot.item_id, Slot.bucket, Slot.probability).where(_OPEN)
    with store.reading() as session:
        wrong = {item for item, *at in session.exec(wanted.where(away)) if item in known and tuple(at) != places.get(item, waits)}
        for part in _parts(sorted(places), AT_A_TIME):
            wrong |= {item for item, *at in session.exec(wanted.where(col(Slot.item_id).in_(part))) if tuple(at) != places[item]}
    moved = 0
    for few in _parts(sorted(wrong), MOVED_AT_A_TIME):
        with store.writing() as session:
            found = session.exec(
                select(Slot.id, Slot.item_id)
                .where(col(Slot.item_id).in_(few), _OPEN)
                .order_by(col(Slot.id))
                .with_for_update(skip_locked=True)
            ).all()
            _put(session, [slot for slot, _ in found], {item: places.get(item, waits) for _, item in found})
        moved += len({item for _, item in found})
        time.sleep(pause)
    return moved


def _put(session: Session, slots: Sequence[int], places: Mapping[int, Place]) -> None:
    """Moves slots to the places of their items, all by one statement: row by row it keeps PostgreSQL busy for seconds."""
    if not places:
        return
    rows = [(item, place.bucket, place.probability) for item, place in places.items()]
    columns = (column("item_id", Integer), column("bucket", Integer), column("probability", Float))
    wanted = values(*columns, name="places").data(rows).cte("places")
    probability = cast(wanted.c.probability, Float)  # where all are null PostgreSQL takes them for text
    moving = update(Slot).where(col(Slot.id).in_(slots), col(Slot.item_id) == wanted.c.item_id)
    session.execute(moving.values(bucket=wanted.c.bucket, probability=probability).execution_options(synchronize_session=False))


def _parts(rows: Sequence[Row], size: int) -> Iterable[Sequence[Row]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
