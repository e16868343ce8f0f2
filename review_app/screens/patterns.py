"""Patterns: which words go with flags, who is in the data, and what the detector of harm is worth. For steering and for auditing.

Knows how the three cards stand together and what they read; each card draws itself. What takes long is reckoned once for a state of
the records and kept.
"""

from typing import NamedTuple

import streamlit as st
from sqlalchemy import func
from sqlmodel import Session, col, select

from flagback.model import mentions, policy, word_odds
from flagback.model.representation import spoken_of
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look, pattern_detector, pattern_groups, pattern_words, section
from flagback.review_app.words import tr
from flagback.storage import judgements
from flagback.storage.records import Account, Generation, PreferenceSet, Prompt, Review
from flagback.storage.store import Store

#: Reviewed answers that the page reads at most, drawn by hash.
MOST = 5_000


class Answer(NamedTuple):
    """One reviewed answer, as the cards need it."""

    generation_id: int
    #: Content key, prompt's last turn and answer.
    key: str
    prompt: str
    text: str
    cluster: str
    #: Votes that it is harmful, and votes in all.
    harm: int
    votes: int
    #: Axis -> the one group that the prompt speaks of.
    groups: dict[str, str]
    #: Its words, without those that name a group.
    words: tuple[str, ...]


class Stamp(NamedTuple):
    """What the records are at: while it is the same, nothing is reckoned anew."""

    records: str
    review: int
    generation: int
    prompt: int
    pairs: int


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(tr("Patterns"), tr("What people's flags have in common, and whom the data speak of."))
    section.strip(account, "patterns")
    with installation.store.reading() as session:
        at = stamp(session, installation.store)
    with st.spinner(tr("Reading the reviews…")):
        answers = read_answers(at, installation.store)
    with st.container(key="fb-card-words"):
        pattern_words.draw(at, answers, installation, account)
    with st.container(key="fb-card-groups"):
        pattern_groups.draw(at, installation, account)
    with st.container(key="fb-card-detector"):
        pattern_detector.draw(answers, installation, account)


def stamp(session: Session, store: Store) -> Stamp:
    """The newest row of each table that the page reads."""

    def newest(column: int) -> int:
        return session.exec(select(func.max(col(column)))).one() or 0

    return Stamp(store.shown_url, newest(Review.id), newest(Generation.id), newest(Prompt.id), newest(PreferenceSet.id))


@st.cache_resource(max_entries=2, show_spinner=False)
def read_answers(at: Stamp, _store: Store) -> list[Answer]:  # noqa: ARG001 # what it is kept under
    """Answers with a vote of people on harm, in id order; shared by all sessions, so nobody may change them."""
    return _answers(_store)


def _answers(store: Store) -> list[Answer]:
    with store.reading() as session:
        rows = judgements.reviewed(session, most=MOST)
        axes = mentions.tagged_axes(session.exec(select(Prompt.tags)).all())
    made = []
    for row in rows:
        ballots = [policy.ballot(vote) for vote in row.votes]
        harm, votes = ballots.count("harm"), ballots.count("harm") + ballots.count("fine")
        if votes:
            made.append(
                Answer(
                    row.generation_id,
                    f"{row.prompt_hash}:{row.text_hash}",
                    row.prompt,
                    row.answer,
                    row.split_key,
                    harm,
                    votes,
                    spoken_of(row.prompt, row.tags, lang=row.lang, extra=axes),
                    word_odds.words(mentions.mentions(row.answer, lang=row.lang, extra=axes).rest),
                )
            )
    return made
