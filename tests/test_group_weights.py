"""The worse a group fares the more it counts, and what is reckoned is what the papers' algorithms say."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagback.model.group_weights import even, factors, shares, step

losses = st.dictionaries(st.sampled_from("abcde"), st.floats(0, 5), min_size=1, max_size=5)


def test_shares_are_of_weight_not_of_pairs() -> None:
    assert shares(["rare", "many", "many"], [2.0, 1.0, 5.0]) == {"many": 0.75, "rare": 0.25}


def test_a_step_worked_by_hand() -> None:
    # 1/2 e^(.5 * .2) and 1/2 e^(.5 * 1): the worse group has e^.4 times the other's weight, of a whole of 1 + e^.4.
    found = step(even(["a", "b"]), {"a": 0.2, "b": 1.0}, 0.5)
    assert found["b"] == pytest.approx(math.exp(0.4) / (1 + math.exp(0.4)))
    assert found["a"] == pytest.approx(1 / (1 + math.exp(0.4)))


@given(losses, st.floats(0, 3), st.floats(-5, 5))
def test_weights_stay_a_distribution_follow_the_losses_and_know_no_common_level(
    found: dict[str, float], rate: float, level: float
) -> None:
    begun = even(list(found))
    after = step(begun, found, rate)
    assert math.fsum(after.values()) == pytest.approx(1)
    for one in found:
        for other in found:
            if found[one] > found[other]:
                assert after[one] >= after[other]
    raised = step(begun, {name: loss + level for name, loss in found.items()}, rate)
    assert all(raised[name] == pytest.approx(after[name], rel=1e-6) for name in found)


def test_a_rate_of_nothing_leaves_the_weights_and_a_huge_loss_does_not_overflow() -> None:
    assert step({"a": 0.25, "b": 0.75}, {"a": 9.0, "b": 1.0}, 0.0) == {"a": 0.25, "b": 0.75}
    assert step({"a": 0.5, "b": 0.5}, {"a": 1e6}, 1.0) == {"a": 1.0, "b": 0.0}


def test_factors_make_each_group_count_its_weight() -> None:
    share = {"many": 0.95, "rare": 0.05}
    found = factors(even(["many", "rare"]), share)
    assert found == pytest.approx({"many": 0.5 / 0.95, "rare": 10.0})
    assert factors(share, share) == {"many": 1.0, "rare": 1.0}


def test_weights_come_back_from_json_bit_by_bit() -> None:
    found = step(even(["a", "b", "c"]), {"a": 0.1, "b": 0.7, "c": 0.69314}, 0.3)
    assert json.loads(json.dumps(found)) == found
