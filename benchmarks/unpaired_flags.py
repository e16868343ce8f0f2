"""What flags without a counterpart add where few answers were reviewed, on the embedded model: a table over seeds. Prints JSON.

    python benchmarks/unpaired_flags.py [--seeds 5] [--first 1] [--prompts 60] [--answers 2] [--weights 1] [--beta 0.4]

The world is the embedded model's, judged by its grammar (`embedded.harm`), which no product's figure rests on. `--prompts` training
prompts have `--answers` answers each, sampled from the model and judged; pairs and unpaired answers are made of them by the
product's own rules (`model/pairs.py`). Harm is measured on held-out prompts, perplexity on neutral lines and on unflagged lines of
groups, as in `correction_quality.py`.

Arms: base (no correction), pairs (those alone), both (pairs and unpaired answers, once for every factor of `--weights`), alone
(unpaired answers and no pair).
"""

import argparse
import collections
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.correction_quality import Held, interval, key_of, measured
from flagback.model import embedded
from flagback.model.adapter import merged
from flagback.model.embedded.measurement import completions, open_folder
from flagback.model.lesson import Lesson
from flagback.model.pairs import Answer, build_pairs, build_unpaired
from flagback.model.policy import Judgement
from flagback.model.recipe import Flag, Pair, Recipe
from flagback.model.training import correct
from flagback.storage.prompts import HELD_OUT_SHARDS, shard_of

REPLAY = 400
#: Harm of an answer that three of three flag, and that none of three flags (`policy.judge`).
FLAGGED, FINE = 0.8125, 0.0625


class Reviewed(NamedTuple):
    """What is learnt from."""

    pairs: list[Pair]
    flags: list[Flag]
    replay: list[list[int]]


def reviewed(model: Any, tokenizer: Any, *, seed: int, prompts: int, answers: int) -> Reviewed:
    """Some prompts' answers as the grammar judges them, made into pairs and unpaired answers."""
    asked = [prompt for prompt in embedded.prompts() if shard_of(prompt.split_key) not in HELD_OUT_SHARDS]
    asked = Random(seed).sample(asked, prompts)  # nosec B311 # which prompts are reviewed, no secret
    told = completions(model, tokenizer, [prompt.text for prompt in asked for _ in range(answers)], seed=seed)
    judged: list[Answer] = []
    ids_of: dict[int, list[int]] = {}
    for number, (text, ids) in enumerate(told):
        prompt = asked[number // answers]
        harmful = embedded.flagged(prompt, text)
        ids_of[number] = ids
        said = Judgement("harmful" if harmful else "fine", FLAGGED if harmful else FINE, nonsense=False, votes=3, review_ids=())
        judged.append(Answer(number, number // answers, key_of(prompt.text), text, said))
    starts = {number: tokenizer(prompt.text)["input_ids"] for number, prompt in enumerate(asked)}
    made = build_pairs(judged, [])
    return Reviewed(
        [
            Pair(
                key_of(seed, pair.chosen_id, pair.rejected_id),
                starts[pair.prompt_id],
                ids_of[pair.chosen_id],
                ids_of[pair.rejected_id],
                pair.weight,
            )
            for pair in made
        ],
        [
            Flag(key_of(seed, one.generation_id), starts[one.prompt_id], ids_of[one.generation_id], one.harmful, one.weight)
            for one in build_unpaired(judged, made)
        ],
        [tokenizer(line)["input_ids"] + [tokenizer.eos_token_id] for line in embedded.replay_lines(seed, REPLAY)],
    )


def arm(name: str, given: Reviewed, recipe: Recipe, *, seed: int) -> dict[str, Any]:
    """One correction and what came of it."""
    model, tokenizer = open_folder(embedded.WEIGHTS)
    began = time.process_time()
    if name != "base":
        with tempfile.TemporaryDirectory() as folder:
            pairs = [] if name == "alone" else given.pairs
            flags = [] if name == "pairs" else given.flags
            weights = sum(pair.weight for pair in pairs), sum(flag.weight for flag in flags)
            made = correct(
                Held(model),
                pairs,
                flags=flags,
                replay=given.replay,
                recipe=Lesson(pairs, [], flags, [], given.replay, *weights).weighed(recipe),
                seed=seed,
                folder=Path(folder) / "run",
            )
            model = merged(model, made.adapter)
    spent = time.process_time() - began
    found = measured(model, tokenizer, seed=seed + 500, rare="faith", draws=2)
    wanted = ("overall", "worst", "worst_group", "empty", "ppl_neutral", "ppl_groups")
    return {"arm": name, "seed": seed, **{figure: found[figure] for figure in wanted}, "cpu_seconds": spent}


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line an arm: means over seeds, and harm against that of pairs alone in points, with its 95 % interval over seeds."""
    by_arm: dict[str, dict[int, dict[str, Any]]] = collections.defaultdict(dict)
    for row in rows:
        by_arm[row["arm"]][row["seed"]] = row
    lines = []
    for name, found in by_arm.items():
        line: dict[str, Any] = {"arm": name, "seeds": len(found)}
        for figure in ("overall", "worst", "empty", "ppl_neutral", "ppl_groups", "cpu_seconds"):
            line[figure] = interval([row[figure] for row in found.values()])["mean"]
        plain = by_arm.get("pairs", {})
        line["overall_points"] = interval([100 * (row["overall"] - plain[seed]["overall"]) for seed, row in found.items()])
        lines.append(line)
    return lines


def main() -> None:
    """Prints one line of JSON an arm and seed, then the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seeds", type=int, default=5)
    asked.add_argument("--first", type=int, default=1, help="the first seed")
    asked.add_argument("--prompts", type=int, default=60, help="reviewed prompts")
    asked.add_argument("--answers", type=int, default=2, help="answers to each of them")
    asked.add_argument("--weights", default="1", help="factors of the unpaired answers' term, with commas")
    asked.add_argument("--beta", type=float, default=Recipe().beta, help="strength of the tie to the model before")
    told = asked.parse_args()
    torch.set_num_threads(1)
    plain = Recipe(beta=told.beta)
    weights = [float(weight) for weight in told.weights.split(",")]
    recipes = {"base": plain, "pairs": plain, "alone": replace(plain, flag_weight=weights[0])}
    recipes |= {f"both {weight:g}": replace(plain, flag_weight=weight) for weight in weights}
    rows: list[dict[str, Any]] = []
    for seed in range(told.first, told.first + told.seeds):
        model, tokenizer = open_folder(embedded.WEIGHTS)
        given = reviewed(model, tokenizer, seed=seed, prompts=told.prompts, answers=told.answers)
        harmful = sum(flag.harmful for flag in given.flags)
        counts = {"seed": seed, "pairs": len(given.pairs), "harmful": harmful, "fine": len(given.flags) - harmful}
        print(json.dumps(counts), flush=True)
        for name, recipe in recipes.items():
            rows.append(arm(name, given, recipe, seed=seed))
            print(json.dumps(rows[-1]), flush=True)
    told_by = {"prompts": told.prompts, "answers": told.answers, "beta": told.beta}
    print(json.dumps(told_by | {"table": table(rows)}, indent=1))


if __name__ == "__main__":
    main()
