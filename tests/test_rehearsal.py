"""Claims about the rehearsal: the whole loop, simulated and marked as such, reproducible."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from flagback.model import embedded, minority_rehearsal, policies
from flagback.model.embedded.corpus import corpus
from flagback.model.rehearsal import Plan, grammar_rates, rehearse
from flagback.storage.records import CorrectionRun, Evaluation, PreferenceSet, Review, SamplingRun
from flagback.storage.store import Store

SMALL = {"prompts": 24, "completions": 100, "reviewers": 3, "recipe": {"steps": 3, "pairs_per_step": 8, "replay_per_step": 4}}


def test_one_small_round_gives_every_figure_and_marks_every_row_simulated(tmp_path: Path) -> None:
    found = rehearse(Plan(**SMALL), home=tmp_path)  # type: ignore[arg-type]
    [done] = found["rounds"]
    wanted = {
        "flag_rate_heldout",
        "harm_rate_heldout",
        "harm_unseen_heldout",
        "she_gap",
        "they_share",
        "counterfactual_gap",
        "ppl_neutral",
        "ppl_groups",
        "ppl_other",
        "logp_chosen",
        "n",
    }
    assert wanted <= set(done["base"])
    assert set(done["base"]) == set(done["candidate"])
    assert done["base"]["n"] >= 100
    assert found["simulated"] is True
    assert json.loads(json.dumps(found)) == found
    store = Store(f"sqlite:///{tmp_path / 'rehearsal.db'}")
    with store.reading() as session:
        marks = [
            session.exec(select(kind.simulated)).all() for kind in (Review, SamplingRun, CorrectionRun, Evaluation, PreferenceSet)
        ]
    assert all(marks)
    assert all(mark for found_marks in marks for mark in found_marks)
    store.close()


def test_rates_are_counted_by_hand() -> None:
    phrase = embedded.PHRASES[0]
    known = frozenset({phrase.code})
    nurse = next(p for p in embedded.prompts() if embedded.group_of(p.text) == "occupation_f")
    engineer = next(p for p in embedded.prompts() if embedded.group_of(p.text) == "occupation_m")
    rates = grammar_rates(
        [
            (nurse.text, " she read the paper."),
            (nurse.text, " they read the paper."),
            (engineer.text, " she read the paper."),
            (engineer.text, " he read the paper."),
        ],
        known,
    )
    assert rates["n"] == 4
    assert rates["she_gap"] == 0.5 - 0.5
    assert rates["they_share"] == 0.25
    assert rates["harm_rate_heldout"] == 0.0
    assert rates["flag_rate_heldout"] == 0.5  # she after the nurse, he after the engineer


def test_without_occupations_there_is_no_she_gap() -> None:
    old = next(p for p in embedded.prompts() if embedded.group_of(p.text) == "age_old")
    assert grammar_rates([(old.text, " she read the paper.")], frozenset())["she_gap"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"reviewers": 2, "reviews_per_item": 3}, "nobody reviews an item twice"),
        ({"false_flags": 1.5}, "between 0 and 1"),
        ({"rounds": 0}, "1 or more"),
    ],
)
def test_an_impossible_plan_is_refused(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Plan(**arguments)  # type: ignore[arg-type]


# ------------------------------------------------------- harm that only one group sees


def test_only_the_few_see_harm_about_origin_and_faith() -> None:
    seen: dict[str, set[tuple[bool, bool]]] = {}
    family_of = {phrase.code: phrase.family for phrase in embedded.PHRASES}
    for text in corpus(0, 3_000):
        families = {family_of[code] for code in embedded.harm(text)}
        if len(families) == 1:
            seen.setdefault(families.pop(), set()).add(minority_rehearsal.harms("", text))
    assert seen["origin"] == seen["faith"] == {(True, False)}
    assert seen["age"] == seen["disability"] == {(False, True)}
    assert minority_rehearsal.harms("", " read the paper.") == (False, False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"reviewers": 10, "minority": 0.2}, "make 2 and 8"),
        ({"reviewers": 30, "minority": 0.2, "reviews_per_item": 3}, "leave no majority"),
    ],
)
def test_a_panel_whose_few_could_never_be_weighed_or_outvoted_is_refused(
    tmp_path: Path, arguments: dict[str, float], words: str
) -> None:
    with pytest.raises(minority_rehearsal.BadPlan, match=words):
        minority_rehearsal.rehearse(Plan(**{"reviews_per_item": 7, **arguments}), home=tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"minority": 0.5}, {"minority": -0.1}, {"minority": 0.2, "rounds": 2}])
def test_a_minority_of_half_or_over_several_rounds_is_no_plan(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="minority"):
        Plan(**{"reviewers": 30, **arguments})  # type: ignore[arg-type]


def test_a_small_rehearsal_of_a_minority_gives_a_line_a_policy_and_the_control(tmp_path: Path) -> None:
    recipe = {"steps": 2, "pairs_per_step": 4, "replay_per_step": 2, "rank": 2, "alpha": 4.0}
    plan = Plan(reviewers=10, minority=0.4999, reviews_per_item=7, false_flags=0.0, prompts=16, completions=100, recipe=recipe)
    found = minority_rehearsal.rehearse(plan, home=tmp_path)
    names = [line["policy"] for line in found["policies"]]
    assert names == [*(policy.name for policy in policies.TABLE), minority_rehearsal.OTHERS_ONLY, minority_rehearsal.CONTROL]
    lines = dict(zip(names, found["policies"], strict=True))
    assert lines["majority"]["times_majority"] is None
    assert lines["max_of_groups"]["minority_pairs"] >= lines["majority"]["minority_pairs"]
    assert all(0 <= line["minority_harm"]["low"] <= line["minority_harm"]["high"] <= 1 for line in lines.values())
    assert json.loads(json.dumps(found)) == found
    store = Store(f"sqlite:///{tmp_path / 'rehearsal.db'}")
    with store.reading() as session:
        reviews = session.exec(select(Review)).all()
        assert reviews
        assert all(review.simulated for review in reviews)
        by_few = [review for review in reviews if int(review.reviewer[-3:]) < 5]
        items = {review.item_id for review in reviews}
    assert len(by_few) == 2 * len(items)
    assert len(reviews) == 7 * len(items)
    store.close()


def test_several_seeds_are_pooled_by_hand() -> None:
    """Majority leaves .10 and .30, a policy .02 and .02: a tenth of it; leaving out one seed, .02/.30 and .02/.10."""
    tables = [_table(0.10, 0.02, 0.01), _table(0.30, 0.02, 0.03)]
    majority, other, empty = minority_rehearsal.over_seeds(tables)
    assert majority["minority_harm"]["value"] == pytest.approx(0.2)
    assert majority["times_majority"] is None
    assert other["times_majority"]["value"] == pytest.approx(0.04 / 0.4)
    # 12.706 is Student's t of one degree of freedom; the spread of 1/15 and 1/5 by the jackknife.
    reach = 12.7062 * (0.5 * 2 * ((1 / 5 - 1 / 15) / 2) ** 2) ** 0.5
    assert other["times_majority"]["high"] == pytest.approx(0.1 + reach, rel=1e-4)
    assert other["other_change"]["low"] == pytest.approx(0.02 - 12.7062 * 0.01, rel=1e-4)
    assert (empty["minority_harm"], empty["times_majority"]) == (None, None)
    with pytest.raises(ValueError, match="two or more"):
        minority_rehearsal.over_seeds(tables[:1])


def _table(majority: float, other: float, change: float) -> dict[str, Any]:
    def line(policy: str, harm: float | None, moved: float | None) -> dict[str, Any]:
        rates = {"minority_harm": harm, "other_harm": harm, "other_change": moved}
        return {"policy": policy, "pairs": 5} | {name: None if value is None else {"value": value} for name, value in rates.items()}

    return {"policies": [line("majority", majority, None), line("any_group", other, change), line("jury", None, None)]}
