"""Claims about who may judge what: claim, release, sweep, alone and in a crowd."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event, text, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from flagback.storage.answers import Answer
from flagback.storage.claims import Claim
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import LAST_BUCKET, RANKS, make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Item, Lease, Prompt, Review, Slot
from flagback.storage.reviews import submit
from flagback.storage.slots import LOOK_AHEAD, claim, release, sweep
from flagback.storage.store import Store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)


def items(store: Store, count: int, *, seats: int = 3, families: int | None = None) -> None:
    """`count` items, each of a prompt of its own, spread over some families."""
    with store.writing() as session:
        prompts = add_prompts(
            session,
            [
                NewPrompt([{"role": "user", "content": f"prompt {number}"}], split_key=f"family {number % (families or count)}")
                for number in range(count)
            ],
        ).ids
        ids = add_generations(
            session, [NewGeneration(prompt, f" answer {prompt}", "end", "sampled", "run:1") for prompt in prompts]
        )
        make_items(session, ids, purpose="loop", reviews_per_item=seats, seed=1)


def take(store: Store, reviewer: str, count: int = 1, *, now: datetime = NOON, seed: int = 0) -> list[Claim]:
    return claim(store, reviewer, count=count, now=now, lease_for=HALF_HOUR, seed=seed)


def say_fine(store: Store, reviewer: str, held: Claim, *, now: datetime = NOON, skip: bool = False) -> None:
    submit(
        store,
        reviewer,
        Answer(
            token=str(uuid4()),
            lease_id=held.lease_id,
            verdict="skip" if skip else "fine",
            skip_reason="unclear" if skip else None,
            taxonomy_version="1",
            guideline_version="1",
        ),
        now=now,
        policy_version="1",
    )


def states(store: Store) -> Counter[str]:
    with store.reading() as session:
        return Counter(session.exec(select(Slot.state)).all())


def test_a_claim_carries_what_the_board_shows(store: Store) -> None:
    items(store, 1)
    [held] = take(store, "r_ada")
    assert held.prompt == [{"role": "user", "content": "prompt 0"}]
    assert (held.text, held.prompt_lang, held.earlier) == (f" answer {held.generation_id}", "und", None)
    assert held.expires_at == NOON + HALF_HOUR


def test_a_reviewer_sees_every_item_once_and_then_nothing(store: Store) -> None:
    items(store, 7)
    seen: list[int] = []
    while held := take(store, "r_ada", seed=len(seen)):
        seen.append(held[0].item_id)
        say_fine(store, "r_ada", held[0])
    assert sorted(seen) == sorted({*seen})
    assert len(seen) == 7
    assert states(store) == {"done": 7, "open": 14}


def test_asking_again_shows_the_same_items_first(store: Store) -> None:
    items(store, 5)
    first = take(store, "r_ada", 2, seed=1)
    again = take(store, "r_ada", 3, now=NOON + timedelta(minutes=1), seed=2)
    assert {held.lease_id for held in again[:2]} == {held.lease_id for held in first}
    assert len({held.item_id for held in again}) == 3
    assert states(store)["claimed"] == 3


def test_two_reviewers_never_hold_one_seat_and_an_item_has_no_more_holders_than_seats(store: Store) -> None:
    items(store, 1, seats=2)
    assert take(store, "r_ada")
    assert take(store, "r_bob")
    assert take(store, "r_eve") == []


def test_released_items_are_open_to_all_again(store: Store) -> None:
    items(store, 3, seats=1)
    held = take(store, "r_ada", 2)
    assert release(store, "r_ada", now=NOON) == 2
    assert release(store, "r_ada", now=NOON) == 0
    assert len(take(store, "r_bob", 3)) == 3
    with store.reading() as session:
        outcomes = session.exec(select(Lease.outcome).where(col(Lease.id).in_([one.lease_id for one in held]))).all()
    assert outcomes == ["released", "released"]


def test_an_expired_seat_is_swept_and_goes_to_another(store: Store) -> None:
    items(store, 1, seats=1)
    [old] = take(store, "r_ada")
    later = NOON + HALF_HOUR
    assert take(store, "r_bob", now=later) == []
    assert sweep(store, now=later - timedelta(seconds=1)) == 0
    assert sweep(store, now=later) == 1
    [new] = take(store, "r_bob", now=later)
    assert new.item_id == old.item_id
    assert new.lease_id != old.lease_id
    with store.reading() as session:
        assert dict(session.exec(select(Lease.reviewer, Lease.outcome)).all()) == {"r_ada": "expired", "r_bob": "held"}


def test_an_expired_claim_is_not_shown_as_live_and_its_item_not_claimed_twice(store: Store) -> None:
    items(store, 1)
    take(store, "r_ada")
    assert take(store, "r_ada", now=NOON + HALF_HOUR) == []
    sweep(store, now=NOON + HALF_HOUR)
    assert len(take(store, "r_ada", now=NOON + HALF_HOUR)) == 1


def test_a_sweep_of_many_goes_in_batches(store: Store) -> None:
    items(store, 25, seats=1)
    take(store, "r_ada", 25)
    assert sweep(store, now=NOON + HALF_HOUR, batch=10) == 25
    assert states(store) == {"open": 25}


def test_a_skipped_item_goes_to_others_and_never_back(store: Store) -> None:
    items(store, 1, seats=1)
    [held] = take(store, "r_ada")
    say_fine(store, "r_ada", held, skip=True)
    assert take(store, "r_ada") == []
    assert len(take(store, "r_bob")) == 1


def test_the_lowest_bucket_is_served_first_even_when_the_reviewer_has_done_part_of_it(store: Store) -> None:
    items(store, 20, seats=1)
    with store.writing() as session:
        urgent = session.exec(select(Slot.id).limit(3)).all()
        session.exec(update(Slot).where(col(Slot.id).in_(urgent)).values(bucket=0))
    first = take(store, "r_ada", 2)
    then = take(store, "r_ada", 5)
    with store.reading() as session:
        buckets = {slot.item_id: slot.bucket for slot in session.exec(select(Slot))}
    assert [buckets[held.item_id] for held in first] == [0, 0]
    assert sorted(buckets[held.item_id] for held in then) == [0, 0, 0, LAST_BUCKET, LAST_BUCKET]


def test_families_are_mixed_while_there_is_a_choice(store: Store) -> None:
    items(store, 40, seats=1, families=4)
    held = take(store, "r_ada", 24, seed=3)
    with store.reading() as session:
        family = dict(session.exec(select(Item.id, Prompt.split_key).join(Prompt, col(Prompt.id) == Item.prompt_id)).all())
    order = [family[one.item_id] for one in held]
    assert all(a != b for a, b in pairwise(order))


def test_the_family_of_the_last_answer_counts_too(store: Store) -> None:
    items(store, 20, seats=1, families=2)
    with store.reading() as session:
        family = dict(session.exec(select(Item.id, Prompt.split_key).join(Prompt, col(Prompt.id) == Item.prompt_id)).all())
    last = ""
    for number in range(10):
        [held] = take(store, "r_ada", seed=number)
        assert family[held.item_id] != last
        last = family[held.item_id]
        say_fine(store, "r_ada", held)


def test_one_family_alone_is_served_all_the_same(store: Store) -> None:
    items(store, LOOK_AHEAD * 2, seats=1, families=1)
    assert len(take(store, "r_ada", LOOK_AHEAD * 2)) == LOOK_AHEAD * 2


def test_claims_start_at_different_places(store: Store) -> None:
    items(store, 60, seats=3)
    starts = {take(store, f"r_{number}", seed=number)[0].item_id for number in range(20)}
    assert len(starts) > 10


def test_a_crowd_never_claims_a_seat_twice(store: Store) -> None:
    """Eight reviewers, two open tabs each, claim at once until nothing is left."""
    items(store, 30, seats=4)
    gate = Barrier(16)

    def work(number: int) -> list[Claim]:
        random = Random(number)
        gate.wait()
        mine: list[Claim] = []
        for size in range(2, 40, 2):
            mine = take(store, f"r_{number // 2}", min(size, 30), seed=random.getrandbits(32))
        return mine

    with ThreadPoolExecutor(16) as pool:
        held = list(pool.map(work, range(16)))
    with store.reading() as session:
        leases = session.exec(select(Lease)).all()
    assert len({lease.slot_id for lease in leases}) == len({(lease.item_id, lease.reviewer) for lease in leases}) == len(leases)
    assert len(leases) == states(store)["claimed"] == 120
    assert {one.lease_id for claims in held for one in claims} == {lease.id for lease in leases}


def test_a_crowd_that_answers_fills_every_seat_exactly_once(store: Store) -> None:
    items(store, 20, seats=3)

    def work(number: int) -> int:
        random, done = Random(number), 0
        while held := take(store, f"r_{number}", 2, seed=random.getrandbits(32)):
            say_fine(store, f"r_{number}", held[0])
            done += 1
        return done

    with ThreadPoolExecutor(6) as pool:
        done = sum(pool.map(work, range(6)))
    assert done == 60
    assert states(store) == {"done": 60}
    with store.reading() as session:
        rows = session.exec(select(Review.item_id, Review.slot_id, Review.reviewer)).all()
    assert len({slot for _, slot, _ in rows}) == len({(item, who) for item, _, who in rows}) == 60


def test_the_database_itself_refuses_a_second_seat_of_one_item(store: Store) -> None:
    items(store, 1)
    take(store, "r_ada")
    with pytest.raises(IntegrityError), store.writing() as session:
        session.exec(update(Slot).where(Slot.state == "open").values(state="claimed", reviewer="r_ada"))  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [-1, 101])
def test_a_silly_count_is_refused(store: Store, count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} claims"):
        take(store, "r_ada", count)


def test_a_claim_reads_the_open_slots_by_their_index(store: Store) -> None:
    """A plan that reads all open slots once cost 30 s a claim at 30,000 of them, and every test of behaviour passed."""
    with store.writing() as session:
        [prompt] = add_prompts(session, [NewPrompt([{"role": "user", "content": "x"}])]).ids
        ids = add_generations(session, [NewGeneration(prompt, f" {number}", "end", "sampled", "run:1") for number in range(2000)])
        make_items(session, ids, purpose="loop", reviews_per_item=1, seed=1)
        session.exec(update(Slot).where(Slot.id % 3 == 0).values(state="done"))  # type: ignore[arg-type]
    with store.engine.connect() as connection:
        connection.execute(text("ANALYZE"))
        connection.commit()
    sent: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        sent.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", keep)
    take(store, "r_ada")
    event.remove(store.engine, "before_cursor_execute", keep)
    [(statement, parameters)] = [one for one in sent if "AS ahead" in one[0]]
    with store.engine.connect() as connection:
        explain = "EXPLAIN QUERY PLAN " if store.is_sqlite else "EXPLAIN "
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + statement, parameters))
    assert "ix_slot_open" in plan, plan
    assert "Seq Scan on slot" not in plan, plan
    assert "SCAN slot" not in plan, plan


def test_a_reviewer_who_has_done_most_of_a_long_queue_still_finds_the_rest(store: Store) -> None:
    items(store, 400, seats=1)
    with store.writing() as session:
        left = sorted(session.exec(select(Slot.item_id)).all())[::97]
        done = [(slot, item) for slot, item in session.exec(select(Slot.id, Slot.item_id)) if item not in left]
        held: Any = {"reviewer": "r_ada", "claimed_at": NOON, "expires_at": NOON, "outcome": "late"}
        session.add_all(Lease(id=f"{item}", slot_id=slot, item_id=item, **held) for slot, item in done)
        session.flush()
        session.add_all(
            Review(
                token=f"{item}",
                item_id=item,
                lease_id=f"{item}",
                reviewer="r_ada",
                verdict="fine",
                late=True,
                taxonomy_version="1",
                guideline_version="1",
                policy_version="1",
            )
            for _, item in done
        )
    assert sorted(one.item_id for one in take(store, "r_ada", 10)) == left


def test_seats_of_one_rank_are_all_found(store: Store) -> None:
    items(store, LOOK_AHEAD * 3, seats=1)
    with store.writing() as session:
        session.exec(update(Slot).values(rank=RANKS - 1))
    assert len(take(store, "r_ada", 100)) == LOOK_AHEAD * 3
