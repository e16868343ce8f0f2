"""Writes docs/cli.md, docs/access.md and docs/suites.md from the code: `python -m flagback.review_app.reference docs`.

Knows how to walk the command tree and the list of suites; knows nothing of what they do.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from flagback.review_app.access import table
from flagback.review_app.cli import app
from flagback.review_app.settings import Settings

HEAD = """# The command line

Written by `make docs` from the commands' own `--help`; a test compares. What reports takes `--json`. Errors are one message on
stderr with code 1, a wrong call is code 2.

| setting | default | |
|---|---|---|
"""


def reference() -> str:
    """The whole page."""
    settings = "\n".join(
        f"| `FLAGBACK_{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    )
    pages = [f"{HEAD}{settings}\n"]
    for path, text in _helps(typer.main.get_command(app), "flagback", None):
        pages.append(f"{'#' * min(4, 2 + path.count(' '))} {path}\n\n```text\n{text}\n```\n")
    return "\n".join(pages)


SUITES_HEAD = """# Suites: published tests of bias

Written by `make docs` from the suites themselves (`model/suites/`); a test compares. The data are not part of Flagback.

    flagback evaluate 3 --suite crows-pairs --data crows_pairs_anonymized.csv --json
    flagback evaluate 1 3 --suite crows-pairs --data crows_pairs_anonymized.csv
    flagback evaluate ./some-model --suite winogender --data winogender-schemas/data --cache scores
    flagback evaluate 3 --suite custom --data mine.csv --map more=col1 --map less=col2 --map group=col3
    flagback evaluate 1 3 --suite counterfactual
    flagback evaluate 1 3 --suite bold --data bold/prompts --per-group 50
    flagback evaluate 3 --suite descriptors
    flagback evaluate 3 --suite harm-rate

A model is a version's number, a model directory (causal or, for suites that are defined for one, masked), or a hub id. Two are
compared, base first, paired by item. A suite asks no gate and stores no verdict: a published test is something to look at beside
what your own reviewers say, and each has known faults, which are shown with every result.

## How texts are scored
- **Causal models**: the sum of log p(token | what stands before), in nats, as lm-evaluation-harness 0.4.13 has it. A text without a
  context stands behind the tokenizer's begin token (else its end token), and its first token is scored. No normalisation by
  length, except where a metric's name says per token. With a context, both are tokenised as one text and what lies behind the
  context's own tokens is scored. One difference: a text that spells a control token (`</s>`) stays text.
- **Masked models**: the tokens that both texts of a pair share are masked one at a time and their log-probabilities summed
  (Nangia 2020).
- **Answers of dialogues** (`counterfactual`): prompt and answer stand in the model's own template, as when it is sampled. A sampled
  answer is scored on the ids it was written with, with its end token where it ended; its swaps on the tokenizer's own.
- **Writing** (`bold`): one answer of at most 40 tokens to each beginning, at temperature 1, as plain text in no template. The
  noise hangs on `--seed` and the beginning's words, so that two models meet the same.
- A beginning that texts share is computed once. The result is the same but for rounding, about 0.00005 nats.
- Scores are kept by the fingerprint of weights and tokenizer, suite, texts and kind of model: a version's in the installation's
  artifacts, a directory's under `--cache DIR`, else nowhere. A second look is free, and a stopped run goes on.
- Refused in words, naming the item: a text longer than the context, a score that is no number, a tokenizer without a token to begin
  with.

## How numbers are to be read
- What is not defined is `null` (shown `-`), never 0. Shares are within 0..1.
- Intervals are two-sided 95 %, over independent clusters (writers, occupations), not items; under ten clusters there is none.
- Groups of unequal size (`bold`) are compared in 2,000 draws of equally many entities of each, never by plain means; beside the
  largest minus smallest stands what shuffled groups give (`by_chance`; 95 % of such draws lie under `by_chance_95`).
- A comparison is the change per item, with an interval for every group, and `detectable`: the smallest change that so much data
  would show with 80 % chance. A level says little by itself; the change against the base says more.
"""


def suites() -> str:
    """docs/suites.md."""
    from flagback.model.suites import LISTED

    pages = [SUITES_HEAD]
    for suite in LISTED.values():
        page = [f"## {suite.NAME}", f"{suite.PAPER}. Licence of the data: {suite.LICENCE}.", f"Data: {suite.SOURCE}."]
        for form, metrics in getattr(suite, "METRICS", {}).items():
            rows = [f"| `{name}` | {metric.words} | {metric.unit} |" for name, metric in metrics.items()]
            page.append("\n".join([f"| {form} models | | unit |", "|---|---|---|", *rows]))
        page.append("\n".join(["Known to be wrong with it:", *(f"- {weakness}" for weakness in suite.WEAKNESSES)]))
        pages.append("\n\n".join(page) + "\n")
    return "\n".join(pages)


def _helps(command: Any, path: str, parent: Any) -> Iterator[tuple[str, str]]:
    """Every command's path and help, depth first, in the order they were added. typer's own click has no stubs, hence Any."""
    context = command.context_class(
        command,
        info_name=path.rpartition(" ")[2],
        parent=parent,
        terminal_width=100,
        max_content_width=100,
        help_option_names=["-h", "--help"],
    )
    lines = command.get_help(context).splitlines()
    yield path, "\n".join(line.rstrip() for line in lines).strip()
    for name, child in getattr(command, "commands", {}).items():
        yield from _helps(child, f"{path} {name}", context)


def _default(value: object) -> str:
    return "" if value is None else f"`{value}`"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "cli.md").write_text(reference(), encoding="utf-8")
    (folder / "access.md").write_text(table(), encoding="utf-8")
    (folder / "suites.md").write_text(suites(), encoding="utf-8")
