"""Matrix products are torch's own up to rounding, whichever library computes them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flagback.model import products
from flagback.model.products import BLOCK, UNIT, linear, mm, slow_elsewhere


@pytest.fixture(autouse=True)
def _one_dnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """By oneDNN on this processor too, for products of any size."""
    monkeypatch.setattr(products, "slow_elsewhere", lambda: hasattr(torch.ops.mkldnn, "_linear_pointwise"))
    monkeypatch.setattr(products, "WORTH_IT", 0)


SIZES = st.one_of(st.integers(1, 100), st.sampled_from([UNIT, UNIT + 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3]))


@given(st.tuples(SIZES, st.integers(1, 80), st.integers(1, 80)), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 99))
def test_they_are_those_of_torch(sizes: tuple[int, int, int], across: bool, turned: bool, biased: bool, seed: int) -> None:
    count, inputs, outputs = sizes
    torch.manual_seed(seed)
    rows = torch.randn(inputs, count).t() if across else torch.randn(count, inputs)
    weight = torch.randn(inputs, outputs).t() if turned else torch.randn(outputs, inputs)
    bias = torch.randn(outputs) if biased else None
    expected = rows.double() @ weight.double().t() + (0 if bias is None else bias.double())
    found = linear(rows, weight, bias)
    assert found.shape == (count, outputs)
    assert torch.allclose(found.double(), expected, atol=1e-4)
    assert torch.allclose(mm(rows, weight.t()).double(), rows.double() @ weight.double().t(), atol=1e-4)


def test_how_many_rows_stand_together_changes_no_row() -> None:
    """Else what is computed at once would show in a result."""
    rows, weight = torch.randn(BLOCK + 70, 96), torch.randn(64, 96)
    assert torch.equal(linear(rows, weight)[:40], linear(rows[:40], weight))


def test_few_programs_are_made_for_many_numbers_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set()
    real = torch.ops.mkldnn._linear_pointwise

    def noted(rows: torch.Tensor, *more: object) -> object:
        asked.add(len(rows))
        return real(rows, *more)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", noted)
    weight = torch.randn(UNIT, UNIT)
    for count in range(UNIT, 3 * BLOCK, 7):
        linear(torch.randn(count, UNIT), weight)
    assert asked
    assert all(count % UNIT == 0 for count in asked)
    assert len(asked) <= BLOCK // UNIT


@pytest.mark.parametrize(
    ("name", "avx", "expected"), [("AMD EPYC", True, True), ("AMD EPYC", False, False), ("Intel(R) Xeon(R)", True, False)]
)
def test_mkl_is_passed_over_where_it_leaves_instructions_unused(
    name: str, avx: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name, "avx512_f": avx})
    assert slow_elsewhere.__wrapped__() == (expected and hasattr(torch.ops.mkldnn, "_linear_pointwise"))


def test_other_numbers_are_left_to_torch() -> None:
    rows, weight = torch.randn(64, 64, dtype=torch.float64), torch.randn(64, 64, dtype=torch.float64)
    assert torch.equal(linear(rows, weight), torch.nn.functional.linear(rows, weight))
    assert linear(rows[:0], weight).shape == (0, 64)
