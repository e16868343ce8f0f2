"""The whole loop by commands on the embedded model, with the worker killed where it hurts. Real processes, real weights."""

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func
from sqlmodel import col, select

from flagback.model import embedded
from flagback.review_app.settings import Settings
from flagback.storage import reviews, slots
from flagback.storage.answers import Answer
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import CorrectionRun, Generation, Item, ModelVersion, RunMetric, SamplingRun, now
from flagback.storage.store import Store
from flagback.storage.taxonomy import GUIDELINE_VERSION, TAXONOMY_VERSION
from tests.people import person
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]
#: How long a run of the loop may take, in seconds.
LONG = 200.0

COMMAND = Path(sys.executable).with_name("flagback")


class Home:
    """A home with the embedded model, and commands run in it as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []
        self.run("migrate")
        self.store = Store(Settings(home=folder).records_url)

    def run(self, *words: str, code: int = 0) -> Any:
        """Runs a command with --json; returns its report, or what it said on stderr where another code is expected."""
        last = ["--json"] if code == 0 else []
        done = subprocess.run(
            [COMMAND, "--home", str(self.folder), *words, *last],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=500,
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """Starts a command and returns at once."""
        log = (self.folder / f"{words[0]}.out").open("ab")
        self.running.append(
            subprocess.Popen([COMMAND, "--home", str(self.folder), *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        )
        log.close()
        return self.running[-1]

    def review_all(self) -> int:
        """One person judges every waiting answer by the grammar's own oracle; returns how many were flagged."""
        flagged = 0
        while claims := slots.claim(self.store, "r_oracle", count=40, now=now(), lease_for=timedelta(hours=1), seed=1):
            for claim in claims:
                harmful = embedded.flagged(claim.prompt[-1]["content"], claim.text)
                flagged += harmful
                reviews.submit(
                    self.store,
                    "r_oracle",
                    Answer(
                        token=str(uuid.uuid4()),
                        lease_id=claim.lease_id,
                        verdict="flag" if harmful else "fine",
                        categories=["stereotype"] if harmful else [],
                        severity="clear" if harmful else None,
                        taxonomy_version=TAXONOMY_VERSION,
                        guideline_version=GUIDELINE_VERSION,
                    ),
                    now=now(),
                    policy_version="1",
                )
        return flagged


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A furnished home. One thread a process: several at once would fight for two cores."""
    monkeypatch.setenv("FLAGBACK_THREADS", "1")
    made = Home(tmp_path / "home")
    made.run("model", "add", "embedded")
    with made.store.writing() as session:
        add_prompts(session, [NewPrompt(prompt.messages, "en", prompt.tags, prompt.split_key) for prompt in embedded.prompts()])
        embedded.add_reference_texts(session)
        person(session, "ada", "maintainer")
    yield made
    for process in made.running:
        process.kill()
        process.wait()
    made.store.close()


def count(home: Home, what: Any, *where: Any) -> int:
    """How many rows there are."""
    with home.store.reading() as session:
        return int(session.exec(select(func.count(what)).where(*where)).one())


def row(home: Home, kind: Any, row_id: int) -> Any:
    """A row as it is now."""
    with home.store.reading() as session:
        return session.get_one(kind, row_id)


def test_from_prompts_to_a_promoted_model_and_back_by_commands_alone(home: Home, tmp_path: Path) -> None:
    sampled = home.run("sample", "--prompts", "100", "--k", "4", "--reviews-per-item", "1", "--seed", "3")
    assert sampled["prompts"] == 100
    assert sampled["items"] > 200
    assert "no pair" in home.run("correct", code=1)
    assert home.review_all() > 20

    corrected = home.run("correct", "--seed", "1")
    assert corrected["candidate"] == 2
    assert corrected["evaluation"]["verdict"] in ("fail", "not_enough_data"), "nobody has judged the blind samples yet"
    assert "gate" in home.run("promote", "2", "--as", "ada", code=1).lower()
    assert "--as" in home.run("promote", "2", "--override", "a test", code=1)
    assert home.review_all() > 0
    assert home.run("evaluate", "2")["verdict"] in ("pass", "fail", "not_enough_data")
    assert home.run("promote", "2", "--override", "a test", "--as", "ada")["kind"] == "override"
    assert home.run("sample", "--prompts", "20")["version"] == 2
    assert home.run("rollback", "--reason", "regret", "--as", "ada")["version_id"] == 1
    states = {version["id"]: version["state"] for version in home.run("versions")["versions"]}
    assert states == {1: "current", 2: "retired"}

    exported = home.run("export", "pairs", str(tmp_path / "pairs"), "--format", "parquet")
    assert sum(exported["rows"].values()) > 0
    assert sum(home.run("export", "reviews", str(tmp_path / "reviews"))["rows"].values()) == home.run("reviews")["total"]


def test_a_worker_killed_in_the_middle_of_a_sampling_run_finishes_it_once(home: Home) -> None:
    home.run("sample", "--prompts", "700", "--k", "4", "--no-wait")
    killed = home.start("worker")
    until(lambda: 0 < row(home, SamplingRun, 1).done < 700, seconds=LONG)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = count(home, Generation.id)
    assert 0 < row(home, SamplingRun, 1).done < 700
    home.start("worker")
    until(lambda: row(home, SamplingRun, 1).state == "succeeded", seconds=LONG)
    assert row(home, SamplingRun, 1).done == 700
    assert count(home, Generation.id) > before
    with home.store.reading() as session:
        draws = session.exec(select(func.sum(Generation.count)).group_by(col(Generation.prompt_id))).all()
        texts = session.exec(select(Generation.prompt_id, Generation.text)).all()
    assert draws == [4] * 700, "every prompt has its four completions, none twice"
    assert len(set(texts)) == len(texts)
    assert count(home, Item.id) == count(home, Generation.id, Generation.text != "")


def test_a_command_killed_in_the_middle_of_training_is_finished_by_a_worker_with_one_candidate(home: Home) -> None:
    home.run("sample", "--prompts", "60", "--k", "4", "--reviews-per-item", "1")
    home.review_all()
    killed = home.start("correct", "--steps", "60")
    until(lambda: count(home, RunMetric.step) >= 10, seconds=LONG)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert row(home, CorrectionRun, 1).state == "running"
    home.start("worker")
    until(lambda: row(home, CorrectionRun, 1).state == "succeeded", seconds=LONG)
    with home.store.reading() as session:
        steps = session.exec(select(RunMetric.step).order_by(col(RunMetric.step))).all()
    assert len(steps) == 60
    assert count(home, ModelVersion.id) == 2
    assert len(list((home.folder / "artifacts").glob("[0-9a-f]*"))) >= 1
    until(lambda: home.run("runs")["runs"][0]["state"] == "succeeded", seconds=LONG)


def test_a_run_that_is_stopped_ends_soon_and_leaves_no_candidate(home: Home) -> None:
    home.run("sample", "--prompts", "60", "--k", "4", "--reviews-per-item", "1")
    home.review_all()
    command = home.start("correct", "--steps", "5000")
    until(lambda: count(home, RunMetric.step) >= 2, seconds=LONG)
    assert home.run("runs", "--cancel", "correction-1", "--as", "ada") == {"cancelled": "correction-1"}
    assert command.wait(60) == 1
    assert "Stopped by ada." in (home.folder / "correct.out").read_text()
    assert row(home, CorrectionRun, 1).state == "cancelled"
    assert count(home, ModelVersion.id) == 1
    assert home.run("correct", "--steps", "2", "--no-wait")["run"] == "correction-2"
