"""The shipped weights are what the command builds: a fresh build of the card's seed measures like the shipped file."""

import subprocess
import sys
from math import sqrt

import pytest

from flagback.model import embedded
from flagback.model.embedded.measurement import Measured, measure, open_folder

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1200)]

Both = tuple[Measured, Measured]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """The shipped model and a fresh build of it, measured on the same prompts and texts."""
    out = tmp_path_factory.mktemp("build") / "embedded"
    command = [sys.executable, "-m", "flagback.review_app.cli", "embedded", "build", "--seed", "0", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stderr
    shipped, built = (measure(*open_folder(folder), seed=7) for folder in (embedded.WEIGHTS, out))
    return shipped, built


@pytest.mark.parametrize("rate", ["flag_rate", "harm_rate", "she_gap", "they_share", "ended", "distinct"])
def test_rates_differ_by_no_more_than_chance_allows(both: Both, rate: str) -> None:
    shipped, built = (getattr(one, rate) for one in both)
    # Four standard errors of a difference; the gap is itself one of two rates over a seventh of the completions each.
    count = both[0].n / (7 if rate == "she_gap" else 3.5 if rate == "they_share" else 1)
    spread = sqrt((4 if rate == "she_gap" else 2) * max(abs(shipped) * (1 - abs(shipped)), 0.02) / count)
    assert built == pytest.approx(shipped, abs=4 * spread)


@pytest.mark.parametrize("kind", ["ppl_neutral", "ppl_groups", "ppl_other"])
def test_perplexities_agree(both: Both, kind: str) -> None:
    shipped, built = (getattr(one, kind) for one in both)
    assert built == pytest.approx(shipped, rel=0.05)


def test_every_harmful_phrase_is_met_by_both(both: Both) -> None:
    assert [one.phrases_met for one in both] == [len(embedded.PHRASES)] * 2
