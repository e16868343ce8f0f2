"""Claims about prompts: what is equal, what is refused, and on which side of the split a prompt stands."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func
from sqlmodel import col, select

from flagback.storage.prompts import (
    HELD_OUT_SHARDS,
    LONGEST_KEY,
    TRAINING_SHARDS,
    BadPrompt,
    NewPrompt,
    add_prompts,
    content_hash,
    shard_of,
    split_key_of,
    text_hash,
    unstorable,
)
from flagback.storage.records import Prompt
from flagback.storage.store import Store


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_equal_prompts_are_stored_once_and_every_input_row_gets_its_id(store: Store) -> None:
    with store.writing() as session:
        first = add_prompts(session, [NewPrompt(user("a")), NewPrompt(user("b")), NewPrompt(user("a"))])
    with store.writing() as session:
        second = add_prompts(session, [NewPrompt(user("b")), NewPrompt(user("c"), lang="en")])
    assert (first.added, first.duplicates) == (2, 1)
    assert first.ids[0] == first.ids[2] != first.ids[1]
    assert (second.added, second.duplicates, second.ids[0]) == (1, 1, first.ids[1])


def test_more_prompts_than_one_statement_holds_keep_their_order(store: Store) -> None:
    texts = [f"prompt {number % 1100}" for number in range(1300)]
    with store.writing() as session:
        added = add_prompts(session, (NewPrompt(user(text)) for text in texts))
    assert (added.added, added.duplicates) == (1100, 200)
    with store.reading() as session:
        content = {prompt.id: prompt.messages[0]["content"] for prompt in session.exec(select(Prompt))}
    assert [content[prompt] for prompt in added.ids] == texts


def test_a_language_makes_another_prompt(store: Store) -> None:
    with store.writing() as session:
        assert add_prompts(session, [NewPrompt(user("die"), lang="en"), NewPrompt(user("die"), lang="de")]).added == 2


def test_two_imports_at_once_store_each_prompt_once(store: Store) -> None:
    def add(_: int) -> int:
        with store.writing() as session:
            return add_prompts(session, [NewPrompt(user(f"p{number}")) for number in range(700)]).added

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(add, range(2))) == [0, 700]
    with store.reading() as session:
        assert session.exec(select(func.count()).select_from(Prompt)).one() == 700


def test_tags_come_back_as_they_went(store: Store) -> None:
    tags: dict[str, Any] = {"groups": ["ä", "b"], "weight": 0.1, "source": None, "deep": {"n": [1, True]}, "line": "a\u2028b"}
    with store.writing() as session:
        add_prompts(session, [NewPrompt(user("x"), tags=tags)])
    with store.reading() as session:
        assert session.exec(select(Prompt.tags)).one() == tags


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (NewPrompt([]), "no message"),
        (NewPrompt(user("  \n")), "empty"),
        (NewPrompt([{"role": "boss", "content": "x"}]), "'boss'; expected one of system, user, assistant"),
        (NewPrompt([*user("x"), {"role": "assistant", "content": "y"}]), "last message has role 'assistant'"),
        (NewPrompt([*user("x"), {"role": "system", "content": "y"}, *user("z")]), "can only stand first"),
        (NewPrompt([{"role": "user"}]), "content of type NoneType"),
        (NewPrompt(user("a\0b")), "NUL character at position 1"),
        (NewPrompt(user("ab\ud83d")), r"half a surrogate pair \(U\+D83D\) at position 2"),
        (NewPrompt(user("x"), lang="klingon!"), "language is 'klingon!'; expected a BCP 47 tag"),
        (NewPrompt(user("x"), tags={"a": [{"b\0": 1}]}), "a tag holds the NUL"),
        (NewPrompt(user("x"), tags={"a": float("nan")}), "cannot be written as JSON"),
        (NewPrompt(user("x"), tags={"a": {1, 2}}), "cannot be written as JSON"),
        (NewPrompt(user("x"), split_key=""), "split key is empty"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_place_and_nothing_stays(store: Store, prompt: NewPrompt, words: str) -> None:
    with pytest.raises(BadPrompt, match=f"^Prompt 601 .*{words}") as refused, store.writing() as session:
        add_prompts(session, [*(NewPrompt(user(f"fine {number}")) for number in range(601)), prompt])
    assert refused.value.index == 601
    with store.reading() as session:
        assert session.exec(select(func.count()).select_from(Prompt)).one() == 0


def test_the_content_hash_is_the_documented_one() -> None:
    assert content_hash(user("Größe"), "de") == text_hash('[[["user","Größe"]],"de"]')
    assert content_hash([{"content": "x", "role": "user"}], "en") == content_hash(user("x"), "en")


@given(st.text(), st.text())
def test_different_texts_have_different_hashes(a: str, b: str) -> None:
    if unstorable(a) is None and unstorable(b) is None:
        assert (content_hash(user(a), "en") == content_hash(user(b), "en")) == (a == b)


def test_one_template_with_its_groups_is_one_family() -> None:
    tags = {"template": "The {job} said", "groups": ["women", "nurses"]}
    turned = {"template": "The {job} said", "groups": ["nurses", "women"]}
    assert split_key_of(user("The nurse said"), tags) == split_key_of(user("The doctor said"), turned)
    assert split_key_of(user("The nurse said"), tags) != split_key_of(user("The nurse said"), {"template": "The {job} said"})


def test_a_dialogue_stays_with_the_single_prompt_it_opens_with() -> None:
    dialogue = [
        {"role": "system", "content": "Be kind."},
        *user("  How are\nYOU? "),
        {"role": "assistant", "content": "Well."},
        *user("Why?"),
    ]
    assert split_key_of(dialogue, {}) == split_key_of(user("how are you?"), {})


@given(st.text(min_size=1, max_size=600))
def test_split_keys_are_short_and_shards_lie_in_range(text: str) -> None:
    if unstorable(text) is None:
        key = split_key_of(user(text), {})
        assert len(key) <= LONGEST_KEY
        assert shard_of(key) in range(100)


def test_long_families_that_differ_at_the_end_stay_apart() -> None:
    assert split_key_of(user("x" * 500 + "a"), {}) != split_key_of(user("x" * 500 + "b"), {})


def test_shards_never_change_and_fill_both_sides_alike() -> None:
    # The first eight bytes of sha256(b"text:a"), as a number modulo 100, worked out with sha256sum.
    assert shard_of("text:a") == 0x6CF6DB08E9411C0A % 100
    counts = [0] * 100
    for number in range(20_000):
        counts[shard_of(f"text:{number}")] += 1
    assert sum(counts[shard] for shard in TRAINING_SHARDS) == pytest.approx(14_000, abs=300)
    assert sum(counts[shard] for shard in HELD_OUT_SHARDS) == pytest.approx(6_000, abs=300)
    assert {*TRAINING_SHARDS, *HELD_OUT_SHARDS} == set(range(100))


def test_a_stored_shard_is_that_of_the_split_key(store: Store) -> None:
    with store.writing() as session:
        add_prompts(session, [NewPrompt(user("a")), NewPrompt(user("b"), split_key="family 7")])
    with store.reading() as session:
        stored = session.exec(select(Prompt).order_by(col(Prompt.id))).all()
    assert [prompt.split_key for prompt in stored] == ["text:a", "family 7"]
    assert [prompt.shard for prompt in stored] == [shard_of("text:a"), shard_of("family 7")]


def test_one_text_stands_on_one_side_of_the_split_whatever_door_it_came_in_by(store: Store) -> None:
    texts = [f"The nurse number {number} said that" for number in range(40)]
    tagged = [NewPrompt(user(text), "en", {"template": text, "groups": ["f"]}) for text in texts]
    with store.writing() as session:
        add_prompts(session, tagged)
    with store.writing() as session:
        add_prompts(session, [NewPrompt(user(text), "und") for text in texts])
        add_prompts(session, [NewPrompt(user("New"), "en", {"template": "a"}), NewPrompt(user("New"), "de")])
    with store.reading() as session:
        sides: dict[str, set[tuple[str, int]]] = {}
        for prompt in session.exec(select(Prompt)).all():
            sides.setdefault(prompt.messages[0]["content"], set()).add((prompt.split_key, prompt.shard))
            assert prompt.shard == shard_of(prompt.split_key)
    assert len(sides) == 41
    assert all(len(found) == 1 for found in sides.values())
