"""A tiny random Llama and random token ids, for tests of what is computed and not of what is said."""

import hashlib
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from flagback.model.recipe import Flag, Pair, Ranking

VOCABULARY = 61


@dataclass(frozen=True)
class Held:
    """What `correct` needs of a loaded model."""

    model: Any


def tiny_llama(*, seed: int = 0, context: int = 128, **overrides: Any) -> LlamaForCausalLM:
    """Two layers of 32 with grouped queries; weights large enough that the next token depends on the text."""
    torch.set_num_threads(1)
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**{**settings, **overrides}))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, 0.2)
    return model.eval()


def random_ids(draw: Random, shortest: int, longest: int) -> list[int]:
    """Between `shortest` and `longest` ids that are no control token."""
    return [draw.randrange(3, VOCABULARY) for _ in range(draw.randint(shortest, longest))]


def random_pairs(count: int, *, seed: int = 0, longest: int = 12) -> list[Pair]:
    """Pairs of random ids with differing weights and labels; answers end with id 2."""
    draw = Random(seed)
    return [
        Pair(
            hashlib.sha256(f"{seed}:{number}".encode()).hexdigest(),
            random_ids(draw, 1, longest // 2),
            [*random_ids(draw, 1, longest), 2],
            [*random_ids(draw, 1, longest), 2],
            weight=draw.choice([0.5, 1.0, 2.0]),
            soft_label=draw.choice([0.8, 1.0]),
        )
        for number in range(count)
    ]


def random_flags(count: int, *, seed: int = 2) -> list[Flag]:
    """Answers judged alone, two prompts of each three flags' own."""
    draw = Random(seed)
    shared = random_ids(draw, 3, 3)
    return [
        Flag(
            f"flag {seed} {number}",
            shared if number % 3 == 0 else random_ids(draw, 1, 6),
            [*random_ids(draw, 1, 10), 2],
            harmful=draw.random() < 0.6,
            weight=draw.choice([0.5, 1.0, 2.0]),
        )
        for number in range(count)
    ]


def random_rankings(count: int, *, seed: int = 3) -> list[Ranking]:
    """Rankings of two to four answers."""
    draw = Random(seed)
    return [
        Ranking(
            f"ranking {seed} {number}",
            random_ids(draw, 1, 6),
            [[*random_ids(draw, 2, 10), 2] for _ in range(draw.randint(2, 4))],
            weight=draw.choice([0.5, 1.0, 2.0]),
        )
        for number in range(count)
    ]


def random_lines(count: int, *, seed: int = 1) -> list[list[int]]:
    """Replay lines of random ids."""
    draw = Random(seed)
    return [[*random_ids(draw, 4, 12), 2] for _ in range(count)]
