"""The shipped weights are what the command builds: a fresh build of the same seed measures like the shipped file."""

import subprocess
import sys
from pathlib import Path

import pytest

from flagback.model import embedded
from flagback.model.embedded.measurement import Measured, measure, open_folder

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1200)]

#: Three standard errors of the difference of two rates of .5, each over the given number of completions.
COMPLETIONS = 3.0


def three_errors(rate: float, count: int) -> float:
    """How far two measured rates near `rate` may lie apart by chance alone, with `count` draws each."""
    return COMPLETIONS * (2 * max(rate * (1 - rate), 0.01) / count) ** 0.5


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Measured, Measured]:
    """The shipped model and a fresh build of it, measured with the same seed."""
    out = tmp_path_factory.mktemp("build") / "embedded"
    subprocess.run(
        [sys.executable, "-m", "flagback.review_app.cli", "embedded", "build", "--seed", "0", "--out", str(out)],
        check=True,
        capture_output=True,
        timeout=1100,
    )
    return measure(*open_folder(embedded.WEIGHTS), seed=7), measure(*open_folder(out), seed=7)
