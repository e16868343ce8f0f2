"""Claims about the order of the queue: drawn by known probabilities, blind items never moved, whoever claims meanwhile."""

import random
import statistics
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlmodel import col, select

from flagback.review_app.worker import keep_order
from flagback.storage import queue
from flagback.storage.answers import Answer
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.overlap import set_overlap
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Generation, Item, ItemPurpose, Lease, Slot
from flagback.storage.reviews import submit
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


def order(store: Store, harm: dict[int, float]) -> queue.Dealt:
    """Writes what is expected, and deals."""
    queue.expect(store, harm, source="test")
    return queue.deal(store, now=NOON)


def rows(harm: list[float | None], **more: Any) -> list[queue.Open]:
    """Items nobody has had, numbered from 1."""
    one: dict[str, Any] = {"lang": "en", "topic": "t", "waiting_since": NOON, "begun": False, "contested": False} | more
    return [queue.Open(number, f"text {number}", expected_harm=value, **one) for number, value in enumerate(harm, start=1)]


def shares(harm: list[float | None], *, random_share: float = 0.5, **more: Any) -> list[float]:
    """The weight of each as a share of all: the probability with which it is drawn first."""
    found = queue.weights(rows(harm, **more), {}, random_share=random_share, now=NOON)
    return [weight / sum(found) for weight in found]


def test_every_answer_keeps_half_of_the_chance_that_a_uniform_draw_would_give_it() -> None:
    drawn = shares([number / 400 for number in range(400)])
    assert min(drawn) > 0.5 / 400
    assert drawn == sorted(drawn)
    assert sum(drawn[-40:]) > 0.3
    assert min(shares([0.1, 0.9] * 50, random_share=0.8)) > 0.8 / 100


def test_where_nothing_or_the_same_is_expected_all_are_equal() -> None:
    for harm in ([None] * 10, [0.3] * 10):
        assert shares(harm) == pytest.approx([0.1] * 10)  # type: ignore[arg-type]


def test_a_long_wait_and_a_topic_nobody_has_judged_raise_an_answers_chance() -> None:
    new, old = (rows([None], waiting_since=NOON - timedelta(days=days))[0] for days in (0, 30))
    fresh, known = (rows([None], topic=topic)[0] for topic in ("new", "known"))
    aged = queue.weights([new, old], {}, random_share=0.1, now=NOON)
    assert aged == pytest.approx([0.1 + 0.9 * 2 / 3, 0.1 + 0.9 * 4 / 3])
    covered = queue.weights([fresh, known], {"known": 9}, random_share=0.1, now=NOON)
    assert covered == pytest.approx([0.1 + 0.9 * 2 / 1.55, 0.1 + 0.9 * 1.1 / 1.55])


def test_the_probability_of_each_draw_is_its_weight_among_what_is_left() -> None:
    made = rows([number / 30 for number in range(30)])
    weights = dict(zip((row.item_id for row in made), queue.weights(made, {}, random_share=0.5, now=NOON), strict=True))
    places = queue.places_of(made, {}, random_share=0.5, now=NOON)
    # All 30 are in the first bucket of the head; the last one drawn is sure to come.
    assert {place.bucket for place in places.values()} == {queue.BEGUN_BUCKET + 1}
    chances = {item: place.probability or 0 for item, place in places.items()}
    assert max(chances.values()) == pytest.approx(1)
    left = set(chances)
    while left:
        total = sum(weights[item] for item in left)
        [drawn] = [item for item in left if chances[item] == pytest.approx(weights[item] / total, rel=1e-9)][:1]
        left.remove(drawn)


def test_draws_come_as_often_as_their_probability_says() -> None:
    """Which of three comes first, over 3,000 pools of them."""
    expected = shares([0.1, 0.5, 0.9])
    first = Counter(_first(number) for number in range(3_000))
    for item, chance in enumerate(expected, start=1):
        assert abs(first[item] / 3_000 - chance) < 4 * (chance * (1 - chance) / 3_000) ** 0.5


def test_buckets_of_the_head_double_and_the_rest_waits() -> None:
    places = queue.places_of(rows([None] * 1_100), {}, random_share=0.5, now=NOON)
    sizes = Counter(place.bucket for place in places.values())
    assert sizes == {3: 32, 4: 64, 5: 128, 6: 256, 7: 512}
    # What waits behind the head is among what is left at every draw.
    assert sorted(place.probability for place in places.values() if place.probability)[0] == pytest.approx(1 / 1_100)
    assert sorted(place.probability for place in places.values() if place.probability)[-1] == pytest.approx(1 / 109)


def test_contested_answers_come_first_and_then_those_that_lack_a_seat() -> None:
    made = rows([0.9, 0.1, 0.2])
    made[1] = made[1]._replace(begun=True)
    made[2] = made[2]._replace(begun=True, contested=True)
    places = queue.places_of(made, {}, random_share=0.5, now=NOON)
    assert [places[number].bucket for number in (3, 2, 1)] == [1, 2, 3]
    assert (places[2].probability, places[3].probability, places[1].probability) == (None, None, 1)


def test_each_language_has_an_order_of_its_own() -> None:
    made = rows([0.1, 0.2, 0.3, 0.4])
    made[0] = made[0]._replace(lang="pt")
    places = queue.places_of(made, {}, random_share=0.5, now=NOON)
    assert places[1].probability == 1
    assert max(places[number].probability or 0 for number in (2, 3, 4)) == 1


def test_likely_harm_is_served_sooner(store: Store) -> None:
    made = items(store, 200)
    harm = {generation: (generation * 37 % 200) / 200 for generation in made}
    dealt = order(store, harm)
    assert (dealt.fresh, dealt.begun, dealt.moved) == (200, 0, 200)
    place = buckets(store)
    mean = {bucket: statistics.mean(harm[one] for one in made if place[made[one]] == bucket) for bucket in (3, 5)}
    assert mean[3] > mean[5] + 0.1


def test_a_lease_carries_the_probability_of_the_first_draw_and_no_other(store: Store) -> None:
    made = items(store, 5, seats=2)
    order(store, {generation: generation / 10 for generation in made})
    with store.reading() as session:
        chances = dict(session.exec(select(Slot.item_id, Slot.probability)).all())
    for reviewer in ("r_ada", "r_bob"):
        claim(store, reviewer, count=5, now=NOON, lease_for=timedelta(hours=1), seed=0)
    with store.reading() as session:
        leases = session.exec(select(Lease)).all()
    assert {one.item_id: one.probability for one in leases if one.reviewer == "r_ada"} == chances
    assert {one.probability for one in leases if one.reviewer == "r_bob"} == {None}


def test_dealing_again_moves_nothing(store: Store) -> None:
    made = items(store, 100, seats=2)
    harm = {generation: generation % 7 / 7 for generation in made}
    assert order(store, harm).moved == 100
    assert order(store, harm).moved == 0


def test_the_policys_random_share_orders_the_queue(sqlite_store: Store) -> None:
    made = items(sqlite_store, 4)
    with sqlite_store.writing() as session:
        given = {"steps": [3], "seats": {}, "relax_after": timedelta(hours=72), "random_share": 1.0}
        set_overlap(session, by="ada", now=NOON, **given)  # type: ignore[arg-type]
    order(sqlite_store, {generation: generation / 10 for generation in made})
    with sqlite_store.reading() as session:
        chances = sorted(session.exec(select(Slot.probability)).all(), key=lambda chance: chance or 0)
    assert chances == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])


def test_blind_items_are_never_moved_and_nothing_is_expected_of_them(store: Store) -> None:
    loop, blind = items(store, 80), items(store, 80, purpose="blind", what="blind")
    assert {one.generation_id for one in queue.waiting(store)} == set(loop)
    harm = dict.fromkeys([*loop, *blind], 0.9)
    queue.expect(store, harm, source="detector:1")
    queue.deal(store, now=NOON)
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
    dealt = order(store, {generation: generation / 1000 for generation in made})
    assert (dealt.fresh, dealt.begun) == (20, 0)
    after = buckets(store)
    assert {after[one.item_id] for one in held} == {before[one.item_id] for one in held} == {9}
    with store.reading() as session:
        claimed = session.exec(select(Slot.item_id).where(Slot.state == "claimed")).all()
    assert set(claimed) == {one.item_id for one in held}


def test_reviewers_claim_while_the_queue_is_dealt_and_everything_is_judged_once(store: Store) -> None:
    made = items(store, 90, seats=2)
    ended: list[bool] = []

    def deal() -> int:
        draw, times = random.Random(0), 0
        while not ended:
            order(store, {generation: draw.random() for generation in made})
            times += 1
        return times

    def work(number: int) -> list[int]:
        seen, seeds, empty = [], random.Random(number), 0
        while empty < 20:  # a slot may move while it is looked for: like a board, one asks again
            held = claim(store, f"r_{number}", count=2, now=NOON, lease_for=timedelta(hours=1), seed=seeds.getrandbits(32))
            empty = 0 if held else empty + 1
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
    order(store, {generation: generation / 1000 for generation in made})
    place = buckets(store)
    served = claim(store, "r_ada", count=80, now=NOON, lease_for=timedelta(hours=1), seed=0)
    served_at = [place[one.item_id] for one in served]
    assert len(served_at) == 80
    assert served_at == sorted(served_at)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_queue_of_few_is_dealt_too(store: Store, count: int) -> None:
    made = items(store, count)
    dealt = order(store, dict.fromkeys(made, 0.5))
    assert (dealt.fresh, dealt.begun, dealt.moved) == (count, 0, count)
    if made:
        assert set(buckets(store).values()) == {3}


def _first(number: int) -> int:
    """Which of three items is drawn first in a pool of its own texts."""
    made = [row._replace(content=f"{number} {row.content}") for row in rows([0.1, 0.5, 0.9])]
    places = queue.places_of(made, {}, random_share=0.5, now=NOON)
    weights = dict(zip((1, 2, 3), queue.weights(made, {}, random_share=0.5, now=NOON), strict=True))
    total = sum(weights.values())
    return next(item for item in (1, 2, 3) if places[item].probability == pytest.approx(weights[item] / total))


def test_the_worker_renews_the_order_and_bears_a_failure(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = items(sqlite_store, 3)
    said: list[str] = []
    ended, dealt = threading.Event(), queue.deal

    def fails_once(store: Store, *, now: datetime, pause: float) -> queue.Dealt:
        if not said:
            raise OSError("the database went away")
        done = dealt(store, now=now, pause=pause)
        ended.set()
        return done

    monkeypatch.setattr(queue, "deal", fails_once)
    keep_order(sqlite_store, ended, said.append, every=0.01)
    assert len(said) == 1
    assert "the database went away" in said[0]
    assert set(buckets(sqlite_store).values()) == {3}
    assert len(made) == 3
