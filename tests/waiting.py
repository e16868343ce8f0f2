"""Waiting for what another process does: one way, and one patience.

No test is timed by it: it ends as soon as what is waited for has come, and gives up late, since both cores may be busy.
"""

import time
from collections.abc import Callable

#: How long a test waits before it gives up, in seconds.
PATIENCE = 60.0


def until(holds: Callable[[], object], what: str = "what is waited for", *, seconds: float = PATIENCE, every: float = 0.05) -> None:
    """Waits until something holds, looking so often; AssertionError names what did not come."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(every)
