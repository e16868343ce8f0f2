"""Scores texts for suites: summed log-probabilities of continuations given their contexts, under any causal model.

What texts have in common from their first token on is computed once, whether they are a pair, the answers to one question or two
sentences that begin alike; logits are computed only where a token is scored. Texts become tokens exactly as in
lm-evaluation-harness 0.4.13, a text without a context being scored from its first token on, behind the prefix token. Knows models
and tokenizers; knows nothing of what a suite makes of the numbers.
Shapes: T tokens of a batch, P positions whose logits are needed, V vocabulary, N scored tokens, S sequences.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from flagback.model import dialogue
from flagback.model.checkpoint import Loaded
from flagback.model.flat_row import FlatRow, Path, attention_of
from flagback.model.layout import choose_layout, flat_model, in_eval, sequence_logps, vocabulary_size
from flagback.model.linears import quick_linears
from flagback.model.portions import LOGITS_AT_ONCE, packed
from flagback.model.recipe import LayoutName, Stopped
from flagback.model.suites.suite import Likelihood, Reply, Scorable, Text
from flagback.model.trees import Tree

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Tokens computed at once: on one core 512 to 2048 are about as fast, 8192 a quarter slower (benchmarks/suite_speed.py).
TOKENS_AT_ONCE = 1024


class NoPrefixToken(ValueError):
    """The tokenizer has no token to stand before a text that is scored from its first token on."""


class NothingToScore(ValueError):
    """A text becomes no token."""


class TooLongForModel(ValueError):
    """A text is longer than the model's context."""


class BrokenModel(ValueError):
    """The model gives a text a score that is no number."""


class Question(NamedTuple):
    """The texts of one item, scored together."""

    #: The item's key, for messages.
    name: str
    texts: Sequence[Scorable]


class Tokens(NamedTuple):
    """A text as tokens."""

    ids: tuple[int, ...]
    #: Place of the first scored token, 1 or later.
    start: int


class Shared(NamedTuple):
    """A batch of sequences as one row in which a common beginning stands once."""

    row: FlatRow
    #: For each scored token: place in row.keep of the logits that foretell it, its id, and its sequence; (N,) each.
    where: Tensor
    targets: Tensor
    owner: Tensor


#: Told the questions whose texts are scored, by place, and their likelihoods.
Progress = Callable[[Sequence[int], Sequence[list[Likelihood]]], None]


def encoded(tokenizer: "PreTrainedTokenizerBase", name: str, text: Text) -> Tokens:
    """A text's tokens and where scoring begins, as lm-evaluation-harness 0.4.13 does for causal models (`loglikelihood`).

    Without a context: the prefix token (bos, else eos) and every token of the text; a text that begins with that token gets no
    second one. With one: blanks at the context's end belong to the continuation; both are tokenised as one text, and what the
    context's own tokens do not cover is scored. Unlike there, a text that spells a control token (`</s>`) stays text.
    """
    context, continuation = text
    if context:
        kept = context.rstrip()
        whole, before = _ids(tokenizer, context + continuation), _ids(tokenizer, kept)
        found = Tokens(tuple(whole), len(before))
    else:
        prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if prefix is None:
            raise NoPrefixToken(
                f"The tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has neither bos_token nor eos_token, and one "
                'of them must stand before a text that is scored from its first token on; set "bos_token" in tokenizer_config.json.'
            )
        ids = tokenizer(continuation, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        found = Tokens(tuple(ids) if ids and ids[0] == prefix else (int(prefix), *ids), 1)
    if not 0 < found.start < len(found.ids):
        raise NothingToScore(
            f"{name}: {continuation[:60]!r} after {context[-60:]!r} becomes no token of its own; expected a text with at least one."
        )
    return found


def _encoded(loaded: Loaded, name: str, text: Scorable) -> Tokens:
    return encoded_reply(loaded, name, text) if isinstance(text, Reply) else encoded(loaded.tokenizer, name, text)


def encoded_reply(loaded: Loaded, name: str, reply: Reply) -> Tokens:
    """A prompt in the model's template and an answer to it, as sampling and training have them (`dialogue`).

    The ids an answer was written with are scored where this tokenizer reads them as the same text; else its own ids of the text.
    """
    before = dialogue.prompt_ids(loaded.tokenizer, reply.messages, loaded.template)
    if not before:
        raise NoPrefixToken(
            f"{name}: the prompt {reply.context[-60:]!r} becomes no token, and the tokenizer has no bos_token to begin with; set "
            '"bos_token" in tokenizer_config.json, or leave the item out.'
        )
    ids = reply.ids or []
    own = bool(ids) and max(ids) < loaded.vocabulary and min(ids) >= 0 and (ids[-1] in loaded.end) == reply.ended
    if not own or dialogue.answer_text(loaded.tokenizer, ids) != reply.answer:
        ids = dialogue.answer_ids(loaded.tokenizer, reply.answer, loaded.template)
        ids = ids if reply.ended else ids[:-1]
    if not ids:
        raise NothingToScore(f"{name}: the answer {reply.answer[:60]!r} becomes no token; expected an answer with at least one.")
    return Tokens((*before, *ids), len(before))


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """A text's tokens with the begin token where the tokenizer adds one, and without the end token where it adds that."""
    ids = list(tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"])
    return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids


def likelihoods(
    loaded: Loaded,
    model_name: str,
    questions: Sequence[Question],
    *,
    tokens_at_once: int = TOKENS_AT_ONCE,
    layout: LayoutName | None = None,
    on_batch: Progress = lambda _places, _found: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[list[Likelihood]]:
    """Every question's likelihoods, in order. Raises what stands above, before anything is computed where it can; and Stopped.

    `on_batch` is told what is done, so that a caller can keep it. Without a layout a probe chooses: the shared one where the model
    can be computed so, else one padded row a text. Batches change a result by rounding only.
    """
    sequences = [[_encoded(loaded, question.name, text) for text in question.texts] for question in questions]
    _check_length(loaded, model_name, questions, sequences)
    result: list[list[Likelihood]] = [[] for _ in questions]
    order = sorted((place for place, family in enumerate(sequences) if family), key=lambda place: (sequences[place], place))
    if not order:
        return result
    model = loaded.model
    chosen = layout or choose_layout(model, _probes(sequences)).layout
    limit = max(1, min(tokens_at_once, LOGITS_AT_ONCE // vocabulary_size(model)))
    with torch.no_grad(), in_eval(model), flat_model(model, chosen), quick_linears(model):
        anew = read_anew([sequences[place] for place in order])
        read = dict(zip(order, anew, strict=True))
        for group in packed(order, lambda place: read[place] / limit):
            if should_stop():
                raise Stopped("Stopped while scoring; what was scored so far is kept.")
            families = [sequences[place] for place in group]
            flat = [one for family in families for one in family]
            logps = iter(_shared_logps(model, flat) if chosen == "flat" else _padded_logps(model, flat))
            found = [[Likelihood(next(logps), len(one.ids) - one.start) for one in family] for family in families]
            for place, likely in zip(group, found, strict=True):
                check_numbers(model_name, questions[place], likely)
                result[place] = likely
            on_batch(group, found)
    return result


def read_anew(families: Sequence[Sequence[Tokens]]) -> list[int]:
    """How many tokens each family adds to a row in which the one before it stands, at most: what texts begin alike with is not
    read again. Questions about one context follow each other in sorted order."""
    found = []
    before: list[tuple[int, ...]] = []
    for family in families:
        reads = sorted(one.ids[:-1] for one in family)
        first = max((_common(reads[0], other) for other in before), default=0)
        anew = [len(one) - _common(one, last) for last, one in pairwise(reads)]
        found.append(len(reads[0]) - first + sum(anew))
        before = reads
    return found


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts have in common from the first on."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _check_length(loaded: Loaded, model_name: str, questions: Sequence[Question], sequences: Sequence[Sequence[Tokens]]) -> None:
    """A text's last token is foretold and never read, so that it may lie one beyond the context."""
    context = loaded.context
    for question, family in zip(questions, sequences, strict=True):
        for text, one in zip(question.texts, family, strict=True):
            if context is not None and len(one.ids) - 1 > context:
                raise TooLongForModel(
                    f"{question.name}: {(text.context + text.continuation)[:60]!r} has {len(one.ids)} tokens, {model_name} reads "
                    f"{context}; leave the item out, or choose a model with a longer context."
                )


def check_numbers(model_name: str, question: Question, found: Sequence[Likelihood]) -> None:
    """Raises BrokenModel for a likelihood that is no finite number."""
    for text, likely in zip(question.texts, found, strict=True):
        if not math.isfinite(likely.logp):
            raise BrokenModel(
                f"{model_name} gives {text.continuation[:60]!r} of {question.name} the log-probability {likely.logp}, which is no "
                "number: its weights are broken. Load it from its source again, or correct again with a lower learning rate."
            )


def _probes(sequences: Sequence[Sequence[Tokens]]) -> list[Tree]:
    """The shortest and longest texts, as a first token and the rest."""
    lengths = sorted({one.ids for family in sequences for one in family}, key=lambda ids: (len(ids), ids))
    return [Tree(ids[:1], (ids[1:],)) for ids in dict.fromkeys([*lengths[:2], lengths[-1]])]


def _padded_logps(model: Any, sequences: Sequence[Tokens]) -> list[float]:
    rows = [(one.ids[: one.start], one.ids[one.start :]) for one in sequences]
    found: list[float] = sequence_logps(model, rows, layout="padded").tolist()
    return found


def _shared_logps(model: Any, sequences: Sequence[Tokens]) -> list[float]:
    """Summed log-probability of each sequence's scored tokens, in nats; needs `flat_model` around the call."""
    device = next(iter(model.parameters())).device
    shared = shared_row(sequences, device)
    row = shared.row
    logits = (
        model(input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False, logits_to_keep=row.keep, flagback_row=row)
        .logits[0]
        .float()
    )  # (P, V)
    total = logits.logsumexp(-1)  # (P,)
    logps = logits[shared.where, shared.targets] - total[shared.where]  # (N,)
    sums = torch.zeros(len(sequences), dtype=torch.float64, device=device).index_add(0, shared.owner, logps.double())  # (S,)
    found: list[float] = sums.tolist()
    return found


def shared_row(sequences: Sequence[Tokens], device: torch.device) -> Shared:
    """Lays sequences out as a tree in one row: each begins where it leaves the one before it in sorted order.

    A last token is not read, only foretold.
    """
    ids: list[int] = []
    positions: list[int] = []
    paths: list[Path] = []
    keep: dict[int, int] = {}
    where: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    before: Sequence[int] = ()  # the tokens of the sequence before, and where they stand
    stand: list[int] = []
    for number in sorted(range(len(sequences)), key=lambda i: sequences[i]):
        tokens, start = sequences[number]
        read = tokens[:-1]
        common = _common(read, before)
        new = len(read) - common
        stand = [*stand[:common], *range(len(ids), len(ids) + new)]
        before = read
        ids += read[common:]
        positions += range(common, len(read))
        if new:
            paths.append(Path(stand, common))
        for place in range(start, len(tokens)):
            where.append(keep.setdefault(stand[place - 1], len(keep)))
            targets.append(tokens[place])
            owner.append(number)

    def tensor(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    nothing = tensor([])
    attention = attention_of(paths, len(ids), device)
    row = FlatRow(tensor([ids]), tensor([positions]), tensor(list(keep)), nothing, nothing, attention)
    return Shared(row, tensor(where), tensor(targets), tensor(owner))
