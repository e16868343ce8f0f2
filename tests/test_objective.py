"""What weights, doubt, flags and rankings do to the gradient of a real small model, and how they reach it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from flagback.model.adapter import with_adapter
from flagback.model.contents import Limits
from flagback.model.flat_row import flat_row
from flagback.model.layout import answer_logps, flat_model, tree_logps
from flagback.model.objective import FIGURES, part_loss, part_trees, reference_of, reference_trees, total
from flagback.model.plan import Plan, make_plan
from flagback.model.recipe import Flag, LossName, Pair, Ranking, Recipe
from flagback.model.trees import Tree, shared
from tests.tiny_model import VOCABULARY, random_flags, random_lines, random_pairs, random_rankings, tiny_llama

#: One step of all there is. A rank-2 adapter whose B is not 0 gives both of its matrices a gradient.
RECIPE = Recipe(steps=1, pairs_per_step=64, flags_per_step=64, rankings_per_step=64, replay_weight=0.0, rank=2, beta=0.3)
LIMITS = Limits(VOCABULARY, 128)
BEFORE = "57d14d660e43f624004cffc1ee600c8549567244094d7256f39405d45df4ba89"  # pragma: allowlist secret - of random ids


def planned(
    pairs: Sequence[Pair] = (), flags: Sequence[Flag] = (), rankings: Sequence[Ranking] = (), recipe: Recipe = RECIPE
) -> Plan:
    return make_plan(pairs, [], recipe=recipe, seed=1, limits=LIMITS, flags=flags, rankings=rankings)


def gradient(plan: Plan, recipe: Recipe = RECIPE, *, moved: bool = True) -> Tensor:
    """The gradient of the plan's one step for every weight of the adapter; `moved`: of one that was trained before."""
    model = tiny_llama()
    reference = reference_of(plan, tree_logps(model, reference_trees(plan, recipe), "flat"))
    torch.manual_seed(4)
    adapted = with_adapter(model, recipe)
    trained = [weight for weight in adapted.parameters() if weight.requires_grad]
    if moved:
        with torch.no_grad():
            for weight in trained:
                weight.normal_(0.0, 0.05)
    with flat_model(model, "flat"):
        for part in plan.parts:
            loss, figures = part_loss(plan, part, answer_logps(adapted, part_trees(plan, part), "flat"), reference, recipe)
            torch.autograd.backward(loss)
            assert total(dict.fromkeys(FIGURES, 0.0) | figures, recipe) == pytest.approx(loss.item(), rel=1e-5)
    return torch.cat([weight.grad.reshape(-1) for weight in trained if weight.grad is not None])


# ------------------------------------------------------------------------ weights


@pytest.mark.parametrize("name", get_args(LossName))
def test_a_pair_of_weight_two_has_the_gradient_of_the_pair_given_twice(name: LossName) -> None:
    recipe = replace(RECIPE, loss=name, label_noise=0.1 if name in ("cdpo", "robust") else 0.0, anchor_weight=0.2)
    first, *rest = random_pairs(5)
    once = gradient(planned([replace(first, weight=2.0), *rest], recipe=recipe), recipe)
    twice = gradient(planned([replace(first, weight=1.0), replace(first, weight=1.0), *rest], recipe=recipe), recipe)
    assert once.abs().max() > 1e-3, "there must be a gradient for the comparison to mean anything"
    assert (once - twice).abs().max() < 1e-6


def test_a_flag_and_a_ranking_of_weight_two_have_the_gradient_of_both_given_twice() -> None:
    (flag, *flags), (ranking, *rankings) = random_flags(4), random_rankings(4)
    heavy = [replace(flag, weight=2.0), *flags], [replace(ranking, weight=2.0), *rankings]
    double = [replace(flag, weight=1.0)] * 2 + flags, [replace(ranking, weight=1.0)] * 2 + rankings
    once, twice = (gradient(planned(flags=some, rankings=others)) for some, others in (heavy, double))
    assert once.abs().max() > 1e-3
    assert (once - twice).abs().max() < 1e-6


@pytest.mark.parametrize("name", [name for name in get_args(LossName) if name != "apo_down"])
def test_pairs_in_full_doubt_have_no_gradient_at_the_reference(name: LossName) -> None:
    recipe = replace(RECIPE, loss=name, label_noise=0.1 if name in ("cdpo", "robust") else 0.0)
    pairs = random_pairs(6)
    doubted = gradient(planned([replace(pair, soft_label=0.5) for pair in pairs], recipe=recipe), recipe, moved=False)
    certain = gradient(planned([replace(pair, soft_label=1.0) for pair in pairs], recipe=recipe), recipe, moved=False)
    assert certain.abs().max() > 1e-2
    assert doubted.abs().max() < 1e-6


def test_a_soft_label_is_the_mean_of_both_hard_ones() -> None:
    pairs = random_pairs(4)
    right, wrong, soft = (gradient(planned([replace(pair, soft_label=label) for pair in pairs])) for label in (1.0, 0.0, 0.75))
    assert (soft - (0.75 * right + 0.25 * wrong)).abs().max() < 1e-6


# ------------------------------------------------------------------ the way to the loss


def test_all_kinds_in_one_step_have_the_sum_of_their_gradients() -> None:
    pairs, flags, rankings = random_pairs(3), random_flags(4), random_rankings(2)
    recipe = replace(RECIPE, flag_weight=0.5, ranking_weight=2.0)
    together = gradient(planned(pairs, flags, rankings, recipe), recipe)
    alone = [gradient(planned(pairs)), gradient(planned(flags=flags)), gradient(planned(rankings=rankings))]
    expected = alone[0] + 0.5 * alone[1] + 2.0 * alone[2]
    assert (together - expected).norm() < 1e-5 * expected.norm()


def test_a_ranking_of_two_teaches_what_the_pair_teaches() -> None:
    pairs = [replace(pair, soft_label=1.0) for pair in random_pairs(4)]
    rankings = [Ranking(pair.key, pair.prompt_ids, [pair.chosen_ids, pair.rejected_ids], pair.weight) for pair in pairs]
    assert (gradient(planned(pairs)) - gradient(planned(rankings=rankings))).abs().max() < 1e-6


def test_shared_trees_hold_every_answer_once_and_say_where() -> None:
    trees = [Tree((3,), ((4,), (5,))), Tree((6,), ((4,),)), Tree((3,), ((5,), (7,)))]
    made, places = shared(trees)
    assert made == [((3,), ((4,), (5,), (7,))), ((6,), ((4,),))]
    assert places == [0, 1, 3, 1, 2]


def test_a_ranking_lays_out_its_prompt_once() -> None:
    [ranking] = random_rankings(1)
    plan = planned(rankings=[ranking])
    row = flat_row(part_trees(plan, plan.parts[0]), torch.device("cpu"))
    assert row.input_ids.shape[1] == len(ranking.prompt_ids) + sum(map(len, ranking.answers_ids))


def test_the_parts_of_a_step_add_up_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = planned(random_pairs(6), random_flags(6), random_rankings(4))
    expected = gradient(whole)
    monkeypatch.setattr("flagback.model.portions.TOKENS_AT_ONCE", 60)
    cut = planned(random_pairs(6), random_flags(6), random_rankings(4))
    assert (len(whole.parts), len(cut.parts) > 2) == (1, True)
    assert (gradient(cut) - expected).norm() < 1e-5 * expected.norm()


def test_an_answer_that_belongs_to_another_prompt_is_scored_under_this_one() -> None:
    recipe = replace(RECIPE, flag_point="kl")
    flags = [Flag("a", [3], [4, 2]), Flag("b", [3], [5, 2]), Flag("c", [6], [7, 2])]
    plan = planned(flags=flags, recipe=recipe)
    assert plan.mismatched == [2, 2, 0]
    assert reference_trees(plan, recipe) == [((3,), ((4, 2), (7, 2))), ((3,), ((5, 2), (7, 2))), ((6,), ((7, 2), (4, 2)))]
    assert planned(flags=flags[:2], recipe=recipe).mismatched == [None, None]


# ------------------------------------------------------------------ plan


def test_examples_that_cannot_be_trained_on_are_listed() -> None:
    plan = planned(
        [],
        [*random_flags(2), Flag("no prompt", [], [3]), Flag("light", [3], [4], weight=0.0)],
        [Ranking("one", [3], [[4]]), Ranking("same", [3], [[4], [5], [4]]), Ranking("long", [3], [[4] * 128, [5]])],
    )
    assert len(plan.flags) == 2
    assert [tuple(left) for left in plan.dropped] == [
        ("light", "its weight is 0"),
        ("no prompt", "the prompt has no token"),
        ("long", "prompt and answer are longer than 128 tokens"),
        ("one", "there is only one answer, and nothing to rank"),
        ("same", "two answers are the same tokens"),
    ]


def test_a_run_from_before_these_settings_keeps_its_fingerprint() -> None:
    """Of version 0.1.0 before losses had names: whoever updates in the middle of a run goes on with it."""
    made = make_plan(random_pairs(4), random_lines(3), recipe=Recipe(), seed=1, limits=LIMITS)
    assert made.fingerprint == BEFORE
    other = make_plan(random_pairs(4), random_lines(3), recipe=Recipe(loss="ipo"), seed=1, limits=LIMITS)
    assert other.fingerprint != made.fingerprint
    flagged = make_plan(random_pairs(4), random_lines(3), recipe=Recipe(), seed=1, limits=LIMITS, flags=random_flags(1))
    assert flagged.fingerprint != made.fingerprint
