"""Lists on the disk are what was appended, leave nothing behind, and keep a correction's memory flat."""

import gc
import sys
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagback.model import reference, training
from flagback.model.recipe import Pair, Recipe
from flagback.model.spool import Spool, View
from flagback.model.trees import Tree, by_width, extremes, grown
from tests.test_training import RECIPE, adapter_bytes, run
from tests.tiny_model import Held, random_pairs, tiny_llama


def on_disk(pairs: Sequence[Pair], folder: Path) -> Spool[Pair]:
    spool = Spool(Pair, folder=folder)
    for pair in pairs:
        spool.append(vars(pair))
    return spool


def test_a_list_on_the_disk_is_what_was_appended(tmp_path: Path) -> None:
    pairs = [*random_pairs(5), Pair("ñ\n", (3,), [4], [5], weight=0.1, soft_label=1 / 3, group="a & b")]
    spool = on_disk(pairs, tmp_path / "new")
    assert len(spool) == 6
    assert [replace(pair, prompt_ids=list(pair.prompt_ids)) for pair in pairs] == spool
    assert (spool[-1].weight, spool[2:4][1].key, list(spool[1:3])) == (0.1, pairs[3].key, pairs[1:3])
    spool.append(vars(pairs[0]))
    assert spool[6] == pairs[0]
    with pytest.raises(IndexError):
        spool[7]
    assert list(Spool(Pair)) == []


def test_nothing_of_it_is_left_behind_and_a_named_file_is_read_as_it_stands(tmp_path: Path) -> None:
    spool = on_disk(random_pairs(3), tmp_path)
    assert spool[0] == random_pairs(3)[0]
    assert list(tmp_path.iterdir()) == []  # while it is in use too: a kill leaves nothing
    (tmp_path / "named.jsonl").write_text('{"prompt": [3], "answers": [[4]]}\n{"prompt": [5], "answers": []}\n')
    assert Spool(Tree, file=tmp_path / "named.jsonl") == [([3], [[4]]), ([5], [])]


ids = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)
rows = st.lists(st.tuples(ids, ids), max_size=12)


@settings(deadline=None, max_examples=60)
@given(rows, st.integers(1, 3))
def test_trees_grown_of_rows_hold_each_answer_once_and_say_where(found: list[tuple[Any, Any]], most: int) -> None:
    trees, places = grown(found, most)
    assert all(1 <= len(tree.answers) <= most for tree in trees)
    answers = [(tree.prompt, answer) for tree in trees for answer in tree.answers]
    assert len(set(answers)) == len(answers)
    assert [answers[place] for place in places] == found
    assert list(dict.fromkeys(tree.prompt for tree in trees)) == list(dict.fromkeys(prompt for prompt, _ in found))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(ids, st.lists(ids, min_size=1, max_size=2).map(tuple)), max_size=12))
def test_the_order_of_scoring_is_by_width_and_then_by_ids(found: list[tuple[Any, Any]]) -> None:
    trees = [Tree(*tree) for tree in found]
    by_hand = sorted(range(len(trees)), key=lambda i: (len(trees[i].prompt) + max(map(len, trees[i].answers)), trees[i]))
    assert by_width(View(len(trees), trees.__getitem__)) == by_hand
    distinct = list(dict.fromkeys(trees[i] for i in by_hand))
    assert extremes(trees) == list(dict.fromkeys([*distinct[:2], *distinct[-1:]]))


@pytest.mark.parametrize("sharing", ["pair", "prompt"])
def test_pairs_on_the_disk_give_the_very_adapter_of_a_plain_list(sharing: str, tmp_path: Path) -> None:
    pairs = random_pairs(10)
    pairs[1::2] = [replace(pair, prompt_ids=other.prompt_ids) for pair, other in zip(pairs[1::2], pairs[::2], strict=True)]
    recipe = replace(RECIPE, sharing=sharing)  # type: ignore[arg-type] # both are of its names
    plain = run(tmp_path / "plain", pairs=pairs, recipe=recipe)
    spooled = run(tmp_path / "spooled", pairs=on_disk(pairs, tmp_path), recipe=recipe)
    assert adapter_bytes(spooled) == adapter_bytes(plain)
    assert spooled.environment == plain.environment


def _held(count: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that Python holds at the peak of a run on so many pairs beyond what it held before; reference passes are left out."""

    def scored(_: Any, trees: Sequence[Tree], *__: Any, **___: Any) -> list[list[float]]:
        by_width(trees)
        return [[-1.5 * len(answer) for answer in tree.answers] for tree in trees]

    monkeypatch.setattr(reference, "tree_logps", scored)
    pairs = on_disk(random_pairs(count, longest=40), folder)
    kept = reference.KeptReference(folder, weights="w0", tokenizer="t0")
    recipe = Recipe(steps=2, pairs_per_step=8, replay_weight=0.0, rank=2, checkpoint_every=2)
    model = Held(tiny_llama())
    gc.collect()
    tracemalloc.start()
    try:
        training.correct(model, pairs, recipe=recipe, seed=1, folder=folder / "run", kept=kept)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer of lines holds memory of its own")
def test_a_correction_holds_less_than_a_kilobyte_a_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids alone would be 1.7 KB a pair as Python holds them, and were held twice."""
    _held(40, tmp_path / "warm", monkeypatch)
    few, many = 150, 1200
    held = [_held(count, tmp_path / str(count), monkeypatch) for count in (few, many)]
    assert (held[1] - held[0]) / (many - few) < 1000, held
