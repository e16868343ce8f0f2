"""A batch of trees as one row without padding, in which a prompt is computed once for all its answers, and its attention.

Knows nothing of log-probabilities. Shapes: R rows of a block, Q asking and K seen positions, T tokens of the flat row,
N positions read, H heads, D head width.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from flagback.model.flex import Lineage, attended
from flagback.model.trees import Tree

#: Arguments of some models' attention that change its result in a way not followed here.
UNKNOWN = ("softcap", "s_aux", "head_mask", "position_bias", "past_key_values")
#: What computes a flat row's attention (`layout.attention_by`).
AttentionName = Literal["sdpa", "flex"]


class UnfitModel(Exception):
    """The model computes attention in a way that the flat layout cannot follow."""


class Block(NamedTuple):
    """Paths of about the same length, each a row: which positions ask, and which they may see."""

    queries: Tensor  # (R, Q), positions in the flat row
    keys: Tensor  # (R, K); the queries themselves where whole paths ask
    #: 0 where a query sees a key, -inf elsewhere; None where whole paths ask, each position seeing those before it.
    mask: Tensor | None  # (R, 1, Q, K)


class Attention(NamedTuple):
    """Who sees whom in a flat row."""

    blocks: tuple[Block, ...]
    #: Outputs are read back from the blocks' outputs, laid end to end, at these places.
    back: Tensor  # (T,)


class Ending(NamedTuple):
    """The positions that are read at a model's end, each once."""

    read: Tensor  # (N,)
    #: Who sees whom where these alone ask, and the module in which they do.
    attention: Attention
    module: Any


class FlatRow(NamedTuple):
    """A batch of trees as one row."""

    input_ids: Tensor  # (1, T)
    position_ids: Tensor  # (1, T)
    #: Positions whose logits are needed, the token wanted after each, and the answer it belongs to.
    keep: Tensor  # (N,)
    targets: Tensor  # (N,)
    owner: Tensor  # (N,)
    attention: Attention
    #: What the model's last block has to compute; None where all of it is wanted.
    ending: Ending | None = None
    #: By which one kernel computes the attention; None where SDPA's do, path by path.
    lineage: Lineage | None = None


class Path(NamedTuple):
    """Positions that see each other in order, a prompt's and one answer's; those before `first` are another path's to give back."""

    places: list[int]
    first: int

    @property
    def own(self) -> list[int]:
        """The positions it gives back."""
        return self.places[self.first :]


def flat_row(trees: Sequence[Tree], device: torch.device, attention: AttentionName = "sdpa") -> FlatRow:
    """Lays trees end to end as prompt, answer 1, answer 2, ...; every answer's positions go on from its prompt's end."""
    ids: list[int] = []
    positions: list[int] = []
    keep: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    paths: list[Path] = []
    answer_number = 0
    for tree in trees:
        root = range(len(ids), len(ids) + len(tree.prompt))
        ids += tree.prompt
        positions += range(len(tree.prompt))
        for number, answer in enumerate(tree.answers):
            own = range(len(ids), len(ids) + len(answer))
            ids += answer
            positions += range(len(tree.prompt), len(tree.prompt) + len(answer))
            keep += [root[-1], *own[:-1]]
            targets += answer
            owner += [answer_number] * len(answer)
            answer_number += 1
            paths.append(Path([*root, *own], 0 if number == 0 else len(root)))

    def tensor(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    seen = attention_of(paths, len(ids), device)
    row = FlatRow(tensor([ids]), tensor([positions]), tensor(keep), tensor(targets), tensor(owner), seen)
    return row if attention == "sdpa" else row._replace(lineage=lineage_of(trees, row.position_ids[0]))


def lineage_of(trees: Sequence[Tree], positions: Tensor) -> Lineage:
    """Who stands behind whom in the row of these trees; `positions` are its (T,)."""
    parts = [
        (family, branch, part) for family, tree in enumerate(trees) for branch, part in enumerate((tree.prompt, *tree.answers))
    ]
    lengths = torch.tensor([len(part) for _, _, part in parts])
    families, branches = (torch.tensor(some).repeat_interleave(lengths) for some in zip(*[one[:2] for one in parts], strict=True))
    return Lineage(families.to(positions.device), branches.to(positions.device), positions)


def ending_of(trees: Sequence[Tree], module: Any, device: torch.device) -> Ending:
    """What is read of the row of these trees: each prompt's last position, and every answer's but its last."""
    paths: list[Path] = []
    start = 0
    for tree in trees:
        root = range(start, start + len(tree.prompt))
        start = root.stop
        for answer in tree.answers:
            paths.append(Path([*root, *range(start, start + len(answer) - 1)], len(root) - 1))
            start += len(answer)
    read = sorted({place for path in paths for place in path.own})
    return Ending(torch.tensor(read, device=device), attention_of(paths, start, device), module)


def attention_of(paths: Sequence[Path], length: int, device: torch.device) -> Attention:
    """Groups paths of about the same length; a shorter one repeats its last position, which nothing before it can see.

    Of a path most of which is given back elsewhere its own positions alone ask: a long prompt asks once, not once an answer.
    """
    blocks: list[Block] = []
    back = torch.zeros(length, dtype=torch.long)
    offset = 0
    short = [path for path in paths if 2 * path.first > len(path.places)]
    whole = [path for path in paths if 2 * path.first <= len(path.places)]
    for group, asking in [(g, False) for g in _alike(whole)] + [(g, True) for g in _alike(short)]:
        keys = _table([path.places for path in group])
        queries = _table([path.own for path in group]) if asking else keys
        mask = _seen(group, queries.shape[1], keys.shape[1]) if asking else None
        for row, path in enumerate(group):
            start = offset + row * queries.shape[1] + (0 if asking else path.first)
            back[path.own] = torch.arange(start, start + len(path.own))
        on_device = keys.to(device)
        blocks.append(Block(queries.to(device) if asking else on_device, on_device, None if mask is None else mask.to(device)))
        offset += queries.numel()
    return Attention(tuple(blocks), back.to(device))


def _alike(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Paths in groups of about the same length: at most a quarter longer and 8 positions more, in what asks and in what is seen."""
    waiting = sorted(paths, key=lambda path: (len(path.own), len(path.places), path.places[0]))
    while waiting:
        limits = [1.25 * size + 8 for size in (len(waiting[0].own), len(waiting[0].places))]
        fits = [len(path.own) <= limits[0] and len(path.places) <= limits[1] for path in waiting]
        yield [path for path, fit in zip(waiting, fits, strict=True) if fit]
        waiting = [path for path, fit in zip(waiting, fits, strict=True) if not fit]


def _table(rows: Sequence[list[int]]) -> Tensor:
    """(R, L): every row up to the longest's length, its last place repeated."""
    width = max(map(len, rows))
    return torch.tensor([row + [row[-1]] * (width - len(row)) for row in rows], dtype=torch.long)


def _seen(paths: Sequence[Path], queries: int, keys: int) -> Tensor:
    """(R, 1, Q, K): 0 where a path's own position sees a position of its path, -inf elsewhere."""
    asking = torch.tensor([path.first for path in paths])[:, None, None] + torch.arange(queries)[:, None]  # (R, Q, 1)
    return torch.zeros(len(paths), queries, keys).masked_fill_(torch.arange(keys) > asking, -math.inf)[:, None]


def flat_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    flagback_row: FlatRow | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Causal attention of every answer over its own prompt and itself; returns (1, T, H, D). The signature is given."""
    unknown = [name for name in UNKNOWN if more.get(name) is not None]
    if flagback_row is None or query.shape[0] != 1 or unknown:
        raise UnfitModel(f"its attention needs {', '.join(unknown)}" if unknown else "its attention does not get the layout")
    heads, length = query.shape[1], query.shape[2]
    if key.shape[2] != length:
        raise UnfitModel("its attention uses a cache")

    def by_position(states: Tensor) -> Tensor:
        return states[0].transpose(0, 1).flatten(1)  # (T, heads * D)

    def pick(states: Tensor, at: Tensor, size: int) -> Tensor:
        chosen = states.index_select(0, at.flatten()).view(*at.shape, -1, size).transpose(1, 2)  # (R, heads, L, D)
        return chosen if chosen.shape[1] == heads else chosen.repeat_interleave(heads // chosen.shape[1], dim=1)

    if torch.is_autocast_enabled(query.device.type):  # positions are turned in float32; what follows is not
        query, key, value = (some.to(torch.get_autocast_dtype(query.device.type)) for some in (query, key, value))
    if flagback_row.lineage is not None and not dropout:
        mixed = attended(query, key, value, flagback_row.lineage, scaling=scaling, window=sliding_window)
        return mixed.transpose(1, 2), None
    asked, seen, brought = by_position(query), by_position(key), by_position(value)

    outputs: list[Tensor] = []
    ending = flagback_row.ending
    attention = ending.attention if ending is not None and module is ending.module else flagback_row.attention
    for block in attention.blocks:
        mask = block.mask if block.mask is None else block.mask.to(query.dtype)
        if sliding_window is not None and block.keys.shape[1] > sliding_window:
            mask = _near(block, sliding_window, query.dtype)
        mixed = functional.scaled_dot_product_attention(  # (R, H, Q, D)
            pick(asked, block.queries, query.shape[3]),
            pick(seen, block.keys, key.shape[3]),
            pick(brought, block.keys, value.shape[3]),
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=mask is None,
            scale=scaling,
        )
        outputs.append(mixed.transpose(1, 2).reshape(block.queries.numel(), -1))
    return torch.cat(outputs).index_select(0, attention.back).view(1, length, heads, -1), None  # (1, T, H, D)


def _near(block: Block, window: int, dtype: torch.dtype) -> Tensor:
    """(R or 1, 1, Q, K): the block's mask, with what is `window` positions back or further hidden as well."""
    width = block.keys.shape[1]
    mask = block.mask
    if mask is None:
        mask = torch.full((1, 1, width, width), -math.inf, device=block.keys.device).triu(1)
    last = (mask == 0).sum(-1, keepdim=True) - 1  # (R or 1, 1, Q, 1): the furthest position seen, its own
    return mask.masked_fill(torch.arange(width, device=mask.device) <= last - window, -math.inf).to(dtype)
