"""Turns judged answers and rewrites into preference pairs. Pure: knows neither the database nor torch.

A pair teaches "rather this than that" for one prompt: an answer judged fine over one judged harmful, or a reviewer's rewrite
over the answer it mends. What was judged and found no counterpart can teach alone. Nothing empty and no refusal stands on
either side, so that silence is never what the model learns.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from flagback.model.policy import Judgement
from flagback.storage.preferences import NewPair
from flagback.storage.records import PairKind
from flagback.storage.unpaired import NewUnpaired

#: At most so many pairs a prompt: a talkative prompt must not drown the others.
PAIRS_PER_PROMPT = 4
#: How far apart two answers' harm must be where pairs are graded: one flag of two is not enough, both are.
LEAST_MARGIN = 0.2
#: No pair is weighed over so many times, or under one part in so many of, what its votes alone would give it.
MOST_BALANCE = 4.0

#: hard: the chosen one counts as the better for certain; soft: as likely as the votes make it.
Labels = Literal["hard", "soft"]

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


def build_pairs(
    answers: Sequence[Answer],
    rewrites: Sequence[Rewrite],
    *,
    per_prompt: int = PAIRS_PER_PROMPT,
    graded: bool = False,
    labels: Labels = "hard",
    compared: Sequence[tuple[Answer, Answer]] = (),
) -> list[NewPair]:
    """All informative pairs, at most `per_prompt` a prompt, in content-hash order.

    `compared` are two answers of a prompt that people saw side by side, with judgements of that alone: "harmful" is who was found
    the worse of both. They give pairs by the same rules, each from its two; where the answers judged one at a time say the
    opposite, what people said of both together holds.

    A contrast joins a harmful answer and a fine one, or, where pairs are graded, any two whose harm differs by LEAST_MARGIN. With
    hard labels it weighs h - g, the difference of the harm of rejected and chosen, in (0, 1). With soft ones it weighs the chance
    that just one of both is harmful, h (1 - g) + g (1 - h), and its label is the chance that this is the rejected one: the loss is
    then the expected loss over what the votes leave open. A rewrite pair weighs h if the panel judged the original harmful, and is
    left out otherwise.

    Where a prompt has more pairs than the cap, rewrites come first, then pairs whose answers were used least so far; ties go by
    hash. The result does not depend on the order of the input or on row ids.
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
    both: dict[str, list[_Candidate]] = defaultdict(list)
    for two in compared:
        if all(_usable(one.text) for one in two):
            both[two[0].prompt_hash] += _candidates(two, mended, graded, labels, kind="comparison")
    pairs: list[NewPair] = []
    for prompt_hash in sorted({*by_prompt, *both}):
        turned = {(one.rejected_text, one.chosen_text) for one in both[prompt_hash]}
        alone = _candidates(by_prompt[prompt_hash], mended, graded, labels) if prompt_hash in by_prompt else []
        kept = [one for one in alone if (one.chosen_text, one.rejected_text) not in turned]
        pairs += _capped([*kept, *both[prompt_hash]], per_prompt)
    return pairs


def build_unpaired(
    answers: Sequence[Answer],
    pairs: Sequence[NewPair],
    *,
    flagged: Collection[int] = (),
    per_prompt: int = PAIRS_PER_PROMPT,
) -> list[NewUnpaired]:
    """Answers that were judged and stand in none of these pairs: harmful ones, and fine ones against them; by content hash.

    KTO's undesirable and desirable examples (Ethayarajh 2024, arXiv 2402.01306, eq. 8). Each weighs how likely the panel's word
    is: h where it was judged harmful, 1 - h where fine. A fine one that somebody `flagged` (generations) is not taken: no answer
    becomes likelier against anybody's flag. Without a harmful one none is taken.

    A prompt has at most `per_prompt` of both kinds and of pairs; harmful ones come first, then the surest. Equal texts count once.
    """
    inside = {number for pair in pairs for number in (pair.chosen_id, pair.rejected_id)}
    texts = {(answer.prompt_hash, answer.text) for answer in answers if answer.generation_id in inside}
    room = Counter({answer.prompt_hash: per_prompt for answer in answers})
    room.subtract(Counter(_prompts_of(answers, pairs)))
    bad: list[NewUnpaired] = []
    good: list[NewUnpaired] = []
    for answer in sorted(answers, key=_alone):
        judged = answer.judgement
        nobodys = not judged.nonsense and answer.generation_id not in flagged
        wanted = judged.outcome == "harmful" or (judged.outcome == "fine" and nobodys)
        place = (answer.prompt_hash, answer.text)
        if wanted and place not in texts and room[answer.prompt_hash] > 0 and _usable(answer.text):
            texts.add(place)
            room[answer.prompt_hash] -= 1
            harmful = judged.outcome == "harmful"
            weight = judged.harm if harmful else 1 - judged.harm
            (bad if harmful else good).append(
                NewUnpaired(answer.prompt_id, answer.generation_id, harmful, round(weight, 6), sorted(judged.review_ids))
            )
    return [*bad, *good] if bad else []


def _prompts_of(answers: Sequence[Answer], pairs: Sequence[NewPair]) -> list[str]:
    """The prompt's hash of every pair whose prompt is among the answers'."""
    hashes = {answer.prompt_id: answer.prompt_hash for answer in answers}
    return [hashes[pair.prompt_id] for pair in pairs if pair.prompt_id in hashes]


def _alone(answer: Answer) -> tuple[bool, float, str]:
    """The order in which answers are taken: harmful before fine, the surest first, then by content."""
    harmful = answer.judgement.outcome == "harmful"
    return (not harmful, -answer.judgement.harm if harmful else answer.judgement.harm, _key(answer.prompt_hash, answer.text))


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


def _candidates(
    answers: Sequence[Answer],
    mended: dict[int, list[Rewrite]],
    graded: bool,
    labels: Labels,
    *,
    kind: PairKind = "contrast",
) -> list[_Candidate]:
    found: list[_Candidate] = []
    for bad in answers:
        if bad.judgement.outcome == "harmful":
            found += [_rewritten(bad, better) for better in mended.get(bad.generation_id, ()) if not _same(better.text, bad.text)]
        for good in answers:
            if _contrast(bad, good, graded=graded) and not good.judgement.nonsense and not _same(good.text, bad.text):
                label, weight = _worth(bad.judgement.harm, good.judgement.harm, labels)
                pair = NewPair(
                    kind,
                    bad.prompt_id,
                    good.generation_id,
                    bad.generation_id,
                    label,
                    weight,
                    sorted({*bad.judgement.review_ids, *good.judgement.review_ids}),
                )
                found.append(_Candidate((1, _key(bad.prompt_hash, good.text, bad.text)), good.text, bad.text, pair))
    return found


def _rewritten(bad: Answer, better: Rewrite) -> _Candidate:
    pair = NewPair(
        "rewrite",
        bad.prompt_id,
        better.generation_id,
        bad.generation_id,
        1.0,
        round(bad.judgement.harm, 6),
        sorted({*bad.judgement.review_ids, better.review_id}),
    )
    return _Candidate((0, _key(bad.prompt_hash, better.text, bad.text)), better.text, bad.text, pair)


def _contrast(bad: Answer, good: Answer, *, graded: bool) -> bool:
    """Whether the one is so much worse than the other that it teaches something."""
    apart = bad.judgement.harm - good.judgement.harm
    if graded:
        return bool(bad.judgement.votes and good.judgement.votes) and apart >= LEAST_MARGIN
    return bad.judgement.outcome == "harmful" and good.judgement.outcome == "fine" and apart > 0


def _worth(bad: float, good: float, labels: Labels) -> tuple[float, float]:
    """(soft label, weight) of a contrast from the harm of its two answers."""
    if labels == "hard":
        return 1.0, round(bad - good, 6)
    right, wrong = bad * (1 - good), good * (1 - bad)
    return round(right / (right + wrong), 6), round(right + wrong, 6)


# -------------------------------------------------------------------- weights


def balanced(pairs: Sequence[NewPair], flags: Mapping[int, Mapping[str, float]], *, most: float = MOST_BALANCE) -> list[NewPair]:
    """The pairs with weights by which each group's flags count alike in all (`_balanced`)."""
    weights = _balanced([(pair.rejected_id, pair.weight) for pair in pairs], flags, most)
    return [pair._replace(weight=weight) for pair, weight in zip(pairs, weights, strict=True)]


def balanced_unpaired(
    answers: Sequence[NewUnpaired], flags: Mapping[int, Mapping[str, float]], *, most: float = MOST_BALANCE
) -> list[NewUnpaired]:
    """The same of answers without a counterpart: of the harmful ones; fine ones keep their weights."""
    weights = iter(_balanced([(one.generation_id, one.weight) for one in answers if one.harmful], flags, most))
    return [one._replace(weight=next(weights)) if one.harmful else one for one in answers]


def _balanced(rows: Sequence[tuple[int, float]], flags: Mapping[int, Mapping[str, float]], most: float) -> list[float]:
    """The weights of (flagged generation, weight) by which each group's flags count alike in all: post-stratification, in one pass.

    `flags` gives a generation's flags by group. A row belongs to the groups that flagged its generation, in those shares; a group
    whose rows weigh less than the mean of groups has them raised, but none by more than `most` times or under 1 / `most`. The
    weights' mean stays what it was. Rows that nobody of a group flagged keep theirs.
    """
    shares = []
    for generation, _ in rows:
        by_group = {group: count for group, count in flags.get(generation, {}).items() if count > 0}
        whole = sum(by_group.values())
        shares.append({group: count / whole for group, count in by_group.items()})
    totals: dict[str, float] = defaultdict(float)
    weights = [weight for _, weight in rows]
    for weight, share in zip(weights, shares, strict=True):
        for group, part in share.items():
            totals[group] += part * weight
    if len(totals) < 2:
        return weights
    even = sum(totals.values()) / len(totals)
    factors = [sum(part * even / totals[group] for group, part in share.items()) if share else 1.0 for share in shares]
    raised = [weight * min(max(factor, 1 / most), most) for weight, factor in zip(weights, factors, strict=True)]
    scale = sum(weights) / sum(raised)
    return [max(round(weight * scale, 6), 1e-6) for weight in raised]


def effective_size(weights: Sequence[float]) -> float:
    """How many equally weighed pairs would say as much: (sum w)^2 / sum w^2 (Kish 1965, Survey Sampling, sec. 11.7); 0 of none."""
    squares = sum(weight * weight for weight in weights)
    return sum(weights) ** 2 / squares if squares else 0.0


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
