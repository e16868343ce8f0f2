"""What fairness objectives carry from one step to the next: the groups' weights and the probe. Kept in checkpoints, so that a run
that was killed goes on to the same bytes, and no part of the adapter.

Knows recipe and plan; the equations are in `group_weights` and `adversary`.
"""

import json
from pathlib import Path

import torch

from flagback.model import group_weights
from flagback.model.adversary import Probe
from flagback.model.plan import Plan
from flagback.model.recipe import Recipe

WEIGHTS_FILE = "group_weights.json"
PROBE_FILE = "probe.pt"


class Fairness:
    """The state of a run's fairness objectives; empty where the recipe has none."""

    def __init__(self, plan: Plan, recipe: Recipe, width: int, device: torch.device) -> None:
        """As a run begins: every group alike, a probe that knows nothing. `width` is the hidden states'."""
        self.recipe = recipe
        self.shares = plan.group_shares if recipe.group_weights != "given" and plan.pairs else None
        self.weights = group_weights.even(list(self.shares)) if self.shares else {}
        self.losses: dict[str, float] = {}
        self.probe = Probe(width, device) if recipe.adversary_weight and plan.swaps else None

    @property
    def factors(self) -> dict[str, float] | None:
        """By what pairs are multiplied, by group; None where they are weighed as given."""
        return None if self.shares is None else group_weights.factors(self.weights, self.shares)

    def add(self, losses: dict[str, float]) -> None:
        """Adds a part's share of the groups' losses to the step's."""
        for name, loss in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + loss

    def step(self) -> None:
        """After an optimiser step: weights follow the losses that the step had, the probe its gradient.

        The step itself was weighed by what was known before it, since its parts follow one another; alg. 1 of Sagawa et al. takes
        the new weights already.
        """
        losses, self.losses = self.losses, {}
        if self.recipe.group_weights == "worst" and self.weights:
            self.weights = group_weights.step(self.weights, losses, self.recipe.group_rate)
        if self.probe is not None:
            self.probe.step()

    def save(self, place: Path) -> None:
        """Writes what a checkpoint needs; nothing where there is nothing."""
        if self.weights:
            (place / WEIGHTS_FILE).write_text(json.dumps(self.weights))
        if self.probe is not None:
            torch.save(self.probe.state(), place / PROBE_FILE)

    def load(self, place: Path) -> None:
        """Goes on from a checkpoint of this run, whose hashes were checked."""
        if self.weights:
            self.weights = json.loads((place / WEIGHTS_FILE).read_text())
        if self.probe is not None:
            self.probe.load(torch.load(place / PROBE_FILE, weights_only=True))
