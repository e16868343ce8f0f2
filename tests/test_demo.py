"""Claims about the demo's parts: its sign-ins, its refusals, and children that neither outlive it nor stay dead."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlmodel import select

from flagback.review_app import demo
from flagback.review_app.demo import Child, ChildEnded, NotForTrying, make_sign_ins, run_demo
from flagback.review_app.home import (
    DemoInTheOpen,
    HomeInUse,
    PortInUse,
    is_loopback,
    log_file,
    only_one,
    prepare_home,
    refuse_open_demo,
    refuse_taken_port,
    worker_name,
)
from flagback.review_app.settings import Settings
from flagback.storage import accounts
from flagback.storage.records import Account
from flagback.storage.store import Store
from tests.waiting import until


def test_the_sign_ins_are_marked_demo_random_kept_and_the_same_at_the_next_start(sqlite_store: Store, tmp_path: Path) -> None:
    kept = tmp_path / "demo.json"
    first = make_sign_ins(sqlite_store, kept)
    assert [sign_in.login for sign_in in first] == ["reviewer", "maintainer"]
    assert len({sign_in.password for sign_in in first}) == 2
    assert make_sign_ins(sqlite_store, kept) == first
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with sqlite_store.reading() as session:
        assert [(account.role, account.demo) for account in session.exec(select(Account).order_by(Account.login)).all()] == [
            ("maintainer", True),
            ("reviewer", True),
        ]
        for sign_in in first:
            assert accounts.verify(session, sign_in.login, sign_in.password) is not None


def test_a_lost_file_of_passwords_gives_new_ones_that_work(sqlite_store: Store, tmp_path: Path) -> None:
    kept = tmp_path / "demo.json"
    first = make_sign_ins(sqlite_store, kept)
    kept.write_text("not json")
    second = make_sign_ins(sqlite_store, kept)
    assert second != first
    with sqlite_store.reading() as session:
        assert accounts.verify(session, "reviewer", first[0].password) is None
        assert accounts.verify(session, "reviewer", second[0].password) is not None
    assert json.loads(kept.read_text()) == {sign_in.login: sign_in.password for sign_in in second}


def test_a_home_of_real_people_is_not_made_a_demo(sqlite_store: Store, tmp_path: Path) -> None:
    with sqlite_store.writing() as session:
        accounts.create(session, "ada", "a real password", "maintainer")
    with pytest.raises(NotForTrying, match="ada"):
        make_sign_ins(sqlite_store, tmp_path / "demo.json")
    with sqlite_store.reading() as session:
        assert session.exec(select(Account.login)).all() == ["ada"]


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.8.0.1", True),
        ("0.0.0.0", False),  # nosec B104 # a name that is judged, not bound
        ("::", False),
        ("192.168.1.4", False),
        ("example.org", False),
    ],
)
def test_only_loopback_counts_as_this_machine_alone(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


def test_demo_accounts_are_never_served_to_other_machines(sqlite_store: Store, tmp_path: Path) -> None:
    refuse_open_demo(sqlite_store, "0.0.0.0")  # nosec B104 # refused, not bound
    make_sign_ins(sqlite_store, tmp_path / "demo.json")
    refuse_open_demo(sqlite_store, "127.0.0.1")
    with pytest.raises(DemoInTheOpen, match="maintainer, reviewer"):
        refuse_open_demo(sqlite_store, "0.0.0.0")  # nosec B104 # refused, not bound
    with pytest.raises(DemoInTheOpen, match="this machine only"):
        run_demo(Settings(home=tmp_path / "home", host="0.0.0.0"), say=print)  # nosec B104 # refused, not bound
    assert not (tmp_path / "home").exists()


def test_a_port_in_use_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortInUse, match=f"Port {port} on 127.0.0.1"):
            run_demo(Settings(home=tmp_path, port=port), say=print)
    assert not (tmp_path / "flagback.db").exists()
    refuse_taken_port("127.0.0.1", port)


def test_two_demos_in_one_home_are_refused_and_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    with only_one(tmp_path / "demo.lock", "running the demo"), pytest.raises(HomeInUse, match="running the demo"):
        run_demo(Settings(home=tmp_path), say=print)
    holder = (
        "import sys, time\nfrom pathlib import Path\nfrom flagback.review_app.home import only_one\n"
        "with only_one(Path(sys.argv[1]), 'holding'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path / "demo.lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(HomeInUse), only_one(tmp_path / "demo.lock", "testing"):
        pass
    process.kill()
    process.communicate()
    with only_one(tmp_path / "demo.lock", "testing"):
        assert (tmp_path / "demo.lock").exists()


def test_workers_of_one_home_have_names_of_their_own_and_keep_them(tmp_path: Path) -> None:
    first, second = worker_name(tmp_path), worker_name(tmp_path)
    assert first.worker_id != second.worker_id
    os.close(first.handle)
    again = worker_name(tmp_path)
    assert again.worker_id == first.worker_id
    elsewhere = worker_name(tmp_path / "elsewhere")
    assert elsewhere.worker_id not in (first.worker_id, second.worker_id)
    for held in (second, again, elsewhere):
        os.close(held.handle)


class Sleeper(Child):
    """A child that is quick to start: it writes its number to a file and follows its parent's pipe."""

    body = "import os, sys; print(os.getpid(), flush=True); os.read(0, 1)"

    def _start(self) -> "subprocess.Popen[bytes]":
        self._command = [sys.executable, "-c", self.body]
        return super()._start()

    def numbers(self) -> list[int]:
        """The process ids it has had."""
        return [int(line) for line in self.log.read_text().split()]


def test_a_killed_child_is_started_again_and_said_to_be(tmp_path: Path) -> None:
    said: list[str] = []
    child = Sleeper("web", [], Settings(home=tmp_path))
    until(lambda: len(child.numbers()) == 1)
    os.kill(child.numbers()[0], signal.SIGKILL)

    def started_again() -> bool:
        child.look_after(said.append)
        return len(child.numbers()) == 2

    until(started_again)
    assert said == [f"The web was killed (SIGKILL); starting it again. Its output is in {child.log}."]
    child.end()
    child.wait(time.monotonic() + 5)
    with pytest.raises(ProcessLookupError):
        os.kill(child.numbers()[1], 0)


class Failing(Sleeper):
    """A child that ends at once."""

    body = "raise SystemExit('no such luck')"


def test_a_child_that_ends_again_and_again_stops_the_demo_with_its_last_words(tmp_path: Path) -> None:
    child = Failing("worker", [], Settings(home=tmp_path))

    def look() -> bool:
        child.look_after(lambda _: None)
        return False

    with pytest.raises(ChildEnded, match="ended with code 1, 4 times") as ended:
        until(look)
    assert "no such luck" in str(ended.value)
    child.wait(time.monotonic() + 5)


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    class Deaf(Sleeper):
        body = (
            "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(60)"
        )

    child = Deaf("worker", [], Settings(home=tmp_path))
    until(lambda: len(child.numbers()) == 1)
    child.end()
    began = time.monotonic()
    child.wait(began + 0.3)
    assert time.monotonic() - began < 5
    with pytest.raises(ProcessLookupError):
        os.kill(child.numbers()[0], 0)


def test_nothing_answers_where_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not demo.web_answers("127.0.0.1", port)


def test_a_new_home_and_its_logs_can_be_opened_by_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        home = prepare_home(Settings(home=tmp_path / "home"))
        logs = log_file(Settings(home=home), "worker").parent
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home, logs)] == [0o700, 0o700]
