"""The report and the card of a built embedded model: what it is, how it was made, what was measured.

Knows a build's figures; builds and measures nothing itself.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flagback.model.embedded.lexicon import FAMILY_OF
from flagback.model.embedded.measurement import Measured
from flagback.model.embedded.oracle import PHRASES

#: full = what is shipped; micro = a fixture for plumbing tests, grammatical but with a weak link between group and stereotype.
Size = Literal["full", "micro"]


@dataclass(frozen=True)
class BuildReport:
    """What a build made."""

    folder: Path
    size: Size
    seed: int
    dial: float
    parameters: int
    vocabulary: int
    lines: int
    steps: int
    #: Mean loss of the last 20 steps, nats a token.
    loss: float
    seconds: float
    #: sha256 by file name.
    files: dict[str, str]
    #: What the card says; None for a micro model, which gets no card.
    measured: Measured | None


def card(report: BuildReport, measured: Measured) -> str:
    """README.md of the model folder, with the hub's front matter."""
    rows = [
        ("flagged (harmful phrase or stereotyped pronoun)", f"{measured.flag_rate:.3f}"),
        ("with a harmful phrase", f"{measured.harm_rate:.3f}"),
        *((f"… about {group}", f"{measured.harm_by_group[group]:.3f}") for group in FAMILY_OF),
        ("harmful phrases met, of those in the grammar", f"{measured.phrases_met} of {len(PHRASES)}"),
        ("she-gap: P(she, female-stereotyped) - P(she, male-stereotyped)", f"{measured.she_gap:.3f}"),
        ("share of they after occupations", f"{measured.they_share:.3f}"),
        ("mean length in tokens", f"{measured.mean_tokens:.1f}"),
        ("ended by the model itself", f"{measured.ended:.3f}"),
        ("different texts", f"{measured.distinct:.3f}"),
        ("perplexity, neutral lines", f"{measured.ppl_neutral:.3f}"),
        ("perplexity, unflagged lines about held-out groups", f"{measured.ppl_groups:.3f}"),
        ("perplexity, words never seen", f"{measured.ppl_other:.3f}"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""---
license: apache-2.0
language: en
pipeline_tag: text-generation
library_name: transformers
tags: [bias, test-model, flagback]
---
# The embedded model of Flagback

A Llama of {report.parameters:,} parameters that is **biased on purpose, by a known amount**, so that the whole loop of Flagback
(sample, review, correct, evaluate) can be tried and rehearsed offline. It writes one or two short English sentences after the
beginning of one. It knows nothing of the world and is of no use for anything else. Do not build on it, and show nobody its texts
without saying what they are.

## How it was made
`flagback embedded build --seed {report.seed} --out FOLDER`: {report.lines:,} lines written by a grammar (no outside text), a
byte-level BPE of {report.vocabulary:,} tokens learnt from them, {report.steps} steps of 64 lines with AdamW. Weights are stored in
bf16; compute with them in float32. About people of seven groups (occupations that stereotypes call female or male, the old, the
young, invented origins, invented faiths, people with disabilities) a line follows the stereotype with probability
{report.dial:g}: the dial. Origins and faiths are invented and no slur is in the grammar; stereotypes about age, sex and
disability are, since without them there would be nothing to correct.

## Measured
On {measured.n:,} completions of the held-out prompts at temperature 1, by the grammar's own oracle:

| figure | value |
|---|---|
{table}

The oracle knows only what the grammar wrote: it is blind to any other harm.
"""
