"""Suites out of this installation's own records: flagged answers with groups swapped, reviewers' flags, an evaluation's figures.

Reads the store and changes nothing in it. What is made of the rows is in `suites/counterfactual.py`, `suites/bold.py` and
`suites/own.py`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlmodel import Session, col, select

from flagback.model import groups, policy
from flagback.model.both_models import SWAPS
from flagback.model.intervals import MIN_CLUSTERS
from flagback.model.mentions import TAGGED_AXES
from flagback.storage import reviews
from flagback.storage.prompts import HELD_OUT_SHARDS
from flagback.storage.records import Evaluation, Generation, Item, Prompt, Review


class TooFewFlagged(Exception):
    """Too few flagged answers on held-out prompts to build a suite from."""


class NotYetMeasured(Exception):
    """No evaluation of a version has been finished."""


class Judged(NamedTuple):
    """One text to one prompt, with everything that was said about it."""

    prompt: Prompt
    #: The first that was shown.
    generation: Generation
    reviews: list[Review]


def counterfactual_rows(session: Session, *, simulated: bool = False) -> list[dict[str, Any]]:
    """Rows for `counterfactual.items`, in an order that hangs on texts only. Raises TooFewFlagged.

    Every answer that more voters flagged than not, on a held-out prompt, by any version; a text that was judged more than once
    with all its votes. The axes are the lexicon's and, as in an evaluation, those of the prompts' own tags.
    """
    judged = _judged(session, simulated=simulated)
    flagged = [(one, ballot) for one in judged if (ballot := policy.judge(one.reviews)).outcome == "harmful"]
    axes = groups.axes_from_tags(list(session.exec(select(Prompt.tags)).all()), families=TAGGED_AXES)
    rows = [row for one, ballot in flagged for row in _rows(one, ballot, axes)]
    families = {row["split_key"] for row in rows}
    if len(families) < MIN_CLUSTERS:
        usable = len({(row["key"].partition(":")[0]) for row in rows})
        raise TooFewFlagged(
            f"Of {len(judged)} judged answers to held-out prompts {len(flagged)} are flagged by most who voted, {usable} of them "
            f"speak of a group that can be swapped, from {len(families)} families of prompts; expected {MIN_CLUSTERS} at least. "
            "Let more answers to held-out prompts be reviewed: 'flagback sample --side held_out', with prompts about people."
        )
    return sorted(rows, key=lambda row: str(row["key"]))


def _judged(session: Session, *, simulated: bool) -> list[Judged]:
    """Every text to a held-out prompt that somebody reviewed, by prompt and text."""
    votes: dict[int, list[Review]] = {}
    for review in reviews.effective(session, simulated=simulated):
        votes.setdefault(review.item_id, []).append(review)
    rows = session.exec(
        select(Item.id, Generation, Prompt)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(Item.kind == "single", col(Prompt.shard).in_(HELD_OUT_SHARDS))
        .order_by(col(Item.id))
    ).all()
    found: dict[tuple[str, str], Judged] = {}
    for item_id, generation, prompt in rows:
        if item_id in votes:
            known = found.setdefault((prompt.content_hash, generation.text_hash), Judged(prompt, generation, []))
            known.reviews.extend(votes[item_id])
    return list(found.values())


def _rows(one: Judged, ballot: policy.Judgement, axes: Sequence[groups.Axis]) -> list[dict[str, Any]]:
    by_axis: dict[str, list[groups.Variant]] = {}
    prompt, generation = one.prompt, one.generation
    if not generation.text.strip():
        return []
    for variant in groups.variants(prompt.messages, generation.text, lang=prompt.lang, extra=axes, limit=SWAPS):
        by_axis.setdefault(variant.axis, []).append(variant)
    ballots = [policy.ballot(review) for review in one.reviews]
    rows = []
    for axis, variants in by_axis.items():
        # A text that names two groups of an axis counts as about the first by name, so that an item has one group of its own.
        source = min(variant.source for variant in variants)
        rows.append(
            {
                "key": f"{prompt.content_hash[:16]}-{generation.text_hash[:16]}:{axis}",
                "split_key": prompt.split_key,
                "axis": axis,
                "source": source,
                "lang": prompt.lang,
                "messages": prompt.messages,
                "answer": generation.text,
                "ended": generation.finish_reason != "length",
                "ids": generation.token_ids,
                "flags": ballots.count("harm"),
                "votes": ballot.votes,
                "swaps": [
                    {"group": variant.target, "messages": variant.messages, "answer": variant.answer}
                    for variant in variants
                    if variant.source == source
                ],
            }
        )
    return rows


def flag_shares(session: Session, version_id: int, *, simulated: bool = False) -> dict[str, float]:
    """What a prompt of one message asks, blanks at its end dropped -> mean share of votes that flag a version's answers to it.

    Answers on which nobody voted say nothing.
    """
    votes: dict[int, list[Review]] = {}
    for review in reviews.effective(session, simulated=simulated):
        votes.setdefault(review.item_id, []).append(review)
    rows = session.exec(
        select(Item.id, Prompt)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(Item.kind == "single", Generation.version_id == version_id)
        .order_by(col(Item.id))
    ).all()
    shares: dict[str, list[float]] = {}
    for item_id, prompt in rows:
        ballots = [policy.ballot(review) for review in votes.get(item_id, [])]
        flags, fine = ballots.count("harm"), ballots.count("fine")
        if flags + fine and len(prompt.messages) == 1:
            shares.setdefault(prompt.messages[0]["content"].rstrip(), []).append(flags / (flags + fine))
    return {text: sum(found) / len(found) for text, found in shares.items()}


def measured_figures(
    session: Session, version_id: int, metrics: Sequence[str], *, simulated: bool = False
) -> tuple[int, list[dict[str, Any]]]:
    """The newest finished evaluation of a version as candidate: its number, and its figures whose name begins with one of these.

    Raises NotYetMeasured.
    """
    evaluation = session.exec(
        select(Evaluation)
        .where(Evaluation.candidate_id == version_id, Evaluation.state == "succeeded", Evaluation.simulated == simulated)
        .order_by(col(Evaluation.id).desc())
        .limit(1)
    ).first()
    if evaluation is None:
        raise NotYetMeasured(
            f"Version {version_id} has no finished evaluation; run 'flagback evaluate {version_id}' (for a candidate), have its "
            "blind samples reviewed, and evaluate it once more. A first model is measured as the base of its corrections."
        )
    figures = [dict(figure) for name, figure in evaluation.figures.items() if name.startswith(tuple(metrics))]
    return evaluation.id, figures
