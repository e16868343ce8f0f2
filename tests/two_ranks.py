"""One of two processes, for tests/test_ranks.py: `torchrun --nproc-per-node 2 -m tests.two_ranks MODEL FOLDER`.

Does all that the tests look at in one start, since a start costs more than everything in it.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from flagback.model import checkpoint, training
from flagback.model.head import answers_itself
from flagback.model.ranks import Ranks, check_cut, join
from flagback.model.recipe import NotSharded, Recipe, StepMetrics
from tests.tiny_model import random_flags, random_lines, random_pairs, random_rankings, tiny_llama

#: Seven pairs a step over two processes: one has more than the other.
RECIPE = Recipe(
    steps=4,
    pairs_per_step=7,
    replay_per_step=3,
    flags_per_step=3,
    rankings_per_step=1,
    learning_rate=5e-3,
    schedule="constant",
    beta=0.1,
    checkpoint_every=2,
    rank=4,
)
#: One pair a step: one of two processes has nothing to do.
ONE_PAIR = replace(RECIPE, pairs_per_step=1, replay_weight=0.0, flag_weight=0.0, ranking_weight=0.0)
EVERY_WEIGHT = replace(RECIPE, tuning="full", learning_rate=1e-3)


def given() -> dict[str, Any]:
    """What is learnt, the same in every process."""
    return {"pairs": random_pairs(9), "flags": random_flags(5), "rankings": random_rankings(2), "replay": random_lines(5)}


def run(base: Path, folder: Path, recipe: Recipe, ranks: Ranks, **more: Any) -> training.Trained:
    """A correction of the model in a directory; alone, or as one of several."""
    torch.set_num_threads(1)
    recipe = replace(recipe, processes=ranks.count, sharding="full" if ranks.sharded else "none")
    return training.correct(checkpoint.load(str(base)), **given(), recipe=recipe, seed=3, folder=folder, ranks=ranks, **more)


def refusal(act: Callable[[], object]) -> str:
    """In what words it is refused."""
    try:
        act()
    except NotSharded as error:
        return str(error)
    return ""


def looked_at(base: Path, folder: Path, ranks: Ranks) -> dict[str, Any]:
    """What there is to see of one way to spread a run."""
    weights: dict[str, Any] = {}
    seen: list[int] = []
    stopped = False

    class Held:
        """A model whose weights can be looked at while it learns."""

        def __init__(self) -> None:
            self.model = checkpoint.load(str(base)).model

    def look(metrics: StepMetrics) -> None:
        seen.append(metrics.step)
        cut = {name: weight for name, weight in held.model.named_parameters() if isinstance(weight, DTensor)}
        weights["all"], weights["cut"] = sum(1 for _ in held.model.named_parameters()), len(cut)
        weights["here"] = sum(weight.to_local().numel() for weight in cut.values())
        weights["numbers"] = sum(weight.numel() for weight in held.model.parameters())
        weights["head asked"] = answers_itself(held.model.get_output_embeddings())
        weights["quick"] = sum("forward" in vars(module) for module in held.model.modules())

    held = Held()
    recipe = replace(RECIPE, processes=ranks.count, sharding="full" if ranks.sharded else "none")
    whole = training.correct(held, **given(), recipe=recipe, seed=3, folder=folder / "whole", ranks=ranks, on_step=look)
    begun: list[int] = []
    try:
        run(base, folder / "again", RECIPE, ranks, on_step=lambda m: begun.append(m.step), should_stop=lambda: len(begun) >= 3)
    except training.Stopped:
        stopped = True
    again: list[int] = []
    resumed = run(base, folder / "again", RECIPE, ranks, on_step=lambda m: again.append(m.step))
    every = run(base, folder / "every", EVERY_WEIGHT, ranks)
    twice = run(base, folder / "twice", replace(RECIPE, gradient_checkpointing=True), ranks)
    return {
        "losses": [m.loss for m in whole.metrics],
        "margins": [m.margin for m in whole.metrics],
        "norms": [m.grad_norm for m in whole.metrics],
        "told": seen,
        "weights": weights,
        "stopped": [stopped, begun, again],
        "same": resumed.weights_sha256 == whole.weights_sha256,
        "same computed twice": twice.weights_sha256 == whole.weights_sha256,
        "environment": whole.environment,
        "files": sorted(path.name for path in (folder / "whole" / "step-000004").iterdir()),
        "padded": [m.loss for m in run(base, folder / "padded", replace(RECIPE, layout="padded"), ranks).metrics],
        "every weight": [[m.loss, m.grad_norm] for m in every.metrics],
        "one pair": [m.loss for m in run(base, folder / "one", ONE_PAIR, ranks).metrics],
    }


def main(base: Path, folder: Path) -> None:
    """All of it; the first process writes what was seen."""
    ranks = join("none")
    sharded = replace(ranks, sharded=True)
    found = {
        "none": looked_at(base, folder / "none", ranks),
        "full": looked_at(base, folder / "full", sharded),
        "refused": [
            refusal(lambda: Ranks().check(replace(RECIPE, processes=2))),
            refusal(lambda: ranks.check(replace(RECIPE, processes=2, sharding="full"))),
            refusal(lambda: check_cut(tiny_llama(), sharded)),
        ],
    }
    if ranks.first:
        (folder / "found.json").write_text(json.dumps(found))
    ranks.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
