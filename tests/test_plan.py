"""Steps follow contents and seed; everything left out is listed; parts of a step add up to it."""

import hashlib
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagback.model import portions
from flagback.model.contents import Limits
from flagback.model.plan import Plan, make_plan, seed_of
from flagback.model.portions import packed
from flagback.model.recipe import BadPair, NoPairs, Pair, Recipe
from tests.tiny_model import VOCABULARY, random_flags, random_lines, random_pairs, random_rankings

#: No deadline: the machine is shared.
law = settings(deadline=None, max_examples=40)
LIMITS = Limits(VOCABULARY, 128)
RECIPE = Recipe(steps=5, pairs_per_step=4, replay_per_step=3)


def planned(pairs: list[Pair], *, recipe: Recipe = RECIPE, seed: int = 1, limits: Limits = LIMITS, replay_seed: int = 1) -> Plan:
    return make_plan(pairs, random_lines(11, seed=replay_seed), recipe=recipe, seed=seed, limits=limits)


@law
@given(st.integers(0, 1000))
def test_the_order_of_the_given_lists_changes_nothing(shuffle: int) -> None:
    pairs, lines = random_pairs(10), random_lines(9)
    expected = make_plan(pairs, lines, recipe=RECIPE, seed=1, limits=LIMITS)
    Random(shuffle).shuffle(pairs)
    Random(shuffle).shuffle(lines)
    assert make_plan(pairs, lines, recipe=RECIPE, seed=1, limits=LIMITS) == expected


def test_every_pass_visits_each_pair_once_and_no_two_passes_are_alike() -> None:
    made = planned(random_pairs(10))
    visits = [place for part in made.parts for place in part.pairs]
    assert len(visits) == 20
    assert Counter(visits[:8] + visits[8:20]) == Counter(dict.fromkeys(range(10), 2))
    many = planned(random_pairs(4), recipe=replace(RECIPE, pairs_per_step=2, steps=8))
    steps = [part.pairs for part in many.parts]
    assert len({tuple(steps[i : i + 2]) for i in range(0, 8, 2)}) > 1


def test_another_seed_gives_other_batches_of_the_same_pairs() -> None:
    one, other = planned(random_pairs(10)), planned(random_pairs(10), seed=2)
    assert one.pairs == other.pairs
    assert one.parts != other.parts
    assert one.fingerprint != other.fingerprint


def test_the_fingerprint_follows_content_and_recipe_but_not_how_often_a_checkpoint_is_written() -> None:
    base = planned(random_pairs(10))
    assert planned(random_pairs(10), recipe=replace(RECIPE, checkpoint_every=1)).fingerprint == base.fingerprint
    assert planned(random_pairs(10), recipe=replace(RECIPE, beta=0.7)).fingerprint != base.fingerprint
    assert planned(random_pairs(10), replay_seed=2).fingerprint != base.fingerprint
    changed = random_pairs(10)
    changed[3] = replace(changed[3], weight=changed[3].weight * 2)
    assert planned(changed).fingerprint != base.fingerprint


def test_fewer_pairs_than_a_step_asks_for_are_all_used_in_every_step() -> None:
    made = planned(random_pairs(3))
    assert made.pairs_per_step == 3
    assert all(part.pairs == (0, 1, 2) for part in made.parts)


def test_what_is_left_out_is_listed_with_its_reason() -> None:
    good = random_pairs(2)
    bad = [
        Pair("a", [], [3], [4]),
        Pair("b", [3], [], [4]),
        Pair("c", [3], [4, 2], [4, 2]),
        Pair("d", [3], [4], [5], weight=0),
        Pair("e", [3], [4] * 128, [5]),
        Pair("f", [3], [4] * 127, [5]),
    ]
    made = planned([*bad, *good])
    assert [tuple(left) for left in made.dropped] == [
        ("a", "the prompt has no token"),
        ("b", "an answer has no token"),
        ("c", "chosen and rejected are the same tokens"),
        ("d", "its weight is 0"),
        ("e", "prompt and answer are longer than 128 tokens"),
    ]
    assert {p.key for p in made.pairs} == {"f", *(p.key for p in good)}


def test_replay_lines_too_short_or_too_long_are_listed_and_equal_ones_count_once() -> None:
    made = make_plan(random_pairs(2), [[3], [4] * 200, [5, 6], [5, 6]], recipe=RECIPE, seed=1, limits=LIMITS)
    assert made.replay == ((5, 6),)
    assert sorted(left.reason for left in made.dropped) == ["it has fewer than two tokens", "it is longer than 128 tokens"]


def test_the_recipe_may_ask_for_less_than_the_model_can_hold() -> None:
    made = planned([Pair("long", [3] * 8, [4] * 9, [5]), *random_pairs(2, longest=6)], recipe=replace(RECIPE, max_tokens=16))
    assert ("long", "prompt and answer are longer than 16 tokens") in [tuple(left) for left in made.dropped]


def test_no_pair_is_an_error_that_says_why() -> None:
    with pytest.raises(NoPairs, match=r"0 pairs were given .*the list is empty.*; have more prompts reviewed"):
        planned([])
    with pytest.raises(NoPairs, match=r"1 pairs .*its weight is 0"):
        planned([Pair("a", [3], [4], [5], weight=0)])


def test_replay_alone_without_a_line_is_an_error() -> None:
    with pytest.raises(NoPairs, match="preference_weight 0"):
        make_plan(random_pairs(2), [], recipe=replace(RECIPE, preference_weight=0.0), seed=1, limits=LIMITS)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (Pair("k", [3], [4], [5], weight=-1), "weight -1"),
        (Pair("k", [3], [4], [5], weight=float("nan")), "weight nan"),
        (Pair("k", [3], [4], [5], soft_label=1.5), "soft label 1.5"),
        (Pair("k", [3], [VOCABULARY], [5]), f"token {VOCABULARY} in chosen_ids"),
        (Pair("k", [-1], [4], [5]), "token -1 in prompt_ids"),
    ],
)
def test_a_pair_that_cannot_be_meant_is_an_error_with_its_key_and_value(pair: Pair, words: str) -> None:
    with pytest.raises(BadPair, match=f"Pair k has {words}"):
        planned([pair])


def test_a_step_too_large_is_cut_into_parts_that_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = planned(random_pairs(10))
    monkeypatch.setattr(portions, "TOKENS_AT_ONCE", 40)
    cut = planned(random_pairs(10))
    assert whole.parts_per_step == 1
    assert cut.parts_per_step > 1
    assert len(cut.parts) == RECIPE.steps * cut.parts_per_step
    assert [part.number for part in cut.parts] == list(range(len(cut.parts)))
    for step, one in enumerate(whole.parts):
        some = cut.parts[step * cut.parts_per_step : (step + 1) * cut.parts_per_step]
        assert sorted(place for part in some for place in part.pairs) == list(one.pairs)
        assert sorted(place for part in some for place in part.replay) == list(one.replay)
        assert {(part.total_weight, part.total_replay_tokens) for part in some} == {(one.total_weight, one.total_replay_tokens)}
        assert one.total_weight == pytest.approx(sum(whole.pairs[place].weight for place in one.pairs))


@law
@given(st.lists(st.floats(0.01, 2), max_size=20))
def test_groups_keep_order_and_stay_within_the_limit(costs: list[float]) -> None:
    groups = packed(costs, lambda cost: cost)
    assert [cost for group in groups for cost in group] == costs
    assert all(len(group) == 1 or sum(group) <= 1 + 1e-9 for group in groups)


def test_seeds_follow_their_parts() -> None:
    assert seed_of(1, "adapter") == seed_of(1, "adapter")
    assert len({seed_of(1, "adapter"), seed_of(2, "adapter"), seed_of(1, "dropout", 0), seed_of(1, "dropout", 1)}) == 4
    assert 0 <= seed_of(1) < 2**63


def test_a_run_begun_by_an_earlier_flagback_goes_on_with_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hashes were taken of the code of 2026-11-22, before the plan was taken apart into contents, draws and portions."""
    recipes = (
        Recipe(),
        Recipe(sharing="prompt", pairs_per_step=6, flag_point="kl"),
        Recipe(group_weights="worst", consistency_weight=0.5, pairs_per_step=5),
    )
    pairs = [replace(pair, group="ab"[place % 3 == 0]) for place, pair in enumerate(random_pairs(13))]
    found = []
    for tokens in (16_384, 60):
        monkeypatch.setattr(portions, "TOKENS_AT_ONCE", tokens)
        for recipe in recipes:
            flags = [replace(flag, harmful=True) for flag in random_flags(7)]  # of both kinds they are drawn in turn since
            more = {"flags": flags, "rankings": random_rankings(5)}
            made = make_plan(pairs, random_lines(11), recipe=recipe, seed=7, limits=LIMITS, **more)  # type: ignore[arg-type]
            laid_out = [[tuple(part)[:11] for part in made.parts], made.parts_per_step, made.fingerprint]
            found.append(hashlib.sha256(repr(laid_out).encode()).hexdigest()[:6])
    assert " ".join(found) == "179430 bb9a0b 2d1bdf 336df2 517410 b59680"


def test_every_step_has_as_many_harmful_as_fine_flags_however_few_of_one_kind_there_are() -> None:
    flags = [replace(flag, key=f"k{place}", harmful=place < 3) for place, flag in enumerate(random_flags(90))]
    recipe = Recipe(steps=20, flags_per_step=8)
    made = make_plan(random_pairs(5), random_lines(4), recipe=recipe, seed=0, limits=LIMITS, flags=flags)
    sides: dict[int, list[bool]] = {}
    for part in made.parts:
        sides.setdefault(part.number // made.parts_per_step, []).extend(made.flags[place].harmful for place in part.flags)
    assert len(sides) == 20
    assert {tuple(sorted(step)) for step in sides.values()} == {(False,) * 4 + (True,) * 4}
    drawn = [made.flags[place].key for part in made.parts for place in part.flags]
    assert {drawn.count(f"k{place}") for place in range(3)} <= {26, 27}  # 80 draws of three
    assert max(drawn.count(f"k{place}") for place in range(3, 90)) == 1  # 80 of 87
