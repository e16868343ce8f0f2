"""The order in which one reviewer is shown what was dealt out to them: of any five in a row one is expected to be harmless.

Knows seats and what is expected of them; knows no database. What is dealt out stays what it is, so that the probabilities of the
draws hold; only its order changes.
"""

from collections.abc import Sequence
from typing import NamedTuple

#: Of so many in a row one is expected to be harmless.
EVERY = 5


class Seat(NamedTuple):
    """One slot, claimed or about to be."""

    slot_id: int
    item_id: int
    #: Of the item's prompt.
    family: str
    #: For the lease; None where somebody had the item before, and for what was taken out of its turn.
    probability: float | None
    #: 0-1, None where nothing is expected.
    expected_harm: float | None


class Light:
    """What one reviewer holds, and what it still lacks of the harmless."""

    def __init__(self, harmless: float | None, before: Sequence[float | None]) -> None:
        """`harmless` is the highest expected harm that counts as harmless, None for no such order; `before` what they read last
        and hold, in that order."""
        self.harmless = harmless
        self.known = any(harm is not None for harm in before)
        # How many stand since the last harmless one; who begins, begins with one.
        self.since = 0 if before else EVERY - 1
        for harm in before:
            self.since = 0 if self._is(harm) else self.since + 1

    def short(self, fresh: Sequence[Seat], *, left: int) -> bool:
        """Whether all of the `left` seats that are still to be taken must be harmless."""
        if self.harmless is None or not (self.known or any(seat.expected_harm is not None for seat in fresh)):
            return False  # nothing is expected of anything: a search would find nothing
        found = sum(self._is(seat.expected_harm) for seat in fresh)
        return self._needed(len(fresh) + left, self.since) - found >= left

    def spread(self, fresh: Sequence[Seat]) -> list[Seat]:
        """The same seats, in their order as far as the rule allows."""
        left, since, found = list(fresh), self.since, []
        while left:
            light = [seat for seat in left if self._is(seat.expected_harm)]
            others = [seat for seat in left if not self._is(seat.expected_harm)]
            best = left[0]
            if light and since >= EVERY - 1:
                best = light[0]
            elif light and others and best is light[0] and len(light) - 1 < self._needed(len(left) - 1, 0):
                best = others[0]
            since = 0 if self._is(best.expected_harm) else since + 1
            left.remove(best)
            found.append(best)
        return found

    def _is(self, harm: float | None) -> bool:
        return self.harmless is not None and harm is not None and harm <= self.harmless

    @staticmethod
    def _needed(count: int, since: int) -> int:
        """How many harmless ones `count` further ones must hold."""
        first = max(EVERY - 1 - since, 0)
        return 0 if count <= first else 1 + (count - first - 1) // EVERY
