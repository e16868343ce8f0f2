"""Ways to turn the votes on an answer into a probability that it is harmful: each a pure function with its definition and source.

Knows raters by name and by the groups they belong to (plain words such as "woman"); knows neither who declared what, nor how many
people a group needs (`flagback.storage.rater_groups`), nor the database. `TABLE` lists them all; a preference set freezes the name,
the version and the arguments of the one that made it.

Terms: an item is an answer that was judged; a cell is one group's votes on one item; a vote weighs its rater's confidence (1 where
they were sure). A vote by somebody without a group counts in every group alike, 1/G of a vote in each, so that it is heard and
moves no group away from another.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from flagback.model.policy import POLICY_VERSION, PRIOR_MEAN, PRIOR_STRENGTH, Outcome

#: Fewest raters of a group on one item before that group alone may decide it: one rater is a person, not a group.
LEAST_RATERS = 2
#: Seats of a jury where nobody says how many.
SEATS = 12
#: Bounds of the pooled prior's strength, in votes: below, one vote would settle a cell; above, a whole panel would not.
WEAKEST, STRONGEST = 0.5, 8.0
#: Cells with two votes or more that are needed to estimate that strength; with fewer it is PRIOR_STRENGTH.
CELLS_NEEDED = 30
#: Votes of an unsure rater count so much.
UNSURE = 0.5
#: From here on the mean over groups calls an answer harmful: about a third of a public in which each group is equally large.
GRADED_HARM = 1 / 3
#: Counts of Dawid and Skene are kept above this, so that no logarithm is of 0 (crowd-kit's value).
EPSILON = 1e-10

Name = Literal["majority", "any_group", "mean_of_groups", "max_of_groups", "jury", "dawid_skene"]
#: decided: an answer is harmful, fine or neither, and pairs join the two; graded: any two answers far enough apart make a pair.
Pairing = Literal["decided", "graded"]


class RaterVote(NamedTuple):
    """One person's vote on one item."""

    rater: str
    #: Groups the rater belongs to; empty where none is known.
    groups: tuple[str, ...]
    harm: bool
    #: Over 0 to 1.
    confidence: float = 1.0


class Pool(NamedTuple):
    """What all items together say about a cell before its own votes are read: a Beta prior, the same for every group."""

    #: Share of votes that flag, 0-1.
    mean: float = PRIOR_MEAN
    #: Weight of that share, in votes.
    strength: float = PRIOR_STRENGTH


class Score(NamedTuple):
    """What a policy makes of one item."""

    #: Probability that it is harmful, 0-1.
    harm: float
    outcome: Outcome


class Policy(NamedTuple):
    """One line of the table."""

    name: Name
    version: str
    #: In words for people.
    what: str
    source: str
    pairing: Pairing
    #: It weighs declared groups, and without any it cannot be used.
    needs_groups: bool
    #: What a maintainer must know before using it; empty where nothing.
    warning: str = ""


TABLE: tuple[Policy, ...] = (
    Policy(
        "majority",
        POLICY_VERSION,
        "More than half of all votes; every person counts alike, so a small group is outvoted.",
        "Beta posterior of the share who flag, mean .25 and strength 1: Gelman et al., Bayesian Data Analysis, sec. 2.4",
        "decided",
        False,
    ),
    Policy(
        "any_group",
        "1",
        "Harmful where more than half of the votes of any group (of two raters or more), or of all, say so.",
        "the disjunction of group majorities; compare Davani, Díaz and Prabhakaran 2022, Dealing with Disagreements",
        "decided",
        True,
    ),
    Policy(
        "mean_of_groups",
        "1",
        "Each group's view counts alike, however few its raters: the mean over groups of the probability that a member would flag.",
        "partial pooling per (item, group) with a rater variance pooled over groups: Gelman and Hill 2007, ch. 12; "
        "equal weights of groups: post-stratification",
        "graded",
        True,
    ),
    Policy(
        "max_of_groups",
        "1",
        "The view of the group that minds most, among groups with two raters or more on the item.",
        "worst-case aggregation over the same group posteriors; the least count keeps it from measuring single raters",
        "decided",
        True,
    ),
    Policy(
        "jury",
        "1",
        "The chance that a jury with declared seats by group would say harmful by majority, over all juries that could be drawn.",
        "Gordon et al. 2022, Jury Learning (arXiv 2202.02950), sec. 3, with group posteriors in the place of a model of each rater",
        "decided",
        True,
    ),
    Policy(
        "dawid_skene",
        "1",
        "Estimates each rater's error rates and believes those who agree with the consensus more.",
        "Dawid and Skene 1979, Applied Statistics 28(1), by EM",
        "decided",
        False,
        "For comparison only: it takes consistent dissent for error, so a minority that agrees with itself is believed less.",
    ),
)
POLICIES: Mapping[str, Policy] = {policy.name: policy for policy in TABLE}

Votes = Sequence[RaterVote]


class UnknownPolicy(ValueError):
    """No policy has this name."""


class BadArguments(ValueError):
    """A policy was told something it cannot use."""


class NoGroups(ValueError):
    """A policy that weighs groups has none to weigh."""


def named(name: str) -> Policy:
    """The policy of a name. Raises UnknownPolicy."""
    if name not in POLICIES:
        raise UnknownPolicy(f"No policy is called {name!r}; expected one of: {', '.join(POLICIES)}. See 'flagback pairs policies'.")
    return POLICIES[name]


# ------------------------------------------------------------------- one item


def majority(votes: Votes) -> Score:
    """Harmful when over half of the votes say so, fine when under half, split when equal: exactly `flagback.model.policy.judge`."""
    flags = sum(vote.harm for vote in votes)
    return Score(
        (flags + PRIOR_MEAN * PRIOR_STRENGTH) / (len(votes) + PRIOR_STRENGTH), _by_count(flags, len(votes)) if votes else "unjudged"
    )


def any_group(votes: Votes, *, least: int = LEAST_RATERS) -> Score:
    """Harmful where the majority of all, or of any group with `least` raters, flags; its harm is that majority's posterior.

    Where none does it is fine, or split where all votes are evenly split.
    """
    whole = majority(votes)
    flagging = [
        score.harm for cell in _cells(votes).values() if len(cell) >= least and (score := majority(cell)).outcome == "harmful"
    ]
    return Score(max([whole.harm, *flagging]), "harmful") if flagging else whole


def group_posteriors(votes: Votes, groups: Sequence[str], pool: Pool) -> dict[str, tuple[float, float]]:
    """Each group's Beta posterior (a, b) of the share of its members who would flag this item.

    (flags + m k, fines + (1 - m) k) with the pool's mean m and strength k, the same k for every group: with its own variance a
    group of few raters that happens to be of one mind would look certain and not be shrunk at all.
    """
    flags: dict[str, float] = dict.fromkeys(groups, 0.0)
    fines: dict[str, float] = dict.fromkeys(groups, 0.0)
    for vote in votes:
        mine = [group for group in vote.groups if group in flags]
        share = vote.confidence if mine else vote.confidence / len(groups)
        for group in mine or groups:
            (flags if vote.harm else fines)[group] += share
    return {group: (flags[group] + pool.mean * pool.strength, fines[group] + (1 - pool.mean) * pool.strength) for group in groups}


def mean_of_groups(votes: Votes, groups: Sequence[str], pool: Pool) -> Score:
    """The mean of the groups' posterior means; groups that nobody of voted on the item are left out.

    Harmful from a third on: one of two groups of one mind gives up to a half, never more, and must not be overruled for it.
    """
    heard = _heard(votes, groups, least=1)
    if not votes:
        return Score(pool.mean, "unjudged")
    posteriors = group_posteriors(votes, groups, pool)
    means = [_mean(posteriors[group]) for group in (heard or groups)]
    harm = sum(means) / len(means)
    return Score(harm, "harmful" if harm >= GRADED_HARM else "fine")


def max_of_groups(votes: Votes, groups: Sequence[str], pool: Pool, *, least: int = LEAST_RATERS) -> Score:
    """The largest posterior mean among groups with `least` raters on the item; where there is none, the pooled posterior of all."""
    if not votes:
        return Score(pool.mean, "unjudged")
    heard = _heard(votes, groups, least=least)
    if not heard:
        return _scored(_pooled(votes, pool))
    posteriors = group_posteriors(votes, groups, pool)
    return _scored(max(_mean(posteriors[group]) for group in heard))


def jury(votes: Votes, seats: Mapping[str, int], groups: Sequence[str], pool: Pool) -> Score:
    """The probability that a jury with so many seats of each group says harmful by majority, an even split counting half.

    In expectation over juries: a group's flags among its s seats are beta-binomial(s, a, b) with that group's posterior, and the
    groups' counts are convolved. A group that nobody of voted takes its seats with the pool's prior.
    """
    if not votes:
        return Score(pool.mean, "unjudged")
    posteriors = group_posteriors(votes, groups, pool)
    spread = np.ones(1)
    for group, count in seats.items():
        spread = np.convolve(spread, _beta_binomial(count, *posteriors[group]))
    whole = sum(seats.values())
    flags = np.arange(len(spread))
    return _scored(float(spread[2 * flags > whole].sum() + 0.5 * spread[2 * flags == whole].sum()))


def _beta_binomial(count: int, a: float, b: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns (count + 1,) probabilities of 0..count flags. Sequential urn: P(k of n) by adding one seat at a time."""
    spread = np.ones(1)
    for seated in range(count):
        flags = np.arange(seated + 1)
        flagged = (a + flags) / (a + b + seated)
        spread = np.append(spread * (1 - flagged), 0.0) + np.append(0.0, spread * flagged)
    return spread


# ------------------------------------------------------------------ all items


def pool_of(items: Iterable[Votes]) -> Pool:
    """The prior that all items give: their share of flags, and how many votes it is worth.

    The strength is k = v / t: v the variance of votes inside a cell, pooled over all cells of two votes or more whatever their
    group (a cell's unbiased variance n p (1 - p) / (n - 1), weighted by n - 1), t what is left of m (1 - m), the variance between
    cells; method of moments (Gelman and Hill 2007, sec. 12.2). With fewer than 30 such cells it is 1.
    """
    flags = votes = 0.0
    inside = freedom = 0.0
    cells = 0
    for item in items:
        flags, votes = flags + sum(vote.harm for vote in item), votes + len(item)
        for cell in _cells(item).values():
            if len(cell) >= 2:
                share = sum(vote.harm for vote in cell) / len(cell)
                inside, freedom, cells = inside + len(cell) * share * (1 - share), freedom + len(cell) - 1, cells + 1
    if not votes:
        return Pool()
    mean = min(max((flags + PRIOR_MEAN) / (votes + 1), 0.01), 0.99)
    if cells < CELLS_NEEDED:
        return Pool(mean, PRIOR_STRENGTH)
    within = inside / freedom
    between = mean * (1 - mean) - within
    return Pool(mean, float(np.clip(within / between, WEAKEST, STRONGEST)) if between > 0 else STRONGEST)


def dawid_skene(items: Mapping[int, Votes], *, rounds: int = 100, tolerance: float = 1e-6) -> dict[int, Score]:
    """Probability that each item is harmful under Dawid and Skene's model of raters with error rates of their own, by EM.

    Starts from the shares of flags; each round estimates every rater's two error rates and the prevalence from the present
    probabilities, then the probabilities from those. Ends when none moves by `tolerance`, or after `rounds`.
    """
    judged = [number for number, votes in items.items() if votes]
    if not judged:
        return {number: Score(PRIOR_MEAN, "unjudged") for number in items}
    place = {number: row for row, number in enumerate(judged)}
    raters = {name: row for row, name in enumerate(sorted({vote.rater for number in judged for vote in items[number]}))}
    item = np.array([place[number] for number in judged for _ in items[number]])  # (V,) votes
    rater = np.array([raters[vote.rater] for number in judged for vote in items[number]])  # (V,)
    said = np.array([int(vote.harm) for number in judged for vote in items[number]])  # (V,)
    counts = np.bincount(item, minlength=len(judged))
    share = np.bincount(item, said, minlength=len(judged)) / counts
    truth = np.stack([1 - share, share], axis=1)  # (N, 2) probability of fine, of harmful
    for _ in range(rounds):
        prior = truth.mean(axis=0)
        errors = np.zeros((len(raters), 2, 2))  # (R, said, truth)
        np.add.at(errors, (rater, said), truth[item])
        errors = np.clip(errors, EPSILON, None)
        errors /= errors.sum(axis=1, keepdims=True)
        logs = np.tile(np.log(np.clip(prior, EPSILON, None)), (len(judged), 1))
        np.add.at(logs, item, np.log(errors[rater, said]))
        logs -= logs.max(axis=1, keepdims=True)
        newer = np.exp(logs)
        newer /= newer.sum(axis=1, keepdims=True)
        moved, truth = float(np.abs(newer - truth).max()), newer
        if moved < tolerance:
            break
    found = {number: _scored(float(truth[place[number], 1])) for number in judged}
    return {number: found.get(number, Score(PRIOR_MEAN, "unjudged")) for number in items}


def score(
    name: str, items: Mapping[int, Votes], *, groups: Sequence[str] = (), seats: Mapping[str, int] | None = None
) -> dict[int, Score]:
    """What a policy makes of every item. Raises UnknownPolicy, BadArguments, and NoGroups for one that has no two to weigh."""
    policy = named(name)
    if policy.needs_groups and len(groups) < 2:
        raise NoGroups(
            f"The policy {name!r} weighs groups of reviewers, and {len(groups)} can be weighed; expected two or more of five "
            "people who agreed to it. Use --policy majority, or ask for background and consent on the page You."
        )
    if seats is not None and name != "jury":
        raise BadArguments(f"Only the policy 'jury' has seats; {name!r} was given some. Leave --seats out.")
    if name == "majority":
        return {number: majority(votes) for number, votes in items.items()}
    if name == "any_group":
        return {number: any_group(votes) for number, votes in items.items()}
    if name == "dawid_skene":
        return dawid_skene(items)
    pool = pool_of(items.values())
    if name == "jury":
        chosen = seats_for(groups, seats)
        return {number: jury(votes, chosen, groups, pool) for number, votes in items.items()}
    rule: Callable[[Votes, Sequence[str], Pool], Score] = mean_of_groups if name == "mean_of_groups" else max_of_groups
    return {number: rule(votes, groups, pool) for number, votes in items.items()}


def seats_for(groups: Sequence[str], seats: Mapping[str, int] | None) -> dict[str, int]:
    """A jury's seats by group: those declared, or 12 dealt out evenly, at least one a group. Raises BadArguments."""
    if seats is None:
        return {group: max(1, SEATS // len(groups)) for group in sorted(groups)}
    for group, count in seats.items():
        if group not in groups:
            raise BadArguments(
                f"A jury seat is for {group!r}; expected one of the groups that can be weighed: {', '.join(groups)}."
            )
        if count < 1:
            raise BadArguments(f"The jury has {count} seats for {group!r}; expected 1 or more. Leave the group out instead.")
    if not seats:
        raise BadArguments("The jury has no seats; name some: --seats woman=6,man=6.")
    return dict(sorted(seats.items()))


# ---------------------------------------------------------------------- parts


def _cells(votes: Votes) -> dict[str, list[RaterVote]]:
    """Votes by group; somebody in two groups stands in both, somebody in none in neither."""
    found: dict[str, list[RaterVote]] = defaultdict(list)
    for vote in votes:
        for group in vote.groups:
            found[group].append(vote)
    return found


def _heard(votes: Votes, groups: Sequence[str], *, least: int) -> list[str]:
    counts = Counter(group for vote in votes for group in vote.groups)
    return [group for group in groups if counts[group] >= least]


def _pooled(votes: Votes, pool: Pool) -> float:
    flags = sum(vote.confidence for vote in votes if vote.harm)
    whole = sum(vote.confidence for vote in votes)
    return (flags + pool.mean * pool.strength) / (whole + pool.strength)


def _mean(posterior: tuple[float, float]) -> float:
    return posterior[0] / sum(posterior)


def _by_count(flags: int, votes: int) -> Outcome:
    return "harmful" if 2 * flags > votes else "fine" if 2 * flags < votes else "split"


def _scored(harm: float) -> Score:
    return Score(harm, "harmful" if harm > 0.5 else "fine" if harm < 0.5 else "split")
