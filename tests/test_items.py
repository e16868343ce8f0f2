"""Claims about items and their slots."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func
from sqlmodel import Session, col, select

from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import RANKS, make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import Item, ItemGeneration, Slot
from flagback.storage.store import Store


def answers(store: Store, texts: list[str]) -> list[int]:
    with store.writing() as session:
        [prompt] = add_prompts(session, [NewPrompt([{"role": "user", "content": "go on"}])]).ids
        return add_generations(session, [NewGeneration(prompt, text, "end", "imported", "import:x") for text in texts])


def test_each_answer_gets_one_item_with_its_slots_once(store: Store) -> None:
    ids = answers(store, [f" {number}" for number in range(700)])
    for expected in (700, 0):
        with store.writing() as session:
            assert make_items(session, ids, purpose="loop", reviews_per_item=3, seed=1) == expected
    with store.reading() as session:
        assert session.exec(select(func.count()).select_from(Item)).one() == 700
        assert set(session.exec(select(ItemGeneration.generation_id)).all()) == set(ids)
        slots = session.exec(select(Slot).order_by(col(Slot.item_id), col(Slot.number))).all()
    assert [slot.number for slot in slots] == [0, 1, 2] * 700
    assert {slot.state for slot in slots} == {"open"}


def test_an_empty_answer_gets_no_item(store: Store) -> None:
    ids = answers(store, ["", " \n\t", " x"])
    with store.writing() as session:
        assert make_items(session, ids, purpose="blind", reviews_per_item=1, seed=1) == 1
    with store.reading() as session:
        item = session.exec(select(Item)).one()
    assert (item.generation_id, item.purpose, item.kind) == (ids[2], "blind", "single")


def test_ranks_follow_the_seed_and_the_text_but_no_row_id(store: Store) -> None:
    ranks: list[dict[tuple[str, int], int]] = []
    for seed, texts in ((1, [" a", " b"]), (1, [" b", " a"]), (2, [" a", " b"])):
        with store.writing() as session:
            ids = answers_in(session, texts, origin=f"import:{len(ranks)}")
            make_items(session, ids, purpose="loop", reviews_per_item=2, seed=seed)
            rows = session.exec(
                select(ItemGeneration.generation_id, Slot.number, Slot.rank)
                .join(Slot, col(Slot.item_id) == ItemGeneration.item_id)
                .where(col(ItemGeneration.generation_id).in_(ids))
            ).all()
        ranks.append({(texts[ids.index(row)], number): rank for row, number, rank in rows})
    assert ranks[0] == ranks[1] != ranks[2]
    assert all(0 <= rank < RANKS for rank in ranks[0].values())
    assert len(set(ranks[0].values())) == 4


def answers_in(session: Session, texts: list[str], *, origin: str) -> list[int]:
    [prompt] = add_prompts(session, [NewPrompt([{"role": "user", "content": "go on"}])]).ids
    return add_generations(session, [NewGeneration(prompt, text, "end", "imported", origin) for text in texts])


def test_two_makers_at_once_make_each_item_once(store: Store) -> None:
    ids = answers(store, [f" {number}" for number in range(200)])

    def make(_: int) -> int:
        with store.writing() as session:
            return make_items(session, ids, purpose="loop", reviews_per_item=2, seed=1)

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(make, range(2))) == 200
    with store.reading() as session:
        assert session.exec(select(func.count()).select_from(Slot)).one() == 400


def test_an_item_that_wants_no_review_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="at least 1"), store.writing() as session:
        make_items(session, [1], purpose="loop", reviews_per_item=0, seed=1)
