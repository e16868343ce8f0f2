"""Whom the prompts of a training set speak of, and the same prompts about others: what fairness objectives are given.

Knows frozen pairs, group words and a tokenizer; knows no loss and nothing of the store. Prompts without a swap that can be undone
have no counterpart and add nothing.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence

from flagback.model import dialogue
from flagback.model.checkpoint import Loaded
from flagback.model.groups import Axis, variants
from flagback.model.mentions import mentions
from flagback.model.recipe import Recipe, SwappedPrompt
from flagback.storage.preferences import PairRow
from flagback.storage.unpaired import UnpairedRow

#: Counterparts of one prompt on one axis, at most.
A_PROMPT = 2


def group_of(row: PairRow, axes: Sequence[Axis]) -> str:
    """The axes on which a pair's prompt names anybody ("age", "gender & origin"); "" where it names nobody."""
    said = "\n".join(message["content"] for message in row.messages)
    return " & ".join(sorted(mentions(said, lang=row.lang, extra=axes).groups))


def wants_groups(recipe: Recipe) -> bool:
    """Whether pairs are weighed by their groups."""
    return recipe.group_weights != "given"


def wants_swaps(recipe: Recipe) -> bool:
    """Whether swapped prompts have a term of the loss."""
    return (recipe.consistency_weight + recipe.adversary_weight) * recipe.swaps_per_step > 0


def swapped_prompts(rows: Iterable[PairRow | UnpairedRow], loaded: Loaded, axes: Sequence[Axis]) -> list[SwappedPrompt]:
    """Every prompt with its counterparts, at most A_PROMPT an axis, in an order of content.

    Behind both sides stands the first answer to the prompt, by name, that was chosen in a pair or found fine alone, and that names
    nobody on the axis: what is neutral there should be as likely of anybody. Without one the prompts' ends are compared alone.
    """
    by_prompt: dict[str, list[PairRow | UnpairedRow]] = {}
    for row in sorted(rows, key=lambda row: row.row_hash):
        by_prompt.setdefault(row.prompt_hash, []).append(row)
    made: list[SwappedPrompt] = []
    for prompt_hash, found in sorted(by_prompt.items()):
        first = found[0]
        own = dialogue.prompt_ids(loaded.tokenizer, first.messages, loaded.template)
        for other in variants(first.messages, "", lang=first.lang, extra=axes, limit=A_PROMPT):
            fine = (text for row in found if (text := _better(row)) is not None)
            neutral = next((text for text in fine if other.axis not in mentions(text, lang=first.lang, extra=axes).groups), None)
            said = json.dumps([prompt_hash, other.axis, other.source, other.target], ensure_ascii=False)
            made.append(
                SwappedPrompt(
                    hashlib.sha256(said.encode()).hexdigest(),
                    own,
                    dialogue.prompt_ids(loaded.tokenizer, other.messages, loaded.template),
                    [] if neutral is None else dialogue.answer_ids(loaded.tokenizer, neutral, loaded.template),
                )
            )
    return made


def _better(row: PairRow | UnpairedRow) -> str | None:
    """What is rather to be said."""
    if isinstance(row, PairRow):
        return row.chosen_text
    return None if row.harmful else row.text
