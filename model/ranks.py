"""Several processes that compute one correction: which part is whose, and how what they find becomes one.

Every rank computes every so-manieth part of a step; torch's DistributedDataParallel adds the adapter's gradients up, or FSDP2's
`fully_shard` does, with the weights cut over the ranks. gloo on CPUs, NCCL on GPUs. Both are used raw, and transformers' Trainer is
left to think that it is alone: accelerate 1.15 silently runs DDP where sharding was asked for on a CPU. Knows nothing of plans.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from flagback.model.recipe import NotSharded, Recipe

T = TypeVar("T")
#: What torchrun tells its processes; taken away once it is read, since accelerate would act on it.
TOLD = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE", "GROUP_WORLD_SIZE")


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run."""

    rank: int = 0
    count: int = 1
    #: Whether weights are cut over the ranks.
    sharded: bool = False
    #: Where they compute.
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """The one that writes and that is told whether to stop."""
        return self.rank == 0

    def check(self, recipe: Recipe) -> None:
        """Raises NotSharded where this is not what the recipe asks for: nothing is computed another way than was asked."""
        if recipe.processes != self.count or (recipe.sharding == "full") != self.sharded:
            raise NotSharded(
                f"The recipe asks for {recipe.processes} processes and sharding {recipe.sharding!r}; this is one of {self.count} "
                f"with sharding {'full' if self.sharded else 'none'!r}. Start it with the command that "
                "'flagback correct --dry-run' shows."
            )

    def wrapped(self, adapted: Any) -> Any:
        """What forward is called on. A sharded model is cut already (`shard`). Raises NotSharded where it is not."""
        if self.count == 1:
            return adapted
        if self.sharded:
            check_cut(adapted.get_base_model(), self)
            return adapted
        return nn.parallel.DistributedDataParallel(adapted, forward_sync_buffers=False)

    @contextmanager
    def syncing(self, wrapped: Any, last: bool) -> Iterator[None]:
        """The backward pass of a part; gradients go over the wire with this rank's last part of a step only."""
        if self.count > 1 and self.sharded:
            wrapped.get_base_model().set_requires_gradient_sync(last)
        if self.count == 1 or self.sharded or last:
            yield
            return
        with wrapped.no_sync():
            yield

    def summed(self, values: dict[str, float]) -> dict[str, float]:
        """Sums over all ranks, by name; every rank may have other names."""
        if self.count == 1:
            return values
        found: dict[str, float] = {}
        for one in self.gathered(values):
            for name, value in one.items():
                found[name] = found.get(name, 0.0) + value
        return found

    def gathered(self, value: T) -> list[T]:
        """Every rank's value, in their order."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def agreed(self, answer: bool) -> bool:
        """What the first rank says."""
        return self.gathered(answer)[0]

    def barrier(self) -> None:
        """Waits for all."""
        if self.count > 1:
            dist.barrier()


ALONE = Ranks()


def join(sharding: str) -> Ranks:
    """This process as torchrun has started it: its place, its device, the group of all."""
    told = {name: os.environ.pop(name, None) for name in TOLD}
    if told["RANK"] is None or told["WORLD_SIZE"] is None:
        raise NotSharded("This is not a process of torchrun; start it with the command that 'flagback correct --dry-run' shows.")
    rank, count = int(told["RANK"]), int(told["WORLD_SIZE"])
    # One device each to see, so that the Trainer finds no others to spread over by itself. Nobody has asked CUDA for one yet.
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    place = int(told["LOCAL_RANK"] or 0)
    os.environ["CUDA_VISIBLE_DEVICES"] = str(place) if seen is None else [*seen.split(","), *[""] * count][place]
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    dist.init_process_group("nccl" if device != "cpu" else "gloo", rank=rank, world_size=count)
    return Ranks(rank, count, sharding == "full", device)


def shard(model: Any, ranks: Ranks) -> None:
    """Cuts a model's weights over all ranks, block by block, in place, and looks whether they are. Raises NotSharded."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(ranks.device.split(":", maxsplit=1)[0], (ranks.count,))
    blocks = blocks_of(model)
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    check_cut(model, ranks)


def check_cut(model: Any, ranks: Ranks) -> None:
    """Raises NotSharded unless every weight is cut over all ranks."""
    weights = dict(model.named_parameters())
    whole = [
        name for name, weight in weights.items() if not isinstance(weight, DTensor) or weight.device_mesh.size() != ranks.count
    ]
    if whole:
        raise NotSharded(
            f"Sharding over {ranks.count} processes was asked for, and {len(whole)} of {len(weights)} weights of "
            f"{type(model).__name__} are whole, such as {whole[0]}; use sharding 'none', or another model."
        )


def blocks_of(model: Any) -> list[nn.Module]:
    """The model's equal blocks, which are gathered one at a time: what transformers names, else its longest list of modules."""
    named = set(getattr(model, "_no_split_modules", None) or ())
    blocks = [module for module in model.modules() if type(module).__name__ in named]
    if not blocks:
        lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
        blocks = max(lists, key=len, default=[])
    return blocks


def whole(value: Any) -> Any:
    """A tensor, or all tensors of a dict or list, with those cut over ranks put together; all ranks must ask at once."""
    return tree_map(lambda one: one.full_tensor() if isinstance(one, DTensor) else one, value)


def like(value: Tensor, other: Tensor) -> Tensor:
    """`value`, cut over the ranks as `other` is."""
    if not isinstance(other, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value.to(other.device), other.device_mesh, other.placements)


def clip(weights: list[Tensor], most: float) -> Tensor:
    """Clips gradients that are cut over ranks to a common norm, and returns what it was before."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm: Tensor = whole(nn.utils.get_total_norm(gradients))
    nn.utils.clip_grads_with_norm_(weights, most, norm)
    return norm
