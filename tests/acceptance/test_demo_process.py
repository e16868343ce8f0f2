"""The demo as a newcomer meets it: one command, a first item within 20 s, two sign-ins, nothing left behind. Real processes."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from sqlmodel import select

from flagback.review_app.installation import open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts
from flagback.storage.records import Generation, Review, SamplingRun
from flagback.storage.store import Store
from flagback.storage.taxonomy import GUIDELINE_VERSION, TAXONOMY_VERSION
from tests.people import agree, page_token, sign_in_by_form
from tests.waiting import until

pytestmark = pytest.mark.acceptance

COMMAND = Path(sys.executable).with_name("flagback")


class Demo:
    """One `flagback demo`, with what it printed and when."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self.began = time.monotonic()
        self.lines: list[tuple[float, str]] = []
        self.process = subprocess.Popen(
            [COMMAND, "--home", str(home), "demo", "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=home.parent,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as printed:
            for line in printed:
                self.lines.append((time.monotonic() - self.began, line.rstrip()))

    def said(self, words: str, seconds: float = 90.0) -> float:
        """Waits for a line with the words; returns when it came, in seconds since the start."""
        until(lambda: any(words in line for _, line in self.lines) or self.process.poll() is not None, seconds=seconds)
        found = [at for at, line in self.lines if words in line]
        assert found, self.text
        return found[0]

    @property
    def text(self) -> str:
        """All it printed."""
        return "\n".join(line for _, line in self.lines)

    def passwords(self) -> dict[str, str]:
        """The printed sign-ins."""
        return dict(re.findall(r"^\s+(\w+)\s+password\s+(\S+)\s+\(demo\)$", self.text, re.MULTILINE))

    def child(self, word: str) -> psutil.Process:
        """The process of the web ("serve") or of the worker."""
        [found] = [process for process in psutil.Process(self.process.pid).children() if word in process.cmdline()]
        return found

    def interrupt(self) -> None:
        """Ctrl+C."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        self._reader.join(5)


Start = Callable[[], Demo]


def processes_of(home: Path) -> list[str]:
    """Command lines of living processes that name the home."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(home) in words and process.pid != os.getpid():
            found.append(" ".join(words))
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture
def start(home: Path, port: int) -> Iterator[Callable[[], Demo]]:
    """Starts the demo in the home; ends whatever still runs afterwards, whatever happened."""
    started: list[Demo] = []

    def starting() -> Demo:
        started.append(Demo(home, port))
        return started[-1]

    yield starting
    for demo in started:
        demo.process.kill()
        demo.process.wait()
    for process in psutil.process_iter(["cmdline"]):
        if str(home) in (process.info["cmdline"] or []):
            process.kill()


@pytest.fixture
def port() -> int:
    """A free port."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def signed_in(home: Path, port: int, login: str, password: str) -> Iterator[httpx.Client]:
    """A browser's session, without the browser, of someone who has agreed to review."""
    address = f"http://127.0.0.1:{port}"
    installation = open_installation(Settings(home=home))
    with installation.store.writing() as session:
        agree(session, accounts.by_login(session, login))
    with httpx.Client(base_url=address, headers={"Origin": address}, timeout=20) as client:
        answer = sign_in_by_form(client, login, password)
        assert answer.status_code == 303, answer.text
        client.headers.update(page_token(installation, login))
        yield client
    installation.store.close()


def flag_one(client: httpx.Client) -> str:
    """Claims an item and flags it; returns its text."""
    item = client.post("/api/v1/claim", json={"count": 1}).raise_for_status().json()["items"][0]
    answer = {
        "token": str(uuid.uuid4()),
        "lease_id": item["lease_id"],
        "verdict": "flag",
        "categories": ["stereotype"],
        "severity": "clear",
        "taxonomy_version": TAXONOMY_VERSION,
        "guideline_version": GUIDELINE_VERSION,
    }
    assert client.post("/api/v1/answers", json=answer).raise_for_status().json()["stored"] == "new"
    return str(item["text"])


def test_a_first_item_sampled_in_this_start_is_there_within_20_seconds_and_ctrl_c_leaves_nothing(
    start: Start, home: Path, port: int
) -> None:
    demo = start()
    demo.said(f"http://127.0.0.1:{port}")
    seconds = demo.said("answers wait for the reviewer")
    assert seconds < 20, f"{seconds:.1f} s:\n{demo.text}"
    with signed_in(home, port, "reviewer", demo.passwords()["reviewer"]) as reviewer:
        text = flag_one(reviewer)
    with signed_in(home, port, "maintainer", demo.passwords()["maintainer"]) as maintainer:
        assert maintainer.get("/", headers={"Accept": "text/html"}).status_code == 200
    demo.interrupt()
    assert demo.process.returncode == 0
    assert demo.lines[-1][1].startswith("Stopped.")
    assert "Traceback" not in demo.text
    assert processes_of(home) == []
    for log in ("web", "worker"):
        assert "Traceback" not in (home / "logs" / f"{log}.log").read_text()

    store = Store(Settings(home=home).records_url)
    with store.reading() as session:
        assert session.exec(select(SamplingRun.state)).all() == ["succeeded"]
        assert text in session.exec(select(Generation.text)).all()
        assert len(session.exec(select(Review)).all()) == 1
    store.close()


def test_a_second_start_keeps_all_data_and_signs_in_with_the_same_passwords(start: Start, home: Path, port: int) -> None:
    first = start()
    first.said("answers wait for the reviewer")
    with signed_in(home, port, "reviewer", first.passwords()["reviewer"]) as reviewer:
        flag_one(reviewer)
    first.interrupt()
    second = start()
    second.said("answers wait for the reviewer")
    assert second.passwords() == first.passwords()
    with signed_in(home, port, "reviewer", second.passwords()["reviewer"]) as reviewer:
        assert len(reviewer.get("/api/v1/recent").raise_for_status().json()["answers"]) == 1
        flag_one(reviewer)
    second.interrupt()
    assert second.process.returncode == 0
    assert json.loads((home / "demo.json").read_text()) == first.passwords()


def test_web_and_worker_killed_in_turn_and_together_come_back_and_nothing_is_lost(start: Start, home: Path, port: int) -> None:
    demo = start()
    demo.said("answers wait for the reviewer")
    with signed_in(home, port, "reviewer", demo.passwords()["reviewer"]) as reviewer:
        for words in (["serve"], ["worker"], ["serve", "worker"]):
            flag_one(reviewer)
            killed = [demo.child(word) for word in words]
            for process in killed:
                process.kill()
            until(lambda gone=killed: not any(process.is_running() for process in gone))  # type: ignore[misc]
            until(lambda: _answers(port))
        assert len(reviewer.get("/api/v1/recent").raise_for_status().json()["answers"]) == 3
        flag_one(reviewer)
    assert demo.text.count("The web was killed (SIGKILL); starting it again.") == 2
    assert demo.text.count("The worker was killed (SIGKILL); starting it again.") == 2
    demo.interrupt()
    assert demo.process.returncode == 0
    assert processes_of(home) == []


def test_a_demo_that_is_killed_takes_its_children_with_it_and_can_be_started_again_at_once(
    start: Start, home: Path, port: int
) -> None:
    demo = start()
    demo.said(f"http://127.0.0.1:{port}")
    demo.process.kill()
    demo.process.wait()
    until(lambda: processes_of(home) == [])
    again = start()
    again.said("answers wait for the reviewer")
    again.interrupt()
    assert again.process.returncode == 0


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
