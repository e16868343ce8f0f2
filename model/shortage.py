"""Tells from an error what ran out: memory or the disk. Torch, its file writer, safetensors, SQLite and Python say it in many ways.

Knows errors and folders; knows nothing of training.
"""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

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


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
