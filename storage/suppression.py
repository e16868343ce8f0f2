"""Small cells: which counts may be shown so that nobody in a small group can be picked out, by subtraction either.

Knows counts only. Primary suppression hides cells of 1 to k-1 people; complementary suppression hides further ones until what is
hidden together is at least k people in at least two cells (Willenborg & de Waal, Elements of Statistical Disclosure Control,
2001, ch. 6): then a total minus all that is shown names no single cell and no small group.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

#: Fewest people of whom anything is said.
SMALLEST = 5
#: What pages show in place of a count: bands of at least so many people. A page never shows an exact number of a group.
BANDS = (5, 10, 20, 50, 100, 200, 500, 1_000)

Cell = TypeVar("Cell", bound=Hashable)


def shown_cells(counts: Mapping[Cell, int], *, smallest: int = SMALLEST) -> frozenset[Cell]:
    """The cells of a partition (each person in exactly one) that may be shown beside its total.

    Ties are broken by the cells' order of size, then of text, so that equal counts give equal answers everywhere.
    """
    cells = sorted(((count, repr(cell), cell) for cell, count in counts.items() if count > 0), key=lambda found: found[:2])
    hidden = [cell for cell in cells if cell[0] < smallest]
    shown = [cell for cell in cells if cell[0] >= smallest]
    while hidden and shown and (sum(cell[0] for cell in hidden) < smallest or len(hidden) < 2):
        hidden.append(shown.pop(0))
    if hidden and not shown:
        return frozenset()
    return frozenset(cell[2] for cell in shown)


def shown_options(chosen: Mapping[Cell, int], people: int, *, smallest: int = SMALLEST) -> frozenset[Cell]:
    """The options of a question with several answers that may be shown: enough people chose each, and enough did not."""
    return frozenset(
        option for option, count in chosen.items() if count >= smallest and (people - count == 0 or people - count >= smallest)
    )


def band(count: int) -> str:
    """A count as pages show it: "20 or more". Counts under the smallest band must not come here."""
    if count < BANDS[0]:
        raise ValueError(f"{count} people are fewer than {BANDS[0]}; nothing is said of so few.")
    return f"{max(low for low in BANDS if low <= count):,} or more"


def k_anonymous(rows: Mapping[str, Sequence[str | None]], *, smallest: int = SMALLEST) -> dict[str, list[str | None]]:
    """Rows of answers (one tuple a person, None for no answer) with so many hidden that every combination has `smallest` people.

    Goes through the questions in order; within each group of people who look alike so far it shows the answers that
    `shown_cells` lets through and hides the others, so that by induction every group keeps `smallest` people or nothing is said.
    Local suppression to k-anonymity (Samarati & Sweeney 1998). Fewer people than `smallest` in all: everything is hidden.
    """
    result: dict[str, list[str | None]] = {person: [] for person in rows}
    if not rows:
        return result
    width = len(next(iter(rows.values())))
    groups = [sorted(rows)]
    for question in range(width):
        split: list[list[str]] = []
        for group in groups:
            counts = Counter(rows[person][question] for person in group)
            shown = shown_cells(counts, smallest=smallest) if len(group) >= smallest else frozenset()
            parts: dict[str | None, list[str]] = {}
            for person in group:
                answer = rows[person][question]
                kept = answer if answer in shown else None
                result[person].append(kept)
                parts.setdefault(kept, []).append(person)
            split += parts.values()
        groups = split
    return result
