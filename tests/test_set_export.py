"""Claims about exports of answers without a counterpart: TRL's unpaired layout, what is left out, what a set without any says."""

import json
from pathlib import Path
from typing import Any

import pytest

from flagback.storage import preferences, quarantine, unpaired
from flagback.storage.card import Format
from flagback.storage.export import NothingToExport, TellsGroups, UnknownFormat
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.preferences import NewPair, merkle_root
from flagback.storage.prompts import HELD_OUT_SHARDS, NewPrompt, add_prompts, shard_of
from flagback.storage.records import PreferenceSet, now
from flagback.storage.set_export import export_set
from flagback.storage.store import Store
from flagback.storage.unpaired import NewUnpaired
from tests.test_export import byte_tokenizer, loaded_rows, one_step, tiny_model

#: Text, and whether it was judged harmful.
SAID = [(f" answer {number}", number % 3 != 0) for number in range(12)]


def a_set(store: Store, *, pairs: int = 1, alone: bool = True, **more: Any) -> PreferenceSet:
    """A set of a few pairs and a dozen answers without one, to prompts of their own."""
    with store.writing() as session:
        prompts = add_prompts(
            session,
            [
                NewPrompt([{"role": "user", "content": f"Question {number}"}], "en", {"source": "here"}, split_key=f"f {number}")
                for number in range(len(SAID) + pairs)
            ],
        ).ids
        singles, twos = [], []
        for place, prompt in enumerate(prompts):
            texts = [SAID[place][0]] if place < len(SAID) else [" good", " bad"]
            made = add_generations(session, [NewGeneration(prompt, text, "end", "sampled", "run:1") for text in texts])
            if len(made) == 1:
                singles.append(NewUnpaired(prompt, made[0], SAID[place][1], 0.75, [place + 1]))
            else:
                twos.append(NewPair("contrast", prompt, made[0], made[1], 1.0, 1.0, [99]))
        told = {"origin": "reviews", "policy": "majority", "policy_version": "1", "arguments": {}, "salt": "here"} | more
        return preferences.freeze(session, twos, alone=singles if alone else [], **told)


@pytest.mark.parametrize(
    ("file_format", "conversational"), [("jsonl", False), ("jsonl", True), ("csv", False), ("parquet", False), ("parquet", True)]
)
def test_answers_load_in_trls_unpaired_layout_train_and_heldout_apart(
    store: Store, tmp_path: Path, file_format: Format, conversational: bool
) -> None:
    frozen = a_set(store)
    report = export_set(store, tmp_path / "out", what="unpaired", format=file_format, conversational=conversational)
    assert (report.what, sum(report.rows.values()), report.left_out) == ("unpaired", len(SAID), 0)
    found = set()
    for name, split in loaded_rows(tmp_path / "out").items():
        for row in split:
            assert row["split"] == name == ("heldout" if shard_of(row["split_key"]) in HELD_OUT_SHARDS else "train")
            assert (row["weight"], row["set_fingerprint"]) == (0.75, frozen.fingerprint)
            answer = row["completion"]
            if conversational:
                assert row["prompt"][-1]["role"] == "user"
                [message] = answer
                assert message["role"] == "assistant"
                answer = message["content"]
            found.add((answer, not row["label"]))
    assert found == set(SAID)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Answers judged alone" in card
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["what"] == "unpaired"


def test_the_fingerprint_follows_from_both_exports(sqlite_store: Store, tmp_path: Path) -> None:
    frozen = a_set(sqlite_store, pairs=3)
    export_set(sqlite_store, tmp_path / "pairs", format="jsonl")
    export_set(sqlite_store, tmp_path / "alone", what="unpaired", format="jsonl")
    files = [*(tmp_path / "pairs").glob("*.jsonl"), *(tmp_path / "alone").glob("*.jsonl")]
    leaves = sorted(json.loads(line)["row_hash"] for file in files for line in file.read_text().splitlines())
    assert len(leaves) == 3 + len(SAID)
    assert merkle_root([bytes.fromhex(leaf) for leaf in leaves]) == frozen.fingerprint


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning")  # TRL 1.16 uses the old names
@pytest.mark.parametrize("conversational", [False, True])
def test_trl_takes_a_real_kto_step_on_an_export(sqlite_store: Store, tmp_path: Path, conversational: bool) -> None:
    import torch
    from trl import KTOConfig, KTOTrainer

    torch.set_num_threads(1)
    torch.manual_seed(0)
    a_set(sqlite_store)
    export_set(sqlite_store, tmp_path / "out", what="unpaired", format="parquet", conversational=conversational)
    train = loaded_rows(tmp_path / "out")["train"]
    tokenizer = byte_tokenizer()
    model, reference = tiny_model(tokenizer), tiny_model(tokenizer)
    reference.load_state_dict(model.state_dict())
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    arguments = KTOConfig(**one_step(tmp_path / "run"))
    trainer = KTOTrainer(model=model, ref_model=reference, args=arguments, train_dataset=train, processing_class=tokenizer)
    assert trainer.train().metrics["train_loss"] == pytest.approx(0.5, abs=1e-3)  # sigmoid(0) of every answer at the reference
    assert any(not torch.equal(weights, before[name]) for name, weights in model.state_dict().items())


def test_what_was_withdrawn_is_not_written(sqlite_store: Store, tmp_path: Path) -> None:
    frozen = a_set(sqlite_store)
    with sqlite_store.writing() as session:
        gone = next(unpaired.each_unpaired(session, frozen.id))
        quarantine.put_away(session, gone.generation_id, review_id=None, category="real_person", seats=1, now=now())
    report = export_set(sqlite_store, tmp_path / "out", what="unpaired", format="jsonl")
    assert sum(report.rows.values()) == len(SAID) - 1
    assert gone.text not in "".join(path.read_text() for path in (tmp_path / "out").glob("*.jsonl"))


def test_a_set_without_such_rows_says_so_and_nothing_is_written(sqlite_store: Store, tmp_path: Path) -> None:
    a_set(sqlite_store, alone=False)
    with pytest.raises(NothingToExport, match=r"has pairs only.*--unpaired"):
        export_set(sqlite_store, tmp_path / "out", what="unpaired", format="jsonl")
    a_set(sqlite_store, pairs=0)
    with pytest.raises(NothingToExport, match="flagback export unpaired"):
        export_set(sqlite_store, tmp_path / "out", format="jsonl")
    with pytest.raises(UnknownFormat):
        export_set(sqlite_store, tmp_path / "out", what="unpaired", format="csv", conversational=True)
    a_set(sqlite_store, pairs=2, arguments={"groups": ["man", "woman"]})
    with pytest.raises(TellsGroups, match="export unpaired"):
        export_set(sqlite_store, tmp_path / "out", what="unpaired", format="jsonl")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
