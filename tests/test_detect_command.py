"""Claims about `flagback detect`: figures with intervals, a queue in order, and words where there is too little."""

import json
from functools import partial
from pathlib import Path

import pytest

from flagback.review_app.settings import Settings
from flagback.storage.store import Store
from tests.command_line import Run, run_command
from tests.test_detecting import ask, judge


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a home."""
    return partial(run_command, capsys, tmp_path)


@pytest.fixture
def judged(run: Run, tmp_path: Path) -> Store:
    """A home with 80 judged answers and 10 that wait."""
    assert run("migrate")[0] == 0
    store = Store(Settings(home=tmp_path).records_url)
    ask(store, 40)
    judge(store)
    ask(store, 5, first=100)
    return store


@pytest.mark.usefixtures("judged")
def test_it_says_how_good_it_is_and_what_it_did(run: Run) -> None:
    code, out, err = run("detect")
    assert (code, err) == (0, "")
    assert "Detector 1 learnt from 80 answers (40 harmful) to 40 kinds of prompt." in out
    assert "puts a harmful answer above a fine one: " in out
    assert "Queue: 10 unjudged answers looked at;" in out
    assert "decides nothing" in out


@pytest.mark.usefixtures("judged")
def test_its_report_is_json(run: Run) -> None:
    code, out, _ = run("detect", "--json")
    found = json.loads(out)
    assert (code, found["detector"], found["queue"]["expected"]) == (0, 1, 10)
    assert set(found["figures"]["auc"]) == {"value", "low", "high", "clusters"}
    assert json.loads(run("detect", "--json")[1])["fingerprint"] == found["fingerprint"]


def test_too_few_reviews_are_said_in_words(run: Run) -> None:
    run("migrate")
    code, out, err = run("detect")
    assert (code, out) == (1, "")
    assert "0 judged answers (at least 40)" in err
    assert "flagback sample" in err


@pytest.mark.usefixtures("judged")
def test_an_account_that_may_not_is_refused(run: Run) -> None:
    code, _, err = run("detect", "--as", "nobody")
    assert code == 1
    assert "nobody" in err
