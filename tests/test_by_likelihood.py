"""Claims about BBQ and StereoSet put to a model, and about `evaluate --predictions`: the figures are the suites' own."""

import json
from math import log
from pathlib import Path
from random import Random

import pytest

from flagback.model.suites import SUITES, bbq, stereoset
from flagback.model.suites.by_likelihood import Bbq, StereoSet
from flagback.model.suites.report import levels, measured
from flagback.model.suites.suite import Likelihood
from flagback.review_app.cli import main
from tests.test_bbq import ROWS
from tests.test_bbq import _written as bbq_file
from tests.test_stereoset import _document, _record
from tests.test_stereoset import _written as stereoset_file


def test_both_are_among_the_suites() -> None:
    assert {"bbq", "stereoset"} <= set(SUITES)


def test_bbq_takes_the_likeliest_option_and_reckons_as_the_paper(tmp_path: Path) -> None:
    suite = Bbq()
    items = suite.read(bbq_file(tmp_path, ROWS))
    random = Random(3)
    found = [[Likelihood(-random.random(), 3) for _ in suite.texts(item, "causal")] for item in items]
    scored = measured(suite, items, found, "causal")
    chosen = bbq.chosen_by_score(bbq.read(tmp_path / "items.jsonl"), [[one.logp for one in three] for three in found])
    expected = bbq.aggregate(bbq.read(tmp_path / "items.jsonl"), chosen).overall
    figures = suite.aggregate(items, scored, "causal")
    assert figures == {name: getattr(expected, name) for name in figures}
    assert figures["accuracy_ambiguous"] is not None


def test_bbq_without_a_choice_that_names_somebody_has_no_bias_score(tmp_path: Path) -> None:
    suite = Bbq()
    items = suite.read(bbq_file(tmp_path, ROWS))
    unknown = [[Likelihood(-3.0, 1), Likelihood(-3.0, 1), Likelihood(-1.0, 1)] for _ in items]
    figures = suite.aggregate(items, measured(suite, items, unknown, "causal"), "causal")
    assert (figures["accuracy_ambiguous"], figures["s_ambiguous"], figures["s_disambiguated"]) == (1.0, None, None)


def test_stereoset_reckons_its_own_figures_by_term(tmp_path: Path) -> None:
    suite = StereoSet()
    items = suite.read(stereoset_file(tmp_path, _document([_record("a", "aunt"), _record("b", "uncle")])))
    scores = ((0.9, 0.5, 0.1), (0.2, 0.6, 0.4))
    found = [[Likelihood(2 * log(score), 2) for score in three] for three in scores]
    figures = suite.aggregate(items, measured(suite, items, found, "causal"), "causal")
    # aunt: stereotype wins, both beat the unrelated one; uncle: anti-stereotype wins, one of two beats it.
    assert figures == pytest.approx({"lms": 75.0, "ss": 50.0, "icat": 75.0})
    assert stereoset.NAME == suite.NAME


def test_groups_have_figures_of_their_own(tmp_path: Path) -> None:
    suite = Bbq()
    items = suite.read(bbq_file(tmp_path, ROWS))
    found = [[Likelihood(-1.0, 1), Likelihood(-2.0, 1), Likelihood(-3.0, 1)] for _ in items]
    report = levels(suite, items, measured(suite, items, found, "causal"), "causal", seed=0)
    assert report["groups"]["category"]["Age"]["n"] == len(ROWS)


def test_a_file_of_answers_is_scored_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = bbq_file(tmp_path, ROWS)
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps({"example_id": row["example_id"], "prediction": row["label"]}) + "\n" for row in ROWS))
    words = ["--home", str(tmp_path / "home"), "evaluate", "--suite", "bbq", "--data", str(items), "--predictions", str(answers)]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    assert ended.value.code in (0, None)
    overall = json.loads(capsys.readouterr().out)["overall"]
    assert (overall["accuracy_ambiguous"], overall["accuracy_disambiguated"]) == (1.0, 1.0)
    assert overall["s_ambiguous"] is None, "nobody was named"
    assert overall["accuracy_cost"] == 0.0
    with pytest.raises(SystemExit) as refused:
        main(["evaluate", "--suite", "crows-pairs", "--data", str(items), "--predictions", str(answers)])
    assert refused.value.code == 2
