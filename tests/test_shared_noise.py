"""Claims about the shared noise: the share of variance that is left, by hand and on real samples of the embedded model."""

import pytest

from flagback.model import dialogue, embedded
from flagback.model.checkpoint import load
from flagback.model.sample_figures import Sample, SampledPrompt
from flagback.model.sampling import Decoding, SamplePrompt, sample
from flagback.model.shared_noise import SCORES, _variances, compare_noise


def _prompt(number: int, base: list[str], candidate: list[str]) -> SampledPrompt:
    """Answers as words; a token id a letter."""
    sides = [[Sample(text, [ord(letter) for letter in text]) for text in side] for side in (base, candidate)]
    return SampledPrompt(f"p{number}", f"c{number}", "prompt", *sides)


def test_what_is_left_of_the_variance_by_hand() -> None:
    """Lengths 1, 3 and 2, 2: differences 1, -1 vary by 2, the sides by 2 and 0: all of it. Of the letter a: counts 1, 3 and 0, 2,
    so the difference never varies; of b: 0, 0 and 2, 0 vary by 2. Left are 2 of 2 + 2 + 2."""
    prompt = _prompt(0, ["a", "aaa"], ["bb", "aa"])
    assert _variances(prompt, SCORES["length"]) == (2.0, 2.0)
    assert _variances(prompt, SCORES["wording"]) == (2.0, 6.0)
    [one] = compare_noise([prompt])
    assert one.figure.candidate == pytest.approx(1 / 3)
    assert one.figure.change is None, "one prompt is too few for an interval"
    assert one.figure.words == "The same noise before and after: the comparison varies 33 % as much as with independent samples"
    assert "wording 33 %, length 100 %. 0 of 2 pairs" in one.figure.note


def test_equal_answers_leave_nothing_and_one_draw_says_nothing() -> None:
    [same] = compare_noise([_prompt(i, ["a", "bb"], ["a", "bb"]) for i in range(12)])
    assert same.figure.candidate == 0.0
    assert "24 of 24 pairs" in same.figure.note
    assert compare_noise([_prompt(0, ["a"], ["b"])]) == []
    assert compare_noise([_prompt(0, ["a", "a"], ["a", "a"])]) == [], "nothing varies at all"
    assert compare_noise([]) == []


def test_the_same_model_under_the_same_noise_leaves_nothing_and_under_other_noise_all_of_it() -> None:
    loaded = load("embedded")
    wanted = [
        SamplePrompt(prompt.text, dialogue.prompt_ids(loaded.tokenizer, prompt.messages, loaded.template))
        for prompt in embedded.prompts()[::60]
    ]

    def drawn(seed: int) -> dict[str, list[Sample]]:
        found: dict[str, list[Sample]] = {}
        for done in sample(loaded, wanted, Decoding(k=8, temperature=1.0, top_p=1.0, max_tokens=24, seed=seed)):
            found.setdefault(done.key, []).append(Sample(dialogue.answer_text(loaded.tokenizer, done.token_ids), done.token_ids))
        return found

    first, again, other = drawn(1), drawn(1), drawn(2)

    def left(candidate: dict[str, list[Sample]]) -> float | None:
        [one] = compare_noise([SampledPrompt(key, key, key, first[key], candidate[key]) for key in first])
        return one.figure.candidate

    assert left(again) == 0.0
    assert left(other) == pytest.approx(1.0, abs=0.12)
