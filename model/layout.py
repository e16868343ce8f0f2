"""Scores answers under prompts: lays token ids out as model inputs and gives back one summed log-probability an answer.

Two layouts with the same result. Padded: one right-padded row an answer; works with every causal model. Flat: one row without
padding for the whole batch, in which a prompt is computed once for all of its answers; needs a model that takes its attention from
transformers' AttentionInterface, and is only used where a probe shows that it agrees with padded.
Knows nothing of preferences, of training or of text.
Shapes: A answers, T tokens of a row, N scored positions, V vocabulary, H heads, D head width.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from flagback.model.losses import token_logps
from flagback.model.plan import LOGITS_AT_ONCE, TOKENS_AT_ONCE, packed
from flagback.model.recipe import LayoutName, Stopped

#: Name under which transformers knows the flat layout's attention, and the forward argument that carries the blocks to it.
ATTENTION = "flagback_flat"
#: Arguments of some models' attention that change its result in a way not followed here.
UNKNOWN = ("softcap", "s_aux", "head_mask", "position_bias", "past_key_values")
#: Largest difference of a token's log-probability, in nats, at which the two layouts count as equal.
TOLERANCE = 1e-3


class UnfitModel(Exception):
    """The model computes attention in a way that the flat layout cannot follow."""


class Tree(NamedTuple):
    """A prompt and the answers scored under it."""

    #: At least one token.
    prompt: tuple[int, ...]
    #: At least one answer, each of at least one token.
    answers: tuple[tuple[int, ...], ...]


class Choice(NamedTuple):
    """Which layout to use, and why not the flat one."""

    layout: LayoutName
    reason: str


class FlatRow(NamedTuple):
    """A batch of trees as one row."""

    input_ids: Tensor  # (1, T)
    position_ids: Tensor  # (1, T)
    #: Positions whose logits are needed, the token wanted after each, and the answer it belongs to.
    keep: Tensor  # (N,)
    targets: Tensor  # (N,)
    owner: Tensor  # (N,)
    #: Attention is computed on these (rows, width) tables of positions, each row a prompt followed by one answer ...
    blocks: tuple[Tensor, ...]
    #: ... and read back from the blocks' outputs, laid end to end, at these places.
    back: Tensor  # (T,)


def flat_row(trees: Sequence[Tree], device: torch.device) -> FlatRow:
    """Lays trees end to end as prompt, answer 1, answer 2, ...; every answer's positions go on from its prompt's end."""
    ids: list[int] = []
    positions: list[int] = []
    keep: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    paths: list[tuple[list[int], int]] = []  # positions of a prompt and one answer; how many of them the path gives back from
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
            paths.append(([*root, *own], 0 if number == 0 else len(root)))
    blocks, back = attention_blocks(paths, len(ids))

    def tensor(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return FlatRow(
        tensor([ids]),
        tensor([positions]),
        tensor(keep),
        tensor(targets),
        tensor(owner),
        tuple(tensor(block) for block in blocks),
        tensor(back),
    )


def attention_blocks(paths: list[tuple[list[int], int]], length: int) -> tuple[list[list[list[int]]], list[int]]:
    """Groups paths of about the same length; a shorter one repeats its last position, which nothing before it can see."""
    blocks: list[list[list[int]]] = []
    back = [0] * length
    offset = 0
    waiting = sorted(range(len(paths)), key=lambda i: (len(paths[i][0]), i))
    while waiting:
        shortest = len(paths[waiting[0]][0])
        group = [i for i in waiting if len(paths[i][0]) <= 1.25 * shortest + 8]
        waiting = waiting[len(group) :]
        width = len(paths[group[-1]][0])
        for row, i in enumerate(group):
            places, first = paths[i]
            for column in range(first, len(places)):
                back[places[column]] = offset + row * width + column
        blocks.append([paths[i][0] + [paths[i][0][-1]] * (width - len(paths[i][0])) for i in group])
        offset += len(group) * width
    return blocks, back


def flat_attention(
    module: Any,  # noqa: ARG001
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
    outputs: list[Tensor] = []
    for block in flagback_row.blocks:  # (R, L)
        rows, width = block.shape

        def pick(states: Tensor, at: Tensor = block, rows: int = rows, width: int = width) -> Tensor:
            chosen = states[0].index_select(1, at.reshape(-1))  # (H, R * L, D)
            return chosen.view(states.shape[1], rows, width, states.shape[3]).transpose(0, 1)  # (R, H, L, D)

        q, k, v = pick(query), pick(key), pick(value)
        if k.shape[1] != heads:
            k, v = (states.repeat_interleave(heads // states.shape[1], dim=1) for states in (k, v))
        near = None
        if sliding_window is not None and width > sliding_window:
            near = torch.ones(width, width, dtype=torch.bool, device=query.device).tril().triu(1 - sliding_window)
        mixed = functional.scaled_dot_product_attention(  # (R, H, L, D)
            q, k, v, attn_mask=near, dropout_p=dropout, is_causal=near is None, scale=scaling
        )
        outputs.append(mixed.transpose(1, 2).reshape(rows * width, heads, -1))
    return torch.cat(outputs).index_select(0, flagback_row.back)[None], None  # (1, T, H, D)


def answer_logps(model: Any, trees: Sequence[Tree], layout: LayoutName) -> Tensor:
    """Returns (A,) summed log-probabilities of all answers, tree by tree, in nats; differentiable.

    The flat layout needs `flat_model` around the call.
    """
    device = _device(model)
    count = sum(len(tree.answers) for tree in trees)
    if layout == "flat":
        row = flat_row(trees, device)
        logits = model(
            input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False, logits_to_keep=row.keep, flagback_row=row
        ).logits[0]  # (N, V)
        logps = token_logps(logits, row.targets)  # (N,)
        return torch.zeros(count, dtype=logps.dtype, device=device).index_add(0, row.owner, logps)  # (A,)
    rows = [(tree.prompt, answer) for tree in trees for answer in tree.answers]
    groups: dict[tuple[int, int], list[int]] = {}
    for number, (prompt, answer) in enumerate(rows):
        groups.setdefault((_size(len(prompt)), _size(len(answer))), []).append(number)
    order = torch.tensor([number for group in groups.values() for number in group], device=device)
    found = torch.cat([_padded_logps(model, [rows[i] for i in group], device) for group in groups.values()])  # (A,), by group
    return found.index_select(0, order.argsort())


def _size(length: int) -> int:
    """Lengths of one size are at most half as long again as each other, and 8 tokens more: little of their rows is padding."""
    return int(math.log(length + 16) / math.log(1.5))


def _padded_logps(model: Any, rows: list[tuple[tuple[int, ...], tuple[int, ...]]], device: torch.device) -> Tensor:
    """Returns (A,) summed log-probabilities of the answers of right-padded rows (prompt, answer).

    No attention mask: what stands to the right of a token cannot reach it.
    """
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)  # (A, T)
    at_row: list[int] = []
    at_column: list[int] = []
    targets: list[int] = []
    for number, (prompt, answer) in enumerate(rows):
        input_ids[number, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        at_row += [number] * len(answer)
        at_column += range(len(prompt) - 1, len(prompt) + len(answer) - 1)
        targets += answer
    first = min(at_column) if _takes(model, "logits_to_keep") else 0
    more = {"logits_to_keep": width - first} if first else {}
    logits = model(input_ids=input_ids.to(device), use_cache=False, **more).logits  # (A, T - first, V)
    owner = torch.tensor(at_row, device=device)
    picked = logits[owner, torch.tensor(at_column, device=device) - first]  # (N, V)
    logps = token_logps(picked, torch.tensor(targets, device=device))  # (N,)
    return torch.zeros(len(rows), dtype=logps.dtype, device=device).index_add(0, owner, logps)


@contextmanager
def flat_model(model: Any, layout: LayoutName) -> Iterator[None]:
    """The model with the flat layout's attention, and with its own again afterwards; nothing changes for padded."""
    if layout == "padded":
        yield
        return
    from transformers import AttentionInterface

    if not model._can_set_attn_implementation():
        raise UnfitModel("its attention is not taken from transformers' AttentionInterface")
    AttentionInterface.register(ATTENTION, flat_attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def choose_layout(model: Any, trees: Sequence[Tree]) -> Choice:
    """Flat where it agrees with padded on the shortest and longest trees, within TOLERANCE a token; else padded, and why."""
    ordered = sorted(set(trees), key=lambda tree: (_width(tree), tree))
    probe = list(dict.fromkeys([*ordered[:2], *ordered[-1:]]))
    if not _takes(model, "logits_to_keep") or not _takes(model, "position_ids"):
        return Choice("padded", "its forward takes no logits_to_keep and position_ids")
    with torch.no_grad(), in_eval(model):
        padded = answer_logps(model, probe, "padded")
        try:
            with flat_model(model, "flat"):
                flat = answer_logps(model, probe, "flat")
        except (UnfitModel, TypeError, ValueError, RuntimeError, IndexError) as error:
            return Choice("padded", f"the flat layout does not fit this model: {error}".strip())
    lengths = torch.tensor([len(answer) for tree in probe for answer in tree.answers], device=flat.device)
    worst = float(((flat - padded).abs() / lengths).max())
    if not worst <= TOLERANCE:
        return Choice("padded", f"the flat layout differs from the padded one by {worst:.2g} nats a token")
    return Choice("flat", "")


@torch.no_grad()
def tree_logps(
    model: Any, trees: Sequence[Tree], layout: LayoutName, *, should_stop: Callable[[], bool] = lambda: False
) -> list[list[float]]:
    """Summed log-probabilities of every tree's answers, without gradient, in batches of similar lengths. Raises Stopped."""
    vocabulary = vocabulary_size(model)

    def cost(i: int) -> float:
        answers = trees[i].answers
        tokens = sum(len(trees[i].prompt) + len(answer) for answer in answers)
        return max(tokens / TOKENS_AT_ONCE, sum(map(len, answers)) * vocabulary / LOGITS_AT_ONCE)

    found: list[list[float]] = [[] for _ in trees]
    order = sorted(range(len(trees)), key=lambda i: (_width(trees[i]), trees[i]))
    with in_eval(model), flat_model(model, layout):
        for group in packed(order, cost):
            if should_stop():
                raise Stopped("Stopped while scoring; nothing was changed.")
            values = iter(answer_logps(model, [trees[i] for i in group], layout).tolist())
            for i in group:
                found[i] = [next(values) for _ in trees[i].answers]
    return found


def sequence_logps(
    model: Any,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    layout: LayoutName | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Returns (N,) summed log-probabilities, in nats, of the answers in `rows` of (prompt ids, answer ids), in their order.

    Equal prompts are computed once. A text of its own is scored as its first token and the rest. Without a layout a probe
    chooses one.
    An empty list gives an empty tensor; an empty prompt or answer raises ValueError.
    """
    answers: dict[tuple[int, ...], dict[tuple[int, ...], list[int]]] = {}
    for number, (prompt, answer) in enumerate(rows):
        if not prompt or not answer:
            raise ValueError(
                f"Row {number} has {len(prompt)} prompt and {len(answer)} answer tokens; at least one of each was expected."
            )
        answers.setdefault(tuple(prompt), {}).setdefault(tuple(answer), []).append(number)
    # Large families are cut, so that a batch stays within its limits.
    trees = [Tree(prompt, tuple(group)) for prompt, found in answers.items() for group in _cut(list(found), 16)]
    result = torch.zeros(len(rows))
    if trees:
        chosen = layout or choose_layout(model, trees).layout
        for tree, values in zip(trees, tree_logps(model, trees, chosen, should_stop=should_stop), strict=True):
            for answer, value in zip(tree.answers, values, strict=True):
                result[answers[tree.prompt][answer]] = value
    return result


@contextmanager
def in_eval(model: Any) -> Iterator[None]:
    """The model in evaluation mode, and in the mode it was in afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def vocabulary_size(model: Any) -> int:
    """How many token ids the model can read."""
    return int(model.get_input_embeddings().weight.shape[0])


def _cut(items: list[tuple[int, ...]], size: int) -> list[list[tuple[int, ...]]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _width(tree: Tree) -> int:
    return len(tree.prompt) + max(map(len, tree.answers))


def _device(model: Any) -> torch.device:
    device: torch.device = next(iter(model.parameters())).device
    return device


def _takes(model: Any, argument: str) -> bool:
    """Whether the model's own forward has the argument (PEFT's wrapper passes all of them on)."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return argument in inspect.signature(inner.forward).parameters
