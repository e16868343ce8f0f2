"""What a reference made of answers is computed once, and never taken from a damaged place or from another model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flagback.model.layout import tree_logps
from flagback.model.recipe import NotFinite
from flagback.model.reference import FILE, Found, KeptReference, reference_logps, tokenizer_fingerprint
from flagback.model.trees import Tree
from tests.test_layout import random_trees
from tests.tiny_model import tiny_llama

TREES = random_trees(6, seed=8)
ANSWERS = sum(len(tree.answers) for tree in TREES)


def kept_in(folder: Path, *, weights: str = "w0", tokenizer: str = "t0") -> KeptReference:
    return KeptReference(folder, weights=weights, tokenizer=tokenizer)


def scored(
    folder: Path, kept: KeptReference | None = None, *, trees: list[Tree] = TREES, run: str = "a", model: Any = None
) -> Found:
    folder.mkdir(exist_ok=True)
    return reference_logps(model or tiny_llama(), trees, "flat", folder=folder, run=run, kept=kept)


def test_the_numbers_are_the_models_without_an_adapter(tmp_path: Path) -> None:
    found = scored(tmp_path / "run")
    assert found.logps == tree_logps(tiny_llama(), TREES, "flat")
    assert found.kept == 0


def test_a_later_run_of_the_same_model_computes_nothing_again(tmp_path: Path) -> None:
    first = scored(tmp_path / "one", kept_in(tmp_path))
    another = tiny_llama(seed=1)  # would give other numbers if it were asked
    second = scored(tmp_path / "two", kept_in(tmp_path), model=another)
    assert second == first._replace(kept=ANSWERS)


def test_only_what_is_new_is_scored(tmp_path: Path) -> None:
    scored(tmp_path / "one", kept_in(tmp_path), trees=TREES[:4])
    old = sum(len(tree.answers) for tree in TREES[:4])
    wider = Tree(TREES[0].prompt, (*TREES[0].answers, (9, 8, 7)))
    found = scored(tmp_path / "two", kept_in(tmp_path), trees=[wider, *TREES[1:]])
    assert found.kept == old
    expected = [value for values in tree_logps(tiny_llama(), [wider, *TREES[1:]], "flat") for value in values]
    assert [value for values in found.logps for value in values] == pytest.approx(expected, abs=1e-4)


def test_the_same_pairs_get_the_numbers_of_their_first_run_to_the_last_bit(tmp_path: Path) -> None:
    """An answer in two trees has two numbers, which may differ in their last bits."""
    shared = [Tree((5, 6, 7), ((8, 9, 10), (11, 12))), Tree((5, 6, 7), ((13,), (8, 9, 10))), *TREES]
    scored(tmp_path / "before", kept_in(tmp_path), trees=[Tree((5, 6, 7), ((11, 12),))])
    first = scored(tmp_path / "one", kept_in(tmp_path), trees=shared)
    again = scored(tmp_path / "two", kept_in(tmp_path), trees=shared)
    assert (again.logps, again.sha256) == (first.logps, first.sha256)


def test_the_file_works_on_another_machine(tmp_path: Path) -> None:
    kept = kept_in(tmp_path / "here")
    scored(tmp_path / "one", kept)
    there = kept_in(tmp_path / "there").path
    there.parent.mkdir(parents=True)
    there.write_bytes(kept.path.read_bytes())
    assert scored(tmp_path / "two", kept_in(tmp_path / "there")).kept == ANSWERS
    assert str(tmp_path) not in there.read_text()


@pytest.mark.parametrize("damage", ["number", "answer", "tree", "how", "not a number", "half a line", "no seal", "a list", "bytes"])
def test_a_damaged_line_is_scored_again(damage: str, tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    first = scored(tmp_path / "one", kept, trees=TREES[:1])
    rows = [json.loads(line) for line in kept.path.read_text().split("\n") if line]
    changes: dict[str, Callable[[dict[str, Any]], object]] = {
        "number": lambda row: row | {"logp": row["logp"] + 1e-3},
        "answer": lambda row: row | {"answer": "0" * 64},
        "tree": lambda row: row | {"tree": "0" * 64},
        "how": lambda row: row | {"how": "padded.float32"},
        "not a number": lambda row: row | {"logp": float("nan")},
        "no seal": lambda row: {name: value for name, value in row.items() if name != "seal"},
        "a list": lambda row: [row],
    }
    if damage == "half a line":
        kept.path.write_text("\n".join(json.dumps(row)[:-20] for row in rows))
    elif damage == "bytes":
        kept.path.write_bytes(b"\xff\x00" + kept.path.read_bytes().replace(b"{", b"\xfe"))
    else:
        kept.path.write_text("\n".join(json.dumps(changes[damage](row)) for row in rows))
    found = scored(tmp_path / "two", kept_in(tmp_path), trees=TREES[:1])
    assert found == first
    assert scored(tmp_path / "three", kept_in(tmp_path), trees=TREES[:1]).kept == len(TREES[0].answers)


@pytest.mark.parametrize("other", [{"weights": "w1"}, {"tokenizer": "t1"}])
def test_lines_of_another_model_or_tokenizer_are_not_read_whatever_their_file_is_called(
    other: dict[str, str], tmp_path: Path
) -> None:
    foreign = kept_in(tmp_path, **other)
    scored(tmp_path / "one", foreign, model=tiny_llama(seed=1))
    assert scored(tmp_path / "two", kept_in(tmp_path)).kept == 0
    mine = kept_in(tmp_path / "mine")
    mine.path.parent.mkdir(parents=True)
    mine.path.write_bytes(foreign.path.read_bytes())
    assert scored(tmp_path / "three", kept_in(tmp_path / "mine")) == scored(tmp_path / "plain")


def test_other_layouts_have_numbers_of_their_own(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    scored(tmp_path / "one", kept)
    assert kept.get("flat.float32", TREES[0]) != [None] * len(TREES[0].answers)
    assert kept.get("padded.float32", TREES[0]) == kept.get("flat.bfloat16", TREES[0]) == [None] * len(TREES[0].answers)


def test_a_run_goes_on_with_its_own_numbers_unless_they_are_damaged_or_anothers(tmp_path: Path) -> None:
    first = scored(tmp_path / "run")
    changed = tiny_llama(seed=1)
    assert scored(tmp_path / "run", model=changed) == first, "read from the folder"
    other = scored(tmp_path / "other", model=changed)
    assert scored(tmp_path / "run", run="b", model=changed) == other, "another run's are not read"
    place = tmp_path / "run" / FILE
    content = bytearray(place.read_bytes())
    content[-3] ^= 1
    place.write_bytes(bytes(content))
    assert scored(tmp_path / "run", run="b") == first, "one bit is enough"
    save_file(load_file(place), place)
    assert scored(tmp_path / "run", run="b", model=changed) == other, "nor what says nothing of itself"
    place.write_bytes(b"{")
    assert scored(tmp_path / "run", run="b") == first


def test_nothing_that_is_no_number_is_kept(tmp_path: Path) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    kept = kept_in(tmp_path)
    with pytest.raises(NotFinite, match="before any training"):
        scored(tmp_path / "run", kept, model=model)
    assert not kept.path.exists()
    assert not (tmp_path / "run" / FILE).exists()


def test_a_name_that_could_leave_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot name a file of references"):
        kept_in(tmp_path, weights="../w")


def test_tokenizers_differ_by_their_tokens_and_ids() -> None:
    class Words:
        def __init__(self, words: dict[str, int]) -> None:
            self.words = words

        def get_vocab(self) -> dict[str, int]:
            return self.words

    assert tokenizer_fingerprint(Words({"a": 0, "b": 1})) == tokenizer_fingerprint(Words({"b": 1, "a": 0}))
    assert tokenizer_fingerprint(Words({"a": 0, "b": 1})) != tokenizer_fingerprint(Words({"a": 1, "b": 0}))
