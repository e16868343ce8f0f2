"""How long an export of 50,000 reviews takes, beside pandas writing the same rows of the same store.

Prints one JSON object: medians and all runs of each in seconds (wall and processor time), taken in turn in one process, file sizes
and the machine. The peer, pandas.read_sql and to_json, to_csv or to_parquet, reads the same join in one query, holds all rows in
memory, leaves JSON columns as they are stored and infers its types; it writes no card, no manifest and no hashes.

    python benchmarks/export_speed.py [--reviews 50000] [--runs 5]
"""

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import NamedTuple
from uuid import UUID

import pandas as pd

from flagback.storage.card import Format
from flagback.storage.export import FORMATS, export_reviews
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import SamplingRun
from flagback.storage.store import Store, insert_all
from flagback.storage.versions import NewBase, register_base

REVIEWS_AN_ITEM = 3
JOIN = """
SELECT review.*, item.kind, item.purpose, prompt.messages, prompt.lang, prompt.tags, prompt.content_hash, prompt.shard,
       generation.text, generation.finish_reason, generation.version_id, model_version.fingerprint,
       sampling_run.decoding, later.id AS later
FROM review JOIN item ON item.id = review.item_id JOIN prompt ON prompt.id = item.prompt_id
LEFT JOIN generation ON generation.id = item.generation_id LEFT JOIN model_version ON model_version.id = generation.version_id
LEFT JOIN sampling_run ON sampling_run.id = generation.sampling_run_id LEFT JOIN review AS later ON later.supersedes = review.id
ORDER BY review.id
"""


def words(random: Random, count: int) -> str:
    """A text of made-up words."""
    return " ".join("".join(random.choices("abcdefghijklmnoprstuvwz", k=random.randint(2, 9))) for _ in range(count))  # nosec B311 # made-up words, repeatable by seed


def fill(store: Store, reviews: int, seed: int) -> None:
    """Prompts of some 15 words, answers of some 60, every third one flagged with spans, note and rewrite."""
    random = Random(seed)  # nosec B311 # made-up rows, repeatable by seed
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    items = -(-reviews // REVIEWS_AN_ITEM)
    with store.writing() as session:
        version = register_base(session, NewBase("base", "somewhere", "plain", {}, {}, "f" * 64), by="benchmark")
        run = SamplingRun(version_id=version.id, decoding={"k": 4, "seed": seed}, prompt_ids=[], asked_by="benchmark")
        session.add(run)
        session.flush()
        prompts = add_prompts(
            session,
            [
                NewPrompt([{"role": "user", "content": words(random, 15)}], "en", {"groups": ["a"], "n": number})
                for number in range(-(-items // 4))
            ],
        )
        answers = add_generations(
            session,
            [
                NewGeneration(
                    prompts.ids[number // 4],
                    " " + words(random, 60),
                    "end",
                    "sampled",
                    f"run:{run.id}",
                    token_ids=random.choices(range(4096), k=60),  # nosec B311 # made-up rows, repeatable by seed
                    sampling_run_id=run.id,
                    version_id=version.id,
                )
                for number in range(items)
            ],
        )
        insert_all(
            session,
            "item",
            [
                {
                    "id": number + 1,
                    "kind": "single",
                    "purpose": "loop",
                    "prompt_id": prompts.ids[number // 4],
                    "generation_id": answers[number],
                    "created_at": moment,
                }
                for number in range(items)
            ],
        )
        insert_all(
            session,
            "slot",
            [
                {
                    "id": number + 1,
                    "item_id": number // REVIEWS_AN_ITEM + 1,
                    "number": number % REVIEWS_AN_ITEM,
                    "mode": "single",
                    "want_group": "any",
                    "lang": "en",
                    "state": "done",
                    "bucket": 1,
                    "rank": number,
                    "reviewer": f"r_{number % REVIEWS_AN_ITEM}",
                    "expires_at": None,
                }
                for number in range(reviews)
            ],
        )
        insert_all(
            session,
            "lease",
            [
                {
                    "id": str(UUID(int=number)),
                    "slot_id": number + 1,
                    "item_id": number // REVIEWS_AN_ITEM + 1,
                    "reviewer": f"r_{number % REVIEWS_AN_ITEM}",
                    "claimed_at": moment,
                    "expires_at": moment,
                    "outcome": "submitted",
                }
                for number in range(reviews)
            ],
        )
        insert_all(session, "review", [_review(random, number, moment) for number in range(reviews)])


def _review(random: Random, number: int, moment: datetime) -> dict[str, object]:
    flagged = number % 3 == 0
    return {
        "token": str(UUID(int=number)),
        "item_id": number // REVIEWS_AN_ITEM + 1,
        "slot_id": number + 1,
        "lease_id": str(UUID(int=number)),
        "reviewer": f"r_{number % REVIEWS_AN_ITEM}",
        "verdict": "flag" if flagged else "fine",
        "categories": ["stereotype", "erasure"] if flagged else [],
        "targets": ["gender"] if flagged else [],
        "target_other": None,
        "severity": "clear" if flagged else None,
        "sure": True,
        "spans": [{"start": 3, "end": 20, "category": "stereotype"}] if flagged else [],
        "rewrite": words(random, 50) if flagged else None,
        "note": words(random, 8) if flagged else None,
        "skip_reason": None,
        "taxonomy_version": "1",
        "guideline_version": "1",
        "policy_version": "1",
        "seconds_open": random.uniform(2, 60),  # nosec B311 # made-up rows, repeatable by seed
        "late": False,
        "supersedes": None,
        "simulated": False,
        "created_at": moment,
    }


class Times(NamedTuple):
    """Seconds of one call."""

    wall: float
    #: Of this process: what other programs on the machine cannot change much.
    processor: float


def timed(work: Callable[..., object], *given: object) -> Times:
    """Seconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    work(*given)
    return Times(time.perf_counter() - wall, time.process_time() - processor)


def summary(times: Sequence[Times], path: Path) -> dict[str, object]:
    """Medians, all runs, and the size of the last file."""
    return {
        "median_s": round(statistics.median(one.wall for one in times), 2),
        "median_processor_s": round(statistics.median(one.processor for one in times), 2),
        "runs_s": [round(one.wall, 2) for one in times],
        "megabytes": round(path.stat().st_size / 1e6, 1),
    }


def main() -> None:
    """Fills a store in a temporary folder, exports and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reviews", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(f"sqlite:///{folder / 'flagback.db'}")
        store.migrate()
        fill(store, arguments.reviews, arguments.seed)

        def ours(file_format: Format, path: Path) -> None:
            export_reviews(store, path, format=file_format)

        def peer(file_format: Format, path: Path) -> None:
            with store.engine.connect() as connection:
                frame = pd.read_sql(JOIN, connection)
            if file_format == "jsonl":
                frame.to_json(path, orient="records", lines=True)
            elif file_format == "csv":
                frame.to_csv(path, index=False)
            else:
                frame.to_parquet(path, index=False)

        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, pandas {pd.__version__}, SQLite"
        figures: dict[str, object] = {"reviews": arguments.reviews, "runs": arguments.runs, "machine": machine}
        for file_format in FORMATS:
            flagback: list[Times] = []
            pandas: list[Times] = []
            for number in range(arguments.runs):
                out = folder / f"{file_format}{number}"
                flagback.append(timed(ours, file_format, out))
                pandas.append(timed(peer, file_format, folder / "peer"))
            figures[file_format] = {
                "flagback": summary(flagback, out / f"reviews.{file_format}"),
                "pandas": summary(pandas, folder / "peer"),
            }
        figures["peak_memory_megabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        store.close()
        print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
