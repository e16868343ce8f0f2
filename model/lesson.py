"""What a correction is given: pairs of a frozen set, swapped prompts and neutral lines, as token ids of the model it starts from.

The way from the records to the trainer, which knows neither. Reads the store and writes nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlmodel import Session, col, select

from flagback.model import counterparts, dialogue
from flagback.model.checkpoint import Loaded
from flagback.model.groups import Axis
from flagback.model.mentions import tagged_axes
from flagback.model.recipe import Pair, Recipe, SwappedPrompt
from flagback.storage import preferences
from flagback.storage.preferences import PairRow
from flagback.storage.records import PreferenceSet, Prompt, ReferenceText


class Lesson(NamedTuple):
    """All that is learnt from, and what tells when to stop."""

    pairs: list[Pair]
    #: Pairs that are not learnt from: they tell an early stop when it is time.
    aside: list[Pair]
    swaps: list[SwappedPrompt]
    replay: list[list[int]]


class Records(NamedTuple):
    """The same as it stands in the store."""

    rows: list[PairRow]
    replay: list[str]
    #: Groups to weigh pairs by or to swap; none where the recipe asks for neither.
    axes: Sequence[Axis]


def records_of(session: Session, set_ids: Sequence[int], recipe: Recipe) -> Records:
    """What a recipe reads of these sets' training shards; a row of several sets counts once. Raises NoPairs."""
    found = [row for set_id in set_ids for row in preferences.pairs_of(session, set_id, training=True)]
    rows = list({row.row_hash: row for row in found}.values())
    if not rows:
        frozen = session.get_one(PreferenceSet, set_ids[-1])
        raise preferences.NoPairs(
            f"Set {frozen.id} has {frozen.n_pairs} pairs, all on held-out prompts, and none to train on; have more "
            "prompts reviewed (about 7 of 10 are for training)."
        )
    replay = replay_texts(session)
    grouped = counterparts.wants_groups(recipe) or counterparts.wants_swaps(recipe)
    return Records(rows, replay, tagged_axes(session.exec(select(Prompt.tags)).all()) if grouped else [])


def replay_texts(session: Session) -> list[str]:
    """The neutral lines, in an order of their content."""
    texts = select(ReferenceText.text).where(ReferenceText.purpose == "replay").order_by(col(ReferenceText.text_hash))
    return list(session.exec(texts).all())


def lesson_of(given: Records, recipe: Recipe, loaded: Loaded) -> Lesson:
    """The records as token ids, and their pairs apart by whether they teach or tell when to stop."""
    pairs = [training_pair(row, loaded) for row in given.rows]
    if counterparts.wants_groups(recipe):
        named = [counterparts.group_of(row, given.axes) for row in given.rows]
        pairs = [replace(pair, group=group) for pair, group in zip(pairs, named, strict=True)]
    kept = [row.shard in recipe.shards_aside for row in given.rows]
    if all(kept):
        raise preferences.NoPairs(
            f"All {len(kept)} pairs for training are of the {len(recipe.shards_aside)} shards kept aside for the early stop, and "
            "none is left to learn from; lower stop_shards, set stop_every to 0, or have more prompts reviewed."
        )
    teaching = [row for row, out in zip(given.rows, kept, strict=True) if not out]
    return Lesson(
        [pair for pair, out in zip(pairs, kept, strict=True) if not out],
        [pair for pair, out in zip(pairs, kept, strict=True) if out],
        counterparts.swapped_prompts(teaching, loaded, given.axes) if counterparts.wants_swaps(recipe) else [],
        [dialogue.answer_ids(loaded.tokenizer, text, "plain") for text in given.replay],
    )


def training_pair(row: PairRow, loaded: Loaded) -> Pair:
    """A frozen pair as token ids: the sampled ids where a person judged them, else the text at the same boundary."""
    return Pair(
        key=row.row_hash,
        prompt_ids=dialogue.prompt_ids(loaded.tokenizer, row.messages, loaded.template),
        chosen_ids=answer_ids(row.chosen_ids, row.chosen_text, loaded),
        rejected_ids=answer_ids(row.rejected_ids, row.rejected_text, loaded),
        weight=row.weight,
        soft_label=row.soft_label,
    )


def answer_ids(stored: list[int] | None, text: str, loaded: Loaded) -> list[int]:
    """The ids that were sampled, or those of given text with its end token."""
    return stored if stored is not None else dialogue.answer_ids(loaded.tokenizer, text, loaded.template)
