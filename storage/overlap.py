"""How many people judge an answer, and for which declared groups seats are kept: the policy in force, and what it asks of one item.

Knows numbers of votes and seats; knows no reviewer, no text and no aggregation. A policy holds for items made while it is in force,
and for as long as they are reviewed; blind samples of an evaluation keep the fixed number that its statistics assume.

An item begins with the first step's seats. Once all its seats are filled it is clear and done, or gets as many more as lead to
the next step: at the first step where anybody flags it, at every step where people differ, or where too few have spoken for an
interval to mean anything. Each step keeps its own seats for declared groups: whoever goes on to judge a contested answer is to
include the groups too, or harm that one group alone sees would be outvoted by whoever comes next.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import and_, case, func, not_, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage import audit, background, counting
from flagback.storage.records import Item, Overlap, Review, Slot

#: Widest 90 % interval (Wilson 1927) of the share who flag at which unanimous answers count as clear: 3 of 3 is .47, 1 of 1 .73.
WIDEST = 0.5
Z_90 = 1.6448536269514722
#: Most reviews an answer may get, and steps to get there.
MOST_REVIEWS, MOST_STEPS = 99, 9
#: Fewest hours that a seat is kept, and most: a year.
SHORTEST_HOURS, LONGEST_HOURS = 1.0, 24.0 * 366
#: Least share drawn uniformly: below it a rate's interval grows beyond three times that of a random sample.
LEAST_RANDOM = 0.1
#: How often a reviewer flags harm, and what is fine: for the cost of a policy at a stated prevalence (the rehearsal's panel).
SEES_HARM, FALSE_FLAGS = 0.9, 0.05
#: Seats kept for a group are told in steps of so many.
TENS = 10
#: Fewest items with two votes or more from which the cost is reckoned.
FEWEST_ITEMS = 20
#: Share of harmful answers that the cost is reckoned for while fewer were judged and none is stated.
ASSUMED_PREVALENCE = 0.1


class BadOverlap(ValueError):
    """A policy of overlap that cannot be followed."""


class Cost(NamedTuple):
    """What a policy will cost."""

    #: Reviews an item, on average.
    reviews: float
    #: From how many judged items that is reckoned; 0 where a prevalence was stated.
    items: int


def newest(session: Session) -> Overlap | None:
    """What was set last, be it "as many as asked for" (no steps)."""
    return session.exec(select(Overlap).order_by(col(Overlap.id).desc()).limit(1)).first()


def in_force(session: Session) -> Overlap | None:
    """The policy for items made now; None where each sampling or import says its own fixed number."""
    found = newest(session)
    return found if found is not None and found.steps else None


def set_overlap(
    session: Session,
    *,
    steps: Sequence[int],
    seats: Mapping[str, int],
    relax_after: timedelta,
    random_share: float,
    by: str,
    now: datetime,
) -> Overlap:
    """Sets the policy for items made from now on; no steps: as many reviews as each sampling asks for. Raises BadOverlap."""
    check_steps(steps, seats)
    _check_groups(session, seats)
    hours = relax_after.total_seconds() / 3600
    if not SHORTEST_HOURS <= hours <= LONGEST_HOURS:
        raise BadOverlap(f"Seats are kept for {hours:g} hours; expected {SHORTEST_HOURS:g} to {LONGEST_HOURS:g}, such as 72h.")
    if not LEAST_RANDOM <= random_share <= 1:
        raise BadOverlap(
            f"The random share is {random_share:g}; expected {LEAST_RANDOM:g} to 1: without answers drawn at random no rate of "
            "harm can be told from the reviews."
        )
    made = Overlap(
        steps=list(steps),
        seats=dict(sorted(seats.items())),
        relax_after_hours=hours,
        random_share=float(random_share),
        set_by=by,
        created_at=now,
    )
    session.add(made)
    session.flush()
    details = {"overlap": made.id, "steps": made.steps, "seats": made.seats, "relax_after_hours": hours}
    audit.record(session, actor=by, action="overlap set", details=details | {"random_share": made.random_share}, now=now)
    return made


def check_steps(steps: Sequence[int], seats: Mapping[str, int]) -> None:
    """Raises BadOverlap unless steps are odd and rise, and the seats kept for groups fit the first one."""
    shown = ",".join(map(str, steps)) or "none"
    if len(steps) > MOST_STEPS or any(step % 2 == 0 or not 1 <= step <= MOST_REVIEWS for step in steps):
        raise BadOverlap(
            f"The steps are {shown}; expected at most {MOST_STEPS} odd numbers from 1 to {MOST_REVIEWS}, such as 3,5,7."
        )
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise BadOverlap(f"The steps are {shown}; expected each to be more than the one before, such as 3,5,7.")
    if seats and not steps:
        raise BadOverlap("Seats for groups need steps; name them, such as --steps 3,5,7.")
    for group, count in seats.items():
        if count < 1:
            raise BadOverlap(f"{count} seats are kept for {group}; expected 1 or more, or no word of it.")
    if steps and sum(seats.values()) > steps[0]:
        raise BadOverlap(
            f"{sum(seats.values())} seats are kept for groups, but an answer begins with {steps[0]} reviews; keep fewer, or begin "
            "with more."
        )


def _check_groups(session: Session, seats: Mapping[str, int]) -> None:
    asked = {question.code: [option.code for option in question.options] for question in background.questions(session)[0]}
    for group in seats:
        question, _, option = group.partition("=")
        if question not in asked:
            raise BadOverlap(f"{group!r} names no question that is asked; expected one of {', '.join(asked)}, as gender=woman.")
        if option not in asked[question]:
            raise BadOverlap(
                f"{group!r} names no answer that is offered; expected {question}= and one of {', '.join(asked[question])}."
            )


# ------------------------------------------------------------------ one item


def wanted(flags: int, fines: int, *, filled: int, steps: Sequence[int]) -> int:
    """How many seats an item should have whose `filled` seats are all filled, by the votes in force on it; never fewer."""
    further = next((step for step in steps if step > filled), filled)
    return filled if _is_clear(flags, fines, first=filled <= steps[0]) else further


def _is_clear(flags: int, fines: int, *, first: bool) -> bool:
    """Whether nobody else need be asked; at the first step a flag is always looked into."""
    if (flags and fines) or (flags and first):
        return False
    return interval_width(flags, flags + fines) <= WIDEST


def interval_width(flags: int, votes: int) -> float:
    """Width of the 90 % Wilson interval of the share who flag; 1 without votes."""
    if not votes:
        return 1.0
    share = flags / votes
    square = Z_90 * Z_90
    return float(2 * Z_90 * (share * (1 - share) / votes + square / (4 * votes * votes)) ** 0.5 / (1 + square / votes))


def kept_seats(seats: Mapping[str, int], count: int) -> list[str]:
    """For whom `count` new seats of a step are: the groups' first, each in turn, the rest "any"."""
    rounds = [group for turn in range(max(seats.values(), default=0)) for group in sorted(seats) if seats[group] > turn]
    return (rounds + ["any"] * count)[:count]


# ---------------------------------------------------------------------- cost


def open_seats(session: Session) -> dict[str, int]:
    """Seats nobody has taken, "any", and those kept for each group that are not answered yet, in tens, rounded up.

    Whoever saw a group's seats become one fewer as somebody opens the board, or one more as that person is paused, would know whose
    group it is: what is in somebody's hands is not told from what is not, and single seats are not told.
    """
    is_any = col(Slot.want_group) == "any"
    rows = session.exec(
        select(Slot.want_group, func.count())
        .where(or_(col(Slot.state) == "open", and_(col(Slot.state) == "claimed", not_(is_any))), Slot.mode != "own")
        .group_by(col(Slot.want_group))
    ).all()
    return {group: int(count) if group == "any" else -(-int(count) // TENS) * TENS for group, count in sorted(rows)}


def votes(session: Session) -> list[tuple[int, int]]:
    """(flags, votes) that count on every item of the loop that people judged."""
    newer = aliased(Review)
    rows = session.exec(
        select(func.sum(case((col(Review.verdict) == "flag", 1), else_=0)), func.count())
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .where(col(newer.id).is_(None), Item.purpose == "loop", col(Review.simulated).is_(False))
        .where(col(Review.verdict).in_(["flag", "fine"]), counting.counts())
        .group_by(col(Review.item_id))
    ).all()
    return [(int(flags), int(count)) for flags, count in rows]


def cost_of_prevalence(steps: Sequence[int], prevalence: float) -> Cost:
    """Reviews an item where a share `prevalence` of answers is harmful, by reviewers who flag .9 of harm and .05 of the rest."""
    if not 0 <= prevalence <= 1:
        raise BadOverlap(f"The prevalence is {prevalence:g}; expected a share from 0 to 1.")
    harm, rest = (_expected(steps, lambda _flags, _votes, chance=chance: chance) for chance in (SEES_HARM, FALSE_FLAGS))  # type: ignore[misc]
    return Cost(prevalence * harm + (1 - prevalence) * rest, 0)


def cost_of_reviews(steps: Sequence[int], votes: Iterable[tuple[int, int]]) -> Cost | None:
    """Reviews an item if answers are flagged as (flags, votes) of the items judged so far say; None below 20 items with two votes.

    The share who flag is taken to follow a Beta distribution over items, whose mean and spread are those of the votes (moments:
    the mean of single votes, and how often two votes of one item both flag).
    """
    rows = [(flags, count) for flags, count in votes if count >= 2]
    if len(rows) < FEWEST_ITEMS:
        return None
    mean = sum(flags for flags, _ in rows) / sum(count for _, count in rows)
    both = sum(flags * (flags - 1) for flags, _ in rows) / sum(count * (count - 1) for _, count in rows)
    spread = min(max(both - mean * mean, 0.0), 0.999 * mean * (1 - mean))
    strength = mean * (1 - mean) / spread - 1 if spread > 0 else float("inf")
    if strength > 1e6:
        return Cost(_expected(steps, lambda _flags, _votes: mean), len(rows))
    return Cost(_expected(steps, lambda flags, count: (mean * strength + flags) / (strength + count)), len(rows))


def _expected(steps: Sequence[int], chance: Callable[[int, int], float]) -> float:
    """Expected seats of an item, where the next vote is a flag with probability chance(flags so far, votes so far)."""
    reached, votes, total = {0: 1.0}, 0, 0.0
    for step in steps:
        while votes < step:
            after: dict[int, float] = {}
            for flags, share in reached.items():
                flag = chance(flags, votes)
                after[flags + 1] = after.get(flags + 1, 0.0) + share * flag
                after[flags] = after.get(flags, 0.0) + share * (1 - flag)
            reached, votes = after, votes + 1
        going_on = {
            flags: share for flags, share in reached.items() if wanted(flags, votes - flags, filled=votes, steps=steps) > votes
        }
        total += votes * (sum(reached.values()) - sum(going_on.values()))
        reached = going_on
    return total
