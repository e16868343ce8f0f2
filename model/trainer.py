"""The training loop: transformers' Trainer with our own loss, batches and checkpoints.

What is computed in which step comes from a Plan; the Trainer brings optimiser, schedule, clipping, accumulation, devices and the
order of events. Imported when a correction starts, since it brings PEFT along (seconds). Knows nothing of the store.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from flagback.model import losses
from flagback.model.layout import Tree, answer_logps
from flagback.model.plan import Part, Plan, seed_of
from flagback.model.recipe import LayoutName, NotFinite, Recipe, StepMetrics, metrics_from
from flagback.model.resume import Checkpoints, write_folder

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
#: A margin closer to 0 is rounding, as before the first update, and counts as half right.
TIE = 1e-5


class Parts(Dataset[int]):
    """The numbers of the run's parts, in their order: what a part holds is in the plan."""

    def __init__(self, count: int) -> None:
        """One item a part."""
        self.count = count

    def __len__(self) -> int:
        """How many there are over all steps."""
        return self.count

    def __getitem__(self, number: int) -> int:
        """The number itself."""
        return number


def alone(numbers: list[int]) -> dict[str, int]:
    """A batch is one part."""
    (number,) = numbers
    return {"part": number}


class CorrectionTrainer(Trainer):  # type: ignore[misc]
    """Trains the model's adapter on the plan's parts, one after the other."""

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        *,
        plan: Plan,
        reference: Sequence[Sequence[float]],
        layout: LayoutName,
        recipe: Recipe,
        seed: int,
        checkpoints: Checkpoints,
        on_step: Callable[[StepMetrics], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """`reference` holds (chosen, rejected) log-probabilities under the reference, by place in plan.pairs."""
        self.plan, self.reference, self.layout, self.recipe, self.seed = plan, reference, layout, recipe, seed
        self.checkpoints, self.on_step = checkpoints, on_step
        self.sums = dict.fromkeys(("preference", "replay", "margin", "right", "chosen", "rejected"), 0.0)
        self.should_stop, self.stopped = should_stop, False
        self.watch = Watch()
        super().__init__(model=model, args=args, train_dataset=Parts(len(plan.parts)), data_collator=alone, callbacks=[self.watch])
        self.remove_callback(PrinterCallback)
        self.loss_is_scaled_for_ga = True  # parts are divided by the step's sums

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: ARG002
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002
    ) -> Tensor:
        """The part's share of the step's loss; adds its figures to the step's."""
        part = self.plan.parts[inputs["part"]]
        _dropout_of_the_adapter_only(model)
        if self.recipe.dropout:
            torch.manual_seed(seed_of(self.seed, "dropout", part.number))
        pairs = [self.plan.pairs[i] for i in part.pairs]
        lines = [self.plan.replay[i] for i in part.replay]
        trees = [Tree(tuple(p.prompt_ids), (tuple(p.chosen_ids), tuple(p.rejected_ids))) for p in pairs]
        trees += [Tree(line[:1], (line[1:],)) for line in lines]
        logps = answer_logps(model, trees, self.layout)  # (2 * pairs + lines,)
        loss = torch.zeros((), device=logps.device)
        if pairs:
            loss = loss + self.recipe.preference_weight * self._preference(part, logps[: 2 * len(pairs)].view(-1, 2))
        if lines:
            replay = losses.replay_loss(logps[2 * len(pairs) :], part.total_replay_tokens)
            self.sums["replay"] += float(replay.detach())
            loss = loss + self.recipe.replay_weight * replay
        if not bool(torch.isfinite(loss)):
            raise NotFinite(self._advice(f"the loss is {float(loss.detach())}"))
        return loss

    def _preference(self, part: Part, logps: Tensor) -> Tensor:
        """The part's preference loss from (B, 2) log-probabilities of chosen and rejected."""
        pairs = [self.plan.pairs[i] for i in part.pairs]
        reference = logps.new_tensor([self.reference[i] for i in part.pairs])  # (B, 2)
        weight = logps.new_tensor([p.weight for p in pairs])  # (B,)
        chosen, rejected = logps.unbind(1)  # (B,), (B,)
        ref_chosen, ref_rejected = reference.unbind(1)
        loss = losses.dpo_loss(
            chosen,
            rejected,
            ref_chosen,
            ref_rejected,
            beta=self.recipe.beta,
            soft_label=logps.new_tensor([p.soft_label for p in pairs]),
            weight=weight,
            total_weight=part.total_weight,
        )
        with torch.no_grad():
            share = weight / part.total_weight  # (B,)
            margin = losses.reward_margin(chosen, rejected, ref_chosen, ref_rejected, beta=self.recipe.beta)
            right = ((margin > TIE).to(margin) + (margin >= -TIE).to(margin)) / 2  # (B,)
            figures = {
                "preference": loss,
                "margin": share @ margin,
                "right": share @ right,
                "chosen": share @ (chosen - ref_chosen),
                "rejected": share @ (rejected - ref_rejected),
            }
            for name, value in figures.items():
                self.sums[name] += float(value)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Reports a finished step, keeps its figures in the state that checkpoints hold, and asks whether to go on.

        The Trainer's summary at the end is left out.
        """
        if "grad_norm" not in logs:
            return
        if not math.isfinite(logs["grad_norm"]):
            raise NotFinite(self._advice(f"the gradient's norm is {logs['grad_norm']}"))
        sums, self.sums = self.sums, dict.fromkeys(self.sums, 0.0)
        seconds = max(time.perf_counter() - self.watch.began, 1e-9)
        metrics = StepMetrics(
            step=self.state.global_step,
            steps=self.recipe.steps,
            loss=self.recipe.preference_weight * sums["preference"] + self.recipe.replay_weight * sums["replay"],
            preference_loss=sums["preference"],
            replay_loss=sums["replay"],
            margin=sums["margin"],
            accuracy=sums["right"],
            chosen_change=sums["chosen"],
            rejected_change=sums["rejected"],
            grad_norm=logs["grad_norm"],
            learning_rate=logs["learning_rate"],
            pairs_per_second=self.plan.pairs_per_step / seconds,
        )
        super().log({**logs, **metrics.__dict__}, start_time)
        self.on_step(metrics)
        if metrics.step < metrics.steps and self.should_stop():
            self.stopped = True
            self.control.should_save = True
            self.control.should_training_stop = True

    def _advice(self, what: str) -> str:
        return (
            f"Correction stopped near step {self.state.global_step + 1} of {self.recipe.steps}: {what}. The current model "
            f"is untouched. Lower learning_rate ({self.recipe.learning_rate:g}) or raise warmup ({self.recipe.warmup} steps), "
            "then run 'flagback correct' again."
        )

    @property
    def figures(self) -> tuple[StepMetrics, ...]:
        """Of all steps so far, those before a resume included."""
        return tuple(found for entry in self.state.log_history if (found := metrics_from(entry)) is not None)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:  # noqa: ARG002
        """Not counted."""
        return 0

    # ---- checkpoints

    def _get_output_dir(self, trial: Any) -> str:  # noqa: ARG002
        return str(self.checkpoints.aside)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The Trainer's checkpoint, written aside and moved into place once it is complete."""
        self.checkpoints.clear_aside()
        super()._save_checkpoint(model, trial)
        self.checkpoints.keep(self.checkpoints.aside / f"checkpoint-{self.state.global_step}", self.state.global_step)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        assert output_dir is not None  # nosec B101 # transformers names it whenever it saves
        write_folder(Path(output_dir), lambda place: save_adapter(self.accelerator.unwrap_model(self.model), place))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        target = self.accelerator.unwrap_model(self.model) if model is None else model
        found = set_peft_model_state_dict(target, load_file(Path(resume_from_checkpoint) / WEIGHTS))
        assert not found.unexpected_keys, found.unexpected_keys  # nosec B101 # the file's sha256 was checked; this is a bug of ours


class Watch(TrainerCallback):  # type: ignore[misc]
    """Takes the time at which a step begins."""

    began = 0.0

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        """Starts the clock."""
        self.began = time.perf_counter()


def save_adapter(model: Any, place: Path) -> None:
    """Writes adapter_config.json and adapter_model.safetensors: equal adapters give equal bytes, without a path of this machine."""
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    weights = {name: weights[name].detach().cpu().contiguous() for name in sorted(weights)}
    save_file(weights, place / WEIGHTS, metadata={"format": "pt"})
    settings = model.peft_config["default"].to_dict()
    config = {name: sorted(value) if isinstance(value, (set, frozenset)) else value for name, value in settings.items()}
    config |= {"base_model_name_or_path": None, "inference_mode": True}
    (place / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True, default=str))
    (place / WEIGHTS).chmod(0o644)


def _dropout_of_the_adapter_only(model: Any) -> None:
    """Evaluation mode but for the adapter's dropout: the model's own would make policy and reference differ by chance."""
    model.eval()
    for name, module in model.named_modules():
        if ".lora_dropout" in name:
            module.train()
