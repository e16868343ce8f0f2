"""Finding a learning rate: one step at each of a geometric row of rates, on an adapter that is thrown away.

Smith 2015 (arXiv 1506.01186) has the range test. Here every step has the same examples, one step's worth of them: with few steps
and small batches the scatter from batch to batch is larger than what a low rate does, and was taken for it. The rate proposed is
where the smoothed loss falls most steeply against the logarithm of the rate, before it turns: the last rate that still helps is on
the brink. Knows the trainer; the store keeps what it found (`Sweep.told`), for a picture and so that a run that goes on need not
look again.
"""

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from flagback.model import training
from flagback.model.contents import usable
from flagback.model.draws import stream
from flagback.model.progress import Progress, untold
from flagback.model.recipe import HIGHEST_FULL_RATE, RATES, Flag, NotFinite, Pair, Recipe, StepMetrics, Stopped, SwappedPrompt
from flagback.model.reference import KeptReference

Example = TypeVar("Example")
LOWEST, HIGHEST = 1e-5, 0.3
#: The lowest rate tried where every weight is trained; the highest is the recipe's own bound.
LOWEST_FULL = 1e-7
#: What a sweep's folder is called, and more.
FOLDER = "rates-"
#: Share of what was seen before in the smoothed loss.
MEMORY = 0.6
#: A loss this far above the lowest, in units of how far it fell, ends the sweep: it only climbs from there.
BRINK = 1.0


class NoRateFound(Exception):
    """The loss fell at no rate."""


class Tried(NamedTuple):
    """One rate of the row."""

    rate: float
    #: Of the batch after the step at this rate, and smoothed with those before it.
    loss: float
    smoothed: float


class Sweep(NamedTuple):
    """What a sweep found."""

    tried: tuple[Tried, ...]
    #: Where the smoothed loss falls most steeply.
    suggestion: float
    #: From where on it only climbed, or was no number; None where the highest rate still helped.
    diverged: float | None

    def told(self) -> dict[str, Any]:
        """As it is kept with the run, one row a point of the picture."""
        return {"tried": [one._asdict() for one in self.tried], "suggestion": self.suggestion, "diverged": self.diverged}


def usual_rates(lowest: float = LOWEST, highest: float = HIGHEST, count: int = RATES) -> list[float]:
    """`count` rates from lowest to highest, each the same multiple of the one before."""
    return [lowest * (highest / lowest) ** (place / (count - 1)) for place in range(count)]


def sweep(
    loaded: training.HasModel,
    pairs: Sequence[Pair],
    *,
    flags: Sequence[Flag] = (),
    swaps: Sequence[SwappedPrompt] = (),
    replay: Sequence[Sequence[int]] = (),
    recipe: Recipe,
    seed: int,
    rates: Sequence[float] | None = None,
    kept: KeptReference | None = None,
    on_progress: Progress = untold,
    should_stop: Callable[[], bool] = lambda: False,
    folder: Path | None = None,
) -> Sweep:
    """Tries every one of `rates` in its order, on as many examples as one step of this recipe has. The model stays as it is.

    What it writes and throws away lies in `folder`, which is there, else where temporary files are.
    Ends at the brink. Raises NoRateFound, Stopped, and what a correction raises.
    """
    usual = usual_rates(LOWEST_FULL, HIGHEST_FULL_RATE) if recipe.tuning == "full" else usual_rates()
    tried = list(rates or usual)
    seen: list[StepMetrics] = []
    asked = replace(
        recipe, steps=len(tried) + 1, learning_rate=max(tried), warmup=0, schedule="constant", stop_every=0, find_rate=False
    )
    limits = training.limits_of(loaded.model)
    fitting, _ = usable(pairs, limits.longest(recipe), limits.vocabulary)
    examples = fitting or pairs  # with none that fits a correction says why
    climbed = False

    def step_done(metrics: StepMetrics) -> None:
        seen.append(metrics)
        on_progress("try step sizes", len(seen), asked.steps)

    def ended() -> bool:
        nonlocal climbed
        climbed = climbed or _climbed([one.loss for one in seen])
        return climbed or should_stop()

    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=folder) as place:
        try:
            training.correct(
                loaded,
                _same(examples, [pair.key for pair in examples], recipe.pairs_per_step, seed),
                flags=_same(flags, [flag.key for flag in flags], recipe.flags_per_step, seed),
                swaps=_same(swaps, [swap.key for swap in swaps], recipe.swaps_per_step, seed),
                replay=_same(replay, [json.dumps(list(line)) for line in replay], recipe.replay_per_step, seed),
                recipe=replace(asked, checkpoint_every=asked.steps),
                seed=seed,
                folder=Path(place),
                kept=kept,
                on_step=step_done,
                on_progress=lambda doing, *far: on_progress("try step sizes" if doing == "train" else doing, *far),
                should_stop=ended,
                rates=tried,
            )
        except (Stopped, NotFinite) as error:
            if isinstance(error, Stopped) and not climbed:
                raise
            if not seen:
                raise
            climbed = True
    # The loss of a step is taken before its update: what a rate did is in the step after it.
    return chosen(tried[: len(seen) - 1], [one.loss for one in seen[1:]], climbed=climbed)


def _same(given: Sequence[Example], names: Sequence[str], each: int, seed: int) -> list[Example]:
    """What one step has of a kind, whatever the order of the list."""
    return [given[place] for place in stream(names, min(each, len(given)), f"{seed}:sweep")]


def chosen(row: Sequence[float], found: Sequence[float], *, climbed: bool) -> Sweep:
    """The sweep of these rates and the losses behind them. Raises NoRateFound."""
    smoothed: list[float] = []
    for loss in found:
        smoothed.append(loss if not smoothed else MEMORY * smoothed[-1] + (1 - MEMORY) * loss)
    tried = tuple(Tried(*point) for point in zip(row, found, smoothed, strict=True))
    lowest = min(range(len(smoothed)), key=smoothed.__getitem__, default=0)
    falls = [
        ((smoothed[place + 1] - smoothed[place - 1]) / math.log(row[place + 1] / row[place - 1]), place)
        for place in range(1, lowest)
        if place + 1 < len(row)
    ]
    steepest = min(falls, default=(0.0, 0))
    if steepest[0] >= 0:
        between = f" from {row[0]:g} to {row[-1]:g}" if row else ""
        raise NoRateFound(
            f"The loss fell at none of {len(tried)} rates{between}; the pairs may contradict one another, or be too few. Name a "
            "learning_rate, and have more prompts reviewed."
        )
    return Sweep(tried, row[steepest[1]], row[-1] if climbed else None)


def _climbed(found: Sequence[float]) -> bool:
    """Whether the last loss is far above the lowest, against how far it had fallen from the first."""
    if len(found) < 3:
        return False
    lowest = min(found)
    return found[-1] - lowest > BRINK * max(found[0] - lowest, 0.1 * abs(found[0]))
