"""The process's heap while tensors come and go. Knows glibc's two settings for it; elsewhere it does nothing.

A freed block of some megabytes goes back to the kernel at once, and the next one is filled with zeros page by page: in a correction
on CPU that was a tenth of all time (docs/log.md).
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

#: mallopt(3): names by number.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = 2**31 - 1


@contextmanager
def kept_heap() -> Iterator[None]:
    """Freed blocks stay with the process for the next ones; at the end they go back."""
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
