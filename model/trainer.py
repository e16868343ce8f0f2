"""The training loop: transformers' Trainer with our own loss, batches and checkpoints.

What is computed in which step comes from a Plan, what is learnt there from `objective`; the Trainer brings optimiser, schedule,
clipping, accumulation, devices and the order of events. Imported when a correction starts, since it brings PEFT along (seconds).
Knows nothing of the store.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from flagback.model import consistency, losses, objective
from flagback.model.adapter import WEIGHTS, adapter_weights, put_in, save_adapter
from flagback.model.adversary import Probe
from flagback.model.alarms import USUAL, alarms, newest
from flagback.model.descent import common_direction
from flagback.model.early_stop import EarlyStop
from flagback.model.fairness import Fairness
from flagback.model.layout import answer_logps, computed_in
from flagback.model.objective import Reference
from flagback.model.plan import Part, Plan, seed_of
from flagback.model.ranks import Ranks, clip, like, whole
from flagback.model.recipe import Alarm, LayoutName, NotFinite, Recipe, StepMetrics, metrics_from
from flagback.model.resume import Checkpoint, Checkpoints, write_folder
from flagback.model.trees import Tree, shared


class Parts(Dataset[int]):
    """The numbers of this rank's parts, in their order: what a part holds is in the plan."""

    def __init__(self, numbers: range) -> None:
        """One item a part."""
        self.numbers = numbers

    def __len__(self) -> int:
        """How many there are over all steps."""
        return len(self.numbers)

    def __getitem__(self, place: int) -> int:
        """The number of the part at a place."""
        return self.numbers[place]


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
        reference: Reference,
        layout: LayoutName,
        recipe: Recipe,
        seed: int,
        checkpoints: Checkpoints,
        ranks: Ranks,
        on_step: Callable[[StepMetrics], None],
        on_alarm: Callable[[Alarm], None],
        should_stop: Callable[[], bool],
        early_stop: EarlyStop | None = None,
        rates: Sequence[float] | None = None,
    ) -> None:
        """Everything that is computed follows from these; `args` says how the Trainer goes about it.

        `rates` are the steps' learning rates in the place of the recipe's schedule.
        """
        self.plan, self.reference, self.layout, self.recipe, self.seed = plan, reference, layout, recipe, seed
        self.checkpoints, self.on_step, self.on_alarm = checkpoints, on_step, on_alarm
        self.ranks, self.spread = ranks, ranks.wrapped(model)
        self.sums = dict.fromkeys(objective.FIGURES, 0.0)
        self.point: tuple[int, Tensor | float] | None = None  # of flags, by step
        weights = next(iter(model.parameters()))
        self.fairness = Fairness(plan, recipe, model.get_input_embeddings().weight.shape[1], weights.device)
        self.apart = Apart()
        #: While a checkpoint of weights that are cut over ranks is written: adapter and optimiser put together.
        self.cut: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self.recent: list[StepMetrics] = []
        self.alarms: list[Alarm] | None = None  # read from the figures before a resume when the first step is reported
        self.should_stop, self.stopped = should_stop, False
        self.early_stop, self.rates = early_stop, rates
        self.watch = Watch()
        own = Parts(range(ranks.rank, len(plan.parts), ranks.count))
        super().__init__(model=model, args=args, train_dataset=own, data_collator=alone, callbacks=[self.watch])
        self.remove_callback(PrinterCallback)
        self.loss_is_scaled_for_ga = True  # parts are divided by the step's sums

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: ARG002
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002
    ) -> Tensor:
        """The part's share of the step's loss; adds its figures to the step's. Ranks take the mean of gradients, ours is a sum."""
        return self._terms(model, inputs["part"]).loss * self.ranks.count

    def _terms(self, model: Any, number: int) -> objective.Terms:
        """The part's share of every term, computed in the recipe's numbers; adds its figures to the step's."""
        with computed_in(self.model, self.recipe.precision):
            return self._computed(model, number)

    def _logps(self, trees: list[Tree]) -> Tensor:
        return answer_logps(self.spread, trees, self.layout, at_once=self.ranks.sharded)

    def _computed(self, model: Any, number: int) -> objective.Terms:
        part = self.plan.parts[number]
        if not any((part.pairs, part.replay, part.flags, part.rankings, part.swaps)):
            # Fewer examples than ranks: this one goes through the motions, since the others wait for its gradient.
            return objective.Terms({"nothing": 0.0 * self._logps([Tree((0,), ((0,),))]).sum()}, {}, {})
        point = self._point(model, part)
        _dropout_of_the_adapter_only(model)
        if self.recipe.dropout:
            torch.manual_seed(seed_of(self.seed, "dropout", part.number))
        trees = objective.part_trees(self.plan, part)
        if self.recipe.sharing == "prompt":
            once, places = shared(trees)
            logps = self._logps(list(once))
            logps = logps.index_select(0, torch.tensor(places, device=logps.device))
        else:
            logps = self._logps(trees)
        terms = objective.part_terms(
            self.plan, part, logps, self.reference, self.recipe, point=point, group_factors=self.fairness.factors
        )
        self.fairness.add(terms.group_losses)
        if part.swaps:
            rows = consistency.rows_of([self.plan.swaps[place] for place in part.swaps])
            seen = consistency.seen(self.spread, rows, self.layout, states=self.fairness.probe is not None)
            terms = terms.with_those_of(objective.swap_terms(self.plan, part, seen, self.recipe, self.fairness.probe))
        for name, value in terms.figures.items():
            self.sums[name] += value
        loss = terms.loss
        if not bool(torch.isfinite(loss)):
            raise NotFinite(self._advice(f"the loss is {float(loss.detach())}"))
        return terms

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """The part's backward pass; with mgda the terms' gradients are kept apart until the step is whole."""
        if self.recipe.combine == "sum":
            turn = inputs["part"] // self.ranks.count + 1
            with self.ranks.syncing(self.spread, turn % (self.plan.parts_per_step // self.ranks.count) == 0):
                found: Tensor = super().training_step(model, inputs, num_items_in_batch)
            return found
        with self.compute_loss_context_manager():
            terms = self._terms(model, inputs["part"])
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        self.apart.add(terms.weighed, trained, self.fairness.probe)
        if (inputs["part"] + 1) % self.plan.parts_per_step == 0:
            self.apart.set_common(trained)
        return terms.loss.detach()

    @torch.no_grad()
    def _point(self, model: Any, part: Part) -> Tensor | float:
        """What the step's flags are told from: 0, or KTO's estimate over all flags of the step, whichever part asks first."""
        if self.recipe.flag_point == "reference" or not part.flags:
            return 0.0
        step = part.number // self.plan.parts_per_step
        if self.point is None or self.point[0] != step:
            model.eval()
            moved: list[Tensor] = []
            origin: list[float] = []
            for some in self.plan.step_of(part):
                found = zip(some.flags, objective.mismatched_trees(self.plan, some.flags), strict=True)
                known = [(place, tree) for place, tree in found if tree is not None]
                if known:
                    moved.append(answer_logps(model, [tree for _, tree in known], self.layout))
                    origin += [self.reference.flags[place][1] for place, _ in known]
            logps = torch.cat(moved) if moved else None
            self.point = (step, 0.0 if logps is None else losses.kl_point(logps, logps.new_tensor(origin)))
        return self.point[1]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Reports a finished step, keeps its figures in the state that checkpoints hold, and asks whether to go on.

        The Trainer's summary at the end is left out.
        """
        if "grad_norm" not in logs:
            return
        if not math.isfinite(logs["grad_norm"]):
            raise NotFinite(self._advice(f"the gradient's norm is {logs['grad_norm']}"))
        sums, self.sums = self.ranks.summed(self.sums), dict.fromkeys(self.sums, 0.0)
        self.fairness.losses = self.ranks.summed(self.fairness.losses)
        seconds = max(time.perf_counter() - self.watch.began, 1e-9)
        metrics = StepMetrics(
            step=self.state.global_step,
            steps=self.recipe.steps,
            loss=objective.total(sums, self.recipe),
            preference_loss=sums["preference"],
            replay_loss=sums["replay"],
            margin=sums["margin"],
            accuracy=sums["right"],
            chosen_change=sums["chosen"],
            rejected_change=sums["rejected"],
            grad_norm=logs["grad_norm"],
            learning_rate=logs["learning_rate"],
            pairs_per_second=self.plan.pairs_per_step / seconds,
            anchor_loss=sums["anchor"],
            flag_loss=sums["flag"],
            ranking_loss=sums["ranking"],
            consistency_loss=sums["consistency"],
            adversary_loss=sums["adversary"],
            probe_right=sums["probe_right"],
            kl=sums["kl"],
        )
        metrics = self._looked_aside(metrics)
        self.fairness.step()
        if self.alarms is None:
            self.recent = list(self.figures)
            self.alarms = list(alarms(self.recent, self.recipe))
        super().log({**logs, **metrics.__dict__}, start_time)
        self.on_step(metrics)
        self.recent = [*self.recent[-USUAL:], metrics]
        for alarm in newest(self.recent, self.recipe):
            if alarm.kind not in {known.kind for known in self.alarms}:
                self.alarms.append(alarm)
                self.on_alarm(alarm)
        if self.early_stop is not None and self.early_stop.over:
            self.control.should_training_stop = True
        elif metrics.step < metrics.steps and self.ranks.agreed(self.should_stop()):
            self.stopped = True
            self.control.should_save = True
            self.control.should_training_stop = True

    def _looked_aside(self, metrics: StepMetrics) -> StepMetrics:
        """The figures with those of the pairs kept aside, where a look is due."""
        if self.early_stop is None or not self.early_stop.due(metrics.step):
            return metrics
        adapted = self.accelerator.unwrap_model(self.model)
        with computed_in(adapted, self.recipe.precision):
            found = self.early_stop.look(adapted.get_base_model(), adapted, metrics.step)
        return replace(metrics, aside_loss=found.loss, aside_accuracy=found.accuracy)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The recipe's schedule, or the rates given."""
        if self.rates is None:
            return super().create_scheduler(num_training_steps, optimizer)
        row, unit = list(self.rates), self.args.learning_rate
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer, lambda step: row[min(step, len(row) - 1)] / unit
        )
        return self.lr_scheduler

    def go_on(self, start: Checkpoint | None) -> None:
        """Trains from the start or from a checkpoint on; one at which the run had ended early is only taken up."""
        if start is not None and self.early_stop is not None:
            self.early_stop.load(start.path)
            if self.early_stop.over:
                self.state = TrainerState.load_from_json(str(start.path / "trainer_state.json"))
                self._load_from_checkpoint(str(start.path))
                return
        self.train(resume_from_checkpoint=str(start.path) if start else None)

    def _advice(self, what: str) -> str:
        good = self.checkpoints.newest()
        kept = f"The last good checkpoint, of step {good.step}, is {good.path}." if good else "There is no checkpoint yet."
        return (
            f"Correction stopped near step {self.state.global_step + 1} of {self.recipe.steps}: {what}. The current model is "
            f"untouched. {kept} Lower learning_rate ({self.recipe.learning_rate:g}) or raise warmup ({self.recipe.warmup} steps), "
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
        """The Trainer's checkpoint, written aside by the first rank and moved into place once it is complete."""
        if self.ranks.sharded:
            self.cut = (adapter_weights(self.model), whole(self.optimizer.state_dict()))  # every rank brings its share
        if self.ranks.first:
            self.checkpoints.clear_aside()
            super()._save_checkpoint(model, trial)
            self.checkpoints.keep(self.checkpoints.aside / f"checkpoint-{self.state.global_step}", self.state.global_step)
        self.cut = None
        self.ranks.barrier()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        assert output_dir is not None  # nosec B101 # transformers names it whenever it saves

        def write(place: Path) -> None:
            save_adapter(self.model, place, self.cut[0] if self.cut else None)
            self.fairness.save(place)
            if self.early_stop is not None:
                self.early_stop.save(place)

        write_folder(Path(output_dir), write)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.cut:
            torch.save(self.cut[1], Path(output_dir) / "optimizer.pt")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.ranks.sharded and checkpoint is not None:
            for weight, state in self.optimizer.state.items():
                state |= {name: like(value, weight) for name, value in state.items() if value.shape == weight.shape}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        found = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        if self.ranks.sharded:
            with torch.no_grad():
                for name, weight in get_peft_model_state_dict(self.model, save_embedding_layers=False).items():
                    weight.copy_(like(found[name], weight))
        else:
            target = self.accelerator.unwrap_model(self.model) if model is None else model
            put_in(target, found)
        self.fairness.load(Path(resume_from_checkpoint))

    def _clip_grad_norm(self, model: Any) -> Any:
        if self.ranks.sharded:
            return clip([weight for weight in model.parameters() if weight.requires_grad], self.args.max_grad_norm)
        return super()._clip_grad_norm(model)


class Apart:
    """The gradients of a step's terms, each for itself."""

    def __init__(self) -> None:
        """None yet."""
        self.gradients: dict[str, Tensor] = {}

    def add(self, terms: dict[str, Tensor], trained: list[Tensor], probe: Probe | None) -> None:
        """Adds those of a part's terms; what reaches the probe stays with it."""
        own = [] if probe is None else [probe.weight, probe.bias]
        for name, term in terms.items():
            wanted = [*trained, *own] if name == "adversary" else trained
            found = torch.autograd.grad(term, wanted, retain_graph=True, materialize_grads=True)
            vector = torch.cat([gradient.reshape(-1) for gradient in found[: len(trained)]])  # (P,)
            self.gradients[name] = self.gradients[name] + vector if name in self.gradients else vector
            for weight, gradient in zip(own, found[len(trained) :], strict=False):
                weight.grad = gradient if weight.grad is None else weight.grad + gradient

    def set_common(self, trained: list[Tensor]) -> None:
        """Gives the weights the terms' common direction as their gradient, and begins anew."""
        vector = common_direction(list(self.gradients.values())).vector
        for weight, part in zip(trained, torch.split(vector, [weight.numel() for weight in trained]), strict=True):
            weight.grad = part.view_as(weight).to(weight.dtype)
        self.gradients = {}


class Watch(TrainerCallback):  # type: ignore[misc]
    """Takes the time at which a step begins."""

    began = 0.0

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        """Starts the clock."""
        self.began = time.perf_counter()


def _dropout_of_the_adapter_only(model: Any) -> None:
    """Evaluation mode but for the adapter's dropout: the model's own would make policy and reference differ by chance."""
    model.eval()
    for name, module in model.named_modules():
        if ".lora_dropout" in name:
            module.train()
