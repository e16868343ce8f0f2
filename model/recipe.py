"""What a correction is told and what it gives back: recipe, pairs, figures of a step, result, and what can go wrong.

Plain values, no torch, so that screens and the command line may read them.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

LayoutName = Literal[
    "flat",  # one row without padding, a prompt computed once for its answers
    "padded",  # one right-padded row an answer: slower, works with every causal model
]
Schedule = Literal["constant", "linear", "cosine"]


class BadRecipe(ValueError):
    """A setting of the recipe cannot be used."""


class BadPair(ValueError):
    """A preference pair holds something that cannot be trained on."""


class NoPairs(ValueError):
    """There is no pair to learn from."""


class NotFinite(ArithmeticError):
    """The loss or the gradient stopped being a number."""


class ForeignFolder(ValueError):
    """The folder holds the checkpoints of another run."""


class Stopped(Exception):
    """The run was asked to stop; its newest checkpoint is kept and a second call goes on from there."""


@dataclass(frozen=True)
class Recipe:
    """Settings of a LoRA DPO correction; the defaults fit the embedded model (figures in docs/log.md)."""

    #: LoRA: rank, scale numerator (the update is scaled by alpha / rank), and the modules it is put on.
    rank: int = 8
    alpha: float = 16.0
    targets: str | tuple[str, ...] = "all-linear"
    dropout: float = 0.0
    #: Optimiser steps, never epochs: runs with few and with many pairs stay comparable.
    steps: int = 24
    learning_rate: float = 3.2e-3
    schedule: Schedule = "linear"
    #: Steps over which the learning rate rises from 0.
    warmup: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    #: Strength of the tie to the reference: the implicit reward is beta * log(policy / reference).
    beta: float = 0.4
    #: Pairs a step; all of them where there are fewer.
    pairs_per_step: int = 32
    #: Factor of the preference loss; 0 trains on the replay alone (a control).
    preference_weight: float = 1.0
    #: Factor of the mean negative log-likelihood of neutral lines, and how many of them go into a step.
    replay_weight: float = 1.0
    replay_per_step: int = 16
    #: Longest prompt + answer, and longest replay line; also limited by what the model can hold.
    max_tokens: int = 1024
    #: Steps between checkpoints; does not change the result.
    checkpoint_every: int = 8
    #: How batches are laid out; auto takes flat where a probe shows that it agrees with padded.
    layout: Literal["auto", "flat", "padded"] = "auto"

    def __post_init__(self) -> None:
        """Refuses values that cannot work; a list of targets (as read from JSON) becomes a tuple."""
        if not isinstance(self.targets, str):
            object.__setattr__(self, "targets", tuple(self.targets))
        at_least = {
            "rank": 1,
            "steps": 1,
            "pairs_per_step": 1,
            "max_tokens": 2,
            "checkpoint_every": 1,
            "warmup": 0,
            "replay_per_step": 0,
        }
        for name, least in at_least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadRecipe(f"{name} is {value!r}; a whole number of at least {least} was expected.")
        for name in ("alpha", "learning_rate", "beta", "max_grad_norm"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise BadRecipe(f"{name} is {getattr(self, name)!r}; a number above 0 was expected.")
        for name in ("preference_weight", "replay_weight", "weight_decay"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise BadRecipe(f"{name} is {getattr(self, name)!r}; 0 or more was expected.")
        if self.preference_weight == 0 and self.replay_weight * self.replay_per_step == 0:
            raise BadRecipe("preference_weight and the replay are both 0, so nothing would be learned; raise one of them.")
        if not 0 <= self.dropout < 1:
            raise BadRecipe(f"dropout is {self.dropout!r}; a share from 0 to below 1 was expected.")
        choices: dict[str, tuple[str, ...]] = {"schedule": ("constant", "linear", "cosine"), "layout": ("auto", "flat", "padded")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise BadRecipe(f"{name} is {getattr(self, name)!r}; one of {', '.join(allowed)} was expected.")


@dataclass(frozen=True)
class Pair:
    """One (prompt, chosen, rejected) as token ids, answers with their end token."""

    #: Content key: order, batches and seeds follow it, never the place in a list.
    key: str
    prompt_ids: Sequence[int]
    chosen_ids: Sequence[int]
    rejected_ids: Sequence[int]
    #: How much the pair counts beside the others of its step; 0 leaves it out.
    weight: float = 1.0
    #: Probability that chosen is truly the better one.
    soft_label: float = 1.0


class Dropped(NamedTuple):
    """A pair or replay line that was given and not trained on."""

    #: The pair's key, or "replay" and the line's number in content order.
    key: str
    reason: str


@dataclass(frozen=True)
class StepMetrics:
    """Figures of one optimiser step, taken before its update; means over the pairs are weighted like the loss."""

    step: int
    #: The planned total.
    steps: int
    #: preference_weight * preference_loss + replay_weight * replay_loss.
    loss: float
    preference_loss: float
    #: Mean negative log-likelihood a token of the neutral lines; 0 without replay.
    replay_loss: float
    #: Mean difference of implicit rewards, chosen minus rejected.
    margin: float
    #: Share of pairs whose margin is above 0; one at 0, as all before the first update, counts half.
    accuracy: float
    #: Mean change against the reference, in nats an answer. Below 0: the answer became less likely.
    chosen_change: float
    rejected_change: float
    #: Before clipping.
    grad_norm: float
    learning_rate: float
    pairs_per_second: float

    def shown(self) -> dict[str, float]:
        """All figures by name, as they are stored and shown."""
        return {name: value for name, value in asdict(self).items() if name != "step"}


@dataclass(frozen=True)
class Trained:
    """A finished correction."""

    #: A plain PEFT folder: adapter_config.json and adapter_model.safetensors.
    adapter: Path
    #: Of adapter_model.safetensors.
    weights_sha256: str
    metrics: tuple[StepMetrics, ...]
    #: Pairs learned from.
    pairs: int
    #: What was given and left out, with the reason of each.
    dropped: tuple[Dropped, ...]
    #: What "the same adapter again" is promised for: torch build, device kind, threads, layout, ...
    environment: dict[str, Any]


def metrics_from(logged: dict[str, Any]) -> StepMetrics | None:
    """A step's figures from a log entry of the trainer; None for an entry of another kind."""
    names = [field.name for field in fields(StepMetrics)]
    return StepMetrics(**{name: logged[name] for name in names}) if all(name in logged for name in names) else None
