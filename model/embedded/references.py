"""The embedded model's reference texts: what a correction is anchored with, and what its language is measured on.

Knows which generator fills which set, and the table they are kept in.
"""

from typing import Final, NamedTuple

from sqlmodel import Session, select

from flagback.model.embedded.corpus import group_lines, neutral_lines, other_lines, replay_lines
from flagback.storage.prompts import text_hash
from flagback.storage.records import ReferenceText, TextPurpose

_SEED: Final = 1
_REPLAY_LINES, _PERPLEXITY_LINES = 600, 200


class ReferenceLine(NamedTuple):
    """One reference text."""

    purpose: TextPurpose
    #: "neutral", "groups" or "other": one figure a name.
    name: str
    text: str


def reference_lines() -> list[ReferenceLine]:
    """600 replay lines and 200 perplexity lines of each kind, always the same."""
    replay: list[ReferenceLine] = [ReferenceLine("replay", "neutral", text) for text in replay_lines(_SEED, _REPLAY_LINES)]
    measured = (("neutral", neutral_lines), ("groups", group_lines), ("other", other_lines))
    return replay + [
        ReferenceLine("perplexity", name, text) for name, write in measured for text in write(_SEED, _PERPLEXITY_LINES)
    ]


def add_reference_texts(session: Session) -> int:
    """Stores the reference texts that are not there yet; returns how many were added."""
    known = set(session.exec(select(ReferenceText.text_hash)))
    fresh = [line for line in reference_lines() if text_hash(line.text) not in known]
    session.add_all(
        ReferenceText(purpose=line.purpose, name=line.name, text=line.text, text_hash=text_hash(line.text)) for line in fresh
    )
    return len(fresh)
