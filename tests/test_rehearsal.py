"""Claims about the rehearsal: the whole loop, simulated and marked as such, reproducible."""

import json
from pathlib import Path

import pytest
from sqlmodel import select

from flagback.model import embedded
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
