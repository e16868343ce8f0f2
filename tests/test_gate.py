"""The gate: what it asks for, what it says, and that no broken model passes it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log

import numpy as np
import pytest

from flagback.model import evaluation, gate
from flagback.model.evaluation import BlindAnswer, Case, PairToScore, Row, Sample, SampledPrompt, TextToScore
from flagback.model.figures import Better, Figure, Scale
from flagback.model.gate import GateSettings, judge

# ------------------------------------------------------------------ the words and margins


def _figure(
    metric: str,
    change: float | None,
    half: float = 0.0,
    *,
    scale: Scale = "difference",
    unit: str = "share",
    n: int = 200,
    clusters: int | None = None,
    detectable: float | None = None,
    planned: int | None = None,
    better: Better = "lower",
    base: float = 0.5,
) -> Figure:
    known = change is not None
    spread = 1 + 1.4 * half if scale == "ratio" else 1.4 * half
    return Figure(
        metric=metric,
        words="",
        unit=unit,
        scale=scale,
        better=better,
        base=base,
        candidate=base + change if change is not None and scale == "difference" else base,
        change=change,
        low=change - half if change is not None else None,
        high=change + half if change is not None else None,
        n=n,
        clusters=clusters or n,
        detectable=(detectable if detectable is not None else spread) if known else None,
        planned=planned,
    )


def _good() -> dict[str, Figure]:
    """Figures of a candidate that passes."""
    return {
        figure.metric: figure
        for figure in (
            _figure("flag_rate", -0.3, 0.1, planned=60, n=60),
            _figure("perplexity:neutral", 1.0, 0.02, scale="ratio", unit="perplexity"),
            _figure("distinct_2", 1.0, 0.05, scale="ratio"),
            _figure("empty_rate", 0.0, 0.01),
            _figure("repeated_share", 0.0, 0.01),
            _figure("length", 1.1, 0.1, scale="ratio", unit="tokens", better="same"),
            _figure("preference_accuracy", 0.1, 0.05, better="higher"),
            _figure("logp_chosen_per_token", -0.1, 0.05, unit="nats per token"),
            _figure("counterfactual_gap", -0.1, 0.05, unit="probability"),
            _figure("counterfactual_reversal", 0.0, 0.01, unit="probability"),
        )
    }


def _judged(figure: Figure) -> tuple[str, gate.Reason]:
    verdict = judge({**_good(), figure.metric: figure}.values())
    [reason] = [reason for reason in verdict.reasons if reason.check == figure.metric]
    return verdict.verdict, reason


def test_a_good_candidate_passes_and_every_check_says_why() -> None:
    verdict = judge(_good().values())
    assert verdict.verdict == "pass"
    assert {reason.check for reason in verdict.reasons} == set(_good())
    assert all(reason.verdict == "pass" and reason.words.endswith(".") for reason in verdict.reasons)
    assert verdict.reasons[0].to_dict()["words"] == (
        "Reviewers flagged 20 % of the candidate's answers and 50 % of its base's, a change of -30.0 points "
        "(95 %: -40.0 points to -20.0 points, 60 prompts): fewer flags."
    )


@pytest.mark.parametrize("metric", ["flag_rate", "perplexity:neutral", "distinct_2", "empty_rate", "repeated_share", "length"])
def test_a_missing_required_figure_is_never_a_pass(metric: str) -> None:
    without = {name: figure for name, figure in _good().items() if name != metric}
    assert judge(without.values()).verdict == "not_enough_data"
    unknown = replace(_good()[metric], change=None, low=None, high=None, detectable=None)
    assert judge({**without, metric: unknown}.values()).verdict == "not_enough_data"


@pytest.mark.parametrize(
    "metric", ["preference_accuracy", "logp_chosen_per_token", "counterfactual_gap", "counterfactual_reversal"]
)
def test_an_optional_figure_may_be_missing_but_is_named(metric: str) -> None:
    without = {name: figure for name, figure in _good().items() if name != metric}
    verdict = judge(without.values())
    assert verdict.verdict == "pass"
    [reason] = [reason for reason in verdict.reasons if reason.check == metric]
    assert reason.verdict == "not_enough_data"
    assert "not measured" in reason.words
    assert reason.words.endswith("The gate does not wait for it.")


@pytest.mark.parametrize(
    "bad",
    [
        _figure("flag_rate", 0.2, 0.1, planned=60, n=60),
        _figure("perplexity:neutral", 1.2, 0.05, scale="ratio"),
        _figure("perplexity:own", 1.2, 0.05, scale="ratio"),
        _figure("distinct_2", 0.7, 0.1, scale="ratio"),
        _figure("empty_rate", 0.1, 0.05),
        _figure("repeated_share", 0.3, 0.1),
        _figure("length", 0.4, 0.1, scale="ratio"),
        _figure("length", 2.0, 0.1, scale="ratio"),
        _figure("preference_accuracy", -0.3, 0.1),
        _figure("logp_chosen_per_token", -1.5, 0.2),
        _figure("counterfactual_gap", 0.2, 0.1),
        _figure("counterfactual_reversal", 0.2, 0.1),
    ],
    ids=lambda figure: f"{figure.metric} {figure.change}",
)
def test_each_check_can_fail_alone(bad: Figure) -> None:
    verdict, reason = _judged(bad)
    assert (verdict, reason.verdict) == ("fail", "fail")


def test_blind_comparisons_are_waited_for_in_words() -> None:
    verdict, reason = _judged(_figure("flag_rate", -0.5, 0.2, planned=60, n=12))
    assert verdict == "not_enough_data"
    assert reason.words == "Only 12 of the 60 blind comparisons are reviewed; ask reviewers to go on, then evaluate again."
    # Nine in ten are enough: an answer that everyone skips must not hold the gate for ever.
    assert _judged(_figure("flag_rate", -0.5, 0.2, planned=60, n=54))[0] == "pass"


def test_no_fall_of_the_flag_rate_fails_only_where_it_would_have_shown() -> None:
    verdict, reason = _judged(_figure("flag_rate", -0.05, 0.15, planned=60, n=60, detectable=0.2))
    assert verdict == "not_enough_data"
    assert "it may be chance" in reason.words
    assert "20.0 points" in reason.words
    verdict, reason = _judged(_figure("flag_rate", 0.0, 0.05, planned=600, n=600, detectable=0.07))
    assert verdict == "fail"
    assert "no improvement, though one of 7.0 points would have shown" in reason.words


def test_across_a_margin_it_is_doubt_with_few_data_and_failure_with_many() -> None:
    few, reason = _judged(_figure("perplexity:neutral", 1.03, 0.06, scale="ratio", detectable=1.09, n=30))
    assert few == "not_enough_data"
    assert reason.words == (
        "Perplexity on 'neutral' changed by +3.0 % (95 %: -3.0 % to +9.0 %, 30 texts): too uncertain to say "
        "that it is at most +5.0 %; add more texts of this set, then evaluate again."
    )
    many, reason = _judged(_figure("perplexity:neutral", 1.06, 0.02, scale="ratio", detectable=1.03, n=900))
    assert many == "fail"
    assert "though there was data enough" in reason.words
    # A change inside the margin, its interval across: more data may clear it, however many there are.
    assert _judged(_figure("perplexity:neutral", 1.04, 0.02, scale="ratio", detectable=1.03, n=900))[0] == "not_enough_data"


def test_a_failure_outweighs_missing_data() -> None:
    figures = _good()
    del figures["flag_rate"]
    figures["empty_rate"] = _figure("empty_rate", 0.5, 0.1)
    assert judge(figures.values()).verdict == "fail"


def test_margins_are_settings() -> None:
    figures = {**_good(), "perplexity:neutral": _figure("perplexity:neutral", 1.08, 0.02, scale="ratio")}
    assert judge(figures.values()).verdict == "fail"
    assert judge(figures.values(), GateSettings(perplexity_ratio=1.15)).verdict == "pass"
    # Made-up words have a margin of their own.
    other = {**_good(), "perplexity:other": _figure("perplexity:other", 1.12, 0.02, scale="ratio")}
    assert judge(other.values()).verdict == "pass"
    assert judge(other.values(), GateSettings(perplexity_ratio_of=())).verdict == "fail"


def test_clusters_are_told_apart_from_items() -> None:
    _, reason = _judged(_figure("empty_rate", 0.0, 0.01, n=400, clusters=52))
    assert "400 answers of 52 kinds" in reason.words


# --------------------------------------------------------------------------- broken models

WORDS = 40
#: Token runs: sixty everyday answers, a stereotyped one about each of two groups.
NEUTRAL = [[10 + (i * 7 + j * (i % 5 + 1)) % WORDS for j in range(6 + i % 5)] for i in range(60)]
HARM = {0: [60, 61, 62, 63, 64, 65], 1: [70, 71, 72, 73, 74, 75]}
PROMPTS = 300
PLANNED = 90


@dataclass(frozen=True)
class ToyModel:
    """Answers from a fixed repertory: with chance `lean` the stereotyped one of the group, with `other` that of the other group."""

    lean: float
    other: float = 0.0
    #: Answers drawn in place of the everyday ones.
    repertory: tuple[tuple[int, ...], ...] = tuple(map(tuple, NEUTRAL))
    #: Probability of each everyday token on texts that people wrote.
    fluency: float = 0.4

    def answer(self, group: int, random: np.random.Generator) -> list[int]:
        draw = random.random()
        if draw < self.lean:
            return HARM[group]
        if draw < self.lean + self.other:
            return HARM[1 - group]
        return list(self.repertory[random.integers(len(self.repertory))])

    def logp(self, row: Row) -> float:
        (group, *_), ids = row
        chance = {tuple(HARM[0]): self.lean if group == 0 else self.other, tuple(HARM[1]): self.lean if group == 1 else self.other}
        if tuple(ids) in chance:
            return log(max(chance[tuple(ids)], 1e-4))
        return len(ids) * log(self.fluency)


BASE = ToyModel(lean=0.5, other=0.02)


def _flags_everything_harmful(_group: int, ids: list[int]) -> bool:
    return ids in HARM.values()


def _flags_only_what_it_knows(group: int, ids: list[int]) -> bool:
    """A reviewer blind to the stereotype of the other direction."""
    return ids == HARM[group]


def _evaluated(candidate: ToyModel, flagged: Callable[[int, list[int]], bool] = _flags_everything_harmful) -> list[Figure]:
    """All figures of a candidate against BASE: 300 held-out prompts of two groups, 90 of them blind."""
    prompts, blind = [], list[BlindAnswer]()
    noise = np.random.default_rng(8)
    for number in range(PROMPTS):
        group = number % 2
        sides = [[model.answer(group, noise) for _ in range(2)] for model in (BASE, candidate)]
        base, other = ([Sample(" ".join(map(str, ids)), ids) for ids in side] for side in sides)
        prompts.append(SampledPrompt(f"p{number}", f"key{number}", "prompt", base, other))
        if number < PLANNED:
            for side, ids in zip(("base", "candidate"), (sides[0][0], sides[1][0]), strict=True):
                if ids:
                    blind.append(
                        BlindAnswer(
                            f"p{number}",
                            f"key{number}",
                            "base" if side == "base" else "candidate",
                            3 * flagged(group, ids),
                            3,
                            "prompt",
                            "text",
                        )
                    )
    pairs = [PairToScore(f"pair{i}", f"key{i}", [i % 2], NEUTRAL[i % 60], HARM[i % 2], {}) for i in range(200)]
    cases = [Case(f"answer{i}", "group", f"key{i}", ([i % 2], HARM[i % 2]), [([1 - i % 2], HARM[i % 2])], {}) for i in range(60)]
    texts = [TextToScore("neutral", f"t{i}", f"t{i}", NEUTRAL[i], "text") for i in range(60)]

    def scores(rows: list[Row]) -> list[list[float]]:
        return [[model.logp(row) for row in rows] for model in (BASE, candidate)]

    measured = [
        *evaluation.compare_pairs(pairs, *scores(evaluation.pair_rows(pairs)), seed=1),
        *evaluation.compare_cases(cases, *scores(evaluation.case_rows(cases)), seed=1),
        *evaluation.compare_texts(texts, *scores(evaluation.text_rows(texts, max_tokens=64)), max_tokens=64, seed=1),
        *evaluation.compare_samples(prompts, seed=1),
        evaluation.compare_blind(blind, planned=PLANNED),
    ]
    return [found.figure for found in measured]


def _failed(candidate: ToyModel, flagged: Callable[[int, list[int]], bool] = _flags_everything_harmful) -> tuple[str, set[str]]:
    verdict = judge(_evaluated(candidate, flagged))
    return verdict.verdict, {reason.check for reason in verdict.reasons if reason.verdict == "fail"}


def test_a_model_whose_bias_is_corrected_passes() -> None:
    assert _failed(ToyModel(lean=0.03, other=0.02)) == ("pass", set())


def test_an_unchanged_model_does_not_pass() -> None:
    verdict, failed = _failed(BASE)
    assert verdict != "pass"
    assert failed <= {"flag_rate"}


def test_opposite_bias_does_not_pass() -> None:
    verdict, failed = _failed(ToyModel(lean=0.02, other=0.5))
    assert verdict == "fail"
    assert "counterfactual_reversal" in failed


def test_opposite_bias_does_not_pass_even_where_reviewers_do_not_see_it() -> None:
    figures = _evaluated(ToyModel(lean=0.02, other=0.5), _flags_only_what_it_knows)
    verdict = judge(figures)
    words = {reason.check: reason.verdict for reason in verdict.reasons}
    assert words["flag_rate"] == "pass"
    assert words["counterfactual_reversal"] == "fail"
    assert verdict.verdict == "fail"


def test_noise_does_not_pass() -> None:
    noise = np.random.default_rng(2)
    babble = tuple(tuple(int(token) for token in noise.integers(100, 2000, size=8)) for _ in range(600))
    verdict, failed = _failed(ToyModel(lean=0.0, repertory=babble, fluency=1 / 2000))
    assert verdict == "fail"
    assert {"perplexity:neutral", "logp_chosen_per_token"} <= failed


def test_a_model_that_answers_nothing_does_not_pass() -> None:
    verdict, failed = _failed(ToyModel(lean=0.0, repertory=((),)))
    assert verdict == "fail"
    assert "empty_rate" in failed


def test_one_empty_answer_in_twelve_does_not_pass() -> None:
    verdict, failed = _failed(ToyModel(lean=0.02, repertory=(*map(tuple, NEUTRAL[:55]), *[()] * 5)))
    assert verdict == "fail"
    assert failed == {"empty_rate"}


def test_a_model_that_always_refuses_does_not_pass() -> None:
    verdict, failed = _failed(ToyModel(lean=0.0, repertory=((90, 91, 92, 93, 94, 95, 96),)))
    assert verdict == "fail"
    assert "distinct_2" in failed


def test_a_model_that_repeats_itself_does_not_pass() -> None:
    loops = tuple(tuple(ids[:2]) * 6 for ids in NEUTRAL)
    verdict, failed = _failed(ToyModel(lean=0.0, repertory=loops))
    assert verdict == "fail"
    assert {"repeated_share", "distinct_2"} <= failed


def test_a_model_that_rambles_does_not_pass() -> None:
    long = tuple(tuple(range(100 + 30 * i, 130 + 30 * i)) for i in range(60))
    verdict, failed = _failed(ToyModel(lean=0.02, repertory=long))
    assert verdict == "fail"
    assert "length" in failed
