"""Claims about the worst group: thin data are pulled in, chance is told from harm, nothing small is dropped in silence."""

from random import Random

import numpy as np
import pytest

from flagback.model import worst_group as worst
from flagback.model.intervals import NotANumber, UnequalLengths
from flagback.model.worst_group import WorstGroup, worst_group


def _found(
    sizes: dict[str, int], means: dict[str, float] | None = None, *, seed: int = 1, minimum: int = 5, permutations: int = 499
) -> WorstGroup:
    """Groups of clusters of one item, normal around their means."""
    random = np.random.default_rng(seed)
    names = [name for name, size in sizes.items() for _ in range(size)]
    values = [float(random.normal() + (means or {}).get(name, 0.0)) for name in names]
    groups = [{"group": name} for name in names]
    return worst_group(values, range(len(names)), groups, seed=seed, minimum=minimum, permutations=permutations)


def test_a_group_that_is_harmed_is_named_and_stands_out_of_its_null() -> None:
    found = _found({"a": 30, "b": 30, "c": 30, "d": 30}, {"d": 1.5})
    assert found.worst is not None
    assert found.worst.name == (("group", "d"),)
    assert found.worst.low > 0
    assert found.p is not None
    assert found.p <= 0.01
    assert found.null_high is not None
    assert found.worst.mean > found.null_high


def test_among_groups_alike_the_largest_mean_is_pulled_in_and_no_surprise() -> None:
    found = _found({f"g{i:02d}": 10 for i in range(12)}, seed=4)
    assert found.worst is not None
    assert found.mean is not None
    assert found.null_mean is not None
    largest = max(cell.mean for cell in found.cells)
    # The largest of twelve means of nothing, and the null that says so.
    assert largest > 0.2
    assert found.null_mean == pytest.approx(largest, abs=0.35)
    assert abs(found.worst.pooled - found.mean) < 0.6 * abs(largest - found.mean)
    assert found.p is not None
    assert found.p > 0.05


def test_fewer_data_are_pulled_further() -> None:
    random = np.random.default_rng(2)
    sizes = {"a": 60, "b": 60, "c": 60, "small": 8}
    names = [name for name, size in sizes.items() for _ in range(size)]
    values = random.normal(size=len(names))
    for name, mean in (("a", -0.4), ("b", 0.0), ("c", 0.5), ("small", 0.5)):
        here = [number for number, other in enumerate(names) if other == name]
        values[here] += mean - values[here].mean()
    found = worst_group(values.tolist(), range(len(names)), [{"g": name} for name in names], seed=0, minimum=5)
    cells = {cell.name[0][1]: cell for cell in found.cells}
    assert cells["small"].mean == pytest.approx(cells["c"].mean)
    assert cells["small"].pooled < cells["c"].pooled
    assert found.worst is not None
    assert found.worst.name == (("g", "c"),)


def test_a_small_group_that_agrees_by_chance_is_not_certain() -> None:
    # Six clusters that say exactly the same: with its own variance the group would have none.
    random = np.random.default_rng(3)
    values = [*random.normal(size=60).tolist(), *[0.9] * 6]
    groups = [{"g": "ab"[number % 2]} for number in range(60)] + [{"g": "six"}] * 6
    found = worst_group(values, range(66), groups, seed=0, minimum=5)
    [six] = [cell for cell in found.cells if cell.name == (("g", "six"),)]
    assert six.high - six.low > 1.2
    assert six.pooled < 0.9


def test_intersections_are_looked_at_and_small_ones_listed() -> None:
    random = np.random.default_rng(5)
    groups = [{"age": ("old", "young")[n % 2], "gender": ("man", "woman")[n // 2 % 2]} for n in range(80)]
    groups += [{"age": "old", "gender": "other"}] * 4
    # Only old women are harmed: half of the old, half of the women.
    values = [float(random.normal() * 0.5 + (group == {"age": "old", "gender": "woman"})) for group in groups]
    found = worst_group(values, range(84), groups, seed=0)
    assert found.worst is not None
    assert found.worst.name == (("age", "old"), ("gender", "woman"))
    assert {cell.name for cell in found.cells} >= {(("age", "old"),), (("gender", "man"),), (("age", "young"), ("gender", "man"))}
    # The intersection (old, other) holds the very same clusters as (other): it is not listed a second time.
    assert found.suppressed == [((("gender", "other"),), 4, 4)]
    assert worst_group(values, range(84), groups, seed=0, depth=1).worst != found.worst


def test_the_items_of_one_cluster_are_one_witness() -> None:
    random = np.random.default_rng(6)
    values, groups = random.normal(size=40), [{"g": "abcd"[number % 4]} for number in range(40)]
    once = worst_group(values.tolist(), range(40), groups, seed=0)
    five = worst_group(values.repeat(5).tolist(), np.arange(40).repeat(5).tolist(), [g for g in groups for _ in range(5)], seed=0)
    assert [cell.clusters for cell in five.cells] == [10] * 4
    assert [cell.items for cell in five.cells] == [50] * 4
    assert [cell[3:] for cell in five.cells] == [pytest.approx(cell[3:]) for cell in once.cells]
    assert five.p == once.p


def test_clusters_that_speak_of_several_groups_are_shuffled_within() -> None:
    # Templates differ far more than groups; each is filled with each group, and group "b" is a little worse everywhere.
    random = np.random.default_rng(7)
    rows = [(template, group) for template in range(30) for group in "abc"]
    level = random.normal(size=30) * 10
    values = [float(level[template] + 0.5 * (group == "b") + random.normal() * 0.3) for template, group in rows]
    found = worst_group(values, [template for template, _ in rows], [{"g": group} for _, group in rows], seed=0)
    assert found.worst is not None
    assert found.worst.name == (("g", "b"),)
    assert found.p is not None
    assert found.p < 0.01


def test_what_is_too_little_gives_nothing_and_says_what_was_there() -> None:
    assert worst_group([], [], [], seed=0) == WorstGroup([], [], None, None, None, None, None)
    found = worst_group([1.0, 2.0], [1, 2], [{"g": "a"}, {"g": "b"}], seed=0)
    assert found.worst is None
    assert [hidden.name for hidden in found.suppressed] == [(("g", "a"),), (("g", "b"),)]
    # Nothing varies: nothing to reckon with.
    assert worst_group([0.0] * 40, range(40), [{"g": "ab"[n % 2]} for n in range(40)], seed=0).worst is None
    # Two groups: no spread can be known, so nothing is pulled.
    two = _found({"a": 20, "b": 20})
    assert two.spread is None
    assert all(cell.pooled == cell.mean for cell in two.cells)
    with pytest.raises(UnequalLengths, match="1 values for 2 clusters"):
        worst_group([1.0], [1, 2], [{}], seed=0)
    with pytest.raises(NotANumber, match="finite"):
        worst_group([float("nan")], [1], [{}], seed=0)


def test_the_order_of_items_changes_nothing() -> None:
    random = np.random.default_rng(8)
    rows = [(float(random.normal()), int(random.integers(30)), {"g": "abc"[int(random.integers(3))]}) for _ in range(120)]
    shuffled = list(rows)
    Random(2).shuffle(shuffled)
    first, second = (
        worst_group([v for v, _, _ in order], [c for _, c, _ in order], [g for _, _, g in order], seed=0)
        for order in (rows, shuffled)
    )
    assert first == second


def test_sign_flipped_results_are_called_harm_one_time_in_twenty() -> None:
    random = np.random.default_rng(9)
    groups = [{"g": "abcdef"[number % 6]} for number in range(60)]
    made = np.abs(random.exponential(size=(400, 60)) - 0.3)
    flipped = made * random.choice([-1, 1], size=made.shape)
    rejected = [
        (worst_group(row.tolist(), range(60), groups, seed=number, permutations=199).p or 1) <= 0.05
        for number, row in enumerate(flipped)
    ]
    assert 0.025 <= np.mean(rejected) <= 0.08


def test_pooling_worked_by_hand_at_its_ends() -> None:
    # Means far apart for their errors stay; means closer than their errors come together at the mean of all.
    apart, _, _ = worst._pooled(np.asarray([-100.0, 0.0, 100.0]), np.full(3, 1.0))
    assert apart == pytest.approx([-100, 0, 100], abs=0.5)
    alike, spreads, spread = worst._pooled(np.asarray([-0.1, 0.0, 0.1] * 5), np.full(15, 100.0))
    assert alike == pytest.approx([0.0] * 15, abs=0.02)
    assert spread is not None
    assert spread < 5
    # 15 groups of error 10 that are alike are known together to 10 / sqrt(15), and a little less well each.
    assert 10 / np.sqrt(15) < spreads[0] < 6
