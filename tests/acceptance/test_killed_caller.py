"""A run over two processes whose caller is killed with SIGKILL goes on, when it is asked for again, to the same bytes."""

import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from flagback.model import joint_run
from tests.foreign_models import make
from tests.two_ranks import RECIPE, given

#: Long enough to be killed in the middle, dropout and a schedule included.
LONG = replace(RECIPE, processes=2, sharding="full", steps=200, checkpoint_every=5, dropout=0.1, schedule="cosine")
CALLER = """
import sys
from pathlib import Path
from flagback.model import joint_run
joint_run.correct(Path(sys.argv[1]), 2, on_step=lambda metrics: print(metrics.step, flush=True))
"""


def asked(base: Path, folder: Path) -> Path:
    content = given()
    joint_run.write(folder, joint_run.Asked(str(base), [], "plain", asdict(LONG), 3, 1), content.pop("pairs"), **content)
    return folder


@pytest.mark.acceptance
@pytest.mark.timeout(1200)
def test_a_run_over_two_processes_survives_its_caller(tmp_path: Path) -> None:
    base = make(tmp_path / "llama", "llama")
    folder = asked(base, tmp_path / "killed")
    with subprocess.Popen([sys.executable, "-c", CALLER, str(folder)], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        while int(caller.stdout.readline()) < 12:
            pass
        caller.send_signal(signal.SIGKILL)
    steps: list[int] = []
    again = joint_run.correct(folder, 2, on_step=lambda metrics: steps.append(metrics.step))
    assert 5 < steps[0] <= LONG.steps, "it went on from a checkpoint"
    assert again.weights_sha256 == joint_run.correct(asked(base, tmp_path / "straight"), 2).weights_sha256
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(process.info["cmdline"] or [])]
