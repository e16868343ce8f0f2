"""Prompts with their answers as token ids: in which order they are scored, and how answers of one prompt come together.

Long lists of them may lie on the disk (`spool`): a few numbers a tree are kept here, and no ids. Knows no model.
"""

import hashlib
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from flagback.model.spool import View

Ids = tuple[int, ...]


class Tree(NamedTuple):
    """A prompt and the answers scored under it."""

    #: At least one token.
    prompt: Ids
    #: At least one answer, each of at least one token.
    answers: tuple[Ids, ...]


def extremes(trees: Sequence[Tree]) -> list[Tree]:
    """The two shortest trees and the longest one, each once."""
    short: list[tuple[int, Tree]] = []
    long: list[tuple[int, Tree]] = []
    for tree in trees:
        known = (_width(tree), tree)
        if known not in short:
            short = sorted([*short, known])[:2]
        long = [max([*long, known])]
    return [tree for _, tree in dict.fromkeys([*short, *long])]


def by_width(trees: Sequence[Tree]) -> list[int]:
    """Places of trees, the shortest first; equally long ones, which alone are in memory meanwhile, in the order of their ids."""
    places: dict[int, list[int]] = {}
    for place, tree in enumerate(trees):
        places.setdefault(_width(tree), []).append(place)
    return [place for width in sorted(places) for place in sorted(places[width], key=trees.__getitem__)]


def grown(rows: Sequence[tuple[Ids, Ids]], most: int | None = None) -> tuple[Sequence[Tree], list[int]]:
    """Every prompt of (prompt, answer) rows once with each of its answers once; and where, among theirs, each row's answer is.

    A prompt of more than `most` answers is there several times.
    """
    families: dict[bytes, list[int]] = {}  # by prompt the rows that bring another answer
    known: dict[bytes, int] = {}
    first = array("q")  # by row the one that brought its answer
    for place, (prompt, answer) in enumerate(rows):
        family = _name(prompt)
        name = family + _name(answer)
        if name not in known:
            families.setdefault(family, []).append(place)
        first.append(known.setdefault(name, place))
    members = [
        array("q", found[start : start + (most or len(found))])
        for found in families.values()
        for start in range(0, len(found), most or len(found))
    ]
    position = {place: number for number, place in enumerate(place for some in members for place in some)}

    def tree(number: int) -> Tree:
        found = [rows[place] for place in members[number]]
        return Tree(found[0][0], tuple(answer for _, answer in found))

    return View(len(members), tree), [position[place] for place in first]


def shared(trees: Sequence[Tree]) -> tuple[Sequence[Tree], list[int]]:
    """Every prompt once with each of its answers once; and where, among theirs, the given trees' answers are in their order."""
    numbers = array("q")  # of the tree and of the answer in it
    for place, tree in enumerate(trees):
        for number in range(len(tree.answers)):
            numbers.extend((place, number))

    def row(place: int) -> tuple[Ids, Ids]:
        tree = trees[numbers[2 * place]]
        return tree.prompt, tree.answers[numbers[2 * place + 1]]

    return grown(View(len(numbers) // 2, row))


def _name(ids: Ids) -> bytes:
    return hashlib.blake2b(array("q", ids).tobytes(), digest_size=16).digest()


def _width(tree: Tree) -> int:
    return len(tree.prompt) + max(map(len, tree.answers))
