"""The benchmark of null rejections in small: chance alone is called a change about 1 time in 20, or less often and never more."""

import importlib.util
import random
import sys
from math import sqrt
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "null_rejections.py"
#: Result sets of a suite; those whose numbers are reckoned of all items together take long.
SETS = 120
FEWER = {"bbq": 50, "winogender": 50, "stereoset": 60, "winobias": 80}


def _room(sets: int) -> float:
    """Four standard errors of a share of .05 of so many sets."""
    return 4 * sqrt(0.05 * 0.95 / sets)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("null_rejections", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["null_rejections"] = module
    spec.loader.exec_module(module)
    return module


def test_exchanging_takes_whole_clusters_and_nothing_else(benchmark: ModuleType) -> None:
    items = benchmark.made_items("crows-pairs", benchmark.every_suite()["crows-pairs"], 12)
    base, candidate = [[{"m": float(side)} for _ in items] for side in (0, 1)]
    one, other = benchmark.swapped(items, base, candidate, random.Random(3))
    turned = {item.cluster: mine["m"] for item, mine in zip(items, one, strict=True)}
    assert set(turned.values()) == {0.0, 1.0}
    for item, mine, theirs in zip(items, one, other, strict=True):
        assert (mine["m"], theirs["m"]) == (turned[item.cluster], 1 - turned[item.cluster])


@pytest.mark.parametrize("name", ["crows-pairs", "winogender", "winobias", "bbq", "stereoset", "custom", "counterfactual"])
def test_sets_without_an_effect_are_called_a_change_one_time_in_twenty(name: str, benchmark: ModuleType) -> None:
    sets = FEWER.get(name, SETS)
    found = benchmark.of_suite(name, 50, sets=sets, pairs=4)
    room = _room(sets)
    measured = {metric: one for metric, one in found.items() if "rejected" in one}
    assert measured
    for metric, one in measured.items():
        assert one["rejected"] <= 0.06 + room, metric
        assert one.get("exact test", 0.0) <= 0.06 + room, metric


def test_the_same_weights_with_other_seeds_are_called_a_change_one_time_in_twenty(benchmark: ModuleType) -> None:
    found = benchmark.of_samples(SETS, benchmark.pool(prompts=60, draws=24))
    for metric, one in found.items():
        assert one["rejected"] <= 0.06 + _room(SETS), metric
    assert found["flag_rate"]["clusters"] == 60
    assert 0.2 < found["flag_rate"]["level"] < 0.8


def test_a_real_change_is_called_one(benchmark: ModuleType) -> None:
    """What turns nothing round must not pass for careful: without the coin the same data show the perturbation."""
    suite = benchmark.every_suite()["custom"]
    items = benchmark.made_items("custom", suite, 50)
    base = benchmark.load("embedded")
    first, other = benchmark.measures_of(suite, items, [base, benchmark.perturbed(base, 3, by=2.0)])
    figures = {figure.metric: figure for figure in benchmark.changes(suite, items, first, other, "causal", seed=1)}
    assert benchmark.called(figures["likelihood_diff"])
