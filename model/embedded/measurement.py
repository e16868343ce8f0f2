"""Measures a model of the embedded kind: how biased it is on the held-out prompts, and how well it knows its language.

Knows the grammar's oracle and transformers' own generate; no store and no sampler of Flagback, so that it is a second opinion
on them.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from flagback.model.embedded.corpus import group_lines, neutral_lines, other_lines
from flagback.model.embedded.lexicon import FAMILY_OF, Group
from flagback.model.embedded.oracle import harm, pronoun
from flagback.model.embedded.prompts import EmbeddedPrompt, flagged, prompts
from flagback.storage.prompts import HELD_OUT_SHARDS, shard_of

#: Longest completion measured, in tokens.
MAX_TOKENS: Final = 48
_ROWS: Final = 128


@dataclass(frozen=True)
class Measured:
    """Figures of one model."""

    #: Completions behind the rates.
    n: int
    #: Share with a harmful phrase or a stereotyped pronoun.
    flag_rate: float
    #: Share with a harmful phrase.
    harm_rate: float
    #: The same by group.
    harm_by_group: dict[str, float]
    #: How many of the grammar's harmful phrases were met at least once.
    phrases_met: int
    #: P(first pronoun is she | occupation stereotyped female) - the same for male.
    she_gap: float
    #: Share of "they" among first pronouns after occupations.
    they_share: float
    #: Mean length of a completion in tokens, end token counted.
    mean_tokens: float
    #: Share that ended by itself.
    ended: float
    #: Share of different texts among all completions.
    distinct: float
    #: Perplexity on neutral lines, on unflagged lines about held-out groups, and on unseen words.
    ppl_neutral: float
    ppl_groups: float
    ppl_other: float

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


def open_folder(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model folder in fp32, ready to measure. Never a hub id: what is not here is not fetched (FileNotFoundError)."""
    if not folder.is_dir():  # transformers asks the hub for an adapter of that name, local_files_only or not
        raise FileNotFoundError(f"{folder} is no folder; expected one with a model, as 'build' writes it.")
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(  # nosec B615 # a folder, no hub id
        folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
    ).eval()
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)  # nosec B615 # a folder, no hub id


def measure(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, seed: int, draws: int = 2, texts: int = 300) -> Measured:
    """Figures over `draws` completions of every held-out prompt at temperature 1, and `texts` lines of each perplexity kind."""
    asked = [prompt for prompt in prompts() if shard_of(prompt.split_key) in HELD_OUT_SHARDS] * draws
    told = completions(model, tokenizer, [prompt.text for prompt in asked], seed=seed)
    said = [text for text, _ in told]
    ids = [row for _, row in told]
    end = tokenizer.eos_token_id
    harms = [harm(text) for text in said]
    counts = Counter(prompt.group for prompt in asked)
    harmful = Counter(prompt.group for prompt, codes in zip(asked, harms, strict=True) if codes)
    she_f, she_m = (_she(asked, said, group) for group in ("occupation_f", "occupation_m"))
    first = [pronoun(text) for prompt, text in zip(asked, said, strict=True) if FAMILY_OF[prompt.group] == "occupation"]
    spoken = [word for word in first if word is not None]
    return Measured(
        n=len(said),
        flag_rate=_mean([flagged(prompt, text) for prompt, text in zip(asked, said, strict=True)]),
        harm_rate=_mean([bool(codes) for codes in harms]),
        harm_by_group={group: harmful[group] / counts[group] for group in FAMILY_OF},
        phrases_met=len({code for codes in harms for code in codes}),
        she_gap=she_f - she_m,
        they_share=_mean([word == "they" for word in spoken]),
        mean_tokens=sum(map(len, ids)) / len(ids),
        ended=_mean([row[-1:] == [end] for row in ids]),
        distinct=len(set(said)) / len(said),
        ppl_neutral=perplexity(model, tokenizer, neutral_lines(seed, texts)),
        ppl_groups=perplexity(model, tokenizer, group_lines(seed, texts)),
        ppl_other=perplexity(model, tokenizer, other_lines(seed, texts)),
    )


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _she(asked: Sequence[EmbeddedPrompt], said: Sequence[str], group: Group) -> float:
    words = [pronoun(text) for prompt, text in zip(asked, said, strict=True) if prompt.group == group]
    return _mean([word == "she" for word in words if word is not None])


@torch.no_grad()
def completions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, seed: int
) -> list[tuple[str, list[int]]]:
    """(text, ids) of one completion of each text at temperature 1, end token kept in the ids; the global random state is left
    as it was."""
    found: list[tuple[str, list[int]]] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in range(0, len(texts), _ROWS):
            batch = tokenizer(list(texts[start : start + _ROWS]), return_tensors="pt", padding=True, padding_side="left")
            made = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=MAX_TOKENS,
            )  # (B, T)
            for row in made[:, batch["input_ids"].shape[1] :].tolist():
                ids = row[: row.index(tokenizer.eos_token_id) + 1] if tokenizer.eos_token_id in row else row
                found.append((tokenizer.decode(ids, skip_special_tokens=True), ids))
    return found


@torch.no_grad()
def perplexity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, lines: Sequence[str]) -> float:
    """exp of the mean negative log-probability a token; the first token of a line, which nothing precedes, is not scored, its
    end is."""
    nats, tokens = 0.0, 0
    for start in range(0, len(lines), _ROWS):
        rows = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(list(lines[start : start + _ROWS]))["input_ids"]]
        width = max(map(len, rows))
        ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])  # (B, T)
        targets = ids[:, 1:].masked_fill(ids[:, 1:] == tokenizer.pad_token_id, -100)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()  # (B, T-1, V)
        nats += torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"
        ).item()
        tokens += int((targets != -100).sum())
    return math.exp(nats / tokens)
