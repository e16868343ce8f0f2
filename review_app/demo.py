"""`flagback demo`: the whole loop to try, in one command. Web and worker as children, two sign-ins, the embedded model.

Knows how to furnish a home for trying and how to keep two processes running; what they do is theirs. The parent imports no torch
and no Streamlit, so that both children start at once. A child ends with its parent, however that ends: it watches the pipe to it.
"""

import contextlib
import http.client
import json
import os
import secrets
import signal
import subprocess  # nosec B404 # starts this Python's own flagback
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select

from flagback.review_app.home import (
    DemoInTheOpen,
    is_loopback,
    log_file,
    migrated_records,
    only_one,
    prepare_home,
    refuse_taken_port,
)
from flagback.review_app.settings import Settings
from flagback.storage import accounts, runs
from flagback.storage.records import Account, Item, ModelVersion, Prompt, ReferenceText, SamplingRun, Slot, now
from flagback.storage.store import Store

Say = Callable[[str], None]
DemoRole = Literal["reviewer", "maintainer"]

#: A start with fewer items waiting asks for new ones.
ENOUGH = 20
#: The sampling of a start: small, so that the first item is there soon.
PROMPTS, DRAWS = 24, 2
#: A child that ends so often within so many seconds is not started again.
ENDS, WITHIN = 4, 60.0
#: How long children get to end before they are killed, seconds.
PATIENCE = 8.0


class NotForTrying(Exception):
    """The home belongs to real people."""


class ChildEnded(Exception):
    """Web or worker ended again and again."""


class SignIn(NamedTuple):
    """One way in."""

    login: DemoRole
    password: str


def run_demo(settings: Settings, *, say: Say) -> int:
    """Runs until SIGINT or SIGTERM and returns 0. Raises before anything is started where home, host or port will not do."""
    if not is_loopback(settings.host):
        raise DemoInTheOpen(
            f"The demo prints its passwords, so it is served to this machine only; {settings.host} would open "
            "it to others. Use --host 127.0.0.1, or make an installation of your own: 'flagback migrate', "
            "'flagback account create', 'flagback serve'."
        )
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with only_one(prepare_home(settings) / "demo.lock", "running the demo"):
            refuse_taken_port(settings.host, settings.port)
            store = migrated_records(settings)
            try:
                sign_ins = make_sign_ins(store, settings.home / "demo.json")
                _keep_running(settings, store, sign_ins, say=say, ended=ended)
            finally:
                store.close()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    say(f"Stopped. All data is kept in {settings.home}; starting again goes on with it.")
    return 0


# ------------------------------------------------------------------ furnishing


def make_sign_ins(store: Store, kept: Path) -> list[SignIn]:
    """One reviewer and one maintainer, marked demo; their passwords are random and kept in a file only its owner can read."""
    with store.reading() as session:
        own = session.exec(select(Account.login).where(col(Account.demo).is_(False))).all()
    if own:
        raise NotForTrying(
            f"This home has accounts of its own ({', '.join(sorted(own)[:5])}); the demo would add two with printed "
            "passwords. Start it in another folder: flagback --home FOLDER demo."
        )
    try:
        passwords = dict(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        passwords = {}
    sign_ins = [
        SignIn(role, passwords.get(role) or f"{secrets.token_hex(3)}-{secrets.token_hex(3)}") for role in ("reviewer", "maintainer")
    ]
    for sign_in in sign_ins:
        with store.reading() as session:
            fits = accounts.verify(session, sign_in.login, sign_in.password) is not None
        if not fits:
            with store.writing() as session:
                if session.exec(select(Account).where(Account.login == sign_in.login)).first() is None:
                    accounts.create(session, sign_in.login, sign_in.password, sign_in.login, demo=True)
                else:
                    accounts.change_password(session, sign_in.login, sign_in.password, now=now())
    with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(dict(sign_ins), file)
    return sign_ins


def furnish(store: Store) -> None:
    """In the worker: the embedded model with its prompts and texts where there is none, and new answers where few wait."""
    from flagback.model import cycle, embedded
    from flagback.storage.prompts import NewPrompt, add_prompts

    with store.reading() as session:
        model = session.exec(select(ModelVersion.id)).first()
    if model is None:
        cycle.add_model(store, "embedded", by="demo")
    with store.writing() as session:
        if session.exec(select(Prompt.id)).first() is None:
            add_prompts(session, [NewPrompt(prompt.messages, "en", prompt.tags, prompt.split_key) for prompt in embedded.prompts()])
        if session.exec(select(ReferenceText.id)).first() is None:
            embedded.add_reference_texts(session)
        if waiting_items(session) < ENOUGH and not _sampling_under_way(session):
            earlier = session.exec(select(func.count()).select_from(SamplingRun)).one()
            # One reviewer signs in to the demo, so one review an item is all there will be. On training prompts alone, so that the
            # first flags make pairs; the gate's blind samples are of the held-out ones anyway.
            runs.request_sampling(
                session,
                by="demo",
                now=now(),
                limit=PROMPTS,
                decoding={"k": DRAWS, "seed": earlier},
                reviews_per_item=1,
                side="training",
            )


def waiting_items(session: Session) -> int:
    """How many items of the loop still want a review."""
    return session.exec(
        select(func.count(func.distinct(Slot.item_id)))
        .join(Item, col(Item.id) == Slot.item_id)
        .where(Slot.state == "open", Item.purpose == "loop")
    ).one()


def _sampling_under_way(session: Session) -> bool:
    return session.exec(select(SamplingRun.id).where(col(SamplingRun.state).in_(["waiting", "running"]))).first() is not None


# ------------------------------------------------------------------- processes


class Child:
    """One of the demo's processes, started again when it ends unasked."""

    def __init__(self, name: str, words: Sequence[str], settings: Settings) -> None:
        self.name = name
        self._command = [
            sys.executable,
            "-m",
            "flagback.review_app.cli",
            "--home",
            str(settings.home.absolute()),
            *words,
            "--end-with-stdin",
        ]
        self.log = log_file(settings, name)
        self._ends: deque[float] = deque(maxlen=ENDS)
        self._output: BinaryIO = self.log.open("ab")
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        # A session of its own: Ctrl+C at the terminal reaches the parent only, which then ends both in order.
        return subprocess.Popen(  # nosec B603 # our own program and settings, no shell
            self._command, stdin=subprocess.PIPE, stdout=self._output, stderr=subprocess.STDOUT, start_new_session=True
        )

    def look_after(self, say: Say) -> None:
        """Starts it again where it has ended, and says so. Raises ChildEnded where that happens again and again."""
        code = self._process.poll()
        if code is None:
            return
        self._ends.append(time.monotonic())
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
        if len(self._ends) == ENDS and self._ends[-1] - self._ends[0] < WITHIN:
            raise ChildEnded(
                f"The {self.name} {how}, {ENDS} times within {WITHIN:.0f} s, so the demo stops. The end of "
                f"{self.log}:\n{self.last_lines()}"
            )
        say(f"The {self.name} {how}; starting it again. Its output is in {self.log}.")
        self._close_pipe()
        self._process = self._start()

    def end(self) -> None:
        """Asks it to end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, until: float) -> None:
        """Waits for its end, and kills it where that takes too long."""
        try:
            self._process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close_pipe()
        self._output.close()

    def last_lines(self, count: int = 8) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])

    def _close_pipe(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


def _keep_running(settings: Settings, store: Store, sign_ins: Sequence[SignIn], *, say: Say, ended: threading.Event) -> None:
    """Runs web and worker until `ended`; tells the address when the web answers, and when the first item waits."""
    children = [
        Child("worker", ["worker", "--for-demo"], settings),
        Child("web", ["serve", "--host", settings.host, "--port", str(settings.port)], settings),
    ]
    told_address = told_items = False
    try:
        while not ended.wait(0.2):
            for child in children:
                child.look_after(say)
            if not told_address and web_answers(settings.host, settings.port):
                say(_welcome(settings, sign_ins))
                told_address = True
            if told_address and not told_items:
                with store.reading() as session:
                    waiting = waiting_items(session)
                if waiting:
                    say(f"{waiting} answers wait for the reviewer.")
                    told_items = True
    finally:
        for child in children:
            child.end()
        until = time.monotonic() + PATIENCE
        for child in children:
            child.wait(until)


def web_answers(host: str, port: int) -> bool:
    """Whether the web is up and its database answers."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _welcome(settings: Settings, sign_ins: Sequence[SignIn]) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    listed = "\n".join(f"    {sign_in.login:<12}password  {sign_in.password}  (demo)" for sign_in in sign_ins)
    return (
        f"\nFlagback is at  http://{host}:{settings.port}\n\n{listed}\n\n"
        f"Everything stays in {settings.home}. Ctrl+C stops; starting again keeps all data.\n"
    )
