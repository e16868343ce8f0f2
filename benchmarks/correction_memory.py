"""Peak memory of every step of a correction through the store, from a few pairs to many. Prints JSON.

    python benchmarks/correction_memory.py [--pairs 500,2000,20000] [--unpaired]

Each store is an SQLite file with the embedded model as its base; every prompt has an answer that two people flagged and one that
two found fine, made up of words by seed, and so gives one pair. With --unpaired there are as many prompts besides whose two answers
are both flagged or both fine: they give no pair, and teach as `flagback correct --unpaired` has them. Then the steps of
`flagback correct`, a process each: freezing the pairs, training (the default 24 steps), registering, explaining and evaluating.
Told are the process's peak, what of it the imports had taken before, and its processor seconds.
"""

import argparse
import json
import os
import subprocess  # nosec B404 # a process for each step, this very file
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.correction_speed import peak_mb

STEPS = ("freeze", "train", "register", "explain", "finish", "evaluate")
REVIEWS_AN_ANSWER = 2
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def words(random: Random, count: int) -> str:
    """A text of made-up words."""
    return " ".join("".join(random.choices("abcdefghijklmnoprstuvwz", k=random.randint(2, 6))) for _ in range(count))  # nosec B311 # made-up words, repeatable by seed


def fill(folder: Path, pairs: int, seed: int, *, unpaired: bool) -> None:
    """A store with a prompt for each pair, two answers each, and their reviews; with `unpaired` twice as many prompts."""
    from flagback.model import cycle
    from flagback.storage.generations import NewGeneration, add_generations
    from flagback.storage.prompts import NewPrompt, add_prompts
    from flagback.storage.records import SamplingRun
    from flagback.storage.store import Store, insert_all

    random = Random(seed)  # nosec B311 # made-up rows, repeatable by seed
    store = Store(f"sqlite:///{folder / 'flagback.db'}")
    store.migrate()
    count = 2 * pairs if unpaired else pairs
    version = cycle.add_model(store, "embedded", by="benchmark")
    with store.writing() as session:
        run = SamplingRun(
            version_id=version.id, decoding={"k": 2, "seed": seed}, prompt_ids=[], asked_by="benchmark", state="succeeded"
        )
        session.add(run)
        session.flush()
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": words(random, 8)}], "en", {}) for _ in range(count)])
        answers = add_generations(
            session,
            [
                NewGeneration(
                    prompts.ids[number // 2],
                    " " + words(random, 6),
                    "end",
                    "sampled",
                    f"run:{run.id}",
                    sampling_run_id=run.id,
                    version_id=version.id,
                    draw=number % 2,
                )
                for number in range(2 * count)
            ],
        )
        items = [
            {
                "id": number + 1,
                "kind": "single",
                "purpose": "loop",
                "prompt_id": prompts.ids[number // 2],
                "generation_id": answer,
                "created_at": MOMENT,
            }
            for number, answer in enumerate(answers)
        ]
        insert_all(session, "item", items)
        reviews = range(REVIEWS_AN_ANSWER * len(items))
        insert_all(session, "slot", [_slot(number) for number in reviews])
        insert_all(session, "lease", [_lease(number) for number in reviews])
        insert_all(session, "review", [_review(number, unpaired=unpaired) for number in reviews])


def _slot(number: int) -> dict[str, Any]:
    return {
        "id": number + 1,
        "item_id": number // REVIEWS_AN_ANSWER + 1,
        "number": number % REVIEWS_AN_ANSWER,
        "mode": "single",
        "want_group": "any",
        "lang": "en",
        "state": "done",
        "bucket": 1,
        "rank": number,
        "reviewer": f"r_{number % REVIEWS_AN_ANSWER}",
        "expires_at": None,
    }


def _lease(number: int) -> dict[str, Any]:
    return {
        "id": str(UUID(int=number)),
        "slot_id": number + 1,
        "item_id": number // REVIEWS_AN_ANSWER + 1,
        "reviewer": f"r_{number % REVIEWS_AN_ANSWER}",
        "claimed_at": MOMENT,
        "expires_at": MOMENT,
        "outcome": "submitted",
    }


def _review(number: int, *, unpaired: bool) -> dict[str, Any]:
    prompt, answer = divmod(number // REVIEWS_AN_ANSWER, 2)
    flagged = prompt % 4 == 1 if unpaired and prompt % 2 else answer == 0
    return {
        "token": str(UUID(int=number)),
        "item_id": number // REVIEWS_AN_ANSWER + 1,
        "slot_id": number + 1,
        "lease_id": str(UUID(int=number)),
        "reviewer": f"r_{number % REVIEWS_AN_ANSWER}",
        "verdict": "flag" if flagged else "fine",
        "categories": ["stereotype"] if flagged else [],
        "targets": ["gender"] if flagged else [],
        "target_other": None,
        "severity": "clear" if flagged else None,
        "sure": True,
        "spans": [],
        "rewrite": None,
        "note": None,
        "skip_reason": None,
        "taxonomy_version": "1",
        "guideline_version": "1",
        "policy_version": "1",
        "seconds_open": 5.0,
        "late": False,
        "supersedes": None,
        "simulated": False,
        "created_at": MOMENT,
    }


def step(folder: Path, name: str) -> dict[str, Any]:
    """One step of the correction of this store, and what it took."""
    import torch

    import flagback.model.trainer  # noqa: F401 # seconds of imports that no pair costs
    from flagback.model import cycle, evaluating, explaining
    from flagback.model.shelf import Shelf
    from flagback.storage.artifacts import Artifacts
    from flagback.storage.store import Store

    torch.set_num_threads(1)
    store, artifacts = Store(f"sqlite:///{folder / 'flagback.db'}"), Artifacts(folder / "artifacts")
    shelf, row = Shelf(artifacts, threads=1), 1
    works: dict[str, Callable[[], object]] = {
        "freeze": lambda: cycle.freeze(store, row, artifacts=artifacts),
        "train": lambda: cycle.train(store, shelf, row, work=folder / "work"),
        "register": lambda: cycle.register(store, shelf, row),
        "explain": lambda: explaining.explain(store, shelf, row),
        "finish": lambda: cycle.finish(store, row, by="benchmark"),
        "evaluate": lambda: evaluating.evaluate(store, shelf, row),
    }
    idle, began = peak_mb(), time.process_time()
    works[name]()
    return {"seconds": round(time.process_time() - began, 1), "idle_mb": round(idle), "peak_mb": round(peak_mb())}


def measured(pairs: int, seed: int, *, unpaired: bool) -> dict[str, Any]:
    """Every step on a store of so many pairs."""
    from flagback.storage import runs
    from flagback.storage.records import PreferenceSet
    from flagback.storage.store import Store

    with tempfile.TemporaryDirectory(prefix="flagback-memory-") as name:
        folder = Path(name)
        fill(folder, pairs, seed, unpaired=unpaired)
        store = Store(f"sqlite:///{folder / 'flagback.db'}")
        with store.writing() as session:
            runs.request_correction(session, by="benchmark", now=MOMENT, seed=seed, pairs={"unpaired": True} if unpaired else {})
        found = {one: _in_its_own_process(folder, one) for one in STEPS}
        with store.reading() as session:
            frozen = session.get_one(PreferenceSet, 1)
        return {"pairs": frozen.n_pairs, "unpaired": frozen.n_unpaired} | found


def _in_its_own_process(folder: Path, name: str) -> dict[str, Any]:
    done = subprocess.run(  # nosec B603 # our own words
        [sys.executable, __file__, "--step", name, "--folder", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """One store after the other, or, with --step, the step itself."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--pairs", default="500,2000,20000")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--unpaired", action="store_true")
    arguments.add_argument("--step", choices=STEPS)
    arguments.add_argument("--folder", type=Path)
    chosen = arguments.parse_args()
    if chosen.step:
        print(json.dumps(step(chosen.folder, chosen.step)))
        return
    print(json.dumps([measured(int(count), chosen.seed, unpaired=chosen.unpaired) for count in chosen.pairs.split(",")], indent=1))


if __name__ == "__main__":
    main()
