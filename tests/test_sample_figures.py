"""Claims about fresh answers: means over answers, and variety compared at equal length, by hand-worked values."""

import pytest

from flagback.model import sample_figures
from flagback.model.figures import Measured
from flagback.model.sample_figures import Sample, SampledPrompt


def _by_name(measured: list[Measured]) -> dict[str, Measured]:
    return {found.figure.metric: found for found in measured}


def _sample(*ids: int) -> Sample:
    return Sample(" ".join(map(str, ids)), ids)


def test_sample_statistics_are_means_over_answers() -> None:
    prompts = [
        SampledPrompt(
            f"p{i}", f"key{i}", "Hello", [_sample(1, 2, 3, i + 10), _sample(4, 5)], [_sample(*[7] * 8), Sample(" \n", [])]
        )
        for i in range(20)
    ]
    prompts.append(SampledPrompt("unanswered", "key", "Hello", [_sample(1)], []))
    found = _by_name(sample_figures.compare_samples(prompts, seed=1))
    length, empty, repeated = (found[name].figure for name in ("length", "empty_rate", "repeated_share"))
    assert (length.base, length.candidate, length.change, length.n) == pytest.approx((3, 4, 4 / 3, 40))
    assert (empty.base, empty.candidate) == (0, 0.5)
    assert found["empty_rate"].items[3][:4] == ("p3", "key3", 0, 0.5)
    # Five runs of four tokens, all alike: four of five were said before. The other answer has none.
    assert (repeated.base, repeated.candidate) == pytest.approx((0, 0.4))
    assert found["empty_rate"].items[3].texts == {"prompt": "Hello", "base": "4 5", "candidate": " \n"}


def test_distinct_n_is_compared_at_equal_length() -> None:
    # The candidate says the same as the base and goes on with new words: cut to equal length, nothing changed.
    prompts = [SampledPrompt(f"p{i}", f"key{i}", "", [_sample(1, 2, i + 10)], [_sample(1, 2, i + 10, 99, 98)]) for i in range(20)]
    found = _by_name(sample_figures.compare_samples(prompts, seed=1))
    one, two = found["distinct_1"].figure, found["distinct_2"].figure
    # 22 different words of 60; 21 different runs of two (1 2, and 20 others) of 40.
    assert (one.base, one.candidate, one.change) == pytest.approx((22 / 60, 22 / 60, 1))
    assert two.base == pytest.approx(21 / 40)
    poorer = [prompt._replace(candidate=[_sample(1, 2, 10 + i // 10)]) for i, prompt in enumerate(prompts)]
    changed = _by_name(sample_figures.compare_samples(poorer, seed=1))["distinct_2"].figure
    assert changed.change == pytest.approx(3 / 21)
    assert changed.high is not None
    assert changed.high < 0.5


def test_samples_without_any_run_have_no_distinct_figure() -> None:
    prompts = [SampledPrompt(f"p{i}", f"key{i}", "", [_sample(1, 2)], [Sample("", [])]) for i in range(20)]
    found = _by_name(sample_figures.compare_samples(prompts, seed=1))
    assert (found["distinct_2"].figure.candidate, found["distinct_2"].figure.change) == (None, None)
    assert (found["length"].figure.candidate, found["length"].figure.change) == (0, None)
    assert found["empty_rate"].figure.change == 1
    assert sample_figures.compare_samples([], seed=1) == []
