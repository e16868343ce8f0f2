"""Completions a second: our sampler beside `generate`, on the embedded model's own prompts. Prints JSON.

Run `python benchmarks/sampling_speed.py [--prompts 128 --k 8 --repeats 3]`. The methods take turns within one process; the best of
the repeats counts, in completions per second of processor time, since wall time on a shared machine says little.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch

from flagback.model import dialogue, embedded
from flagback.model.checkpoint import Loaded, load
from flagback.model.sampling import Decoding, SamplePrompt, sample


def ours(loaded: Loaded, prompts: list[SamplePrompt], k: int, rows: int, top_p: float = 1.0) -> int:
    """Completions of one pass of our sampler."""
    return sum(1 for _ in sample(loaded, prompts, Decoding(k=k, max_tokens=48, seed=1, top_p=top_p), rows=rows))


def generate(loaded: Loaded, prompts: list[SamplePrompt], k: int, rows: int) -> int:
    """Completions of one pass of `generate`: left-padded, sorted by length, `rows` answers at a time."""
    ordered, together, made = sorted(prompts, key=lambda prompt: len(prompt.ids)), max(1, rows // k), 0
    for start in range(0, len(ordered), together):
        group = [prompt.ids for prompt in ordered[start : start + together]]
        width = max(map(len, group))
        with torch.no_grad():
            written = loaded.model.generate(
                torch.tensor([[0] * (width - len(ids)) + ids for ids in group]),
                attention_mask=torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in group]),
                do_sample=True,
                top_k=0,
                num_return_sequences=k,
                max_new_tokens=48,
                eos_token_id=list(loaded.end),
                pad_token_id=0,
            )
        made += len(written)
    return made


def main() -> None:
    """Reads the arguments, takes turns, prints the figures."""
    arguments = argparse.ArgumentParser()
    for name, default in (("prompts", 128), ("k", 8), ("repeats", 3), ("threads", 1)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    loaded, k = load("embedded"), chosen.k
    prompts = [
        SamplePrompt(prompt.text, dialogue.prompt_ids(loaded.tokenizer, [{"role": "user", "content": prompt.text}], "plain"))
        for prompt in embedded.prompts()[: chosen.prompts]
    ]
    methods: dict[str, Callable[[], int]] = {
        "generate, one prompt at a time": lambda: generate(loaded, prompts[: chosen.prompts // 4], k, k),
        "generate, 64 rows": lambda: generate(loaded, prompts, k, 64),
        "generate, 128 rows": lambda: generate(loaded, prompts, k, 128),
        "generate, 256 rows": lambda: generate(loaded, prompts, k, 256),
        "ours, 64 rows": lambda: ours(loaded, prompts, k, 64),
        "ours, 128 rows": lambda: ours(loaded, prompts, k, 128),
        "ours, 256 rows": lambda: ours(loaded, prompts, k, 256),
        "ours, 128 rows, top_p 0.95": lambda: ours(loaded, prompts, k, 128, 0.95),
    }
    best = dict.fromkeys(methods, 0.0)
    for _ in range(chosen.repeats):
        for name, method in methods.items():
            began = time.process_time()
            made = method()
            best[name] = max(best[name], made / (time.process_time() - began))
    print(
        json.dumps(
            {
                "completions per processor second": {name: round(value, 1) for name, value in best.items()},
                "prompts": len(prompts),
                "k": k,
                "threads": chosen.threads,
                "torch": torch.__version__,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
