"""Scores pairs under a masked language model (BERT), as the CrowS-Pairs paper does: on the tokens that both texts share.

Nangia and others 2020, section 3, and their metric.py: tokens of both texts with the tokenizer's own marks around them are aligned
by difflib; of the equal ones all but the first and last (those marks) are masked one at a time, and the log-probabilities of the
masked tokens are summed for each text. The vocabulary's logits are computed at the masked places only, where the model allows it.
Knows models and tokenizers; knows nothing of what a suite makes of the numbers.
Shapes: B rows, T tokens, H width of the model, V vocabulary.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flagback.model.checkpoint import Loaded
from flagback.model.layout import in_eval, vocabulary_size
from flagback.model.linears import quick_linears
from flagback.model.losses import token_logps
from flagback.model.portions import LOGITS_AT_ONCE, packed
from flagback.model.recipe import Stopped
from flagback.model.scoring import Progress, Question, TooLongForModel, check_numbers
from flagback.model.suites.suite import Likelihood

#: Tokens computed at once.
TOKENS_AT_ONCE = 8192
#: Questions scored between two calls of on_batch.
QUESTIONS_AT_ONCE = 32
#: Largest difference of a log-probability, in nats, at which logits at the masked places alone count as the model's own.
TOLERANCE = 1e-4


class NoMaskToken(ValueError):
    """The tokenizer has no mask token."""


class NotAPair(ValueError):
    """A masked model scores exactly two texts against each other."""


class _Row(NamedTuple):
    """A text with one token masked."""

    #: Which question and which of its texts.
    owner: tuple[int, int]
    ids: list[int]
    place: int
    #: The token that was there.
    target: int


def shared_places(first: Sequence[int], second: Sequence[int]) -> tuple[list[int], list[int]]:
    """Places of the tokens that are masked in turn: those difflib finds equal in this order of texts, without the outer two."""
    blocks = difflib.SequenceMatcher(None, first, second).get_opcodes()
    one = [place for kind, start, end, _, _ in blocks if kind == "equal" for place in range(start, end)]
    other = [place for kind, _, _, start, end in blocks if kind == "equal" for place in range(start, end)]
    return one[1:-1], other[1:-1]


def pair_likelihoods(
    loaded: Loaded,
    model_name: str,
    questions: Sequence[Question],
    *,
    tokens_at_once: int = TOKENS_AT_ONCE,
    on_batch: Progress = lambda _places, _found: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[list[Likelihood]]:
    """Every question's two pseudo-log-likelihoods and how many tokens each runs over, in order. See `scoring.likelihoods`."""
    tokenizer, model = loaded.tokenizer, loaded.model
    if tokenizer.mask_token_id is None:
        raise NoMaskToken(
            f"The tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has no mask token, so nothing can be masked; "
            'set "mask_token" in its tokenizer_config.json.'
        )
    ids = [_tokens(loaded, model_name, question) for question in questions]
    result: list[list[Likelihood]] = [[] for _ in questions]
    # Questions of about one length together: rows of one batch are padded to the longest.
    order = sorted(range(len(questions)), key=lambda i: (max(map(len, ids[i])), ids[i], i))
    with torch.no_grad(), in_eval(model), quick_linears(model):
        probe = next((row for i in order for row in _masked(i, ids[i], int(tokenizer.mask_token_id))), None)
        picked = probe is not None and picks_places(loaded, probe)
        limit = tokens_at_once if picked else max(1, min(tokens_at_once, LOGITS_AT_ONCE // vocabulary_size(model)))
        for start in range(0, len(order), QUESTIONS_AT_ONCE):
            if should_stop():
                raise Stopped("Stopped while scoring; what was scored so far is kept.")
            group = order[start : start + QUESTIONS_AT_ONCE]
            sums = {(number, side): 0.0 for number in group for side in (0, 1)}
            counts = dict.fromkeys(sums, 0)
            rows = sorted(
                (row for number in group for row in _masked(number, ids[number], int(tokenizer.mask_token_id))),
                key=lambda row: len(row.ids),
            )
            for batch in packed(rows, lambda row: len(row.ids) / limit):
                for row, logp in zip(batch, _logps(loaded, batch, picked=picked), strict=True):
                    sums[row.owner] += logp
                    counts[row.owner] += 1
            found = [[Likelihood(sums[number, side], counts[number, side]) for side in (0, 1)] for number in group]
            for number, likely in zip(group, found, strict=True):
                check_numbers(model_name, questions[number], likely)
                result[number] = likely
            on_batch(group, found)
    return result


def _tokens(loaded: Loaded, model_name: str, question: Question) -> list[list[int]]:
    if len(question.texts) != 2:
        raise NotAPair(f"{question.name} has {len(question.texts)} texts; a masked model scores pairs only.")
    found = [
        list(loaded.tokenizer(text.context + text.continuation, split_special_tokens=True, verbose=False)["input_ids"])
        for text in question.texts
    ]
    longest = max(map(len, found))
    if loaded.context is not None and longest > loaded.context:
        raise TooLongForModel(
            f"{question.name} has {longest} tokens, {model_name} reads {loaded.context}; leave it out, or choose a model with a "
            "longer context."
        )
    return found


def _masked(number: int, pair: Sequence[list[int]], mask: int) -> Iterator[_Row]:
    for side, (ids, places) in enumerate(zip(pair, shared_places(*pair), strict=True)):
        for place in places:
            yield _Row((number, side), [*ids[:place], mask, *ids[place + 1 :]], place, ids[place])


def picks_places(loaded: Loaded, row: _Row) -> bool:
    """Whether the model gives a row's log-probability when its head sees the masked place alone, as it does with the whole row."""
    try:
        alone, whole = (_logps(loaded, [row, row], picked=picked)[0] for picked in (True, False))
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, KeyError):
        return False
    return abs(alone - whole) <= TOLERANCE


@contextmanager
def _only_at(model: Any, places: Tensor) -> Iterator[None]:
    """What stands below the head gives (B, 1, H), the states at one place a row, in place of (B, T, H)."""
    encoder = model.base_model
    if encoder is model:
        raise ValueError(f"{type(model).__name__} does not tell its encoder from its head.")

    def pick(_module: Any, _arguments: Any, output: Any) -> Any:
        states = output[0]  # (B, T, H)
        chosen = states[torch.arange(len(states), device=states.device), places][:, None]  # (B, 1, H)
        if isinstance(output, tuple):
            return (chosen, *output[1:])
        output["last_hidden_state"] = chosen
        return output

    handle = encoder.register_forward_hook(pick)
    try:
        yield
    finally:
        handle.remove()


def _logps(loaded: Loaded, rows: Sequence[_Row], *, picked: bool) -> list[float]:
    """Log-probability of each row's masked token; `picked`: without the logits of all other places."""
    device = next(iter(loaded.model.parameters())).device
    width = max(len(row.ids) for row in rows)
    pad = loaded.tokenizer.pad_token_id or 0
    input_ids = torch.tensor([row.ids + [pad] * (width - len(row.ids)) for row in rows], device=device)  # (B, T)
    seen = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows], device=device)  # (B, T)
    places = torch.tensor([row.place for row in rows], device=device)  # (B,)
    if picked:
        with _only_at(loaded.model, places):
            at_places = loaded.model(input_ids=input_ids, attention_mask=seen).logits[:, 0]  # (B, V)
    else:
        logits = loaded.model(input_ids=input_ids, attention_mask=seen).logits  # (B, T, V)
        at_places = logits[torch.arange(len(rows), device=device), places]  # (B, V)
    found: list[float] = token_logps(at_places, torch.tensor([row.target for row in rows], device=device)).tolist()
    return found
