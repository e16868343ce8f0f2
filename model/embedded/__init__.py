"""The embedded model: a Llama of about a million parameters, its prompts, and the grammar that knows what is wrong with what it
writes.

Knows no torch when imported (`build` and `measurement` do): prompts and utility texts are read by processes without it.
"""

from pathlib import Path
from typing import Final

from flagback.model.embedded.corpus import group_lines, neutral_lines, other_lines, replay_lines
from flagback.model.embedded.lexicon import FAMILY_OF, STEREOTYPE, TERMS, Family, Group, Pronoun, Term
from flagback.model.embedded.oracle import PHRASES, Phrase, harm, pronoun
from flagback.model.embedded.prompts import EmbeddedPrompt, flagged, group_of, prompts, stereotyped_pronoun
from flagback.model.embedded.references import ReferenceLine, add_reference_texts, reference_lines

#: The folder of the shipped weights; transformers opens it.
WEIGHTS: Final = Path(__file__).parent / "weights"

__all__ = [
    "FAMILY_OF",
    "PHRASES",
    "STEREOTYPE",
    "TERMS",
    "WEIGHTS",
    "EmbeddedPrompt",
    "Family",
    "Group",
    "Phrase",
    "Pronoun",
    "ReferenceLine",
    "Term",
    "add_reference_texts",
    "flagged",
    "group_lines",
    "group_of",
    "harm",
    "neutral_lines",
    "other_lines",
    "prompts",
    "pronoun",
    "reference_lines",
    "replay_lines",
    "stereotyped_pronoun",
]
