"""Claims about answers judged side by side: who is handed which, what may be said of them, and the pairs they give."""

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import col, select

from flagback.model import pair_sets, pairs, policies
from flagback.model.pair_sets import Choice
from flagback.storage import comparisons, preferences, rater_groups, reviews, set_aside
from flagback.storage.answers import Answer, BadAnswer
from flagback.storage.claims import Claim
from flagback.storage.comparisons import BadComparison, NothingToCompare
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import HELD_OUT_SHARDS, NewPrompt, add_prompts, shard_of
from flagback.storage.rater_groups import Grouping
from flagback.storage.records import Generation, Item, ItemGeneration, ModelVersion, Prompt, Review, Slot
from flagback.storage.slots import claim, release
from flagback.storage.store import Store
from tests.test_overlap import HOUR, NOON

NOBODY = rater_groups.NOBODY


def written(store: Store, answers: int = 4, prompts: int = 1) -> None:
    """Version 1 wrote so many different answers to prompts to learn from, and one to a prompt held out."""
    with store.writing() as session:
        session.add(
            ModelVersion(
                id=1, kind="base", state="current", name="m", location="x", template="plain", fingerprint="f", first_base_id=1
            )
        )
        session.flush()
        texts: list[str] = []
        number = 0
        while len(texts) < prompts:
            if shard_of(f"family {number}") not in HELD_OUT_SHARDS:
                texts.append(f"family {number}")
            number += 1
        held_out = next(f"held {n}" for n in range(100) if shard_of(f"held {n}") in HELD_OUT_SHARDS)
        rows = [NewPrompt([{"role": "user", "content": text}], "en", {}, text) for text in [*texts, held_out]]
        made = [
            NewGeneration(prompt, f" answer {n}", "end", "sampled", "run:1", version_id=1)
            for prompt in add_prompts(session, rows).ids
            for n in range(answers)
        ]
        make_items(session, add_generations(session, made), purpose="loop", reviews_per_item=1, seed=0)


def make(store: Store, **more: int) -> int:
    values = {"version_id": 1, "prompts": 5, "answers": 2, "reviews_per_item": 3, "seed": 0} | more
    with store.writing() as session:
        return comparisons.make(session, **values)


def take(store: Store, who: str, count: int = 1, mode: Any = "compare") -> list[Claim]:
    return claim(store, who, count=count, now=NOON, lease_for=HOUR, seed=0, mode=mode)


def say(store: Store, who: str, lease: str, verdict: str, **more: Any) -> int:
    given: dict[str, Any] = {"taxonomy_version": "1", "guideline_version": "1", "verdict": verdict, "lease_id": lease} | more
    return reviews.submit(store, who, Answer(token=str(uuid4()), **given), now=NOON, policy_version="1").review_id


def built(store: Store, choice: Choice | None = None, grouping: Grouping = NOBODY) -> list[tuple[str, str, str, float]]:
    """(kind, chosen, rejected, weight) of the pairs that the reviews give."""
    with store.reading() as session:
        compared = comparisons.judged(session, 1, simulated=False)
        rows = pair_sets.read(session, 1, simulated=False)
        found = pair_sets.build(rows, choice or Choice(), grouping, {}, compared)
        texts = {row.id: row.text.strip() for row in session.exec(select(Generation)).all()}
    texts |= {-one.review_id: one.text.strip() for one in found.rewrites}
    return sorted((one.kind, texts[one.chosen_id], texts[one.rejected_id], one.weight) for one in found.pairs)


# ------------------------------------------------------------------- being made


def test_comparisons_are_of_different_answers_to_prompts_to_learn_from_and_made_once(store: Store) -> None:
    written(store, answers=3, prompts=4)
    assert make(store, prompts=3) == 3
    assert make(store, prompts=3) == 1
    with pytest.raises(NothingToCompare, match="flagback sample"):
        make(store)
    with store.reading() as session:
        shown = session.exec(
            select(Item.id, Generation.text, Prompt.shard)
            .join(ItemGeneration, col(ItemGeneration.item_id) == Item.id)
            .join(Generation, col(Generation.id) == ItemGeneration.generation_id)
            .join(Prompt, col(Prompt.id) == Item.prompt_id)
            .where(Item.kind == "pair")
        ).all()
    assert len(shown) == len({(item, text) for item, text, _ in shown}) == 8
    assert all(shard not in HELD_OUT_SHARDS for _, _, shard in shown)


@pytest.mark.parametrize("wrong", [{"answers": 1}, {"answers": 5}, {"prompts": 0}, {"reviews_per_item": 0}])
def test_what_makes_no_comparison_is_refused(sqlite_store: Store, wrong: dict[str, int]) -> None:
    with pytest.raises(BadComparison, match="expected"):
        make(sqlite_store, **wrong)


def test_one_answer_said_in_other_white_space_is_not_compared_with_itself(sqlite_store: Store) -> None:
    written(sqlite_store, answers=1)
    with sqlite_store.writing() as session:
        prompt = session.exec(select(Prompt)).first()
        assert prompt is not None
        again = add_generations(session, [NewGeneration(prompt.id, " answer  0 ", "end", "sampled", "run:1", version_id=1)])
        make_items(session, again, purpose="loop", reviews_per_item=1, seed=0)
    with pytest.raises(NothingToCompare):
        make(sqlite_store)


# ----------------------------------------------------------------- being handed


def test_who_compares_is_handed_comparisons_and_who_judges_one_at_a_time_none(store: Store) -> None:
    written(store)
    make(store)
    [held] = take(store, "r_ada", count=40)
    assert (held.generation_id, held.text, len(set(held.answers))) == (None, "", 2)
    assert [one.lease_id for one in take(store, "r_ada", count=40)] == [held.lease_id]
    singles = take(store, "r_ada", count=40, mode="single")
    assert len(singles) == 8
    assert all(one.answers == () and one.text for one in singles)
    assert release(store, "r_ada", now=NOON) == 9


def test_each_comparison_is_judged_by_as_many_different_people_as_asked(store: Store) -> None:
    written(store)
    make(store, reviews_per_item=2)
    for who in ("r_ada", "r_bea"):
        [held] = take(store, who)
        say(store, who, held.lease_id, "left")
        assert take(store, who) == []
    assert take(store, "r_cleo") == []


def test_a_skip_opens_the_seat_again_in_the_same_mode(store: Store) -> None:
    written(store)
    make(store, reviews_per_item=1)
    [held] = take(store, "r_ada")
    say(store, "r_ada", held.lease_id, "skip", skip_reason="unclear")
    assert take(store, "r_ada") == []
    [again] = take(store, "r_bea")
    assert again.item_id == held.item_id


def test_a_judgement_taken_back_and_one_left_out_leave_a_seat_to_compare(store: Store) -> None:
    written(store)
    make(store, reviews_per_item=1)
    [held] = take(store, "r_ada")
    first = say(store, "r_ada", held.lease_id, "left")
    with store.reading() as session:
        token = session.get_one(Review, first).token
        earlier = reviews.reopened(session, "r_ada", token)
    assert earlier.answers == held.answers
    say(store, "r_ada", held.lease_id, "skip", skip_reason="unclear", supersedes_token=token)
    [again] = take(store, "r_bea")
    say(store, "r_bea", again.lease_id, "right")
    with store.writing() as session:
        set_aside.add(session, "exclude", reviewer="r_bea", reason="answers in under a second", by="lea", now=NOON)
    assert [one.item_id for one in take(store, "r_cleo")] == [held.item_id]
    with store.reading() as session:
        assert {slot.mode for slot in session.exec(select(Slot).where(Slot.item_id == held.item_id)).all()} == {"compare"}


# ------------------------------------------------------------------ being judged


@pytest.mark.parametrize(
    ("answers", "said", "field"),
    [
        (2, {"verdict": "flag", "categories": ["stereotype"], "severity": "clear"}, "verdict"),
        (2, {"verdict": "ranked", "ranking": [1, 2]}, "verdict"),
        (2, {"verdict": "left", "ranking": [1, 2]}, "ranking"),
        (2, {"verdict": "left", "rewrite": "better"}, "rewrite"),
        (2, {"verdict": "both_bad", "rewrite": " answer 0"}, "rewrite"),
        (2, {"verdict": "equal", "categories": ["stereotype"]}, "categories"),
        (2, {"verdict": "skip"}, "skip_reason"),
        (3, {"verdict": "left"}, "verdict"),
        (3, {"verdict": "ranked"}, "ranking"),
        (3, {"verdict": "ranked", "ranking": [1, 2]}, "ranking"),
        (3, {"verdict": "ranked", "ranking": [1, 1, 3]}, "ranking"),
        (3, {"verdict": "ranked", "ranking": [0, 1, 2]}, "ranking"),
    ],
)
def test_what_does_not_answer_the_question_is_refused(sqlite_store: Store, answers: int, said: dict[str, Any], field: str) -> None:
    written(sqlite_store, answers=answers)
    make(sqlite_store, answers=answers)
    [held] = take(sqlite_store, "r_ada")
    with pytest.raises(BadAnswer) as refused:
        say(sqlite_store, "r_ada", held.lease_id, **said)
    assert refused.value.field == field
    with sqlite_store.reading() as session:
        assert session.exec(select(Review)).all() == []


def test_one_answer_alone_takes_no_word_on_several(sqlite_store: Store) -> None:
    written(sqlite_store)
    [held] = take(sqlite_store, "r_ada", mode="single")
    for said in ({"verdict": "left"}, {"verdict": "fine", "ranking": [1]}):
        with pytest.raises(BadAnswer):
            say(sqlite_store, "r_ada", held.lease_id, **said)


# ------------------------------------------------------------------------ pairs


def test_the_better_of_two_by_most_is_chosen(store: Store) -> None:
    """Two of three prefer one: 2 of 3 votes against the other, 1 of 3 against it. (2.25 - 1.25) / 4 by the policy's prior."""
    written(store)
    make(store)
    best = ""
    for who, prefers in (("r_ada", 0), ("r_bea", 0), ("r_cleo", 1)):
        [held] = take(store, who)
        best = best or held.answers[0]
        say(store, who, held.lease_id, ("left", "right")[prefers])
    worse = next(text for text in held.answers if text != best)
    assert built(store) == [("comparison", best.strip(), worse.strip(), 0.25)]


def test_equal_answers_teach_nothing_and_a_rewrite_of_both_bad_ones_is_better_than_either(store: Store) -> None:
    written(store)
    make(store)
    [held] = take(store, "r_ada")
    say(store, "r_ada", held.lease_id, "equal")
    assert built(store) == []
    [held] = take(store, "r_bea")
    say(store, "r_bea", held.lease_id, "both_bad", rewrite="a kind answer")
    assert built(store) == []  # one of two calls them bad
    [held] = take(store, "r_cleo")
    say(store, "r_cleo", held.lease_id, "both_bad")
    assert [one[:3] for one in built(store)] == [("rewrite", "a kind answer", text.strip()) for text in sorted(held.answers)]


def test_an_order_of_three_gives_all_pairs_but_ties(store: Store) -> None:
    written(store, answers=3)
    make(store, answers=3, reviews_per_item=1)
    [held] = take(store, "r_ada")
    say(store, "r_ada", held.lease_id, "ranked", ranking=[2, 1, 2])
    first, second, third = (text.strip() for text in held.answers)
    assert [one[:3] for one in built(store)] == sorted([("comparison", second, first), ("comparison", second, third)])


def test_what_was_said_of_both_together_holds_against_what_was_said_of_each(store: Store) -> None:
    written(store, answers=2)
    make(store, reviews_per_item=1)
    [held] = take(store, "r_ada")
    say(store, "r_ada", held.lease_id, "left")
    for one in (one for one in take(store, "r_bea", count=40, mode="single") if one.prompt == held.prompt):
        flag = {"categories": ["stereotype"], "severity": "clear"}
        bad = one.text == held.answers[0]
        say(store, "r_bea", one.lease_id, "flag" if bad else "fine", **(flag if bad else {}))
    assert [one[:3] for one in built(store)] == [("comparison", held.answers[0].strip(), held.answers[1].strip())]


def test_a_group_that_alone_sees_harm_is_heard_side_by_side_too(store: Store) -> None:
    """Two of seven are a group and prefer the right one; the other five the left. By the majority left, by any group neither."""
    written(store)
    make(store, reviews_per_item=7)
    who = [f"r_{n}" for n in range(7)]
    for name in who:
        [held] = take(store, name)
        say(store, name, held.lease_id, "right" if name < "r_2" else "left")
    grouping = Grouping("q", ("few", "many"), {name: (("few",) if name < "r_2" else ("many",)) for name in who})
    assert [one[1] for one in built(store, Choice("majority"), grouping)] == [held.answers[0].strip()]
    assert built(store, Choice("any_group"), grouping) == []


@pytest.mark.parametrize("turned", [False, True])
def test_which_answer_stands_first_moves_no_weight_between_groups(turned: bool) -> None:
    """Three of the few mind "bad" beside "good", nine of the many mind "poor" beside "fair": each group's pair weighs alike."""
    of_text: Any = {"finish_reason": "end", "source": "sampled", "origin": "o"}
    of_review: Any = {"token": "", "lease_id": "", "taxonomy_version": "1", "guideline_version": "1", "policy_version": "1"}
    groups = {f"few{n}": ("few",) for n in range(3)} | {f"many{n}": ("many",) for n in range(9)}
    asked = []
    for item, (group, texts) in enumerate([("few", ("good", "bad")), ("many", ("fair", "poor")), ("many", ("kind", "rude"))]):
        prompt = Prompt(id=item, messages=[], content_hash=f"p{item}", split_key="s", shard=0)
        shown = [Generation(id=10 * item + n, prompt_id=item, text=text, text_hash=text, **of_text) for n, text in enumerate(texts)]
        said: Any = ("right", "left") if turned else ("left", "right")
        reviews = [
            Review(id=100 * item + n, item_id=item, reviewer=who, verdict=said[0], **of_review)
            for n, who in enumerate(name for name in groups if name.startswith(group))
        ]
        asked.append(comparisons.Compared(prompt, shown[::-1] if turned else shown, reviews))
    found = pair_sets.build([], Choice("any_group"), Grouping("q", ("few", "many"), groups), {}, asked).pairs
    weights = {one.rejected_id: one.weight for one in found}
    assert sorted(weights) == [1, 11, 21]
    assert weights[1] == pytest.approx(weights[11] + weights[21], rel=1e-4)


def test_what_is_frozen_names_its_kind_policy_and_reviews(store: Store) -> None:
    written(store)
    make(store, reviews_per_item=1)
    [held] = take(store, "r_ada")
    number = say(store, "r_ada", held.lease_id, "both_bad", rewrite="a kind answer")
    with store.writing() as session:
        frozen = pair_sets.freeze(session, 1, simulated=False)
        rows = preferences.pairs_of(session, frozen.id)
    assert [(row.kind, row.review_ids) for row in rows] == [("rewrite", [number])] * 2


@given(st.lists(st.permutations([1, 2, 3, 4]), min_size=1, max_size=7), st.sampled_from([one.name for one in policies.TABLE]))
def test_no_policy_chooses_what_everybody_ranks_lower(orders: list[list[int]], policy: str) -> None:
    prompt = Prompt(id=1, messages=[], content_hash="p", split_key="s", shard=0)
    of_text: Any = {"finish_reason": "end", "source": "sampled", "origin": "o"}
    shown = [Generation(id=n, prompt_id=1, text=f"t{n}", text_hash=f"{n}", **of_text) for n in range(4)]
    of_review: Any = {
        "token": "",
        "item_id": 1,
        "lease_id": "",
        "taxonomy_version": "1",
        "guideline_version": "1",
        "policy_version": "1",
    }
    said = [Review(id=n, reviewer=f"r{n}", verdict="ranked", ranking=ranks, **of_review) for n, ranks in enumerate(orders)]
    grouping = Grouping("q", ("a", "b"), {f"r{n}": (("a",) if n % 2 else ("b",)) for n in range(7)})
    sides = pair_sets.sides([comparisons.Compared(prompt, shown, said)], Choice(policy), grouping)
    for made in pairs.build_pairs([], [], compared=[one.answers for one in sides], per_prompt=6):
        assert any(order[made.chosen_id] < order[made.rejected_id] for order in orders)
