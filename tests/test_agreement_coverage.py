"""The benchmark of agreement in small: the same simulated panels, fewer of them, so wider bands (four standard errors)."""

import importlib.util
from math import sqrt
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "agreement_coverage.py"
SIMULATED = 200
ROOM = 4 * sqrt(0.05 * 0.95 / SIMULATED)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("agreement_coverage", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("raters", [5, 10])
def test_the_interval_over_raters_holds_and_a_bootstrap_with_copies_does_not(benchmark: ModuleType, raters: int) -> None:
    found = benchmark.coverage("nominal", raters, SIMULATED, sparse=False, others=True)
    assert found["jackknife"] >= 0.95 - ROOM
    assert found["bootstrap"] < 0.95 - ROOM
    assert found["without one"] == 0


def test_a_difference_is_called_one_time_in_twenty_where_there_is_none(benchmark: ModuleType) -> None:
    found = benchmark.differences(10, SIMULATED, sparse=True, apart=0.0)
    assert found["called by interval"] <= 0.05 + ROOM
    assert found["called by null"] <= 0.05 + ROOM
    assert benchmark.differences(30, 60, sparse=False, apart=0.8)["called by null"] > 0.6
