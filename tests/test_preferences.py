"""Claims about frozen preference sets."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func
from sqlmodel import Session, select

from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.preferences import (
    NewPair,
    NoPairs,
    UnknownSet,
    UnusablePair,
    freeze,
    merkle_root,
    pairs_of,
)
from flagback.storage.prompts import TRAINING_SHARDS, NewPrompt, add_prompts, content_hash, text_hash
from flagback.storage.records import PreferencePair, PreferenceSet
from flagback.storage.store import Store
from flagback.storage.taxonomy import GUIDELINE_VERSION, TAXONOMY_VERSION
from tests.fresh import migrate

#: What is answered, and the texts of each prompt's four answers.
TEXTS = (" a", " b", " ü\u2028", "")


def world(store: Store, prompts: int = 3) -> list[list[int]]:
    """Prompts 1.. and for each the ids of its answers, in the order of TEXTS."""
    with store.writing() as session:
        ids = add_prompts(
            session, [NewPrompt([{"role": "user", "content": f"p{number}"}], lang="en") for number in range(prompts)]
        ).ids
        return [
            add_generations(session, [NewGeneration(prompt, text, "end", "sampled", "run:1", [prompt, 2]) for text in TEXTS])
            for prompt in ids
        ]


def pair(
    answers: list[list[int]],
    prompt: int,
    chosen: int,
    rejected: int,
    *,
    weight: float = 1.0,
    label: float = 1.0,
    reviews: tuple[int, ...] = (1,),
) -> NewPair:
    return NewPair("contrast", prompt + 1, answers[prompt][chosen], answers[prompt][rejected], label, weight, list(reviews))


def frozen(store: Store, pairs: list[NewPair], **more: Any) -> PreferenceSet:
    with store.writing() as session:
        return freeze(
            session,
            pairs,
            **({"origin": "reviews", "policy": "majority", "policy_version": "1", "arguments": {"n": 1}, "salt": "here"} | more),
        )


def count(session: Session, kind: type[PreferenceSet] | type[PreferencePair]) -> int:
    return session.exec(select(func.count()).select_from(kind)).one()


def test_an_auditor_can_recompute_the_fingerprint_from_the_docstring(store: Store) -> None:
    answers = world(store)
    made = frozen(store, [pair(answers, 0, 0, 1, weight=0.625), pair(answers, 1, 2, 0, label=0.75), pair(answers, 2, 1, 0)])
    prompts = [content_hash([{"role": "user", "content": f"p{number}"}], "en") for number in range(3)]
    a, b, c = (text_hash(one) for one in TEXTS[:3])
    rows = sorted(
        hashlib.sha256(json.dumps(row, separators=(",", ":")).encode()).digest()
        for row in (
            ["here", prompts[0], a, b, "1.0", "0.625"],
            ["here", prompts[1], c, a, "0.75", "1.0"],
            ["here", prompts[2], b, a, "1.0", "1.0"],
        )
    )

    def leaf(row: bytes) -> bytes:
        return hashlib.sha256(b"\x00" + row).digest()

    left = hashlib.sha256(b"\x01" + leaf(rows[0]) + leaf(rows[1])).digest()
    assert made.fingerprint == hashlib.sha256(b"\x01" + left + leaf(rows[2])).hexdigest()
    with store.reading() as session:
        assert [row.row_hash for row in pairs_of(session, made.id)] == [row.hex() for row in rows]
    versions = TAXONOMY_VERSION, GUIDELINE_VERSION
    assert (made.salt, made.n_pairs, made.taxonomy_version, made.guideline_version) == ("here", 3, *versions)


def recursive(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\1" + recursive(leaves[:half]) + recursive(leaves[half:])).digest()


@given(st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=40))
def test_the_merkle_root_is_that_of_rfc_6962(leaves: list[bytes]) -> None:
    assert merkle_root(leaves) == recursive(leaves).hex()


def test_a_repeated_last_leaf_changes_the_root() -> None:
    """Trees that pair an odd node with itself cannot tell these apart (CVE-2012-2459)."""
    assert merkle_root([b"a", b"b", b"c"]) != merkle_root([b"a", b"b", b"c", b"c"])


_SIDES = st.sampled_from([(0, 1), (1, 0), (2, 0), (1, 2)])
_PAIRS = st.lists(st.tuples(st.integers(0, 2), _SIDES, st.sampled_from([0.25, 0.5, 1.0])), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_PAIRS, st.randoms(use_true_random=False), st.data())
def test_order_does_not_matter_and_every_weight_does(
    tmp_path: Path, rows: list[tuple[int, tuple[int, int], float]], shuffler: Random, data: st.DataObject
) -> None:
    path = tmp_path / "flagback.db"
    fresh = not path.exists()
    store = Store(f"sqlite:///{path}")
    if fresh:
        migrate(store)
    answers = world(store)
    pairs = [pair(answers, prompt, *sides, weight=weight) for prompt, sides, weight in rows]
    first = frozen(store, pairs)
    shuffler.shuffle(pairs)
    assert frozen(store, pairs).id == first.id
    changed = data.draw(st.integers(0, len(pairs) - 1))
    pairs[changed] = pairs[changed]._replace(weight=pairs[changed].weight + 0.125)
    assert frozen(store, pairs).fingerprint != first.fingerprint
    assert frozen(store, [*pairs, pairs[0]]).fingerprint != frozen(store, pairs).fingerprint
    store.close()


def test_the_fingerprint_does_not_depend_on_row_ids_or_reviews(store: Store) -> None:
    answers = world(store)
    first = frozen(store, [pair(answers, 0, 0, 1)])
    with store.writing() as session:
        twins = add_generations(session, [NewGeneration(1, text, "length", "sampled", "run:2") for text in TEXTS[:2]])
    again = frozen(store, [NewPair("rewrite", 1, twins[0], twins[1], 1, 1, [9])])
    assert again.id == first.id
    with store.reading() as session:
        assert (count(session, PreferenceSet), count(session, PreferencePair)) == (1, 1)


def test_another_salt_or_a_simulation_is_another_set(store: Store) -> None:
    answers = world(store)
    pairs = [pair(answers, 0, 0, 1)]
    sets = [frozen(store, pairs), frozen(store, pairs, salt="there"), frozen(store, pairs, simulated=True)]
    assert len({one.fingerprint for one in sets}) == 3
    assert [one.simulated for one in sets] == [False, False, True]
    assert frozen(store, pairs, simulated=True).id == sets[2].id


def test_two_that_freeze_the_same_at_once_get_one_set(store: Store) -> None:
    answers = world(store, 40)
    pairs = [pair(answers, prompt, 0, 1) for prompt in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert len({one.id for one in pool.map(lambda _: frozen(store, pairs), range(4))}) == 1
    with store.reading() as session:
        assert (count(session, PreferenceSet), count(session, PreferencePair)) == (1, 40)


def test_a_pair_comes_back_with_all_a_trainer_needs(store: Store) -> None:
    answers = world(store)
    made = frozen(store, [pair(answers, 1, 2, 0, weight=0.5, label=0.75, reviews=(9, 4))])
    with store.reading() as session:
        [row] = pairs_of(session, made.id)
    assert (row.messages, row.lang, row.prompt_hash) == (
        [{"role": "user", "content": "p1"}],
        "en",
        content_hash([{"role": "user", "content": "p1"}], "en"),
    )
    assert (row.chosen_text, row.rejected_text, row.chosen_ids, row.chosen_finish) == (" ü\u2028", " a", [2, 2], "end")
    assert (row.kind, row.weight, row.soft_label, row.review_ids, row.split_key) == ("contrast", 0.5, 0.75, [4, 9], "text:p1")


def test_training_and_held_out_pairs_are_told_apart_by_shard(store: Store) -> None:
    answers = world(store, 30)
    made = frozen(store, [pair(answers, prompt, 0, 1) for prompt in range(30)])
    with store.reading() as session:
        training, held_out = pairs_of(session, made.id, training=True), pairs_of(session, made.id, training=False)
        assert sorted(training + held_out) == sorted(pairs_of(session, made.id))
    assert training
    assert held_out
    assert all(row.shard in TRAINING_SHARDS for row in training)
    assert not any(row.shard in TRAINING_SHARDS for row in held_out)
    assert not {row.split_key for row in training} & {row.split_key for row in held_out}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chosen_id": 4}, "has an empty text"),
        ({"rejected_id": 4}, "has an empty text"),
        ({"rejected_id": 1}, "same text on both sides"),
        ({"rejected_id": 6}, "mixes prompts"),
        ({"prompt_id": 99}, "does not exist"),
        ({"chosen_id": 99}, "does not exist"),
        ({"weight": 0.0}, "has weight 0.0; expected a number over 0"),
        ({"weight": float("inf")}, "has weight inf"),
        ({"soft_label": 0.4}, "has soft label 0.4; expected 0.5 to 1"),
        ({"soft_label": float("nan")}, "has soft label nan"),
    ],
)
def test_a_pair_that_cannot_teach_is_refused_and_nothing_is_stored(sqlite_store: Store, change: dict[str, Any], words: str) -> None:
    answers = world(sqlite_store)
    with pytest.raises(UnusablePair, match=words):
        frozen(sqlite_store, [pair(answers, 1, 0, 1), pair(answers, 0, 0, 1)._replace(**change)])
    with sqlite_store.reading() as session:
        assert count(session, PreferenceSet) == 0


def test_no_pair_is_said_in_words(sqlite_store: Store) -> None:
    with pytest.raises(NoPairs, match="flag some answers, or import"):
        frozen(sqlite_store, [])
    with pytest.raises(NoPairs):
        merkle_root([])
    with pytest.raises(UnknownSet, match="no preference set 7"), sqlite_store.reading() as session:
        pairs_of(session, 7)
