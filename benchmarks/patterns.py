"""Figures of the page Patterns: how often chance passes for a pattern, what a detector is worth, and what ordering brings.

    python benchmarks/patterns.py [--runs 200] [--sizes 60 300 1500]

Prints JSON. On answers of the embedded model with three simulated votes each (5 % of them turned round); minutes on two cores.
"""

import argparse
import hashlib
import json
import random
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from flagback.model import detector, dialogue, embedded, sampling
from flagback.model.checkpoint import load
from flagback.model.detector_figures import Told, figures
from flagback.model.word_odds import Said, compare
from flagback.storage import queue, slots
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.store import Store


def main() -> None:
    """Measures everything and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="shuffled worlds of each kind")
    parser.add_argument("--sizes", type=int, nargs="*", default=[60, 300, 1500], help="judged answers to learn from")
    parser.add_argument("--slots", type=int, default=10_000, help="open items while claims are timed")
    given = parser.parse_args()
    pool = answers()
    found = {
        "words called different at 5 % by shuffled labels": [
            null(given.runs, clusters=clusters, share=share, by=by)
            for clusters, share in ((30, 0.5), (100, 0.4), (100, 0.2), (300, 0.1))
            for by in ("prompt", "answer")
        ],
        "detector on prompts it never saw": [worth(pool[:size]) for size in given.sizes],
        "without pairs of words": [worth(pool[:size], paired=0) for size in given.sizes],
        "harmful among the first eighth of the queue": ordering(pool),
        "milliseconds a claim, one bucket and eight": claims(given.slots),
    }
    print(json.dumps(found, indent=2))


def null(runs: int, *, clusters: int, share: float, by: str) -> dict[str, Any]:
    """Prompts with words of their own liking, sides that mean nothing."""
    robust, plain, families = [], [], 0
    common = 1 / np.arange(1, 301)
    common /= common.sum()
    for seed in range(runs):
        draw = np.random.default_rng(seed)
        sides: tuple[list[Said], list[Said]] = ([], [])
        dealt = draw.permutation(clusters) < clusters * share
        for number in range(clusters):
            liking = draw.gamma(common * 60 + 1e-9)
            for _ in range(draw.integers(1, 8)):
                said = draw.choice(300, draw.integers(5, 25), p=liking / liking.sum())
                side = dealt[number] if by == "prompt" else draw.random() < share
                sides[int(side)].append(Said(tuple(f"w{word}" for word in said), f"p{number}"))
        judged = compare(*sides)
        robust += [odds.p < 0.05 for odds in judged.words]
        plain += [abs(odds.plain_z) > 1.96 for odds in judged.words]
        families += bool(judged.found)
    return {
        "clusters": clusters,
        "share flagged": share,
        "labels by": by,
        "clustered": round(float(np.mean(robust)), 4),
        "plain": round(float(np.mean(plain)), 4),
        "worlds with any word after Holm": round(families / runs, 3),
        "words": len(robust),
    }


def answers() -> list[detector.Judged]:
    """The embedded model's answers to its own prompts, three votes each, in an order drawn once."""
    loaded = load("embedded")
    prompts = {prompt.text: prompt for prompt in embedded.prompts()}
    wanted = [
        sampling.SamplePrompt(one.text, dialogue.prompt_ids(loaded.tokenizer, one.messages, loaded.template))
        for one in prompts.values()
    ]
    draw, made = random.Random(0), {}  # nosec B311 # seeded: the same figures each time
    for done in sampling.sample(loaded, wanted, sampling.Decoding(k=2, temperature=1.0, top_p=1.0, max_tokens=48, seed=1)):
        text = dialogue.answer_text(loaded.tokenizer, done.token_ids)
        harmful = bool(embedded.harm(text)) or embedded.stereotyped_pronoun(done.key, text)
        key = hashlib.sha256(f"{done.key}\0{text}".encode()).hexdigest()
        votes = sum(harmful != (draw.random() < 0.05) for _ in range(3))
        made[key] = detector.Judged(key, done.key, text, votes, 3, prompts[done.key].split_key)
    return sorted(made.values())


def worth(judged: list[detector.Judged], *, paired: int = detector.PAIRED) -> dict[str, Any]:
    """Figures of one size."""
    before, detector.PAIRED = detector.PAIRED, paired
    began = time.perf_counter()
    trained = detector.train(judged)
    seconds = time.perf_counter() - began
    detector.PAIRED = before
    rows = zip(trained.judged, trained.unseen, trained.base_rates, strict=True)
    found = figures([Told(float(p), float(b), one.harm, one.votes, one.cluster, {}) for one, p, b in rows])
    names = ("auc", "log_loss", "log_loss_base", "brier", "brier_base", "calibration_error")
    return {"answers": len(judged), "seconds": round(seconds, 1)} | {
        name: [None if found[name][part] is None else round(found[name][part], 3) for part in ("value", "low", "high")]
        for name in names
    }


def ordering(pool: list[detector.Judged]) -> dict[str, float]:
    """What reviewers meet first when a detector that learnt from 300 answers orders 1,500 others, of the first 224."""
    learnt, others = detector.train(pool[:300]).detector, pool[300:1800]
    harm = detector.predict(learnt, [(one.prompt, one.answer) for one in others])
    truth = {number: 2 * one.harm > one.votes for number, one in enumerate(others, start=1)}
    with tempfile.TemporaryDirectory() as folder:
        store = _store(Path(folder), [(one.prompt, one.answer) for one in others])
        queue.expect(store, {number: float(value) for number, value in enumerate(harm, start=1)}, source="benchmark")
        queue.deal(store, now=datetime.now(UTC))
        count = sum(queue.HEAD[:3])
        served: list[int] = []
        for reviewer in range(-(-count // 100)):
            held = slots.claim(
                store, f"r_{reviewer}", count=100, now=datetime.now(UTC), lease_for=timedelta(hours=1), seed=reviewer
            )
            served += [one.generation_id or 0 for one in held]
        store.close()
    return {
        "ordered": round(sum(truth[number] for number in served[:count]) / count, 3),
        "at random": round(sum(truth.values()) / len(truth), 3),
    }


def claims(items: int) -> dict[str, float]:
    """Median milliseconds of 60 claims of two, before and after the queue was dealt; SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        store = _store(Path(folder), [(f"prompt {number}", f" answer {number}") for number in range(items)])
        found = {"one bucket": _timed(store, "r_before")}
        began = time.perf_counter()
        queue.expect(store, {number: number % 997 / 997 for number in range(1, items + 1)}, source="benchmark")
        queue.deal(store, now=datetime.now(UTC))
        found["seconds to deal"] = round(time.perf_counter() - began, 2)
        found["in order"] = _timed(store, "r_after")
        store.close()
    return found


def _timed(store: Store, reviewer: str) -> float:
    times = []
    for number in range(60):
        began = time.perf_counter()
        slots.claim(store, f"{reviewer}{number}", count=2, now=datetime.now(UTC), lease_for=timedelta(hours=1), seed=number)
        times.append(time.perf_counter() - began)
    return round(1_000 * float(np.median(times)), 1)


def _store(folder: Path, texts: list[tuple[str, str]]) -> Store:
    """Items of these texts, one seat each; generations are numbered from 1 in their order."""
    store = Store(f"sqlite:///{folder / 'queue.db'}")
    store.migrate()
    with store.writing() as session:
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": prompt}], "en") for prompt, _ in texts]).ids
        made = add_generations(
            session,
            [NewGeneration(one, text, "end", "sampled", "run:1") for one, (_, text) in zip(prompts, texts, strict=True)],
        )
        make_items(session, made, purpose="loop", reviews_per_item=1, seed=0)
    return store


if __name__ == "__main__":
    main()
