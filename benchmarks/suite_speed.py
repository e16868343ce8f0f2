"""Items of a suite a second: our scorer beside lm-evaluation-harness, on a random Llama of 14 million parameters. Prints JSON.

Run `python benchmarks/suite_speed.py --suite crows-pairs --data FOLDER/crows_pairs_anonymized.csv [--repeats 3 --items 1508]`,
or with `--suite bbq --data FOLDER/Age.jsonl.gz --items 400`. The tokenizer is trained on the file's own texts. The harness is
lm_eval 0.4.13 itself where it can be imported (`pip install --target DIR --no-deps lm_eval==0.4.13` and DIR on PYTHONPATH), its
progress bars off; else its algorithm written out: right-padded batches, longest first, log-softmax of all positions, then a sum
for each text. Both are given the same (context, continuation) requests; the harness's best batch size counts. Both take turns
within one process, in processor seconds, tokenising included; the best of the repeats counts, and the numbers of both are
compared in the same run.

Then, on the same items: a second look at the same weights, and a look at a correction of them, with kept scores. "tokens" says what
sharing saves whatever the machine.
"""

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from flagback.model.checkpoint import Loaded
from flagback.model.examination import Subject, examined
from flagback.model.scoring import Question, encoded, likelihoods, shared_row
from flagback.model.suites import SUITES
from flagback.model.suites.report import measured
from flagback.model.suites.suite import Item, Likelihood, Scorable, ScoringSuite, Text, WritingSuite

Scores = list[float]
#: The suites whose texts are scored.
SCORING: dict[str, ScoringSuite] = {name: suite for name, suite in SUITES.items() if not isinstance(suite, WritingSuite)}
#: Requests: the texts of each item in turn.
Asked = Sequence[Sequence[Scorable]]


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


def ours(loaded: Loaded, asked: Asked) -> Scores:
    """Our scorer, an item a question."""
    questions = [Question(str(number), texts) for number, texts in enumerate(asked)]
    return [likely.logp for found in likelihoods(loaded, "random", questions) for likely in found]


def harness(loaded: Loaded, batch: int) -> tuple[str, Callable[[Asked], Scores]]:
    """lm_eval itself where it is there, else what its _loglikelihood_tokens does."""
    try:
        from lm_eval.api.instance import Instance  # type: ignore[import-not-found,unused-ignore]
        from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return "its algorithm, written out", lambda asked: written_out(loaded, asked, batch)
    model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=batch, device="cpu")

    def scored(asked: Asked) -> Scores:
        requests = [Instance("loglikelihood", {}, tuple(text), number) for number, texts in enumerate(asked) for text in texts]
        return [logp for logp, _ in model.loglikelihood(requests, disable_tqdm=True)]

    return "lm_eval 0.4.13 itself", scored


@torch.no_grad()
def written_out(loaded: Loaded, asked: Asked, batch: int) -> Scores:
    """Right-padded batches, longest first; log-softmax of every position; one sum and one comparison with the argmax a text."""
    rows = [encoded(loaded.tokenizer, "text", Text(text.context, text.continuation)) for texts in asked for text in texts]
    found = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].ids), rows[i].ids))
    for start in range(0, len(order), batch):
        group = order[start : start + batch]
        width = len(rows[group[0]].ids) - 1
        padded = torch.tensor([[*rows[i].ids[:-1], *[0] * (width + 1 - len(rows[i].ids))] for i in group])
        logps = functional.log_softmax(loaded.model(padded).logits, dim=-1)
        for line, i in zip(logps, group, strict=True):
            wanted = torch.tensor(rows[i].ids[rows[i].start :])
            scored = line[rows[i].start - 1 : len(rows[i].ids) - 1]
            bool((scored.argmax(-1) == wanted).all())
            found[i] = float(scored.gather(1, wanted[:, None]).sum())
    return found


def tokens(loaded: Loaded, asked: Asked) -> dict[str, int]:
    """How many tokens each has to read: all of every text, or what texts of one batch have in common once."""
    families = [[encoded(loaded.tokenizer, "text", Text(text.context, text.continuation)) for text in texts] for texts in asked]
    return {
        "all of every text": sum(len(one.ids) - 1 for family in families for one in family),
        "shared within an item": sum(shared_row(family, torch.device("cpu")).row.input_ids.shape[1] for family in families),
        "shared between all items": shared_row(
            [one for family in families for one in family], torch.device("cpu")
        ).row.input_ids.shape[1],
    }


def kept(loaded: Loaded, suite: ScoringSuite, items: Sequence[Item]) -> dict[str, object]:
    """Looks at a base and at a correction of it, both with kept scores: items put to a model, and wall seconds."""

    def never() -> NoReturn:
        raise AssertionError("the base was loaded again")

    looks: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        base = Subject("base", "base", "causal", lambda: loaded)
        correction = Subject("correction", "correction", "causal", lambda: loaded)
        for name, subjects in (
            ("first look at the base", [base]),
            ("second look at the base", [base._replace(load=never)]),
            ("base and a new correction", [base._replace(load=never), correction]),
        ):
            began = time.perf_counter()
            fresh = [examined(subject, suite, items, keep_in=Path(folder)).fresh for subject in subjects]
            looks[name] = {"items put to a model": fresh, "seconds": round(time.perf_counter() - began, 3)}
    return looks


def main() -> None:
    """Reads the arguments, takes turns, compares, prints."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--suite", choices=sorted(SCORING), default="crows-pairs")
    arguments.add_argument("--data", type=Path, required=True)
    for name, default in (("items", 1508), ("repeats", 3), ("threads", 1), ("vocabulary", 8192)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    suite = SCORING[chosen.suite]
    everything = suite.read(chosen.data)
    written = sorted({text.context + text.continuation for item in everything for text in suite.texts(item, "causal")})
    tokenizer = tokenizer_of(written, chosen.vocabulary)
    items = everything[: chosen.items]
    asked = [suite.texts(item, "causal") for item in items]
    # A file of few words has a small tokenizer; the model has as many rows as for any other.
    loaded = Loaded(random_llama(max(chosen.vocabulary, len(tokenizer))), tokenizer, "plain")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        theirs = {batch: harness(loaded, batch) for batch in (8, 16, 32, 64, 128)}
    methods: dict[str, Callable[[], Scores]] = {f"harness, batch {b}": lambda s=s: s(asked) for b, (_, s) in theirs.items()}  # type: ignore[misc]
    methods["ours"] = lambda: ours(loaded, asked)
    best: dict[str, float] = dict.fromkeys(methods, 0.0)
    scores: dict[str, Scores] = {}
    for _ in range(chosen.repeats):
        for name, method in methods.items():
            began = time.process_time()
            scores[name] = method()
            best[name] = max(best[name], len(items) / (time.process_time() - began))
    peer = max((name for name in methods if name != "ours"), key=lambda name: best[name])
    found: dict[str, object] = {
        "suite": suite.NAME,
        "items": len(items),
        "items per processor second": {name: round(value, 1) for name, value in best.items()},
        "ours / best of the harness": round(best["ours"] / best[peer], 2),
        "harness": next(iter(theirs.values()))[0],
        "largest difference of a log-likelihood, nats": max(abs(a - b) for a, b in zip(scores["ours"], scores[peer], strict=True)),
        **agreement(suite, items, scores["ours"], scores[peer]),
        "tokens": tokens(loaded, asked),
        "kept scores": kept(loaded, suite, items),
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "tokenizer": len(tokenizer),
        "threads": chosen.threads,
        "torch": torch.__version__,
    }
    print(json.dumps(found, indent=1))


def agreement(suite: ScoringSuite, items: Sequence[Item], mine: Scores, theirs: Scores) -> dict[str, object]:
    """The suite's figures from the scores of both."""
    figures = []
    for scores in (mine, theirs):
        unread = iter(scores)
        likely = [[Likelihood(next(unread), 1) for _ in suite.texts(item, "causal")] for item in items]
        figures.append(suite.aggregate(items, measured(suite, items, likely, "causal"), "causal"))
    # Sums decide; what is reckoned per token is left out, since the harness does not say how many there are.
    return {
        "figures": {
            n: {"ours": v, "harness": figures[1][n]} for n, v in figures[0].items() if "token" not in n and "length" not in n
        }
    }


if __name__ == "__main__":
    main()
