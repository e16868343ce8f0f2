"""Teaches a model what a larger one writes: by its answers, and where both read the same tokens by its next words too.

Sequence-level (Kim and Rush 2016, arXiv 1606.07947): maximum likelihood of the teacher's own samples. Word-level (Hinton et al.
2015, arXiv 1503.02531): KL(teacher | student) at every token of them. An adapter learns, or every weight, with checkpoints as a
correction has them: same rows, recipe and seed give the same bytes, however often it is killed. Knows models and token ids, and no
store.
Shapes: B rows, T tokens, N scored positions, V vocabulary.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import get_scheduler

from flagback.model import shortage
from flagback.model.adapter import WEIGHTS, put_in, save_adapter, take_out, with_adapter
from flagback.model.checkpoint import Loaded, context_length
from flagback.model.draws import stream
from flagback.model.layout import in_eval, padded_logits, vocabulary_size
from flagback.model.linears import quick_linears
from flagback.model.losses import token_logps
from flagback.model.plan import seed_of
from flagback.model.portions import LOGITS_AT_ONCE, TOKENS_AT_ONCE, packed
from flagback.model.recipe import BadRecipe, NoPairs, NotFinite, OutOfMemory, Recipe, Stopped
from flagback.model.recompute import recomputing
from flagback.model.reference import tokenizer_fingerprint
from flagback.model.resume import Checkpoints, file_sha256, write_folder
from flagback.model.training import SCHEDULES, as_it_was, machine, weights_fingerprint

OPTIMISER, FIGURES = "optimiser.pt", "figures.json"


class Taught(NamedTuple):
    """One answer of the teacher's."""

    #: Content key: order follows it, never the place in a list.
    key: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    #: The prompt as the teacher reads it; read where distributions are taught.
    teacher_prompt_ids: tuple[int, ...]


class Share(NamedTuple):
    """What the two ways of teaching count."""

    #: Of the mean negative log-likelihood a token of the teacher's answers.
    sequence: float = 1.0
    #: Of the mean KL(teacher | student) at their tokens.
    distribution: float = 1.0


class Distilled(NamedTuple):
    """What came of it."""

    #: A plain PEFT folder.
    adapter: Path
    #: By step: loss, its parts, grad_norm, learning_rate.
    figures: tuple[dict[str, float], ...]
    environment: dict[str, Any]


def why_words_alone(teacher: Loaded, student: Loaded) -> str | None:
    """Why the teacher's distributions cannot be taught; None where both models read the same tokens."""
    if tokenizer_fingerprint(teacher.tokenizer) == tokenizer_fingerprint(student.tokenizer):
        return None
    return "the two models' tokenizers differ, so that only what the teacher writes is learnt, not how likely it found each word"


def check_recipe(recipe: Recipe) -> None:
    """Refuses what a distillation does not do: it is computed by one process, in float32, at the rate given. Raises BadRecipe."""
    for name, wanted in (("processes", 1), ("precision", "float32"), ("find_rate", False)):
        if getattr(recipe, name) != wanted:
            instead = "; name one with --learning-rate" if name == "find_rate" else ""
            raise BadRecipe(f"{name} is {getattr(recipe, name)!r}; a distillation needs {wanted!r}{instead}.")


def sequence_loss(logits: Tensor, targets: Tensor, total_tokens: int) -> Tensor:
    """Returns the scalar: minus the sum of log-probabilities of `targets` (N,), over the step's tokens, in nats."""
    return -token_logps(logits, targets).sum() / total_tokens


def distribution_loss(logits: Tensor, teacher: Tensor, total_tokens: int) -> Tensor:
    """Returns the scalar sum of KL(teacher | student) over (N, V) logits, over the step's tokens, in nats.

    Rows that only one of the vocabularies has (padding) are left out of both.
    """
    width = min(logits.shape[-1], teacher.shape[-1])
    mine, theirs = (side[..., :width].float().log_softmax(-1) for side in (logits, teacher))  # (N, V) each
    return functional.kl_div(mine, theirs, reduction="sum", log_target=True) / total_tokens


def distil(
    loaded: Loaded,
    teacher: Loaded,
    taught: Sequence[Taught],
    *,
    share: Share,
    replay: Sequence[Sequence[int]] = (),
    recipe: Recipe,
    seed: int,
    folder: Path,
    on_step: Callable[[dict[str, float]], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Distilled:
    """Trains an adapter for `loaded`, which stays as it is; goes on from what is in `folder`, which is this run's own.

    Of the recipe count steps, learning rate and schedule, adapter, `pairs_per_step` as answers a step, and the replay. Raises
    BadRecipe, NoPairs, NotFinite, OutOfMemory, Stopped, ForeignFolder.
    """
    check_recipe(recipe)
    model = loaded.model
    longest = min(recipe.max_tokens, context_length(model.config) or recipe.max_tokens)
    rows = sorted(
        {row for row in taught if row.answer_ids and len(row.prompt_ids) + len(row.answer_ids) <= longest and row.prompt_ids}
    )
    if not rows:
        raise NoPairs(
            f"The teacher wrote {len(taught)} answers and none can be learnt from (no token, or longer than {longest} with its "
            "prompt); raise --prompts, or max_tokens of the recipe."
        )
    lines = sorted({tuple(line) for line in replay if 2 <= len(line) <= longest}) if recipe.replay_weight else []
    named = [list(map(list, rows)), list(map(list, lines)), list(share), vars(recipe) | {"checkpoint_every": 0}, seed]
    models = f"{weights_fingerprint(model)}:{weights_fingerprint(teacher.model) if share.distribution else ''}"
    run = hashlib.sha256(f"{json.dumps(named, default=list)}:{models}".encode()).hexdigest()
    try:
        with as_it_was(model), in_eval(teacher.model), quick_linears(teacher.model):
            made = _Run(model, teacher, rows, lines, share, recipe, seed, Checkpoints(folder, run))
            with quick_linears(made.adapted), recomputing(model, recipe.gradient_checkpointing):
                return made.to_its_end(on_step, should_stop)
    except Exception as error:
        if not shortage.of_memory(error):
            raise
        raise OutOfMemory(
            f"Distillation ran out of memory. The current model is untouched. {recipe.smaller}, stop other programs, or take a "
            "machine with more, then run 'flagback distil' again."
        ) from error


def rates_of(recipe: Recipe) -> list[float]:
    """The learning rate of every step: transformers' own schedule, asked beforehand, so that a run that goes on has it too."""
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=recipe.learning_rate)
    schedule = get_scheduler(SCHEDULES[recipe.schedule], optimiser, recipe.warmup, recipe.steps)
    rates = []
    for _ in range(recipe.steps):
        rates.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        schedule.step()
    return rates


class _Run:
    """One distillation: its adapter and optimiser, and the steps done."""

    def __init__(
        self,
        model: Any,
        teacher: Loaded,
        rows: Sequence[Taught],
        lines: Sequence[tuple[int, ...]],
        share: Share,
        recipe: Recipe,
        seed: int,
        checkpoints: Checkpoints,
    ) -> None:
        self.model, self.teacher, self.share, self.recipe = model, teacher, share, recipe
        self.checkpoints, self.figures = checkpoints, list[dict[str, float]]()
        each, lines_each = min(recipe.pairs_per_step, len(rows)), min(recipe.replay_per_step, len(lines))
        keys = [hashlib.sha256(json.dumps(row).encode()).hexdigest() for row in rows]
        line_keys = [hashlib.sha256(json.dumps(line).encode()).hexdigest() for line in lines]
        drawn = stream(keys, each * recipe.steps, f"{seed}:taught")
        replayed = stream(line_keys, lines_each * recipe.steps, f"{seed}:replay")
        self.steps = [
            (
                [rows[i] for i in drawn[step * each : (step + 1) * each]],
                [lines[i] for i in replayed[step * lines_each : (step + 1) * lines_each]],
            )
            for step in range(recipe.steps)
        ]
        torch.manual_seed(seed_of(seed, "adapter"))
        self.adapted = with_adapter(model, recipe)
        self.trained = [weight for weight in self.adapted.parameters() if weight.requires_grad]
        # As transformers' Trainer has it: norms and biases do not decay.
        decaying, kept = ([w for w in self.trained if (w.dim() > 1) == many] for many in (True, False))
        groups = [{"params": decaying, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate)
        self.rates = rates_of(recipe)

    def to_its_end(self, on_step: Callable[[dict[str, float]], None], should_stop: Callable[[], bool]) -> Distilled:
        """All steps that are left, and the adapter's folder."""
        try:
            self._go_on()
            for step in range(len(self.figures) + 1, self.recipe.steps + 1):
                if should_stop():
                    self._save()
                    raise Stopped(f"Stopped after step {step - 1} of {self.recipe.steps}; starting it again goes on there.")
                self.figures.append(self._step(step))
                on_step(self.figures[-1])
                if step % self.recipe.checkpoint_every == 0:
                    self._save()
            adapter = self.checkpoints.folder / "adapter"
            write_folder(adapter, lambda place: save_adapter(self.adapted, place))
            told = {"answers": len({row for rows, _ in self.steps for row in rows}), "share": self.share._asdict()}
            trained = sum(weight.numel() for weight in self.trained)
            made = machine(self.model) | told | {"trained_parameters": trained, "weights_sha256": file_sha256(adapter / WEIGHTS)}
            return Distilled(adapter, tuple(self.figures), made)
        finally:
            take_out(self.adapted)

    def _step(self, step: int) -> dict[str, float]:
        rows, lines = self.steps[step - 1]
        rate = self.rates[step - 1]
        self.model.eval()
        self.optimiser.zero_grad(set_to_none=True)
        sums = {"sequence_loss": 0.0, "distribution_loss": 0.0, "replay_loss": 0.0}
        tokens, line_tokens = sum(len(row.answer_ids) for row in rows), sum(len(line) - 1 for line in lines)
        for part in packed(rows, lambda row: self._cost(len(row.prompt_ids), len(row.answer_ids))):
            logits, targets, _ = padded_logits(self.model, [(row.prompt_ids, row.answer_ids) for row in part])  # (N, V), (N,)
            learnt = sequence_loss(logits, targets, tokens)
            sums["sequence_loss"] += float(learnt.detach())
            loss = self.share.sequence * learnt
            if self.share.distribution:
                with torch.no_grad():
                    wanted = padded_logits(self.teacher.model, [(row.teacher_prompt_ids, row.answer_ids) for row in part])
                apart = distribution_loss(logits, wanted.logits, tokens)
                sums["distribution_loss"] += float(apart.detach())
                loss = loss + self.share.distribution * apart
            loss.backward()  # type: ignore[no-untyped-call]
        for some in packed(lines, lambda line: self._cost(1, len(line) - 1)):
            logits, targets, _ = padded_logits(self.model, [(line[:1], line[1:]) for line in some])
            kept = sequence_loss(logits, targets, line_tokens)
            sums["replay_loss"] += float(kept.detach())
            (self.recipe.replay_weight * kept).backward()  # type: ignore[no-untyped-call]
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained, self.recipe.max_grad_norm))
        loss_told = (
            self.share.sequence * sums["sequence_loss"]
            + self.share.distribution * sums["distribution_loss"]
            + self.recipe.replay_weight * sums["replay_loss"]
        )
        if not torch.isfinite(torch.tensor([norm, loss_told])).all():
            raise NotFinite(
                f"Distillation stopped near step {step} of {self.recipe.steps}: its loss is {loss_told}, its gradient {norm}. "
                f"The current model is untouched. Lower learning_rate ({self.recipe.learning_rate:g}), then run it again."
            )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        return {"step": step, "steps": self.recipe.steps, "loss": loss_told, "grad_norm": norm, "learning_rate": rate} | sums

    def _cost(self, before: int, scored: int) -> float:
        """Share of what may be computed at once; with a teacher two sets of logits stand beside one another."""
        logits = scored * vocabulary_size(self.model) * (2 if self.share.distribution else 1)
        return max((before + scored) / TOKENS_AT_ONCE, logits / LOGITS_AT_ONCE)

    def _save(self) -> None:
        self.checkpoints.clear_aside()
        place = self.checkpoints.aside
        place.mkdir(parents=True)
        save_adapter(self.adapted, place)
        torch.save(self.optimiser.state_dict(), place / OPTIMISER)
        (place / FIGURES).write_text(json.dumps(self.figures))
        self.checkpoints.keep(place, len(self.figures))

    def _go_on(self) -> None:
        start = self.checkpoints.newest()
        self.checkpoints.clear_aside()
        if start is not None:
            put_in(self.adapted, load_file(start.path / WEIGHTS))
            self.optimiser.load_state_dict(torch.load(start.path / OPTIMISER, weights_only=True))
            self.figures = json.loads((start.path / FIGURES).read_text())
