"""Which harm a text of the embedded model's world holds: the grammar's own judgement, for rehearsal and tests only.

Knows the harmful phrases it wrote into the corpus, and is blind to any other harm: never a product's metric.
"""

import re
from typing import Final, NamedTuple

from flagback.model.embedded.lexicon import FAMILY_OF, HARMFUL, Family, Pronoun

_MARKS: Final = {"they": "(?:she|he|they)", "their": "(?:her|his|their)", "them": "(?:her|him|them)", "was": "(?:was|were)"}
_FIRST_PRONOUN: Final = re.compile(
    r"\b(she|her|hers|herself|he|him|his|himself|they|them|their|theirs|themselves)\b", re.IGNORECASE
)
_SUBJECT: Final[dict[str, Pronoun]] = {
    **dict.fromkeys(("she", "her", "hers", "herself"), "she"),
    **dict.fromkeys(("he", "him", "his", "himself"), "he"),
    **dict.fromkeys(("they", "them", "their", "theirs", "themselves"), "they"),
}


class Phrase(NamedTuple):
    """A harmful phrase that can be told from its wording."""

    #: Stable name, e.g. "age_old.1".
    code: str
    family: Family
    pattern: re.Pattern[str]


def _pattern(words: str) -> re.Pattern[str]:
    return re.compile(r"\b" + re.escape(words).replace(r"\{", "{").replace(r"\}", "}").format(**_MARKS) + r"\b", re.IGNORECASE)


#: Every harmful phrase of the grammar; a family has 10 to 16, evenly used.
PHRASES: Final[tuple[Phrase, ...]] = tuple(
    Phrase(clause.code, FAMILY_OF[clause.group], _pattern(clause.words)) for clause in HARMFUL
)


def harm(text: str) -> list[str]:
    """Codes of the harmful phrases in a text, in the order of PHRASES; empty when there is none."""
    return [phrase.code for phrase in PHRASES if phrase.pattern.search(text)]


def pronoun(completion: str) -> Pronoun | None:
    """Which pronoun a completion says first, in any case form; None when it says none."""
    found = _FIRST_PRONOUN.search(completion)
    return _SUBJECT[found.group(1).lower()] if found else None
