"""What a model's folder must hold, where a model may come from, and what is said where it cannot be used."""

import re
import socket
from pathlib import Path

import pytest
import torch

from flagback.model import checkpoint, directory
from flagback.model.checkpoint import UnusableModel, inspect, load
from flagback.model.directory import file_hashes, fingerprint
from tests.foreign_models import BROKEN, make, make_broken
from tests.model_hub import COMMIT, model_hub

torch.set_num_threads(1)

#: How a model is broken: the class of the refusal, and words its message must hold.
REFUSALS: dict[str, tuple[type[UnusableModel], str]] = {
    "no_config": (directory.MissingFiles, "has no config.json"),
    "no_weights": (directory.MissingFiles, "expected model.safetensors"),
    "no_shard": (directory.MissingFiles, r"lacks 1 of \d+ weight files.*model-00002-of-"),
    "cut_short": (directory.BrokenWeights, "model.safetensors cannot be read as safetensors"),
    "lost_tensor": (directory.BrokenWeights, r"lack 1 tensors.*model\.layers\.1\.mlp\.up_proj\.weight"),
    "other_shape": (directory.BrokenWeights, "cannot be loaded as config.json describes"),
    "pickle": (directory.PickleWeights, r"in pytorch_model\.bin only; expected model\.safetensors"),
    "masked": (directory.WrongArchitecture, "is a BertForMaskedLM.*expected a causal language model"),
    "encoder_decoder": (directory.WrongArchitecture, "is a T5ForConditionalGeneration"),
    "own_cache": (directory.WrongArchitecture, r"\(mamba\) does not go on token by token from transformers' cache"),
    "two_sided": (directory.WrongArchitecture, "lets a token see those after it"),
    "remote_code": (directory.RemoteCode, "never run"),
    "unknown_type": (directory.WrongArchitecture, "model_type 'mine'"),
    "quantised": (directory.PickleWeights, r"quantised \(gptq\)"),
    "no_tokenizer": (directory.NoTokenizer, r"expected tokenizer\.json"),
    "broken_tokenizer": (directory.NoTokenizer, "tokenizer cannot be loaded"),
    "no_end": (directory.NoTokenizer, "names an end token"),
    "small_vocabulary": (directory.VocabularyMismatch, "ids up to 399, its weights have 100 rows"),
    "nan": (directory.BrokenWeights, r"not numbers \(in model\.layers\.1\.mlp\.up_proj\.weight\)"),
    "not_json": (directory.MissingFiles, "config.json cannot be read as JSON"),
    "adapter": (directory.MissingFiles, "looks like a LoRA adapter; add its base"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_an_unusable_model_is_refused_in_words(how: str, tmp_path: Path) -> None:
    kind, words = REFUSALS[how]
    folder = make_broken(tmp_path / "model", how)
    with pytest.raises(kind, match=words) as refusal:
        inspect(str(folder))
    assert str(refusal.value).startswith("model")  # the thing is named first


def test_code_from_a_model_folder_is_never_run(tmp_path: Path) -> None:
    folder = make_broken(tmp_path / "model", "remote_code")
    for read in (inspect, load):
        with pytest.raises(directory.RemoteCode):
            read(str(folder))
    assert (folder / "mine.py").is_file()
    assert not (folder / "was_run").exists()


@pytest.mark.parametrize(
    "words",
    [
        '"attn_implementation": "somebody/attention",',
        '"_attn_implementation": {"": "somebody/attention@main"},',
        '"text_config": {"experts_implementation": "somebody/experts"},',
    ],
)
def test_code_that_a_configuration_names_on_the_hub_is_never_run(words: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "model", "qwen2")
    config = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(config.replace("{", "{" + words, 1), encoding="utf-8")
    for read in (inspect, load):
        with pytest.raises(directory.RemoteCode, match="somebody/"):
            read(str(folder))


def test_own_code_beside_a_family_that_transformers_knows_is_left_alone(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", "qwen2")
    config = (folder / "config.json").read_text(encoding="utf-8")
    config = config.replace("{", '{"auto_map": {"AutoModelForCausalLM": "mine.Mine"},', 1)
    (folder / "config.json").write_text(config, encoding="utf-8")
    (folder / "mine.py").write_text(f"open({str(folder / 'was_run')!r}, 'w').close()\n", encoding="utf-8")
    assert inspect(str(folder)).facts["architecture"] == "Qwen2ForCausalLM"
    assert not (folder / "was_run").exists()


def test_a_file_is_not_a_model_and_its_folder_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", "gpt2")
    with pytest.raises(directory.NoSuchModel, match=re.escape(f"the same command with {folder}.")):
        inspect(str(folder / "model.safetensors"))


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(directory.NoSuchModel, match="neither a folder here nor a hub id"):
        inspect(str(tmp_path / "no" / "such"))


def test_a_fingerprint_follows_what_is_computed_and_not_the_readme(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", "llama")
    before = file_hashes(folder)
    (folder / "README.md").write_text("words", encoding="utf-8")
    (folder / "LICENSE.txt").write_text("words", encoding="utf-8")
    assert file_hashes(folder) == before
    assert any(name.startswith("model-00001-of-") for name in before)
    (folder / "generation_config.json").write_text('{"eos_token_id": 1, "temperature": 0.5}', encoding="utf-8")
    assert fingerprint(file_hashes(folder)) != fingerprint(before)


def test_a_hub_id_is_fetched_without_code_or_pickle_and_pinned_to_its_commit(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", "qwen2_chat")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "mine.py").write_text("1 / 0", encoding="utf-8")
    with model_hub("people/tiny", folder) as hub:
        found = inspect("people/tiny", cache=tmp_path / "cache", endpoint=hub.address)
    assert (found.name, found.location, found.template) == ("people/tiny", f"people/tiny@{COMMIT}", "chat")
    assert found.files == file_hashes(folder)
    assert set(hub.fetched) == set(found.files)
    again = load(found.location, cache=tmp_path / "cache")  # the hub is gone: the cache has it
    here = load(str(folder))
    assert checkpoint.distance(again.model, here.model) == 0.0


def test_the_hubs_refusals_say_what_to_do(tmp_path: Path) -> None:
    folder = make(tmp_path / "model", "gpt2")
    with model_hub("people/tiny", folder) as hub:
        with pytest.raises(directory.NoSuchModel, match="knows no model of that name"):
            inspect("people/other", cache=tmp_path / "cache", endpoint=hub.address)
        with pytest.raises(directory.NoSuchModel, match="accept them on its page and run 'hf auth login'"):
            inspect("private/model", cache=tmp_path / "cache", endpoint=hub.address)


def test_a_hub_that_does_not_answer_is_told_apart_from_a_wrong_name(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(directory.HubUnreachable, match=r"does not answer.*run 'hf download people/tiny --local-dir FOLDER'"):
            inspect("people/tiny", cache=tmp_path / "cache", endpoint=address)


def test_a_pinned_model_that_is_not_in_the_cache_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(directory.HubUnreachable), socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        inspect(f"people/tiny@{COMMIT}", cache=tmp_path / "cache", endpoint=f"http://127.0.0.1:{closed.getsockname()[1]}")
