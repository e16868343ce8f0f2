"""Claims about blind reviews: paired by prompt, both sides waited for, worked by hand. Group by group: test_broken_models."""

from typing import Any

import pytest

from flagback.model import blind_figures
from flagback.model.blind_figures import BlindAnswer
from flagback.model.evaluation import BrokenScores


def _blind(key: int, side: Any, flags: int, reviews: int) -> BlindAnswer:
    return BlindAnswer(f"p{key}", f"key{key}", side, flags, reviews, "prompt", f"{side} {key}")


def test_the_flag_rate_is_paired_by_prompt_and_waits_for_both_sides() -> None:
    answers = [_blind(i, "base", 1, 2) for i in range(20)] + [_blind(i, "candidate", 0, 1) for i in range(15)]
    answers += [_blind(15, "candidate", 0, 0)]
    answers += [_blind(0, "candidate", 2, 2)]  # a second draw: 2 flags in 3 reviews of prompt 0
    found = blind_figures.compare_blind(answers, planned=20)
    figure = found.figure
    assert (figure.n, figure.planned, figure.base) == (15, 20, 0.5)
    assert figure.candidate == pytest.approx((2 / 3) / 15)
    assert found.items[0].texts == {"prompt": "prompt", "base": "base 0", "candidate": "candidate 0"}
    assert blind_figures.compare_blind([], planned=20).figure.base is None
    with pytest.raises(BrokenScores, match="3 flags in 2 reviews"):
        blind_figures.compare_blind([_blind(0, "base", 3, 2)], planned=1)
