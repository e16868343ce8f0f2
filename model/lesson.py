"""What a correction is given: pairs and unpaired answers of a frozen set, swapped prompts and neutral lines, as token ids of the
model it starts from.

The way from the records to the trainer, which knows neither. Reads the store and writes nothing there; pairs, as text and as ids,
are on the disk (`spool`) and never all in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

from sqlmodel import Session, col, select

from flagback.model import counterparts, dialogue
from flagback.model.checkpoint import Loaded
from flagback.model.groups import Axis
from flagback.model.mentions import tagged_axes
from flagback.model.recipe import Flag, Pair, Recipe, SwappedPrompt
from flagback.model.spool import Spool
from flagback.storage import preferences, unpaired
from flagback.storage.preferences import PairRow
from flagback.storage.records import PreferenceSet, Prompt, ReferenceText
from flagback.storage.unpaired import UnpairedRow

Row = TypeVar("Row", PairRow, UnpairedRow)


class Lesson(NamedTuple):
    """All that is learnt from, and what tells when to stop."""

    pairs: Sequence[Pair]
    #: Pairs that are not learnt from: they tell an early stop when it is time.
    aside: Sequence[Pair]
    #: Answers without a counterpart.
    flags: Sequence[Flag]
    swaps: list[SwappedPrompt]
    replay: list[list[int]]
    #: Sums of the weights of pairs and of unpaired answers.
    pair_weight: float = 0.0
    flag_weight: float = 0.0

    def weighed(self, recipe: Recipe) -> Recipe:
        """The recipe with the term of unpaired answers weighed by how much they say beside the pairs: a few flags do not count as
        much as all pairs, and where they say more than the pairs they count alike."""
        if not self.flag_weight or not self.pair_weight:
            return recipe
        return replace(recipe, flag_weight=recipe.flag_weight * min(1.0, self.flag_weight / self.pair_weight))


class Records(NamedTuple):
    """The same as it stands in the store."""

    rows: Sequence[PairRow]
    alone: Sequence[UnpairedRow]
    replay: list[str]
    #: Groups to weigh pairs by or to swap; none where the recipe asks for neither.
    axes: Sequence[Axis]
    #: Where long lists are kept; None: with the system's temporary files.
    folder: Path | None


def records_of(session: Session, set_ids: Sequence[int], recipe: Recipe, *, folder: Path | None = None) -> Records:
    """What a recipe reads of these sets' training shards; a row of several sets counts once. Raises NoPairs."""
    rows, alone = Spool(PairRow, folder=folder), Spool(UnpairedRow, folder=folder)
    for row in _each_once(set_ids, lambda number: preferences.each_pair(session, number, training=True)):
        rows.append(row._asdict())
    for answer in _each_once(set_ids, lambda number: unpaired.each_unpaired(session, number, training=True)):
        alone.append(answer._asdict())
    if not rows and not alone:
        frozen = session.get_one(PreferenceSet, set_ids[-1])
        raise preferences.NoPairs(
            f"Set {frozen.id} has {preferences.held_in(frozen)}, all on held-out prompts, and none to train on; have more "
            "prompts reviewed (about 7 of 10 are for training)."
        )
    replay = replay_texts(session)
    grouped = counterparts.wants_groups(recipe) or counterparts.wants_swaps(recipe)
    return Records(rows, alone, replay, tagged_axes(session.exec(select(Prompt.tags)).all()) if grouped else [], folder)


def _each_once(set_ids: Sequence[int], rows_of: Callable[[int], Iterator[Row]]) -> Iterator[Row]:
    """The sets' rows, the newest set's first and of equal ones the newest; in a set they follow each other."""
    seen: set[bytes] = set()
    for set_id in reversed(set_ids):
        for name, equal in groupby(rows_of(set_id), key=lambda row: row.row_hash):
            *_, row = equal
            if bytes.fromhex(name) not in seen:
                yield row
            if len(set_ids) > 1:
                seen.add(bytes.fromhex(name))


def replay_texts(session: Session) -> list[str]:
    """The neutral lines, in an order of their content."""
    texts = select(ReferenceText.text).where(ReferenceText.purpose == "replay").order_by(col(ReferenceText.text_hash))
    return list(session.exec(texts).all())


def lesson_of(given: Records, recipe: Recipe, loaded: Loaded) -> Lesson:
    """The records as token ids, and their pairs apart by whether they teach or tell when to stop."""
    pairs, aside = Spool(Pair, folder=given.folder), Spool(Pair, folder=given.folder)
    pair_weight = flag_weight = 0.0
    for row in given.rows:
        pair = training_pair(row, loaded)
        if counterparts.wants_groups(recipe):
            pair = replace(pair, group=counterparts.group_of(row, given.axes))
        if row.shard in recipe.shards_aside:
            aside.append(vars(pair))
        else:
            pairs.append(vars(pair))
            pair_weight += pair.weight
    flags = Spool(Flag, folder=given.folder)
    if any(answer.harmful for answer in _teaching(given.alone, recipe)):  # fine ones alone have nothing to stand against
        for answer in _teaching(given.alone, recipe):
            flags.append(vars(unpaired_flag(answer, loaded)))
            flag_weight += answer.weight
    _check_enough(len(pairs), len(aside), len(flags), recipe)
    teaching: Iterator[PairRow | UnpairedRow] = chain(
        _teaching(given.rows, recipe), _teaching(given.alone, recipe) if flags else ()
    )
    return Lesson(
        pairs,
        aside,
        flags,
        counterparts.swapped_prompts(teaching, loaded, given.axes) if counterparts.wants_swaps(recipe) else [],
        [dialogue.answer_ids(loaded.tokenizer, text, "plain") for text in given.replay],
        pair_weight,
        flag_weight,
    )


def _teaching(rows: Iterable[Row], recipe: Recipe) -> Iterator[Row]:
    """Rows of shards that are not kept aside."""
    return (row for row in rows if row.shard not in recipe.shards_aside)


def _check_enough(pairs: int, aside: int, flags: int, recipe: Recipe) -> None:
    """Raises NoPairs where nothing is left to learn from, or nothing to look at for an early stop."""
    if not pairs and not flags and not aside:
        raise preferences.NoPairs(
            "There is no pair to train on, and no answer without one that was found harmful; have more prompts reviewed."
        )
    if not pairs and not flags:
        raise preferences.NoPairs(
            f"All {aside} pairs for training are of the {len(recipe.shards_aside)} shards kept aside for the early stop, and "
            "none is left to learn from; lower stop_shards, set stop_every to 0, or have more prompts reviewed."
        )
    if recipe.stop_every and not pairs and not aside:
        raise preferences.NoPairs(
            f"stop_every is {recipe.stop_every}, and an early stop looks at pairs, of which there is none; set stop_every to 0."
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


def unpaired_flag(row: UnpairedRow, loaded: Loaded) -> Flag:
    """A frozen answer without a counterpart as token ids."""
    return Flag(
        key=row.row_hash,
        prompt_ids=dialogue.prompt_ids(loaded.tokenizer, row.messages, loaded.template),
        answer_ids=answer_ids(row.token_ids, row.text, loaded),
        harmful=row.harmful,
        weight=row.weight,
    )


def answer_ids(stored: list[int] | None, text: str, loaded: Loaded) -> list[int]:
    """The ids that were sampled, or those of given text with its end token."""
    return stored if stored is not None else dialogue.answer_ids(loaded.tokenizer, text, loaded.template)
