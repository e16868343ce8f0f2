"""Claims about the worker: every request is done once, whatever is killed, on SQLite and PostgreSQL. Real processes."""

import base64
import os
import pickle  # nosec B403 # written by the test that it is never read
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text
from sqlmodel import Session, select

from flagback.review_app import jobs, worker
from flagback.review_app.home import worker_name
from flagback.review_app.settings import Settings
from flagback.storage import runs
from flagback.storage.records import ModelVersion, Prompt, SamplingRun, WorkerHeartbeat, now
from flagback.storage.store import Store
from tests.fresh import migrate
from tests.waiting import until

#: A worker whose sampling has three small steps that write what they do to a file; the second waits for a file named "go".
SMALL_STEPS = """
import sys, threading, time, signal
from pathlib import Path
from flagback.review_app.settings import Settings
from flagback.review_app.worker import Worker, plain_say, work_until_told
from flagback.storage.records import SamplingRun
from flagback.storage.store import Store

home, url, breaks = Path(sys.argv[1]), sys.argv[2] or None, sys.argv[3:] == ["breaks"]
settings = Settings(home=home, database_url=url)
store = Store(settings.records_url)

def note(line):
    with (home / "notes").open("a") as file:
        file.write(line + "\\n")

def one(row_id):
    note(f"one {row_id}")

def two(row_id):
    note(f"two {row_id} begins")
    if breaks:
        raise KeyError("a thing nobody thought of")
    while not (home / "go").exists():
        time.sleep(0.02)
    note(f"two {row_id} ends")

def three(row_id):
    with store.writing() as session:
        row = session.get_one(SamplingRun, row_id)
        row.state = "succeeded"
        session.add(row)
    note(f"three {row_id}")

steps = {"sampling": [("one", one), ("two", two), ("three", three)], "correction": [], "evaluation": []}
work_until_told(settings, store, say=plain_say(sys.stdout), ended=threading.Event(), steps=steps)
"""


class Workers:
    """Starts workers with small steps in one home and ends them all."""

    def __init__(self, home: Path, url: str | None) -> None:
        self.settings = Settings(home=home, database_url=url)
        self.store = Store(self.settings.records_url)
        migrate(self.store)
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A worker process."""
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", SMALL_STEPS, str(self.settings.home), self.settings.database_url or "", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(process)
        return process

    def ask(self) -> int:
        """A waiting sampling run."""
        with self.store.writing() as session:
            version = session.exec(select(ModelVersion)).first() or _version(session)
            run = SamplingRun(version_id=version.id, decoding={}, prompt_ids=[], asked_by="test")
            session.add(run)
            session.flush()
            return run.id

    def state(self, run_id: int) -> SamplingRun:
        """The row as it is now."""
        with self.store.reading() as session:
            return session.get_one(SamplingRun, run_id)

    def notes(self) -> list[str]:
        """What the steps wrote."""
        path = self.settings.home / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def ledger(self, words: str) -> list[tuple[object, ...]]:
        """Asks the job ledger, or alters it; `{}` stands before a table's name for its schema."""
        engine = create_engine(self.settings.jobs_url)
        with engine.begin() as connection:
            found = connection.execute(text(words.replace("{}", "dbos." if engine.dialect.name == "postgresql" else "")))
            rows = [tuple(row) for row in found] if found.returns_rows else []
        engine.dispose()
        return rows

    def go(self) -> None:
        """Lets the second step end."""
        (self.settings.home / "go").touch()


def _version(session: Session) -> ModelVersion:
    version = ModelVersion(kind="base", state="current", name="none", location="none", template="plain", fingerprint="0")
    session.add(version)
    session.add(Prompt(content_hash="0", messages=[{"role": "user", "content": "a"}], split_key="0", shard=0))
    session.flush()
    return version


@pytest.fixture
def workers(tmp_path: Path, database_url: str) -> Iterator[Workers]:
    """On SQLite and on PostgreSQL."""
    home = tmp_path / "home"
    home.mkdir()
    made = Workers(home, None if database_url.startswith("sqlite") else database_url)
    yield made
    for process in made.running:
        process.kill()
        process.communicate()
    made.store.close()


def test_a_worker_killed_in_a_step_goes_on_with_that_step_at_its_next_start_and_does_all_once(workers: Workers) -> None:
    run = workers.ask()
    first = workers.start()
    until(lambda: f"two {run} begins" in workers.notes())
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert workers.state(run).state != "succeeded"
    workers.go()
    workers.start()
    until(lambda: workers.state(run).state == "succeeded")
    until(lambda: f"three {run}" in workers.notes())
    assert workers.notes() == [f"one {run}", f"two {run} begins", f"two {run} begins", f"two {run} ends", f"three {run}"]


def test_a_worker_gives_way_to_the_web_process_beside_it(workers: Workers) -> None:
    run = workers.ask()
    process = workers.start()
    until(lambda: f"two {run} begins" in workers.notes())
    assert psutil.Process(process.pid).nice() == min(19, psutil.Process().nice() + worker.NICE)


def test_a_live_worker_takes_over_from_one_that_was_silent_for_a_minute(workers: Workers) -> None:
    run = workers.ask()
    dead = workers.start()
    until(lambda: f"two {run} begins" in workers.notes())
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    workers.go()
    holder = worker_name(workers.settings.home)  # keeps the dead one's name, so that the next worker is another
    try:
        workers.start()
        until(lambda: len(_beats(workers.store)) == 2)
        assert workers.state(run).state == "waiting"
        with workers.store.writing() as session:
            row = session.get_one(WorkerHeartbeat, holder.worker_id)
            row.seen_at = now() - jobs.SILENT - timedelta(seconds=1)
            session.add(row)
        until(lambda: workers.state(run).state == "succeeded")
        until(lambda: holder.worker_id not in _beats(workers.store))
    finally:
        os.close(holder.handle)
    assert workers.notes().count(f"two {run} ends") == 1


def test_two_workers_do_each_request_once(workers: Workers) -> None:
    workers.go()
    runs = [workers.ask() for _ in range(8)]
    workers.start()
    workers.start()
    until(lambda: all(workers.state(run).state == "succeeded" for run in runs))
    until(lambda: len(workers.notes()) >= 4 * len(runs))
    assert sorted(workers.notes()) == sorted(
        line for run in runs for line in (f"one {run}", f"two {run} begins", f"two {run} ends", f"three {run}")
    )


def test_a_step_that_breaks_fails_its_row_in_words_and_the_worker_goes_on(workers: Workers) -> None:
    run = workers.ask()
    process = workers.start("breaks")
    until(lambda: workers.state(run).state == "failed")
    error = workers.state(run).error or ""
    assert "KeyError" in error
    assert process.poll() is None
    second = workers.ask()
    until(lambda: workers.state(second).state == "failed")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    number = error.rsplit("error ", 1)[1].rstrip(".")
    assert f"error {number}:\nTraceback" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_told_to_end_does_so_at_once_quietly_and_with_code_0(workers: Workers, number: signal.Signals) -> None:
    run = workers.ask()
    process = workers.start()
    until(lambda: f"two {run} begins" in workers.notes())
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in output
    with workers.store.reading() as session:
        assert [row.stopped for row in session.exec(select(WorkerHeartbeat)).all()] == [True]
        assert not runs.worker_alive(session, now=now())


def test_records_that_were_replaced_beside_an_old_ledger_are_still_worked_on(workers: Workers) -> None:
    workers.go()
    run = workers.ask()
    process = workers.start()
    until(lambda: f"three {run}" in workers.notes())
    with workers.store.writing() as session:
        row = session.get_one(SamplingRun, run)
        row.state = "waiting"
        session.add(row)
    until(lambda: workers.state(run).state == "succeeded")
    assert workers.notes().count(f"three {run}") == 2
    assert process.poll() is None


def test_blind_samples_are_left_to_their_evaluation(workers: Workers) -> None:
    with workers.store.writing() as session:
        version = _version(session)
        session.add(
            SamplingRun(version_id=version.id, decoding={}, prompt_ids=[], purpose="blind", evaluation_id=1, asked_by="test")
        )
    own = workers.ask()
    with workers.store.reading() as session:
        assert jobs.open_requests(session) == [jobs.Request("sampling", own)]


def test_the_ledger_holds_no_pickle(workers: Workers) -> None:
    workers.go()
    workers.start()
    run = workers.ask()
    until(lambda: workers.state(run).state == "succeeded")
    kinds = workers.ledger("SELECT serialization FROM {}workflow_status UNION SELECT serialization FROM {}operation_outputs")
    assert {row[0] for row in kinds} == {"portable_json"}


class _Opened:
    """What would make a file of this name, were its pickle read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_somebody_wrote_into_the_ledger_is_never_read(workers: Workers, tmp_path: Path) -> None:
    first = workers.start()
    run = workers.ask()
    until(lambda: f"two {run} begins" in workers.notes())
    first.kill()
    first.wait()
    forged = base64.b64encode(pickle.dumps(_Opened(tmp_path / "was_run"))).decode()
    workers.ledger("UPDATE {}workflow_status SET serialization = 'py_pickle'")
    workers.ledger(f"UPDATE {{}}workflow_input SET inputs = '{forged}'")  # nosec B608 # a forger's SQL, written here
    workers.go()
    workers.start()
    until(lambda: workers.state(run).state == "succeeded")
    assert not (tmp_path / "was_run").exists()


def _beats(store: Store) -> list[str]:
    with store.reading() as session:
        return list(session.exec(select(WorkerHeartbeat.worker_id)).all())


def test_what_cannot_be_written_down_is_told_to_who_waits(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: the run's end cannot be kept either, and a command that waited for it waited for ever."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    said: list[str] = []
    at = worker.Worker(Settings(home=tmp_path, database_url=str(sqlite_store.url)), sqlite_store, {}, say=said.append)
    monkeypatch.setattr(jobs, "fail", full)
    request = jobs.Request("correction", 1)
    monkeypatch.setattr(at, "_is_final", lambda _: False)
    with pytest.raises(OSError, match="No space left"):
        at._attempt(request, "train", full)
    assert "No space left" in at.untold[request]
