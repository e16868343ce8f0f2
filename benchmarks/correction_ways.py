"""What ways to correct other than the default do to harm, language and distance on the embedded model. Prints JSON.

    python benchmarks/correction_ways.py [--seeds 5] [--first 1] [--ways plain,early,...] [--beta 0.4] [--full-rate 1e-4]

World, measures and intervals are those of `correction_quality.py`, with all groups' pairs. Ways:

- plain: the default recipe;
- early: 96 steps with a look at the pairs of the last training shards every 4, which are not learnt from, and 3 looks of patience;
- long: those 96 steps without a look, on all pairs;
- full: every weight in the place of an adapter, at --full-rate;
- merge, rebase: a second round after plain, on pairs that the corrected model wrote: on its weights, or on the first base with the
  pairs of both rounds (stacked rounds are merged ones but for rounding, tests/test_rounds.py);
- distilled, words: the base model learns what plain's model writes, by its answers and next words, or by its answers alone; no
  review beyond plain's is needed.

Told are harm on held-out prompts (all, and the worst group), perplexities, and ||W - W0|| / ||W0||.
"""

import argparse
import collections
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.correction_quality import Held, World, interval, measured, world
from flagback.model import checkpoint, embedded
from flagback.model.adapter import merged
from flagback.model.distillation import Share, Taught, distil
from flagback.model.embedded.measurement import completions, open_folder
from flagback.model.training import Pair, Recipe, correct
from flagback.storage.prompts import HELD_OUT_SHARDS, shard_of

WAYS = ("plain", "early", "long", "full", "merge", "rebase", "distilled", "words")
#: Answers of the teacher to every training prompt, and steps of what learns from them.
TAUGHT, DISTILLING_STEPS = 2, 96
#: No group's pairs are thinned.
ALL = 0.5


class Made(NamedTuple):
    """A corrected model and how it came about."""

    model: Any
    told: dict[str, Any]


class Lab:
    """One seed: its pairs, and what was made of them so far."""

    def __init__(self, seed: int, recipe: Recipe, full_rate: float) -> None:
        self.seed, self.recipe, self.full_rate = seed, recipe, full_rate
        self.base, self.tokenizer = open_folder(embedded.WEIGHTS)
        self.given = self.written(self.base, seed)
        #: Which split a prompt's template stands on.
        self.shards = {tuple(self.tokenizer(one.text)["input_ids"]): shard_of(one.split_key) for one in embedded.prompts()}
        self.made: dict[str, Made] = {}

    def written(self, model: Any, seed: int) -> World:
        """Pairs and replay of what a model writes."""
        return world(model, self.tokenizer, seed=seed, rare="faith", share=ALL)

    def way(self, name: str) -> Made:
        """A model corrected so; the first round is made once."""
        if name not in self.made:
            self.made[name] = self._way(name)
        return self.made[name]

    def _way(self, name: str) -> Made:
        plain, many = self.recipe, replace(self.recipe, steps=4 * self.recipe.steps)
        if name == "plain":
            return self.corrected(self.base, self.given.pairs, plain)
        if name == "long":
            return self.corrected(self.base, self.given.pairs, many)
        if name == "early":
            recipe = replace(many, stop_every=4)
            aside = [pair for pair in self.given.pairs if self.shards[tuple(pair.prompt_ids)] in recipe.shards_aside]
            keys = {pair.key for pair in aside}
            return self.corrected(self.base, [p for p in self.given.pairs if p.key not in keys], recipe, aside=aside)
        if name == "full":
            return self.corrected(self.base, self.given.pairs, replace(plain, tuning="full", learning_rate=self.full_rate))
        first = self.way("plain").model
        if name in ("merge", "rebase"):
            second = self.written(first, self.seed + 10_000)
            if name == "merge":
                return self.corrected(first, second.pairs, plain)
            return self.corrected(self.base, [*self.given.pairs, *second.pairs], plain)
        return self.distilled(first, Share(1.0, 1.0 if name == "distilled" else 0.0))

    def corrected(self, model: Any, pairs: Sequence[Pair], recipe: Recipe, aside: Sequence[Pair] = ()) -> Made:
        """The model after one correction; itself it stays as it is."""
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            found = correct(
                Held(model),
                pairs,
                aside=aside,
                replay=self.given.replay,
                recipe=recipe,
                seed=self.seed,
                folder=Path(folder) / "run",
            )
            spent = time.process_time() - began
            told = {"pairs": found.pairs, "steps": len(found.metrics), "cpu_seconds": spent}
            if recipe.stop_every:
                told["best_step"] = found.environment["early_stop"]["best_step"]
            return Made(merged(self.like(model), found.adapter), told)

    def distilled(self, teacher: Any, share: Share) -> Made:
        """The base after learning what the teacher writes."""
        began = time.process_time()
        loaded = checkpoint.load(str(embedded.WEIGHTS))
        asked = [one for one in embedded.prompts() if shard_of(one.split_key) not in HELD_OUT_SHARDS]
        told = completions(teacher, self.tokenizer, [one.text for one in asked for _ in range(TAUGHT)], seed=self.seed + 20_000)
        rows = []
        for number, (_, ids) in enumerate(told):
            prompt = tuple(self.tokenizer(asked[number // TAUGHT].text)["input_ids"])
            rows.append(Taught(f"{number:06d}", prompt, tuple(ids), prompt))
        with tempfile.TemporaryDirectory() as folder:
            found = distil(
                loaded,
                replace(loaded, model=teacher),
                rows,
                share=share,
                replay=self.given.replay,
                recipe=replace(self.recipe, steps=DISTILLING_STEPS),
                seed=self.seed,
                folder=Path(folder) / "run",
            )
            return Made(
                merged(self.like(loaded.model), found.adapter),
                {"answers": found.environment["answers"], "steps": len(found.figures), "cpu_seconds": time.process_time() - began},
            )

    @staticmethod
    def like(model: Any) -> Any:
        """A model with the same weights."""
        found, _ = open_folder(embedded.WEIGHTS)
        found.load_state_dict(model.state_dict())
        return found


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a way: means over seeds with 95 % intervals, and points of harm beside plain of the same seed."""
    by_way: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for row in rows:
        by_way[row["way"]].append(row)
    plain = {row["seed"]: row for row in by_way["plain"]}
    lines = []
    for name, found in by_way.items():
        line: dict[str, Any] = {"way": name, "seeds": len(found)}
        for figure in ("overall", "worst", "ppl_neutral", "ppl_groups", "distance", "cpu_seconds", "steps", "best_step"):
            if all(figure in row for row in found):
                line[figure] = interval([row[figure] for row in found])
        if all(row["seed"] in plain for row in found):
            line["points_beside_plain"] = interval([100 * (row["overall"] - plain[row["seed"]]["overall"]) for row in found])
        lines.append(line)
    return lines


def main() -> None:
    """Prints one line of JSON a way and seed, then the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seeds", type=int, default=5)
    asked.add_argument("--first", type=int, default=1, help="the first seed")
    asked.add_argument("--draws", type=int, default=2, help="answers to each held-out prompt")
    asked.add_argument("--beta", type=float, default=Recipe().beta, help="strength of the tie to the model before")
    asked.add_argument("--full-rate", type=float, default=1e-4, help="learning rate where every weight is trained")
    asked.add_argument("--ways", default="base," + ",".join(WAYS))
    told = asked.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for seed in range(told.first, told.first + told.seeds):
        lab = Lab(seed, Recipe(beta=told.beta), told.full_rate)
        for name in told.ways.split(","):
            made = Made(lab.base, {"cpu_seconds": 0.0}) if name == "base" else lab.way(name)
            seen = measured(made.model, lab.tokenizer, seed=seed + 500, rare="faith", draws=told.draws)
            rows.append({"way": name, "seed": seed, **seen, "distance": checkpoint.distance(made.model, lab.base), **made.told})
            print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"beta": told.beta, "full_rate": told.full_rate, "table": table(rows)}, indent=1))


if __name__ == "__main__":
    main()
