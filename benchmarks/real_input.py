"""The loop on real input: BOLD prompts reviewed in a real browser, and hh-rlhf pairs that correct a model pre-trained here.

    python benchmarks/real_input.py [--part bold|hh|all] [--data DIR] [--steps N]

Prints one JSON object. `bold`: BOLD's gender prompts imported, 300 completions sampled by the embedded model, 40 of them
reviewed in a real Chromium by an automated person with a stated rule, the stored flags checked against the rule, the export
read back. `hh`: 2,312 pairs imported; a Llama of about 2.6 M parameters (8k BPE, context 512) pre-trained on the dialogues of
the training shards, corrected with their pairs; held-out preference accuracy with its interval, beside "choose the shorter
answer" and a run on shuffled labels.
"""

import argparse
import json
import os
import random
import re
import subprocess  # nosec B404 # starts this Python's own flagback
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from playwright.sync_api import expect, sync_playwright
from sqlmodel import col, select
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from flagback.model import cycle, dialogue, evaluating, intervals
from flagback.model.embedded import add_reference_texts
from flagback.model.shelf import Shelf
from flagback.storage import preferences, runs
from flagback.storage.accounts import create
from flagback.storage.artifacts import Artifacts
from flagback.storage.export import export_reviews
from flagback.storage.importing import import_preferences, import_prompts
from flagback.storage.layouts import NewPreference, read_preferences
from flagback.storage.prompts import TRAINING_SHARDS, shard_of, split_key_of
from flagback.storage.records import Evaluation, Generation, Item, Review, now
from flagback.storage.store import Store

CONTEXT, VOCABULARY = 512, 8192
#: The automated person's whole judgement, said beforehand: a gendered pronoun or noun in the answer is flagged.
RULE = ("she", "her", "hers", "he", "him", "his", "woman", "women", "man", "men", "girl", "boy", "lady", "mother", "father")


# ------------------------------------------------------------------------- hh


def hh(data: Path, *, steps: int, epochs: int, seed: int) -> dict[str, Any]:
    """The preference half: real pairs, a model of our own, held-out accuracy whatever it is."""
    file = data / "hh-rlhf" / "harmless-base-test.jsonl.gz"
    found = read_preferences(file)
    with tempfile.TemporaryDirectory(prefix="flagback-hh-") as folder:
        home = Path(folder)
        train = [pair for pair in found.pairs if _shard(pair) in TRAINING_SHARDS]
        began = time.perf_counter()
        pretrained = pretrain(train, home / "llama", epochs=epochs, seed=seed)
        pretrained["seconds"] = round(time.perf_counter() - began, 1)
        store, shelf = Store(f"sqlite:///{home / 'flagback.db'}"), Shelf(Artifacts(home / "artifacts"))
        store.migrate()
        cycle.add_model(store, str(home / "llama"), by="benchmark")
        report = import_preferences(store, file, name="hh-rlhf", by="benchmark", now=now())
        assert report.set_id is not None  # nosec B101 # a benchmark checks itself
        shuffled = home / "shuffled.jsonl"
        shuffled.write_text("".join(_shuffled(train, seed)), encoding="utf-8")
        shuffled_report = import_preferences(store, shuffled, name="hh-shuffled", by="benchmark", now=now())
        assert shuffled_report.set_id is not None  # nosec B101 # a benchmark checks itself
        result: dict[str, Any] = {
            "imported": {"rows": report.rows, "pairs": report.added, "skipped": report.skipped},
            "pretrained": pretrained,
        }
        with store.reading() as session:
            held_out = preferences.pairs_of(session, report.set_id, training=False)
            result["pairs"] = {
                "training": len(preferences.pairs_of(session, report.set_id, training=True)),
                "held_out": len(held_out),
            }
        shorter = [
            1.0 if len(row.chosen_text) < len(row.rejected_text) else 0.5 if len(row.chosen_text) == len(row.rejected_text) else 0.0
            for row in held_out
        ]
        result["shorter_answer"] = _share(shorter, [row.split_key for row in held_out])
        recipe = {
            "steps": steps,
            "pairs_per_step": 16,
            "learning_rate": 5e-4,
            "replay_weight": 0.0,
            "replay_per_step": 0,
            "max_tokens": CONTEXT,
        }
        for name, set_id in (("corrected", report.set_id), ("shuffled_labels", shuffled_report.set_id)):
            result[name] = _corrected(store, shelf, home, set_id, report.set_id, recipe, seed)
        store.close()
    return result


def _shard(pair: NewPreference) -> int:
    return shard_of(pair.split_key or split_key_of(pair.messages, pair.tags))


def _shuffled(pairs: Sequence[NewPreference], seed: int) -> Iterator[str]:
    """The same pairs with a coin deciding which side is called chosen."""
    coin = random.Random(f"shuffled {seed}")  # nosec B311 # a seeded coin, so that a run can be repeated
    for pair in pairs:
        sides = [pair.chosen, pair.rejected]
        coin.shuffle(sides)
        row = {
            "prompt": pair.messages,
            "chosen": [{"role": "assistant", "content": sides[0]}],
            "rejected": [{"role": "assistant", "content": sides[1]}],
        }
        yield json.dumps(row) + "\n"


def _corrected(
    store: Store, shelf: Shelf, home: Path, set_id: int, judged_on: int, recipe: dict[str, Any], seed: int
) -> dict[str, Any]:
    """One correction of the base on `set_id`, evaluated on the held-out pairs of `judged_on`."""
    began = time.perf_counter()
    with store.writing() as session:
        run = runs.request_correction(session, by="benchmark", now=now(), seed=seed, recipe=recipe, set_id=set_id)
    cycle.freeze(store, run.id)
    cycle.train(store, shelf, run.id, work=home / "work")
    trained = time.perf_counter()
    candidate = cycle.register(store, shelf, run.id)
    with store.writing() as session:
        row = session.get_one(type(run), run.id)
        row.state = "succeeded"
        session.add(row)
        asked = runs.request_evaluation(session, candidate_id=candidate.id, by="benchmark", now=now(), seed=seed, set_id=judged_on)
    evaluation: Evaluation = evaluating.evaluate(store, shelf, asked.id)
    return {
        "train_seconds": round(trained - began, 1),
        "distance_to_base": candidate.distance_to_base,
        **{
            name: evaluation.figures[name] for name in evaluation.figures if name.startswith(("preference_accuracy", "logp_chosen"))
        },
    }


def _share(values: Sequence[float], clusters: Sequence[str]) -> dict[str, Any]:
    low, high = intervals.wilson(round(sum(values)), len(values))
    return {"share": sum(values) / len(values), "low": low, "high": high, "n": len(values), "clusters": len(set(clusters))}


def pretrain(pairs: Sequence[NewPreference], folder: Path, *, epochs: int, seed: int) -> dict[str, Any]:
    """A Llama with its own 8k byte-level BPE on both answers of every training dialogue, in blocks of 512 tokens."""
    torch.manual_seed(seed)
    texts = [(pair.messages, answer) for pair in pairs for answer in (pair.chosen, pair.rejected)]
    tokenizer = _tokenizer([dialogue.plain_text(messages) + answer for messages, answer in texts])
    rows = [
        [*dialogue.prompt_ids(tokenizer, messages, "plain"), *dialogue.answer_ids(tokenizer, answer, "plain")]
        for messages, answer in texts
    ]
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=160,
            intermediate_size=432,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )
    draw = random.Random(seed)  # nosec B311 # seeded batches, so that a run can be repeated
    steps = 0
    losses: list[float] = []
    per_step = 16
    total = epochs * (sum(map(len, rows)) // CONTEXT // per_step)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=total + 1, pct_start=0.1)
    for _ in range(epochs):
        draw.shuffle(rows)
        stream = [token for row in rows for token in row]
        blocks = torch.tensor(stream[: len(stream) // CONTEXT * CONTEXT]).view(-1, CONTEXT)  # (N, T)
        for start in range(0, len(blocks) - per_step + 1, per_step):
            batch = blocks[start : start + per_step]  # (B, T)
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(input_ids=batch, labels=batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            losses.append(float(loss))
            steps += 1
            if steps % 25 == 0:
                print(f"pre-training step {steps} of {total}: loss {sum(losses[-25:]) / 25:.3f}", file=sys.stderr, flush=True)
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=0, pad_token_id=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {
        "parameters": model.num_parameters(),
        "vocabulary": len(tokenizer),
        "dialogues": len(rows),
        "tokens": sum(map(len, rows)),
        "epochs": epochs,
        "steps": steps,
        "first_loss": round(losses[0], 3),
        "last_loss": round(sum(losses[-20:]) / 20, 3),
    }


def _tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<|end|>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|end|>",  # nosec B106 # a mark of the tokenizer
        bos_token="<|end|>",
        pad_token="<|end|>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


# ----------------------------------------------------------------------- bold


def bold(data: Path, *, seed: int, completions: int = 300, reviewed: int = 40) -> dict[str, Any]:
    """The browser half: real prompts, a real Chromium, a person with a rule."""
    with tempfile.TemporaryDirectory(prefix="flagback-bold-") as folder:
        home = Path(folder)
        store, shelf = Store(f"sqlite:///{home.absolute() / 'flagback.db'}"), Shelf(Artifacts(home / "artifacts"))
        store.migrate()
        cycle.add_model(store, "embedded", by="benchmark")
        report = import_prompts(
            store, data / "bold" / "gender_prompt.json", licence="CC-BY-SA-4.0", trim=True, by="benchmark", now=now()
        )
        began = time.perf_counter()
        with store.writing() as session:
            add_reference_texts(session)
            create(session, "robot", "a-long-benchmark-word", "reviewer")
            run = runs.request_sampling(
                session, by="benchmark", now=now(), limit=completions // 4, decoding={"k": 4, "seed": seed}, reviews_per_item=1
            )
        cycle.sample(store, shelf, run.id)
        sampled_seconds = time.perf_counter() - began
        began = time.perf_counter()
        with serving(home) as address:
            seen = review_in_browser(address, "robot", "a-long-benchmark-word", count=reviewed)
        with store.reading() as session:
            rows = session.exec(
                select(Review, Generation)
                .join(Item, col(Item.id) == Review.item_id)
                .join(Generation, col(Generation.id) == Item.generation_id)
            ).all()
            total = sum(session.exec(select(Generation.count)).all())
        agree = sum((review.verdict == "flag") == breaks_rule(generation.text) for review, generation in rows)
        texts = {(" ".join(generation.text.split()), review.verdict) for review, generation in rows}
        exported = export_reviews(store, home / "export", format="parquet")
        frame = pd.concat([pd.read_parquet(path) for path in sorted((home / "export").rglob("*.parquet"))])
        store.close()
    return {
        "prompts_imported": report.added,
        "duplicates": report.duplicates,
        "completions": total,
        "sample_seconds": round(sampled_seconds, 1),
        "rule": "flag when the answer holds one of: " + ", ".join(RULE),
        "reviews_stored": len(rows),
        "flags": sum(r.verdict == "flag" for r, _ in rows),
        "flags_as_the_rule_says": agree,
        "shown_and_stored_alike": sum((text, verdict) in texts for text, verdict in seen),
        "review_seconds": round(time.perf_counter() - began, 1),
        "exported_rows": sum(exported.rows.values()),
        "reloaded_rows": len(frame),
        "reloaded_flags": int((frame["verdict"] == "flag").sum()),
    }


def breaks_rule(text: str) -> bool:
    """Whether the automated person flags an answer."""
    return bool(set(RULE) & {word.strip(".,;:!?\"'()").lower() for word in text.split()})


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """`flagback serve` on a free port of this machine, ended at the end."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(  # nosec B603 # fixed words, no shell
        [sys.executable, "-m", "flagback.review_app.cli", "serve", "--port", str(port)],
        env={**os.environ, "FLAGBACK_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/healthz", timeout=1)  # nosec B310 # always http to this machine
                break
            except OSError:
                time.sleep(0.25)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def review_in_browser(address: str, login: str, password: str, *, count: int) -> list[tuple[str, str]]:
    """Signs in, reads each answer on the screen and presses keys as the rule says; returns (text shown, verdict) in order."""
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    chromium = Path("/usr/bin/chromium")
    seen: list[tuple[str, str]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium) if chromium.exists() else None, args=flags)
        page = browser.new_page()
        page.goto(f"{address}/signin")
        page.get_by_label("Name").fill(login)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("I want to review answers").click()
        page.get_by_role("button", name="Start").click()
        output = page.locator(".output")
        output.wait_for(timeout=30_000)
        for number in range(count):
            expect(page.locator(".today")).to_have_text(re.compile(f"^{number} of"), timeout=10_000)
            text = " ".join(output.inner_text().split())
            flagged = breaks_rule(text)
            for key in ["f", "1", "s", "Enter"] if flagged else ["j"]:
                page.keyboard.press(key)
            seen.append((text, "flag" if flagged else "fine"))
        expect(page.locator(".saved")).to_have_text(re.compile("Saved"), timeout=15_000)
        page.wait_for_timeout(1500)
        browser.close()
    return seen


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["bold", "hh", "all"], default="all")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FLAGBACK_DATA", "../shared/data")))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    result: dict[str, Any] = {"threads": torch.get_num_threads(), "torch": torch.__version__, "seed": asked.seed}
    if asked.part in ("bold", "all"):
        result["bold"] = bold(asked.data, seed=asked.seed)
    if asked.part in ("hh", "all"):
        result["hh"] = hh(asked.data, steps=asked.steps, epochs=asked.epochs, seed=asked.seed)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
