"""Attention over a row of trees by one kernel: torch's FlexAttention (Dong et al. 2024, arXiv 2412.05496), for GPUs.

Blocks of the mask that nobody sees are skipped, so nothing is gathered and nothing padded. On CPUs `flat_row.flat_attention` has
SDPA's kernels do it path by path. Knows prompts with answers behind them, one level deep; whether the result is right is for the
probe of `layout.choose_layout`. No GPU was at hand when this was written: tests compare its unfused form on CPU, both ways.
Shapes: T positions of a row, H heads, K heads of keys and values, D their width.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

#: The compute capability of NVIDIA's Ampere: older ones have no kernels for bfloat16.
LEAST_CAPABILITY = (8, 0)


class Lineage:
    """Who stands behind whom in a row of trees."""

    def __init__(self, family: Tensor, branch: Tensor, positions: Tensor) -> None:
        """All (T,): the tree; 0 in a prompt, an answer's number in its tree; the place in prompt and answer."""
        self.family, self.branch, self.positions = family, branch, positions
        self._masks: dict[int | None, BlockMask] = {}

    def mask(self, window: int | None) -> BlockMask:
        """Everybody sees itself and what stands before it in its prompt and its answer, at most `window` places of them."""
        if window not in self._masks:
            length = len(self.family)
            self._masks[window] = create_block_mask(self._sees(window), None, None, length, length, device=str(self.family.device))
        return self._masks[window]

    def _sees(self, window: int | None) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        family, branch, positions = self.family, self.branch, self.positions

        def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            before = (key <= query) & (family[query] == family[key])
            seen = before & ((branch[key] == 0) | (branch[key] == branch[query]))
            return seen if window is None else seen & (positions[query] - positions[key] < window)

        return sees


def usable(device: torch.device) -> bool:
    """Whether the device has kernels for it, and what compiles them is installed."""
    return (
        device.type == "cuda" and find_spec("triton") is not None and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY
    )


@cache
def _kernel() -> Any:
    """Compiled once for rows of all lengths."""
    return torch.compile(flex_attention, dynamic=True)


def attended(query: Tensor, key: Tensor, value: Tensor, lineage: Lineage, *, scaling: float | None, window: int | None) -> Tensor:
    """(1, H, T, D): what queries (1, H, T, D) take from values (1, K, T, D) by keys of the same shape."""
    mixed: Tensor = _kernel()(
        query, key, value, block_mask=lineage.mask(window), scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    return mixed
