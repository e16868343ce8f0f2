"""Two processes give what one gives; sharded weights are sharded; who asked for more than there is, is told so."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flagback.model.ranks import ALONE
from flagback.model.recipe import BadRecipe, Recipe
from tests.foreign_models import make
from tests.two_ranks import EVERY_WEIGHT, ONE_PAIR, RECIPE, run

ROOT = Path(__file__).parent.parent
Found = Mapping[str, Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with grouped queries and an untied head."""
    return make(tmp_path_factory.mktemp("model") / "llama", "llama")


@pytest.fixture(scope="module")
def two(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What two processes found, started by torchrun as docs/scale-out.md says."""
    folder = tmp_path_factory.mktemp("two")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [*torchrun, "-m", "tests.two_ranks", str(base), str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[:9000]
    found: Found = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_have_the_losses_and_gradients_of_one(sharding: str, two: Found, base: Path, tmp_path: Path) -> None:
    one = run(base, tmp_path / "one", RECIPE, ALONE)
    found = two[sharding]
    assert found["losses"] == pytest.approx([m.loss for m in one.metrics], abs=1e-4)
    assert found["margins"] == pytest.approx([m.margin for m in one.metrics], abs=1e-4)
    assert found["norms"] == pytest.approx([m.grad_norm for m in one.metrics], rel=1e-3)
    assert found["padded"] == pytest.approx(found["losses"], abs=1e-4)
    assert abs(one.metrics[-1].margin) > 0.005, "the steps must have moved the model for the comparison to mean anything"
    assert found["told"] == [1, 2, 3, 4]
    assert (found["environment"]["world_size"], found["environment"]["sharding"]) == (2, sharding)
    # One process writes for both: no file of another rank lies in a checkpoint.
    assert found["files"] == sorted(path.name for path in (tmp_path / "one" / "step-000004").iterdir())


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_a_process_without_a_pair_waits_for_the_one_that_has_it(sharding: str, two: Found, base: Path, tmp_path: Path) -> None:
    one = run(base, tmp_path / "one", ONE_PAIR, ALONE)
    assert two[sharding]["one pair"] == pytest.approx([m.loss for m in one.metrics], abs=1e-4)


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_train_every_weight_as_one_does(sharding: str, two: Found, base: Path, tmp_path: Path) -> None:
    one = run(base, tmp_path / "one", EVERY_WEIGHT, ALONE)
    for (loss, norm), alone in zip(two[sharding]["every weight"], one.metrics, strict=True):
        assert loss == pytest.approx(alone.loss, abs=1e-4)
        assert norm == pytest.approx(alone.grad_norm, rel=1e-3)
    assert abs(one.metrics[-1].margin) > 0.005


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_that_were_stopped_go_on_to_the_same_bytes(sharding: str, two: Found) -> None:
    assert two[sharding]["stopped"] == [True, [1, 2, 3], [4]]
    assert two[sharding]["same"]


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_may_compute_blocks_twice(sharding: str, two: Found) -> None:
    assert two[sharding]["same computed twice"]


def test_sharded_weights_are_tensors_cut_over_both_and_others_are_whole(two: Found) -> None:
    weights = two["full"]["weights"]
    assert weights["cut"] == weights["all"] > 20, "base and adapter, every one a DTensor"
    assert weights["here"] == pytest.approx(weights["numbers"] / 2, rel=0.02)
    assert two["none"]["weights"]["cut"] == 0


def test_heads_and_adapters_that_are_cut_keep_their_own_forward(two: Found) -> None:
    """Ours read weights when they are called; those that are cut are put together by hooks of their own."""
    found = {sharding: (two[sharding]["weights"]["head asked"], two[sharding]["weights"]["quick"]) for sharding in ("none", "full")}
    assert found["full"] == (False, 0)
    assert found["none"][0]
    assert found["none"][1] >= 14, "seven linear layers in each of two blocks"


def test_who_asks_for_processes_or_sharding_and_does_not_have_them_is_stopped(two: Found) -> None:
    alone, whole, cut = two["refused"]
    assert "asks for 2 processes and sharding 'none'; this is one of 1" in alone
    assert "asks for 2 processes and sharding 'full'; this is one of 2 with sharding 'none'" in whole
    assert "weights of LlamaForCausalLM are whole, such as model.embed_tokens.weight" in cut


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sharding": "full"}, "processes is 1; 2 or more"),
        ({"processes": 2, "combine": "mgda"}, "combine is 'mgda' with processes 2"),
        ({"processes": 2, "adversary_weight": 0.1}, "adversary_weight is 0.1 with processes 2"),
        ({"processes": 2, "flag_point": "kl"}, "flag_point is 'kl' with processes 2"),
        ({"processes": 2, "stop_every": 4}, "stop_every is 4 with processes 2"),
        ({"processes": 2, "find_rate": True}, "find_rate is True with processes 2"),
        ({"processes": 2, "sharding": "full", "consistency_weight": 1.0}, "sharding 'full'; 0 was expected"),
    ],
)
def test_what_needs_a_whole_step_in_one_process_is_refused_before_it_is_stored(more: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRecipe, match=words):
        replace(Recipe(), **more)
