"""Answers of one prompt side by side: people say which of two is better, or in what order they stand. Items of kind pair and rank.

Knows items, seats, and what an order says of any two answers; knows no aggregation. The order in which answers are shown is drawn
by real chance and kept with the item, so that a habit of choosing the left one favours no answer.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from random import SystemRandom
from typing import NamedTuple

from sqlmodel import Session, col, select

from flagback.storage import quarantine, reviews
from flagback.storage.items import FIRST_BUCKET, slot_row
from flagback.storage.prompts import HELD_OUT_SHARDS, primary_language, shard_of
from flagback.storage.records import Generation, Item, ItemGeneration, Prompt, Review, now
from flagback.storage.store import insert_all, one_at_a_time

#: Most answers of one comparison: more than four are not held in mind.
MOST_ANSWERS = 4
#: The verdicts on two answers, as ranks in the order shown.
RANKS_OF_PAIR = {"left": (1, 2), "right": (2, 1), "equal": (1, 1), "both_bad": (1, 1)}


class BadComparison(ValueError):
    """A number of answers or reviews that makes no comparison."""


class NothingToCompare(Exception):
    """No prompt has two different answers of the version that were not compared yet."""


class Compared(NamedTuple):
    """A comparison that people judged."""

    prompt: Prompt
    #: In the order shown.
    generations: list[Generation]
    #: In force, in id order.
    reviews: list[Review]


def make(session: Session, *, version_id: int, prompts: int, answers: int, reviews_per_item: int, seed: int) -> int:
    """Makes a comparison of up to `answers` different answers for each of up to `prompts` prompts; returns how many were made.

    Of prompts to learn from, with two different answers at least, that have no comparison of this version yet; which prompts and
    answers follows from the seed and their content. Raises BadComparison or NothingToCompare.
    """
    if not 2 <= answers <= MOST_ANSWERS:
        raise BadComparison(f"{answers} answers were asked for side by side; expected 2 to {MOST_ANSWERS}.")
    if prompts < 1 or reviews_per_item < 1:
        raise BadComparison(f"{prompts} prompts with {reviews_per_item} reviews each were asked for; expected 1 or more of both.")
    one_at_a_time(session, "comparisons")
    known = set(
        session.exec(
            select(Item.prompt_id)
            .join(ItemGeneration, col(ItemGeneration.item_id) == Item.id)
            .join(Generation, col(Generation.id) == ItemGeneration.generation_id)
            .where(col(Item.kind).in_(["pair", "rank"]), Generation.version_id == version_id)
        ).all()
    )
    by_prompt: dict[int, dict[str, Generation]] = defaultdict(dict)
    described: dict[int, Prompt] = {}
    for generation, prompt in session.exec(
        select(Generation, Prompt)
        .join(Prompt, col(Prompt.id) == Generation.prompt_id)
        .where(Generation.version_id == version_id, Generation.source == "sampled")
        .where(col(Generation.id).in_(select(Item.generation_id).where(Item.purpose == "loop")))
        .where(col(Generation.id).not_in(quarantine.withdrawn_generations()))
        .order_by(col(Generation.id))
    ).all():
        if prompt.id not in known and shard_of(prompt.split_key) not in HELD_OUT_SHARDS:
            by_prompt[prompt.id].setdefault(" ".join(generation.text.split()), generation)
            described[prompt.id] = prompt
    wanted = sorted(
        (prompt for prompt, texts in by_prompt.items() if len(texts) > 1),
        key=lambda prompt: _hash(seed, described[prompt].content_hash),
    )[:prompts]
    if not wanted:
        raise NothingToCompare(
            f"No prompt has two different answers of version {version_id} that were not compared yet; write more with "
            "'flagback sample'."
        )
    for prompt_id in wanted:
        chosen = sorted(by_prompt[prompt_id].values(), key=lambda one: _hash(seed, one.text_hash))[:answers]
        _make_one(session, described[prompt_id], chosen, reviews_per_item, seed)
    return len(wanted)


def _make_one(session: Session, prompt: Prompt, chosen: Sequence[Generation], reviews_per_item: int, seed: int) -> None:
    item = Item(kind="pair" if len(chosen) == 2 else "rank", prompt_id=prompt.id, created_at=now())
    session.add(item)
    session.flush()
    shown = SystemRandom().sample(list(chosen), len(chosen))
    rows = [{"item_id": item.id, "position": place, "generation_id": one.id} for place, one in enumerate(shown)]
    insert_all(session, "item_generation", rows)
    content = f"{prompt.content_hash}:{':'.join(sorted(one.text_hash for one in chosen))}"
    lang = primary_language(prompt.lang)
    insert_all(
        session,
        "slot",
        [slot_row(item.id, n, content, lang, seed, bucket=FIRST_BUCKET, mode="compare") for n in range(reviews_per_item)],
    )


def judged(session: Session, version_id: int, *, simulated: bool) -> list[Compared]:
    """Every comparison of a version's answers that somebody judged, in item order; skips are in no judgement."""
    said: dict[int, list[Review]] = defaultdict(list)
    for review in reviews.effective(session, purpose="loop", simulated=simulated):
        if review.verdict in RANKS_OF_PAIR or review.verdict == "ranked":
            said[review.item_id].append(review)
    shown: dict[int, list[Generation]] = defaultdict(list)
    prompts: dict[int, Prompt] = {}
    for item, generation, prompt in session.exec(
        select(Item.id, Generation, Prompt)
        .join(ItemGeneration, col(ItemGeneration.item_id) == Item.id)
        .join(Generation, col(Generation.id) == ItemGeneration.generation_id)
        .join(Prompt, col(Prompt.id) == Item.prompt_id)
        .where(col(Item.kind).in_(["pair", "rank"]), Generation.version_id == version_id)
        .order_by(col(Item.id), col(ItemGeneration.position))
    ).all():
        shown[item].append(generation)
        prompts[item] = prompt
    return [Compared(prompts[item], shown[item], said[item]) for item in sorted(shown) if item in said]


def ranks(review: Review) -> tuple[int, ...]:
    """The rank of each answer in the order shown, 1 the best. Raises ValueError for a review of something else."""
    if review.verdict == "ranked" and review.ranking:
        return tuple(review.ranking)
    if review.verdict not in RANKS_OF_PAIR:
        raise ValueError(f"Review {review.id} says {review.verdict!r}; expected one of a comparison.")
    return RANKS_OF_PAIR[review.verdict]


def _hash(seed: int, content: str) -> str:
    return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()
