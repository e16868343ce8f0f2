"""Fairness objectives in a run: what they do to a real small model, and that a run that was stopped goes on to the same bytes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from flagback.model import plan as planning
from flagback.model import portions
from flagback.model.contents import Limits
from flagback.model.recipe import BadPair, Pair, Recipe, StepMetrics, SwappedPrompt
from flagback.model.training import Stopped, Trained, correct
from tests.tiny_model import VOCABULARY, Held, random_flags, random_ids, random_lines, random_pairs, random_rankings, tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
RECIPE = Recipe(steps=6, pairs_per_step=4, replay_per_step=3, learning_rate=5e-3, schedule="constant", beta=0.1, checkpoint_every=2)
SWAPS = replace(RECIPE, consistency_weight=1.0, swaps_per_step=5)
ALL = replace(SWAPS, group_weights="worst", group_rate=2.0, adversary_weight=0.5, anchor_weight=0.1, dropout=0.1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pairs() -> list[Pair]:
    """Ten pairs, three of which are of a rare group."""
    return [replace(pair, group="rare" if number < 3 else "") for number, pair in enumerate(random_pairs(10))]


def swapped(count: int = 8) -> list[SwappedPrompt]:
    draw = Random(6)
    made = []
    for number in range(count):
        prompt = random_ids(draw, 3, 8)
        made.append(SwappedPrompt(f"{number}", prompt, [*random_ids(draw, 1, 2), *prompt[1:]], random_ids(draw, 0, 3)))
    return made


def run(folder: Path, recipe: Recipe, **more: object) -> Trained:
    given = {"pairs": pairs(), "replay": random_lines(8), "swaps": swapped()} | more
    return correct(Held(tiny_llama()), given.pop("pairs"), recipe=recipe, seed=3, folder=folder, **given)  # type: ignore[arg-type]


# ------------------------------------------------------------------ groups


def test_what_is_off_by_default_changes_no_byte(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", RECIPE, pairs=random_pairs(10), swaps=[])
    assert run(tmp_path / "named", RECIPE).weights_sha256 == plain.weights_sha256


def test_pairs_are_drawn_of_each_group_in_turn_and_multiplied_to_count_alike() -> None:
    recipe = replace(RECIPE, group_weights="even", pairs_per_step=6)
    made = planning.make_plan(pairs(), [], recipe=recipe, seed=3, limits=Limits(VOCABULARY, 128))
    for part in made.parts:
        assert [made.pairs[place].group for place in part.pairs].count("rare") == 3
    drawn = [place for part in made.parts for place in part.pairs]
    assert set(drawn) == set(range(10)), "nobody is left out of 36 draws"
    whole = sum(made.pairs[place].weight for place in drawn)
    rare = sum(made.pairs[place].weight for place in drawn if made.pairs[place].group == "rare")
    assert made.group_shares == pytest.approx({"": 1 - rare / whole, "rare": rare / whole})
    shuffled = planning.make_plan(pairs()[::-1], [], recipe=recipe, seed=3, limits=Limits(VOCABULARY, 128))
    assert shuffled == made
    # As given three of ten are rare, and some step has fewer than three of six.
    plain = planning.make_plan(pairs(), [], recipe=replace(RECIPE, pairs_per_step=6), seed=3, limits=Limits(VOCABULARY, 128))
    assert min([plain.pairs[place].group for place in part.pairs].count("rare") for part in plain.parts) < 3


def test_groups_of_other_weights_count_alike(tmp_path: Path) -> None:
    # The rare group's pairs weigh a tenth. Counted alike, it is as if they weighed as much as the others.
    equal = [replace(pair, weight=1.0) for pair in pairs()]
    light = [replace(pair, weight=0.1 if pair.group else 1.0) for pair in equal]
    recipe = replace(RECIPE, group_weights="even", pairs_per_step=6, steps=1)
    one, other = run(tmp_path / "one", recipe, pairs=equal), run(tmp_path / "other", recipe, pairs=light)
    assert other.metrics[0].loss == pytest.approx(one.metrics[0].loss, rel=1e-4)
    assert one.metrics[0].grad_norm == pytest.approx(
        run(tmp_path / "same", replace(recipe, group_weights="worst"), pairs=equal).metrics[0].grad_norm, rel=1e-4
    ), "the first step of the worst group is even"


def test_the_group_that_fares_worse_weighs_more(tmp_path: Path) -> None:
    # The rare group's pairs say the opposite of the others': what one group gains the other loses.
    one, *_ = random_pairs(1)
    many = [replace(one, key=f"many {n}", weight=1.0, soft_label=1.0, group="many") for n in range(9)]
    rare = replace(one, key="rare", weight=1.0, soft_label=1.0, group="rare")
    against = replace(rare, chosen_ids=one.rejected_ids, rejected_ids=one.chosen_ids)
    recipe = replace(RECIPE, steps=12, pairs_per_step=10, group_weights="worst", group_rate=1.0)
    found = run(tmp_path / "run", recipe, pairs=[*many, against]).environment["group_weights"]
    assert set(found) == {"many", "rare"}
    assert sum(found.values()) == pytest.approx(1)
    plain = run(tmp_path / "plain", replace(recipe, group_weights="given"), pairs=[*many, against])
    robust = run(tmp_path / "robust", recipe, pairs=[*many, against])
    # Left to their numbers the nine win; weighed by the worst neither does.
    assert plain.metrics[-1].margin > 4 * abs(robust.metrics[-1].margin)


# ------------------------------------------------------------------ swaps


def test_consistency_brings_next_words_together(tmp_path: Path) -> None:
    with_it = run(tmp_path / "with", replace(SWAPS, steps=16, consistency_weight=5.0, swaps_per_step=8))
    without = run(tmp_path / "without", replace(SWAPS, steps=16, consistency_weight=1e-9, swaps_per_step=8))
    assert with_it.metrics[0].consistency_loss == without.metrics[0].consistency_loss > 0.1
    assert with_it.metrics[-1].consistency_loss < 0.5 * without.metrics[-1].consistency_loss


def test_the_adversary_has_its_figures_and_is_no_part_of_the_adapter(tmp_path: Path) -> None:
    made = run(tmp_path / "run", replace(RECIPE, adversary_weight=1.0, steps=12))
    assert made.metrics[0].adversary_loss == pytest.approx(0.6931, abs=1e-4)
    assert made.metrics[0].probe_right == 0.5
    assert made.metrics[-1].adversary_loss != made.metrics[0].adversary_loss
    plain = run(tmp_path / "plain", RECIPE)
    assert sorted(path.name for path in made.adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    from safetensors.torch import load_file

    names = [set(load_file(one.adapter / "adapter_model.safetensors")) for one in (made, plain)]
    assert names[0] == names[1]


def test_swaps_that_cannot_be_used_are_listed_and_a_foreign_token_is_refused(tmp_path: Path) -> None:
    same, empty = SwappedPrompt("same", [5, 6], [5, 6]), SwappedPrompt("empty", [], [5])
    made = run(tmp_path / "run", replace(SWAPS, steps=1), swaps=[*swapped(2), same, empty])
    assert {(one.key, one.reason) for one in made.dropped} == {
        ("same", "the swapped prompt is the same tokens"),
        ("empty", "the prompt has no token"),
    }
    with pytest.raises(BadPair, match=f"SwappedPrompt far has token {VOCABULARY}"):
        run(tmp_path / "far", SWAPS, swaps=[SwappedPrompt("far", [VOCABULARY], [5])])


# ------------------------------------------------------------------ together


@pytest.mark.parametrize("combine", ["sum", "mgda"])
def test_a_stopped_run_of_all_goes_on_to_the_same_bytes(combine: str, tmp_path: Path) -> None:
    recipe = replace(ALL, combine=combine)  # type: ignore[arg-type]
    more = {"flags": random_flags(4), "rankings": random_rankings(3)}
    whole = run(tmp_path / "whole", recipe, **more)
    steps: list[StepMetrics] = []
    with pytest.raises(Stopped):
        run(tmp_path / "cut", recipe, on_step=steps.append, should_stop=lambda: len(steps) == 3, **more)
    kept = sorted(path.name for path in (tmp_path / "cut" / "step-000003").iterdir())
    assert {"group_weights.json", "probe.pt"} <= set(kept)
    assert json.loads((tmp_path / "cut" / "step-000003" / "group_weights.json").read_text()) != {"": 0.5, "rare": 0.5}
    again = run(tmp_path / "cut", recipe, on_step=steps.append, **more)
    assert again.weights_sha256 == whole.weights_sha256
    assert again.environment["group_weights"] == whole.environment["group_weights"]
    # A run without them would have gone elsewhere.
    assert run(tmp_path / "plain", RECIPE, **more).weights_sha256 != whole.weights_sha256


@pytest.mark.parametrize("combine", ["sum", "mgda"])
def test_a_step_of_all_cut_into_parts_teaches_what_the_whole_does(
    combine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The anchor begins at its kink, where the last bit decides which side has a gradient.
    recipe = replace(ALL, combine=combine, dropout=0.0, anchor_weight=0.0)  # type: ignore[arg-type]
    whole = run(tmp_path / "whole", recipe)
    monkeypatch.setattr(portions, "TOKENS_AT_ONCE", 60)
    cut = run(tmp_path / "cut", recipe)
    assert cut.environment["parts_per_step"] > 1 == whole.environment["parts_per_step"]
    for one, other in zip(whole.metrics, cut.metrics, strict=True):
        assert other.loss == pytest.approx(one.loss, abs=1e-3)
    assert cut.environment["group_weights"] == pytest.approx(whole.environment["group_weights"], abs=1e-3)


def test_mgda_of_one_term_goes_where_the_sum_goes(tmp_path: Path) -> None:
    recipe = replace(RECIPE, replay_weight=0.0, max_grad_norm=1e-3)
    one, other = run(tmp_path / "one", recipe), run(tmp_path / "other", replace(recipe, combine="mgda"))
    # One gradient of length 1 and one of its own are clipped to the same.
    assert [step.loss for step in one.metrics] == pytest.approx([step.loss for step in other.metrics], rel=1e-3)
