"""What overlap that follows the votes saves, and what harm it misses: simulated panels, by the product's own rule.

Prints one JSON object with a table for each prevalence: reviews an item, recall of harm that everyone sees and of harm that one
group alone sees, and false alarms, of a fixed 7, of 3,5,7 without and with a seat kept for the group. A panel of 30, a fifth of it
of the group; who sees a harm flags it with .9, everyone flags what they do not see with .05; a quarter of all harm is seen by the
group alone. Three ways to call an answer harmful: anyone flags; more than half of all votes; more than half of any group's votes.
The last is the one that a panel with a minority needs: it is what recall below means unless said otherwise.

    python benchmarks/overlap.py [--items 20000] [--seed 0] [--json]
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flagback.storage.overlap import kept_seats, wanted

REVIEWERS, GROUP_SHARE = 30, 0.2
SEES, FALSE_FLAGS, GROUP_ONLY = 0.9, 0.05, 0.25
PREVALENCES = (0.1, 0.55)
GROUP = "group"


class Vote(NamedTuple):
    """One vote: who it comes from, and whether it flags."""

    of_group: bool
    flag: bool


class Panel(NamedTuple):
    """How reviews are given out."""

    name: str
    steps: Sequence[int]
    seats: dict[str, int]


PANELS = (
    Panel("fixed 7", (7,), {}),
    Panel("fixed 7, a seat", (7,), {GROUP: 1}),
    Panel("3,5,7", (3, 5, 7), {}),
    Panel("3,5,7, a seat at each step", (3, 5, 7), {GROUP: 1}),
)


def anyone(votes: Sequence[Vote]) -> bool:
    """One flag is enough."""
    return any(vote.flag for vote in votes)


def majority(votes: Sequence[Vote]) -> bool:
    """More than half of all."""
    return 2 * sum(vote.flag for vote in votes) > len(votes)


def any_group(votes: Sequence[Vote]) -> bool:
    """More than half of those of the group, or of the others."""
    return any(majority(part) for of_group in (True, False) if (part := [vote for vote in votes if vote.of_group == of_group]))


RULES: dict[str, Callable[[Sequence[Vote]], bool]] = {"anyone": anyone, "majority": majority, "any group's majority": any_group}


def judged(panel: Panel, harm: str, draw: random.Random) -> list[Vote]:
    """The votes that an item gets; `harm` is "", "all" or "group"."""
    of_group = [number < REVIEWERS * GROUP_SHARE for number in range(REVIEWERS)]
    free = draw.sample(range(REVIEWERS), REVIEWERS)
    votes: list[Vote] = []
    asked = panel.steps[0]
    while len(votes) < asked:
        for seat in kept_seats(panel.seats, asked - len(votes)):
            who = next(number for number in free if seat == "any" or of_group[number])
            free.remove(who)
            sees = harm == "all" or (harm == "group" and of_group[who])
            votes.append(Vote(of_group[who], draw.random() < (SEES if sees else FALSE_FLAGS)))
        flags = sum(vote.flag for vote in votes)
        asked = wanted(flags, len(votes) - flags, filled=len(votes), steps=panel.steps)
    return votes


def table(prevalence: float, *, items: int, seed: int) -> list[dict[str, Any]]:
    """One row a panel; the same answers for each."""
    rows = []
    for panel in PANELS:
        draw, truth = random.Random(f"{panel.name} {seed}"), random.Random(seed)  # nosec B311 # a simulated panel, seeded
        found = {rule: {"all": [0, 0], "group": [0, 0], "": [0, 0]} for rule in RULES}
        reviews = 0
        for _ in range(items):
            harm = "" if truth.random() >= prevalence else "group" if truth.random() < GROUP_ONLY else "all"
            votes = judged(panel, harm, draw)
            reviews += len(votes)
            for rule, decide in RULES.items():
                found[rule][harm][0] += decide(votes)
                found[rule][harm][1] += 1
        row: dict[str, Any] = {"panel": panel.name, "reviews": round(reviews / items, 2)}
        for rule, counts in found.items():
            (seen, n_seen), (alone, n_alone), (false, n_fine) = counts["all"], counts["group"], counts[""]
            row[rule] = {
                "recall": round((seen + alone) / (n_seen + n_alone), 4),
                "recall_group_only": round(alone / n_alone, 4),
                "false_alarms": round(false / n_fine, 4),
            }
        rows.append(row)
    for row in rows:
        row["saved"] = round(1 - row["reviews"] / rows[0]["reviews"], 3)
    return rows


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object in place of lines")
    given = parser.parse_args()
    found = {f"{prevalence:g}": table(prevalence, items=given.items, seed=given.seed) for prevalence in PREVALENCES}
    if given.json:
        print(json.dumps({"items": given.items, "seed": given.seed, "prevalence": found}, indent=2))
        return
    for prevalence, rows in found.items():
        print(f"prevalence {prevalence}")
        for row in rows:
            print(f"  {row['panel']:28} {row['reviews']:.2f} reviews, {row['saved']:.0%} fewer")
            for rule in RULES:
                of = row[rule]
                print(
                    f"    {rule:22} recall {of['recall']:.3f}, group only {of['recall_group_only']:.3f}, "
                    f"false alarms {of['false_alarms']:.3f}"
                )


if __name__ == "__main__":
    main()
