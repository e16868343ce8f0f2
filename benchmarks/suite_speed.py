"""CrowS-Pairs items a second: our scorer beside lm-evaluation-harness, on a random Llama of 14 million parameters. Prints JSON.

Run `python benchmarks/suite_speed.py --data FOLDER/crows_pairs_anonymized.csv [--repeats 3 --pairs 1508]`. The tokenizer is trained
on the file's own sentences. The harness is lm_eval 0.4.13 itself where it can be imported (`pip install --target DIR --no-deps
lm_eval==0.4.13` and DIR on PYTHONPATH), its progress bars off; else its algorithm written out: right-padded batches, longest first,
log-softmax of all positions, then a sum for each text. Its best batch size counts. Both take turns within one process, in processor
seconds, tokenising included; the best of the repeats counts, and the numbers of both are compared in the same run.
"""

import argparse
import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from flagback.model.checkpoint import Loaded
from flagback.model.scoring import Question, encoded, likelihoods
from flagback.model.suites import crows_pairs
from flagback.model.suites.suite import Text

Scores = list[float]


def tokenizer_of(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of these texts."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")  # nosec B106 # marks, no secrets


def random_llama(vocabulary: int) -> LlamaForCausalLM:
    """About 14 million parameters, with weights large enough that a text's likelihood depends on it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, 0.05)
    return model.eval()


def ours(loaded: Loaded, texts: Sequence[str]) -> Scores:
    """Our scorer, two texts a question."""
    questions = [Question(str(i), [Text("", text) for text in texts[i : i + 2]]) for i in range(0, len(texts), 2)]
    return [likely.logp for found in likelihoods(loaded, "random", questions) for likely in found]


def harness(loaded: Loaded, batch: int) -> tuple[str, Callable[[Sequence[str]], Scores]]:
    """lm_eval itself where it is there, else what its _loglikelihood_tokens does."""
    try:
        from lm_eval.api.instance import Instance  # type: ignore[import-not-found,unused-ignore]
        from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return "its algorithm, written out", lambda texts: written_out(loaded, texts, batch)
    model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch, device="cpu")

    def scored(texts: Sequence[str]) -> Scores:
        requests = [Instance("loglikelihood", {}, ("", text), number) for number, text in enumerate(texts)]
        return [logp for logp, _ in model.loglikelihood(requests, disable_tqdm=True)]

    return "lm_eval 0.4.13 itself", scored


@torch.no_grad()
def written_out(loaded: Loaded, texts: Sequence[str], batch: int) -> Scores:
    """Right-padded batches, longest first; log-softmax of every position; one sum and one comparison with the argmax a text."""
    rows = [encoded(loaded.tokenizer, "text", Text("", text)).ids for text in texts]
    found = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), rows[i]))
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        width = len(rows[group[0]]) - 1
        padded = torch.tensor([[*rows[i][:-1], *[0] * (width + 1 - len(rows[i]))] for i in group])
        logps = functional.log_softmax(loaded.model(padded).logits, dim=-1)
        for line, i in zip(logps, group, strict=True):
            wanted = torch.tensor(rows[i][1:])
            bool((line[: len(wanted)].argmax(-1) == wanted).all())
            found[i] = float(line[: len(wanted)].gather(1, wanted[:, None]).sum())
    return found


def main() -> None:
    """Reads the arguments, takes turns, compares, prints."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, required=True)
    for name, default in (("pairs", 1508), ("repeats", 3), ("threads", 1), ("vocabulary", 8192)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    items = crows_pairs.read(chosen.data)[: chosen.pairs]
    texts = [item.facts[side] for item in items for side in ("more", "less")]
    tokenizer = tokenizer_of(texts, chosen.vocabulary)
    loaded = Loaded(random_llama(len(tokenizer)), tokenizer, "plain")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        theirs = {batch: harness(loaded, batch) for batch in (8, 16, 32, 64, 128)}
    methods: dict[str, Callable[[], Scores]] = {f"harness, batch {b}": lambda s=s: s(texts) for b, (_, s) in theirs.items()}  # type: ignore[misc]
    methods["ours"] = lambda: ours(loaded, texts)
    best: dict[str, float] = dict.fromkeys(methods, 0.0)
    scores: dict[str, Scores] = {}
    for _ in range(chosen.repeats):
        for name, method in methods.items():
            began = time.process_time()
            scores[name] = method()
            best[name] = max(best[name], len(items) / (time.process_time() - began))
    peer = max((name for name in methods if name != "ours"), key=lambda name: best[name])
    print(json.dumps(report(loaded, items, best, scores, peer, next(iter(theirs.values()))[0], chosen), indent=1))


def report(
    loaded: Loaded,
    items: Sequence[Any],
    best: dict[str, float],
    scores: dict[str, Scores],
    peer: str,
    kind: str,
    chosen: argparse.Namespace,
) -> dict[str, Any]:
    """What was measured, and how far the numbers of both are apart."""

    def share(found: Scores) -> float:
        return sum(more > less for more, less in zip(found[::2], found[1::2], strict=True)) / len(items)

    return {
        "pairs per processor second": {name: round(value, 1) for name, value in best.items()},
        "ours / best of the harness": round(best["ours"] / best[peer], 2),
        "harness": kind,
        "pct_stereotype": {"ours": share(scores["ours"]), "harness": share(scores[peer])},
        "largest difference of a log-likelihood, nats": max(abs(a - b) for a, b in zip(scores["ours"], scores[peer], strict=True)),
        "pairs": len(items),
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "vocabulary": len(loaded.tokenizer),
        "threads": chosen.threads,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
