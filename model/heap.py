"""The process's heap while tensors come and go. Knows Python's collector, and glibc's two settings; elsewhere those do nothing.

The Trainer looks through all objects for garbage whenever it starts: .4 s with its libraries alone, most of a minute in a process
that has done much before. What was there before a run is not its garbage. And a freed block of some megabytes goes back to the
kernel at once, and the next one is filled with zeros page by page: in a correction on CPU that was a tenth of all time (all figures
in docs/log.md).
"""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: mallopt(3): names by number.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = 2**31 - 1


@contextmanager
def kept_heap() -> Iterator[None]:
    """Freed blocks stay with the process for the next ones, and no object from before is looked at; at the end both are over."""
    gc.freeze()
    try:
        with _kept_blocks():
            yield
    finally:
        gc.unfreeze()


@contextmanager
def _kept_blocks() -> Iterator[None]:
    try:
        libc = ctypes.CDLL(None)
        setting, trim = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError, TypeError):  # another system, another C library
        yield
        return
    setting(TRIM_THRESHOLD, LARGEST)
    setting(MMAP_THRESHOLD, LARGEST)
    try:
        yield
    finally:
        setting(TRIM_THRESHOLD, 2**25)
        setting(MMAP_THRESHOLD, 2**25)
        trim(0)
