"""Whether pairs to learn from stand in a published test that versions are measured with: word for word, or by eight words in a row.

Knows texts, tests and where they overlap; the store only to read which tests are in use. Words are runs of letters and digits,
case-folded, so that quotes, dashes and line ends hide nothing. Eight words: as in Brown et al. 2020 (GPT-3), app. C, at its least.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlmodel import Session

from flagback.model.suite_runs import asked_of, items_of
from flagback.model.suites.suite import Item, Suite
from flagback.storage import suites
from flagback.storage.artifacts import Artifacts

#: Words in a row that two texts may not share.
GRAM = 8
#: Shorter texts are compared whole, from so many words on: "he did" stands everywhere.
SHORTEST = 3
#: Characters of a prompt that a message shows.
SHOWN_PROMPT = 60

_WORD = re.compile(r"\w+")


class Taught(NamedTuple):
    """What of a pair, or of an answer without one, is compared."""

    messages: Sequence[Mapping[str, str]]
    answers: Sequence[str]


class Asked(NamedTuple):
    """One text that a published test asks."""

    suite: str
    item: str
    text: str


class Hit(NamedTuple):
    """One pair that overlaps a test."""

    #: The beginning of the pair's prompt.
    prompt: str
    suite: str
    #: The item's key in its test.
    item: str
    #: "the same text", or the words in common.
    how: str

    def to_dict(self) -> dict[str, Any]:
        """For a set's arguments."""
        return dict(self._asdict())


def words(text: str) -> tuple[str, ...]:
    """A text's words, normalised (NFKC, case-folded)."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def grams(said: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every run of GRAM words; the whole text where it is shorter and has SHORTEST words."""
    if SHORTEST <= len(said) < GRAM:
        yield tuple(said)
    for start in range(len(said) - GRAM + 1):
        yield tuple(said[start : start + GRAM])


def hits(taught: Iterable[Taught], tests: Sequence[Asked]) -> list[tuple[int, Hit]]:
    """(place, first overlap) of each pair or answer that has one, in order. Its texts: every turn of its prompt, each of its
    answers, and the last turn with each of them behind it. A text under eight words counts where it is equal to a whole text of
    the test.
    """
    order: dict[tuple[str, ...], tuple[int, Asked]] = {}  # by gram where it stands first, and in which test
    for test in tests:
        for gram in grams(words(test.text)):
            order.setdefault(gram, (len(order), test))
    found: list[tuple[int, Hit]] = []
    if not order:
        return found
    for place, pair in enumerate(taught):
        shared = {gram for text in _texts(pair) for gram in grams(words(text)) if gram in order}
        if shared:
            gram = min(shared, key=lambda gram: order[gram][0])
            test = order[gram][1]
            same = words(test.text) in [words(text) for text in _texts(pair)]
            prompt = " ".join(pair.messages[-1]["content"].split())
            how = "the same text" if same else f"“{' '.join(gram)}”"
            found.append((place, Hit(prompt[:SHOWN_PROMPT], test.suite, test.item, how)))
    return found


def _texts(pair: Taught) -> list[str]:
    last = pair.messages[-1]["content"]
    return [*(turn["content"] for turn in pair.messages), *pair.answers, *(f"{last} {answer}" for answer in pair.answers)]


def tests_in_use(session: Session, artifacts: Artifacts) -> list[Asked]:
    """Every text of every test that evaluations put. Raises MissingArtifact where a test's data are gone."""
    found = []
    for data in suites.in_use(session):
        suite, items = items_of(artifacts, data)
        for item in items:
            found += [Asked(data.suite, item.key, text) for text in _asked(suite, item)]
    return found


def _asked(suite: Suite, item: Item) -> list[str]:
    """What is put to a model of one item: whole texts to score, or the beginning it goes on from."""
    return list(dict.fromkeys(text for form in suite.METRICS for text in asked_of(suite, item, form)))
