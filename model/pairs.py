"""Turns judged answers and rewrites into preference pairs. Pure: knows neither the database nor torch.

A pair teaches "rather this than that" for one prompt: an answer judged fine over one judged harmful, or a reviewer's rewrite over
the answer it mends. Nothing empty and no refusal stands on either side, so that silence is never what the model learns.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from flagback.model.policy import Judgement
from flagback.storage.preferences import NewPair

#: At most so many pairs a prompt: a talkative prompt must not drown the others.
PAIRS_PER_PROMPT = 4

_REFUSAL = re.compile(
    r"^\W*(i('m| am) sorry|sorry,|i (can't|cannot|can not|won't|will not|am unable|'m unable)|as an ai\b|i('m| am) not able|"
    r"lo siento|no puedo)",
    re.IGNORECASE,
)


class Answer(NamedTuple):
    """One generation with the panel's judgement."""

    generation_id: int
    prompt_id: int
    prompt_hash: str
    text: str
    judgement: Judgement


class Rewrite(NamedTuple):
    """A reviewer's better wording of one generation, itself stored as a generation."""

    generation_id: int
    text: str
    #: The generation it mends.
    mends: int
    review_id: int


def is_refusal(text: str) -> bool:
    """Whether an answer declines to answer (English and Spanish openings)."""
    return _REFUSAL.search(text.replace("’", "'")) is not None


def with_same_start(rewrite: str, original: str) -> str:
    """The rewrite with the original's leading white space: the boundary to the prompt is the model's, not the reviewer's."""
    lead = original[: len(original) - len(original.lstrip())]
    return lead + rewrite.strip()


def build_pairs(answers: Sequence[Answer], rewrites: Sequence[Rewrite], *, per_prompt: int = PAIRS_PER_PROMPT) -> list[NewPair]:
    """All informative pairs, at most `per_prompt` a prompt, in content-hash order.

    A contrast pair weighs harm(rejected) - harm(chosen), in (0, 1); a rewrite pair weighs harm(rejected) if the panel judged the
    original harmful, and is left out otherwise. Where a prompt has more pairs than the cap, rewrites come first, then pairs
    whose answers were used least so far; ties go by hash. The result does not depend on the order of the input or on row ids.
    """
    if per_prompt < 1:
        raise ValueError(f"per_prompt is {per_prompt}; at least 1 pair a prompt is needed.")
    by_prompt: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if _usable(answer.text):
            by_prompt[answer.prompt_hash].append(answer)
    mended: dict[int, list[Rewrite]] = defaultdict(list)
    for rewrite in rewrites:
        if _usable(rewrite.text):
            mended[rewrite.mends].append(rewrite)
    pairs: list[NewPair] = []
    for prompt_hash in sorted(by_prompt):
        pairs += _capped(_candidates(by_prompt[prompt_hash], mended), per_prompt)
    return pairs


class _Candidate(NamedTuple):
    order: tuple[int, str]
    chosen_text: str
    rejected_text: str
    pair: NewPair


def _usable(text: str) -> bool:
    return bool(text.strip()) and not is_refusal(text)


def _same(a: str, b: str) -> bool:
    """Equal but for white space."""
    return a.split() == b.split()


def _candidates(answers: Sequence[Answer], mended: dict[int, list[Rewrite]]) -> list[_Candidate]:
    found: list[_Candidate] = []
    for bad in (answer for answer in answers if answer.judgement.outcome == "harmful"):
        for better in mended.get(bad.generation_id, ()):
            if not _same(better.text, bad.text):
                pair = NewPair(
                    "rewrite",
                    bad.prompt_id,
                    better.generation_id,
                    bad.generation_id,
                    1.0,
                    round(bad.judgement.harm, 6),
                    sorted({*bad.judgement.review_ids, better.review_id}),
                )
                found.append(_Candidate((0, _key(bad.prompt_hash, better.text, bad.text)), better.text, bad.text, pair))
        for good in (answer for answer in answers if answer.judgement.outcome == "fine" and not answer.judgement.nonsense):
            weight = bad.judgement.harm - good.judgement.harm
            if weight > 0 and not _same(good.text, bad.text):
                pair = NewPair(
                    "contrast",
                    bad.prompt_id,
                    good.generation_id,
                    bad.generation_id,
                    1.0,
                    round(weight, 6),
                    sorted({*bad.judgement.review_ids, *good.judgement.review_ids}),
                )
                found.append(_Candidate((1, _key(bad.prompt_hash, good.text, bad.text)), good.text, bad.text, pair))
    return found


def _capped(candidates: list[_Candidate], per_prompt: int) -> list[NewPair]:
    """Greedy: the least used answers first, so that the cap keeps as many different texts as it can."""
    used: Counter[str] = Counter()
    kept: list[NewPair] = []
    waiting = {(c.chosen_text, c.rejected_text): c for c in sorted(candidates, key=lambda c: c.order, reverse=True)}
    while waiting and len(kept) < per_prompt:
        best = min(waiting.values(), key=lambda c: (used[c.chosen_text] + used[c.rejected_text], c.order))
        del waiting[(best.chosen_text, best.rejected_text)]
        used.update((best.chosen_text, best.rejected_text))
        kept.append(best.pair)
    return kept


def _key(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
