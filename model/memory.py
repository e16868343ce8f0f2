"""What memory a correction will take, told before it starts, and what the machine has.

Weights, adapter and optimiser are counted. What a backward pass keeps grows with the tokens and the scored positions computed at
once; how fast is measured on four short rows through the very model, so that it holds for any architecture. Within a factor of
1.6 of the measured peak (tests/test_memory.py). Knows plan and model; stores nothing.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch

from flagback.model import head
from flagback.model.layout import answer_logps, computed_in, flat_model, vocabulary_size
from flagback.model.linears import quick_linears
from flagback.model.objective import part_trees
from flagback.model.plan import Part, Plan
from flagback.model.ranks import blocks_of
from flagback.model.recipe import LayoutName, Recipe, TooLittleMemory
from flagback.model.trees import Tree, shared

#: What is kept is not all: gradients of a layer, and what the allocator cannot hand back (measured: 1.17 and 1.68 times).
BESIDE = 1.25
#: Bytes of programs that oneDNN makes and keeps, 1,024 of them at most: in bfloat16 one for nearly every length (docs/log.md).
PROGRAMS = 8e8
#: What containers may use (cgroup 2), and what they use.
CGROUP = Path("/sys/fs/cgroup")
#: Rows that the growth is measured on: a prompt's length and its answers'.
PROBES = ((32, (4, 4)), (4, (32, 32)), (32, (4,)), (96, (8,)))


class Needed(NamedTuple):
    """Megabytes that one process takes at its peak."""

    #: Libraries and all else that the process holds already, without the weights; and what they will make for themselves.
    program: float
    weights: float
    #: What is trained, as often as it is held (`copies`).
    adapter: float
    #: What the dearest part of a step keeps for its backward pass, and the gradient of its logits.
    activations: float
    #: Tokens that the dearest part computes at once, every prompt counted as often as it is computed.
    tokens: int

    @property
    def total(self) -> float:
        """All of it."""
        return self.program + self.weights + self.adapter + self.activations


class Machine(NamedTuple):
    """Megabytes of memory where a run computes."""

    total: float
    #: Not taken by others now, counting what this process holds.
    free: float


def needed(adapted: Any, plan: Plan, recipe: Recipe, layout: LayoutName) -> Needed:
    """The estimate for a model with its fresh adapter; computes four short rows, and changes nothing."""
    weights = _bytes(weight for weight in adapted.parameters() if not weight.requires_grad)
    adapter = _bytes(weight for weight in adapted.parameters() if weight.requires_grad)
    on_gpu = next(iter(adapted.parameters())).device.type == "cuda"
    held = 0.0 if on_gpu else max(psutil.Process().memory_info().rss - weights - adapter, 0.0)
    if recipe.precision == "bfloat16" and not on_gpu:
        held += PROGRAMS
    growth = _growth(adapted, recipe, layout)
    # Float32 logits and their gradient, while the head is left: all of them, or a portion where it is asked for what is wanted.
    asked = layout == "flat" and recipe.sharding == "none" and head.answers_itself(adapted.get_output_embeddings())
    most = 8.0 * head.LOGITS_AT_ONCE if asked else math.inf
    dearest, tokens = -1.0, 0
    for part in plan.parts:
        size = _sizes(_laid_out(plan, part, recipe), layout)
        cost = BESIDE * float(np.dot(growth, (*size, 1))) + min(8 * vocabulary_size(adapted) * size[2], most)
        if cost > dearest:
            dearest, tokens = cost, size[0]
    cut = recipe.processes if recipe.sharding == "full" else 1
    return Needed(held / 1e6, weights / cut / 1e6, copies(recipe) * adapter / cut / 1e6, dearest / 1e6, tokens)


def copies(recipe: Recipe) -> int:
    """How many times what is trained is held at once: itself, its gradient, AdamW's two moments and what a checkpoint writes;
    the best look of an early stop; with mgda two vectors a term and their common direction."""
    terms = sum(value > 0 for name, value in vars(recipe).items() if name.endswith("_weight"))
    return 5 + (recipe.stop_every > 0) + (2 * terms + 2 if recipe.combine == "mgda" else 0)


def machine(device: torch.device | None = None) -> Machine:
    """What the device has: a GPU's own memory, else this machine's or its container's."""
    if device is not None and device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Machine(total / 1e6, (free + torch.cuda.memory_allocated(device)) / 1e6)
    seen = psutil.virtual_memory()
    own = psutil.Process().memory_info().rss
    total, free = seen.total, seen.available + own
    most, used = (_number(CGROUP / name) for name in ("memory.max", "memory.current"))
    if most is not None and most < total:
        total = most
        free = min(free, most - (used or 0) + own)
    return Machine(total / 1e6, free / 1e6)


def check(found: Needed, there: Machine, recipe: Recipe) -> None:
    """Raises TooLittleMemory where a run could not end on this machine even if it had all of it."""
    if found.total > there.total:
        raise TooLittleMemory(
            f"The correction needs about {found.total:,.0f} MB of memory, {found.activations:,.0f} of them for {found.tokens:,} "
            f"tokens at once, and this machine has {there.total:,.0f}. Nothing was started. {recipe.smaller}, take a machine with "
            "more, or cut the weights over several (docs/scale-out.md)."
        )


def check_copy(model: Any, recipe: Recipe) -> None:
    """Raises TooLittleMemory where a copy of every weight, with all that goes with it, cannot fit: before it is made."""
    if recipe.tuning == "lora" or next(iter(model.parameters())).device.type == "cuda":
        return
    size, held = _bytes(model.parameters()) / 1e6, psutil.Process().memory_info().rss / 1e6
    check(Needed(max(held - size, 0.0), size, copies(recipe) * size, 0.0, 0), machine(), recipe)


def _laid_out(plan: Plan, part: Part, recipe: Recipe) -> Sequence[Tree]:
    trees = part_trees(plan, part)
    return shared(trees)[0] if recipe.sharing == "prompt" else trees


def _sizes(trees: Sequence[Tree], layout: LayoutName) -> tuple[int, int, int]:
    """Tokens computed, tokens of all paths that attention is computed on, and positions scored."""
    paths = sum(len(tree.prompt) + len(answer) for tree in trees for answer in tree.answers)
    flat = sum(len(tree.prompt) + sum(map(len, tree.answers)) for tree in trees)
    return (flat if layout == "flat" else paths, paths, sum(len(answer) for tree in trees for answer in tree.answers))


def _growth(adapted: Any, recipe: Recipe, layout: LayoutName) -> Any:
    """Bytes kept for a backward pass by each of the three sizes, and whatever their sizes (weights in bfloat16), from four rows."""
    most = vocabulary_size(adapted) - 1
    trees = [Tree((min(1, most),) * prompt, tuple((min(1, most),) * answer for answer in answers)) for prompt, answers in PROBES]
    sizes = np.array([(*_sizes([tree], layout), 1) for tree in trees], dtype=float)
    kept = np.array([_kept(adapted, tree, recipe, layout) for tree in trees], dtype=float)
    found = np.linalg.lstsq(sizes, kept, rcond=None)[0]
    return np.maximum(found, 0.0)


def _kept(adapted: Any, tree: Tree, recipe: Recipe, layout: LayoutName) -> int:
    """Bytes that one row's forward pass keeps, weights left out."""
    known = {weight.untyped_storage().data_ptr() for weight in adapted.parameters()}
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would hold its own graph, and with it the model, for ever

    with (
        torch.random.fork_rng(),
        torch.enable_grad(),
        flat_model(adapted.get_base_model(), layout),
        quick_linears(adapted),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        computed_in(adapted, recipe.precision),
    ):
        logps = answer_logps(adapted, [tree], layout)
        del logps
    kept = sum(seen.values())
    if not recipe.gradient_checkpointing:
        return kept
    blocks, embedding = len(blocks_of(adapted)), adapted.get_input_embeddings().weight
    going_in = _sizes([tree], layout)[0] * embedding.shape[1] * embedding.element_size()
    return int(kept // blocks + blocks * going_in)  # one block at a time, and what goes into all of them


def _bytes(weights: Any) -> float:
    return float(sum(weight.numel() * weight.element_size() for weight in weights))


def _number(path: Path) -> int | None:
    """What a file of the kernel says; None where it says "max", or is not there."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
