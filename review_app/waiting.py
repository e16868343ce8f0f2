"""Waiting at a terminal for a request: a worker does it, or this process does where none is alive. Shows how far it is."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from flagback.review_app import jobs
from flagback.review_app.jobs import Request, RunFailed, Standing
from flagback.review_app.settings import Settings
from flagback.storage.invisible import visible
from flagback.storage.records import now
from flagback.storage.store import Store

#: Least time between two plain lines of progress, seconds.
BETWEEN_LINES = 2.0


def see_done(settings: Settings, store: Store, request: Request) -> None:
    """Returns when the request has succeeded. Raises RunFailed in its words; Ctrl+C leaves it to the next worker."""
    with _shown(request) as show:
        at = jobs.wait(store, request, clock=now, pause=time.sleep, show=show)
        if not at.final:
            at = _work_here(settings, store, request, show)
    if at.state != "succeeded":
        how = "was stopped" if at.state == "cancelled" else "failed"
        raise RunFailed(f"{request.name} {how}: {at.error or 'no reason was given.'}")


def _work_here(settings: Settings, store: Store, request: Request, show: Callable[[Standing], None]) -> Standing:
    """Works through what waits until the request is final: the same worker as a process of its own would be."""
    from flagback.review_app.steps import steps_of
    from flagback.review_app.worker import Worker

    said: list[str] = []
    worker = Worker(settings, store, steps_of(settings, store), say=said.append)
    try:
        worker.start()
        while True:
            if request in worker.untold:
                _leave_now(request, worker.untold[request])
            worker.tick()
            with store.reading() as session:
                at = jobs.standing(session, request)
            show(at)
            if at.final:
                worker.close()
                return at
            time.sleep(0.2)
    except KeyboardInterrupt:
        # A step under way cannot be interrupted, and need not be: it is repeated.
        worker.stop()
        print(f"\nLeft unfinished; {request.name} goes on when a worker starts ('flagback worker').", file=sys.stderr, flush=True)
        os._exit(130)


def _leave_now(request: Request, why: str) -> NoReturn:
    """Ends the process with the reason, which nothing can be written beside: not even the ledger's threads can end in order."""
    print(
        f"\n{request.name} failed: {why}\nThat could not be written down either, so it still counts as running; once there is room "
        "'flagback worker' goes on with it.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


@contextmanager
def _shown(request: Request) -> Iterator[Callable[[Standing], None]]:
    """Progress on stderr: a bar at a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        yield _plain_lines(request)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.fields[name]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("waiting", total=None, name=request.name)
        yield lambda at: progress.update(task, completed=at.done, total=at.total or None, description=_words(at))


def _plain_lines(request: Request) -> Callable[[Standing], None]:
    last: list[object] = [None, 0.0]

    def show(at: Standing) -> None:
        line = f"{request.name}: {_words(at)}" + (f", {at.done} of {at.total}" if at.total else "")
        stamp = time.monotonic()
        if line != last[0] and (at.final or stamp - float(str(last[1])) >= BETWEEN_LINES):
            last[:] = [line, stamp]
            print(line, file=sys.stderr, flush=True)

    return show


def _words(at: Standing) -> str:
    return visible(f"{at.words} ({at.figures})" if at.figures else at.words) if at.state == "running" else at.state
