"""The worker: takes waiting requests and does them as durable workflows, one at a time.

Knows DBOS and the order of each kind's steps; the steps themselves are functions of flagback.model that may be repeated. Killed
anywhere and started again it goes on with the step it was in; a worker silent for a minute has its runs taken over by a live one.
"""

import os
import secrets
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from dbos._serialization import DefaultSerializer
from sqlalchemy.engine import make_url

from flagback.review_app import jobs
from flagback.review_app.home import worker_name
from flagback.review_app.jobs import Kind, Request
from flagback.review_app.settings import Settings
from flagback.review_app.steps import Step, import_torch, steps_of
from flagback.storage import queue
from flagback.storage.invisible import visible
from flagback.storage.records import now
from flagback.storage.store import Store, make_private

#: Raised when the order or meaning of steps changes; runs of an older one are begun again, which their steps allow.
APPLICATION_VERSION = "2"
#: One job at a time on each worker: two would load weights twice.
QUEUE = "work"
#: How often a worker looks for new requests, seconds.
LOOK = 0.5
#: How often the order of work is looked at anew, seconds; where a look takes long, more rarely.
ORDER_EVERY = 300.0
#: How much longer than a look the time to the next one is at least, and the pause between two batches, seconds.
REST, PAUSE = 20, 0.05
#: By how much a worker's process stands behind the web process on the same machine.
NICE = 5
#: How long a worker inside another process waits for such steps, seconds: a detector learns from 10,000 answers in about a minute.
LAST_STEPS = 120
#: How often a run may be picked up again before it is given up.
PICK_UPS = 20

#: done = recorded, go on; the others end the workflow, the row says why.
Outcome = Literal["done", "cancelled", "failed"]
Say = Callable[[str], None]


class Worker:
    """One worker of an installation: `start`, `tick` twice a second, `stop`."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        steps: Mapping[Kind, Sequence[Step]],
        *,
        say: Say,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.settings, self.store, self.clock = settings, store, clock
        self._steps = steps
        self.worker_id, self._lock = worker_name(settings.home)
        self._say = say
        self._workflows: dict[Kind, Callable[[int], str]] = {}
        self._entrusted: set[Request] = set()
        #: What went wrong where even that could not be written down, by request: the disk is full, or the database gone.
        self.untold: dict[Request, str] = {}
        self._last_beat: datetime | None = None

    # ------------------------------------------------------------- life cycle

    def start(self) -> None:
        """Opens the ledger and goes on with what this worker was doing when it ended."""
        jobs.beat(self.store, self.worker_id, now=self.clock())
        prepare_ledger(self.settings.jobs_url)
        config: DBOSConfig = {
            "name": "flagback",
            "system_database_url": self.settings.jobs_url,
            "executor_id": self.worker_id,
            "application_version": APPLICATION_VERSION,
            "log_level": "ERROR",
            "enable_otlp": False,
            "sys_db_pool_size": 5,
            "use_listen_notify": False,
            "serializer": DBOSPortableJSONSerializer(),
        }
        never_unpickle()
        DBOS(config=config)
        for kind in jobs.TABLES:
            self._workflows[kind] = DBOS.workflow(name=kind, max_recovery_attempts=PICK_UPS)(self._workflow(kind))
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=1, polling_interval_sec=0.25)

    def tick(self) -> None:
        """Says that this worker lives, takes over from dead ones, and hands new requests to the ledger."""
        moment = self.clock()
        if self._last_beat is None or moment - self._last_beat >= jobs.BEAT:
            jobs.beat(self.store, self.worker_id, now=moment)
            self._take_over(moment)
            self._entrusted.clear()
            self._last_beat = moment
        with self.store.reading() as session:
            found = jobs.open_requests(session)
        for request in found:
            if request not in self._entrusted:
                self._entrust(request, moment)
                self._entrusted.add(request)

    def stop(self) -> None:
        """Says that this worker ends, so that others take its runs at once. A step under way is not waited for."""
        jobs.beat(self.store, self.worker_id, now=self.clock(), stopped=True)

    def close(self) -> None:
        """Ends a worker whose work is done, inside a process that goes on; steps after the last word of a request end first."""
        DBOS.destroy(workflow_completion_timeout_sec=LAST_STEPS, destroy_registry=True)
        self.stop()
        os.close(self._lock)

    # ------------------------------------------------------------ the ledger

    def _take_over(self, moment: datetime) -> None:
        with self.store.reading() as session:
            silent = jobs.silent_workers(session, but=self.worker_id, now=moment)
        if not silent:
            return
        # Underscored in DBOS 3.4 and pinned there: without its paid console nothing else looks for dead workers.
        taken = DBOS._recover_pending_workflows(silent)
        jobs.forget(self.store, silent, now=moment)
        if taken:
            self._say(f"Took over {len(taken)} from {', '.join(silent)}.")

    def _entrust(self, request: Request, moment: datetime) -> None:
        """Makes sure that the ledger has the request and may still finish it."""
        known = DBOS.get_workflow_status(request.name)
        if known is not None:
            if known.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
                jobs.fail(
                    self.store,
                    request,
                    f"The worker ended {PICK_UPS} times while doing {request.name} (often too little "
                    "memory); see the worker's log, then ask for it again.",
                    now=moment,
                )
                return
            over = known.status in ("SUCCESS", "ERROR", "CANCELLED")
            older = known.app_version != APPLICATION_VERSION and not self._is_alive(known.executor_id, moment)
            if not (over or older) or self._is_final(request):
                return
            # A ledger of other records (one of the two was restored or removed), or of an older Flagback.
            DBOS.delete_workflow(request.name)
        with SetWorkflowID(request.name):
            DBOS.enqueue_workflow(QUEUE, self._workflows[request.kind], request.row_id)

    def _is_final(self, request: Request) -> bool:
        with self.store.reading() as session:
            return jobs.standing(session, request).final

    def _is_alive(self, worker_id: str | None, moment: datetime) -> bool:
        if worker_id is None or worker_id == self.worker_id:
            return False
        with self.store.reading() as session:
            return worker_id not in jobs.silent_workers(session, but=self.worker_id, now=moment)

    # -------------------------------------------------------------- the steps

    def _workflow(self, kind: Kind) -> Callable[[int], str]:
        def work(row_id: int) -> str:
            request = Request(kind, row_id)
            for name, act in self._steps[kind]:
                outcome = DBOS.run_step({"name": name}, self._attempt, request, name, act)
                if outcome != "done":
                    return outcome
            return "done"

        work.__qualname__ = f"Worker.{kind}"
        return work

    def _attempt(self, request: Request, name: str, act: Callable[[int], object]) -> Outcome:
        """Does one step. What goes wrong is written to the row in words, so that nothing but an outcome enters the ledger."""
        began = time.perf_counter()
        try:
            act(request.row_id)
        except Exception as error:
            if self._is_final(request):  # stopped by a person: the row says so already
                self._say(f"{request.kind} {request.row_id}: {error}")
                return "cancelled"
            words = self._words(request, error)
            try:
                jobs.fail(self.store, request, words, now=self.clock())
            except Exception:
                self.untold[request] = words
                raise
            return "failed"
        self._say(f"{request.kind} {request.row_id}: {name} done in {time.perf_counter() - began:.1f} s.")
        return "done"

    def _words(self, request: Request, error: Exception) -> str:
        """Our own errors speak for themselves; of another's the traceback is kept in the worker's output under a number."""
        if type(error).__module__.startswith("flagback."):
            self._say(f"{request.kind} {request.row_id} failed: {error}")
            return str(error)
        number = secrets.token_hex(3)
        self._say(f"{request.kind} {request.row_id} failed, error {number}:\n{''.join(traceback.format_exception(error))}")
        return f"Something unexpected went wrong ({type(error).__name__}: {error}); the worker's output has it as error {number}."


def never_unpickle() -> None:
    """Has DBOS refuse pickles, which it writes by itself and reads wherever a row of the ledger says so.

    Who can write to the database could otherwise have the worker run any code. A run whose row is refused is begun again.
    """

    def refuse(_self: DefaultSerializer, _text: str) -> Any:
        raise ValueError("a pickle in the job ledger; expected JSON, and a pickle is never read")

    DefaultSerializer.deserialize = refuse  # type: ignore[assignment,method-assign]


def prepare_ledger(jobs_url: str) -> None:
    """Sets write-ahead logging on a SQLite ledger (it stays with the file); DBOS leaves the slower default."""
    url = make_url(jobs_url)
    if url.get_backend_name() == "sqlite":
        make_private(Path(str(url.database)))
        connection = sqlite3.connect(str(url.database), timeout=30)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()


def work_until_told(
    settings: Settings,
    store: Store,
    *,
    say: Say,
    ended: threading.Event,
    steps: Mapping[Kind, Sequence[Step]] | None = None,
    first: Callable[[Store], None] | None = None,
) -> None:
    """What the process of `flagback worker` does: works until SIGINT, SIGTERM or `ended`, then leaves at once with code 0.

    `steps` are those of the installation unless given; `first` is done before any request is taken. A step under way is left where
    it is: the next start repeats it.
    """
    _on_signals(lambda: os._exit(0))  # still starting: nothing is under way
    give_way()
    warming = threading.Thread(target=import_torch, args=(settings.threads,), name="warming-up", daemon=True)
    if steps is None:
        warming.start()
    worker = Worker(settings, store, steps or steps_of(settings, store), say=say)
    worker.start()
    if first is not None:
        warming.join()
        first(store)
    _on_signals(ended.set)
    threading.Thread(target=keep_order, args=(store, ended, say), name="ordering", daemon=True).start()
    say(f"Worker {worker.worker_id} is ready.")
    while not ended.wait(LOOK):
        worker.tick()
    worker.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def give_way() -> None:
    """From now on this process computes with what the others leave: a person who waits for the next item comes first."""
    if hasattr(os, "nice"):
        os.nice(NICE)


def keep_order(store: Store, ended: threading.Event, say: Say, *, every: float = ORDER_EVERY) -> None:
    """Orders the work anew from time to time until `ended`; what goes wrong is said and tried again."""
    wait = every
    while not ended.wait(wait):
        began = time.perf_counter()
        try:
            queue.deal(store, now=now(), pause=PAUSE)
        except Exception:
            say(f"The order of work could not be renewed; it stays as it was.\n{traceback.format_exc()}")
        wait = max(every, REST * (time.perf_counter() - began))


def _on_signals(act: Callable[[], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: act())


def plain_say(stream: Any) -> Say:
    """Lines with the time of day."""

    def say(line: str) -> None:
        print(f"{datetime.now():%H:%M:%S} {visible(line, breaks=True)}", file=stream, flush=True)

    return say
