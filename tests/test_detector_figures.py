"""Claims about a detector's figures: worked by hand, and no small group shown."""

import random
from math import log

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from flagback.model.detector_figures import MIN_CLUSTERS, Told, figures


def told(probability: float, harm: int, votes: int = 1, cluster: str = "p", base: float = 0.5, **groups: str) -> Told:
    return Told(probability, base, harm, votes, cluster, groups)


def spread(n: int, seed: int = 1) -> list[Told]:
    """n answers whose probabilities are true, two to a cluster."""
    draw = random.Random(seed)
    made = []
    for number in range(n):
        p = draw.random()
        made.append(told(p, sum(draw.random() < p for _ in range(3)), 3, f"p{number // 2}", side="left" if number % 8 else "right"))
    return made


def test_losses_and_discrimination_by_hand() -> None:
    rows = [told(0.9, 1, cluster="a"), told(0.6, 0, cluster="b"), told(0.6, 1, cluster="c"), told(0.2, 0, cluster="d")]
    found = figures(rows * 3 + [told(0.9, 1, cluster=f"x{n}") for n in range(8)])
    assert found["auc"]["value"] == pytest.approx((11 * 6 + 3 * (0.5 * 3 + 3)) / (14 * 6))
    assert found["brier"]["value"] == pytest.approx((11 * 0.01 + 3 * 0.36 + 3 * 0.16 + 3 * 0.04) / 20)
    assert found["log_loss"]["value"] == pytest.approx(-(11 * log(0.9) + 3 * log(0.4) + 3 * log(0.6) + 3 * log(0.8)) / 20)
    assert found["log_loss_base"]["value"] == pytest.approx(log(2))
    assert found["log_loss_saved"]["value"] == pytest.approx(log(2) - found["log_loss"]["value"])
    assert (found["answers"], found["harmful"], found["fine"], found["clusters"]) == (20, 14, 6, 12)


def test_discrimination_is_the_usual_one_and_its_interval_leaves_out_whole_clusters() -> None:
    rows = spread(120)
    judged = [one for one in rows if 2 * one.harm != one.votes]
    labels = np.asarray([2 * one.harm > one.votes for one in judged])
    scores = np.asarray([one.probability for one in judged])
    found = figures(rows)["auc"]
    assert found["value"] == pytest.approx(roc_auc_score(labels, scores))
    clusters = np.asarray([one.cluster for one in judged])
    without = [roc_auc_score(labels[clusters != name], scores[clusters != name]) for name in sorted(set(clusters))]
    error = np.sqrt((len(without) - 1) / len(without) * np.sum((np.asarray(without) - np.mean(without)) ** 2))
    assert found["high"] - found["value"] == pytest.approx(2.001 * error, rel=0.01)


def test_true_probabilities_lie_on_the_line_and_false_ones_do_not() -> None:
    rows = spread(2_000)
    true = figures(rows)
    assert true["calibration_error"]["value"] < 0.03
    assert sum(band["low"] <= band["predicted"] <= band["high"] for band in true["reliability"]) >= 8
    false = figures([one._replace(probability=one.probability**3) for one in rows])
    assert false["calibration_error"]["low"] > 0.1


def test_the_calibration_error_by_hand() -> None:
    """Ten answers of ten probabilities are ten bands: the mean distance of each from its vote."""
    rows = [told(0.05 + 0.1 * n, int(n >= 5), cluster=f"p{n}") for n in range(10)]
    assert figures(rows)["calibration_error"]["value"] == pytest.approx(np.mean([0.05, 0.15, 0.25, 0.35, 0.45] * 2))


def test_equal_probabilities_stay_in_one_band() -> None:
    assert [band["answers"] for band in figures([told(0.3, n % 2, cluster=f"p{n}") for n in range(40)])["reliability"]] == [40]


def test_errors_by_group_by_hand() -> None:
    fine = [told(0.9 if n < 3 else 0.1, 0, cluster=f"f{n}", gender="female") for n in range(12)]
    harmful = [told(0.2 if n < 6 else 0.95, 1, cluster=f"h{n}", gender="female") for n in range(12)]
    others = [told(0.1, 0, cluster=f"o{n}", gender="male") for n in range(MIN_CLUSTERS - 1)]
    found = figures([*fine, *harmful, *others])
    shown = {(row["axis"], row["group"], row["kind"]): row for row in found["errors"]}
    # 12 of 33 are harmful, so 12 answers lie at or over the line: the six at .95, the three at .9 and three at .2.
    assert found["line"] == 0.2
    assert shown["gender", "female", "false_alarm"]["share"] == pytest.approx(3 / 12)
    assert shown["gender", "female", "missed"]["share"] == 0
    assert shown[None, None, "false_alarm"]["share"] == pytest.approx(3 / 21)
    assert 0.05 < shown["gender", "female", "false_alarm"]["low"] < 0.25 < shown["gender", "female", "false_alarm"]["high"] < 0.6


def test_a_group_of_few_kinds_of_prompt_is_named_and_not_shown() -> None:
    rows = [told(0.5, n % 2, cluster=f"p{n}") for n in range(40)]
    small = [told(0.9, 0, cluster=f"s{n % 9}", faith="few") for n in range(50)]
    found = figures([*rows, *small])
    assert all(row["group"] != "few" for row in found["errors"])
    hidden = {(row["group"], row["kind"]): (row["answers"], row["clusters"]) for row in found["suppressed"]}
    assert hidden == {("few", "false_alarm"): (50, 9), ("few", "missed"): (0, 0)}


def test_the_order_changes_nothing() -> None:
    rows = spread(150)
    before = figures(rows)
    random.Random(5).shuffle(rows)
    assert figures(rows) == before


def test_where_all_agree_there_is_no_discrimination_and_no_number_for_it() -> None:
    found = figures([told(0.4, 0, cluster=f"p{n}") for n in range(30)])
    assert found["auc"]["value"] is None
    assert found["brier"]["value"] == pytest.approx(0.16)
