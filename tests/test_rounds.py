"""Rounds of correction are put together exactly as PEFT composes them, and a line that drifts too far is refused."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from flagback.model import checkpoint, cycle, dialogue, rounds
from flagback.model.checkpoint import Loaded
from flagback.model.directory import UnusableAdapter
from flagback.model.divergence import kl_rows
from flagback.model.recipe import Recipe
from flagback.model.rounds import Drift, DriftTooFar, NothingToRelearn, check_drift, drift_of, stack
from flagback.model.training import correct
from flagback.storage import preferences, runs, versions
from flagback.storage.records import CorrectionRun, ModelVersion, now
from flagback.storage.store import Store
from tests.foreign_models import make
from tests.loop_home import RECIPE as LOOP_RECIPE
from tests.loop_home import Loop
from tests.tiny_model import random_pairs

#: PEFT 0.21 asks transformers 5.23 by an old name when it loads an adapter.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
RECIPE = Recipe(steps=3, pairs_per_step=4, replay_weight=0.0, learning_rate=2e-2, schedule="constant", beta=0.1)
ROW = torch.tensor([[5, 9, 23, 11, 40, 7, 31, 18]])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def logits(model: Any) -> torch.Tensor:
    """(T, V) after every token of ROW."""
    with torch.no_grad():
        found: torch.Tensor = model(ROW).logits[0]
    return found


def composed_by_peft(base: Any, adapters: list[Path], *, merged: bool = True) -> Any:
    """The base with all adapters active at once, or merged by PEFT itself."""
    model = PeftModel.from_pretrained(base, adapters[0], adapter_name="0")
    for number, adapter in enumerate(adapters[1:], start=1):
        model.load_adapter(adapter, adapter_name=str(number))
    names = [str(number) for number in range(len(adapters))]
    model.base_model.set_adapter(names)
    return model.merge_and_unload(adapter_names=names).eval() if merged else model.eval()


class Rounds:
    """Two rounds on a directory of another make: the second on the merged first, of another rank, scale and set of modules."""

    def __init__(self, folder: Path, layout: str) -> None:
        self.base = str(make(folder / "base", layout))
        few: str | tuple[str, ...] = ("c_attn",) if layout == "gpt2" else ("q_proj", "down_proj")
        recipes = [RECIPE, replace(RECIPE, rank=3, alpha=5.0, targets=few)]
        self.adapters: list[Path] = []
        for number, recipe in enumerate(recipes):
            loaded = checkpoint.load(self.base, self.adapters)
            trained = correct(loaded, random_pairs(6, seed=number), recipe=recipe, seed=number, folder=folder / str(number))
            self.adapters.append(trained.adapter)

    def loaded(self, adapters: list[Path], dtype: Any = "float32") -> Any:
        return checkpoint.load(self.base, adapters, dtype=dtype).model


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rounds:
    return Rounds(tmp_path_factory.mktemp("rounds"), request.param)


def test_merged_rounds_give_the_logits_of_pefts_composition(two: Rounds) -> None:
    expected = logits(composed_by_peft(two.loaded([]), two.adapters))
    assert (logits(two.loaded([])) - expected).abs().max() > 0.05, "the corrections must matter for the comparison to mean anything"
    assert torch.allclose(logits(two.loaded(two.adapters)), expected, atol=1e-5, rtol=0)


def test_stacked_rounds_are_one_plain_adapter_with_the_logits_of_pefts_composition(two: Rounds, tmp_path: Path) -> None:
    stack(two.adapters, tmp_path / "stacked")
    expected = logits(composed_by_peft(two.loaded([]), two.adapters))
    one = PeftModel.from_pretrained(two.loaded([]), tmp_path / "stacked").merge_and_unload()
    assert torch.allclose(logits(one), expected, atol=1e-5, rtol=0)
    assert torch.allclose(logits(two.loaded([tmp_path / "stacked"])), expected, atol=1e-5, rtol=0)
    assert json.loads((tmp_path / "stacked" / "adapter_config.json").read_text())["r"] == RECIPE.rank + 3
    stack([tmp_path / "stacked", two.adapters[0]], tmp_path / "more")
    thrice = logits(composed_by_peft(two.loaded([]), [*two.adapters, two.adapters[0]]))
    assert torch.allclose(logits(two.loaded([tmp_path / "more"])), thrice, atol=1e-5, rtol=0)


def test_both_are_what_the_adapters_do_side_by_side_unmerged(two: Rounds, tmp_path: Path) -> None:
    """In float64, since a sum of products and a product of sums differ in float32 by more than a hundred-thousandth here."""
    stack(two.adapters, tmp_path / "stacked")
    expected = logits(composed_by_peft(two.loaded([], "float64"), two.adapters, merged=False))
    for chain in (two.adapters, [tmp_path / "stacked"]):
        assert torch.allclose(logits(two.loaded(chain, "float64")), expected, atol=1e-5, rtol=0)


def test_a_stack_of_one_is_that_one(two: Rounds, tmp_path: Path) -> None:
    stack([two.adapters[1]], tmp_path / "alone")
    assert torch.allclose(logits(two.loaded([tmp_path / "alone"])), logits(two.loaded([two.adapters[1]])), atol=1e-5, rtol=0)
    held = load_file(tmp_path / "alone" / "adapter_model.safetensors")
    assert held.keys() == load_file(two.adapters[1] / "adapter_model.safetensors").keys()


def test_what_is_no_plain_lora_is_not_stacked(two: Rounds, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    for path in two.adapters[0].iterdir():
        (odd / path.name).write_bytes(path.read_bytes())
    config = json.loads((odd / "adapter_config.json").read_text()) | {"use_dora": True}
    (odd / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UnusableAdapter, match=r"no plain LoRA \(use_dora\)"):
        stack([two.adapters[1], odd], tmp_path / "out")


def test_drift_is_the_mean_divergence_a_token_and_the_share_of_the_norm(two: Rounds) -> None:
    first, made = checkpoint.load(two.base), checkpoint.load(two.base, two.adapters)
    texts = ["The nurse said that she would come back.", "a", "In the evening they talked about the weather."]
    found = drift_of(made, first, texts)
    rows = [dialogue.answer_ids(first.tokenizer, text, "plain") for text in texts]
    sums = [_kl(made, first, row) for row in rows if len(row) > 1]
    assert found.kl == pytest.approx(sum(sums) / sum(len(row) - 1 for row in rows), rel=1e-4)
    for model in (made.model, first.model):
        model.requires_grad_(False)
    moved = sum(float((a - b).square().sum()) for a, b in zip(made.model.parameters(), first.model.parameters(), strict=True))
    norm = sum(float(b.square().sum()) for b in first.model.parameters())
    assert found.distance == pytest.approx(math.sqrt(moved / norm), rel=1e-4)
    assert drift_of(first, first, texts) == Drift(0.0, 0.0, found.texts)
    assert drift_of(made, first, []).kl is None


def _kl(made: Loaded, first: Loaded, row: list[int]) -> float:
    with torch.no_grad():
        one, other = (side.model(torch.tensor([row])).logits[0, :-1] for side in (made, first))
    return float(kl_rows(one, other).sum())


def test_a_budget_refuses_what_is_past_it_and_says_what_helps() -> None:
    first = version(1, "base", "small")
    within = Drift(0.05, 0.1, 9)
    check_drift(within, Recipe(), first)
    check_drift(within, Recipe(max_distance=0.05, max_kl=0.1), first)
    with pytest.raises(DriftTooFar, match=r"5\.00% .*version 1 \(small\), the first base; the recipe allows 4\.00%.*rounds rebase"):
        check_drift(within, Recipe(max_distance=0.04), first)
    with pytest.raises(DriftTooFar, match=r"0\.1 nats a token .*allows 0\.09.*raise max_kl"):
        check_drift(within, Recipe(max_kl=0.09), first)
    with pytest.raises(DriftTooFar, match="no neutral text"):
        check_drift(Drift(0.0, None, 0), Recipe(max_kl=0.09), first)


# -------------------------------------------------------------- in the store


def corrected(loop: Loop, *, set_id: int | None = None, **more: Any) -> CorrectionRun:
    """A correction up to its candidate."""
    with loop.store.writing() as session:
        run = runs.request_correction(session, by="test", now=now(), recipe=LOOP_RECIPE | more, set_id=set_id)
    cycle.freeze(loop.store, run.id)
    cycle.train(loop.store, loop.shelf, run.id, work=loop.folder / "work")
    try:
        cycle.register(loop.store, loop.shelf, run.id)
    finally:
        with loop.store.writing() as session:
            run = session.get_one(CorrectionRun, run.id)
            run.state = "succeeded"
            session.add(run)
    return run


def of(loop: Loop, version_id: int | None) -> ModelVersion:
    with loop.store.reading() as session:
        return session.get_one(ModelVersion, version_id)


def test_rounds_of_a_line_keep_their_lineage_and_are_what_peft_composes(sqlite_store: Store, tmp_path: Path) -> None:
    loop = Loop(sqlite_store, tmp_path, prompts=8)
    loop.sample()
    loop.review()
    one = corrected(loop)
    versions.promote(sqlite_store, one.candidate_id or 0, by="lena", now=now(), override_reason="a test")
    loop.sample(seed=5)
    loop.review()
    merged = corrected(loop)
    stacked = corrected(loop, set_id=merged.set_id, rounds="stack")
    rebased = corrected(loop, set_id=merged.set_id, rounds="rebase")
    assert merged.adapter_sha256 == stacked.adapter_sha256 != rebased.adapter_sha256
    chain = [one.adapter_sha256, merged.adapter_sha256]
    first = of(loop, 1)

    def base() -> Any:
        return loop.shelf.fresh(first).model  # PEFT changes what it is given

    place = loop.shelf.artifacts.path
    expected = logits(composed_by_peft(base(), [place(sha or "") for sha in chain]))
    for run, adapters in ((merged, chain), (stacked, None), (rebased, [rebased.adapter_sha256])):
        made = of(loop, run.candidate_id)
        assert made.parent_id == one.candidate_id
        assert made.first_base_id == 1
        assert adapters in (None, made.adapters)
        told = made.facts["round"]
        assert (told["number"], told["adapter"], told["adapters_before"]) == (2, run.adapter_sha256, chain[:1])
        if run is rebased:
            expected = logits(composed_by_peft(base(), [place(run.adapter_sha256 or "")]))
        # What float32 rounds grows with the logits, which are near 10 here (the stack: 1.1e-5; the others: nothing).
        most = 2e-6 * float(expected.abs().max())
        assert torch.allclose(logits(loop.shelf.get(made).model), expected, atol=most, rtol=0)
    assert len(of(loop, stacked.candidate_id).adapters) == 1
    assert of(loop, stacked.candidate_id).fingerprint != of(loop, merged.candidate_id).fingerprint
    with sqlite_store.reading() as session:
        learnt = [len(preferences.pairs_of(session, one_set, training=True)) for one_set in (one.set_id or 0, merged.set_id or 0)]
    assert of(loop, rebased.candidate_id).facts["round"]["sets"] == [one.set_id, merged.set_id]
    assert of(loop, rebased.candidate_id).facts["round"]["trained_on"] == 1
    assert rebased.environment["pairs"] + rebased.environment["dropped"] == sum(learnt)
    with pytest.raises(DriftTooFar, match="the recipe allows"):
        corrected(loop, set_id=merged.set_id, max_distance=1e-7)
    with sqlite_store.reading() as session:
        refused = session.get_one(CorrectionRun, rebased.id + 1)
    assert refused.candidate_id is None
    assert refused.environment["drift"]["distance"] > 1e-7


def version(number: int, kind: Any, name: str) -> ModelVersion:
    return ModelVersion(id=number, kind=kind, state="retired", name=name, location="x", template="plain", fingerprint=str(number))


def test_a_line_with_a_version_that_came_from_no_pairs_is_not_rebased() -> None:
    line = rounds.Line(version(1, "base", "small"), [version(2, "correction", "distilled")], [None])
    with pytest.raises(NothingToRelearn, match=r"Version 2 \(distilled\) did not learn from pairs"):
        rounds.sets_to_learn(line, 3, Recipe(rounds="rebase"))
    assert rounds.sets_to_learn(line, 3, Recipe()) == [3]


def test_a_set_that_two_rounds_learnt_counts_once() -> None:
    line = rounds.Line(version(1, "base", "small"), [], [4, 5, 4])
    assert rounds.sets_to_learn(line, 5, Recipe(rounds="rebase")) == [4, 5]
