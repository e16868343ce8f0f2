"""Sampling: k completions of each prompt, the same texts for the same seed at any batch size and order.

A prompt is computed once for its k completions, and a row whose answer has ended is refilled at once with another. Knows models and
token ids; knows nothing of texts or of the store. What was completed is the caller's to remember: a prompt that is left out does
not change the others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from transformers import DynamicCache

from flagback.model.checkpoint import Loaded
from flagback.model.noise import exponentials, step_keys, stream_key, token_keys
from flagback.model.slab import LENGTH, ROWS, Slab, fits, plain_attention, rounded

#: Prompts are computed together up to this many tokens, padded to a multiple of PROMPT.
TOGETHER, PROMPT = 1024, 16
#: Candidates looked at first for top-p; only rows whose nucleus is larger are sorted whole.
NUCLEUS = (64, 512)
#: Noise numbers made at a time, so that they stay in the processor's cache.
AT_A_TIME = 1 << 16
#: Bytes a slab may take; fewer rows are used where more would not fit.
SLAB_BYTES = 2 << 30


class BadDecoding(ValueError):
    """A decoding value is outside of its range."""


class BadPrompt(ValueError):
    """A prompt cannot be answered: empty, too long for the model, or with ids that it does not have."""


@dataclass(frozen=True)
class Decoding:
    """How answers are drawn; recorded with every run."""

    #: Completions a prompt.
    k: int = 4
    #: Divides the logits; 0 always takes the most probable token.
    temperature: float = 1.0
    #: Only the most probable tokens that together reach this share are drawn from; 1 leaves all.
    top_p: float = 1.0
    #: Longest answer in tokens, the end token included.
    max_tokens: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = (
            ("k", self.k >= 1, "1 or more"),
            ("temperature", 0 <= self.temperature <= 100, "0 to 100"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("max_tokens", self.max_tokens >= 1, "1 or more"),
        )
        for name, good, expected in ranges:
            if not good:
                raise BadDecoding(f"{name} is {getattr(self, name)}; expected {expected}.")


class SamplePrompt(NamedTuple):
    """A prompt to answer. `key` names its noise: the prompt's content hash, never a row id."""

    key: str
    ids: list[int]


class Completion(NamedTuple):
    """One answer. `token_ids` holds the end token where finish_reason is "end"."""

    key: str
    draw: int
    token_ids: list[int]
    finish_reason: Literal["end", "length"]


def sample(
    loaded: Loaded,
    prompts: Sequence[SamplePrompt],
    decoding: Decoding,
    *,
    rows: int = 128,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Completion]:
    """Yields every prompt's k completions together, draws in order, prompts as they are done.

    `rows` answers are written at a time. `should_stop` is asked before every step; then what is unfinished is dropped. Raises
    BadPrompt before anything is computed.
    """
    _check(loaded, prompts)
    loaded.model.eval()
    if rows < 1:
        raise BadDecoding(f"rows is {rows}; expected 1 or more.")
    way = _on_a_slab if fits(loaded.model) else _one_by_one
    return way(loaded, list(prompts), decoding, rows, should_stop)


def _check(loaded: Loaded, prompts: Sequence[SamplePrompt]) -> None:
    context, vocabulary = loaded.context, loaded.vocabulary
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.key in seen:
            raise BadPrompt(f"Prompt {prompt.key} is there twice; its answers would be equal. Pass every prompt once.")
        seen.add(prompt.key)
        if not prompt.ids:
            raise BadPrompt(
                f"Prompt {prompt.key} has no tokens; its text is empty and the tokenizer adds no begin "
                "token. Leave it out of the run."
            )
        if context is not None and len(prompt.ids) >= context:
            raise BadPrompt(
                f"Prompt {prompt.key} has {len(prompt.ids)} tokens, the model reads {context} with the answer; "
                "shorten the prompt, or leave it out of the run."
            )
        if max(prompt.ids) >= vocabulary or min(prompt.ids) < 0:
            raise BadPrompt(
                f"Prompt {prompt.key} has token id {max(prompt.ids)}, the model knows {vocabulary}; the tokenizer "
                "belongs to another model."
            )


def _limit(loaded: Loaded, prompt: SamplePrompt, decoding: Decoding) -> int:
    """Tokens this prompt's answers may have: prompt and answer fit into the context together."""
    return decoding.max_tokens if loaded.context is None else min(decoding.max_tokens, loaded.context - len(prompt.ids))


class Draw:
    """Draws the next token of each row from logits, with the noise of its stream and position."""

    def __init__(self, loaded: Loaded, decoding: Decoding) -> None:
        self.decoding = decoding
        self.end = frozenset(loaded.end)
        #: Rows of the output layer beyond the tokenizer's tokens are padding and have no text.
        self.known = max(loaded.tokenizer.get_vocab().values()) + 1
        self.tokens = token_keys(max(loaded.vocabulary, self.known)).to(loaded.model.device)

    def stream(self, key: str, draw: int) -> int:
        """The key of one completion's noise."""
        return stream_key(self.decoding.seed, key, draw)

    def __call__(self, logits: torch.Tensor, streams: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(n,) token ids from logits (n, V); the Gumbel-max trick, as argmax of p / Exp(1)."""
        logits = logits[:, : self.known].float()
        if self.decoding.temperature == 0:
            return logits.argmax(-1)
        steps = step_keys(streams, positions)
        if self.decoding.top_p < 1:
            return self._nucleus(logits / self.decoding.temperature, steps)
        weights = ((logits - logits.amax(-1, keepdim=True)) / self.decoding.temperature).exp_()  # (n, V)
        chunk = max(1, AT_A_TIME // weights.shape[1])
        tokens = self.tokens[: weights.shape[1]]
        return torch.cat(
            [
                weights[i : i + chunk].div_(exponentials(steps[i : i + chunk], tokens)).argmax(-1)
                for i in range(0, len(steps), chunk)
            ]
        )

    def _nucleus(self, logits: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Only the smallest set of most probable tokens whose share reaches top_p is drawn from."""
        drawn = torch.empty_like(steps)
        left = torch.arange(len(steps), device=steps.device)
        for width in (*NUCLEUS, logits.shape[1]):
            shares = logits[left].softmax(-1)
            top, ids = shares.topk(min(width, shares.shape[1]))  # (n, M)
            enough = (top.sum(-1) >= self.decoding.top_p) | (width >= shares.shape[1])
            scores = top / exponentials(steps[left], self.tokens[ids])
            scores.masked_fill_(top.cumsum(-1) - top >= self.decoding.top_p, -1.0)
            drawn[left[enough]] = ids.gather(1, scores.argmax(-1, keepdim=True))[enough, 0]
            left = left[~enough]
            if not len(left):
                break
        return drawn


@dataclass
class _Answer:
    """One completion while it is written."""

    prompt: int
    draw: int
    stream: int
    limit: int
    ids: list[int] = field(default_factory=list)


@dataclass
class _Ready:
    """A computed prompt whose answers, one token long, wait for rows."""

    prompt: int
    cache: list[tuple[torch.Tensor, torch.Tensor]]
    answers: list[_Answer]


class _Results:
    """Collects completions and hands out a prompt's once it has all k."""

    def __init__(self, prompts: Sequence[SamplePrompt], decoding: Decoding, end: frozenset[int]) -> None:
        self.prompts, self.k, self.end = prompts, decoding.k, end
        self.open: dict[int, list[Completion]] = {}
        self.whole: list[Completion] = []

    def over(self, answer: _Answer, token: int) -> bool:
        """Adds a token; True where the answer is finished by it."""
        answer.ids.append(token)
        ended = token in self.end
        if not ended and len(answer.ids) < answer.limit:
            return False
        done = self.open.setdefault(answer.prompt, [])
        done.append(Completion(self.prompts[answer.prompt].key, answer.draw, answer.ids, "end" if ended else "length"))
        if len(done) == self.k:
            self.whole += sorted(self.open.pop(answer.prompt), key=lambda completion: completion.draw)
        return True

    def take(self) -> list[Completion]:
        """What became whole since the last call."""
        whole, self.whole = self.whole, []
        return whole


def _on_a_slab(
    loaded: Loaded, prompts: list[SamplePrompt], decoding: Decoding, rows: int, should_stop: Callable[[], bool]
) -> Iterator[Completion]:
    """Many prompts in one batch; rows are refilled as answers end."""
    if not prompts:
        return
    batch = _Batch(loaded, prompts, decoding, rows)
    while not should_stop():
        batch.refill()
        yield from batch.results.take()
        if not batch.answers:
            if batch.exhausted:
                return
            continue
        batch.step()
        yield from batch.results.take()


class _Batch:
    """The rows being written, the prompts that wait, and the slab under them."""

    def __init__(self, loaded: Loaded, prompts: list[SamplePrompt], decoding: Decoding, rows: int) -> None:
        self.model, self.prompts, self.decoding = loaded.model, prompts, decoding
        self.draw = Draw(loaded, decoding)
        self.results = _Results(prompts, decoding, self.draw.end)
        self.limits = [_limit(loaded, prompt, decoding) for prompt in prompts]
        width = max(rounded(len(prompt.ids), PROMPT) + limit for prompt, limit in zip(prompts, self.limits, strict=True))
        self.rows = min(rows, len(prompts) * decoding.k, _affordable(loaded.model, width))
        self.slab = Slab(loaded.model, rows=self.rows, width=width)
        #: Prompts not yet computed, in groups of one padded length; long ones first, so that the last rows are short ones.
        self.groups = _groups(prompts)
        self.ready: list[_Ready] = []
        self.answers: list[_Answer] = []
        size, device = self.slab.rows, loaded.model.device
        self.tokens, self.places, self.written, self.streams = (
            torch.zeros(size, dtype=torch.long, device=device) for _ in range(4)
        )

    @property
    def exhausted(self) -> bool:
        """Nothing waits any more."""
        return not self.ready and not self.groups

    @torch.no_grad()
    def refill(self) -> None:
        """Puts waiting answers into free rows, computing the next prompts when none is left."""
        while len(self.answers) < self.rows and not self.exhausted:
            if not self.ready:
                self.ready = self._computed(self.groups.pop(0))
                continue
            first = self.ready[0]
            free = self.rows - len(self.answers)
            self._begin(first, first.answers[:free])
            first.answers = first.answers[free:]
            if not first.answers:
                self.ready.pop(0)

    def _begin(self, ready: _Ready, answers: list[_Answer]) -> None:
        """Gives each answer a row."""
        device, used = self.tokens.device, len(self.answers)
        where = torch.arange(used, used + len(answers), device=device)
        self.slab.place(ready.cache, where)
        self.tokens[where] = torch.tensor([answer.ids[0] for answer in answers], device=device)
        self.streams[where] = torch.tensor([answer.stream for answer in answers], device=device)
        self.places[where] = len(self.prompts[ready.prompt].ids)
        self.written[where] = 1
        self.answers += answers

    def _computed(self, group: list[int]) -> list[_Ready]:
        """Runs prompts of one padded length through the model and draws the first token of each answer.

        Padding stands behind the prompts, where a causal model does not look. Answers that end at once need no row.
        """
        rows = [self.prompts[index].ids for index in group]
        width, k = rounded(max(map(len, rows)), PROMPT), self.decoding.k
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=self.tokens.device)  # (G, P)
        cache = DynamicCache()
        with plain_attention(self.model):
            logits = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=PROMPT).logits  # (G, 16, V)
        last = logits[torch.arange(len(rows)), [PROMPT - 1 - width + len(row) for row in rows]]  # (G, V)
        answers = [
            _Answer(index, draw, self.draw.stream(self.prompts[index].key, draw), self.limits[index])
            for index in group
            for draw in range(k)
        ]
        streams = torch.tensor([answer.stream for answer in answers], device=self.tokens.device)
        tokens = self.draw(last.repeat_interleave(k, 0), streams, torch.zeros_like(streams)).tolist()
        going = [None if self.results.over(answer, token) else answer for answer, token in zip(answers, tokens, strict=True)]
        ready = [
            _Ready(
                index,
                [(layer.keys[row], layer.values[row]) for layer in cache.layers],
                [answer for answer in going[row * k : (row + 1) * k] if answer is not None],
            )
            for row, index in enumerate(group)
        ]
        return [one for one in ready if one.answers]

    @torch.no_grad()
    def step(self) -> None:
        """One more token in every row; rows that end are closed up."""
        used, padded = len(self.answers), rounded(len(self.answers), ROWS)
        positions = self.places[:padded]
        longest = max(len(self.prompts[answer.prompt].ids) + len(answer.ids) - 1 for answer in self.answers)
        mask = self.slab.step(positions, longest)
        with plain_attention(self.model):
            logits = self.model(
                self.tokens[:padded, None],
                attention_mask=mask,
                position_ids=positions[:, None],
                past_key_values=self.slab,
                use_cache=True,
            ).logits[:, -1]  # (n, V)
        drawn = self.draw(logits, self.streams[:padded], self.written[:padded])
        self.tokens[:padded] = drawn
        self.places[:used] += 1
        self.written[:used] += 1
        over = [row for row, token in enumerate(drawn[:used].tolist()) if self.results.over(self.answers[row], token)]
        if over:
            self._close(over)

    def _close(self, over: list[int]) -> None:
        """Moves the last rows into the places of those that ended, and blanks what is left behind."""
        gone, left = set(over), len(self.answers) - len(over)
        targets = [row for row in over if row < left]
        sources = [row for row in range(left, len(self.answers)) if row not in gone]
        if targets:
            to, since = torch.tensor(targets, device=self.tokens.device), torch.tensor(sources, device=self.tokens.device)
            self.slab.move(since, to)
            for values in (self.tokens, self.places, self.written, self.streams):
                values[to] = values[since]
            for target, source in zip(targets, sources, strict=True):
                self.answers[target] = self.answers[source]
        for values in (self.tokens, self.places, self.written, self.streams):
            values[left:] = 0
        del self.answers[left:]


def _groups(prompts: list[SamplePrompt]) -> list[list[int]]:
    """Indexes of prompts that are computed together: one padded length each, longest first, then by key."""
    by_width: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_width.setdefault(rounded(len(prompt.ids), PROMPT), []).append(index)
    groups = []
    for width in sorted(by_width, reverse=True):
        members, size = by_width[width], max(1, TOGETHER // width)
        groups += [members[i : i + size] for i in range(0, len(members), size)]
    return groups


def _affordable(model: Any, width: int) -> int:
    """Rows of keys and values that SLAB_BYTES hold; at least 16."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    row = 2 * config.num_hidden_layers * heads * size * rounded(width, LENGTH) * model.dtype.itemsize
    return max(ROWS, int(SLAB_BYTES // row))


def _one_by_one(
    loaded: Loaded, prompts: list[SamplePrompt], decoding: Decoding, rows: int, should_stop: Callable[[], bool]
) -> Iterator[Completion]:
    """A prompt at a time with the model's own cache and no padding: right for every architecture, slower than the slab."""
    draw = Draw(loaded, decoding)
    results = _Results(prompts, decoding, draw.end)
    for index, prompt in enumerate(prompts):
        for start in range(0, decoding.k, rows):
            answers = [
                _Answer(index, number, draw.stream(prompt.key, number), _limit(loaded, prompt, decoding))
                for number in range(start, min(decoding.k, start + rows))
            ]
            if not _written(loaded, prompt, answers, draw, results, should_stop):
                return
        yield from results.take()


@torch.no_grad()
def _written(
    loaded: Loaded, prompt: SamplePrompt, answers: list[_Answer], draw: Draw, results: _Results, should_stop: Callable[[], bool]
) -> bool:
    """Writes some answers to one prompt to their ends; False where it was stopped."""
    model = loaded.model
    cache = DynamicCache(config=model.config)
    ids = torch.tensor([prompt.ids], device=model.device)
    logits = model(ids, past_key_values=cache, use_cache=True).logits[:, -1]  # (1, V)
    cache.reorder_cache(torch.zeros(len(answers), dtype=torch.long, device=model.device))
    logits = logits.expand(len(answers), -1)
    while not should_stop():
        streams = torch.tensor([answer.stream for answer in answers], device=model.device)
        tokens = draw(logits, streams, torch.full_like(streams, len(answers[0].ids)))
        kept = [row for row, token in enumerate(tokens.tolist()) if not results.over(answers[row], token)]
        if not kept:
            return True
        if len(kept) < len(answers):
            rows = torch.tensor(kept, device=model.device)
            cache.reorder_cache(rows)
            tokens, answers = tokens[rows], [answers[row] for row in kept]
        logits = model(tokens[:, None], past_key_values=cache, use_cache=True).logits[:, -1]
    return False
