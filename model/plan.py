"""Which pairs, flags, rankings and replay lines go into which optimiser step, and into which part of it.

Decided by contents and seed alone, before anything is computed: the order of the given lists changes nothing. Knows no torch.
"""

import hashlib
import json
import math
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from flagback.model import group_weights
from flagback.model.contents import Contents, Limits, Line, digest, gathered, rows_of, swap_rows
from flagback.model.draws import even_stream, stream
from flagback.model.portions import cost_of, spread
from flagback.model.recipe import Dropped, Flag, Pair, Ranking, Recipe, SwappedPrompt
from flagback.model.spool import View

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
    "stop_every",
    "stop_patience",
    "stop_shards",
    "precision",
    "processes",
    "sharding",
    "tuning",
)
#: Settings that change no byte of the adapter: how often a checkpoint is written, what is computed twice, how its learning rate was
#: found, what becomes of it afterwards. What is trained on, where a line is re-based, is in pairs and weights.
IDLE = ("checkpoint_every", "gradient_checkpointing", "find_rate", "rounds", "max_distance", "max_kl")


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

    #: In content order, only those that are trained on; looked up where they were given.
    pairs: Sequence[Pair]
    replay: tuple[Line, ...]
    #: Step by step, `parts_per_step` of them each.
    parts: tuple[Part, ...]
    parts_per_step: int
    pairs_per_step: int
    dropped: tuple[Dropped, ...]
    #: sha256 of everything that decides the result on a given machine, the model excepted.
    fingerprint: str
    flags: Sequence[Flag] = ()
    rankings: Sequence[Ranking] = ()
    swaps: tuple[SwappedPrompt, ...] = ()

    @cached_property
    def group_shares(self) -> dict[str, float]:
        """Each group's share of the weight of the pairs drawn over all steps, by name; nothing where no pair is drawn."""
        known = [(pair.group, pair.weight) for pair in self.pairs]
        drawn = [known[place] for part in self.parts for place in part.pairs]
        return group_weights.shares([group for group, _ in drawn], [weight for _, weight in drawn])

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
    cuts: int = 1,
) -> Plan:
    """Lays out the whole run. Raises NoPairs where none is left and BadPair for values that are not usable.

    Steps are cut into `cuts` times as many parts as their size asks for, where they have so many examples, and then into as many
    for every process, some of which may be empty.
    """
    contents, dropped = gathered(pairs, replay, recipe=recipe, limits=limits, flags=flags, rankings=rankings, swaps=swaps)
    digests = [[digest(one) for one in some] for some in contents]
    parts, parts_per_step = _parts(_steps(contents, digests, recipe, seed), contents, limits.vocabulary, cuts, recipe.processes)
    return Plan(
        contents.pairs,
        tuple(contents.lines),
        tuple(parts),
        parts_per_step,
        min(recipe.pairs_per_step, len(contents.pairs)),
        tuple(dropped),
        _fingerprint(contents, digests, recipe, seed),
        contents.flags,
        contents.rankings,
        tuple(contents.swaps),
    )


def _steps(contents: Contents, digests: Sequence[list[str]], recipe: Recipe, seed: int) -> list[tuple[list[int], ...]]:
    """The places of what goes into each step: of pairs, replay lines, flags, rankings and swapped prompts."""
    wanted = {
        "pair": recipe.pairs_per_step,
        "replay": recipe.replay_per_step,
        "flag": recipe.flags_per_step,
        "ranking": recipe.rankings_per_step,
        "swap": recipe.swaps_per_step,
    }
    kinds: list[list[list[int]]] = []
    for (what, most), some in zip(wanted.items(), digests, strict=True):
        each = min(most, len(some))
        count, salt = each * recipe.steps, f"{seed}:{what}"
        if what == "pair" and recipe.group_weights != "given":
            drawn = even_stream(some, count, salt, [pair.group for pair in contents.pairs])
        elif what == "flag" and len(set(verdicts := [str(flag.harmful) for flag in contents.flags])) > 1:
            # In turn: where most are fine, every step has harmful ones too, and as many of both (KTO, eq. 9).
            drawn = even_stream(some, count, salt, verdicts)
        else:
            drawn = stream(some, count, salt, _families(contents.pairs, recipe) if what == "pair" else None)
        kinds.append([drawn[step * each : (step + 1) * each] for step in range(recipe.steps)])
    return list(zip(*kinds, strict=True))


def _parts(
    steps: Sequence[tuple[list[int], ...]], contents: Contents, vocabulary: int, cuts: int, processes: int
) -> tuple[list[Part], int]:
    """Every step cut into the same number of parts, `cuts` times as many as the dearest step needs."""
    weights, pair_costs = array("d"), array("d")
    for pair in contents.pairs:
        weights.append(pair.weight)
        pair_costs.append(cost_of(rows_of(pair), vocabulary))
    costs = (
        pair_costs,
        [cost_of([(1, len(line) - 1)], vocabulary) for line in contents.lines],
        [cost_of(rows_of(f), vocabulary) for f in contents.flags],
        [cost_of(rows_of(r), vocabulary) for r in contents.rankings],
        [cost_of(swap_rows(s), vocabulary) for s in contents.swaps],
    )
    count = max(math.ceil(sum(sum(cost[i] for i in some) for cost, some in zip(costs, step, strict=True))) for step in steps)
    pairs, _, flags, rankings, _ = steps[0]
    count = min(count * cuts, max(len(pairs), len(flags), len(rankings)))
    if processes > 1:  # as many for each, of less than a process alone would take at once
        count = processes * math.ceil(count / processes)
    parts: list[Part] = []
    for step in steps:
        pairs, lines, flags, rankings, swaps = step
        weight = sum(weights[i] for i in pairs)
        tokens = sum(len(contents.lines[i]) - 1 for i in lines)
        flag_weight = sum(contents.flags[i].weight for i in flags)
        ranking_weight = sum(contents.rankings[i].weight for i in rankings)
        shares = (spread(places, cost, count) for places, cost in zip(step, costs, strict=True))
        for here in zip(*shares, strict=True):
            totals = (weight, tokens, here[2], here[3], flag_weight, ranking_weight)
            parts.append(Part(len(parts), here[0], here[1], *totals, here[4], len(swaps)))
    return parts, count


def _families(pairs: Sequence[Pair], recipe: Recipe) -> Sequence[str] | None:
    """A name for every pair's prompt, where pairs of one prompt are to be drawn together."""
    return View(len(pairs), lambda i: json.dumps(list(pairs[i].prompt_ids))) if recipe.sharing == "prompt" else None


def _fingerprint(contents: Contents, digests: Sequence[list[str]], recipe: Recipe, seed: int) -> str:
    defaults = asdict(Recipe())
    settings = {
        name: value
        for name, value in asdict(recipe).items()
        if name not in IDLE and not (name in LATER and value == defaults[name])
    }
    pairs, lines, flags, rankings, swaps = digests
    content: list[object] = [settings, seed, pairs, lines]
    if flags or rankings:
        content.append([flags, rankings])
    if swaps:
        content.append({"swaps": swaps})
    if recipe.group_weights != "given":
        content.append({"groups": [pair.group for pair in contents.pairs]})
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def seed_of(*parts: object) -> int:
    """A 63-bit seed that follows its parts."""
    return int.from_bytes(hashlib.sha256(":".join(map(str, parts)).encode()).digest()[:8], "big") >> 1
