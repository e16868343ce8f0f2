"""Disk full, out of memory, a loss that is no number: a clear end with advice, the model untouched, and another start possible."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flagback.model import memory, shortage, training
from flagback.model.recipe import Alarm, DiskFull, NotFinite, OutOfMemory
from tests.test_training import RECIPE, adapter_bytes, run, state
from tests.tiny_model import tiny_llama


def shortages() -> Iterator[Exception]:
    """Out of memory as an accelerator, torch on a CPU and Python say it."""
    yield torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    yield RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    )
    yield MemoryError()


def short_of_memory(model: Any, *, tokens: int, error: Exception, after: int = 0) -> list[int]:
    """Has the model's head break, while it learns, as soon as it is given more than `tokens` positions; lists what it was given."""
    seen: list[int] = []

    def look(_: Any, given: tuple[torch.Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            seen.append(given[0].shape[1])
            if len(seen) > after and seen[-1] > tokens:
                raise error

    model.lm_head.register_forward_pre_hook(look)
    return seen


# ------------------------------------------------------------------------- memory


@pytest.mark.parametrize("error", list(shortages()), ids=["accelerator", "cpu", "python"])
def test_out_of_memory_is_tried_once_more_with_half_as_much_at_once(error: Exception, tmp_path: Path) -> None:
    model, alarms = tiny_llama(), list[Alarm]()
    # Short rows, by which memory is foretold, come before the first step.
    before = len(memory.PROBES)
    seen = short_of_memory(model, tokens=80, error=error, after=before + 3)
    recipe = replace(RECIPE, layout="flat")
    trained = run(tmp_path / "run", recipe=recipe, model=model, on_alarm=alarms.append)
    whole = run(tmp_path / "whole", recipe=recipe)
    assert max(seen[before + 4 :]) <= 80 < max(seen)
    assert (whole.environment["parts_per_step"], trained.environment["parts_per_step"]) == (1, 2)
    assert [m.loss for m in trained.metrics] == pytest.approx([m.loss for m in whole.metrics], abs=1e-4)
    assert [(alarm.kind, alarm.step) for alarm in alarms] == [("memory", 4)]
    assert alarms[0] in trained.alarms
    assert trained.environment["alarms"][0]["kind"] == "memory"
    # What it learnt about this machine outlives it: called again, it goes on with half.
    assert run(tmp_path / "run", recipe=recipe).environment["parts_per_step"] == 2


def test_out_of_memory_twice_ends_with_advice_and_the_model_untouched(tmp_path: Path) -> None:
    model = tiny_llama()
    before = state(model)
    seen = short_of_memory(model, tokens=3, error=torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(
        OutOfMemory,
        match=r"step 1 of 6: memory ran out, with half .* untouched. Set gradient_checkpointing, lower max_tokens",
    ):
        run(tmp_path / "run", recipe=replace(RECIPE, layout="flat"), model=model)
    assert len(seen) == 2, "once, and once more"
    assert state(model) == before
    assert not hasattr(model, "peft_config")
    assert not (tmp_path / "run" / "adapter").exists()
    # On a machine that has it, the same run ends.
    assert run(tmp_path / "run", recipe=replace(RECIPE, layout="flat")).metrics[-1].step == 6


def test_another_error_is_not_taken_for_a_shortage() -> None:
    assert not shortage.of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not shortage.of_disk(FileNotFoundError(2, "No such file"))
    unclear = ValueError("the file could not be closed")
    unclear.__cause__ = OSError(28, "No space left on device")
    assert shortage.of_disk(unclear)


# ------------------------------------------------------------------------- disk


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """While it lasts this process can write no file larger than so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# The adapter has about 21 kB, the optimizer's file twice that, the reference's numbers some hundred bytes.
@pytest.mark.parametrize("most", [100, 10_000, 30_000], ids=["reference", "adapter", "optimizer"])
def test_a_file_that_may_not_grow_ends_the_run_with_advice_and_it_may_be_started_again(most: int, tmp_path: Path) -> None:
    model = tiny_llama()
    before = state(model)
    with files_of_at_most(most), pytest.raises(DiskFull, match=r"could not be written: no room left in .* Make room, then run"):
        run(tmp_path / "run", model=model)
    assert state(model) == before
    assert not hasattr(model, "peft_config")
    left = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert not any("writing" in name for name in left), left
    assert adapter_bytes(run(tmp_path / "run")) == adapter_bytes(run(tmp_path / "other"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system of so many kilobytes, where this process may make one."""
    made: list[Path] = []

    def make(kilobytes: int) -> Path:
        place = tmp_path / f"disk-{kilobytes}"
        place.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(place)]
        if subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("a disk of its own needs the right to mount; the limit of a file's size is tested beside this")
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", "-l", str(place)], check=True)  # nosec B607 # the system's own, as root only


def test_a_disk_without_room_for_all_that_is_written_is_told_before_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortage, "room", lambda _: 0.01)
    model = tiny_llama()
    steps: list[Any] = []
    before = state(model)
    with pytest.raises(DiskFull, match=r"writes up to 0 MB into .*, and 0 are free\. Nothing was started.* Make room"):
        run(tmp_path / "run", model=model, on_step=steps.append)
    assert steps == []
    assert state(model) == before
    monkeypatch.undo()
    assert run(tmp_path / "run", model=model).metrics


def test_a_disk_that_is_full_in_the_middle_of_a_save_keeps_the_checkpoint_before_it(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(1500)
    with pytest.raises(DiskFull, match="no room left"):
        run(disk / "run", on_step=lambda metrics: _fill(disk) if metrics.step == 3 else None)
    assert [path.name for path in (disk / "run").glob("step-*")] == ["step-000002"]
    assert not list((disk / "run").glob("*writing*"))
    (disk / "other file").unlink()
    resumed: list[int] = []
    run(disk / "run", on_step=lambda metrics: resumed.append(metrics.step))
    assert resumed == [3, 4, 5, 6]


def _fill(disk: Path) -> None:
    free = os.statvfs(disk)
    (disk / "other file").write_bytes(b"0" * (free.f_bavail * free.f_frsize - 16_384))


# ------------------------------------------------------------------------- no number


def test_a_loss_that_is_no_number_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    model = tiny_llama()
    broken = torch.tensor(float("nan"))

    def spoil(metrics: training.StepMetrics) -> None:
        if metrics.step == 5:
            model.lm_head.register_forward_hook(lambda *_: broken.expand_as(_[2]))

    with pytest.raises(
        NotFinite, match=r"near step 6 of 6: the loss is nan.*The last good checkpoint, of step 4, is .*step-000004\."
    ) as told:
        run(tmp_path / "run", model=model, on_step=spoil)
    assert "Lower learning_rate (0.005)" in str(told.value)
