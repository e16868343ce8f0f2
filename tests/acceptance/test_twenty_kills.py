"""A correction killed twenty times at random moments, saves included, ends in the bytes of the undisturbed one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

#: Lets another run be tried: `FLAGBACK_KILL_SEED=7 make acceptance`.
SEED = int(os.environ.get("FLAGBACK_KILL_SEED", "1"))
KILLS = 20
# In a second in which nobody kills some ten steps pass: 200 are three times what twenty kills let pass here.

LIFE = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
from tests.test_training import RECIPE, run
print("ready", flush=True)
recipe = replace(RECIPE, steps=200, checkpoint_every=1, dropout=0.1, schedule="cosine", warmup=3)
trained = run(Path(sys.argv[1]), recipe=recipe, on_step=lambda metrics: print(metrics.step, flush=True))
print(trained.weights_sha256, flush=True)
"""


def begun(folder: Path) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", LIFE, str(folder), str(Path(__file__).parent.parent.parent)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def killed_at(process: "subprocess.Popen[str]", folder: Path, draw: Random) -> tuple[str, bool]:
    """Kills the process at a moment drawn: while it starts, between steps, or while it saves. Says where, and whether a save was
    left half done."""
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    moment = draw.choice(["starting", "step", "saving", "saving"])
    if moment == "starting":
        time.sleep(draw.uniform(0.0, 1.0))
    else:
        for _ in range(draw.randint(1, 3)):
            step = process.stdout.readline().strip()
        moment += f" {step}"
        until = time.monotonic() + 20
        while moment.startswith("saving") and not (folder / "writing").exists() and time.monotonic() < until:
            time.sleep(0.0005)
        time.sleep(draw.uniform(0.0, 0.06 if moment.startswith("step") else 0.015))
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL, "it must not have ended by itself"
    return moment, (folder / "writing").exists()


@pytest.mark.acceptance
@pytest.mark.timeout(1800)
def test_a_run_killed_twenty_times_ends_in_the_bytes_of_the_undisturbed_one(tmp_path: Path) -> None:
    draw = Random(SEED)
    moments = []
    for _ in range(KILLS):
        with begun(tmp_path / "killed") as process:
            moments.append(killed_at(process, tmp_path / "killed", draw))
    print(f"seed {SEED}: {moments}")
    assert sum(half_done for moment, half_done in moments if moment.startswith("saving")) >= 3, "some kills must have hit a save"
    endings = []
    for name in ("killed", "undisturbed"):
        with begun(tmp_path / name) as process:
            assert process.stdout is not None
            endings.append(process.stdout.read().split()[-1])
        assert process.returncode == 0
    assert len(endings[0]) == 64
    assert endings[0] == endings[1]
