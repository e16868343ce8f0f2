"""What would change if another policy made the pairs: which appear, vanish and turn round, and whose flags each policy overrules.

Fetches nothing and keeps nothing: reads the reviews that pair_sets hands it. Speaks of groups, never of persons: groups are of five
people or more already (`flagback.storage.rater_groups`), and what could give a smaller one away is not shown
(`flagback.storage.suppression`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from flagback.model import pair_sets, policies
from flagback.model.mentions import tagged_axes
from flagback.model.pair_sets import Built, Choice, Read
from flagback.model.representation import spoken_of
from flagback.storage import rater_groups
from flagback.storage.comparisons import Compared
from flagback.storage.rater_groups import Grouping
from flagback.storage.records import Conclusion, Prompt
from flagback.storage.suppression import shown_cells

#: Times that the groups are dealt out anew for the null.
DRAWS = 100
#: Fewest items whose group majority flags before a share of them is given.
LEAST_ITEMS = 10


class Overruled(NamedTuple):
    """Of the items that a group's majority flags, how many a policy does not call harmful."""

    #: Items with two raters of the group or more, most of whom flag; None where too few are there to say anything.
    items: int | None
    #: Share of those that the policy does not call harmful, 0-1.
    share: float | None
    #: Middle 95 % of that share when reviewers are dealt to groups of the same sizes at random: what it is without any difference.
    null_low: float | None
    null_high: float | None


class GroupView(NamedTuple):
    """One group under both policies."""

    group: str
    #: Not shown, because too few people are in it or in what is left of all.
    suppressed: bool
    overruled_a: Overruled
    overruled_b: Overruled
    #: Pairs only the second, or only the first policy makes, whose rejected answer this group's majority flags.
    appear: int | None
    vanish: int | None


class Side(NamedTuple):
    """One policy's pairs."""

    policy: str
    version: str
    pairs: int
    #: How many equally weighed ones would say as much.
    effective: float


class Comparison(NamedTuple):
    """From one policy to another on the same reviews."""

    a: Side
    b: Side
    #: Pairs of both; of the second only; of the first only; of both with chosen and rejected exchanged.
    both: int
    appear: int
    vanish: int
    flip: int
    #: What people are grouped by; empty where no groups can be weighed.
    by: str
    groups: list[GroupView]

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        groups = [
            {"group": view.group, "suppressed": True}
            if view.suppressed
            else {
                "group": view.group,
                "suppressed": False,
                "overruled": {"a": view.overruled_a._asdict(), "b": view.overruled_b._asdict()},
                "appear": view.appear,
                "vanish": view.vanish,
            }
            for view in self.groups
        ]
        pairs = {"both": self.both, "appear": self.appear, "vanish": self.vanish, "flip": self.flip}
        return {"a": self.a._asdict(), "b": self.b._asdict(), "pairs": pairs, "by": self.by, "groups": groups}


def compare(
    rows: Sequence[Read],
    a: Choice,
    b: Choice,
    grouping: Grouping,
    concluded: Mapping[int, Conclusion],
    *,
    compared: Sequence[Compared] = (),
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """What changes from `a` to `b`; answers judged side by side (`compared`) count among the pairs, and whose flags a policy
    overrules is told of those judged one at a time. Raises NoGroups where one weighs groups and there are none."""
    built = [pair_sets.build(rows, choice, grouping, concluded, compared) for choice in (a, b)]
    before, after = _directed(built[0]), _directed(built[1])
    turned = {(chosen, rejected) for chosen, rejected in before if (rejected, chosen) in after}
    back = {(rejected, chosen) for chosen, rejected in turned}
    appear, vanish = set(after) - set(before) - back, set(before) - set(after) - turned
    return Comparison(
        a=_side(a, built[0]),
        b=_side(b, built[1]),
        both=len(set(before) & set(after)),
        appear=len(appear),
        vanish=len(vanish),
        flip=len(turned),
        by=grouping.question,
        groups=_groups(rows, (a, b), built, grouping, concluded, (appear, vanish), draws, seed) if grouping.groups else [],
    )


class Without(NamedTuple):
    """What leaving some reviews out does to the pairs, under the majority."""

    #: Reviews left out, and answers that nobody else judged.
    reviews: int
    unjudged: int
    pairs_before: int
    pairs_after: int
    appear: int
    vanish: int
    #: (kind of group, group, pairs before, pairs after) by whom the prompts speak of. Never by who reviews: what the panel makes of
    #: a group's flags moves with its members' votes, so a line for each group would say which one the person left out is of.
    groups: list[tuple[str, str, int, int]]

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        groups = [{"about": axis, "group": group, "before": a, "after": b} for axis, group, a, b in self.groups]
        return {**self._asdict(), "groups": groups}


def without(
    rows: Sequence[Read],
    left_out: frozenset[int],
    concluded: Mapping[int, Conclusion],
    compared: Sequence[Compared] = (),
) -> Without:
    """The reviews as they stand, beside those that stay when some are left out."""
    choice, nobody = Choice(), rater_groups.NOBODY
    kept = [row._replace(reviews=[review for review in row.reviews if review.id not in left_out]) for row in rows]
    kept = [row for row in kept if row.reviews]
    beside = [one._replace(reviews=[review for review in one.reviews if review.id not in left_out]) for one in compared]
    before = pair_sets.build(rows, choice, nobody, concluded, compared)
    after = pair_sets.build(kept, choice, nobody, concluded, [one for one in beside if one.reviews])
    first, second = set(_directed(before)), set(_directed(after))
    return Without(
        reviews=_reviews(rows, compared) - _reviews(kept, beside),
        unjudged=len(rows) - len(kept),
        pairs_before=len(first),
        pairs_after=len(second),
        appear=len(second - first),
        vanish=len(first - second),
        groups=_by_group_spoken_of(
            {row.prompt.id: row.prompt for row in rows} | {one.prompt.id: one.prompt for one in compared}, before, after
        ),
    )


def _reviews(rows: Sequence[Read], compared: Sequence[Compared]) -> int:
    return sum(len(row.reviews) for row in rows) + sum(len(one.reviews) for one in compared)


def _by_group_spoken_of(prompts: Mapping[int, Prompt], before: Built, after: Built) -> list[tuple[str, str, int, int]]:
    axes = tagged_axes([prompt.tags for prompt in prompts.values()])
    spoken = {
        number: spoken_of(prompt.messages[-1]["content"], prompt.tags, lang=prompt.lang, extra=axes)
        for number, prompt in prompts.items()
    }
    counts = [Counter(pair for one in side.pairs for pair in spoken[one.prompt_id].items()) for side in (before, after)]
    return [(*about, counts[0][about], counts[1][about]) for about in sorted({*counts[0], *counts[1]})]


def _directed(built: Built) -> dict[tuple[int, int], float]:
    return {(pair.chosen_id, pair.rejected_id): pair.weight for pair in built.pairs}


def _side(choice: Choice, built: Built) -> Side:
    return Side(choice.policy, policies.named(choice.policy).version, len(built.pairs), round(built.effective, 1))


# ---------------------------------------------------------------------- groups


def _groups(
    rows: Sequence[Read],
    choices: tuple[Choice, Choice],
    built: Sequence[Built],
    grouping: Grouping,
    concluded: Mapping[int, Conclusion],
    changed: tuple[set[tuple[int, int]], set[tuple[int, int]]],
    draws: int,
    seed: int,
) -> list[GroupView]:
    flagged = _flagged(rows, grouping)
    nulls = [_null(rows, choice, grouping, concluded, draws, seed) for choice in choices]
    harmful = [{number for number, judged in side.judgements.items() if judged.outcome == "harmful"} for side in built]
    shown = _shown(rows, grouping)
    views = []
    for group in grouping.groups:
        mine = flagged[group]
        first, second = (_overruled(mine, harmful[place], nulls[place][group]) for place in (0, 1))
        appear, vanish = (sum(rejected in mine for _, rejected in pairs) for pairs in changed)
        told = group in shown
        views.append(GroupView(group, not told, first, second, appear if told else None, vanish if told else None))
    return views


def _shown(rows: Sequence[Read], grouping: Grouping) -> frozenset[str]:
    """Groups of which something may be said beside the totals: who is in none is a cell too, and hides its neighbour if small."""
    voters = {review.reviewer for row in rows for review in row.reviews}
    cells = Counter("+".join(grouping.of.get(name, ())) or "nobody's" for name in voters)
    kept = shown_cells(cells)
    return frozenset(group for group in grouping.groups if group in kept or any(group in cell.split("+") for cell in kept))


def _flagged(rows: Sequence[Read], grouping: Grouping) -> dict[str, set[int]]:
    """Group -> the answers that most of its raters flag, where two of them or more voted."""
    found: dict[str, set[int]] = {group: set() for group in grouping.groups}
    for row in rows:
        votes: Counter[str] = Counter()
        flags: Counter[str] = Counter()
        for vote in pair_sets.votes_of(row, grouping):
            for group in vote.groups:
                votes[group] += 1
                flags[group] += vote.harm
        for group, count in votes.items():
            if count >= policies.LEAST_RATERS and 2 * flags[group] > count:
                found[group].add(row.generation.id)
    return found


def _overruled(mine: set[int], harmful: set[int], null: Sequence[float]) -> Overruled:
    if len(mine) < LEAST_ITEMS:
        return Overruled(None, None, None, None)
    ends = (_quantile(null, 0.025), _quantile(null, 0.975)) if null else (None, None)
    return Overruled(len(mine), len(mine - harmful) / len(mine), *ends)


def _null(
    rows: Sequence[Read], choice: Choice, grouping: Grouping, concluded: Mapping[int, Conclusion], draws: int, seed: int
) -> dict[str, list[float]]:
    """Each group's overruled share under groups dealt out at random: reviewers keep their votes and exchange their groups.

    Whole reviewers are dealt, never single votes: a reviewer's votes hang together.
    """
    random = Random(f"overruled {seed}")  # nosec B311 # a seeded null, guards nothing
    names = sorted(grouping.of)
    dealt = [grouping.of[name] for name in names]
    weighs = policies.named(choice.policy).needs_groups
    fixed = None if weighs else pair_sets.judgements(rows, choice, grouping, concluded)
    found: dict[str, list[float]] = {group: [] for group in grouping.groups}
    for _ in range(draws):
        random.shuffle(dealt)
        shuffled = grouping._replace(of=dict(zip(names, dealt, strict=True)))
        judged = fixed if fixed is not None else pair_sets.judgements(rows, choice, shuffled, concluded)
        harmful = {number for number, one in judged.items() if one.outcome == "harmful"}
        for group, mine in _flagged(rows, shuffled).items():
            if mine:
                found[group].append(len(mine - harmful) / len(mine))
    return found


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * (len(ordered) - 1))))]
