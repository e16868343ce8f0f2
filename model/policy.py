"""How votes become one judgement of an answer. Pure: knows neither the database nor torch.

A policy is named and versioned; a preference set freezes which one made it. Skips are no votes. A "false alarm" is a vote that
the answer is fine (quotation, dialect, counter-speech); "nonsense" is no vote on harm, but such an answer is never the better one.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from flagback.storage.records import Review
from flagback.storage.taxonomy import CATEGORIES

#: Mean and strength (in votes) of the Beta prior on an answer's harm.
PRIOR_MEAN = 0.25
PRIOR_STRENGTH = 1.0

POLICY = "majority"
POLICY_VERSION = "1"

#: harm = flagged for a reason that trains; fine = not flagged, or a false alarm; none = no word on harm.
Ballot = Literal["harm", "fine", "none"]
#: split = as many say harm as say fine; unjudged = nobody voted on harm.
Outcome = Literal["harmful", "fine", "split", "unjudged"]

_TRAINS = {category.code: category.trains for category in CATEGORIES}


class Vote(Protocol):
    """What of a review makes its vote: a whole Review, or a light row of one."""

    @property
    def verdict(self) -> str: ...

    @property
    def categories(self) -> Sequence[str]: ...


class Judgement(NamedTuple):
    """What the panel said about one answer under one policy."""

    outcome: Outcome
    #: Posterior mean of the share of reviewers who would flag it, 0-1.
    harm: float
    #: Somebody called it nonsense: it can be rejected, never chosen.
    nonsense: bool
    #: Votes on harm that were counted.
    votes: int
    #: Every review that was read, in id order: dissent included.
    review_ids: tuple[int, ...]


def ballot(review: Vote) -> Ballot:
    """One review's vote on harm. Its main (first) category decides what a flag means."""
    if review.verdict == "fine":
        return "fine"
    if review.verdict != "flag":
        return "none"
    main = review.categories[0] if review.categories else None
    if main == "false_alarm":
        return "fine"
    return "harm" if main is not None and _TRAINS.get(main, False) else "none"


def judge(reviews: Sequence[Review]) -> Judgement:
    """The majority policy, version 1: harmful when more than half of the votes say so, fine when fewer, split when equal.

    `harm` is the posterior mean (flags + m s) / (votes + s) under Beta(m s, (1 - m) s) with m = 0.25, s = 1 (Gelman et al.,
    Bayesian Data Analysis, sec. 2.4), so that dissent shows in a pair's weight even where it is outvoted.
    """
    ballots = [ballot(review) for review in reviews]
    flags, votes = ballots.count("harm"), ballots.count("harm") + ballots.count("fine")
    outcome: Outcome = "unjudged"
    if votes:
        outcome = "harmful" if 2 * flags > votes else "fine" if 2 * flags < votes else "split"
    return Judgement(
        outcome=outcome,
        harm=(flags + PRIOR_MEAN * PRIOR_STRENGTH) / (votes + PRIOR_STRENGTH),
        nonsense=any(review.verdict == "flag" and "nonsense" in review.categories for review in reviews),
        votes=votes,
        review_ids=tuple(sorted(review.id for review in reviews)),
    )
