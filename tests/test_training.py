"""A correction learns the pairs, gives the same bytes again, survives a kill, and leaves the model it was given alone."""

import hashlib
import json
import math
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from flagback.model import plan as planning
from flagback.model import portions
from flagback.model.contents import Limits
from flagback.model.recipe import FlagPoint, Pair, Recipe, StepMetrics
from flagback.model.training import (
    BadPair,
    BadRecipe,
    ForeignFolder,
    NoPairs,
    NotFinite,
    Stopped,
    Trained,
    correct,
    sequence_logps,
    weights_fingerprint,
)
from tests.foreign_models import make
from tests.tiny_model import Held, random_flags, random_ids, random_lines, random_pairs, random_rankings, tiny_llama

#: PEFT 0.21 asks transformers 5.23 by an old name when it loads an adapter.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
RECIPE = Recipe(steps=6, pairs_per_step=4, replay_per_step=3, learning_rate=5e-3, schedule="constant", beta=0.1, checkpoint_every=2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The machine is shared, and thread counts are part of what decides the bytes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(
    folder: Path,
    *,
    recipe: Recipe = RECIPE,
    seed: int = 3,
    pairs: Sequence[Pair] | None = None,
    model: Any = None,
    replay: list[list[int]] | None = None,
    **more: Any,
) -> Trained:
    """A correction of the tiny model on ten pairs with eight replay lines."""
    return correct(
        Held(model or tiny_llama()),
        pairs or random_pairs(10),
        replay=replay or random_lines(8),
        recipe=recipe,
        seed=seed,
        folder=folder,
        **more,
    )


def adapter_bytes(trained: Trained) -> dict[str, str]:
    """sha256 of every file of the adapter's folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(trained.adapter.iterdir())}


def corrected_by(trained: Trained) -> Any:
    """The tiny model with the adapter merged in."""
    from peft import PeftModel

    return PeftModel.from_pretrained(tiny_llama(), trained.adapter).merge_and_unload()


def state(model: Any) -> str:
    """A hash of every weight, its name and its gradient flag."""
    content = hashlib.sha256()
    for name, weight in model.named_parameters():
        content.update(f"{name} {weight.requires_grad} {weight.grad is None}".encode() + weight.detach().numpy().tobytes())
    return content.hexdigest()


# ------------------------------------------------------------------ same again


def test_same_inputs_give_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    one, again, other = run(tmp_path / "one"), run(tmp_path / "again"), run(tmp_path / "other", seed=4)
    assert sorted(adapter_bytes(one)) == ["adapter_config.json", "adapter_model.safetensors"]
    assert adapter_bytes(again) == adapter_bytes(one)
    assert other.weights_sha256 != one.weights_sha256 == adapter_bytes(one)["adapter_model.safetensors"]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_order_of_the_lists_changes_no_byte(dropout: float, tmp_path: Path) -> None:
    recipe = replace(RECIPE, dropout=dropout)
    pairs, lines = random_pairs(10), random_lines(8)
    Random(9).shuffle(pairs)
    Random(9).shuffle(lines)
    torch.manual_seed(12345)  # nor does what was drawn before
    shuffled = run(tmp_path / "shuffled", recipe=recipe, pairs=pairs, replay=lines)
    assert adapter_bytes(shuffled) == adapter_bytes(run(tmp_path / "plain", recipe=recipe))


def test_a_repeated_correction_of_the_same_loaded_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = tiny_llama()
    assert adapter_bytes(run(tmp_path / "a", model=model)) == adapter_bytes(run(tmp_path / "b", model=model))


# ------------------------------------------------------------------ what is left alone


def test_the_model_the_random_states_and_the_verbosity_stay_as_they_were(tmp_path: Path) -> None:
    from transformers.utils import logging

    model = tiny_llama()
    model.config.use_cache = True
    before, modules = state(model), [type(module) for module in model.modules()]
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    logging.set_verbosity_warning()
    run(tmp_path / "run", model=model)
    assert torch.equal(torch.rand(3), expected)
    assert logging.get_verbosity() == logging.WARNING
    assert state(model) == before
    assert [type(module) for module in model.modules()] == modules
    assert model.config.use_cache is True
    assert model.config._attn_implementation == "sdpa"
    assert not hasattr(model, "peft_config")
    assert not model.training


def test_nothing_is_printed_and_nothing_warned(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(tmp_path / "run")
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------ what is learned


def test_the_answers_chosen_become_likelier_beside_those_rejected(tmp_path: Path) -> None:
    model, pairs = tiny_llama(), random_pairs(10)
    trained = run(tmp_path / "run", recipe=replace(RECIPE, steps=30, learning_rate=1e-2), model=model)
    from peft import PeftModel

    rows = [(p.prompt_ids, answer) for p in pairs for answer in (p.chosen_ids, p.rejected_ids)]
    before = sequence_logps(model, rows).view(-1, 2)
    corrected = PeftModel.from_pretrained(tiny_llama(), trained.adapter).merge_and_unload()
    after = sequence_logps(corrected, rows).view(-1, 2)
    rise = (after - before)[:, 0] - (after - before)[:, 1]
    assert (rise > 0).float().mean() >= 0.9
    assert trained.metrics[-1].margin > 0.1 > abs(trained.metrics[0].margin)


def test_the_figures_of_the_first_step_are_those_of_the_reference(tmp_path: Path) -> None:
    seen: list[StepMetrics] = []
    trained = run(tmp_path / "run", on_step=seen.append)
    assert tuple(seen) == trained.metrics
    assert [m.step for m in seen] == [1, 2, 3, 4, 5, 6]
    first = seen[0]
    assert first.steps == 6
    assert first.preference_loss == pytest.approx(math.log(2), abs=1e-5)
    assert [first.margin, first.chosen_change, first.rejected_change] == pytest.approx([0, 0, 0], abs=1e-4)
    assert first.accuracy == pytest.approx(0.5)
    assert first.loss == pytest.approx(first.preference_loss + RECIPE.replay_weight * first.replay_loss, abs=1e-5)
    assert first.learning_rate == 5e-3
    assert first.pairs_per_second > 0
    last = seen[-1]
    assert last.margin == pytest.approx(0.1 * (last.chosen_change - last.rejected_change), abs=1e-5)
    assert last.grad_norm > 0


def test_replay_is_the_mean_likelihood_of_its_lines(tmp_path: Path) -> None:
    lines = random_lines(3)
    first = run(tmp_path / "run", replay=lines).metrics[0]
    total = sequence_logps(tiny_llama(), [(line[:1], line[1:]) for line in lines]).sum().item()
    assert first.replay_loss == pytest.approx(-total / sum(len(line) - 1 for line in lines), abs=1e-4)


def test_a_run_on_replay_alone_does_not_follow_the_pairs(tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=20, preference_weight=0.0, replay_weight=1.0)
    trained = run(tmp_path / "run", recipe=recipe)
    assert trained.metrics[-1].loss == pytest.approx(trained.metrics[-1].replay_loss)
    assert trained.metrics[-1].replay_loss < trained.metrics[0].replay_loss
    swapped = [replace(p, chosen_ids=p.rejected_ids, rejected_ids=p.chosen_ids) for p in random_pairs(10)]
    other = run(tmp_path / "swapped", recipe=recipe, pairs=swapped)
    assert [m.replay_loss for m in other.metrics] == pytest.approx([m.replay_loss for m in trained.metrics], abs=1e-4)


def test_a_pair_of_weight_two_teaches_what_the_pair_given_twice_teaches(tmp_path: Path) -> None:
    recipe = replace(RECIPE, pairs_per_step=4, replay_weight=0.0)
    rest = [replace(p, weight=1.0, soft_label=1.0) for p in random_pairs(3)]
    heavy = run(tmp_path / "heavy", recipe=recipe, pairs=[replace(rest[0], weight=2.0), *rest[1:]])
    twice = run(tmp_path / "twice", recipe=recipe, pairs=[rest[0], rest[0], *rest[1:]])
    assert [m.loss for m in heavy.metrics] == pytest.approx([m.loss for m in twice.metrics], abs=1e-5)


@pytest.mark.parametrize("layout", ["flat", "padded"])
def test_a_step_cut_into_parts_teaches_what_the_whole_does(layout: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, layout=layout)
    whole = run(tmp_path / "whole", recipe=recipe)
    monkeypatch.setattr(portions, "TOKENS_AT_ONCE", 40)
    cut = run(tmp_path / "cut", recipe=recipe)
    assert (whole.environment["parts_per_step"], cut.environment["parts_per_step"] > 1) == (1, True)
    for one, other in zip(whole.metrics, cut.metrics, strict=True):
        assert (other.loss, other.margin, other.accuracy) == pytest.approx((one.loss, one.margin, one.accuracy), abs=1e-4)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-3)


def test_both_layouts_teach_the_same(tmp_path: Path) -> None:
    flat = run(tmp_path / "flat", recipe=replace(RECIPE, layout="flat"))
    padded = run(tmp_path / "padded", recipe=replace(RECIPE, layout="padded"))
    assert [m.loss for m in flat.metrics] == pytest.approx([m.loss for m in padded.metrics], abs=1e-4)
    assert run(tmp_path / "auto").environment["layout"] == "flat"


def test_long_pairs_are_trained_on(tmp_path: Path) -> None:
    draw = Random(2)
    pairs = [Pair(f"k{i}", random_ids(draw, 300, 300), random_ids(draw, 212, 212), random_ids(draw, 100, 212)) for i in range(8)]
    trained = run(tmp_path / "run", recipe=replace(RECIPE, steps=2, pairs_per_step=8), pairs=pairs, model=tiny_llama(context=512))
    assert trained.pairs == 8
    assert trained.dropped == ()


@pytest.mark.parametrize("name", ["llama", "qwen2", "gpt2", "gemma", "gemma2"])
def test_other_makes_of_models_are_corrected(name: str, tmp_path: Path) -> None:
    folder = make(tmp_path / name, name)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()  # nosec B615 # a folder made here
    before = state(model)
    recipe = replace(RECIPE, steps=12, learning_rate=1e-2, replay_weight=0.1)
    trained = run(tmp_path / "run", recipe=recipe, model=model)
    assert state(model) == before
    assert trained.metrics[-1].margin > trained.metrics[0].margin + 0.05
    assert trained.environment["layout"] == ("padded" if name == "gemma2" else "flat")
    from peft import PeftModel

    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)  # nosec B615 # a folder made here
    corrected = PeftModel.from_pretrained(again, trained.adapter).merge_and_unload()
    rows = [(p.prompt_ids, p.chosen_ids) for p in random_pairs(10)]
    assert not torch.allclose(sequence_logps(corrected, rows), sequence_logps(model, rows))


# ------------------------------------------------------------------ flags and rankings


@pytest.mark.parametrize("point", ["reference", "kl"])
def test_a_flag_without_a_counterpart_still_teaches(point: FlagPoint, tmp_path: Path) -> None:
    model, flags = tiny_llama(), random_flags(8)
    recipe = replace(RECIPE, steps=20, learning_rate=1e-2, replay_weight=0.0, flag_point=point)
    trained = correct(Held(model), [], flags=flags, recipe=recipe, seed=3, folder=tmp_path / "run")
    before, after = (sequence_logps(m, [(f.prompt_ids, f.answer_ids) for f in flags]) for m in (model, corrected_by(trained)))
    rose = (after > before).tolist()
    assert sum(up != flag.harmful for up, flag in zip(rose, flags, strict=True)) >= 7
    first, last = trained.metrics[0], trained.metrics[-1]
    assert first.flag_loss == pytest.approx(0.5, abs=1e-5), "nothing moved yet: every flag is told from where it stands"
    assert last.flag_loss < 0.45
    assert last.loss == pytest.approx(last.flag_loss, abs=1e-6)
    assert (last.preference_loss, last.replay_loss, last.ranking_loss) == (0, 0, 0)


def test_a_ranking_teaches_its_order(tmp_path: Path) -> None:
    model, rankings = tiny_llama(), random_rankings(5)
    recipe = replace(RECIPE, steps=30, learning_rate=1e-2, replay_weight=0.0)
    trained = correct(Held(model), [], rankings=rankings, recipe=recipe, seed=3, folder=tmp_path / "run")
    corrected = corrected_by(trained)
    for ranking in rankings:
        answers = [(ranking.prompt_ids, answer) for answer in ranking.answers_ids]
        rise = sequence_logps(corrected, answers) - sequence_logps(model, answers)
        assert rise[0] == rise.max()
        assert rise[-1] == rise.min()
    orders = sum(rank.weight * math.log(math.factorial(len(rank.answers_ids))) for rank in rankings) / sum(
        r.weight for r in rankings
    )
    assert trained.metrics[0].ranking_loss == pytest.approx(orders, rel=1e-3), "every order is as likely as any other at first"


def test_an_anchor_keeps_chosen_answers_from_falling(tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=30, learning_rate=1e-2, replay_weight=0.0, loss="apo_down", beta=0.3)
    free = run(tmp_path / "free", recipe=recipe)
    held = run(tmp_path / "held", recipe=replace(recipe, anchor_weight=1.0))
    pairs = random_pairs(10)
    rows = [(pair.prompt_ids, pair.chosen_ids) for pair in pairs]
    origin = sequence_logps(tiny_llama(), rows)
    fallen = [float((origin - sequence_logps(corrected_by(trained), rows)).clamp(min=0).mean()) for trained in (free, held)]
    assert fallen[0] > 0.5, "without it there must be a fall for the comparison to mean anything"
    assert fallen[1] < fallen[0] / 3
    assert free.metrics[-1].anchor_loss == 0
    assert held.metrics[-1].anchor_loss > 0


def test_a_step_of_everything_cut_into_parts_teaches_what_the_whole_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No anchor: at the reference, where every run begins, rounding alone says on which side of its kink a pair is.
    recipe = replace(RECIPE, flag_point="kl", loss="ipo", beta=0.5, flags_per_step=5, rankings_per_step=3)
    more: dict[str, Any] = {"recipe": recipe, "flags": random_flags(8), "rankings": random_rankings(5)}
    whole = run(tmp_path / "whole", **more)
    monkeypatch.setattr(portions, "TOKENS_AT_ONCE", 60)
    cut = run(tmp_path / "cut", **more)
    assert (whole.environment["parts_per_step"], cut.environment["parts_per_step"] > 1) == (1, True)
    for one, other in zip(whole.metrics, cut.metrics, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-3)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-3)


def test_a_prompt_computed_once_for_all_its_pairs_teaches_the_same(tmp_path: Path) -> None:
    draw = Random(4)
    prompts = [random_ids(draw, 3, 6) for _ in range(3)]
    answers = [[[*random_ids(draw, 2, 8), 2] for _ in range(4)] for _ in prompts]
    pairs = [
        Pair(f"{n} {i} {j}", prompt, answers[n][i], answers[n][j])
        for n, prompt in enumerate(prompts)
        for i in range(4)
        for j in range(i + 1, 4)
    ]
    recipe = replace(RECIPE, pairs_per_step=18)  # all of them in every step
    apart = run(tmp_path / "apart", recipe=recipe, pairs=pairs)
    together = run(tmp_path / "together", recipe=replace(recipe, sharing="prompt"), pairs=pairs)
    assert [m.loss for m in together.metrics] == pytest.approx([m.loss for m in apart.metrics], abs=1e-4)
    assert [m.grad_norm for m in together.metrics] == pytest.approx([m.grad_norm for m in apart.metrics], rel=1e-3)
    made = planning.make_plan(pairs, [], recipe=replace(recipe, pairs_per_step=6, sharing="prompt"), seed=3, limits=Limits(61, 128))
    assert all(len({tuple(made.pairs[place].prompt_ids) for place in part.pairs}) == 1 for part in made.parts)


def test_a_stopped_run_of_everything_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    recipe = replace(RECIPE, flag_point="kl", anchor_weight=0.1, loss="apo_zero", dropout=0.1, checkpoint_every=100)
    more: dict[str, Any] = {"recipe": recipe, "flags": random_flags(8), "rankings": random_rankings(5)}
    seen: list[int] = []
    with pytest.raises(Stopped):
        run(tmp_path / "run", on_step=lambda m: seen.append(m.step), should_stop=lambda: len(seen) >= 3, **more)
    assert adapter_bytes(run(tmp_path / "run", **more)) == adapter_bytes(run(tmp_path / "straight", **more))


# ------------------------------------------------------------------ stop, kill, resume


def test_a_stopped_run_goes_on_to_the_bytes_of_an_undisturbed_one(tmp_path: Path) -> None:
    recipe = replace(RECIPE, dropout=0.1, schedule="cosine", warmup=2, checkpoint_every=100)
    seen: list[int] = []
    with pytest.raises(Stopped, match="Stopped after step 3 of 6"):
        run(tmp_path / "run", recipe=recipe, on_step=lambda m: seen.append(m.step), should_stop=lambda: len(seen) >= 3)
    resumed = run(tmp_path / "run", recipe=recipe, on_step=lambda m: seen.append(m.step))
    assert seen == [1, 2, 3, 4, 5, 6]
    straight = run(tmp_path / "straight", recipe=recipe)
    assert adapter_bytes(resumed) == adapter_bytes(straight)
    assert [asdict(m) | {"pairs_per_second": 0} for m in resumed.metrics] == [
        asdict(m) | {"pairs_per_second": 0} for m in straight.metrics
    ]


def test_a_run_stopped_before_it_begins_or_while_scoring_has_done_nothing(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path / "run", should_stop=lambda: True)
    asked = iter([False, True])
    with pytest.raises(Stopped):
        run(tmp_path / "run", should_stop=lambda: next(asked))
    assert not (tmp_path / "run" / "adapter").exists()
    assert adapter_bytes(run(tmp_path / "run")) == adapter_bytes(run(tmp_path / "other"))


def test_a_finished_run_called_again_gives_the_same_result_without_a_step(tmp_path: Path) -> None:
    first = run(tmp_path / "run")
    before = adapter_bytes(first)
    seen: list[StepMetrics] = []
    again = run(tmp_path / "run", on_step=seen.append)
    assert seen == []
    assert adapter_bytes(again) == before
    assert again.metrics == first.metrics


@pytest.mark.parametrize(
    "lost", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "adapter_model.safetensors"]
)
def test_a_checkpoint_that_lost_a_file_is_passed_over(lost: str, tmp_path: Path) -> None:
    straight = adapter_bytes(run(tmp_path / "run"))
    (tmp_path / "run" / "step-000006" / lost).unlink()
    seen: list[int] = []
    assert adapter_bytes(run(tmp_path / "run", on_step=lambda m: seen.append(m.step))) == straight
    assert seen == [5, 6]


KILLED = """
import sys, time, warnings
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from tests.test_training import RECIPE, run
def slowly(metrics):
    print(metrics.step, flush=True)
    time.sleep(0.2)
trained = run(Path(sys.argv[1]), on_step=slowly)
print(trained.weights_sha256, flush=True)
"""


def test_a_run_killed_with_sigkill_goes_on_in_a_new_process_to_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run"), str(Path(__file__).parent.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "3":  # a checkpoint of step 2 is there, and step 3 is not in it
                time.sleep(0.05)
                process.send_signal(signal.SIGKILL)
                break
    assert not (tmp_path / "run" / "adapter").exists()
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert printed[:-1] == ["3", "4", "5", "6"]
    assert printed[-1] == run(tmp_path / "straight").weights_sha256


# ------------------------------------------------------------------ what cannot be done


def test_the_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(ForeignFolder, match="other pairs, recipe, seed or model"):
        run(tmp_path / "run", seed=4)
    with pytest.raises(ForeignFolder):
        run(tmp_path / "run", model=tiny_llama(seed=1))


def test_pairs_left_out_are_listed_with_the_result(tmp_path: Path) -> None:
    trained = run(tmp_path / "run", pairs=[Pair("too long", [3] * 100, [4] * 100, [5]), *random_pairs(10)])
    assert [tuple(left) for left in trained.dropped] == [("too long", "prompt and answer are longer than 128 tokens")]
    assert trained.pairs == 10
    assert (trained.environment["pairs"], trained.environment["dropped"]) == (10, 1)


def test_no_pair_and_bad_pairs_leave_nothing_behind(tmp_path: Path) -> None:
    model = tiny_llama()
    before = state(model)
    with pytest.raises(NoPairs):
        correct(Held(model), [], recipe=RECIPE, seed=1, folder=tmp_path / "run")
    with pytest.raises(BadPair):
        run(tmp_path / "run", pairs=[Pair("k", [3], [999], [5])], model=model)
    assert not (tmp_path / "run").exists()
    assert state(model) == before


def test_targets_that_the_model_does_not_have_are_named(tmp_path: Path) -> None:
    model = tiny_llama()
    before = state(model)
    with pytest.raises(BadRecipe, match=r"targets is \('c_attn',\); \"all-linear\" or names"):
        run(tmp_path / "run", recipe=replace(RECIPE, targets=("c_attn",)), model=model)
    assert state(model) == before


def test_a_loss_that_is_no_number_ends_the_run_with_advice_and_the_model_untouched(tmp_path: Path) -> None:
    model = tiny_llama()
    before = state(model)
    with pytest.raises(NotFinite, match=r"Lower learning_rate \(1e\+30\) or raise warmup"):
        run(tmp_path / "run", recipe=replace(RECIPE, learning_rate=1e30, checkpoint_every=1), model=model)
    assert state(model) == before
    assert not hasattr(model, "peft_config")
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_model_that_gives_no_probability_is_refused_before_training(tmp_path: Path) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(NotFinite, match="before any training"):
        run(tmp_path / "run", model=model)


def test_the_environment_names_what_decides_the_bytes(tmp_path: Path) -> None:
    found = json.loads(json.dumps(run(tmp_path / "run").environment))
    assert found["torch"] == torch.__version__
    assert (found["device"], found["dtype"], found["threads"], found["world_size"]) == ("cpu", "float32", 1, 1)
    assert found["trained_parameters"] > 0


def test_the_adapter_names_no_place_of_this_machine(tmp_path: Path) -> None:
    trained = run(tmp_path / "run")
    config = json.loads((trained.adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None
    assert config["target_modules"] == sorted(config["target_modules"])
    assert str(tmp_path) not in (trained.adapter / "adapter_config.json").read_text()


def test_the_mark_of_the_weights_follows_them() -> None:
    model = tiny_llama()
    before = weights_fingerprint(model)
    assert weights_fingerprint(tiny_llama()) == before
    for dimension in (0, 1):
        weight = model.model.embed_tokens.weight
        with torch.no_grad():
            weight.copy_(weight.flip(dimension))
            assert weights_fingerprint(model) != before, "the same numbers in another order"
            weight.copy_(weight.flip(dimension))
    assert weights_fingerprint(model) == before
    with torch.no_grad():
        model.model.embed_tokens.weight[5, 5] += 1e-3
    assert weights_fingerprint(model) != before
