"""What people who did not know which version wrote flagged of a base and its candidate: over all prompts, and group by group.

Plain values in, plain values out: it knows no weights and no store.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

from flagback.model.evaluation import BrokenScores
from flagback.model.figures import ItemMeasure, Measured, compared
from flagback.model.worst_group import Name, WorstGroup, worst_group


class BlindAnswer(NamedTuple):
    """One answer in blind review: how many of its reviews flagged it (skips count as no review)."""

    #: The prompt's content hash.
    key: str
    #: Its split key.
    cluster: str
    side: Literal["base", "candidate"]
    flags: int
    reviews: int
    prompt: str
    text: str
    #: (axis, group) of the groups that the prompt speaks of, one an axis.
    groups: tuple[tuple[str, str], ...] = ()


def compare_blind(answers: Sequence[BlindAnswer], *, planned: int) -> Measured:
    """Reviewers' flag rate on fresh blind samples, paired by prompt: mean over prompts of (flags / reviews), both sides reviewed.

    planned is the number of prompts put before reviewers; prompts with an unreviewed side are waited for, not counted. The note
    lists the groups that too few of them speak of.
    """
    items = _blind_items(answers)
    found = worst_group(
        [0.0] * len(items), [item.cluster for item, _ in items], [dict(groups) for _, groups in items], seed=0, permutations=1
    )
    return compared(
        "flag_rate",
        "Share of blind reviews that flag an answer",
        "share",
        "lower",
        [item for item, _ in items],
        planned=planned,
        note=_too_few(found),
    )


def compare_blind_groups(answers: Sequence[BlindAnswer], *, seed: int) -> list[Measured]:
    """The same on the prompts that speak of each group, and of two at once, where there are enough; see `worst_group`.

    One figure a group, "flag_rate:age=old" or "flag_rate:age=old,gender=woman"; the note on the worst says how it stands to
    chance and which groups are too few to say anything of. No group with enough prompts: no figure.
    """
    items = _blind_items(answers)
    changes = [(item.candidate or 0.0) - (item.base or 0.0) for item, _ in items]
    found = worst_group(changes, [item.cluster for item, _ in items], [dict(groups) for _, groups in items], seed=seed)
    measured = []
    for place, cell in enumerate(found.cells):
        words = " and ".join(f"{axis} '{group}'" for axis, group in cell.name)
        note = "" if place else f"{_worst_note(cell.pooled, found.p, found.null_mean, len(found.cells))} {_too_few(found)}".strip()
        measured.append(
            compared(
                f"flag_rate:{_group_words(cell.name)}",
                f"Share of blind reviews that flag an answer, on prompts about {words}",
                "share",
                "lower",
                [item for item, groups in items if set(cell.name) <= set(groups)],
                note=note,
            )
        )
    return measured


def _too_few(found: WorstGroup) -> str:
    """The groups, and two of them at once, of which nothing can be said."""
    few = ", ".join(f"{' and '.join(group for _, group in one.name)} ({one.clusters})" for one in found.suppressed)
    return f"Too few prompts to say anything: {few}." if few else ""


def _group_words(name: Name) -> str:
    return ",".join(f"{axis}={group}" for axis, group in name)


def _worst_note(pooled: float, p: float | None, null_mean: float | None, cells: int) -> str:
    least = f"Improved least of the {cells} groups with enough prompts; its change by the pooled estimate: {pooled * 100:+.1f}"
    if p is None or null_mean is None:
        return f"{least} points."
    return (
        f"{least} points. Were groups dealt out by lot, the one that improves least would show {null_mean * 100:+.1f} points on "
        f"average, and one this far from the rest would come up with p = {p:.3f}."
    )


def _blind_items(answers: Sequence[BlindAnswer]) -> list[tuple[ItemMeasure, tuple[tuple[str, str], ...]]]:
    """Prompts with both sides reviewed, and the groups each speaks of."""
    by_prompt: dict[str, list[BlindAnswer]] = defaultdict(list)
    for answer in answers:
        if not 0 <= answer.flags <= answer.reviews:
            raise BrokenScores(
                f"The blind answer to prompt {answer.key} has {answer.flags} flags in {answer.reviews} reviews; "
                "expected 0 <= flags <= reviews."
            )
        if answer.reviews:
            by_prompt[answer.key].append(answer)
    items = []
    for key, given in sorted(by_prompt.items()):
        sides = [[answer for answer in given if answer.side == side] for side in ("base", "candidate")]
        if all(sides):
            rates = [sum(a.flags for a in side) / sum(a.reviews for a in side) for side in sides]
            measure = ItemMeasure(
                key,
                given[0].cluster,
                rates[0],
                rates[1],
                {"prompt": given[0].prompt, "base": sides[0][0].text, "candidate": sides[1][0].text},
            )
            items.append((measure, given[0].groups))
    return items
