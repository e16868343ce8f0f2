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
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from flagback.model import flex
from flagback.model.flex import Lineage, attended
from flagback.model.head import asked_for
from flagback.model.linears import quick_linears
from flagback.model.losses import token_logps
from flagback.model.narrow import LastBlock, last_block, narrowed
from flagback.model.portions import LOGITS_AT_ONCE, TOKENS_AT_ONCE, packed
from flagback.model.ranks import ALONE, Ranks
from flagback.model.recipe import LayoutName, Precision, Stopped
from flagback.model.trees import Tree, by_width, extremes

#: Name under which transformers knows the flat layout's attention, and the forward argument that carries the blocks to it.
ATTENTION = "flagback_flat"
#: Arguments of some models' attention that change its result in a way not followed here.
UNKNOWN = ("softcap", "s_aux", "head_mask", "position_bias", "past_key_values")
#: What computes a flat row's attention (`attention_by`).
AttentionName = Literal["sdpa", "flex"]
#: Models that the one kernel was found not to fit.
_WITHOUT_FLEX: WeakSet[Any] = WeakSet()
#: Largest difference of a token's log-probability, in nats, at which the two layouts count as equal.
TOLERANCE = 1e-3


class UnfitModel(Exception):
    """The model computes attention in a way that the flat layout cannot follow."""


class Choice(NamedTuple):
    """Which layout to use, and why not the flat one."""

    layout: LayoutName
    reason: str


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


def answer_logps(model: Any, trees: Sequence[Tree], layout: LayoutName, *, at_once: bool = False) -> Tensor:
    """Returns (A,) summed log-probabilities of all answers, tree by tree, in nats; differentiable.

    The flat layout needs `flat_model` around the call. `at_once`: padded rows go through the model together, whatever their
    lengths, since processes that share its weights must call it equally often.
    """
    device = _device(model)
    count = sum(len(tree.answers) for tree in trees)
    if layout == "flat":
        row, last = flat_row(trees, device, attention_by(model)), last_block(_base(model))
        if last is not None:
            row = row._replace(ending=ending_of(trees, last.attention, device))
        with asked_for(_unspread(model), row.targets) as asked:
            logits = _row_logits(model, row, last)
        logps = asked.found_in(logits)  # (N,)
        if logps is None:
            logps = token_logps((logits if asked.logps is None else _row_logits(model, row, last))[0], row.targets)  # (N,)
        return torch.zeros(count, dtype=logps.dtype, device=device).index_add(0, row.owner, logps)  # (A,)
    rows = [(tree.prompt, answer) for tree in trees for answer in tree.answers]
    groups: dict[tuple[int, int], list[int]] = {}
    for number, (prompt, answer) in enumerate(rows):
        groups.setdefault((0, 0) if at_once else (_size(len(prompt)), _size(len(answer))), []).append(number)
    order = torch.tensor([number for group in groups.values() for number in group], device=device)
    found = torch.cat([_padded_logps(model, [rows[i] for i in group]) for group in groups.values()])  # (A,), by group
    return found.index_select(0, order.argsort())


def _row_logits(model: Any, row: FlatRow, last: LastBlock | None) -> Tensor:
    """(1, N, V): what the model makes of the row at the positions asked for, its last block computed there alone."""
    with nullcontext() if row.ending is None else narrowed(last, row.ending.read, row.input_ids.shape[1]):
        logits: Tensor = model(
            input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False, logits_to_keep=row.keep, flagback_row=row
        ).logits
    return logits


def _size(length: int) -> int:
    """Lengths of one size are at most half as long again as each other, and 8 tokens more: little of their rows is padding."""
    return int(math.log(length + 16) / math.log(1.5))


class Foretold(NamedTuple):
    """What a model says of every token of some answers, row by row."""

    logits: Tensor  # (N, V)
    #: The tokens that stand there, and the row that each is of.
    targets: Tensor  # (N,)
    owner: Tensor  # (N,)


def _padded_logps(model: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Tensor:
    """Returns (A,) summed log-probabilities of the answers of right-padded rows (prompt, answer)."""
    logits, targets, owner = padded_logits(model, rows)
    logps = token_logps(logits, targets)  # (N,)
    return torch.zeros(len(rows), dtype=logps.dtype, device=logps.device).index_add(0, owner, logps)


def padded_logits(model: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Foretold:
    """The answers of right-padded rows (prompt, answer), each part of at least one token.

    No attention mask: what stands to the right of a token cannot reach it.
    """
    device = _device(model)
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
    return Foretold(picked, torch.tensor(targets, device=device), owner)


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
    probe = extremes(trees)
    if not _takes(model, "logits_to_keep") or not _takes(model, "position_ids"):
        return Choice("padded", "its forward takes no logits_to_keep and position_ids")
    with torch.no_grad(), in_eval(model):
        padded = answer_logps(model, probe, "padded")
        if attention_by(model) == "flex":
            _try_flex(model, probe, padded)
        try:
            with flat_model(model, "flat"):
                flat = answer_logps(model, probe, "flat")
        except (UnfitModel, TypeError, ValueError, RuntimeError, IndexError) as error:
            return Choice("padded", f"the flat layout does not fit this model: {error}".strip())
    worst = _apart(probe, flat, padded)
    if not worst <= TOLERANCE:
        return Choice("padded", f"the flat layout differs from the padded one by {worst:.2g} nats a token")
    return Choice("flat", "")


def attention_by(model: Any) -> AttentionName:
    """What computes a flat row's attention on the model's device: one kernel for all of it, or SDPA's path by path."""
    return "flex" if flex.usable(_device(model)) and _base(model) not in _WITHOUT_FLEX else "sdpa"


def _try_flex(model: Any, probe: Sequence[Tree], padded: Tensor) -> None:
    """Leaves the model's attention to SDPA where the one kernel does not agree with padded rows, or has no backward pass."""
    embedding = model.get_input_embeddings().weight
    trained = embedding.requires_grad
    try:
        with torch.enable_grad(), flat_model(model, "flat"):
            found = answer_logps(model, probe, "flat")
            torch.autograd.grad(found.sum(), embedding.requires_grad_())
        fits = _apart(probe, found.detach(), padded) <= TOLERANCE
    except Exception:  # whatever a compiler may raise
        fits = False
    finally:
        embedding.requires_grad_(trained)
    if not fits:
        _WITHOUT_FLEX.add(_base(model))


def _apart(trees: Sequence[Tree], one: Tensor, other: Tensor) -> float:
    """The largest difference of two sums of log-probabilities, nats a token."""
    lengths = torch.tensor([len(answer) for tree in trees for answer in tree.answers], device=one.device)
    return float(((one - other).abs() / lengths).max())


@torch.no_grad()
def tree_logps(
    model: Any,
    trees: Sequence[Tree],
    layout: LayoutName,
    *,
    cuts: int = 1,
    ranks: Ranks = ALONE,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[list[float]]:
    """Summed log-probabilities of every tree's answers, without gradient, in batches of similar lengths, `cuts` times as many as
    usual, spread over the ranks. Raises Stopped."""
    vocabulary = vocabulary_size(model)

    def cost(i: int) -> float:
        answers = trees[i].answers
        tokens = sum(len(trees[i].prompt) + len(answer) for answer in answers)
        return cuts * max(tokens / TOKENS_AT_ONCE, sum(map(len, answers)) * vocabulary / LOGITS_AT_ONCE)

    found: list[list[float]] = [[] for _ in trees]
    order = by_width(trees)
    with in_eval(model), flat_model(model, layout), nullcontext() if ranks.sharded else quick_linears(model):
        groups = packed(order, cost)
        # Every rank has equally many; who would have none does the last one again.
        for turn in range(0, len(groups), ranks.count):
            if ranks.agreed(should_stop()):
                raise Stopped("Stopped while scoring; nothing was changed.")
            group = groups[min(turn + ranks.rank, len(groups) - 1)]
            values = iter(answer_logps(model, [trees[i] for i in group], layout, at_once=ranks.sharded).tolist())
            for i in group:
                found[i] = [next(values) for _ in trees[i].answers]
    if ranks.count > 1:
        everywhere = ranks.gathered({i: values for i, values in enumerate(found) if values})
        found = [next(one[i] for one in everywhere if i in one) for i in range(len(trees))]
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


def computed_in(model: Any, precision: Precision) -> Any:
    """A context in which the model computes in these numbers; log-probabilities are float32 in both."""
    return torch.autocast(_device(model).type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


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


def _device(model: Any) -> torch.device:
    device: torch.device = next(iter(model.parameters())).device
    return device


def _unspread(model: Any) -> Any:
    """The model itself, where it is wrapped to be computed by several processes."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def _takes(model: Any, argument: str) -> bool:
    """Whether the model's own forward has the argument (PEFT's wrapper passes all of them on)."""
    return argument in inspect.signature(_base(model).forward).parameters


def _base(model: Any) -> Any:
    """The model within what wraps it."""
    model = _unspread(model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model
