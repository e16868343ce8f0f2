"""Claims about the detector of harm: it learns what can be learnt, knows how sure it is, and is the same for the same reviews."""

import hashlib
import pickle  # nosec B403 # asked whether it would read the weights; it never does
import random
from pathlib import Path

import numpy as np
import pytest

from flagback.model import detector
from flagback.model.detector import Judged, TooFewReviews, UnusableDetector, check, fingerprint, load, predict, save, train
from flagback.model.detector_figures import Told, figures


def answers(n: int = 160, *, seed: int = 0, meaning: bool = True, prompts: int = 40) -> list[Judged]:
    """Answers that three people judged: "lazy" and, after a nurse, "she" is what most of them flag."""
    draw = random.Random(seed)
    made = []
    for number in range(n):
        who = draw.choice(["nurse", "pilot", "clerk", "baker"])
        text = (
            f" {draw.choice(['she', 'he', 'they'])} was {draw.choice(['lazy', 'late', 'kind', 'early'])} {draw.choice('abcdefgh')}"
        )
        harmful = "lazy" in text or (who == "nurse" and "she" in text)
        chance = (0.9 if harmful else 0.1) if meaning else 0.4
        prompt = f"The {who} number {number % prompts} said that"
        key = hashlib.sha256(f"{prompt}{text}{number}".encode()).hexdigest()
        made.append(Judged(key, prompt, text, sum(draw.random() < chance for _ in range(3)), 3, f"{number % prompts}"))
    return made


def measured(judged: list[Judged]) -> dict[str, dict[str, float]]:
    trained = train(judged)
    rows = zip(trained.judged, trained.unseen, trained.base_rates, strict=True)
    return figures([Told(float(p), float(b), one.harm, one.votes, one.cluster, {}) for one, p, b in rows])


def test_it_tells_harm_from_prompts_it_never_saw_and_says_how_sure_it_is() -> None:
    found = measured(answers(400))
    assert found["auc"]["low"] > 0.8
    assert found["log_loss_saved"]["low"] > 0.1
    assert found["calibration_error"]["value"] < 0.08


def test_where_reviews_mean_nothing_it_claims_nothing() -> None:
    """Of ten worlds without meaning: discrimination at a half, never a clear gain on the base rate, and hardly a loss either."""
    worlds = [measured(answers(120, seed=seed, meaning=False)) for seed in range(10)]
    assert np.mean([found["auc"]["value"] for found in worlds]) == pytest.approx(0.5, abs=0.06)
    assert sum(found["log_loss_saved"]["low"] > 0 for found in worlds) <= 1
    assert all(found["log_loss_saved"]["value"] > -0.05 for found in worlds)


def test_a_pronoun_can_be_harmful_after_one_occupation_only() -> None:
    trained = train(answers(600)).detector
    nurse, pilot = predict(
        trained, [("The nurse number 99 said that", " she was late a"), ("The pilot number 99 said that", " she was late a")]
    )
    assert nurse > 0.5 > pilot


def test_the_same_reviews_in_any_order_give_the_same_bits() -> None:
    rows = answers()
    one = train(rows)
    random.Random(7).shuffle(rows)
    other = train(rows)
    assert fingerprint(rows) == fingerprint(answers())
    for mine, theirs in zip(one.detector, other.detector, strict=True):
        assert np.array_equal(np.asarray(mine), np.asarray(theirs))
    assert np.array_equal(one.unseen, other.unseen)
    assert one.judged == other.judged


def test_other_votes_give_another_name() -> None:
    rows = answers()
    changed = [rows[0]._replace(harm=3 - rows[0].harm), *rows[1:]]
    assert fingerprint(changed) != fingerprint(rows)


def test_what_is_stored_says_the_same_bit_for_bit_and_is_no_pickle(tmp_path: Path) -> None:
    trained = train(answers()).detector
    save(trained, tmp_path)
    texts = [(one.prompt, one.answer) for one in answers(50, seed=4)] + [("", ""), ("é ñ", " 中文字 \U0001f600")]
    assert np.array_equal(predict(load(tmp_path), texts), predict(trained, texts))
    [file] = list(tmp_path.iterdir())
    with pytest.raises(pickle.UnpicklingError), file.open("rb") as stream:
        pickle.load(stream)  # nosec B301 # shows that it is none
    first = file.read_bytes()
    save(load(tmp_path), tmp_path)
    assert file.read_bytes() == first


def test_neighbours_change_nothing() -> None:
    trained = train(answers()).detector
    texts = [(one.prompt, one.answer) for one in answers(30, seed=9)]
    together = predict(trained, texts)
    assert [float(predict(trained, [text])[0]) for text in texts] == together.tolist()
    assert predict(trained, []).tolist() == []


def test_probabilities_are_probabilities() -> None:
    trained = train(answers())
    assert np.all((trained.unseen > 0) & (trained.unseen < 1))
    assert trained.detector.slope >= 0


def test_what_was_learnt_of_a_prompt_never_judges_it() -> None:
    """One cluster's votes turned round change nothing that was said of that cluster itself, but for its scaling by others."""
    rows = answers(200)
    mine = [one for one in rows if one.cluster == "7"]
    turned = [one._replace(harm=one.votes - one.harm) if one.cluster == "7" else one for one in rows]
    before, after = train(rows), train(turned)
    said = {one.key: p for one, p in zip(before.judged, before.unseen, strict=True)}
    for one, p in zip(after.judged, after.unseen, strict=True):
        if one in turned and one.key in {own.key for own in mine}:
            assert p == pytest.approx(said[one.key], abs=1e-9)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (answers(30), "30 judged answers (at least 40)"),
        ([one._replace(harm=0) for one in answers()], "0 that most found harmful (at least 10)"),
        ([one._replace(harm=3) for one in answers()], "0 that most found fine (at least 10)"),
        (answers(prompts=6), "6 kinds of prompt (at least 10)"),
        (
            [one._replace(harm=3 if one.cluster in "01" else 0) for one in answers(400)],
            "2 kinds of prompt with a harmful answer (at least 5)",
        ),
    ],
)
def test_too_few_reviews_are_refused_with_what_is_missing(rows: list[Judged], words: str) -> None:
    with pytest.raises(TooFewReviews) as error:
        train(rows)
    assert words in str(error.value)
    assert "flagback sample" in str(error.value)


def test_the_fewest_that_are_taken_are_enough_to_train() -> None:
    rows = [
        Judged(f"{n:03}", f"prompt {n % 10}", " bad" if n % 4 == 0 else " good", 1 if n % 4 == 0 else 0, 1, f"c{n % 10}")
        for n in range(40)
    ]
    check(rows)
    assert predict(train(rows).detector, [("prompt 1", " bad")])[0] > predict(train(rows).detector, [("prompt 1", " good")])[0]


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"{}" * 400])
def test_weights_that_are_none_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(UnusableDetector, match="flagback detect"):
        load(tmp_path)


def test_weights_of_another_recipe_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(train(answers()).detector, tmp_path)
    monkeypatch.setattr(detector, "RECIPE", "99")
    with pytest.raises(UnusableDetector, match="recipe 1, this Flagback has 99"):
        load(tmp_path)
