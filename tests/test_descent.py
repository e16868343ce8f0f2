"""The common direction is the shortest point between gradients: worked by hand, and by its law."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flagback.model.descent import common_direction, min_norm_weights


def gram(*gradients: list[float]) -> torch.Tensor:
    rows = torch.tensor(gradients)
    return rows @ rows.T


@pytest.mark.parametrize(
    ("gradients", "weights"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5]),
        # |c (2, 0) + (1 - c) (0, 1)|^2 = 4 c^2 + (1 - c)^2 is smallest at c = 1/5.
        ([[2.0, 0.0], [0.0, 1.0]], [0.2, 0.8]),
        ([[1.0, 0.0], [-1.0, 0.0]], [0.5, 0.5]),
        # The short one already goes along with the long one: it decides alone.
        ([[1.0, 0.0], [3.0, 1.0]], [1.0, 0.0]),
        ([[1.0, 0.0]], [1.0]),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0]], [4 / 9, 4 / 9, 1 / 9]),
    ],
)
def test_weights_worked_by_hand(gradients: list[list[float]], weights: list[float]) -> None:
    assert min_norm_weights(gram(*gradients)).tolist() == pytest.approx(weights, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.float64, (4, 5), elements=st.floats(-3, 3).map(lambda value: round(value, 3))))
def test_no_objective_gets_worse_along_it(rows: np.ndarray) -> None:
    gradients = torch.from_numpy(rows)
    weights = min_norm_weights(gradients @ gradients.T)
    assert weights.sum().item() == pytest.approx(1)
    assert weights.min() >= 0
    shortest = weights @ gradients
    assert ((gradients @ shortest) >= shortest.square().sum() - 1e-3).all()


def test_gradients_count_by_where_they_point_and_not_by_their_length() -> None:
    found = common_direction([torch.tensor([100.0, 0.0]), torch.tensor([0.0, 0.01])])
    assert found.weights == pytest.approx([0.5, 0.5])
    assert found.vector.tolist() == pytest.approx([0.5, 0.5])


def test_an_objective_that_is_where_it_wants_to_be_stops_nothing() -> None:
    found = common_direction([torch.tensor([0.0, 3.0]), torch.zeros(2)])
    assert found.weights == [1.0, 0.0]
    assert found.vector.tolist() == [0.0, 1.0]
    assert common_direction([torch.zeros(2)]).vector.tolist() == [0.0, 0.0]
