"""Claims about withdrawing a text: gone from every queue, page, export and set with the answer that asks for it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlmodel import col, select

from flagback.storage import preferences, quarantine, reviews, withdrawals
from flagback.storage.answers import Answer, BadAnswer
from flagback.storage.claims import Claim
from flagback.storage.export import export_reviews
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.preferences import NewPair
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.queue import waiting
from flagback.storage.records import AuditEntry, Generation, Item, Lease, Review, Slot
from flagback.storage.reviews import submit
from flagback.storage.set_export import export_set
from flagback.storage.slots import claim
from flagback.storage.store import Store
from flagback.storage.taxonomy import TAXONOMY_VERSION
from flagback.storage.withdrawals import NoReason, NotWithdrawn

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
BAD = " what nobody should read."
GOOD = " what anybody may read."


@pytest.fixture
def items(store: Store) -> list[int]:
    """Two answers to one prompt, the first of them bad; their generations' numbers."""
    return add(store, "run:1")


def add(store: Store, origin: str, *texts: str) -> list[int]:
    with store.writing() as session:
        [prompt] = add_prompts(session, [NewPrompt([{"role": "user", "content": "go on"}], lang="en")]).ids
        made = add_generations(session, [NewGeneration(prompt, text, "end", "imported", origin) for text in texts or (BAD, GOOD)])
        make_items(session, made, purpose="loop", reviews_per_item=3, seed=1)
    return made


def take(store: Store, reviewer: str, text: str) -> Claim:
    held = claim(store, reviewer, count=9, now=NOON, lease_for=HALF_HOUR, seed=0)
    return next(one for one in held if one.text == text)


def say(store: Store, reviewer: str, held: Claim, *categories: str, at: datetime = NOON, **more: Any) -> str:
    flag: dict[str, Any] = {"verdict": "flag", "categories": list(categories), "severity": "severe"}
    given = flag if categories else {"verdict": "fine"}
    token = str(uuid4())
    answer = Answer(token=token, lease_id=held.lease_id, taxonomy_version=TAXONOMY_VERSION, guideline_version="1", **(given | more))
    submit(store, reviewer, answer, now=at, policy_version="1")
    return token


def everything(store: Store) -> str:
    """Every text that any generation holds."""
    with store.reading() as session:
        return json.dumps(session.exec(select(Generation.text)).all())


def test_a_tick_takes_the_text_away_from_everybody_at_once(store: Store, items: list[int]) -> None:
    mine, theirs = take(store, "r_ada", BAD), take(store, "r_bob", BAD)
    say(store, "r_ada", mine, "sexual", "minors")
    assert BAD not in everything(store)
    assert GOOD in everything(store)
    assert BAD not in [one.text for one in claim(store, "r_eve", count=9, now=NOON, lease_for=HALF_HOUR, seed=3)]
    assert BAD not in [one.text for one in claim(store, "r_bob", count=9, now=NOON, lease_for=HALF_HOUR, seed=3)]
    assert quarantine.PLACEHOLDER not in [one.answer for one in waiting(store)]
    with store.reading() as session:
        item = session.exec(select(Item.id).where(Item.generation_id == items[0])).one()
        assert session.exec(select(Slot.state).where(Slot.item_id == item)).all() == ["done"] * 3
        assert session.exec(select(Lease.outcome).where(Lease.id == theirs.lease_id)).one() == "released"
        assert [one.generation_id for one in map(session.get_one, [Item], [item])] == items[:1]
        assert reviews.effective(session) == []
        assert reviews.recent(session, "r_ada") == []
        entry = session.exec(select(AuditEntry).order_by(col(AuditEntry.id).desc())).first()
    assert entry is not None
    assert (entry.action, entry.actor) == ("text withdrawn", "a reviewer")
    assert BAD.strip() not in json.dumps(entry.details)


def test_other_harms_withdraw_nothing(store: Store, items: list[int]) -> None:
    say(store, "r_ada", take(store, "r_ada", BAD), "sexual", "dangerous")
    assert len(items) == 2
    assert BAD in everything(store)


def test_an_answer_that_is_refused_withdraws_nothing(store: Store, items: list[int]) -> None:
    assert items
    with pytest.raises(BadAnswer):
        say(store, "r_ada", take(store, "r_ada", BAD), "minors", spans=[{"start": 0, "end": 900}])
    assert BAD in everything(store)


def test_what_somebody_says_of_a_text_that_is_gone_is_stored_as_late_by_the_text_they_saw(store: Store, items: list[int]) -> None:
    assert items
    mine, theirs = take(store, "r_ada", BAD), take(store, "r_bob", BAD)
    say(store, "r_ada", mine, "minors")
    token = say(store, "r_bob", theirs, "sexual", spans=[{"start": 1, "end": len(BAD)}])
    with store.reading() as session:
        found = reviews.reopened(session, "r_bob", token)
        [late] = session.exec(select(Review).where(Review.token == token)).all()
    assert late.late
    assert found.text == quarantine.PLACEHOLDER


def test_the_same_answer_to_the_same_prompt_goes_too_and_does_not_come_back(store: Store, items: list[int]) -> None:
    twin = add(store, "run:2", BAD)
    say(store, "r_ada", take(store, "r_ada", BAD), "minors")
    assert BAD not in everything(store)
    [again] = add(store, "run:3", BAD)
    assert again not in [*items, *twin]
    assert BAD not in everything(store)
    with store.reading() as session:
        assert session.exec(select(Item.id).where(Item.generation_id == again)).all() == []


def test_exports_and_frozen_sets_hold_it_no_more(store: Store, items: list[int], tmp_path: Path) -> None:
    bad, good = items
    mine = take(store, "r_ada", BAD)
    say(store, "r_bob", take(store, "r_bob", BAD), "sexual", rewrite=" a wording close to it.")
    say(store, "r_bob", take(store, "r_bob", GOOD))
    with store.writing() as session:
        prompt = session.get_one(Generation, bad).prompt_id
        [other] = add_generations(session, [NewGeneration(prompt, " a third.", "end", "imported", "run:1")])
        pairs = [NewPair("contrast", prompt, good, worse, 1.0, 1.0, []) for worse in (bad, other)]
        frozen = preferences.freeze(session, pairs, origin="people", policy="majority", policy_version="1", arguments={}, salt="s")
        assert len(preferences.pairs_of(session, frozen.id)) == 2
    say(store, "r_ada", mine, "minors")
    with store.reading() as session:
        [left] = preferences.pairs_of(session, frozen.id)
        assert sum(sum(both) for both in preferences.sizes(session).values()) == 1
    assert left.rejected_text == " a third."
    folder = tmp_path / "out"
    export_set(store, folder / "pairs", format="jsonl", set_id=frozen.id)
    export_reviews(store, folder / "reviews", format="jsonl")
    written = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file())
    assert GOOD in written
    assert not any(words in written for words in (BAD.strip(), "close to it", quarantine.PLACEHOLDER))


def test_those_in_charge_give_a_text_back_with_a_reason(store: Store, items: list[int]) -> None:
    say(store, "r_ada", take(store, "r_ada", BAD), "minors")
    with store.writing() as session:
        [gone] = withdrawals.in_force(session)
        assert (gone.category, gone.length) == ("minors", len(BAD))
        with pytest.raises(NoReason):
            withdrawals.give_back(session, gone.id, by="lea", reason=" ", now=NOON)
        withdrawals.give_back(session, gone.id, by="lea", reason="ticked by mistake, it is about adults", now=NOON)
        with pytest.raises(NotWithdrawn):
            withdrawals.give_back(session, gone.id, by="lea", reason="ticked by mistake, it is about adults", now=NOON)
    assert take(store, "r_eve", BAD)
    with store.reading() as session:
        assert [one.reviewer for one in reviews.effective(session)] == ["r_ada"]
        assert session.get_one(Generation, items[0]).text == BAD


def test_going_back_to_an_older_schema_loses_no_text(store: Store, items: list[int]) -> None:
    assert items
    say(store, "r_ada", take(store, "r_ada", BAD), "minors")
    while store.schema_revision() != "0006":  # the last one that knows no withdrawal
        store.migrate("-1")
    with store.engine.connect() as connection:
        texts = connection.exec_driver_sql("SELECT text FROM generation").scalars().all()
    assert BAD in texts
    store.migrate()
