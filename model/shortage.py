"""What a run does when memory or the disk runs out, and how an error tells: torch, its file writer, safetensors, SQLite and Python
say it in many ways.

Knows errors and a run's folder; knows nothing of training.
"""

import errno
import gc
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

from flagback.model.recipe import Alarm, DiskFull

Result = TypeVar("Result")
#: How often a run writes what it trains: in two checkpoints with AdamW's moments, as its adapter, and as an artifact.
WRITTEN = 8
#: In a run's folder: at which step memory ran out, since when half as much is computed at once.
HALVED = "halved.json"

#: What torch says on the CPU, where its error is a plain RuntimeError.
NO_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")
#: Full, over a quota, or a file larger than the process may write.
NO_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: The same in words, where an error has lost its number: Rust's (safetensors) and SQLite's.
NO_DISK_WORDS = (*(f"os error {number}" for number in NO_DISK), "database or disk is full")
#: Torch's writer says neither number nor cause.
TORCH_WRITER = ("PytorchStreamWriter failed", "file write failed", "unexpected pos")


def of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the machine's or the accelerator's."""
    return any(
        isinstance(one, (torch.OutOfMemoryError, MemoryError))
        or (isinstance(one, RuntimeError) and any(words in str(one) for words in NO_MEMORY))
        for one in _with_causes(error)
    )


def of_disk(error: BaseException) -> bool:
    """Whether something could not be written for lack of room."""
    return any(
        (isinstance(one, OSError) and one.errno in NO_DISK)
        or any(words in str(one) for words in NO_DISK_WORDS)
        or (isinstance(one, RuntimeError) and any(words in str(one) for words in TORCH_WRITER))
        for one in _with_causes(error)
    )


def room(folder: Path) -> float:
    """Free megabytes where a folder is, or would be."""
    place = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(place).free / 1e6


def to_write(trained: int) -> float:
    """Megabytes that a run writes at most, which trains so many numbers."""
    return WRITTEN * 4 * trained / 1e6


def check_disk(folder: Path, trained: int) -> None:
    """Raises DiskFull where what a run writes has no room: before it computes for nothing."""
    needed, free = to_write(trained), room(folder)
    if free < needed:
        raise DiskFull(
            f"The correction writes up to {needed:,.0f} MB into {folder}, and {free:,.0f} are free. Nothing was started, and the "
            "current model is untouched. Make room, then run 'flagback correct' again."
        )


def unless_of_memory(act: Callable[[], Result]) -> Result | None:
    """What `act` gives; None where memory ran out, with all that it had computed let go."""
    try:
        return act()
    except Exception as error:
        if not of_memory(error):
            raise
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def halved(folder: Path) -> tuple[Alarm, ...]:
    """The alarm of a run that ran out of memory once and goes on with half as much at once; none otherwise."""
    try:
        step = int(json.loads((folder / HALVED).read_text())["step"])
    except FileNotFoundError:
        return ()
    advice = (
        "Memory ran out, and the run went on with half as much computed at once and twice as many parts a step: the same losses, "
        "up to rounding. Lower max_tokens, stop other programs, or take a machine with more memory."
    )
    return (Alarm("memory", step, 2.0, 1.0, advice),)


def halve(folder: Path, step: int) -> tuple[Alarm, ...]:
    """Has this run compute half as much at once from now on, after a kill too; `step` is the last one done."""
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / f"{HALVED}.writing"
    written.write_text(json.dumps({"step": step + 1}))
    written.replace(folder / HALVED)
    return halved(folder)


@contextmanager
def room_on_disk(folder: Path, again: str = "flagback correct") -> Iterator[None]:
    """Turns "no room left", said by whoever was writing, into DiskFull with advice; what was half written makes room at once.

    `again` is the command that goes on. What was told already, of a folder within, is left as it is.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        if not of_disk(error):
            raise
        for place in folder.glob("*writing*"):
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        raise DiskFull(
            f"The correction could not be written: no room left in {folder} ({room(folder):.0f} MB free; a disk, quota or "
            f"file size limit). The current model is untouched. Make room, then run '{again}' again."
        ) from error


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
