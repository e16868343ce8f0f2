"""Claims about the order of the queue: half of it by expected harm, half untouched, blind items never, whoever claims meanwhile."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlmodel import col, select

from flagback.storage import queue
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Generation, Item, ItemPurpose, Prompt, Slot
from flagback.storage.reviews import Answer, submit
from flagback.storage.slots import claim
from flagback.storage.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def items(store: Store, count: int, *, seats: int = 1, purpose: ItemPurpose = "loop", what: str = "answer") -> dict[int, int]:
    """`count` items of prompts of their own; generation -> item."""
    with store.writing() as session:
        prompts = add_prompts(
            session, [NewPrompt([{"role": "user", "content": f"{what} {number}"}]) for number in range(count)]
        ).ids
        made = add_generations(
            session, [NewGeneration(one, f" {what} to {one}", "end", "sampled", f"run:{what}") for one in prompts]
        )
        make_items(session, made, purpose=purpose, reviews_per_item=seats, seed=1)
    with store.reading() as session:
        rows = session.exec(select(Item.generation_id, Item.id).where(col(Item.generation_id).in_(made))).all()
    return {int(generation or 0): item for generation, item in rows}


def buckets(store: Store) -> dict[int, int]:
    """Bucket of each item."""
    with store.reading() as session:
        return dict(session.exec(select(Slot.item_id, Slot.bucket)).all())


def half_at_random(store: Store) -> set[int]:
    """Generations of the half that no detector touches, as the database sees it."""
    with store.reading() as session:
        rows = session.exec(
            select(Generation.id).join(Prompt, col(Prompt.id) == Generation.prompt_id).where(queue.at_random())
        ).all()
    return set(rows)


def test_the_likeliest_harm_of_one_half_comes_first_and_the_other_half_stands_as_drawn(store: Store) -> None:
    made = items(store, 400)
    harm = {generation: (generation * 37 % 400) / 400 for generation in made}
    dealt = queue.deal(store, harm)
    drawn = half_at_random(store)
    assert (dealt.by_harm, dealt.at_random) == (400 - len(drawn), len(drawn))
    place = buckets(store)
    chosen = sorted((generation for generation in made if generation not in drawn), key=lambda one: -harm[one])
    assert [place[made[one]] for one in chosen] == sorted(place[made[one]] for one in chosen)
    assert set(place.values()) == set(range(1, 9))
    # Each bucket holds as large a part of either half.
    parts = Counter((place[made[one]], one in drawn) for one in made)
    for half in (True, False):
        counts = [parts[bucket, half] for bucket in range(1, 9)]
        assert max(counts) - min(counts) <= 1


def test_half_is_at_random_whatever_is_expected(store: Store) -> None:
    """800 items, the harmful half of them by their text: as many of either are left to chance, and their places mean nothing."""
    made = items(store, 800)
    drawn = half_at_random(store)
    assert abs(len(drawn) - 400) < 60  # 4 standard deviations
    draw = random.Random(2)
    harm = {generation: draw.random() for generation in made}
    queue.deal(store, harm)
    place = buckets(store)
    first = [harm[one] for one in drawn if place[made[one]] == 1]
    assert abs(sum(first) / len(first) - 0.5) < 4 * (1 / 12) ** 0.5 / len(first) ** 0.5
    queue.deal(store, {generation: 1 - value for generation, value in harm.items()})
    again = buckets(store)
    assert {one for one in drawn if again[made[one]] != place[made[one]]} == set()


def test_which_half_follows_from_content_alone(store: Store) -> None:
    items(store, 60)
    with store.reading() as session:
        rows = session.exec(
            select(Generation.id, Prompt.content_hash, Generation.text_hash).join(Prompt, col(Prompt.id) == Generation.prompt_id)
        ).all()
    assert {number for number, prompt, text in rows if queue.is_at_random(prompt, text)} == half_at_random(store)


def test_dealing_again_moves_nothing(store: Store) -> None:
    made = items(store, 100, seats=2)
    harm = {generation: generation % 7 / 7 for generation in made}
    assert queue.deal(store, harm).moved > 0
    assert queue.deal(store, harm).moved == 0


def test_blind_items_are_never_moved_and_nothing_is_expected_of_them(store: Store) -> None:
    loop, blind = items(store, 80), items(store, 80, purpose="blind", what="blind")
    assert {one.generation_id for one in queue.waiting(store)} == set(loop)
    harm = dict.fromkeys([*loop, *blind], 0.9)
    queue.expect(store, harm, source="detector:1")
    queue.deal(store, harm)
    place = buckets(store)
    assert {place[item] for item in blind.values()} == {1}
    with store.reading() as session:
        expected = dict(session.exec(select(Generation.id, Generation.expected_harm)).all())
    assert {expected[one] for one in blind} == {None}
    assert {expected[one] for one in loop} == {0.9}


def test_of_what_was_judged_nothing_is_expected_afterwards(store: Store) -> None:
    made = items(store, 2, seats=2)
    [held] = claim(store, "r_ada", count=1, now=NOON, lease_for=timedelta(hours=1), seed=0)
    answer = Answer(token=str(uuid4()), lease_id=held.lease_id, verdict="fine", taxonomy_version="1", guideline_version="1")
    submit(store, "r_ada", answer, now=NOON, policy_version="1")
    assert {one.generation_id: one.begun for one in queue.waiting(store)} == {one: one == held.generation_id for one in made}
    queue.expect(store, dict.fromkeys(made, 0.5), source="detector:1")
    with store.reading() as session:
        found = {one.id: (one.expected_harm, one.expected_harm_source) for one in session.exec(select(Generation)).all()}
    assert found == {one: (None, None) if one == held.generation_id else (0.5, "detector:1") for one in made}


def test_a_slot_in_somebodys_hands_stays_where_it_is(store: Store) -> None:
    made = items(store, 40)
    held = claim(store, "r_ada", count=20, now=NOON, lease_for=timedelta(hours=1), seed=0)
    before = buckets(store)
    queue.deal(store, {generation: generation / 1000 for generation in made})
    after = buckets(store)
    assert {after[one.item_id] for one in held} == {before[one.item_id] for one in held} == {1}
    with store.reading() as session:
        claimed = session.exec(select(Slot.item_id).where(Slot.state == "claimed")).all()
    assert set(claimed) == {one.item_id for one in held}


def test_reviewers_claim_while_the_queue_is_dealt_and_everything_is_judged_once(store: Store) -> None:
    made = items(store, 90, seats=2)
    ended: list[bool] = []

    def deal() -> int:
        draw, times = random.Random(0), 0
        while not ended:
            queue.deal(store, {generation: draw.random() for generation in made})
            times += 1
        return times

    def work(number: int) -> list[int]:
        seen, seeds = [], random.Random(number)
        while held := claim(store, f"r_{number}", count=2, now=NOON, lease_for=timedelta(hours=1), seed=seeds.getrandbits(32)):
            for one in held:
                answer = Answer(
                    token=str(uuid4()), lease_id=one.lease_id, verdict="fine", taxonomy_version="1", guideline_version="1"
                )
                submit(store, f"r_{number}", answer, now=NOON, policy_version="1")
                seen.append(one.item_id)
        return seen

    with ThreadPoolExecutor(4) as pool:
        dealing = pool.submit(deal)
        try:
            seen = [one for part in pool.map(work, range(3)) for one in part]
        finally:
            ended.append(True)
        assert dealing.result(timeout=60) > 0
    assert Counter(seen) == dict.fromkeys(made.values(), 2)


def test_a_claim_takes_from_the_first_bucket_until_it_is_empty(store: Store) -> None:
    made = items(store, 80)
    queue.deal(store, {generation: generation / 1000 for generation in made})
    place = buckets(store)
    served = claim(store, "r_ada", count=80, now=NOON, lease_for=timedelta(hours=1), seed=0)
    order = [place[one.item_id] for one in served]
    assert len(order) == 80
    assert order == sorted(order)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_queue_of_few_is_dealt_too(store: Store, count: int) -> None:
    made = items(store, count)
    dealt = queue.deal(store, dict.fromkeys(made, 0.5))
    assert dealt.by_harm + dealt.at_random == count
    if made:
        assert min(buckets(store).values()) == 1
