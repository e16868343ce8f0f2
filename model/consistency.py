"""Counterfactual consistency: the next word should not hang on which group a prompt names.

Knows prompts that differ in a group's terms alone, the distributions and states that a model has there, and what they cost.
Knows no word: swaps are made elsewhere and come as token ids. Shapes: S swapped prompts, N scored positions, V vocabulary, H width.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from flagback.model.flat_row import flat_row
from flagback.model.layout import attention_by
from flagback.model.recipe import LayoutName, SwappedPrompt
from flagback.model.trees import Tree


class Seen(NamedTuple):
    """What a model makes of 2 S rows: the prompts, then the same with the group's terms swapped."""

    #: At the prompt's end and behind every continuation token but the last, row by row.
    logits: Tensor  # (2 N, V)
    #: Mean hidden state of the last layer over the prompt; None where it was not asked for.
    states: Tensor | None  # (2 S, H)


def symmetric_kl(one: Tensor, other: Tensor) -> Tensor:
    """Returns (N,) means of both directions, [KL(p | q) + KL(q | p)] / 2 = sum_v (p_v - q_v) (log p_v - log q_v) / 2, in nats.

    Jeffreys 1946, halved; of distributions given as logits (N, V), in float32. Next-token distributions of a prompt and of its
    counterfactual are held together by it as logits are in Garg et al. 2019 ("Counterfactual fairness in text classification",
    arXiv 1809.10610, sec. 4.3). Gradients flow to both sides.
    """
    mine, theirs = functional.log_softmax(one.float(), -1), functional.log_softmax(other.float(), -1)
    return ((mine.exp() - theirs.exp()) * (mine - theirs)).sum(-1) / 2


def consistency_loss(logits: Tensor, lengths: Sequence[int], total_swaps: int) -> Tensor:
    """Returns the scalar sum over these swaps of the mean symmetric KL over their positions, by all swaps of the step.

    `logits` is (2 N, V) as `Seen` has them; `lengths` says how many positions each of the S swaps has.
    """
    one, other = logits.chunk(2)
    share = torch.cat([one.new_full((length,), 1 / length, dtype=torch.float32) for length in lengths])  # (N,)
    return (symmetric_kl(one, other) * share).sum() / total_swaps


def rows_of(swaps: Sequence[SwappedPrompt], end: int = 0) -> list[Tree]:
    """The 2 S rows as trees of one answer; `end` stands for whatever follows a prompt without a continuation, and is never read."""
    behind = [tuple(swap.continuation_ids) or (end,) for swap in swaps]
    sides = [[tuple(swap.prompt_ids) for swap in swaps], [tuple(swap.swapped_ids) for swap in swaps]]
    return [Tree(prompt, (answer,)) for side in sides for prompt, answer in zip(side, behind, strict=True)]


def seen(model: Any, rows: Sequence[Tree], layout: LayoutName, *, states: bool) -> Seen:
    """What the model makes of rows; differentiable. The flat layout needs `flat_model` around the call."""
    device = next(iter(model.parameters())).device
    more: dict[str, Any] = {"output_hidden_states": True} if states else {}
    if layout == "flat":
        row = flat_row(rows, device, attention_by(model))
        made = model(
            input_ids=row.input_ids,
            position_ids=row.position_ids,
            use_cache=False,
            logits_to_keep=row.keep,
            flagback_row=row,
            **more,
        )
        if not states:
            return Seen(made.logits[0], None)
        hidden = made.hidden_states[-1][0]  # (T, H)
        lengths = [(len(tree.prompt), len(tree.answers[0])) for tree in rows]
        prompts = [part[:prompt] for part, (prompt, _) in zip(hidden.split([p + a for p, a in lengths]), lengths, strict=True)]
        return Seen(made.logits[0], torch.stack([part.mean(0) for part in prompts]))
    width = max(len(tree.prompt) + len(tree.answers[0]) for tree in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    for number, tree in enumerate(rows):
        whole = [*tree.prompt, *tree.answers[0]]
        ids[number, : len(whole)] = torch.tensor(whole)
    made = model(input_ids=ids.to(device), use_cache=False, **more)
    logits = torch.cat(
        [
            made.logits[number, len(tree.prompt) - 1 : len(tree.prompt) + len(tree.answers[0]) - 1]
            for number, tree in enumerate(rows)
        ]
    )
    if not states:
        return Seen(logits, None)
    hidden = made.hidden_states[-1]  # (2 S, T, H)
    return Seen(logits, torch.stack([hidden[number, : len(tree.prompt)].mean(0) for number, tree in enumerate(rows)]))
