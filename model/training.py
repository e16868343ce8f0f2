"""Corrects a model: an adapter, or every weight, fine-tuned on preference pairs, flags and rankings, with a neutral replay term.

The model given stays as it is.

Same pairs, replay, recipe, seed, model and reference numbers on the same build, device kind and threads: the same adapter, byte for
byte, in whatever order the lists come and however often the run is killed and started again. Knows nothing of the store, of text or
of reviewers.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
import torch

from flagback.model import memory, shortage
from flagback.model.adapter import WEIGHTS, adapter_weights, save_adapter, take_out, with_adapter
from flagback.model.alarms import alarms
from flagback.model.checkpoint import context_length
from flagback.model.contents import Limits, digest, usable
from flagback.model.heap import kept_heap
from flagback.model.layout import Choice, attention_by, choose_layout, computed_in, flat_model, sequence_logps, vocabulary_size
from flagback.model.linears import quick_linears
from flagback.model.objective import reference_of, reference_trees, tree_of
from flagback.model.plan import Plan, make_plan, seed_of
from flagback.model.progress import Progress, untold
from flagback.model.ranks import ALONE, Ranks, shard
from flagback.model.recipe import (
    Alarm,
    BadPair,
    BadRecipe,
    DiskFull,
    Dropped,
    Flag,
    ForeignFolder,
    NoPairs,
    NotFinite,
    NotSharded,
    OutOfMemory,
    Pair,
    Ranking,
    Recipe,
    Schedule,
    StepMetrics,
    Stopped,
    SwappedPrompt,
    TooLittleMemory,
    Trained,
)
from flagback.model.recompute import recomputing
from flagback.model.reference import FILE, Found, KeptReference, reference_logps
from flagback.model.resume import Checkpoints, file_sha256, write_folder
from flagback.model.spool import View
from flagback.model.trees import Tree, shared

if TYPE_CHECKING:
    from flagback.model.early_stop import EarlyStop

__all__ = [
    "Alarm",
    "BadPair",
    "BadRecipe",
    "DiskFull",
    "Dropped",
    "Flag",
    "ForeignFolder",
    "NoPairs",
    "NotFinite",
    "NotSharded",
    "OutOfMemory",
    "Pair",
    "Ranking",
    "Recipe",
    "StepMetrics",
    "Stopped",
    "SwappedPrompt",
    "TooLittleMemory",
    "Trained",
    "correct",
    "sequence_logps",
]


#: The recipe's schedules as transformers calls them.
SCHEDULES: Final[dict[Schedule, str]] = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


class _Told(NamedTuple):
    """Who is told of steps, alarms and how far it is, and who says whether to stop."""

    on_step: Callable[[StepMetrics], None]
    on_alarm: Callable[[Alarm], None]
    on_progress: Progress
    should_stop: Callable[[], bool]


class HasModel(Protocol):
    """A loaded model; checkpoint.Loaded is one."""

    @property
    def model(self) -> Any:
        """A causal language model of transformers, in float32."""


def correct(
    loaded: HasModel,
    pairs: Sequence[Pair],
    *,
    flags: Sequence[Flag] = (),
    rankings: Sequence[Ranking] = (),
    swaps: Sequence[SwappedPrompt] = (),
    replay: Sequence[Sequence[int]] = (),
    aside: Sequence[Pair] = (),
    recipe: Recipe,
    seed: int,
    folder: Path,
    kept: KeptReference | None = None,
    ranks: Ranks = ALONE,
    on_step: Callable[[StepMetrics], None] = lambda _: None,
    on_alarm: Callable[[Alarm], None] = lambda _: None,
    on_progress: Progress = untold,
    should_stop: Callable[[], bool] = lambda: False,
    rates: Sequence[float] | None = None,
) -> Trained:
    """Trains an adapter for `loaded`; the reference is the model as it is given (earlier adapters merged).

    Pairs, answers judged alone (`flags`), rankings and replay each have their term of the loss (`objective`); so have prompts with
    swapped group terms (`swaps`), where the recipe weighs consistency or the adversary. Flags are drawn harmful and fine in turn.

    Where the recipe stops early, `aside` holds pairs that are not learnt from and tell when; the adapter is then that of the best
    look. `rates` are the steps' learning rates in the place of the recipe's schedule.

    `folder` belongs to this run: checkpoints, reference log-probabilities and the finished adapter are in it, and a second call
    goes on from what is there. `kept` holds what earlier runs scored under this very model (its caller answers for that).
    `should_stop` is asked after every step. `on_step` may be told a step again after a kill, `on_alarm` an alarm;
    `on_progress` hears how far the scoring is.
    Where memory runs out it is tried once more with half as much computed at once, as the run's alarms then say.
    With `ranks` this is one process of several, all of which are given the same; `folder` is one that all can read, and the
    sharded model is left cut over them.
    Raises NoPairs, BadPair, BadRecipe, ForeignFolder, NotFinite, NotSharded, TooLittleMemory, OutOfMemory, DiskFull, Stopped;
    the model is untouched in every other case.
    """
    ranks.check(recipe)
    model = loaded.model
    asked = _Asked(model, weights_fingerprint(model), recipe, seed, folder, kept, ranks, rates)
    limits = limits_of(model)
    watched = _kept_aside(aside, recipe, limits)
    last = [0]

    def step_done(metrics: StepMetrics) -> None:
        last[0] = metrics.step
        on_step(metrics)

    told = _Told(step_done, on_alarm, on_progress, should_stop)

    def attempt() -> Trained:
        cuts = 2 if shortage.halved(folder) else 1
        plan = make_plan(
            pairs,
            replay,
            recipe=recipe,
            seed=seed,
            limits=limits,
            flags=flags,
            rankings=rankings,
            swaps=swaps,
            cuts=cuts,
        )
        return _corrected(asked, plan, watched, cuts, told)

    with shortage.room_on_disk(folder):
        found = shortage.unless_of_memory(attempt)
        if found is None and not shortage.halved(folder) and ranks.count == 1:
            on_alarm(*shortage.halve(folder, last[0]))
            found = shortage.unless_of_memory(attempt)
    if found is None:
        raise OutOfMemory(
            f"Correction stopped near step {last[0] + 1} of {recipe.steps}: memory ran out, with half as much computed at once "
            f"too. The current model is untouched. {recipe.smaller}, stop other "
            "programs, or take a machine with more memory ('flagback correct --dry-run' estimates it), then run 'flagback correct' "
            "again."
        )
    return found


class _Asked(NamedTuple):
    """What stays the same in every attempt at a run."""

    model: Any
    #: Of its weights, before anything is put into it.
    weights: str
    recipe: Recipe
    seed: int
    folder: Path
    kept: KeptReference | None
    ranks: Ranks
    rates: Sequence[float] | None


class _Given(NamedTuple):
    """What an attempt is made of once everything is scored that can be beforehand."""

    #: With its adapter in it; None where it gets one when everything else is ready.
    adapted: Any
    plan: Plan
    reference: Found
    choice: Choice
    checkpoints: Checkpoints
    early_stop: "EarlyStop | None"


def limits_of(model: Any) -> Limits:
    """What a model can hold."""
    return Limits(vocabulary_size(model), context_length(model.config))


def _kept_aside(aside: Sequence[Pair], recipe: Recipe, limits: Limits) -> Sequence[Pair]:
    """The usable pairs that tell when to stop, where the recipe wants any. Raises NoPairs."""
    if not recipe.stop_every:
        return []
    kept, _ = usable(aside, limits.longest(recipe), limits.vocabulary)
    if not kept:
        raise NoPairs(
            f"stop_every is {recipe.stop_every}, but none of {len(aside)} pairs kept aside can be scored; have more prompts "
            f"reviewed, raise stop_shards ({recipe.stop_shards}), or set stop_every to 0."
        )
    return kept


def _corrected(asked: _Asked, plan: Plan, watched: Sequence[Pair], cuts: int, told: _Told) -> Trained:
    """One attempt: reference and training, with what is computed at once cut `cuts` times."""
    model, weights, recipe, seed, folder, kept, ranks, _ = asked
    named = ":".join([plan.fingerprint, weights, *(digest(pair) for pair in watched)])
    if not ranks.first:
        ranks.barrier()  # the first makes the folder, or refuses it
    checkpoints = Checkpoints(folder, hashlib.sha256(named.encode()).hexdigest())
    if ranks.first:
        ranks.barrier()
    if ranks.agreed(told.should_stop()):
        raise Stopped("Stopped before the first step.")
    trees = reference_trees(plan, recipe)
    with as_it_was(model), kept_heap():
        torch.manual_seed(seed_of(seed, "adapter"))
        # A fresh adapter changes nothing, and the weights must be cut before the first pass of a model that no rank could hold.
        adapted = with_adapter(model, recipe) if ranks.sharded else None
        if adapted is not None:
            shard(model, ranks)
        choice = choose_layout(model, trees) if recipe.layout == "auto" else Choice(recipe.layout, "asked for")

        def scored(some: Sequence[Tree], file: str) -> Found:
            with computed_in(model, recipe.precision):
                return reference_logps(
                    model,
                    some,
                    choice.layout,
                    folder=folder,
                    run=checkpoints.run,
                    file=file,
                    kept=kept,
                    cuts=cuts,
                    ranks=ranks,
                    on_scored=partial(told.on_progress, "score the answers"),
                    should_stop=told.should_stop,
                )

        once, places = shared(trees) if recipe.sharing == "prompt" else (trees, None)
        reference = scored(once, FILE)
        if places is not None:
            flat = [value for values in reference.logps for value in values]
            found = (flat[place] for place in places)
            reference = reference._replace(logps=[[next(found) for _ in tree.answers] for tree in trees])
        early_stop = None
        if watched:
            # Brings PEFT along, seconds: only where a run needs it before its first step.
            from flagback.model.early_stop import EarlyStop

            before = scored(View(len(watched), lambda i: tree_of(watched[i])), "aside.safetensors")
            early_stop = EarlyStop(watched, before.logps, recipe, choice.layout, cuts=cuts)
        return _train(asked, _Given(adapted, plan, reference, choice, checkpoints, early_stop), told)


def _train(asked: _Asked, given: _Given, told: _Told) -> Trained:
    from flagback.model.trainer import CorrectionTrainer

    model, _, recipe, seed, _, _, ranks, rates = asked
    adapted, plan, reference, choice, checkpoints, early_stop = given
    start = checkpoints.newest()
    if ranks.first:
        checkpoints.clear_aside()
    if adapted is None:
        memory.check_copy(model, recipe)
        torch.manual_seed(seed_of(seed, "adapter"))
        adapted = with_adapter(model, recipe)
    try:
        if ranks.count == 1:
            memory.check(memory.needed(adapted, plan, recipe, choice.layout), memory.machine(model.device), recipe)
        trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
        if start is None and ranks.first:
            shortage.check_disk(checkpoints.folder, trained)
        # Weights that are cut over ranks are put together by hooks, which read them at their own time.
        with (
            flat_model(model, choice.layout),
            nullcontext() if ranks.sharded else quick_linears(adapted),
            recomputing(model, recipe.gradient_checkpointing),
        ):
            trainer = CorrectionTrainer(
                adapted,
                _arguments(recipe, plan, seed, checkpoints.folder, model),
                plan=plan,
                reference=reference_of(plan, reference.logps),
                layout=choice.layout,
                recipe=recipe,
                seed=seed,
                checkpoints=checkpoints,
                ranks=ranks,
                on_step=told.on_step,
                on_alarm=told.on_alarm,
                should_stop=told.should_stop,
                early_stop=early_stop,
                rates=rates,
            )
            told.on_progress("train", 0, recipe.steps)
            trainer.go_on(start)
        if trainer.stopped:
            raise Stopped(f"Stopped after step {trainer.state.global_step} of {recipe.steps}; starting it again goes on there.")
        if early_stop is not None:
            early_stop.restore(adapted)
        adapter = checkpoints.folder / "adapter"
        weights = adapter_weights(adapted)
        if ranks.first:
            write_folder(adapter, lambda place: save_adapter(adapted, place, weights))
            checkpoints.clear_aside()
        ranks.barrier()
        sounded = (*shortage.halved(checkpoints.folder), *alarms(trainer.figures, recipe))
        return Trained(
            adapter,
            file_sha256(adapter / WEIGHTS),
            trainer.figures,
            len(plan.pairs),
            plan.dropped,
            environment(model, plan, choice, trained, ranks)
            | {"reference_sha256": reference.sha256, "reference_kept": reference.kept}
            | {"alarms": [alarm._asdict() for alarm in sounded]}
            | ({"group_weights": trainer.fairness.weights} if trainer.fairness.weights else {})
            | ({"early_stop": early_stop.told()} if early_stop is not None else {}),
            alarms=sounded,
        )
    finally:
        take_out(adapted)


def _arguments(recipe: Recipe, plan: Plan, seed: int, folder: Path, model: Any) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=plan.parts_per_step // recipe.processes,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=SCHEDULES[recipe.schedule],
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch",
        seed=seed % 2**32,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=recipe.checkpoint_every,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        use_cpu=next(iter(model.parameters())).device.type == "cpu",
    )


def environment(model: Any, plan: Plan, choice: Choice, trained_parameters: int, ranks: Ranks) -> dict[str, Any]:
    """What decides, beside set, recipe and seed, which bytes come out."""
    return machine(model) | {
        "layout": choice.layout,
        "layout_reason": choice.reason,
        "attention": attention_by(model),
        "parts_per_step": plan.parts_per_step,
        "pairs": len(plan.pairs),
        "unpaired": len(plan.flags),
        "unpaired_harmful": sum(flag.harmful for flag in plan.flags),
        "dropped": len(plan.dropped),
        "trained_parameters": trained_parameters,
        "world_size": ranks.count,
        "sharding": "full" if ranks.sharded else "none",
    }


def machine(model: Any) -> dict[str, Any]:
    """Builds, device and threads that a model computes with."""
    import accelerate
    import peft
    import transformers

    weight = next(iter(model.parameters()))
    kind = weight.device.type
    name = torch.cuda.get_device_name(weight.device) if kind == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "accelerate": accelerate.__version__,
        "device": kind,
        "device_name": name,
        "dtype": str(weight.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "world_size": 1,
    }


def weights_fingerprint(model: Any) -> str:
    """A cheap mark of which weights these are: sha256 over every parameter's name, shape and sums, two of which mind the order."""
    marks = hashlib.sha256()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            rows = weight.double().reshape(-1, weight.shape[-1] if weight.dim() else 1)  # (N, I)
            by_place = (float(some @ torch.linspace(1, 2, len(some)).to(some)) for some in (rows.sum(0), rows.sum(1)))
            sums = rows.sum().item(), rows.abs().sum().item(), *by_place
            marks.update(f"{name} {tuple(weight.shape)} {sums!r};".encode())
    return marks.hexdigest()


@contextmanager
def as_it_was(model: Any) -> Iterator[None]:
    """Puts back afterwards what training touches: gradient flags, mode, cache setting, random states, transformers' verbosity."""
    from transformers.utils import logging

    flags = [(weight, weight.requires_grad) for weight in model.parameters()]
    was_training, cache, verbosity = model.training, getattr(model.config, "use_cache", None), logging.get_verbosity()
    states = random.getstate(), np.random.get_state()
    logging.set_verbosity_error()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        logging.set_verbosity(verbosity)
        random.setstate(states[0])
        np.random.set_state(states[1])
        for weight, flag in flags:
            weight.requires_grad_(flag)
            weight.grad = None
        if cache is not None:
            model.config.use_cache = cache
        model.train(was_training)
