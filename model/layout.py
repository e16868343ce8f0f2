"""Scores answers under prompts: lays token ids out as model inputs and gives back one summed log-probability an answer.

Two layouts with the same result. Padded: one right-padded row an answer; works with every causal model. Flat: one row without
padding for the whole batch, in which a prompt is computed once for all of its answers; needs a model that takes its attention from
transformers' AttentionInterface, and is only used where a probe shows that it agrees with padded.
Knows nothing of preferences, of training or of text.
Shapes: A answers, T tokens of a row, N scored positions, V vocabulary.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple
from weakref import WeakSet

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from flagback.model import flex
from flagback.model.flat_row import AttentionName, FlatRow, UnfitModel, ending_of, flat_attention, flat_row
from flagback.model.head import asked_for
from flagback.model.linears import quick_linears
from flagback.model.losses import token_logps
from flagback.model.narrow import LastBlock, last_block, narrowed
from flagback.model.portions import LOGITS_AT_ONCE, TOKENS_AT_ONCE, packed
from flagback.model.progress import Scored, untold
from flagback.model.ranks import ALONE, Ranks
from flagback.model.recipe import LayoutName, Precision, Stopped
from flagback.model.trees import Tree, by_width, extremes

#: Name under which transformers knows the flat layout's attention, and the forward argument that carries the blocks to it.
ATTENTION = "flagback_flat"
#: Models that the one kernel was found not to fit.
_WITHOUT_FLEX: WeakSet[Any] = WeakSet()
#: Largest difference of a token's log-probability, in nats, at which the two layouts count as equal.
TOLERANCE = 1e-3


class Choice(NamedTuple):
    """Which layout to use, and why not the flat one."""

    layout: LayoutName
    reason: str


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
    on_scored: Scored = untold,
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
        done = 0
        # Every rank has equally many; who would have none does the last one again.
        for turn in range(0, len(groups), ranks.count):
            if ranks.agreed(should_stop()):
                raise Stopped("Stopped while scoring; nothing was changed.")
            group = groups[min(turn + ranks.rank, len(groups) - 1)]
            values = iter(answer_logps(model, [trees[i] for i in group], layout, at_once=ranks.sharded).tolist())
            for i in group:
                found[i] = [next(values) for _ in trees[i].answers]
            done += sum(map(len, groups[turn : turn + ranks.count]))
            on_scored(done, len(trees))
    if ranks.count > 1:
        everywhere = ranks.gathered({i: values for i, values in enumerate(found) if values})
        found = [next(one[i] for one in everywhere if i in one) for i in range(len(trees))]
    return found


def sequence_logps(
    model: Any,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    layout: LayoutName | None = None,
    on_scored: Scored = untold,
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
        for tree, values in zip(trees, tree_logps(model, trees, chosen, on_scored=on_scored, should_stop=should_stop), strict=True):
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
