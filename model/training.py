"""Corrects a model: a LoRA adapter fine-tuned on preference pairs, flags and rankings, with a neutral replay term.

The model given stays as it is.

Same pairs, replay, recipe, seed, model and reference numbers on the same build, device kind and threads: the same adapter, byte for
byte, in whatever order the lists come and however often the run is killed and started again. Knows nothing of the store, of text or
of reviewers.
"""

import hashlib
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from flagback.model.alarms import alarms
from flagback.model.checkpoint import context_length
from flagback.model.layout import Choice, choose_layout, flat_model, sequence_logps, vocabulary_size
from flagback.model.objective import reference_of, reference_trees, shared
from flagback.model.plan import Limits, Plan, make_plan, seed_of
from flagback.model.recipe import (
    Alarm,
    BadPair,
    BadRecipe,
    Dropped,
    Flag,
    ForeignFolder,
    NoPairs,
    NotFinite,
    Pair,
    Ranking,
    Recipe,
    StepMetrics,
    Stopped,
    SwappedPrompt,
    Trained,
)
from flagback.model.reference import Found, KeptReference, reference_logps
from flagback.model.resume import Checkpoints, file_sha256, write_folder

__all__ = [
    "Alarm",
    "BadPair",
    "BadRecipe",
    "Dropped",
    "Flag",
    "ForeignFolder",
    "NoPairs",
    "NotFinite",
    "Pair",
    "Ranking",
    "Recipe",
    "StepMetrics",
    "Stopped",
    "SwappedPrompt",
    "Trained",
    "correct",
    "sequence_logps",
]


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
    recipe: Recipe,
    seed: int,
    folder: Path,
    kept: KeptReference | None = None,
    on_step: Callable[[StepMetrics], None] = lambda _: None,
    on_alarm: Callable[[Alarm], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Trains an adapter for `loaded`; the reference is the model as it is given (earlier adapters merged).

    Pairs, answers judged alone (`flags`), rankings and replay each have their term of the loss (`objective`); so have prompts with
    swapped group terms (`swaps`), where the recipe weighs consistency or the adversary.

    `folder` belongs to this run: checkpoints, reference log-probabilities and the finished adapter are in it, and a second call
    goes on from what is there. `kept` holds what earlier runs scored under this very model (its caller answers for that).
    `should_stop` is asked after every step. `on_step` may be told a step again after a kill, `on_alarm` an alarm.
    Raises NoPairs, BadPair, BadRecipe, ForeignFolder, NotFinite, Stopped; the model is untouched in every case.
    """
    model = loaded.model
    limits = Limits(vocabulary_size(model), context_length(model.config))
    plan = make_plan(pairs, replay, recipe=recipe, seed=seed, limits=limits, flags=flags, rankings=rankings, swaps=swaps)
    checkpoints = Checkpoints(folder, hashlib.sha256(f"{plan.fingerprint}:{weights_fingerprint(model)}".encode()).hexdigest())
    if should_stop():
        raise Stopped("Stopped before the first step.")
    trees = reference_trees(plan, recipe)
    choice = choose_layout(model, trees) if recipe.layout == "auto" else Choice(recipe.layout, "asked for")
    with as_it_was(model):
        asked, places = shared(trees) if recipe.sharing == "prompt" else (trees, None)
        reference = reference_logps(
            model, asked, choice.layout, folder=folder, run=checkpoints.run, kept=kept, should_stop=should_stop
        )
        if places is not None:
            flat = [value for values in reference.logps for value in values]
            found = iter([flat[place] for place in places])
            reference = reference._replace(logps=[[next(found) for _ in tree.answers] for tree in trees])
        return _train(model, plan, reference, choice, checkpoints, recipe, seed, (on_step, on_alarm, should_stop))


def _train(
    model: Any,
    plan: Plan,
    reference: Found,
    choice: Choice,
    checkpoints: Checkpoints,
    recipe: Recipe,
    seed: int,
    told: tuple[Callable[[StepMetrics], None], Callable[[Alarm], None], Callable[[], bool]],
) -> Trained:
    from flagback.model.trainer import WEIGHTS, CorrectionTrainer, save_adapter

    on_step, on_alarm, should_stop = told
    start = checkpoints.newest()
    checkpoints.clear_aside()
    torch.manual_seed(seed_of(seed, "adapter"))
    adapted = with_adapter(model, recipe)
    try:
        with flat_model(model, choice.layout):
            trainer = CorrectionTrainer(
                adapted,
                _arguments(recipe, plan, seed, checkpoints.folder, model),
                plan=plan,
                reference=reference_of(plan, reference.logps),
                layout=choice.layout,
                recipe=recipe,
                seed=seed,
                checkpoints=checkpoints,
                on_step=on_step,
                on_alarm=on_alarm,
                should_stop=should_stop,
            )
            trainer.train(resume_from_checkpoint=str(start.path) if start else None)
        if trainer.stopped:
            raise Stopped(f"Stopped after step {trainer.state.global_step} of {recipe.steps}; starting it again goes on there.")
        adapter = checkpoints.folder / "adapter"
        write_folder(adapter, lambda place: save_adapter(adapted, place))
        checkpoints.clear_aside()
        trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        sounded = alarms(trainer.figures, recipe)
        return Trained(
            adapter,
            file_sha256(adapter / WEIGHTS),
            trainer.figures,
            len(plan.pairs),
            plan.dropped,
            environment(model, plan, choice, trained)
            | {"reference_sha256": reference.sha256, "reference_kept": reference.kept}
            | {"alarms": [alarm._asdict() for alarm in sounded]}
            | ({"group_weights": trainer.fairness.weights} if trainer.fairness.weights else {}),
            alarms=sounded,
        )
    finally:
        adapted.unload()


def with_adapter(model: Any, recipe: Recipe) -> Any:
    """The model with a fresh LoRA adapter in it; `unload()` takes it out again."""
    from peft import LoraConfig, get_peft_model
    from transformers.pytorch_utils import Conv1D

    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        bias="none",
        task_type="CAUSAL_LM",
        target_modules=recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
    )
    try:
        with warnings.catch_warnings():
            # PEFT sets fan_in_fan_out by itself, module by module, and says so.
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
            # PEFT 0.21 asks transformers 5.23 by an old name.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            adapted = get_peft_model(model, config)
    except ValueError as error:
        raise BadRecipe(
            f'targets is {recipe.targets!r}; "all-linear" or names of this model\'s linear modules were expected ({error}).'
        ) from error
    adapted.peft_config["default"].base_model_name_or_path = None
    return adapted


def _arguments(recipe: Recipe, plan: Plan, seed: int, folder: Path, model: Any) -> Any:
    from transformers import TrainingArguments

    schedules = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=plan.parts_per_step,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=schedules[recipe.schedule],
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


def environment(model: Any, plan: Plan, choice: Choice, trained_parameters: int) -> dict[str, Any]:
    """What decides, beside set, recipe and seed, which bytes come out."""
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
        "layout": choice.layout,
        "layout_reason": choice.reason,
        "parts_per_step": plan.parts_per_step,
        "pairs": len(plan.pairs),
        "dropped": len(plan.dropped),
        "trained_parameters": trained_parameters,
    }


def weights_fingerprint(model: Any) -> str:
    """A cheap mark of which weights these are: sha256 over every parameter's name, shape and two sums."""
    marks = hashlib.sha256()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            sums = weight.double().sum().item(), weight.double().abs().sum().item()
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
