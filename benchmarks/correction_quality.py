"""What fairness objectives do for a rare group on the embedded model: a table over seeds. Prints JSON.

    python benchmarks/correction_quality.py [--seeds 5] [--first 1] [--rare faith] [--arms plain,even,...] [--beta 10]

The world is the embedded model's, judged by its grammar (harmful phrases, `embedded.harm`), which no product's figure rests on. A
correction learns from pairs of a fine and a harmful answer sampled from the model itself, at most two a training prompt; the rare
group's are thinned until they are `--share` of all. Swapped prompts need no review: every training prompt that names a group, with
its terms exchanged by a swap that can be undone, along a fine answer of its own. Harm is measured on prompts whose templates and
terms no correction saw, swapped prompts included, `--draws` answers each; perplexity on neutral lines and on unflagged lines of
groups.

Arms: plain (pairs as given), even (reweighting: groups count alike), counterfactual, adversarial, robust (worst group), all
(robust, counterfactual and adversarial summed), mgda (the same terms by their common direction), both (even and counterfactual).
One setting each, chosen on seeds 0 and 100, which are not among those reported.
"""

import argparse
import collections
import hashlib
import json
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from scipy.stats import t as student

from flagback.model import embedded
from flagback.model.embedded.measurement import completions, open_folder, perplexity
from flagback.model.embedded.prompts import terms
from flagback.model.groups import Axis, axis, lexicon
from flagback.model.groups import swaps as swaps_of
from flagback.model.training import Pair, Recipe, SwappedPrompt, correct
from flagback.storage.prompts import HELD_OUT_SHARDS, shard_of

#: The default recipe, tied to the model before 25 times as strongly. At the default tie nobody's harm is left and there is nothing
#: to tell apart; a run that is merely cut short leaves every group's alike, whatever it weighs.
STEPS, RATE, BETA = 24, 3.2e-3, 10.0
#: Weight of what swapped terms change.
CONSISTENCY = 60.0
SWAPS_PER_STEP = 96
PEOPLE: tuple[embedded.Group, ...] = ("origin", "faith")
JOBS: tuple[embedded.Group, ...] = ("occupation_f", "occupation_m")
DRAWS, PAIRS_PER_PROMPT, SWAPS_PER_PROMPT, REPLAY = 4, 2, 2, 400


class Held(NamedTuple):
    """What `correct` needs."""

    model: Any


class World(NamedTuple):
    """What every arm of a seed learns from."""

    pairs: list[Pair]
    swaps: list[SwappedPrompt]
    replay: list[list[int]]


def arms(plain: Recipe, consistency: float = CONSISTENCY, swaps: int = SWAPS_PER_STEP) -> dict[str, Recipe]:
    """Recipes by name: each differs from plain in its own objective alone."""
    swapped: dict[str, Any] = {"consistency_weight": consistency, "swaps_per_step": swaps}
    told: dict[str, Any] = {"adversary_weight": 0.3, "reversal": 1.0, "swaps_per_step": swaps}
    worst: dict[str, Any] = {"group_weights": "worst", "group_rate": 1.0}
    together = replace(plain, **worst, **(swapped | told))
    return {
        "plain": plain,
        "even": replace(plain, group_weights="even"),
        "counterfactual": replace(plain, **swapped),
        "adversarial": replace(plain, **told),
        "robust": replace(plain, **worst),
        "both": replace(plain, group_weights="even", **swapped),
        "all": together,
        "mgda": replace(together, combine="mgda"),
    }


def own_axes() -> list[Axis]:
    """Swaps for which the lexicon has no words, between terms of training prompts: among origins and faiths, and occupations."""
    return [
        axis(name, sorted({term.text.split()[1] for group in groups for term in terms(group, unseen=False)}), language="en")
        for name, groups in (("people", PEOPLE), ("occupation", JOBS))
    ]


def axis_of(family: str) -> str:
    """The axis whose terms are exchanged in a family's prompts."""
    return "people" if family in PEOPLE else family.split("_")[0]


def unseen_terms() -> set[str]:
    """What stands in held-out prompts alone."""
    return {term.text for group in embedded.FAMILY_OF for term in terms(group, unseen=True)}


def world(model: Any, tokenizer: Any, *, seed: int, rare: str, share: float) -> World:
    """Pairs with the rare group thinned to `share` of them, swapped prompts, replay."""
    asked = [prompt for prompt in embedded.prompts() if shard_of(prompt.split_key) not in HELD_OUT_SHARDS]
    told = completions(model, tokenizer, [prompt.text for prompt in asked for _ in range(DRAWS)], seed=seed)
    pairs: list[Pair] = []
    swapped: list[SwappedPrompt] = []
    extra, unseen = own_axes(), unseen_terms()
    for number, prompt in enumerate(asked):
        answers = {text: ids for text, ids in told[number * DRAWS : (number + 1) * DRAWS] if ids and text.strip()}
        bad = [text for text in answers if embedded.harm(text)]
        good = [text for text in answers if not embedded.flagged(prompt, text)]
        ids = tokenizer(prompt.text)["input_ids"]
        for one, other in list(zip(good, bad, strict=False))[:PAIRS_PER_PROMPT]:
            pairs.append(Pair(key_of(seed, prompt.text, one, other), ids, answers[one], answers[other], group=prompt.group))
        wanted = axis_of(prompt.tags["family"])
        made = sorted(swaps_of(prompt.text, axes=[wanted], extra=extra), key=lambda swap: key_of(seed, swap.text))
        for swap in [swap for swap in made if not any(term in swap.text for term in unseen)][:SWAPS_PER_PROMPT]:
            behind = answers[good[0]] if good else []
            there = tokenizer(swap.text)["input_ids"]
            swapped.append(SwappedPrompt(key_of(seed, prompt.text, swap.text), ids, there, behind))
    common = [pair for pair in pairs if pair.group != rare]
    few = sorted((pair for pair in pairs if pair.group == rare), key=lambda pair: pair.key)
    few = few[: round(share / (1 - share) * len(common))]
    lines = [tokenizer(line)["input_ids"] + [tokenizer.eos_token_id] for line in embedded.replay_lines(seed, REPLAY)]
    return World(common + few, swapped, lines)


def key_of(*parts: object) -> str:
    """Content key."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()


def measured(model: Any, tokenizer: Any, *, seed: int, rare: str, draws: int) -> dict[str, Any]:
    """Harm by group on held-out prompts, the rare group's and all groups', and perplexities."""
    asked = [prompt for prompt in embedded.prompts() if shard_of(prompt.split_key) in HELD_OUT_SHARDS] * draws
    told = completions(model, tokenizer, [prompt.text for prompt in asked], seed=seed)
    harms: dict[str, list[bool]] = collections.defaultdict(list)
    for prompt, (text, _) in zip(asked, told, strict=True):
        harms[prompt.group].append(bool(embedded.harm(text)))
    rates = {group: sum(found) / len(found) for group, found in sorted(harms.items())}
    everything = [value for found in harms.values() for value in found]
    return {
        "rare": rates[rare],
        "rare_prompts": len(harms[rare]) // draws,
        "worst": max(rates.values()),
        "worst_group": max(rates, key=lambda name: rates[name]),
        "overall": sum(everything) / len(everything),
        "by_group": rates,
        "empty": sum(not text.strip() for text, _ in told) / len(told),
        "ppl_neutral": perplexity(model, tokenizer, embedded.neutral_lines(seed + 900, 300)),
        "ppl_groups": perplexity(model, tokenizer, embedded.group_lines(seed + 900, 300)),
    }


def arm(name: str, recipe: Recipe, given: World, *, seed: int, rare: str, draws: int) -> dict[str, Any]:
    """One correction and what came of it."""
    from peft import PeftModel

    model, tokenizer = open_folder(embedded.WEIGHTS)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        made = correct(
            Held(model),
            given.pairs,
            swaps=given.swaps,
            replay=given.replay,
            recipe=recipe,
            seed=seed,
            folder=Path(folder) / name,
        )
        seconds = time.process_time() - began
        corrected = PeftModel.from_pretrained(model, made.adapter).merge_and_unload()
    last = asdict(made.metrics[-1])
    shown = ("chosen_change", "rejected_change", "kl", "grad_norm", "consistency_loss", "adversary_loss", "probe_right")
    return {
        "arm": name,
        "seed": seed,
        **measured(corrected, tokenizer, seed=seed + 500, rare=rare, draws=draws),
        "group_weights": made.environment.get("group_weights"),
        "last_step": {figure: last[figure] for figure in shown},
        "cpu_seconds": seconds,
    }


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line an arm: means over seeds, and the rare group's harm as a multiple of plain's with its 95 % interval over seeds."""
    by_arm: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for row in rows:
        by_arm[row["arm"]].append(row)
    plain = {row["seed"]: row for row in by_arm.get("plain", [])}
    lines = []
    for name, found in by_arm.items():
        line: dict[str, Any] = {"arm": name, "seeds": len(found)}
        for figure in ("rare", "worst", "overall", "ppl_neutral", "ppl_groups", "cpu_seconds"):
            line[figure] = sum(row[figure] for row in found) / len(found)
        both = [(row, plain[row["seed"]]) for row in found if row["seed"] in plain]
        if both and all(other["worst"] and other["rare"] for _, other in both):
            for figure in ("rare", "worst"):
                line[f"{figure}_of_plain"] = interval([row[figure] / other[figure] for row, other in both])
            line["overall_points"] = interval([100 * (row["overall"] - other["overall"]) for row, other in both])
        lines.append(line)
    return lines


def interval(values: Sequence[float]) -> dict[str, float]:
    """The mean over seeds and its 95 % interval by Student's t; a single seed has none."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": mean}
    half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return {"mean": mean, "low": mean - half, "high": mean + half, "largest": max(values)}


def main() -> None:
    """Prints one line of JSON an arm and seed, then the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--seeds", type=int, default=5)
    asked.add_argument("--first", type=int, default=1, help="the first seed")
    asked.add_argument("--rare", default="faith", choices=sorted(embedded.FAMILY_OF))
    asked.add_argument("--share", type=float, default=0.05, help="of all pairs that are the rare group's")
    asked.add_argument("--draws", type=int, default=2, help="answers to each held-out prompt")
    asked.add_argument("--steps", type=int, default=STEPS)
    asked.add_argument("--rate", type=float, default=RATE, help="learning rate")
    asked.add_argument("--beta", type=float, default=BETA, help="strength of the tie to the model before")
    asked.add_argument("--consistency", type=float, default=CONSISTENCY, help="weight of what swapped terms change")
    asked.add_argument("--swaps", type=int, default=SWAPS_PER_STEP, help="swapped prompts a step")
    asked.add_argument("--arms", default="base," + ",".join(arms(Recipe())))
    told = asked.parse_args()
    torch.set_num_threads(1)
    recipes = arms(replace(Recipe(), steps=told.steps, learning_rate=told.rate, beta=told.beta), told.consistency, told.swaps)
    assert lexicon("en")  # nosec B101 # the age axis is the lexicon's
    rows: list[dict[str, Any]] = []
    for seed in range(told.first, told.first + told.seeds):
        model, tokenizer = open_folder(embedded.WEIGHTS)
        given = world(model, tokenizer, seed=seed, rare=told.rare, share=told.share)
        counts = collections.Counter(pair.group for pair in given.pairs)
        print(json.dumps({"seed": seed, "pairs": dict(counts), "swaps": len(given.swaps)}), flush=True)
        for name in told.arms.split(","):
            if name == "base":
                row = {"arm": "base", "seed": seed, "cpu_seconds": 0.0}
                row |= measured(model, tokenizer, seed=seed + 500, rare=told.rare, draws=told.draws)
            else:
                row = arm(name, recipes[name], given, seed=seed, rare=told.rare, draws=told.draws)
            rows.append(row)
            print(json.dumps(row), flush=True)
    finite = all(math.isfinite(row["ppl_neutral"]) for row in rows)
    print(
        json.dumps(
            {
                "rare": told.rare,
                "share": told.share,
                "steps": told.steps,
                "rate": told.rate,
                "beta": told.beta,
                "consistency": told.consistency,
                "swaps": told.swaps,
                "finite": finite,
                "table": table(rows),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
