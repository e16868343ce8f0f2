"""Pairs a second and peak memory of a correction, beside TRL 1.16's DPOTrainer in three set-ups. Prints JSON.

    python benchmarks/correction_speed.py --data FOLDER/hh-rlhf [--pairs 512] [--sizes small,medium]
        [--together 2,4] [--precision float32,bfloat16]

Pairs are hh-rlhf's harmless ones, of at most 512 tokens, drawn by seed; the vocabulary (8,192, byte-level BPE) is trained on the
same file; models are Llamas of 2.6 and 14 million parameters with random weights, so that speed and losses can be compared and
nothing is said about quality. Each side is given the same token ids in the same batches and order, the same adapter to begin with,
the same optimiser and one thread; each runs in a process of its own, one after the other. Seconds are of the processor, what turns
text into ids left out on both sides, the reference pass included on both; memory is the process's peak. The peers:

- stock: TRL as it is, pairs in random order;
- sorted: the same with batches of like lengths, which ours is then given too;
- best: sorted, and its vocabulary head at answers' tokens only: a patch of this file, as TRL does that on a GPU alone.

Each of --together is a setting of its own: with 4, four reviewed answers a prompt give six pairs each, and ours has
`sharing="prompt"`. With bfloat16 both sides compute in it (autocast), the reference pass included. Losses are compared step by
step.

With --scaling there is no peer: a tiny model learns from 500, 2,000 and 20,000 pairs of random ids, each seen once. They lie on the
disk as those of a frozen set do; with --in-memory they are a plain list. Told are processor milliseconds a pair, the reference pass
included, and the process's peak.
"""

import argparse
import contextlib
import gzip
import json
import math
import os
import random
import re
import subprocess  # nosec B404 # a process for each side, this very file
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

BATCH, LONGEST, VOCABULARY, SEED = 8, 512, 8192, 1
BETA, RATE, RANK = 0.1, 5e-4, 8
#: hidden, layers, heads, inner width.
SIZES = {"tiny": (32, 2, 2, 64), "small": (160, 4, 4, 432), "medium": (384, 6, 6, 1024)}
#: Numbers of pairs that --scaling compares.
SCALES = (500, 2_000, 20_000)
SIDES = ("ours", "stock", "sorted", "ours-sorted", "best")


class Row(NamedTuple):
    """One pair as token ids, answers with their end token."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def length(self) -> int:
        """Tokens of its longer half."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


# ------------------------------------------------------------------------- what both are given


def texts(data: Path) -> list[tuple[str, str, str]]:
    """(prompt, chosen, rejected) of the file's dialogues that are equal up to the last answer."""
    found = []
    with gzip.open(data / "harmless-base-test.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            mark = "\n\nAssistant:"
            halves = [row[side].rpartition(mark) for side in ("chosen", "rejected")]
            if halves[0][0] == halves[1][0] and halves[0][2].strip() and halves[1][2].strip() and halves[0][2] != halves[1][2]:
                found.append((halves[0][0] + mark, halves[0][2], halves[1][2]))
    return found


def tokenizer_of(data: Path) -> Any:
    """Byte-level BPE of the file's own texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([text for row in texts(data) for text in row], trainer)
    return made


def rows_of(data: Path, tokenizer: Any, *, pairs: int, together: int) -> list[Row]:
    """`pairs` pairs in random order: the file's own, or all pairs of `together` answers a prompt, the first ones preferred.

    The file has two answers a prompt; others are borrowed from elsewhere in it. What is computed does not depend on the words.
    """
    draw = random.Random(SEED)  # nosec B311 # seeded: the same pairs for every side
    known = texts(data)
    draw.shuffle(known)
    encoded = [
        Row(tokenizer.encode(p).ids, [*tokenizer.encode(c).ids, 2], [*tokenizer.encode(r).ids, 2]) for p, c, r in known[: 4 * pairs]
    ]
    fitting = [row for row in encoded if row.length <= LONGEST]
    if together < 3:
        return fitting[:pairs]
    found: list[Row] = []
    for number, row in enumerate(fitting):
        answers = [row.chosen, row.rejected]
        others = (answer for other in fitting[number + 1 :] + fitting[:number] for answer in (other.chosen, other.rejected))
        while len(answers) < together:
            answer = next(others)
            if len(row.prompt) + len(answer) <= LONGEST and answer not in answers:
                answers.append(answer)
        found += [Row(row.prompt, better, worse) for place, better in enumerate(answers) for worse in answers[place + 1 :]]
        if len(found) >= pairs:
            break
    return found[:pairs]


def sorted_batches(rows: Sequence[Row], batch: int) -> list[Row]:
    """Batches of like lengths, in random order; pairs of one prompt stay together."""
    longest: dict[tuple[int, ...], int] = {}
    for row in rows:
        longest[tuple(row.prompt)] = max(longest.get(tuple(row.prompt), 0), row.length)
    ordered = sorted(rows, key=lambda row: (longest[tuple(row.prompt)], row.prompt))
    batches = [ordered[start : start + batch] for start in range(0, len(ordered), batch)]
    last = [batches.pop()] if len(batches[-1]) < batch else []
    random.Random(SEED).shuffle(batches)  # nosec B311 # one order for all sides, seeded
    return [row for some in batches + last for row in some]


def model_of(size: str) -> Any:
    """A Llama with random weights, the same on every side."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, layers, heads, inner = SIZES[size]
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=hidden,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=2 * LONGEST,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    return model.eval()


# ------------------------------------------------------------------------- the sides


class Ran(NamedTuple):
    """What a side did."""

    #: Of the processor: reference pass and training.
    seconds: float
    losses: list[float]


def ours(rows: Sequence[Row], size: str, batch: int, folder: Path, *, precision: str) -> Ran:
    """Our trainer's steps, on these rows in this order; from ids to the adapter on the disk."""
    from flagback.model import plan as plans
    from flagback.model import training
    from flagback.model.plan import Part, Plan
    from flagback.model.recipe import Pair, Recipe

    model = model_of(size)
    steps = math.ceil(len(rows) / batch)
    recipe = Recipe(
        steps=steps,
        pairs_per_step=batch,
        rank=RANK,
        alpha=2.0 * RANK,
        beta=BETA,
        learning_rate=RATE,
        schedule="constant",
        replay_weight=0.0,
        checkpoint_every=steps,
        max_tokens=2 * LONGEST,
        precision="bfloat16" if precision == "bfloat16" else "float32",
        sharing="prompt" if len({tuple(row.prompt) for row in rows}) < len(rows) else "pair",
    )
    pairs = [Pair(f"{number:06d}", row.prompt, row.chosen, row.rejected) for number, row in enumerate(rows)]
    made = plans.make_plan

    def in_this_order(*given: Any, **named: Any) -> Plan:
        """The plan with its batches as they are given to every side."""
        plan = made(*given, **named)
        parts = []
        for step in range(steps):
            places = tuple(range(step * batch, min(len(rows), (step + 1) * batch)))
            parts.append(Part(step, places, (), float(len(places)), 0))
        return Plan(plan.pairs, plan.replay, tuple(parts), 1, batch, plan.dropped, plan.fingerprint)

    vars(training)["make_plan"] = in_this_order  # a recipe draws its own batches; here they are the same on every side
    found: list[float] = []

    class Held:
        """What `correct` needs."""

        def __init__(self) -> None:
            self.model = model

    held, began = Held(), time.process_time()
    training.correct(held, pairs, recipe=recipe, seed=SEED, folder=folder, on_step=lambda m: found.append(m.loss))
    return Ran(time.process_time() - began, found)


def trl(rows: Sequence[Row], size: str, batch: int, folder: Path, *, compact: bool, precision: str) -> Ran:
    """TRL's steps; with `compact` its head is computed at answers' tokens only. Reference pass and training are timed."""
    import torch
    import trl.trainer.utils as parts
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import TokenizersBackend
    from trl import DPOConfig, DPOTrainer

    from flagback.model.adapter import with_adapter
    from flagback.model.plan import seed_of
    from flagback.model.recipe import Recipe

    if compact:
        # Here TRL asks which positions to score; its kernels keep asking the real function.
        parts._use_triton = lambda _: True
    bare = model_of(size)
    torch.manual_seed(seed_of(SEED, "adapter"))
    begin = get_peft_model_state_dict(with_adapter(bare, Recipe(rank=RANK, alpha=2.0 * RANK)))
    end, filling = "</s>", "t0"
    raw = Tokenizer(WordLevel({(end if i == 2 else f"t{i}"): i for i in range(VOCABULARY)}, unk_token=filling))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = TokenizersBackend(tokenizer_object=raw, eos_token=end, pad_token=filling)

    def words(ids: Sequence[int]) -> str:
        return " ".join(f"t{i}" for i in ids)

    data = Dataset.from_list(
        [{"prompt": words(r.prompt), "chosen": " " + words(r.chosen[:-1]), "rejected": " " + words(r.rejected[:-1])} for r in rows]
    )
    arguments = DPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=batch,
        num_train_epochs=1,
        beta=BETA,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        bf16=precision == "bfloat16",
        use_cpu=True,
        gradient_checkpointing=False,
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=batch,
        train_sampling_strategy="sequential",
        max_length=None,
    )
    spent = 0.0
    plainly = DPOTrainer._precompute_ref_logps

    def timed(self: Any, *given: Any, **named: Any) -> Any:
        nonlocal spent
        began = time.process_time()
        found = plainly(self, *given, **named)
        spent += time.process_time() - began
        return found

    DPOTrainer._precompute_ref_logps = timed
    trainer = DPOTrainer(
        model=model_of(size),
        args=arguments,
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM", bias="none"),
    )
    for row, theirs in zip(rows, trainer.train_dataset, strict=True):
        if (theirs["prompt_ids"], theirs["chosen_ids"], theirs["rejected_ids"]) != tuple(row):
            raise AssertionError("TRL was given other token ids")
    set_peft_model_state_dict(trainer.model, begin)
    if not spent:
        raise AssertionError("TRL's reference pass was not timed")
    began = time.process_time()
    trainer.train()
    spent += time.process_time() - began
    return Ran(spent, [entry["loss"] for entry in trainer.state.log_history if "grad_norm" in entry])


def peak_mb() -> float:
    """The most that this very process held so far; what the kernel tells of a child by `getrusage` begins with its parent's."""
    return int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024


def side(name: str, rows: Sequence[Row], size: str, batch: int, precision: str) -> dict[str, Any]:
    """One side's seconds, memory and losses; imports are not timed, nor is what turns text into ids."""
    import torch

    if name not in ("ours", "ours-sorted"):
        import trl as _  # noqa: F401
        from trl import DPOTrainer as _trainer  # noqa: F401
    torch.set_num_threads(1)
    given = rows if name in ("ours", "stock") else sorted_batches(rows, batch)
    idle = peak_mb()
    with tempfile.TemporaryDirectory(prefix="flagback-speed-") as folder, contextlib.redirect_stdout(sys.stderr):
        place = Path(folder)
        mine = name.startswith("ours")
        if mine:
            ran = ours(given, size, batch, place, precision=precision)
        else:
            ran = trl(given, size, batch, place, compact=name == "best", precision=precision)
    return {
        "seconds": round(ran.seconds, 2),
        "pairs_per_second": round(len(rows) / ran.seconds, 2),
        "peak_mb": round(peak_mb()),
        "idle_mb": round(idle),
        "losses": ran.losses,
    }


# ------------------------------------------------------------------------- comparison


def compared(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Ratios of ours to each peer on the very batches of that peer, and the largest difference of a step's loss."""
    ratios = {}
    for peer in ("stock", "sorted", "best"):
        mine = found["ours" if peer == "stock" else "ours-sorted"]
        theirs = found[peer]
        differences = [abs(a - b) for a, b in zip(mine["losses"], theirs["losses"], strict=True)]
        ratios[peer] = {
            "times_as_fast": round(theirs["seconds"] / mine["seconds"], 2),
            "memory": round(mine["peak_mb"] / theirs["peak_mb"], 3),
            "largest_difference_of_loss": max(differences),
            "steps": len(differences),
        }
    return ratios


def measured(chosen: argparse.Namespace, tokenizer: Any, together: int, precision: str) -> dict[str, Any]:
    """One setting: every size on every side, a process each."""
    family = together * (together - 1) // 2
    batch = BATCH if family == 1 else 2 * family
    rows = rows_of(chosen.data, tokenizer, pairs=chosen.pairs, together=together)
    report: dict[str, Any] = {
        "pairs": len(rows),
        "answers_a_prompt": together,
        "precision": precision,
        "tokens_a_pair": {
            name: round(sum(len(getattr(row, name)) for row in rows) / len(rows), 1) for name in ("prompt", "chosen", "rejected")
        },
        "batch": batch,
        "threads": 1,
        "runs": [],
    }
    for size in chosen.sizes.split(","):
        found: dict[str, dict[str, Any]] = {}
        for name in SIDES:
            given = {"rows": rows, "batch": batch, "precision": precision}
            found[name] = in_its_own_process(["--data", str(chosen.data), "--side", name, "--sizes", size], given)
        sides = {name: {key: value for key, value in one.items() if key != "losses"} for name, one in found.items()}
        report["runs"].append({"size": size, "compared": compared(found), **sides})
    return report


def in_its_own_process(words: Sequence[str], given: Any) -> dict[str, Any]:
    """What this very file prints for these words and this input."""
    with tempfile.TemporaryDirectory(prefix="flagback-speed-cache-") as cache:  # TRL keeps reference numbers there
        done = subprocess.run(  # nosec B603 # our own words
            [sys.executable, __file__, *words],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": cache, "HF_DATASETS_CACHE": cache},
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def scaled(pairs: int, *, in_memory: bool) -> dict[str, Any]:
    """Our own run on so many pairs of random ids: what a pair costs, and what the process took at its peak."""
    import torch

    import flagback.model.trainer  # noqa: F401 # seconds of imports that no pair costs
    from flagback.model import training
    from flagback.model.recipe import Pair, Recipe
    from flagback.model.spool import Spool

    torch.set_num_threads(1)
    draw = random.Random(SEED)  # nosec B311 # seeded, so that runs compare

    def ids(least: int, most: int) -> Sequence[int]:
        return [draw.randrange(3, VOCABULARY) for _ in range(draw.randint(least, most))]

    class Held:
        """What `correct` needs."""

        def __init__(self) -> None:
            self.model = model_of("tiny")

    with tempfile.TemporaryDirectory(prefix="flagback-scaling-") as folder:
        given: Spool[Pair] = Spool(Pair, folder=Path(folder))
        for number in range(pairs):
            given.append(vars(Pair(f"{number:06d}", ids(10, 60), ids(5, 20), ids(5, 20))))
        recipe = Recipe(
            steps=math.ceil(pairs / BATCH),
            pairs_per_step=BATCH,
            rank=RANK,
            replay_weight=0.0,
            learning_rate=RATE,
            checkpoint_every=50,
        )
        held, some = Held(), list(given) if in_memory else given
        idle, began = peak_mb(), time.process_time()
        training.correct(held, some, recipe=recipe, seed=SEED, folder=Path(folder) / "run")
    spent = time.process_time() - began
    return {
        "pairs": pairs,
        "seconds": round(spent, 2),
        "milliseconds_a_pair": round(1000 * spent / pairs, 3),
        "idle_mb": round(idle),
        "peak_mb": round(peak_mb()),
    }


def main() -> None:
    """One process a side, or, with --side, the side itself."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, default=Path())
    arguments.add_argument("--scaling", action="store_true", help="time a pair and memory, from 500 to 20,000 pairs")
    arguments.add_argument("--in-memory", action="store_true", help="with --scaling: pairs as a plain list")
    arguments.add_argument("--pairs", type=int, default=512)
    arguments.add_argument("--sizes", default="small,medium")
    arguments.add_argument("--together", default="2,4", help="reviewed answers a prompt, one setting each")
    arguments.add_argument("--precision", default="float32", help="float32, bfloat16 or both, one setting each")
    arguments.add_argument("--side", choices=SIDES)
    chosen = arguments.parse_args()
    if chosen.scaling and chosen.side:
        print(json.dumps(scaled(json.load(sys.stdin), in_memory=chosen.in_memory)))
        return
    if chosen.scaling:
        words = ["--scaling", "--side", "ours", *(["--in-memory"] if chosen.in_memory else [])]
        runs = [in_its_own_process(words, pairs) for pairs in SCALES]
        ratios = {name: round(runs[-1][name] / runs[0][name], 3) for name in ("milliseconds_a_pair", "peak_mb")}
        print(json.dumps({"runs": runs, "many_to_few": ratios}, indent=1))
        return
    if chosen.side:
        given = json.load(sys.stdin)
        rows = [Row(*row) for row in given["rows"]]
        print(json.dumps(side(chosen.side, rows, chosen.sizes, given["batch"], given["precision"])))
        return
    tokenizer = tokenizer_of(chosen.data)
    settings = [(int(n), precision) for n in chosen.together.split(",") for precision in chosen.precision.split(",")]
    print(json.dumps([measured(chosen, tokenizer, *setting) for setting in settings], indent=1))


if __name__ == "__main__":
    main()
