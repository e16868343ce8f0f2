"""Answers asked a second time, to see how steadily one person judges: own earlier ones, and gold, which leaves no doubt.

Knows who may be asked what again, how often, and what came of it; a claim mixes them in (`slots`). Each is an item of its own, made
for one person, so that nobody answers an item twice and no other claim finds it. Whoever is asked cannot tell. They count in no
figure about answers (`counting`), and nothing happens by itself: a lead sees how often somebody agrees with themselves and with
gold. Whether they agree with the majority is never asked.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any, Literal, NamedTuple

from sqlalchemy import and_, bindparam, func, insert, literal_column, update
from sqlalchemy import select as select_core
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage import audit, quarantine
from flagback.storage.items import slot_row
from flagback.storage.lightness import Seat
from flagback.storage.prompts import check_storable, primary_language
from flagback.storage.records import (
    Gold,
    Item,
    ItemGeneration,
    OutputBatch,
    Record,
    Review,
    SecondLook,
    SecondLookRates,
)
from flagback.storage.slots import Avoid

#: How many own earlier answers a draw looks at.
LOOKED_AT = 64
#: One in fewer is refused: most work is to be new.
SELDOM_ENOUGH = 5
Kind = Literal["repeat", "gold"]


class BadRates(ValueError):
    """Rates that cannot be; nothing is stored."""


class Rates(NamedTuple):
    """One in so many of what is handed out, 0 for none, and how far apart the two looks at an own answer are."""

    repeat_every: int
    gold_every: int
    days_apart: int
    answers_apart: int


#: Before anybody says otherwise.
USUAL = Rates(repeat_every=40, gold_every=40, days_apart=3, answers_apart=50)
_LIMITS = Rates(10_000, 10_000, 365, 1_000)


class Second(NamedTuple):
    """One second look that was answered."""

    reviewer: str
    kind: Kind
    #: Judged as before, or as expected.
    same: bool


# --------------------------------------------------------------------------- rates


def rates(session: Session) -> Rates:
    """What is in force."""
    row = session.exec(select(SecondLookRates).order_by(col(SecondLookRates.id).desc()).limit(1)).first()
    return USUAL if row is None else Rates(row.repeat_every, row.gold_every, row.days_apart, row.answers_apart)


def set_rates(session: Session, wanted: Rates, *, by: str, now: datetime) -> None:
    """Puts rates into force. Raises BadRates; the same again stores nothing."""
    check_storable(by=by)
    for name, most in _LIMITS._asdict().items():
        value = getattr(wanted, name)
        if not 0 <= value <= most:
            raise BadRates(f"{name} is {value}; expected 0 to {most:,}{' (0 switches it off)' if name.endswith('every') else ''}.")
    for what, value in (("an own earlier answer", wanted.repeat_every), ("gold", wanted.gold_every)):
        if 0 < value < SELDOM_ENOUGH:
            raise BadRates(
                f"One in {value} would be {what}; expected 0 for never, or {SELDOM_ENOUGH} and more: most work is to be new."
            )
    if wanted == rates(session):
        return
    session.add(SecondLookRates(**wanted._asdict(), set_by=by, created_at=now))
    session.flush()
    audit.record(session, actor=by, action="second looks set", details=wanted._asdict(), now=now)


# ------------------------------------------------------------------------- results


def results(session: Session) -> list[Second]:
    """Every second look that was judged, in the order they were made; own ones against what stands of the first look.

    Skips are no judgement, and of texts that were withdrawn nothing is said.
    """
    newer, first, corrected, before = aliased(Review), aliased(Review), aliased(Review), aliased(Item)
    judged = (
        select(SecondLook.reviewer, Review.verdict, func.coalesce(Gold.expected, first.verdict), SecondLook.gold_id)
        .join(Review, and_(col(Review.item_id) == SecondLook.item_id, col(Review.reviewer) == SecondLook.reviewer))
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .outerjoin(Gold, col(Gold.id) == SecondLook.gold_id)
        .outerjoin(before, and_(col(SecondLook.gold_id).is_(None), col(before.generation_id) == SecondLook.generation_id))
        .outerjoin(first, and_(col(first.item_id) == before.id, col(first.reviewer) == SecondLook.reviewer))
        .outerjoin(corrected, col(corrected.supersedes) == first.id)
        .where(col(newer.id).is_(None), col(corrected.id).is_(None), col(Review.verdict).in_(["flag", "fine"]))
        .where(col(SecondLook.generation_id).not_in(quarantine.withdrawn_generations()))
        .order_by(col(SecondLook.item_id))
    )
    return [
        Second(who, "repeat" if gold_id is None else "gold", verdict == wanted)
        for who, verdict, wanted, gold_id in session.exec(judged).all()
        if wanted in ("flag", "fine")
    ]


# ------------------------------------------------------------------------ the draw


class Drawn(NamedTuple):
    """An answer to be asked again."""

    generation_id: int
    prompt_id: int
    lang: str
    family: str
    expected_harm: float | None
    gold_id: int | None


def mixer(
    of: Rates, reviewer: str, *, now: datetime, languages: Sequence[str] | None = None, avoid: Avoid | None = None
) -> Callable[[Session, datetime, Random], Seat | None]:
    """What a claim asks after each new item: perhaps a second look besides, as often as the rates say where there is any."""

    def mix(session: Session, expires_at: datetime, random: Random) -> Seat | None:
        drawn = random.random()  # nosec B311 # as the claim's other draws
        often = [1 / every if every else 0.0 for every in (of.repeat_every, of.gold_every)]
        kind: Kind | None = "repeat" if drawn < often[0] else "gold" if drawn < sum(often) else None
        if kind is None:
            return None
        allowed = _Allowed(session, reviewer, languages, avoid)
        again = _given_back(session, allowed, kind, expires_at)
        if again is not None:
            return again
        chosen = _earlier(allowed, of, now, random) if kind == "repeat" else _gold(allowed, random)
        return None if chosen is None else _make(session, chosen, reviewer, kind, expires_at, now)

    return mix


class _Allowed:
    """What one reviewer may be asked again: in their languages, on no topic that they decline, of no text that was withdrawn."""

    def __init__(self, session: Session, reviewer: str, languages: Sequence[str] | None, avoid: Avoid | None) -> None:
        self.session, self.reviewer, self.languages, self._avoid = session, reviewer, languages, avoid

    def first(self, rows: Sequence[Any]) -> Any:
        """The first of some rows that may be asked, None where none may."""
        read = [
            row
            for row in rows
            if self.languages is None or primary_language(row.lang) == "und" or primary_language(row.lang) in self.languages
        ]
        left_out: Collection[int] = ()
        if self._avoid is not None and read:
            left_out = self._avoid(self.session, {row.prompt_id: row.tags for row in read})
        return next((row for row in read if row.prompt_id not in left_out and not self._gone(row)), None)

    def _gone(self, row: Any) -> bool:
        if row.source != "logged":
            return False
        batch = select(OutputBatch.withdrawn_at).where(OutputBatch.name == row.origin.removeprefix("live:"))
        return self.session.exec(batch).first() is not None


def _given_back(session: Session, allowed: _Allowed, kind: Kind, expires_at: datetime) -> Seat | None:
    """One that was handed out before and came back unanswered, in hand again."""
    rows = session.connection().execute(_given_back_statement(), {"who": allowed.reviewer, "gold": kind == "gold"}).all()
    row = allowed.first(rows)
    if row is None:
        return None
    slot = Record.metadata.tables["slot"]
    taken = update(slot).where(slot.c.id == row.slot_id, slot.c.state == literal_column("'open'"))
    values = {"state": "claimed", "reviewer": allowed.reviewer, "expires_at": expires_at}
    session.connection().execute(taken.values(**values))
    return Seat(row.slot_id, row.item_id, row.split_key, None, row.expected_harm)


def _earlier(allowed: _Allowed, of: Rates, now: datetime, random: Random) -> Drawn | None:
    """An own earlier answer, far enough back; looked for from a place drawn at random, at no more than twice LOOKED_AT."""
    connection, who = allowed.session.connection(), allowed.reviewer
    low, high = connection.execute(_bounds_statement(), {"who": who, "apart": of.answers_apart}).one()
    if low is None or high is None:
        return None
    before = now - timedelta(days=of.days_apart)
    for start in (random.randint(low, high), low):  # nosec B311 # as the claim's other draws
        given = {"who": who, "start": start, "high": high, "before": before}
        if (row := allowed.first(connection.execute(_earlier_statement(), given).all())) is not None:
            return Drawn(row.generation_id, row.prompt_id, row.lang, row.split_key, row.expected_harm, None)
    return None


def _gold(allowed: _Allowed, random: Random) -> Drawn | None:
    """Gold that this reviewer has not met, looked for from a place drawn at random."""
    connection = allowed.session.connection()
    highest = connection.execute(select_core(func.max(Record.metadata.tables["gold"].c.id))).scalar_one()
    if highest is None:
        return None
    for start in (random.randint(1, highest), 0):  # nosec B311 # as the claim's other draws
        rows = connection.execute(_gold_statement(), {"who": allowed.reviewer, "start": start}).all()
        if (row := allowed.first(rows)) is not None:
            return Drawn(row.generation_id, row.prompt_id, row.lang, row.split_key, row.expected_harm, row.gold_id)
    return None


def _make(session: Session, drawn: Drawn, reviewer: str, kind: Kind, expires_at: datetime, now: datetime) -> Seat:
    """The item and its only seat, taken at once."""
    item = Item(kind=kind, purpose="check", prompt_id=drawn.prompt_id, created_at=now)
    session.add(item)
    session.flush()
    session.add(ItemGeneration(item_id=item.id, position=0, generation_id=drawn.generation_id))
    session.add(SecondLook(item_id=item.id, reviewer=reviewer, generation_id=drawn.generation_id, gold_id=drawn.gold_id))
    session.flush()
    row = slot_row(item.id, 0, f"{kind}:{item.id}", primary_language(drawn.lang), 0, mode="own")
    slot = Record.metadata.tables["slot"]
    made = row | {"state": "claimed", "reviewer": reviewer, "expires_at": expires_at}
    slot_id = session.connection().execute(insert(slot).returning(slot.c.id), made).scalar_one()
    return Seat(int(slot_id), item.id, drawn.family, None, drawn.expected_harm)


# Built once: building costs more than a run.

_JUDGED: list[Any] = [literal_column("'flag'"), literal_column("'fine'")]


def _columns() -> tuple[Any, ...]:
    prompt, generation = Record.metadata.tables["prompt"], Record.metadata.tables["generation"]
    return (
        generation.c.id.label("generation_id"),
        generation.c.expected_harm,
        generation.c.source,
        generation.c.origin,
        prompt.c.id.label("prompt_id"),
        prompt.c.lang,
        prompt.c.tags,
        prompt.c.split_key,
    )


def _not_away(generation: Any) -> Any:
    away = Record.metadata.tables["withdrawal"]
    return ~select_core(away.c.id).where(away.c.generation_id == generation, away.c.restored_at.is_(None)).exists()


@cache
def _given_back_statement() -> Any:
    look, slot, review, gold, generation, prompt = (
        Record.metadata.tables[name] for name in ("second_look", "slot", "review", "gold", "generation", "prompt")
    )
    said = select_core(review.c.id).where(review.c.item_id == look.c.item_id, review.c.reviewer == look.c.reviewer).exists()
    return (
        select_core(look.c.item_id, slot.c.id.label("slot_id"), *_columns())
        .select_from(look)
        .join(slot, slot.c.item_id == look.c.item_id)
        .join(generation, generation.c.id == look.c.generation_id)
        .join(prompt, prompt.c.id == generation.c.prompt_id)
        .outerjoin(gold, gold.c.id == look.c.gold_id)
        .where(look.c.reviewer == bindparam("who", type_=look.c.reviewer.type), slot.c.state == literal_column("'open'"))
        .where(look.c.gold_id.is_not(None) == bindparam("gold"), gold.c.ended_at.is_(None), ~said, _not_away(generation.c.id))
        .order_by(look.c.item_id)
        .limit(literal_column("16"))
    )


@cache
def _bounds_statement() -> Any:
    """The reviewer's first review, and the newest that enough others came after."""
    review = Record.metadata.tables["review"]
    mine = review.c.reviewer == bindparam("who", type_=review.c.reviewer.type)
    newest = select_core(review.c.id).where(mine).order_by(review.c.id.desc()).limit(literal_column("1")).offset(bindparam("apart"))
    return select_core(select_core(func.min(review.c.id)).where(mine).scalar_subquery(), newest.scalar_subquery())


@cache
def _earlier_statement() -> Any:
    """Of LOOKED_AT own reviews from `start`, those in force of the loop's single items that were never asked again."""
    review, item, look, generation, prompt = (
        Record.metadata.tables[name] for name in ("review", "item", "second_look", "generation", "prompt")
    )
    who = bindparam("who", type_=review.c.reviewer.type)
    # The LIMIT stands inside, so that who was asked all of them again is not read whole.
    ahead = (
        select_core(review.c.id, review.c.item_id, review.c.verdict, review.c.created_at, review.c.simulated)
        .where(review.c.reviewer == who, review.c.id >= bindparam("start"), review.c.id <= bindparam("high"))
        .order_by(review.c.id)
        .limit(literal_column(str(LOOKED_AT)))
    ).subquery("ahead")
    newer = review.alias("newer")
    asked = select_core(look.c.item_id).where(look.c.reviewer == who, look.c.generation_id == item.c.generation_id).exists()
    return (
        select_core(*_columns())
        .select_from(ahead)
        .join(item, item.c.id == ahead.c.item_id)
        .join(generation, generation.c.id == item.c.generation_id)
        .join(prompt, prompt.c.id == item.c.prompt_id)
        .where(
            item.c.purpose == literal_column("'loop'"), ahead.c.verdict.in_([literal_column("'flag'"), literal_column("'fine'")])
        )
        .where(ahead.c.created_at <= bindparam("before", type_=review.c.created_at.type))
        .where(~select_core(newer.c.id).where(newer.c.supersedes == ahead.c.id).exists(), ~asked, _not_away(generation.c.id))
        .order_by(ahead.c.id)
    )


@cache
def _gold_statement() -> Any:
    """Gold in force from `start` that the reviewer was never handed, neither as gold nor as an item of the loop."""
    gold, look, lease, item, generation, prompt = (
        Record.metadata.tables[name] for name in ("gold", "second_look", "lease", "item", "generation", "prompt")
    )
    who = bindparam("who", type_=look.c.reviewer.type)
    asked = select_core(look.c.item_id).where(look.c.reviewer == who, look.c.generation_id == gold.c.generation_id).exists()
    held = (
        select_core(lease.c.id)
        .join(item, item.c.id == lease.c.item_id)
        .where(item.c.generation_id == gold.c.generation_id, lease.c.reviewer == who)
        .exists()
    )
    return (
        select_core(gold.c.id.label("gold_id"), *_columns())
        .select_from(gold)
        .join(generation, generation.c.id == gold.c.generation_id)
        .join(prompt, prompt.c.id == generation.c.prompt_id)
        .where(gold.c.ended_at.is_(None), gold.c.id >= bindparam("start"), ~asked, ~held, _not_away(generation.c.id))
        .order_by(gold.c.id)
        .limit(literal_column("16"))
    )
