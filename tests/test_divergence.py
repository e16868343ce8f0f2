"""Claims about the distance to the base: worked by hand, against torch's own, never below 0, the same at any batch size."""

import random
from math import log
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from flagback.model import divergence
from flagback.model.divergence import OtherVocabulary, divergences, kl_rows
from flagback.model.evaluation import BrokenScores, TextToScore, compare_divergence, text_rows
from flagback.model.recipe import Stopped
from tests.tiny_model import random_ids, tiny_llama


def test_three_tokens_by_hand() -> None:
    """Candidate (1/2, 1/4, 1/4) against base (1/4, 1/4, 1/2): 1/2 log 2 + 0 - 1/4 log 2 = .1733 nats; logits may be shifted."""
    candidate, base = torch.tensor([[0.5, 0.25, 0.25]]).log() + 3, torch.tensor([[0.25, 0.25, 0.5]]).log() - 7
    assert kl_rows(candidate, base).tolist() == pytest.approx([0.25 * log(2)], abs=1e-7)
    assert kl_rows(candidate, candidate).tolist() == [0.0]


def test_a_token_without_any_chance_adds_nothing_and_one_that_the_base_rules_out_is_infinite() -> None:
    sure = torch.tensor([[0.0, -torch.inf]])
    torch.testing.assert_close(kl_rows(sure, torch.tensor([[0.0, 0.0]])), torch.tensor([log(2)], dtype=torch.float64))
    assert kl_rows(sure, sure).tolist() == [0.0]
    assert kl_rows(torch.zeros(1, 2), sure).tolist() == [torch.inf]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 9), width=st.floats(0.0, 30.0))
def test_it_is_torchs_own_and_never_negative(seed: int, rows: int, width: float) -> None:
    noise = torch.Generator().manual_seed(seed)
    candidate, base = (width * torch.randn(rows, 17, generator=noise) for _ in range(2))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(divergence, "_SLICE", 40)  # two rows at a time
        found = kl_rows(candidate, base)
    wanted = functional.kl_div(
        base.double().log_softmax(-1), candidate.double().log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    torch.testing.assert_close(found, wanted.clamp_min(0))
    assert bool((found >= 0).all())
    torch.testing.assert_close(kl_rows(candidate, candidate + 1e-9 * base), torch.zeros(rows, dtype=torch.float64))


def _rows(count: int) -> list[tuple[list[int], list[int]]]:
    draw = random.Random(3)
    return [(random_ids(draw, 1, 4), random_ids(draw, 1, 9)) for _ in range(count)]


@torch.no_grad()
def _alone(base: Any, candidate: Any, row: tuple[list[int], list[int]]) -> float:
    """One row at a time, by torch."""
    before, compared = row
    logps = [
        side(torch.tensor([[*before, *compared]])).logits[0, len(before) - 1 : -1].log_softmax(-1) for side in (base, candidate)
    ]
    return float(functional.kl_div(logps[0], logps[1], reduction="sum", log_target=True))


@pytest.mark.parametrize("at_once", [1, 700, 10**6])
def test_two_models_are_compared_where_each_token_is_foretold_at_any_batch_size(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divergence, "AT_ONCE", at_once)
    base, candidate = tiny_llama(seed=1), tiny_llama(seed=2)
    rows = _rows(12)
    assert divergences(base, candidate, rows) == pytest.approx([_alone(base, candidate, row) for row in rows], rel=1e-4)
    assert divergences(base, base, rows) == [0.0] * 12
    assert divergences(base, candidate, []) == []


def test_no_more_logits_than_a_batch_are_ever_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "AT_ONCE", 61 * 30)
    base, candidate = tiny_llama(seed=1), tiny_llama(seed=2)
    seen = []
    base.lm_head.register_forward_hook(lambda _m, _a, logits: seen.append(logits.shape[0] * logits.shape[1]))
    divergences(base, candidate, _rows(40))
    assert len(seen) > 8
    assert max(seen) <= 2 * 30, "padding of texts of about one length aside"


def test_other_vocabularies_and_a_stop_are_told() -> None:
    base = tiny_llama()
    with pytest.raises(OtherVocabulary, match="The base has 61 tokens and the candidate 40"):
        divergences(base, tiny_llama(vocab_size=40), _rows(1))
    with pytest.raises(Stopped):
        divergences(base, base, _rows(1), should_stop=lambda: True)


def _texts(count: int) -> list[TextToScore]:
    return [TextToScore("neutral", f"t{i}", f"t{i // 2}", [5] * (3 + i % 4), "text") for i in range(count)]


def test_a_figure_counts_by_token_and_hangs_texts_of_one_cluster_together() -> None:
    """Texts of 2 and 3 scored tokens with .2 and .9 nats in all: 1.1 / 5 a token."""
    texts = [
        TextToScore("neutral", "a", "a", [1, 2, 3], ""),
        TextToScore("neutral", "b", "b", [1, 2, 3, 4], ""),
        TextToScore("empty", "c", "c", [1], ""),
    ]
    [one] = compare_divergence(texts, [0.2, 0.9], max_tokens=8, seed=1)
    assert one.figure.metric == "kl_to_base:neutral"
    assert one.figure.base == 0.0
    assert one.figure.candidate == pytest.approx(0.22)
    assert [item.candidate for item in one.items] == [pytest.approx(0.1), pytest.approx(0.3)]
    assert one.figure.change is None, "two texts are too few for an interval"
    [many] = compare_divergence(_texts(60), [0.01 * (1 + i % 3) for i in range(60)], max_tokens=8, seed=1)
    assert (many.figure.n, many.figure.clusters) == (60, 30)
    assert many.figure.low is not None
    assert 0 <= many.figure.low < (many.figure.change or 0)
    [still] = compare_divergence(_texts(60), [0.0] * 60, max_tokens=8, seed=1)
    assert (still.figure.change, still.figure.low, still.figure.high) == (0.0, 0.0, 0.0)


def test_an_interval_of_a_distance_never_begins_below_nothing() -> None:
    moved = [3.0 if i == 7 else 1e-4 for i in range(24)]
    [one] = compare_divergence(_texts(24), moved, max_tokens=8, seed=1)
    assert one.figure.low == 0.0


def test_broken_weights_are_no_distance() -> None:
    with pytest.raises(BrokenScores, match="candidate scores row 1 as nan"):
        compare_divergence(_texts(2), [0.1, float("nan")], max_tokens=8, seed=1)


def test_an_answer_is_scored_after_its_whole_prompt_and_a_long_one_in_windows() -> None:
    answer = TextToScore("unflagged", "k", "c", [1, 2, 3, 4, 5, 6, 7], "", 3)
    assert answer.scored == 4
    assert text_rows([answer], max_tokens=9) == [([1, 2, 3], [4, 5, 6, 7])]
    assert text_rows([answer], max_tokens=3) == [([1, 2, 3], [4, 5, 6]), ([6], [7])]
    alone = TextToScore("neutral", "k", "c", [1, 2, 3, 4, 5], "")
    assert text_rows([alone], max_tokens=2) == [([1], [2, 3]), ([3], [4, 5])]
