"""Corrections of every weight in the place of an adapter: the same engine, a plain PEFT folder, the model before untouched."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.utils import other
from peft.utils.constants import DUMMY_TARGET_MODULES
from safetensors.torch import load_file
from transformers import BloomConfig, BloomForCausalLM, CTRLConfig, CTRLLMHeadModel, GPT2Config, GPT2LMHeadModel

from flagback.model import memory
from flagback.model.adapter import NO_MATRICES, WEIGHTS, merged, take_out, with_adapter
from flagback.model.checkpoint import distance
from flagback.model.directory import UnusableAdapter
from flagback.model.losses import reward_margin
from flagback.model.plain_folder import write_adapter
from flagback.model.recipe import BadRecipe, Recipe, Stopped, TooLittleMemory
from flagback.model.training import correct, sequence_logps
from tests.tiny_model import VOCABULARY, Held, random_lines, random_pairs, tiny_llama

RECIPE = Recipe(
    tuning="full", steps=4, learning_rate=1e-3, pairs_per_step=12, replay_per_step=4, checkpoint_every=2, schedule="constant"
)
PAIRS, LINES = random_pairs(12), random_lines(6)
MODELS: dict[str, Any] = {
    "tied": tiny_llama,
    "untied": lambda: tiny_llama(tie_word_embeddings=False),
    "gpt2": lambda: seeded(GPT2LMHeadModel, GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128)),
    "bloom": lambda: seeded(BloomForCausalLM, BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4)),
}


def seeded(kind: Any, config: Any) -> Any:
    """A model with weights of its own kind's spread."""
    torch.manual_seed(0)
    return kind(config).eval()


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def tuned(model: Any, folder: Path, recipe: Recipe = RECIPE, **more: Any) -> Any:
    return correct(Held(model), PAIRS, replay=LINES, recipe=recipe, seed=3, folder=folder, **more)


@pytest.mark.parametrize("kind", MODELS)
def test_every_weight_is_trained_and_the_model_given_stays_as_it_was(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    before, modules = weights_of(model), [id(module) for module in model.modules()]
    made = tuned(model, tmp_path / "run")
    assert [id(module) for module in model.modules()] == modules
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert made.environment["trained_parameters"] == sum(weight.numel() for weight in before.values())
    assert made.metrics[-1].preference_loss < made.metrics[0].preference_loss


@pytest.mark.parametrize("kind", MODELS)
def test_what_it_leaves_is_a_plain_peft_folder_with_all_that_was_learnt(kind: str, tmp_path: Path) -> None:
    """A run's figures of step 4 are those of the model after 3 steps: a run of 3 steps, loaded again, has them."""
    told = tuned(MODELS[kind](), tmp_path / "four").metrics[3]
    made = tuned(MODELS[kind](), tmp_path / "three", replace(RECIPE, steps=3))
    base = MODELS[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = PeftModel.from_pretrained(MODELS[kind](), made.adapter).eval()
    for model in (read, found := merged(MODELS[kind](), made.adapter)):
        sides = [
            [sequence_logps(one, [(pair.prompt_ids, ids)])[0] for pair in PAIRS for ids in (pair.chosen_ids, pair.rejected_ids)]
            for one in (model, base)
        ]
        mine, theirs = (torch.tensor(side, dtype=torch.float64).view(-1, 2) for side in sides)
        margin = reward_margin(mine[:, 0], mine[:, 1], theirs[:, 0], theirs[:, 1], beta=RECIPE.beta)
        weight = torch.tensor([pair.weight for pair in PAIRS], dtype=torch.float64)
        assert float((margin * weight).sum() / weight.sum()) == pytest.approx(told.margin, abs=1e-4)
    head, embedding = found.get_output_embeddings().weight, found.get_input_embeddings().weight
    assert (head is embedding) == (base.get_output_embeddings().weight is base.get_input_embeddings().weight)
    assert dict(found.named_parameters()).keys() == dict(base.named_parameters()).keys()
    assert distance(found, base) > 0
    found.save_pretrained(tmp_path / "whole")
    again = type(base).from_pretrained(tmp_path / "whole").eval()
    ids = torch.tensor([[3, 9, 4, 11]])
    assert torch.equal(again(ids).logits, found(ids).logits)


def test_a_stopped_run_goes_on_to_the_bytes_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = tuned(tiny_llama(), tmp_path / "one")
    for step in (1, 3):
        seen: list[int] = []
        with pytest.raises(Stopped):
            tuned(
                tiny_llama(),
                tmp_path / f"two {step}",
                on_step=lambda metrics, seen=seen: seen.append(metrics.step),
                should_stop=lambda seen=seen, step=step: len(seen) == step,
            )
        assert tuned(tiny_llama(), tmp_path / f"two {step}").weights_sha256 == undisturbed.weights_sha256


def test_an_early_stop_keeps_the_best_look_of_every_weight(tmp_path: Path) -> None:
    recipe = replace(RECIPE, stop_every=1, stop_patience=4)
    made = tuned(tiny_llama(), tmp_path / "run", recipe, aside=random_pairs(6, seed=9))
    best = made.environment["early_stop"]["best_step"]
    shorter = tuned(tiny_llama(), tmp_path / "best", replace(RECIPE, steps=best)) if best else None
    assert shorter is not None
    kept, wanted = load_file(made.adapter / WEIGHTS), load_file(shorter.adapter / WEIGHTS)
    assert kept.keys() == wanted.keys()
    assert all(torch.equal(weight, wanted[name]) for name, weight in kept.items())


def test_what_is_taken_out_leaves_a_model_that_an_adapter_fits_again() -> None:
    model = tiny_llama()
    before = weights_of(model)
    for recipe in (RECIPE, Recipe(), RECIPE):
        adapted = with_adapter(model, recipe)
        with torch.no_grad():
            for weight in adapted.parameters():
                if weight.requires_grad:
                    weight.add_(1.0)
        take_out(adapted)
        assert weights_of(model).keys() == before.keys()
        assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_memory_that_runs_out_while_the_copy_is_made_leaves_the_model_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the second try goes on in the very folder."""
    model, copied = tiny_llama(), []
    before = [id(module) for module in model.modules()]
    plainly = other.copy.deepcopy

    def short(value: Any) -> Any:
        copied.append(value)
        if len(copied) == 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plainly(value)

    monkeypatch.setattr(other.copy, "deepcopy", short)
    alarms: list[str] = []
    made = tuned(model, tmp_path / "run", on_alarm=lambda alarm: alarms.append(alarm.kind))
    assert [id(module) for module in model.modules()] == before
    assert not hasattr(model, "peft_config")
    assert "memory" in alarms
    assert len(made.metrics) == RECIPE.steps


def test_a_copy_that_cannot_fit_is_refused_before_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine", lambda _=None: memory.Machine(50.0, 40.0))
    monkeypatch.setattr("flagback.model.training.with_adapter", lambda *_: pytest.fail("it was made"))
    with pytest.raises(TooLittleMemory, match=r"lower max_tokens \(1024\), train an adapter \(tuning lora\)"):
        tuned(tiny_llama(), tmp_path / "run")


def test_a_head_with_a_bias_beside_the_embedding_s_weights_is_refused() -> None:
    model = seeded(CTRLLMHeadModel, CTRLConfig(vocab_size=VOCABULARY, n_embd=32, dff=64, n_layer=1, n_head=2))
    with pytest.raises(BadRecipe, match="CTRLLMHeadModel has a head with a bias of its own"):
        with_adapter(model, RECIPE)
    assert not hasattr(model, "peft_config")


def test_the_name_for_no_matrices_is_peft_s() -> None:
    assert NO_MATRICES == DUMMY_TARGET_MODULES


def test_what_replaces_all_before_it_is_exported_alone_and_is_no_part_of_a_stack(tmp_path: Path) -> None:
    low = tuned(tiny_llama(), tmp_path / "low", Recipe(steps=2, pairs_per_step=4, replay_weight=0.0)).adapter
    full = tuned(tiny_llama(), tmp_path / "full", replace(RECIPE, steps=2)).adapter
    write_adapter([low, full], tmp_path / "out", card="")
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (full / WEIGHTS).read_bytes()
    with pytest.raises(UnusableAdapter, match=r"is no plain LoRA \(modules_to_save\).*export merged weights"):
        write_adapter([full, low], tmp_path / "no", card="")
    assert not (tmp_path / "no").exists()


def test_an_adapter_s_rate_and_dropout_are_refused_for_every_weight() -> None:
    with pytest.raises(BadRecipe, match=r"learning_rate is 0\.0032 with tuning 'full'; at most 0\.001"):
        Recipe(tuning="full")
    with pytest.raises(BadRecipe, match=r"dropout is 0\.1 with tuning 'full'"):
        replace(RECIPE, dropout=0.1)
    with pytest.raises(BadRecipe, match="rounds is 'stack' with tuning 'full'"):
        replace(RECIPE, rounds="stack")
    assert Recipe(tuning="full", find_rate=True).find_rate
