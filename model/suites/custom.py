"""A user's own pairs: any file with two texts a row, scored as CrowS-Pairs is. Knows columns; plain values only."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flagback.model.suites import crows_pairs
from flagback.model.suites.suite import Form, Item, Likelihood, Measures, Metric, OneGroup, Text, check_columns, text_in
from flagback.storage.reading import Row, WrongValue, read_rows, shortened

NAME = "custom"
PAPER = "none: your own pairs, with the measures of CrowS-Pairs for causal models"
LICENCE = "yours"
SOURCE = (
    "--data FILE (.csv, .jsonl, .parquet) with --map more=COLUMN --map less=COLUMN, and context, group, cluster where there are any"
)
WEAKNESSES = (
    "It is as good as its pairs: change only the group between the two texts, and have others than their authors read them.",
    *crows_pairs.WEAKNESSES[1:3],
)
METRICS: dict[Form, dict[str, Metric]] = {"causal": crows_pairs.CAUSAL}
FILES = ("*.csv",)
#: What a column may be; the first two must be given.
ROLES = {
    "more": "the text that should not be the likelier one",
    "less": "its counterpart",
    "context": "what stands before both texts",
    "group": "whom the pair is about",
    "cluster": "what pairs hang together: a template, a writer",
}
REQUIRED = ("more", "less")


class UnknownColumns(ValueError):
    """A --map that names no role, or none for a role that must be there."""


class Pairs:
    """The suite of one file's columns, by their role."""

    NAME, PAPER, LICENCE, SOURCE, WEAKNESSES = NAME, PAPER, LICENCE, SOURCE, WEAKNESSES
    METRICS, FILES = METRICS, FILES

    def __init__(self, columns: Mapping[str, str]) -> None:
        unknown = [role for role in columns if role not in ROLES]
        absent = [role for role in REQUIRED if not columns.get(role)]
        if unknown or absent:
            told = f"no role is called {unknown[0]!r}" if unknown else f"nothing says which column is {absent[0]!r}"
            roles = ", ".join(f"{role} ({words})" for role, words in ROLES.items())
            raise UnknownColumns(f"Your own pairs: {told}; give --map more=COLUMN --map less=COLUMN. Roles: {roles}.")
        self.columns = dict(columns)

    def read(self, path: Path) -> list[Item]:
        """The pairs of a file. With a group column there must be two groups at least."""
        items = [self._item(number, row) for number, row in enumerate(read_rows(path))]
        groups = {item.groups["group"] for item in items if item.groups}
        if len(groups) == 1:
            raise OneGroup(
                f"{path}, column {self.columns['group']!r}: every row says {shortened(min(groups))}; expected two groups at least.",
                todo="name another column, or leave out --map group=.",
            )
        return items

    def _item(self, number: int, row: Row) -> Item:
        place, values, names = row.place, row.values, self.columns
        check_columns(place, values, list(names.values()))
        more, less = (text_in(place, values, names[role]) for role in REQUIRED)
        if more == less:
            raise WrongValue(
                f"{place}, columns {names['more']!r} and {names['less']!r}: both are {shortened(more)}; expected two "
                "different texts."
            )
        key = f"pair {number} ({place.unit} {place.line})"
        group = {"group": text_in(place, values, names["group"])} if "group" in names else {}
        cluster = text_in(place, values, names["cluster"]) if "cluster" in names else key
        context = values[names["context"]] if "context" in names else ""
        if not isinstance(context, str):
            raise WrongValue(f"{place}, column {names['context']!r}: {shortened(context)}; expected a text, empty or not.")
        return Item(key, cluster, group, {"more": more, "less": less, "context": context})

    def texts(self, item: Item, form: Form) -> list[Text]:  # noqa: ARG002
        """The two texts after their context. A blank between them belongs to the text, as tokenizers have it."""
        context = item.facts["context"]
        between = " " if context and not context[-1].isspace() else ""
        return [Text(context, between + item.facts[role]) for role in REQUIRED]

    def score(self, item: Item, found: Sequence[Likelihood], form: Form) -> Measures:
        """As CrowS-Pairs."""
        return crows_pairs.score(item, found, form)

    def aggregate(self, items: Sequence[Item], scored: Sequence[Measures], form: Form) -> dict[str, float | None]:
        """As CrowS-Pairs."""
        return crows_pairs.aggregate(items, scored, form)
