"""How far a candidate has moved from its base: the Kullback-Leibler divergence of its next-token distributions, on given tokens.

Knows models and token ids; knows nothing of texts, figures or the store. Both models read the same batch and what they foretell is
compared at once, so that no more than one batch of logits of each is ever in memory.
Shapes: B rows, T tokens, N compared positions, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from flagback.model.layout import in_eval, vocabulary_size
from flagback.model.linears import quick_linears
from flagback.model.portions import LOGITS_AT_ONCE, packed
from flagback.model.recipe import Stopped

#: Logits of one model computed at once: a sixth of what scoring takes, since there are two models and float64 beside them.
AT_ONCE = LOGITS_AT_ONCE // 6
#: Logits turned into float64 at once.
_SLICE = 2**21


class OtherVocabulary(ValueError):
    """Two models that do not foretell the same tokens."""


def kl_rows(candidate: Tensor, base: Tensor) -> Tensor:
    """Returns (N,) float64: sum over tokens of p_candidate * (log p_candidate - log p_base) from logits (N, V), in nats.

    Kullback and Leibler 1951, eq. 2.4. It cannot be negative; what rounding leaves below 0 is 0.
    """
    found = []
    rows = max(1, _SLICE // max(1, candidate.shape[-1]))
    for start in range(0, len(candidate), rows):
        mine, theirs = (side[start : start + rows].double().log_softmax(-1) for side in (candidate, base))
        # A token of no chance at all adds nothing, whatever the base says of it.
        terms = torch.where(mine > -math.inf, mine.exp() * (mine - theirs), 0.0)
        found.append(terms.sum(-1).clamp_min(0.0))
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


@torch.no_grad()
def divergences(
    base: Any,
    candidate: Any,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[float]:
    """Sum over the tokens of each row (ids before, ids compared) of KL(candidate || base) where that token is foretold, in nats.

    Rows come back in their order; batches change a result by rounding only. Raises Stopped, and OtherVocabulary.
    """
    if vocabulary_size(base) != vocabulary_size(candidate):
        raise OtherVocabulary(
            f"The base has {vocabulary_size(base)} tokens and the candidate {vocabulary_size(candidate)}; expected models of one "
            "line, which foretell the same tokens."
        )
    sizes = [len(before) + len(compared) for before, compared in rows]
    limit = max(1, AT_ONCE // vocabulary_size(base))
    order = sorted(range(len(rows)), key=lambda i: (sizes[i], tuple(rows[i][0]), tuple(rows[i][1])))
    found = [0.0] * len(rows)
    with in_eval(base), in_eval(candidate), quick_linears(base), quick_linears(candidate):
        for group in packed(order, lambda i: sizes[i] / limit):
            if should_stop():
                raise Stopped("Stopped while comparing two models; nothing was changed.")
            for i, value in zip(group, _batch(base, candidate, [rows[i] for i in group]), strict=True):
                found[i] = value
    return found


def _batch(base: Any, candidate: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
    """Sums of right-padded rows. No attention mask: what stands to the right of a token cannot reach it."""
    device = next(iter(candidate.parameters())).device
    width = max(len(before) + len(compared) for before, compared in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)  # (B, T)
    owner: list[int] = []
    places: list[int] = []
    for number, (before, compared) in enumerate(rows):
        ids[number, : len(before) + len(compared)] = torch.tensor([*before, *compared])
        owner += [number] * len(compared)
        places += range(len(before) - 1, len(before) + len(compared) - 1)
    at = torch.tensor(owner, device=device), torch.tensor(places, device=device)
    logits = [model(input_ids=ids.to(device), use_cache=False).logits[at] for model in (candidate, base)]  # (N, V) each
    sums = torch.zeros(len(rows), dtype=torch.float64, device=device).index_add(0, at[0], kl_rows(*logits))  # (B,)
    found: list[float] = sums.tolist()
    return found
