"""Which pairs and replay lines go into which optimiser step, and into which part of it.

Decided by contents and seed alone, before anything is computed: the order of the given lists changes nothing. Knows no torch.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, TypeVar

from flagback.model.recipe import BadPair, Dropped, NoPairs, Pair, Recipe

#: Limits of what is computed at once: tokens of all rows, and float32 logits (256 MB of them).
TOKENS_AT_ONCE = 16_384
LOGITS_AT_ONCE = 2**26

Line = tuple[int, ...]
T = TypeVar("T")


class Part(NamedTuple):
    """What is computed at once: a whole step, or a part of one too large for that."""

    #: 0.. over the run; seeds the dropout.
    number: int
    #: Places in Plan.pairs and Plan.replay.
    pairs: tuple[int, ...]
    replay: tuple[int, ...]
    #: Sums over the whole step, so that the parts' losses add up to the step's.
    total_weight: float
    total_replay_tokens: int


@dataclass(frozen=True)
class Plan:
    """All steps of a run."""

    #: In content order, only those that are trained on.
    pairs: tuple[Pair, ...]
    replay: tuple[Line, ...]
    #: Step by step, `parts_per_step` of them each.
    parts: tuple[Part, ...]
    parts_per_step: int
    pairs_per_step: int
    dropped: tuple[Dropped, ...]
    #: sha256 of everything that decides the result on a given machine, the model excepted.
    fingerprint: str


class Limits(NamedTuple):
    """What the model can hold."""

    vocabulary: int
    #: Longest row; None where the model has no limit of its own.
    context: int | None


def make_plan(pairs: Sequence[Pair], replay: Sequence[Sequence[int]], *, recipe: Recipe, seed: int, limits: Limits) -> Plan:
    """Lays out the whole run. Raises NoPairs where none is left and BadPair for values that are not usable."""
    longest = min(recipe.max_tokens, limits.context or recipe.max_tokens)
    kept, dropped = _usable_pairs(pairs, longest, limits.vocabulary)
    if not kept:
        reasons = "; ".join(sorted({d.reason for d in dropped})) or "the list is empty"
        raise NoPairs(
            f"{len(pairs)} pairs were given and none can be trained on ({reasons}); have more prompts reviewed, "
            "or import preferences with 'flagback import preferences'."
        )
    lines: list[Line] = []
    if recipe.replay_weight * recipe.replay_per_step > 0:
        lines, dropped_lines = _usable_lines(replay, longest, limits.vocabulary)
        dropped += dropped_lines
        if not lines and recipe.preference_weight == 0:
            raise NoPairs(
                "A run on replay alone was asked for (preference_weight 0), and there is no replay line; add neutral "
                "texts, or raise preference_weight."
            )
    per_step = min(recipe.pairs_per_step, len(kept))
    lines_per_step = min(recipe.replay_per_step, len(lines))
    pair_stream = _stream([_digest(p) for p in kept], per_step * recipe.steps, f"{seed}:pair")
    line_stream = _stream([_digest(line) for line in lines], lines_per_step * recipe.steps, f"{seed}:replay")
    steps = [
        (pair_stream[s * per_step : (s + 1) * per_step], line_stream[s * lines_per_step : (s + 1) * lines_per_step])
        for s in range(recipe.steps)
    ]
    parts, parts_per_step = _parts(steps, kept, lines, limits.vocabulary)
    return Plan(
        tuple(kept), tuple(lines), tuple(parts), parts_per_step, per_step, tuple(dropped), _fingerprint(kept, lines, recipe, seed)
    )


def _parts(
    steps: list[tuple[list[int], list[int]]], kept: list[Pair], lines: list[Line], vocabulary: int
) -> tuple[list[Part], int]:
    """Every step cut into the same number of parts, as many as the dearest step needs."""
    pair_cost = [_cost(_pair_rows(p), vocabulary) for p in kept]
    line_cost = [_cost([(1, len(line) - 1)], vocabulary) for line in lines]
    count = max(math.ceil(sum(pair_cost[i] for i in pairs) + sum(line_cost[i] for i in some)) for pairs, some in steps)
    count = min(count, len(steps[0][0]))
    parts: list[Part] = []
    for step_pairs, step_lines in steps:
        weight = sum(kept[i].weight for i in step_pairs)
        tokens = sum(len(lines[i]) - 1 for i in step_lines)
        for pairs, some in zip(_spread(step_pairs, pair_cost, count), _spread(step_lines, line_cost, count), strict=True):
            parts.append(Part(len(parts), pairs, some, weight, tokens))
    return parts, count


def _usable_pairs(pairs: Sequence[Pair], longest: int, vocabulary: int) -> tuple[list[Pair], list[Dropped]]:
    """The pairs that can be trained on, in content order, and the others with their reasons."""
    kept: list[tuple[str, str, Pair]] = []
    dropped: list[Dropped] = []
    for pair in pairs:
        _check(pair, vocabulary)
        length = len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids))
        if not pair.prompt_ids:
            reason = "the prompt has no token"
        elif not pair.chosen_ids or not pair.rejected_ids:
            reason = "an answer has no token"
        elif list(pair.chosen_ids) == list(pair.rejected_ids):
            reason = "chosen and rejected are the same tokens"
        elif pair.weight == 0:
            reason = "its weight is 0"
        elif length > longest:
            reason = f"prompt and answer are longer than {longest} tokens"
        else:
            kept.append((pair.key, _digest(pair), pair))
            continue
        dropped.append(Dropped(pair.key, reason))
    return [pair for _, _, pair in sorted(kept, key=lambda row: row[:2])], sorted(dropped)


def _check(pair: Pair, vocabulary: int) -> None:
    if not (math.isfinite(pair.weight) and pair.weight >= 0):
        raise BadPair(f"Pair {pair.key} has weight {pair.weight!r}; a finite number of at least 0 was expected.")
    if not 0 <= pair.soft_label <= 1:
        raise BadPair(f"Pair {pair.key} has soft label {pair.soft_label!r}; a probability from 0 to 1 was expected.")
    for part in ("prompt_ids", "chosen_ids", "rejected_ids"):
        for token in getattr(pair, part):
            if not 0 <= token < vocabulary:
                raise BadPair(
                    f"Pair {pair.key} has token {token} in {part}; the model knows 0 to {vocabulary - 1}. "
                    "Was it tokenized for another model?"
                )


def _usable_lines(replay: Sequence[Sequence[int]], longest: int, vocabulary: int) -> tuple[list[Line], list[Dropped]]:
    kept: list[Line] = []
    dropped: list[Dropped] = []
    for number, line in enumerate(sorted({tuple(line) for line in replay}, key=_digest)):
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


def _stream(digests: Sequence[str], count: int, salt: str) -> list[int]:
    """`count` places: every pass visits each place once, in an order of its own that follows contents and salt."""
    places: list[int] = []
    passed = 0
    while digests and len(places) < count:
        drawn = [hashlib.sha256(f"{salt}:{passed}:{digest}".encode()).digest() for digest in digests]
        places += sorted(range(len(digests)), key=lambda i: (drawn[i], i))
        passed += 1
    return places[:count]


def _pair_rows(pair: Pair) -> list[tuple[int, int]]:
    return [(len(pair.prompt_ids), len(pair.chosen_ids)), (len(pair.prompt_ids), len(pair.rejected_ids))]


def _cost(rows: list[tuple[int, int]], vocabulary: int) -> float:
    """Share of what may be computed at once, for rows of (prompt, answer) lengths laid out one by one."""
    return max(sum(p + a for p, a in rows) / TOKENS_AT_ONCE, sum(a for _, a in rows) * vocabulary / LOGITS_AT_ONCE)


def _spread(places: Sequence[int], cost: Sequence[float], bins: int) -> list[tuple[int, ...]]:
    """Places in `bins` parts of about equal cost: the dearest first, each into the cheapest part so far; parts in content order."""
    parts: list[list[int]] = [[] for _ in range(bins)]
    load = [0.0] * bins
    for place in sorted(places, key=lambda i: (-cost[i], i)):
        cheapest = min(range(bins), key=lambda b: (load[b], len(parts[b]), b))
        parts[cheapest].append(place)
        load[cheapest] += cost[place]
    return [tuple(sorted(part)) for part in parts]


def packed(items: Sequence[T], cost: Callable[[T], float]) -> list[list[T]]:
    """Items cut, in their order, into groups whose costs add up to at most 1; a dearer item gets a group of its own."""
    groups: list[list[T]] = []
    load = math.inf
    for item in items:
        load += cost(item)
        if load > 1:
            groups.append([])
            load = cost(item)
        groups[-1].append(item)
    return groups


def _digest(content: Pair | Line) -> str:
    """sha256 of a pair's or line's whole content."""
    values = (
        [
            content.key,
            list(content.prompt_ids),
            list(content.chosen_ids),
            list(content.rejected_ids),
            content.weight,
            content.soft_label,
        ]
        if isinstance(content, Pair)
        else list(content)
    )
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _fingerprint(pairs: Sequence[Pair], lines: Sequence[Line], recipe: Recipe, seed: int) -> str:
    settings = {name: value for name, value in asdict(recipe).items() if name != "checkpoint_every"}
    content = [settings, seed, [_digest(p) for p in pairs], [_digest(line) for line in lines]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def seed_of(*parts: object) -> int:
    """A 63-bit seed that follows its parts."""
    return int.from_bytes(hashlib.sha256(":".join(map(str, parts)).encode()).digest()[:8], "big") >> 1
