"""Which pairs, flags, rankings and replay lines go into which optimiser step, and into which part of it.

Decided by contents and seed alone, before anything is computed: the order of the given lists changes nothing. Knows no torch.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import chain
from typing import NamedTuple, TypeVar

from flagback.model import group_weights
from flagback.model.recipe import BadPair, Dropped, Flag, NoPairs, Pair, Ranking, Recipe, SwappedPrompt

#: Limits of what is computed at once: tokens of all rows, and float32 logits (256 MB of them).
TOKENS_AT_ONCE = 16_384
LOGITS_AT_ONCE = 2**26

Line = tuple[int, ...]
T = TypeVar("T")
Example = TypeVar("Example", Pair, Flag, Ranking)
#: Settings that came after the first runs: they count in a fingerprint only where they are not left at their default, so that a
#: run begun before them goes on.
LATER = (
    "loss",
    "label_noise",
    "anchor_weight",
    "flag_weight",
    "flags_per_step",
    "flag_point",
    "ranking_weight",
    "rankings_per_step",
    "sharing",
    "group_weights",
    "group_rate",
    "consistency_weight",
    "swaps_per_step",
    "adversary_weight",
    "reversal",
    "combine",
)


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
    #: Places in Plan.flags and Plan.rankings, and the sums of their weights over the whole step.
    flags: tuple[int, ...] = ()
    rankings: tuple[int, ...] = ()
    total_flag_weight: float = 0.0
    total_ranking_weight: float = 0.0
    #: Places in Plan.swaps, and how many the whole step has.
    swaps: tuple[int, ...] = ()
    total_swaps: int = 0


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
    flags: tuple[Flag, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    swaps: tuple[SwappedPrompt, ...] = ()

    @cached_property
    def group_shares(self) -> dict[str, float]:
        """Each group's share of the weight of the pairs drawn over all steps, by name; nothing where no pair is drawn."""
        drawn = [self.pairs[place] for part in self.parts for place in part.pairs]
        return group_weights.shares([pair.group for pair in drawn], [pair.weight for pair in drawn])

    @cached_property
    def mismatched(self) -> list[int | None]:
        """For every flag the place of the next one under another prompt, whose answer does not belong to this one's; None where
        all flags stand under one prompt."""
        prompts = [tuple(flag.prompt_ids) for flag in self.flags]
        places = range(len(prompts))
        return [
            next((other for other in chain(places[place + 1 :], places[:place]) if prompts[other] != prompts[place]), None)
            for place in places
        ]

    def step_of(self, part: Part) -> tuple[Part, ...]:
        """All parts of the step that a part belongs to."""
        first = part.number - part.number % self.parts_per_step
        return self.parts[first : first + self.parts_per_step]


class Limits(NamedTuple):
    """What the model can hold."""

    vocabulary: int
    #: Longest row; None where the model has no limit of its own.
    context: int | None


def make_plan(
    pairs: Sequence[Pair],
    replay: Sequence[Sequence[int]],
    *,
    recipe: Recipe,
    seed: int,
    limits: Limits,
    flags: Sequence[Flag] = (),
    rankings: Sequence[Ranking] = (),
    swaps: Sequence[SwappedPrompt] = (),
) -> Plan:
    """Lays out the whole run. Raises NoPairs where none is left and BadPair for values that are not usable."""
    longest = min(recipe.max_tokens, limits.context or recipe.max_tokens)
    kept, dropped = _usable(pairs, longest, limits.vocabulary)
    kept_flags, dropped_flags = _usable(
        flags if _used(recipe.flag_weight, recipe.flags_per_step) else (), longest, limits.vocabulary
    )
    kept_rankings, dropped_rankings = _usable(
        rankings if _used(recipe.ranking_weight, recipe.rankings_per_step) else (), longest, limits.vocabulary
    )
    dropped += dropped_flags + dropped_rankings
    if not kept and not kept_flags and not kept_rankings:
        reasons = "; ".join(sorted({d.reason for d in dropped})) or "the list is empty"
        raise NoPairs(
            f"{len(pairs)} pairs were given and none can be trained on ({reasons}); have more prompts reviewed, "
            "or import preferences with 'flagback import preferences'."
        )
    lines: list[Line] = []
    if _used(recipe.replay_weight, recipe.replay_per_step):
        lines, dropped_lines = _usable_lines(replay, longest, limits.vocabulary)
        dropped += dropped_lines
        if not lines and not kept_flags and not kept_rankings and recipe.preference_weight == 0:
            raise NoPairs(
                "A run on replay alone was asked for (preference_weight 0), and there is no replay line; add neutral "
                "texts, or raise preference_weight."
            )
    kept_swaps, dropped_swaps = _usable_swaps(
        swaps if _used(recipe.consistency_weight + recipe.adversary_weight, recipe.swaps_per_step) else (),
        longest,
        limits.vocabulary,
    )
    dropped += dropped_swaps
    per_step = min(recipe.pairs_per_step, len(kept))

    def steps_of(
        digests: Sequence[str],
        wanted: int,
        what: str,
        families: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> list[list[int]]:
        """The places of one kind of content, step by step."""
        each = min(wanted, len(digests))
        draw = partial(_stream, families=families) if groups is None else partial(_even_stream, groups=groups)
        stream = draw(digests, each * recipe.steps, f"{seed}:{what}")
        return [stream[step * each : (step + 1) * each] for step in range(recipe.steps)]

    contents = _Contents(kept, lines, kept_flags, kept_rankings, kept_swaps)
    steps = list(
        zip(
            steps_of(
                [_digest(p) for p in kept],
                recipe.pairs_per_step,
                "pair",
                _families(kept, recipe),
                None if recipe.group_weights == "given" else [pair.group for pair in kept],
            ),
            steps_of([_digest(line) for line in lines], recipe.replay_per_step, "replay"),
            steps_of([_digest(f) for f in kept_flags], recipe.flags_per_step, "flag"),
            steps_of([_digest(r) for r in kept_rankings], recipe.rankings_per_step, "ranking"),
            steps_of([_digest(s) for s in kept_swaps], recipe.swaps_per_step, "swap"),
            strict=True,
        )
    )
    parts, parts_per_step = _parts(steps, contents, limits.vocabulary)
    return Plan(
        tuple(kept),
        tuple(lines),
        tuple(parts),
        parts_per_step,
        per_step,
        tuple(dropped),
        _fingerprint(contents, recipe, seed),
        tuple(kept_flags),
        tuple(kept_rankings),
        tuple(kept_swaps),
    )


class _Contents(NamedTuple):
    """What a run trains on, in content order."""

    pairs: list[Pair]
    lines: list[Line]
    flags: list[Flag]
    rankings: list[Ranking]
    swaps: list[SwappedPrompt]


def _used(factor: float, per_step: int) -> bool:
    return factor * per_step > 0


def _parts(steps: Sequence[tuple[list[int], ...]], contents: _Contents, vocabulary: int) -> tuple[list[Part], int]:
    """Every step cut into the same number of parts, as many as the dearest step needs."""
    costs = (
        [_cost(rows_of(p), vocabulary) for p in contents.pairs],
        [_cost([(1, len(line) - 1)], vocabulary) for line in contents.lines],
        [_cost(rows_of(f), vocabulary) for f in contents.flags],
        [_cost(rows_of(r), vocabulary) for r in contents.rankings],
        [_cost(_swap_rows(s), vocabulary) for s in contents.swaps],
    )
    count = max(math.ceil(sum(sum(cost[i] for i in some) for cost, some in zip(costs, step, strict=True))) for step in steps)
    pairs, _, flags, rankings, _ = steps[0]
    count = min(count, max(len(pairs), len(flags), len(rankings)))
    parts: list[Part] = []
    for step in steps:
        pairs, lines, flags, rankings, swaps = step
        weight = sum(contents.pairs[i].weight for i in pairs)
        tokens = sum(len(contents.lines[i]) - 1 for i in lines)
        flag_weight = sum(contents.flags[i].weight for i in flags)
        ranking_weight = sum(contents.rankings[i].weight for i in rankings)
        spread = (_spread(places, cost, count) for places, cost in zip(step, costs, strict=True))
        for here in zip(*spread, strict=True):
            totals = (weight, tokens, here[2], here[3], flag_weight, ranking_weight)
            parts.append(Part(len(parts), here[0], here[1], *totals, here[4], len(swaps)))
    return parts, count


def answers_of(example: Pair | Flag | Ranking) -> list[Sequence[int]]:
    """An example's answers under its prompt: chosen and rejected; the one that was flagged; the best first."""
    if isinstance(example, Pair):
        return [example.chosen_ids, example.rejected_ids]
    return [example.answer_ids] if isinstance(example, Flag) else list(example.answers_ids)


def rows_of(example: Pair | Flag | Ranking) -> list[tuple[int, int]]:
    """(prompt tokens, answer tokens) of every answer."""
    return [(len(example.prompt_ids), len(answer)) for answer in answers_of(example)]


def _usable(examples: Sequence[Example], longest: int, vocabulary: int) -> tuple[list[Example], list[Dropped]]:
    """The examples that can be trained on, in content order, and the others with their reasons."""
    kept: list[tuple[str, str, Example]] = []
    dropped: list[Dropped] = []
    for example in examples:
        _check(example, vocabulary)
        reason = _unusable(example, longest)
        if reason is None:
            kept.append((example.key, _digest(example), example))
        else:
            dropped.append(Dropped(example.key, reason))
    return [example for _, _, example in sorted(kept, key=lambda row: row[:2])], sorted(dropped)


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


def _usable_swaps(swaps: Sequence[SwappedPrompt], longest: int, vocabulary: int) -> tuple[list[SwappedPrompt], list[Dropped]]:
    kept: list[SwappedPrompt] = []
    dropped: list[Dropped] = []
    for _, found in sorted({_digest(swap): swap for swap in swaps}.items()):
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
        elif max(prompt + answer for prompt, answer in _swap_rows(found)) > longest:
            dropped.append(Dropped(found.key, f"prompt and answer are longer than {longest} tokens"))
        else:
            kept.append(found)
    return kept, sorted(dropped)


def _swap_rows(swap: SwappedPrompt) -> list[tuple[int, int]]:
    """(prompt tokens, scored positions) of both sides."""
    behind = max(len(swap.continuation_ids), 1)
    return [(len(swap.prompt_ids), behind), (len(swap.swapped_ids), behind)]


def _stream(digests: Sequence[str], count: int, salt: str, families: Sequence[str] | None = None) -> list[int]:
    """`count` places: every pass visits each place once, in an order of its own that follows contents and salt.

    With `families` those of one family follow each other, and the families' order is drawn.
    """
    places: list[int] = []
    passed = 0
    while digests and len(places) < count:
        drawn = [hashlib.sha256(f"{salt}:{passed}:{digest}".encode()).digest() for digest in digests]
        kin = [hashlib.sha256(f"{salt}:{passed}:{name}".encode()).digest() for name in families or [""] * len(digests)]
        places += sorted(range(len(digests)), key=lambda i: (kin[i], drawn[i], i))
        passed += 1
    return places[:count]


def _even_stream(digests: Sequence[str], count: int, salt: str, groups: Sequence[str]) -> list[int]:
    """`count` places, one of each group in turn, so that a step has each group about equally often; a small group's come again
    sooner. Weighing what a rare draw brings would do the same on average, and leave most steps without the group."""
    places: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(group, []).append(place)
    names = sorted(places)
    each = math.ceil(count / max(len(names), 1))
    drawn = [[places[name][i] for i in _stream([digests[p] for p in places[name]], each, f"{salt}:{name}")] for name in names]
    return [place for turn in zip(*drawn, strict=True) for place in turn][:count]


def _families(pairs: Sequence[Pair], recipe: Recipe) -> list[str] | None:
    """A name for every pair's prompt, where pairs of one prompt are to be drawn together."""
    return [json.dumps(list(pair.prompt_ids)) for pair in pairs] if recipe.sharing == "prompt" else None


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


def _digest(content: Pair | Flag | Ranking | SwappedPrompt | Line) -> str:
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


def _fingerprint(contents: _Contents, recipe: Recipe, seed: int) -> str:
    defaults = asdict(Recipe())
    settings = {
        name: value
        for name, value in asdict(recipe).items()
        if name != "checkpoint_every" and not (name in LATER and value == defaults[name])
    }
    content: list[object] = [settings, seed, [_digest(p) for p in contents.pairs], [_digest(line) for line in contents.lines]]
    if contents.flags or contents.rankings:
        content.append([[_digest(f) for f in contents.flags], [_digest(r) for r in contents.rankings]])
    if contents.swaps:
        content.append({"swaps": [_digest(swap) for swap in contents.swaps]})
    if recipe.group_weights != "given":
        content.append({"groups": [pair.group for pair in contents.pairs]})
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def seed_of(*parts: object) -> int:
    """A 63-bit seed that follows its parts."""
    return int.from_bytes(hashlib.sha256(":".join(map(str, parts)).encode()).digest()[:8], "big") >> 1
