"""Claims about flips: McNemar to the letter, clusters that are one witness, and the table of what could be seen."""

from itertools import product
from random import Random

import numpy as np
import pytest

from flagback.model import flips, intervals
from flagback.model.intervals import NotANumber, UnequalLengths


def _answers(won: int, lost: int, same: int = 0) -> tuple[list[bool], list[bool]]:
    return [False] * won + [True] * (lost + same), [True] * won + [False] * lost + [True] * same


@pytest.mark.parametrize(("won", "lost"), [(0, 5), (8, 2), (3, 3), (0, 0), (1, 0), (90, 60), (700, 600)])
def test_a_cluster_an_item_is_mcnemars_test(won: int, lost: int) -> None:
    base, candidate = _answers(won, lost, same=7)
    found = flips.compare(base, candidate, range(len(base)))
    assert (found.won, found.lost, found.items) == (won, lost, won + lost + 7)
    assert found.p == pytest.approx(intervals.mcnemar(lost, won), rel=1e-9)


def test_mid_p_worked_by_hand() -> None:
    found = flips.compare(*_answers(8, 2), range(10))
    # 2 * (P(9 or 10 of 10) + P(8) / 2) = 2 * (11 + 22.5) / 1024
    assert found.mid_p == pytest.approx(2 * 33.5 / 1024)
    assert flips.compare(*_answers(4, 4), range(8)).mid_p == 1.0


def test_the_flips_of_one_cluster_are_one_witness() -> None:
    base, candidate = _answers(12, 0)
    alone = flips.compare(base, candidate, range(12))
    together = flips.compare(base, candidate, [i // 4 for i in range(12)])
    assert alone.p == pytest.approx(2 / 4096)
    assert together.p == 2 / 8
    assert (together.won, together.clusters) == (12, 3)


def test_all_signs_are_counted() -> None:
    draw = Random(1)
    for _ in range(20):
        net = [draw.randint(-3, 3) for _ in range(9)]
        sums = [abs(sum(sign * value for sign, value in zip(signs, net, strict=True))) for signs in product((1, -1), repeat=9)]
        base = [value < 0 for value in net for _ in range(abs(value))]
        clusters = [number for number, value in enumerate(net) for _ in range(abs(value))]
        found = flips.compare(base, [not one for one in base], clusters)
        assert found.p == pytest.approx(np.mean([one >= abs(sum(net)) for one in sums]))


def test_unequal_lengths_are_named() -> None:
    with pytest.raises(UnequalLengths, match="2 and 1 answers for 2 clusters"):
        flips.compare([True, False], [True], [1, 2])


@pytest.mark.parametrize(
    ("items", "five", "ten", "twenty"),
    [(60, 8.1, 11.4, 16.2), (105, 6.1, 8.6, 12.2), (262, 3.9, 5.5, 7.7), (516, 2.8, 3.9, 5.5), (1508, 1.6, 2.3, 3.2)],
)
def test_what_could_be_seen_agrees_with_the_table_of_the_research_notes(items: int, five: float, ten: float, twenty: float) -> None:
    found = [100 * flips.detectable_change(items, flips=share) for share in (0.05, 0.10, 0.20)]
    assert found == pytest.approx([five, ten, twenty], abs=0.051)


def test_nine_tests_at_one_level_see_less() -> None:
    found = [100 * flips.detectable_change(60, flips=share, tests=9, one_sided=True) for share in (0.05, 0.10, 0.20)]
    assert found == pytest.approx([9.8, 13.8, 19.5], abs=0.051)


def test_the_power_is_what_it_says() -> None:
    # 1,508 pairs of which 10 % flip, changed by the 2.3 points said to be detectable: seen 8 times in 10.
    random, items, share = np.random.default_rng(2), 1508, 0.10
    change = flips.detectable_change(items, flips=share)
    seen = 0
    for _ in range(1000):
        flipped = random.binomial(items, share)
        won = int(random.binomial(flipped, (1 + change / share) / 2))
        seen += flips.compare(*_answers(won, flipped - won), range(flipped)).mid_p <= 0.05
    assert seen / 1000 == pytest.approx(0.8, abs=0.04)


def test_the_sentence() -> None:
    assert flips.detectable_words(60) == ("With 60 items only changes above 11 points would show (8 times in 10, where 10 % flip).")
    assert flips.detectable_words(1508, tests=9) == (
        "With 1508 items only changes above 2.9 points would show (8 times in 10, where 10 % flip, in 9 tests sharing one level)."
    )
    assert flips.detectable_words(0) == "With no items no change would show."
    assert "not even" in flips.detectable_words(2, flips=0.5)
    with pytest.raises(NotANumber, match="0 items"):
        flips.detectable_change(0)
