"""The last block of a model, computed only where its output is read.

Whoever asks for the log-probabilities of answers reads the last block's output at answers' positions alone: of the other positions
it takes keys and values, and no more. So nothing asks there, nor goes through the block's output projection or its feed-forward
part; in their place stand zeros, which nothing reads. Of a model of six blocks, with prompts as long as answers, that is some 7 %.
Knows modules by the names that transformers gives them; of a block that it does not know everything is computed. Whether the result
is right is for the probe of `layout.choose_layout`.
Shapes: T positions of a row, N positions read.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import Module

from flagback.model.forwards import computing_by
from flagback.model.ranks import blocks_of

#: Names in a block of its attention and of its feed-forward part, and in an attention of its projections of queries and outputs.
ATTENTIONS = ("self_attn", "attn", "attention", "self_attention")
FEED_FORWARD = ("mlp", "feed_forward", "ffn")
QUERIES, OUTPUTS = ("q_proj",), ("o_proj", "out_proj", "c_proj", "dense")


class LastBlock(NamedTuple):
    """Modules of a model's last block."""

    attention: Module
    #: Those whose output at a position follows from their input there: of queries, outputs and feed-forward, what it has.
    parts: tuple[Module, ...]


def last_block(model: Any) -> LastBlock | None:
    """Of the model; None where it has no attention known here."""
    blocks = blocks_of(model)
    attention = _child(blocks[-1], ATTENTIONS) if blocks else None
    if attention is None:
        return None
    parts = (_child(attention, QUERIES), _child(attention, OUTPUTS), _child(blocks[-1], FEED_FORWARD))
    return LastBlock(attention, tuple(part for part in parts if part is not None))


@contextmanager
def narrowed(last: LastBlock | None, read: Tensor, length: int) -> Iterator[None]:
    """Within it the block computes queries, outputs and feed-forward at `read` (N,) alone, of rows of `length`."""
    with ExitStack() as stack:
        for part in last.parts if last is not None else ():
            stack.enter_context(_only_at(part, read, length))
        yield


def _child(module: Module, names: tuple[str, ...]) -> Module | None:
    return next((found for name in names if isinstance(found := getattr(module, name, None), Module)), None)


def _only_at(part: Module, read: Tensor, length: int) -> Any:
    """A context in which the part computes these positions of (1, T, width) alone, and gives zeros elsewhere."""
    plainly = part.forward

    def forward(states: Tensor, *more: Any, **named: Any) -> Any:
        if more or named or states.shape[:-1] != (1, length):
            return plainly(states, *more, **named)
        found = plainly(states.index_select(1, read))  # (1, N, O)
        if not isinstance(found, Tensor):  # some give more than their output
            return plainly(states)
        return found.new_zeros(1, length, found.shape[-1]).index_copy(1, read, found)

    return computing_by(part, forward)
