"""What a run trains on: examples that can be trained on, in content order, and why each of the others cannot.

The order of the given lists changes nothing. Examples stay where they were given, in memory or on
the disk, and are looked up there. Knows no torch, and nothing of steps.
"""

import hashlib
import json
import math
from array import array
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from flagback.model.recipe import BadPair, Dropped, Flag, NoPairs, Pair, Ranking, Recipe, SwappedPrompt
from flagback.model.spool import View

Line = tuple[int, ...]
Example = TypeVar("Example", Pair, Flag, Ranking)


class Limits(NamedTuple):
    """What the model can hold."""

    vocabulary: int
    #: Longest row; None where the model has no limit of its own.
    context: int | None

    def longest(self, recipe: Recipe) -> int:
        """Most tokens of a row, by the model and by the recipe."""
        return min(recipe.max_tokens, self.context or recipe.max_tokens)


class Contents(NamedTuple):
    """What a run trains on, in content order."""

    pairs: Sequence[Pair]
    lines: list[Line]
    flags: Sequence[Flag]
    rankings: Sequence[Ranking]
    swaps: list[SwappedPrompt]


def gathered(
    pairs: Sequence[Pair],
    replay: Sequence[Sequence[int]],
    *,
    recipe: Recipe,
    limits: Limits,
    flags: Sequence[Flag] = (),
    rankings: Sequence[Ranking] = (),
    swaps: Sequence[SwappedPrompt] = (),
) -> tuple[Contents, list[Dropped]]:
    """What the recipe reads of all that is given. Raises NoPairs where nothing is left, and BadPair for unusable values."""
    fits = (limits.longest(recipe), limits.vocabulary)
    kept, dropped = usable(pairs, *fits)
    flagged = recipe.flag_weight * recipe.flags_per_step > 0
    kept_flags, dropped_flags = usable(flags if flagged else (), *fits)
    ranked = recipe.ranking_weight * recipe.rankings_per_step > 0
    kept_rankings, dropped_rankings = usable(rankings if ranked else (), *fits)
    dropped += dropped_flags + dropped_rankings
    if not kept and not kept_flags and not kept_rankings:
        reasons = "; ".join(sorted({d.reason for d in dropped})) or "the list is empty"
        alone = ""
        if flags:
            alone = f" and {len(flags)} answers without one"
            reasons = reasons if flagged else "flag_weight or flags_per_step is 0"
        raise NoPairs(
            f"{len(pairs)} pairs{alone} were given and none can be trained on ({reasons}); have more prompts reviewed, "
            "or import preferences with 'flagback import preferences'."
        )
    lines: list[Line] = []
    if recipe.replay_weight * recipe.replay_per_step > 0:
        lines, dropped_lines = usable_lines(replay, *fits)
        dropped += dropped_lines
        if not lines and not kept_flags and not kept_rankings and recipe.preference_weight == 0:
            raise NoPairs(
                "A run on replay alone was asked for (preference_weight 0), and there is no replay line; add neutral "
                "texts, or raise preference_weight."
            )
    swapped = (recipe.consistency_weight + recipe.adversary_weight) * recipe.swaps_per_step > 0
    kept_swaps, dropped_swaps = usable_swaps(swaps if swapped else (), *fits)
    return Contents(kept, lines, kept_flags, kept_rankings, kept_swaps), dropped + dropped_swaps


def answers_of(example: Pair | Flag | Ranking) -> list[Sequence[int]]:
    """An example's answers under its prompt: chosen and rejected; the one that was flagged; the best first."""
    if isinstance(example, Pair):
        return [example.chosen_ids, example.rejected_ids]
    return [example.answer_ids] if isinstance(example, Flag) else list(example.answers_ids)


def rows_of(example: Pair | Flag | Ranking) -> list[tuple[int, int]]:
    """(prompt tokens, answer tokens) of every answer."""
    return [(len(example.prompt_ids), len(answer)) for answer in answers_of(example)]


def swap_rows(swap: SwappedPrompt) -> list[tuple[int, int]]:
    """(prompt tokens, scored positions) of both sides."""
    behind = max(len(swap.continuation_ids), 1)
    return [(len(swap.prompt_ids), behind), (len(swap.swapped_ids), behind)]


def usable(examples: Sequence[Example], longest: int, vocabulary: int) -> tuple[Sequence[Example], list[Dropped]]:
    """The examples that can be trained on, in content order, and the others with their reasons."""
    kept: list[tuple[str, str, int]] = []
    dropped: list[Dropped] = []
    for place, example in enumerate(examples):
        _check(example, vocabulary)
        reason = _unusable(example, longest)
        if reason is None:
            kept.append((example.key, digest(example), place))
        else:
            dropped.append(Dropped(example.key, reason))
    places = array("q", (place for _, _, place in sorted(kept)))
    held = examples if isinstance(examples, View) else tuple(examples)  # whatever becomes of the list
    return View(len(places), lambda i: held[places[i]]), sorted(dropped)


def usable_lines(replay: Sequence[Sequence[int]], longest: int, vocabulary: int) -> tuple[list[Line], list[Dropped]]:
    kept: list[Line] = []
    dropped: list[Dropped] = []
    for number, line in enumerate(sorted({tuple(line) for line in replay}, key=digest)):
        if len(line) < 2:
            dropped.append(Dropped(f"replay {number}", "it has fewer than two tokens"))
        elif len(line) > longest:
            dropped.append(Dropped(f"replay {number}", f"it is longer than {longest} tokens"))
        elif not all(0 <= token < vocabulary for token in line):
            raise BadPair(
                f"Replay line {number} has a token outside the model's 0 to {vocabulary - 1}; was it tokenized for another model?"
            )
        else:
            kept.append(line)
    return kept, dropped


def usable_swaps(swaps: Sequence[SwappedPrompt], longest: int, vocabulary: int) -> tuple[list[SwappedPrompt], list[Dropped]]:
    kept: list[SwappedPrompt] = []
    dropped: list[Dropped] = []
    for _, found in sorted({digest(swap): swap for swap in swaps}.items()):
        for token in (*found.prompt_ids, *found.swapped_ids, *found.continuation_ids):
            if not 0 <= token < vocabulary:
                raise BadPair(
                    f"SwappedPrompt {found.key} has token {token}; the model knows 0 to {vocabulary - 1}. "
                    "Was it tokenized for another model?"
                )
        if not (found.prompt_ids and found.swapped_ids):
            dropped.append(Dropped(found.key, "the prompt has no token"))
        elif list(found.prompt_ids) == list(found.swapped_ids):
            dropped.append(Dropped(found.key, "the swapped prompt is the same tokens"))
        elif max(prompt + answer for prompt, answer in swap_rows(found)) > longest:
            dropped.append(Dropped(found.key, f"prompt and answer are longer than {longest} tokens"))
        else:
            kept.append(found)
    return kept, sorted(dropped)


def _unusable(example: Pair | Flag | Ranking, longest: int) -> str | None:
    """Why an example cannot be trained on; None where it can."""
    answers = [list(answer) for answer in answers_of(example)]
    if not example.prompt_ids:
        return "the prompt has no token"
    if not all(answers):
        return "an answer has no token"
    if isinstance(example, Ranking) and len(answers) < 2:
        return "there is only one answer, and nothing to rank"
    if any(answer in answers[:place] for place, answer in enumerate(answers)):
        return "chosen and rejected are the same tokens" if isinstance(example, Pair) else "two answers are the same tokens"
    if example.weight == 0:
        return "its weight is 0"
    if max(prompt + answer for prompt, answer in rows_of(example)) > longest:
        return f"prompt and answer are longer than {longest} tokens"
    return None


def _check(example: Pair | Flag | Ranking, vocabulary: int) -> None:
    name = f"{type(example).__name__} {example.key}"
    if not (math.isfinite(example.weight) and example.weight >= 0):
        raise BadPair(f"{name} has weight {example.weight!r}; a finite number of at least 0 was expected.")
    if isinstance(example, Pair) and not 0 <= example.soft_label <= 1:
        raise BadPair(f"{name} has soft label {example.soft_label!r}; a probability from 0 to 1 was expected.")
    for part, ids in _token_ids(example).items():
        for token in ids:
            if not 0 <= token < vocabulary:
                raise BadPair(
                    f"{name} has token {token} in {part}; the model knows 0 to {vocabulary - 1}. "
                    "Was it tokenized for another model?"
                )


def _token_ids(example: Pair | Flag | Ranking) -> dict[str, Sequence[int]]:
    """All ids by the name of the field they are in."""
    if isinstance(example, Pair):
        return {"prompt_ids": example.prompt_ids, "chosen_ids": example.chosen_ids, "rejected_ids": example.rejected_ids}
    if isinstance(example, Flag):
        return {"prompt_ids": example.prompt_ids, "answer_ids": example.answer_ids}
    return {"prompt_ids": example.prompt_ids} | {
        f"answers_ids[{place}]": answer for place, answer in enumerate(example.answers_ids)
    }


def digest(content: Pair | Flag | Ranking | SwappedPrompt | Line) -> str:
    """sha256 of an example's or line's whole content."""
    values: list[object]
    if isinstance(content, Pair):
        ids = [list(content.prompt_ids), list(content.chosen_ids), list(content.rejected_ids)]
        values = [content.key, *ids, content.weight, content.soft_label]
    elif isinstance(content, Flag):
        values = [content.key, list(content.prompt_ids), list(content.answer_ids), content.harmful, content.weight]
    elif isinstance(content, Ranking):
        values = [content.key, list(content.prompt_ids), [list(answer) for answer in content.answers_ids], content.weight]
    elif isinstance(content, SwappedPrompt):
        values = [content.key, list(content.prompt_ids), list(content.swapped_ids), list(content.continuation_ids)]
    else:
        values = list(content)
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
