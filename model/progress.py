"""How far a piece of work has come, told by what computes to whoever shows it. Knows neither of them."""

from collections.abc import Callable
from typing import Literal

#: Parts of a run that can take long, as its stage is then called.
Doing = Literal["score the answers", "try step sizes", "train", "explain", "measure pairs", "measure swaps", "measure texts"]
#: Is told what is being done, how much of it is done, and how much there is.
Progress = Callable[[Doing, int, int], None]
#: Is told how many of how many prompts are scored.
Scored = Callable[[int, int], None]


def untold(*_: object) -> None:
    """Nobody listens."""
