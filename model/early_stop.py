"""Ending a correction early: by pairs that it never learns from, looked at every few steps; the best weights are kept.

The readings and the best weights travel with each checkpoint, so that a run that was killed stops where the undisturbed one does.
Prechelt 1998 ("Early stopping - but when?") has the criterion: no lower loss over `stop_patience` looks. Knows pairs as token ids
and the adapter's weights; knows nothing of shards, and nothing of what a gate or a report reads.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from flagback.model import losses
from flagback.model.adapter import adapter_weights, put_in
from flagback.model.contents import answers_of
from flagback.model.layout import tree_logps
from flagback.model.objective import tree_of
from flagback.model.recipe import LayoutName, NotFinite, Pair, Recipe
from flagback.model.spool import View

#: In a checkpoint's folder.
READINGS, BEST = "early_stop.json", "early_stop.safetensors"


class Reading(NamedTuple):
    """What one look found."""

    #: Optimiser steps done.
    step: int
    #: Weighted means over the pairs that were kept aside, as the recipe's loss has them; share of them told right.
    loss: float
    accuracy: float


class EarlyStop:
    """Readings so far, and the adapter as it was at the best of them."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        reference: Sequence[Sequence[float]],
        recipe: Recipe,
        layout: LayoutName,
        *,
        cuts: int = 1,
    ) -> None:
        """`reference` holds (chosen, rejected) of every pair under the reference; `cuts` as for `tree_logps`."""
        self._pairs, self._reference, self._recipe, self._layout, self._cuts = pairs, reference, recipe, layout, cuts
        self.readings: list[Reading] = []
        self._best: dict[str, Tensor] = {}

    @property
    def best(self) -> Reading | None:
        """The look with the lowest loss, the earliest of equal ones; None before the first."""
        return min(self.readings, key=lambda one: (one.loss, one.step), default=None)

    @property
    def over(self) -> bool:
        """Whether the last `stop_patience` looks found nothing better than one before them."""
        best = self.best
        return best is not None and sum(one.step > best.step for one in self.readings) >= self._recipe.stop_patience

    def due(self, step: int) -> bool:
        """Whether a look is taken after this step: every `stop_every`, and at the end."""
        return step % self._recipe.stop_every == 0 or step == self._recipe.steps

    def look(self, model: Any, adapted: Any, step: int) -> Reading:
        """Scores the pairs under the model with its adapter in it; keeps the adapter's weights where they are the best."""
        found = self._read(model, step)
        before = self.best
        self.readings.append(found)
        if before is None or found.loss < before.loss:
            self._best = adapter_weights(adapted)
        return found

    def restore(self, adapted: Any) -> None:
        """Puts the best weights back into the adapter; before the first look they stay as they are."""
        if self._best:
            put_in(adapted, self._best)

    def save(self, place: Path) -> None:
        """Writes readings and best weights into a checkpoint's folder."""
        (place / READINGS).write_text(json.dumps([list(one) for one in self.readings]))
        if self._best:
            save_file(self._best, place / BEST, metadata={"format": "pt"})

    def load(self, place: Path) -> None:
        """Takes them from a checkpoint's folder."""
        self.readings = [Reading(int(step), loss, accuracy) for step, loss, accuracy in json.loads((place / READINGS).read_text())]
        self._best = load_file(place / BEST) if self.readings else {}

    def told(self) -> dict[str, Any]:
        """What is kept with the run."""
        best = self.best
        return {
            "pairs": len(self._pairs),
            "best_step": best.step if best else 0,
            "readings": [one._asdict() for one in self.readings],
        }

    def _read(self, model: Any, step: int) -> Reading:
        trees = View(len(self._pairs), lambda i: tree_of(self._pairs[i]))
        mine = tree_logps(model, trees, self._layout, cuts=self._cuts)
        scored = scored_pairs(self._pairs, mine, self._reference)
        soft_label = torch.tensor([pair.soft_label for pair in self._pairs], dtype=torch.float64)  # (B,)
        weight = torch.tensor([pair.weight for pair in self._pairs], dtype=torch.float64)  # (B,)
        recipe = self._recipe
        each = losses.pair_losses(recipe.loss, scored, soft_label, beta=recipe.beta, noise=recipe.label_noise)  # (B,)
        margin = losses.reward_margin(scored.chosen, scored.rejected, scored.ref_chosen, scored.ref_rejected, beta=recipe.beta)
        right = losses.right(margin)  # (B,)
        loss = float(losses.weighted_mean(each, weight))
        if not loss == loss:  # nan alone differs from itself
            raise NotFinite(
                f"The loss on the pairs kept aside is not a number after step {step}. The current model is untouched. Lower "
                f"learning_rate ({recipe.learning_rate:g}), then run 'flagback correct' again."
            )
        return Reading(step, loss, float(losses.weighted_mean(right, weight)))


def scored_pairs(pairs: Sequence[Pair], logps: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> losses.Scored:
    """Pairs as the losses see them, in float64, from (chosen, rejected) of each under policy and reference."""
    mine, theirs = (torch.tensor(values, dtype=torch.float64) for values in (logps, reference))  # (B, 2) each
    tokens = torch.tensor([[len(answer) for answer in answers_of(pair)] for pair in pairs], dtype=torch.float64)  # (B, 2)
    return losses.Scored(*mine.unbind(1), *theirs.unbind(1), *tokens.unbind(1))
