"""Claims about words that go with flags: the paper's formula by hand, and no more of them by chance than is said."""

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagback.model.mentions import mentions
from flagback.model.word_odds import Said, WordOdds, compare, holm, words

TEXTS = st.lists(
    st.builds(Said, st.lists(st.sampled_from("abcde"), max_size=6).map(tuple), st.sampled_from(["p", "q", "r", "s"])), max_size=12
)


def test_the_formula_of_monroe_by_hand() -> None:
    """a twice and b once on one side, a once and b twice on the other: the prior of 500 words gives each of them 250 more."""
    found = compare([Said(("a", "a", "b"), "p")], [Said(("a", "b", "b"), "q")], minimum=1)
    a, b = found.words
    assert (a.word, a.first, a.second, a.clusters) == ("a", 2, 1, 2)
    assert a.log_odds == pytest.approx(log(252 / 251) - log(251 / 252))
    assert a.plain_z == pytest.approx(a.log_odds / sqrt(1 / 252 + 1 / 251))
    assert b.log_odds == pytest.approx(-a.log_odds)
    assert b.plain_z == pytest.approx(-a.plain_z)


def test_the_clustered_z_by_hand() -> None:
    """Four clusters of one text of two words each: all variance is between them, and every text counts as one draw."""
    first = [Said(("a", "b"), "p"), Said(("a", "a"), "q")]
    second = [Said(("b", "b"), "r"), Said(("a", "b"), "s")]
    [a] = [one for one in compare(first, second, minimum=1).words if one.word == "a"]
    # Share 1/2; squares around 2 * 1/2: 0, 1, 1, 0, times 4/3; per word 8/3 / 8 = 1/3; times (1/4 + 1/4).
    assert a.z == pytest.approx((3 / 4 - 1 / 4) / sqrt(1 / 3 * (1 / 4 + 1 / 4)))


@given(TEXTS, TEXTS)
def test_changing_sides_changes_every_sign_and_nothing_else(first: list[Said], second: list[Said]) -> None:
    one, other = compare(first, second, minimum=2), compare(second, first, minimum=2)
    turned = {odds.word: (-odds.log_odds, -odds.z, odds.p, odds.second, odds.first) for odds in other.words}
    assert {odds.word for odds in one.words} == set(turned)
    for odds in one.words:
        assert (odds.log_odds, odds.z, odds.p, odds.first, odds.second) == pytest.approx(turned[odds.word])


@given(TEXTS, TEXTS, st.randoms(use_true_random=False))
def test_the_order_of_texts_changes_nothing(first: list[Said], second: list[Said], random: object) -> None:
    before = compare(first, second, minimum=2)
    for side in (first, second):
        random.shuffle(side)  # type: ignore[attr-defined]
    assert compare(first, second, minimum=2) == before


def test_a_word_of_few_clusters_is_counted_and_not_judged() -> None:
    texts = [Said(("often",) if n else ("often", "once"), f"p{n}") for n in range(12)]
    found = compare(texts[:6], texts[6:])
    assert ([odds.word for odds in found.words], found.rare, found.texts, found.tokens) == (["often"], 1, (6, 6), (7, 6))


@pytest.mark.parametrize("sides", [([], []), ([Said(("a",), "p")], []), ([Said((), "p")], [Said(("a",), "q")])])
def test_nothing_on_one_side_compares_nothing(sides: tuple[list[Said], list[Said]]) -> None:
    assert compare(*sides, minimum=1).words == []


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_words_are_letters_of_any_script_without_those_that_name_a_group() -> None:
    assert words("Don’t über-react: Ωμέγα 42 times_2!") == ("don't", "über", "react", "ωμέγα", "times")
    assert words(mentions("The old woman said that she was LATE.").rest) == ("the", "said", "that", "was", "late")


def _null(seed: int, *, by_cluster: bool) -> WordOdds:
    """100 prompts, each with words of its own liking, about 4 answers each; sides that mean nothing."""
    random = np.random.default_rng(seed)
    common = 1 / np.arange(1, 201)
    common /= common.sum()
    sides: tuple[list[Said], list[Said]] = ([], [])
    dealt = random.permutation(100) < 40
    for number in range(100):
        liking = random.gamma(common * 60 + 1e-9)
        for _ in range(random.integers(1, 8)):
            drawn = random.choice(200, random.integers(5, 25), p=liking / liking.sum())
            side = dealt[number] if by_cluster else random.random() < 0.4
            sides[int(side)].append(Said(tuple(f"w{word}" for word in drawn), f"p{number}"))
    return compare(*sides)


@pytest.mark.parametrize("by_cluster", [True, False])
def test_shuffled_labels_find_one_word_in_twenty(by_cluster: bool) -> None:
    """At 5 % a word: 4 to 6 %, whether labels go by prompt or by answer. Corrected for all words: hardly ever any."""
    runs = [_null(seed, by_cluster=by_cluster) for seed in range(60)]
    judged = [odds for run in runs for odds in run.words]
    assert len(judged) > 3_000
    assert 0.04 <= np.mean([odds.p < 0.05 for odds in judged]) <= 0.06
    assert sum(bool(run.found) for run in runs) <= 6
    if by_cluster:  # what the paper's own z would have said: twice as many
        assert np.mean([abs(odds.plain_z) > 1.96 for odds in judged]) > 0.08


def test_a_word_that_really_goes_with_flags_is_found() -> None:
    random = np.random.default_rng(3)
    sides: tuple[list[Said], list[Said]] = ([], [])
    for number in range(60):
        for side in (0, 1):
            said = ["was", "late", "lazy" if random.random() < (0.2, 0.7)[side] else "kind", "x" if random.random() < 0.5 else "y"]
            sides[side].append(Said(tuple(said), f"p{number}"))
    found = compare(sides[1], sides[0])
    assert [(odds.word, odds.z > 0) for odds in found.found] == [("lazy", True), ("kind", False)]
