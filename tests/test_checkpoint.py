"""Weights of every layout, as they are stored and with corrections merged in."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from flagback.model.checkpoint import distance, inspect, load
from flagback.model.directory import UnusableAdapter
from tests.foreign_models import LAYOUTS, make

torch.set_num_threads(1)

IDS = torch.tensor([[5, 9, 17, 3, 250]])


def adapter_for(folder: Path, base: Path, *, seed: int) -> Path:
    """A LoRA adapter with random, not zero, weights."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)  # nosec B615 # a folder made here
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PEFT says while an adapter is made is not what is tested
        tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(0.0, 0.05)
    tuned.save_pretrained(folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_loaded_in_float32_without_a_word(layout: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = make(tmp_path / layout, layout)
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = inspect(str(folder))
        loaded = load(str(folder))
    assert capfd.readouterr() == ("", "")
    assert {weight.dtype for weight in loaded.model.parameters()} == {torch.float32}
    assert not loaded.model.training
    assert found.name == layout
    assert found.location == str(folder)
    assert found.template == loaded.template == ("chat" if layout in ("qwen2_chat", "gemma", "gemma2", "gemma3") else "plain")
    assert found.facts["vocabulary"] == loaded.vocabulary == len(loaded.tokenizer)
    assert found.facts["context"] == loaded.context == (None if layout == "bloom" else 128)
    assert loaded.tokenizer.eos_token_id in loaded.end


def test_what_is_loaded_is_what_was_stored(tmp_path: Path) -> None:
    folder = make(tmp_path / "llama", "llama")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    stored: dict[str, torch.Tensor] = {}
    for shard in folder.glob("*.safetensors"):
        stored |= load_file(shard)
    weights = load(str(folder)).model.state_dict()
    assert stored["lm_head.weight"].dtype == torch.float16
    assert all(torch.equal(weights[name], tensor.float()) for name, tensor in stored.items())
    assert weights.keys() == stored.keys()


def test_the_maintainer_may_choose_the_template(tmp_path: Path) -> None:
    folder = make(tmp_path / "chat", "qwen2_chat")
    assert inspect(str(folder), template="plain").template == load(str(folder), template="plain").template == "plain"


def test_the_embedded_model_is_loaded_by_its_name() -> None:
    found = inspect("embedded")
    assert (found.name, found.location, found.template) == ("embedded", "embedded", "plain")
    assert load("embedded").vocabulary == found.facts["vocabulary"]


@pytest.mark.parametrize("layout", ["llama", "qwen2", "gpt2", "gemma2"])
def test_adapters_are_merged_in_order_and_leave_nothing_of_peft_behind(layout: str, tmp_path: Path) -> None:
    base = make(tmp_path / "base", layout)
    first, second = adapter_for(tmp_path / "first", base, seed=1), adapter_for(tmp_path / "second", base, seed=2)
    plain, once, twice = load(str(base)), load(str(base), [first]), load(str(base), [first, second])
    assert type(twice.model) is type(plain.model)
    assert once.model.state_dict().keys() == plain.model.state_dict().keys()
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)  # nosec B615 # a folder made here
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        beside = PeftModel.from_pretrained(model, first).eval()
    torch.testing.assert_close(logits(once.model), logits(beside), atol=1e-4, rtol=1e-4)
    assert distance(once.model, plain.model) > 0
    assert distance(twice.model, plain.model) > 0
    assert distance(twice.model, once.model) > 0
    assert distance(load(str(base), [first, second]).model, twice.model) == 0.0


def test_distance_is_the_relative_change_of_all_weights(tmp_path: Path) -> None:
    base = make(tmp_path / "base", "qwen2")
    model, moved = load(str(base)).model, load(str(base)).model
    assert distance(moved, model) == 0.0
    with torch.no_grad():
        for weight in moved.parameters():
            weight.mul_(1.25)
    assert distance(moved, model) == pytest.approx(0.25, rel=1e-6)
    with pytest.raises(ValueError, match="other parameters"):
        distance(moved, load(str(make(tmp_path / "other", "gpt2"))).model)


def test_an_adapter_that_does_not_fit_is_named(tmp_path: Path) -> None:
    base = make(tmp_path / "base", "llama")
    wider = make(tmp_path / "wider", "llama", hidden_size=64)
    adapter = adapter_for(tmp_path / "adapter", wider, seed=1)
    with pytest.raises(UnusableAdapter, match="does not fit base"):
        load(str(base), [adapter])
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(UnusableAdapter, match=r"has no adapter_model\.safetensors"):
        load(str(wider), [adapter])


def test_an_adapter_with_a_broken_value_is_refused(tmp_path: Path) -> None:
    base = make(tmp_path / "base", "llama")
    adapter = adapter_for(tmp_path / "adapter", base, seed=1)
    tensors = load_file(adapter / "adapter_model.safetensors")
    tensors[sorted(tensors)[0]][0, 0] = float("nan")
    save_file(tensors, adapter / "adapter_model.safetensors")
    with pytest.raises(UnusableAdapter):
        load(str(base), [adapter])
