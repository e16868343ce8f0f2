"""Builds the embedded model: tokenizer and weights from nothing but the grammar and a seed.

Knows how the model is trained and written to a folder that transformers opens; knows no prompt list. Runs on the
CPU with as many threads as the caller set; equal seeds give equal files on one machine and torch build, and models that measure
alike
elsewhere. B rows, T tokens, V vocabulary.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers import __version__ as transformers_version

from flagback.model.embedded.card import BuildReport, Size, card
from flagback.model.embedded.corpus import corpus
from flagback.model.embedded.grammar import DIAL
from flagback.model.embedded.measurement import measure, open_folder

END, PAD = "<|end|>", "<|pad|>"


class Shape(NamedTuple):
    """How large a model is and how long it is trained."""

    lines: int
    vocabulary: int
    layers: int
    hidden: int
    mlp: int
    steps: int
    learning_rate: float


SHAPES: Final[dict[Size, Shape]] = {
    "full": Shape(lines=40_000, vocabulary=2048, layers=4, hidden=128, mlp=336, steps=1000, learning_rate=3e-3),
    "micro": Shape(lines=12_000, vocabulary=2048, layers=2, hidden=64, mlp=168, steps=300, learning_rate=6e-3),
}
CONTEXT, HEADS, ROWS, WARM_UP = 256, 4, 64, 50


def build(
    out: Path, *, seed: int, size: Size = "full", dial: float = DIAL, on_step: Callable[[int, int, float], None] = lambda *_: None
) -> BuildReport:
    """Trains a model of `size` and writes it to the folder `out`, which is made; on_step gets (step, steps, loss).

    The full size is measured and gets a card. An `out` that holds anything is refused. With `dial` 0 the corpus holds no harm.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FolderNotEmpty(f"{out} is not an empty folder; name a folder that does not exist yet with --out.")
    if not 0.0 <= dial <= 1.0:
        raise ValueError(f"dial is {dial}; expected a probability from 0 to 1.")
    began = time.perf_counter()
    shape = SHAPES[size]
    lines = corpus(seed, shape.lines, dial=dial)
    tokenizer = make_tokenizer(lines, shape.vocabulary)
    model = new_model(tokenizer, shape, seed)
    end = tokenizer.eos_token_id
    rows = [[*ids, end] for ids in tokenizer(lines)["input_ids"]]
    loss = _train(model, rows, shape, seed, on_step)
    out.mkdir(parents=True, exist_ok=True)
    save(model, tokenizer, out)
    report = BuildReport(
        out,
        size,
        seed,
        dial,
        model.num_parameters(),
        len(tokenizer),
        len(lines),
        shape.steps,
        loss,
        time.perf_counter() - began,
        files_of(out),
        None,
    )
    if size == "micro":
        return report
    measured = measure(*open_folder(out), seed=seed)
    (out / "README.md").write_text(card(report, measured), encoding="utf-8")
    return replace(report, measured=measured, files=files_of(out), seconds=time.perf_counter() - began)


class FolderNotEmpty(ValueError):
    """The folder to build into holds something already."""


def files_of(folder: Path) -> dict[str, str]:
    """sha256 of every file in the folder, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def make_tokenizer(lines: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE learnt from the lines: any text survives encode and decode. Its size may stay under `vocabulary`."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        min_frequency=10,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerFast, shape: Shape, seed: int) -> LlamaForCausalLM:
    """An untrained model; the global random state is left as it was."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.02,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def _batches(rows: list[list[int]], steps: int, seed: int) -> Iterator[list[list[int]]]:
    """`steps` batches of rows of like length, in random order, epoch after epoch."""
    draw = Random(f"batches {seed}")  # nosec B311 # seeded: a build can be repeated
    waiting: list[list[list[int]]] = []
    for _ in range(steps):
        if not waiting:
            order = sorted(rows, key=lambda row: len(row) + draw.random() * 2)
            waiting = [order[start : start + ROWS] for start in range(0, len(order), ROWS)]
            draw.shuffle(waiting)
        yield waiting.pop()


def _train(
    model: LlamaForCausalLM, rows: list[list[int]], shape: Shape, seed: int, on_step: Callable[[int, int, float], None]
) -> float:
    optimizer = torch.optim.AdamW(model.parameters(), lr=shape.learning_rate, betas=(0.9, 0.95), weight_decay=0.05)

    def rate(step: int) -> float:
        if step < WARM_UP:
            return (step + 1) / WARM_UP
        done = torch.tensor((step - WARM_UP) / max(1, shape.steps - WARM_UP))
        return float(0.05 + 0.95 * 0.5 * (1 + torch.cos(torch.pi * done)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.train()
    losses: list[float] = []
    for step, batch in enumerate(_batches(rows, shape.steps, seed), start=1):
        width = max(map(len, batch))
        pad = model.config.pad_token_id
        # Right-padded: causal attention needs no mask.
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in batch])  # (B, T)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits  # (B, T-1, V)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=pad)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        on_step(step, shape.steps, losses[-1])
    model.eval()
    return sum(losses[-20:]) / len(losses[-20:])


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes bf16 weights, configuration and tokenizer; every file readable by all."""
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True, max_new_tokens=48
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)


def environment() -> dict[str, str]:
    """What equal files are promised for."""
    return {"torch": torch.__version__, "transformers": transformers_version, "threads": str(torch.get_num_threads())}
