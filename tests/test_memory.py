"""The memory that was foretold is about that which was used; a run that cannot fit is refused before it starts."""

import gc
import json
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from flagback.model import memory
from flagback.model.adapter import take_out, with_adapter
from flagback.model.memory import Machine, Needed
from flagback.model.recipe import Precision, Recipe, TooLittleMemory, Tuning
from flagback.model.trees import Tree
from tests.test_training import RECIPE, run, state
from tests.tiny_model import tiny_llama

#: Foretold and measured differ by at most this factor.
WITHIN = 1.6

#: One step of two sizes in one process, the smaller one first: foretold and measured growth of the process, megabytes.
MEASURED = """
import json, sys
from pathlib import Path
from random import Random
from dataclasses import replace
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from flagback.model import memory, training
from flagback.model.recipe import Pair, Recipe
from tests.tiny_model import Held, tiny_llama
draw = Random(1)
ids = lambda n: [draw.randrange(3, 500) for _ in range(n)]
pairs = [Pair(str(n), ids(60), ids(40), ids(50)) for n in range(60)]
recipe = Recipe(steps=1, pairs_per_step=60, replay_weight=0.0, learning_rate=1e-3)
told = []
check = memory.check
memory.check = lambda found, there, recipe: (told.append(found), check(found, there, recipe))
# Not getrusage: what it says of a process includes the peak of the one that started it, which here may be a whole suite.
status = lambda: dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = lambda: int(status()["VmHWM"].split()[0]) * 1024 / 1e6
found = []
for hidden, layers in ((64, 2), (128, 5)):
    model = tiny_llama(vocab_size=2000, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=layers, context=256)
    warm = Path(sys.argv[1]) / f"warm {hidden}"
    training.correct(Held(model), pairs[:2], recipe=replace(recipe, pairs_per_step=2), seed=1, folder=warm)
    before = memory.psutil.Process().memory_info().rss / 1e6
    training.correct(Held(model), pairs, recipe=recipe, seed=1, folder=Path(sys.argv[1]) / str(hidden))
    found.append([told[-1].activations + told[-1].adapter, peak() - before, told[-1].total, peak()])
print(json.dumps(found))
"""


def test_what_is_foretold_is_measured_on_two_sizes(tmp_path: Path) -> None:
    words = [sys.executable, "-c", MEASURED, str(tmp_path), str(Path(__file__).parent.parent)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    for growth, measured, total, peak in found:
        assert growth > 50, "there must be something to foretell"
        assert measured / WITHIN < growth < measured * WITHIN
        assert peak / WITHIN < total < peak * WITHIN
    assert found[1][0] > 2 * found[0][0]


def test_a_run_that_the_machine_cannot_hold_is_refused_before_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama()
    before = state(model)
    monkeypatch.setattr(memory, "machine", lambda _=None: Machine(50.0, 40.0))
    steps: list[int] = []
    with pytest.raises(
        TooLittleMemory,
        match=r"needs about .* MB of memory, .* this machine has 50\. Nothing was started\. Set gradient_checkpointing, lower max",
    ):
        run(tmp_path / "run", model=model, on_step=lambda metrics: steps.append(metrics.step))
    assert steps == []
    assert state(model) == before
    assert not hasattr(model, "peft_config")


def test_nothing_of_a_model_is_held_once_it_was_foretold_for(tmp_path: Path) -> None:
    """What autograd keeps is looked at; a graph that held itself would hold every weight for ever."""
    model = tiny_llama()
    seen = [weakref.ref(weight) for weight in model.parameters()]
    run(tmp_path / "run", model=model)
    del model
    gc.collect()
    assert [one() for one in seen if one() is not None] == []


@pytest.mark.parametrize(("precision", "tuning"), [("bfloat16", "lora"), ("float32", "full")])
def test_what_is_kept_for_a_long_row_is_foretold_from_short_ones(precision: Precision, tuning: Tuning) -> None:
    """Weights in bfloat16 are kept once, however long the row."""
    recipe = Recipe(precision=precision, tuning=tuning, learning_rate=1e-3)
    model = tiny_llama(hidden_size=256, intermediate_size=1024, context=1024)
    adapted = with_adapter(model, recipe)
    growth = memory._growth(adapted, recipe, "flat")
    for prompt, answer in ((100, 50), (600, 300)):
        tree = Tree((5,) * prompt, ((5,) * answer, (6,) * answer))
        foretold = float(growth @ (*memory._sizes([tree], "flat"), 1))
        assert foretold == pytest.approx(memory._kept(adapted, tree, recipe, "flat"), rel=0.25)
    take_out(adapted)


def test_in_bfloat16_a_processor_keeps_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Needed] = []
    check = memory.check

    def noted(found: Needed, there: Machine, recipe: Recipe) -> None:
        told.append(found)
        check(found, there, recipe)

    monkeypatch.setattr(memory, "check", noted)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda _: SimpleNamespace(rss=5e8))
    for precision in ("float32", "bfloat16"):
        run(tmp_path / precision, recipe=replace(RECIPE, precision=precision))
    assert told[1].program - told[0].program == pytest.approx(memory.PROGRAMS / 1e6)


def test_the_foretelling_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, dropout=0.2)
    told = run(tmp_path / "told", recipe=recipe)
    monkeypatch.setattr(memory, "needed", lambda *_: Needed(0, 0, 0, 0, 0))
    assert run(tmp_path / "untold", recipe=recipe).weights_sha256 == told.weights_sha256


def test_a_container_is_as_large_as_it_may_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = memory.machine()
    assert 0 < whole.free <= whole.total
    (tmp_path / "memory.max").write_text("123000000\n")
    (tmp_path / "memory.current").write_text("100000000\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.machine().total == 123
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.machine().total == pytest.approx(whole.total)
