"""The benchmark of intervals in small: the same simulations, fewer of them, so wider bands (four standard errors)."""

import importlib.util
from math import sqrt
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "interval_coverage.py"
RESULTS, NULLS = 600, 400


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("interval_coverage", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


#: Statistics that hold the truth more often than they say, by design; never less.
CAREFUL = ("2 to 7 flips", "soon all seen")


def test_fifty_clusters_hold_the_truth_as_often_as_they_say(benchmark: ModuleType) -> None:
    room = 4 * sqrt(0.05 * 0.95 / RESULTS)
    for name, (make, hold) in benchmark.STATISTICS.items():
        held = benchmark.coverage(make, hold, 50, RESULTS)["held"]
        assert held >= 0.935 - room, name
        assert held <= 0.965 + room or any(words in name for words in CAREFUL), name


def test_sign_flipped_results_are_called_a_change_one_time_in_twenty(benchmark: ModuleType) -> None:
    room = 4 * sqrt(0.05 * 0.95 / NULLS)
    for name, share in benchmark.null(NULLS).items():
        assert share <= 0.06 + room, name
        assert share >= 0.04 - room or any(words in name for words in CAREFUL), name


def test_one_rate_and_the_worst_group_in_small(benchmark: ModuleType) -> None:
    for name, found in benchmark.rare_rates(RESULTS).items():
        assert 0.91 <= found["held"] <= 0.995, name
    differing = benchmark.groups_of([10] * 8, 400, spread=1.0)
    assert differing["pooled, of the worst"]["held"] >= 0.90
    assert differing["own, of a named one"]["held"] >= 0.90
    # The reason why guards read each group's own interval.
    lone = benchmark.groups_of([10] * 8, 400, spread=0.0, lone=1.0)
    assert lone["pooled, of the worst"]["held"] < 0.85
    assert lone["own, of a named one"]["held"] >= 0.90
