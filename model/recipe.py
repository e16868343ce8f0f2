"""What a correction is told and what it gives back: recipe, pairs, figures of a step, result, and what can go wrong.

Plain values, no torch, so that screens and the command line may read them.
"""

import math
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from flagback.storage.prompts import TRAINING_SHARDS

LayoutName = Literal[
    "flat",  # one row without padding, a prompt computed once for its answers
    "padded",  # one right-padded row an answer: slower, works with every causal model
]
Schedule = Literal["constant", "linear", "cosine"]
#: What is trained: low-rank matrices beside linear layers, or a copy of every weight.
Tuning = Literal["lora", "full"]
#: What is learnt from a pair; equations and sources in `losses`.
LossName = Literal[
    "dpo",  # the margin grows, as far as the soft label says
    "cdpo",  # every label is doubted by label_noise: the margin comes to rest
    "robust",  # as if label_noise of the labels were wrong, and undone
    "ipo",  # the difference a token comes to rest at 1 / (2 beta)
    "apo_zero",  # chosen up and rejected down, each against the reference
    "apo_down",  # both down, rejected more so: for chosen answers that are bad too
]
Sharing = Literal["pair", "prompt"]
#: From where a flag's gain and loss are told: the reference itself, or KTO's estimate of how far the policy has moved.
FlagPoint = Literal["reference", "kl"]
#: What groups of pairs count: as their pairs weigh; each alike; or more the worse they fare (`group_weights`).
GroupWeights = Literal["given", "even", "worst"]
#: How several terms of the loss become one step: their sum, or a direction along which none of them gets worse (`descent`).
Combine = Literal["sum", "mgda"]
#: How a correction of a corrected model is put together with those before it (`rounds`).
Rounds = Literal[
    "merge",  # trained on the parent; a version is the chain of its adapters
    "stack",  # trained on the parent; a version is one adapter of the first base, the rounds' side by side
    "rebase",  # trained on the first base anew, on the pairs of all rounds; it replaces the adapters before it
]

#: Above it a step on every weight undoes what a model knows.
HIGHEST_FULL_RATE = 1e-3
#: More is more than a full fine-tune.
MOST_RANK = 4096
#: A plan holds every step, some kilobytes each.
MOST_STEPS = 100_000
#: Rates that a sweep tries, each a little over 1.4 times the one before.
RATES = 31
#: In which numbers the model is computed; its weights, the adapter and the optimiser are float32 either way.
Precision = Literal["float32", "bfloat16"]
#: What several processes hold: each all weights, or each a share of every one.
Sharding = Literal["none", "full"]


class BadRecipe(ValueError):
    """A setting of the recipe cannot be used."""


class BadPair(ValueError):
    """A preference pair, a flag or a ranking holds something that cannot be trained on."""


class NoPairs(ValueError):
    """There is no pair, flag or ranking to learn from."""


class NotFinite(ArithmeticError):
    """The loss or the gradient stopped being a number."""


class NotSharded(RuntimeError):
    """The run asks for several processes or for sharding, and does not have them."""


class OutOfMemory(RuntimeError):
    """Memory ran out twice: also with half as much computed at once."""


class TooLittleMemory(RuntimeError):
    """The machine has less memory than the run would take; nothing was started."""


class DiskFull(RuntimeError):
    """A checkpoint or the adapter could not be written for lack of room."""


class ForeignFolder(ValueError):
    """The folder holds the checkpoints of another run."""


class Stopped(Exception):
    """The run was asked to stop; its newest checkpoint is kept and a second call goes on from there."""


@dataclass(frozen=True)
class Recipe:
    """Settings of a correction; the defaults fit the embedded model (figures in docs/log.md)."""

    #: An adapter, or every weight: then rank, alpha, targets and dropout are not read, and the learning rate is a smaller one.
    tuning: Tuning = "lora"
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
    #: What is laid out behind a prompt that is computed once: the answers of one pair, or each answer of all that a step has under
    #: that prompt, whose pairs are then drawn together. The same losses, fewer tokens where several answers were reviewed.
    sharing: Sharing = "pair"
    #: What is learnt from a pair, and which share of labels is taken for wrong (cdpo and robust alone).
    loss: LossName = "dpo"
    label_noise: float = 0.0
    #: Factor of the nats that chosen answers lose against the reference: against likelihood displacement.
    anchor_weight: float = 0.0
    #: Factor of the loss of answers judged alone, how many go into a step, and the point they are told from.
    flag_weight: float = 1.0
    flags_per_step: int = 16
    flag_point: FlagPoint = "reference"
    #: Factor of the loss of rankings, and how many go into a step.
    ranking_weight: float = 1.0
    rankings_per_step: int = 8
    #: What a pair's group counts, and how fast weights follow the groups' losses (worst alone). Unless as given, pairs are drawn
    #: of each group in turn.
    group_weights: GroupWeights = "given"
    group_rate: float = 0.5
    #: Factor of the difference that swapped group terms make to the next word, and how many swapped prompts go into a step.
    consistency_weight: float = 0.0
    swaps_per_step: int = 16
    #: Factor of the adversary's loss, and by what its gradient is multiplied when it is turned round.
    adversary_weight: float = 0.0
    reversal: float = 1.0
    #: How terms are put together; with mgda factors above 0 only say which terms there are.
    combine: Combine = "sum"
    #: Early stop: steps between two looks at pairs that are kept aside (0: none are, and all steps are taken), looks without a
    #: lower loss that end the run, and how many of the training shards, the last ones, are kept aside for it.
    stop_every: int = 0
    stop_patience: int = 3
    stop_shards: int = 7
    #: Whether a sweep over rates comes first and gives the learning rate; written learning_rate: "find" in JSON.
    find_rate: bool = False
    #: How the adapter is put together with those of the rounds before it.
    rounds: Rounds = "merge"
    #: How far the version may be from the first base of its line: share of the norm of all weights, and nats a token over neutral
    #: texts; 0 sets no bound.
    max_distance: float = 0.0
    max_kl: float = 0.0
    #: bfloat16 for what autocast takes to be safe in it, reference and training alike.
    precision: Precision = "float32"
    #: Activation checkpointing: less memory for about a quarter more time, and the same bytes.
    gradient_checkpointing: bool = False
    #: Over how many processes a step is spread (docs/scale-out.md), and whether weights are cut over them. Both decide last bits.
    processes: int = 1
    sharding: Sharding = "none"

    def __post_init__(self) -> None:
        """Refuses values that cannot work. As read from JSON a list of targets becomes a tuple, learning_rate "find" a sweep."""
        if not isinstance(self.targets, str):
            object.__setattr__(self, "targets", tuple(self.targets))
        if str(self.learning_rate) == "find":
            object.__setattr__(self, "learning_rate", type(self).learning_rate)
            object.__setattr__(self, "find_rate", True)
        at_least = {
            "rank": 1,
            "steps": 1,
            "pairs_per_step": 1,
            "max_tokens": 2,
            "checkpoint_every": 1,
            "warmup": 0,
            "replay_per_step": 0,
            "flags_per_step": 0,
            "rankings_per_step": 0,
            "swaps_per_step": 0,
            "stop_every": 0,
            "stop_patience": 1,
            "stop_shards": 1,
            "processes": 1,
        }
        for name, least in at_least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadRecipe(f"{name} is {value!r}; a whole number of at least {least} was expected.")
        for name, most in (("rank", MOST_RANK), ("steps", MOST_STEPS)):
            value = getattr(self, name)
            if value > most:
                raise BadRecipe(f"{name} is {value!r}; at most {most} was expected (the default is {getattr(type(self), name)}).")
        for name in ("find_rate", "gradient_checkpointing"):
            if not isinstance(getattr(self, name), bool):
                raise BadRecipe(f"{name} is {getattr(self, name)!r}; true or false was expected.")
        if self.stop_shards > len(TRAINING_SHARDS) // 2:
            raise BadRecipe(
                f"stop_shards is {self.stop_shards!r}; at most {len(TRAINING_SHARDS) // 2} of the {len(TRAINING_SHARDS)} training "
                "shards may be kept aside, so that most of them teach."
            )
        for name in ("alpha", "learning_rate", "beta", "max_grad_norm", "group_rate", "reversal"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise BadRecipe(f"{name} is {getattr(self, name)!r}; a number above 0 was expected.")
        factors = [name for name in asdict(self) if name.endswith("_weight")]
        for name in (*factors, "weight_decay", "max_distance", "max_kl"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise BadRecipe(f"{name} is {getattr(self, name)!r}; 0 or more was expected.")
        if self.preference_weight == 0 and self.replay_weight * self.replay_per_step == 0:
            raise BadRecipe("preference_weight and the replay are both 0, so nothing would be learned; raise one of them.")
        if not 0 <= self.dropout < 1:
            raise BadRecipe(f"dropout is {self.dropout!r}; a share from 0 to below 1 was expected.")
        choices: dict[str, tuple[str, ...]] = {
            "tuning": get_args(Tuning),
            "schedule": get_args(Schedule),
            "layout": ("auto", *get_args(LayoutName)),
            "loss": get_args(LossName),
            "flag_point": get_args(FlagPoint),
            "sharing": get_args(Sharing),
            "group_weights": get_args(GroupWeights),
            "combine": get_args(Combine),
            "rounds": get_args(Rounds),
            "precision": get_args(Precision),
            "sharding": get_args(Sharding),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise BadRecipe(f"{name} is {getattr(self, name)!r}; one of {', '.join(allowed)} was expected.")
        if not 0 <= self.label_noise < 0.5:
            raise BadRecipe(f"label_noise is {self.label_noise!r}; a share from 0 to below 0.5 was expected.")
        if (self.loss in ("cdpo", "robust")) != (self.label_noise > 0):
            raise BadRecipe(
                f"loss is {self.loss!r} and label_noise {self.label_noise!r}; cdpo and robust need a share above 0, and no other "
                "loss reads it."
            )
        if self.tuning == "full":
            _check_full(self)
        _check_processes(self)

    @property
    def smaller(self) -> str:
        """What to change where a run takes too much memory, as the beginning of a sentence."""
        other = f"lower rank ({self.rank})" if self.tuning == "lora" else "train an adapter (tuning lora)"
        first = "Lower" if self.gradient_checkpointing else "Set gradient_checkpointing, lower"
        return f"{first} max_tokens ({self.max_tokens}), {other}"

    @property
    def shards_aside(self) -> range:
        """Training shards whose pairs are not learnt from but tell when to stop; none where the run takes all of its steps."""
        return TRAINING_SHARDS[-self.stop_shards :] if self.stop_every else range(0)


def _check_full(recipe: Recipe) -> None:
    """Refuses what only adapters have, and rates that are theirs."""
    if not recipe.find_rate and recipe.learning_rate > HIGHEST_FULL_RATE:
        raise BadRecipe(
            f"learning_rate is {recipe.learning_rate:g} with tuning 'full'; at most {HIGHEST_FULL_RATE:g} was expected, since "
            "every weight takes such a step. Give one (1e-5 to 3e-4 is usual), or have it found: --find-rate."
        )
    if recipe.rounds == "stack":
        raise BadRecipe(
            "rounds is 'stack' with tuning 'full'; merge or rebase was expected, since only adapters are put side by side."
        )
    if recipe.dropout:
        raise BadRecipe(f"dropout is {recipe.dropout!r} with tuning 'full'; 0 was expected, since it is the adapter's alone.")


def _check_processes(recipe: Recipe) -> None:
    """Refuses what needs all gradients, or all parts of a step, in one process, and what looks at the model between steps."""
    if recipe.sharding == "full" and recipe.processes == 1:
        raise BadRecipe("sharding is 'full' and processes is 1; 2 or more were expected, to cut the weights over.")
    unshared = {"combine": "sum", "flag_point": "reference", "adversary_weight": 0, "stop_every": 0, "find_rate": False}
    if recipe.sharding == "full":
        unshared["consistency_weight"] = 0
    for name, wanted in unshared.items() if recipe.processes > 1 else ():
        if getattr(recipe, name) != wanted:
            raise BadRecipe(
                f"{name} is {getattr(recipe, name)!r} with processes {recipe.processes} and sharding {recipe.sharding!r}; "
                f"{wanted!r} was expected there."
            )


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
    #: Whom its prompt speaks of; read where groups are weighed. Pairs of no group are a group of their own, "".
    group: str = ""


@dataclass(frozen=True)
class Flag:
    """An answer that was judged alone, without a counterpart under its prompt."""

    key: str
    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]
    #: Harmful, or fine.
    harmful: bool = True
    weight: float = 1.0


@dataclass(frozen=True)
class Ranking:
    """Two or more answers under one prompt in their order, the best first."""

    key: str
    prompt_ids: Sequence[int]
    answers_ids: Sequence[Sequence[int]]
    weight: float = 1.0


@dataclass(frozen=True)
class SwappedPrompt:
    """A prompt and the same with one group's terms in the place of another's, by a swap that can be undone."""

    key: str
    prompt_ids: Sequence[int]
    swapped_ids: Sequence[int]
    #: A neutral answer behind both, along which next words are compared too; without one only at the prompts' ends.
    continuation_ids: Sequence[int] = ()


class Dropped(NamedTuple):
    """A pair, flag, ranking, swapped prompt or replay line that was given and not trained on."""

    #: The pair's key, or "replay" and the line's number in content order.
    key: str
    reason: str


@dataclass(frozen=True)
class StepMetrics:
    """Figures of one optimiser step, taken before its update; means over the pairs are weighted like the loss."""

    step: int
    #: The planned total.
    steps: int
    #: All terms, each times its factor of the recipe.
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
    #: Mean nats that chosen answers lost, and the losses of flags and rankings; 0 where the run has none.
    anchor_loss: float = 0.0
    flag_loss: float = 0.0
    ranking_loss: float = 0.0
    #: Difference that swapped terms make to the next word, in nats; the probe's loss, and the share that it told right.
    consistency_loss: float = 0.0
    adversary_loss: float = 0.0
    probe_right: float = 0.0
    #: Estimate of KL(reference | policy) in nats a token: what both answers, which the parent wrote, lost on average.
    kl: float = 0.0
    #: Of the pairs kept aside, after this step's update; None where no look was due.
    aside_loss: float | None = None
    aside_accuracy: float | None = None

    def shown(self) -> dict[str, float]:
        """All figures by name, as they are stored and shown."""
        return {name: value for name, value in asdict(self).items() if name != "step" and value is not None}


AlarmKind = Literal["displacement", "kl", "gradient", "memory"]


class Alarm(NamedTuple):
    """What went out of its bounds while a correction trained, and what cures it. Each kind sounds once a run."""

    kind: AlarmKind
    #: At which it was seen first.
    step: int
    value: float
    limit: float
    #: A sentence with both and with the cure.
    advice: str


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
    #: What the figures gave cause to warn of, in the order of steps.
    alarms: tuple[Alarm, ...] = ()


def metrics_from(logged: dict[str, Any]) -> StepMetrics | None:
    """A step's figures from a log entry of the trainer; None for an entry of another kind."""
    known = {field.name: logged[field.name] for field in fields(StepMetrics) if field.name in logged}
    needed = {field.name for field in fields(StepMetrics) if field.default is MISSING}
    return StepMetrics(**known) if needed <= known.keys() else None


def rate_cost(recipe: Recipe) -> str:
    """What looking for a learning rate costs beside the run it is for, in words."""
    return (
        f"Looking for a learning rate takes up to {RATES + 1} steps on an adapter that is thrown away, beside the run's own "
        f"{recipe.steps}: up to {(RATES + 1 + recipe.steps) / recipe.steps:.1f} times the time of the run alone."
    )
