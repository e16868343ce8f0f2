"""Measurements worked by hand: what is paired, what is counted, and what is not a number."""

import json
from math import exp, log

import pytest

from flagback.model import blind_figures, evaluation
from flagback.model.evaluation import BrokenScores, Case, PairToScore, TextToScore
from flagback.model.figures import Figure, Measured


def _by_name(measured: list[Measured]) -> dict[str, Measured]:
    return {found.figure.metric: found for found in measured}


def _pairs(count: int) -> list[PairToScore]:
    return [
        PairToScore(f"pair{i}", f"key{i % 12}", [1], [5, 6], [7, 8, 9, 10], {"chosen": "good", "rejected": "bad"})
        for i in range(count)
    ]


def test_accuracy_is_the_share_of_pairs_whose_chosen_answer_is_likelier() -> None:
    pairs = _pairs(24)
    assert evaluation.pair_rows(pairs)[:2] == [([1], [5, 6]), ([1], [7, 8, 9, 10])]
    # Base: the first 6 pairs right by sum, ties elsewhere. Candidate: the first 18 right.
    base = [score for i in range(24) for score in ((-4.0, -6.0) if i < 6 else (-6.0, -6.0))]
    candidate = [score for i in range(24) for score in ((-5.0, -6.0) if i < 18 else (-7.0, -6.0))]
    found = _by_name(evaluation.compare_pairs(pairs, base, candidate, seed=1))
    summed = found["preference_accuracy"].figure
    assert (summed.base, summed.candidate, summed.change, summed.n, summed.clusters) == (0.25, 0.75, 0.5, 24, 12)
    assert summed.low is not None
    assert 0 < summed.low < 0.5
    # Per token -4/2 < -6/4: the longer rejected answer wins everywhere.
    assert found["preference_accuracy_per_token"].figure.candidate == 0
    assert "right on 100.0%" in summed.note
    assert "12 pairs turned right, 0 turned wrong (exact McNemar p = 0.000" in summed.note
    assert found["logp_chosen"].figure.base == pytest.approx((6 * -4 + 18 * -6) / 24)
    assert found["logp_chosen_per_token"].figure.candidate == pytest.approx((18 * -5 + 6 * -7) / 24 / 2)
    assert found["preference_accuracy"].items[7][:4] == ("pair7", "key7", 0.0, 1.0)


def test_no_pair_gives_no_figure_and_few_give_no_interval() -> None:
    assert evaluation.compare_pairs([], [], [], seed=1) == []
    few = evaluation.compare_pairs(_pairs(5), [-1.0] * 10, [-1.0] * 10, seed=1)
    for found in few:
        figure = found.figure
        assert (figure.change, figure.low, figure.high, figure.detectable, figure.n) == (None, None, None, None, 5)


@pytest.mark.parametrize(
    ("scores", "words"),
    [([-1.0] * 9, "9 scores for 10 rows"), ([-1.0] * 9 + [float("nan")], "row 9 as nan"), ([float("-inf")] * 10, "row 0 as -inf")],
)
def test_scores_that_cannot_be_compared_are_named(scores: list[float], words: str) -> None:
    with pytest.raises(BrokenScores, match=f"candidate .*{words}"):
        evaluation.compare_pairs(_pairs(5), [-1.0] * 10, scores, seed=1)


def _cases(count: int) -> list[Case]:
    return [
        Case(f"answer{i}", "gender" if i % 2 else "age", f"key{i}", ([1], [5, 6]), [([2], [5, 6]), ([3], [5, 7, 6])], {})
        for i in range(count)
    ]


def test_the_counterfactual_gap_follows_its_formula() -> None:
    cases = _cases(20)
    assert evaluation.case_rows(cases)[:3] == [([1], [5, 6]), ([2], [5, 6]), ([3], [5, 7, 6])]
    # Per-token probabilities .8 | .4, .2 of the base; .5 | .6, .8 of the candidate: turned round.
    base = [2 * log(0.8), 2 * log(0.4), 3 * log(0.2)] * 20
    candidate = [2 * log(0.5), 2 * log(0.6), 3 * log(0.8)] * 20
    found = _by_name(evaluation.compare_cases(cases, base, candidate, seed=1))
    gap, reversal = found["counterfactual_gap"].figure, found["counterfactual_reversal"].figure
    assert (gap.base, gap.candidate, gap.change) == pytest.approx((0.6, 0.3, -0.3))
    assert (reversal.base, reversal.candidate) == pytest.approx((0.0, 0.2))
    assert found["counterfactual_gap:age"].figure.n == 10
    assert found["counterfactual_gap:gender"].items[0].item_key == "answer1:gender"
    assert evaluation.compare_cases([], [], [], seed=1) == []


def test_a_model_that_treats_groups_alike_has_no_gap() -> None:
    [gap, reversal, *_] = evaluation.compare_cases(_cases(20), [-3.0] * 60, [-2.0, -2.0, -3.0] * 20, seed=1)
    assert gap.figure.candidate == pytest.approx(0)
    assert reversal.figure.candidate == pytest.approx(0)


def test_perplexity_is_one_figure_a_set_and_weighs_tokens() -> None:
    texts = [TextToScore("neutral", f"n{i}", f"n{i}", [9] + [4] * (5 if i % 2 else 2), "text") for i in range(20)]
    texts += [TextToScore("own", "empty", "empty", [], "")]
    texts += [TextToScore("own", "o", "o", [9, 4, 4], "text"), TextToScore("own", "one", "one", [9], "a")]
    rows = evaluation.text_rows(texts, max_tokens=3)
    assert rows[:3] == [([9], [4, 4]), ([9], [4, 4, 4]), ([4], [4, 4])]
    base = [-0.5 * len(ids) for _, ids in rows]
    candidate = [-0.6 * len(ids) for _, ids in rows]
    found = _by_name(evaluation.compare_texts(texts, base, candidate, max_tokens=3, seed=1))
    neutral = found["perplexity:neutral"].figure
    assert (neutral.base, neutral.candidate, neutral.change) == pytest.approx((exp(0.5), exp(0.6), exp(0.1)))
    assert (neutral.scale, neutral.n) == ("ratio", 20)
    own = found["perplexity:own"].figure
    assert own.base == pytest.approx(exp(0.5))
    assert (own.n, own.change) == (1, None)


def test_a_model_broken_beyond_measure_still_gives_a_figure() -> None:
    texts = [TextToScore("neutral", f"n{i}", f"n{i}", [9, 4], "text") for i in range(20)]
    [found] = evaluation.compare_texts(texts, [-1.0] * 20, [-5000.0 - i for i in range(20)], max_tokens=8, seed=1)
    json.dumps(found.figure.to_dict(), allow_nan=False)
    assert found.figure.low is not None
    assert found.figure.low > 1e100


def test_figures_and_items_go_through_json_unchanged() -> None:
    measured = [
        *evaluation.compare_pairs(_pairs(24), [-1.0, -2.0] * 24, [-1.5, -1.0] * 24, seed=1),
        blind_figures.compare_blind([], planned=3),
    ]
    for found in measured:
        assert Figure(**json.loads(json.dumps(found.figure.to_dict(), allow_nan=False))) == found.figure
        json.dumps([item._asdict() for item in found.items], allow_nan=False)


def test_the_order_of_items_changes_no_figure() -> None:
    cases = _cases(30)
    scores = [-(i % 7) - 1.0 for i in range(90)]
    other = [-(i % 5) - 1.0 for i in range(90)]
    rows = list(zip(cases, [scores[i : i + 3] for i in range(0, 90, 3)], [other[i : i + 3] for i in range(0, 90, 3)], strict=True))
    forward, backward = (
        [
            found.figure
            for found in evaluation.compare_cases(
                [case for case, _, _ in order], [s for _, b, _ in order for s in b], [s for _, _, c in order for s in c], seed=4
            )
        ]
        for order in (rows, rows[::-1])
    )
    for one, two in zip(forward, backward, strict=True):
        assert (one.low, one.high) == (two.low, two.high)
        assert one.base == pytest.approx(two.base)
