"""Claims about representation: shares and ratios by hand, and whom a text speaks of."""

import random
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flagback.model.representation import TAGGED, Spoken, compare, spoken_of

SPOKEN = st.lists(
    st.builds(
        Spoken,
        st.dictionaries(st.sampled_from(["gender", "age"]), st.sampled_from(["one", "other", "third"])),
        st.sampled_from([f"p{n}" for n in range(14)]),
        st.sampled_from([1.0, 2.0]),
    ),
    max_size=30,
)


def of(group: str, count: int, *, start: int = 0, weight: float = 1.0) -> list[Spoken]:
    """So many texts about one gender, each of a cluster of its own."""
    return [Spoken({"gender": group}, f"p{start + n}", weight) for n in range(count)]


def test_shares_and_ratios_by_hand() -> None:
    prompts = of("female", 20) + of("male", 20, start=20)
    answers = of("female", 5) + of("male", 15, start=20) + [Spoken({}, "p1"), Spoken({"age": "old"}, "p2")]
    cells = {(cell.axis, cell.group, cell.station): cell for cell in compare({"prompts": prompts, "answers": answers})}
    women = cells["gender", "female", "answers"]
    assert (women.texts, women.of, women.share) == (5, 20, 0.25)
    assert women.ratio == pytest.approx(0.5)
    assert women.low is not None
    assert women.high is not None
    assert women.low < 0.5 < women.high
    assert cells["gender", "male", "answers"].ratio == pytest.approx(1.5)
    assert cells["gender", "female", "prompts"].ratio is None
    assert cells["age", "old", "answers"].ratio is None  # no prompt speaks of it: nothing to stand beside


def test_the_interval_is_a_jackknife_over_clusters_by_hand() -> None:
    prompts, answers = of("a", 6) + of("b", 6, start=6), of("a", 4) + of("b", 8, start=4)
    [cell] = [one for one in compare({"prompts": prompts, "answers": answers}) if (one.group, one.station) == ("a", "answers")]
    whole, left = log(4 / 12 * 12 / 6), []
    for n in range(12):
        here, there = (3, 11) if n < 4 else (4, 11), (5, 11) if n < 6 else (6, 11)
        left.append(log(here[0] / here[1] * there[1] / there[0]))
    mean = sum(left) / 12
    error = (11 / 12 * sum((value - mean) ** 2 for value in left)) ** 0.5
    assert cell.ratio == pytest.approx(exp(whole))
    assert cell.high == pytest.approx(exp(whole + 2.201 * error), rel=1e-3)


def test_draws_count_as_often_as_they_were_drawn() -> None:
    cells = compare({"prompts": of("a", 10) + of("b", 10, start=10), "answers": of("a", 5, weight=3.0) + of("b", 5, start=10)})
    [cell] = [one for one in cells if (one.group, one.station) == ("a", "answers")]
    assert (cell.texts, cell.of, cell.share) == (15, 20, 0.75)


def test_equal_stations_have_the_ratio_one_in_nineteen_of_twenty_intervals() -> None:
    """400 draws of answers from the prompts' own shares: the interval of the ratio holds 1 about as often as it says."""
    draw, held = random.Random(4), 0
    prompts = of("a", 60) + of("b", 60, start=60)
    for _ in range(400):
        answers = [Spoken({"gender": "a" if draw.random() < 0.5 else "b"}, f"p{draw.randrange(120)}") for _ in range(120)]
        [cell] = [one for one in compare({"prompts": prompts, "answers": answers}) if (one.group, one.station) == ("a", "answers")]
        assert cell.low is not None
        assert cell.high is not None
        held += cell.low <= 1 <= cell.high
    # The prompts are drawn too, for all that the interval knows: it is wider than answers alone would need.
    assert held / 400 >= 0.93


@given(SPOKEN, SPOKEN, st.randoms(use_true_random=False))
def test_the_order_changes_nothing_and_shares_add_up(one: list[Spoken], other: list[Spoken], shuffle: random.Random) -> None:
    before = compare({"prompts": one, "answers": other})
    shuffle.shuffle(one)
    shuffle.shuffle(other)
    assert compare({"prompts": one, "answers": other}) == before
    for axis in {cell.axis for cell in before}:
        for station in ("prompts", "answers"):
            shares = [cell.share for cell in before if (cell.axis, cell.station) == (axis, station)]
            assert not shares or sum(shares) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "tags", "expected"),
    [
        ("The woman said", {}, {"gender": "female"}),
        ("The woman and the man said", {}, {}),
        ("Hello", {"groups": ["American_actors"]}, {TAGGED: "American_actors"}),
        ("Hello", {"groups": ["one", "two"]}, {}),
        ("Hello", {"groups": [{"a": 1}]}, {}),
        ("Hello", {"groups": "text"}, {}),
    ],
)
def test_whom_a_text_speaks_of(text: str, tags: dict[str, object], expected: dict[str, str]) -> None:
    assert spoken_of(text, tags, lang="en") == expected
