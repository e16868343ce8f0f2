"""Laws of small cells: nothing of fewer than five is shown, and nothing follows from a total minus what is shown."""

from collections import Counter
from itertools import combinations
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flagback.storage.suppression import BANDS, SMALLEST, band, k_anonymous, shown_cells, shown_options

COUNTS = st.dictionaries(st.sampled_from([None, "None", "a", "b", "c", "d", "e", "f"]), st.integers(0, 14))
ANSWER = st.sampled_from([None, "None", "a", "b", "c"])
ROWS = st.integers(1, 4).flatmap(
    lambda width: st.dictionaries(st.text("pqrs", min_size=1, max_size=4), st.tuples(*[ANSWER] * width), max_size=60)
)


def of_five(rows: dict[str, tuple[str | None, ...]]) -> dict[str, tuple[str | None, ...]]:
    """Each person five times: groups large enough for something to be shown."""
    return {f"{person}{copy}": row for person, row in rows.items() for copy in range(5)}


@given(COUNTS)
def test_no_cell_of_fewer_than_five_is_shown(counts: dict[str | None, int]) -> None:
    assert all(counts[cell] >= SMALLEST for cell in shown_cells(counts))


@given(COUNTS)
def test_total_minus_what_is_shown_is_nobody_or_five_people_in_two_cells_at_least(counts: dict[str | None, int]) -> None:
    shown = shown_cells(counts)
    hidden = [count for cell, count in counts.items() if count and cell not in shown]
    if shown:
        assert not hidden or (sum(hidden) >= SMALLEST and len(hidden) >= 2)


@given(COUNTS)
def test_nothing_is_hidden_without_need(counts: dict[str | None, int]) -> None:
    if all(count == 0 or count >= SMALLEST for count in counts.values()):
        assert shown_cells(counts) == {cell for cell, count in counts.items() if count}


@given(COUNTS, st.randoms())
@example({"a": 3, None: 5, "None": 5, "b": 9}, Random(1))
@example({"a": 3, "None": 5, None: 5, "b": 9}, Random(2))
def test_the_order_of_the_cells_changes_nothing(counts: dict[str | None, int], random: Random) -> None:
    cells = list(counts)
    random.shuffle(cells)
    for order in (cells, cells[::-1]):
        assert shown_cells({cell: counts[cell] for cell in order}) == shown_cells(counts)


@given(st.dictionaries(st.text("abc", max_size=2), st.integers(0, 30)), st.integers(0, 30))
def test_an_option_is_shown_where_enough_chose_it_and_enough_or_none_did_not(chosen: dict[str, int], people: int) -> None:
    chosen = {option: min(count, people) for option, count in chosen.items()}
    for option in shown_options(chosen, people):
        assert chosen[option] >= SMALLEST
        assert people - chosen[option] == 0 or people - chosen[option] >= SMALLEST


@given(st.integers(SMALLEST, 10**6))
def test_a_band_is_the_highest_that_the_count_reaches(count: int) -> None:
    low = int(band(count).removesuffix(" or more").replace(",", ""))
    assert low in BANDS
    assert low <= count
    assert all(other <= low or other > count for other in BANDS)


@pytest.mark.parametrize("count", [-1, 0, 4])
def test_of_fewer_than_five_not_even_a_band_is_said(count: int) -> None:
    with pytest.raises(ValueError, match="nothing is said of so few"):
        band(count)


def groups(rows: dict[str, list[str | None]]) -> list[int]:
    """How many people each combination stands for, those of whom nothing is said left out."""
    return [
        count for row, count in Counter(tuple(row) for row in rows.values()).items() if any(answer is not None for answer in row)
    ]


@given(ROWS)
def test_every_combination_stands_for_five_people_at_least(rows: dict[str, tuple[str | None, ...]]) -> None:
    assert all(count >= SMALLEST for count in groups(k_anonymous(rows)))
    assert all(count >= SMALLEST for count in groups(k_anonymous(of_five(rows))))


@given(ROWS)
def test_of_any_choice_of_questions_every_answer_stands_for_five_people_at_least(rows: dict[str, tuple[str | None, ...]]) -> None:
    kept = k_anonymous(of_five(rows))
    width = len(next(iter(kept.values()))) if kept else 0
    for size in range(1, width + 1):
        for places in combinations(range(width), size):
            for asked, count in Counter(tuple(row[place] for place in places) for row in kept.values()).items():
                assert count >= SMALLEST or all(answer is None for answer in asked)


@given(ROWS)
def test_an_answer_is_kept_as_it_was_or_hidden(rows: dict[str, tuple[str | None, ...]]) -> None:
    kept = k_anonymous(rows)
    assert kept.keys() == rows.keys()
    for person, row in kept.items():
        assert len(row) == len(rows[person])
        assert all(answer is None or answer == said for answer, said in zip(row, rows[person], strict=True))


@given(ROWS, st.randoms())
def test_the_order_and_the_names_of_people_change_nothing(rows: dict[str, tuple[str | None, ...]], random: Random) -> None:
    rows = of_five(rows)
    people = list(rows)
    random.shuffle(people)
    kept = k_anonymous(rows)
    assert k_anonymous({person: rows[person] for person in people}) == kept
    other = dict(zip(rows, people, strict=True))
    renamed = k_anonymous({other[person]: row for person, row in rows.items()})
    assert {person: renamed[other[person]] for person in rows} == kept


@given(st.dictionaries(st.text("pq", min_size=1), st.tuples(ANSWER, ANSWER), max_size=SMALLEST - 1))
def test_of_fewer_than_five_people_everything_is_hidden(rows: dict[str, tuple[str | None, ...]]) -> None:
    assert all(answer is None for row in k_anonymous(rows).values() for answer in row)
