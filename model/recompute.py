"""Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): of a block only what went in is kept, and what it computed inside
is computed again when its gradient is.

Not of the last block, whose backward pass comes first: keeping it adds nothing to the peak, and `narrow` computes it where it is
read alone. Knows blocks as `ranks.blocks_of` finds them; the same sums in the same order, so that no byte of an adapter changes.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch.utils.checkpoint import checkpoint

from flagback.model.forwards import computing_by
from flagback.model.ranks import blocks_of


@contextmanager
def recomputing(model: Any, wanted: bool) -> Iterator[None]:
    """Within it the model's blocks, all but the last, keep what goes in alone; does nothing unless it is `wanted`."""
    with ExitStack() as stack:
        for block in blocks_of(model)[:-1] if wanted else []:
            stack.enter_context(computing_by(block, _twice(block.forward)))
        yield


def _twice(plainly: Callable[..., Any]) -> Callable[..., Any]:
    def forward(*given: Any, **named: Any) -> Any:
        return checkpoint(plainly, *given, use_reentrant=False, **named)

    return forward
