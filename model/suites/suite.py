"""What every suite has in common: an item, what a model said about its texts, a metric, and what a suite's module holds.

Plain values in, plain values out. Knows no weights, no tokenizer and no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from flagback.model.figures import Better
from flagback.storage.reading import BadImport, Place, WrongColumns, WrongValue, shortened

#: causal: the model writes from left to right; masked: it fills in a masked token from both sides (BERT).
Form = Literal["causal", "masked"]


class OneGroup(BadImport):
    """A file in which there is nothing to compare: one group, or one half of each pair."""


class Text(NamedTuple):
    """A text to score and what stands before it; without a context it is scored from its first token on."""

    context: str
    continuation: str


class Reply(NamedTuple):
    """An answer to score behind its prompt, in the model's own template: the token sequence that people judged."""

    messages: list[dict[str, str]]
    answer: str
    #: Whether the model ended it; one that was cut off is scored without an end token.
    ended: bool = True
    #: The ids it was written with. They are scored where this tokenizer reads the same text out of them.
    ids: list[int] | None = None

    @property
    def context(self) -> str:
        """What was said before, for messages about this text."""
        return "\n".join(message["content"] for message in self.messages)

    @property
    def continuation(self) -> str:
        """The answer, for messages about this text."""
        return self.answer


#: What a model can be asked to score.
Scorable: TypeAlias = Text | Reply


class Likelihood(NamedTuple):
    """What a model gave one text."""

    #: Natural logarithm of its probability.
    logp: float
    #: How many tokens that sum runs over.
    tokens: int


class Item(NamedTuple):
    """One thing a suite asks, whole: a pair, or a sentence in all its variants."""

    #: What messages and lists call it; unique in its file.
    key: str
    #: What it hangs together with: items of one cluster are no independent evidence.
    cluster: str
    #: Kind of group -> group, e.g. {"bias_type": "age"}.
    groups: Mapping[str, str]
    #: What the suite's own functions need to know of it; nobody else reads it.
    facts: Mapping[str, Any]


#: One item's measures by metric; None where the item says nothing about it.
Measures = Mapping[str, float | None]


class Metric(NamedTuple):
    """One number of a suite."""

    words: str
    unit: str
    #: What the suite's authors call better; "same" where a large change either way is suspect.
    better: Better
    #: rate: a mean of items' values within 0..1; mean: any other mean over items; whole: a number of all items together; bare: one
    #: that gets no interval, because it jumps (a share of tests that turn out significant).
    kind: Literal["rate", "mean", "whole", "bare"]

    @property
    def of_items(self) -> bool:
        """Whether it is a mean of items' own values."""
        return self.kind in ("rate", "mean")


class Described(Protocol):
    """What `flagback suites list` shows of a suite."""

    @property
    def NAME(self) -> str:
        """As it is written after --suite."""

    @property
    def PAPER(self) -> str:
        """Where the suite was published."""

    @property
    def LICENCE(self) -> str:
        """Of the data."""

    @property
    def SOURCE(self) -> str:
        """Where the data are, and which file is read."""

    @property
    def WEAKNESSES(self) -> tuple[str, ...]:
        """What is known to be wrong with it, in words for people."""


class Suite(Described, Protocol):
    """A suite that a model can be examined with: one that scores texts or one that has the model write."""

    @property
    def METRICS(self) -> Mapping[Form, Mapping[str, Metric]]:
        """What it measures with each kind of model it is defined for."""

    @property
    def FILES(self) -> tuple[str, ...]:
        """Names of the files it reads; where there are several, all of them are needed. None: it asks for no data."""

    def read(self, path: Path) -> list[Item]:
        """The items of a file or folder. Raises BadImport."""

    def aggregate(self, items: Sequence[Item], scored: Sequence[Measures], form: Form) -> dict[str, float | None]:
        """The numbers of METRICS over these items; None where they are not defined, never 0 in its place."""


@runtime_checkable
class ScoringSuite(Suite, Protocol):
    """A suite whose texts are scored by a model."""

    def texts(self, item: Item, form: Form) -> Sequence[Scorable]:
        """The texts a model must score; masked: exactly two, which are scored on the tokens they share."""

    def score(self, item: Item, found: Sequence[Likelihood], form: Form) -> Measures:
        """The item's measures from its texts' likelihoods, in the order of `texts`."""


@runtime_checkable
class WritingSuite(Suite, Protocol):
    """A suite that has the model write, with the same noise for every model."""

    @property
    def DRAWS(self) -> int:
        """Answers an item."""

    @property
    def LONGEST(self) -> int:
        """Tokens an answer may have."""

    @property
    def seed(self) -> int:
        """Of the noise: the same seed gives a model the same texts."""

    def beginning(self, item: Item) -> str:
        """The text the model goes on from, in no template."""

    def judged(self, item: Item, written: Sequence[str]) -> Measures:
        """The item's measures from what was written."""


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of what is defined, exactly rounded so that order changes nothing; None where nothing is."""
    known = [value for value in values if value is not None]
    return fsum(known) / len(known) if known else None


def means(scored: Sequence[Measures], metrics: Mapping[str, Metric]) -> dict[str, float | None]:
    """The mean of each metric that is one."""
    return {name: mean_of(one.get(name) for one in scored) for name, metric in metrics.items() if metric.of_items}


def check_columns(place: Place, values: Mapping[str, Any], expected: Sequence[str]) -> None:
    """Raises WrongColumns where a column is absent."""
    absent = [name for name in expected if name not in values]
    if absent:
        raise WrongColumns(
            f"{place.file}: no column {', '.join(map(repr, absent))}; there are {', '.join(map(repr, values))}, expected "
            f"{', '.join(map(repr, expected))}."
        )


def text_in(place: Place, values: Mapping[str, Any], column: str) -> str:
    """A cell that must hold a text. Raises WrongValue."""
    value = values[column]
    if not isinstance(value, str) or not value.strip():
        raise WrongValue(f"{place}, column {column!r}: {shortened(value)}; expected a text.")
    return value


def one_of(place: Place, values: Mapping[str, Any], column: str, expected: Sequence[str]) -> str:
    """A cell that must hold one of a few words. Raises WrongValue."""
    value = values[column]
    if value not in expected:
        raise WrongValue(f"{place}, column {column!r}: {shortened(value)}; expected {' or '.join(map(repr, expected))}.")
    return str(value)
