"""The three kinds of work and where each request stands: sampling, correction, evaluation.

The row in state `waiting` is the request. Knows how to find open requests, say how far one has come, and tell whether a worker is
alive to do it. Knows neither torch nor DBOS: the web process and the command line use it too.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from sqlalchemy import update
from sqlmodel import Session, col, select

from flagback.storage.records import CorrectionRun, Evaluation, RunMetric, RunState, SamplingRun, WorkerHeartbeat
from flagback.storage.runs import worker_alive
from flagback.storage.store import Store

Kind = Literal["sampling", "correction", "evaluation"]

#: The table of each kind.
TABLES: dict[Kind, type[SamplingRun] | type[CorrectionRun] | type[Evaluation]] = {
    "sampling": SamplingRun,
    "correction": CorrectionRun,
    "evaluation": Evaluation,
}
#: States after which nothing more happens to a request.
FINAL: frozenset[RunState] = frozenset({"succeeded", "failed", "cancelled"})
#: Figures of a training step that are shown while it runs.
SHOWN = ("loss", "margin", "pairs_per_second")
#: How often a worker says that it is alive.
BEAT = timedelta(seconds=5)
#: The runs of a worker silent for longer are taken over.
SILENT = timedelta(seconds=60)


class Request(NamedTuple):
    """One row that asks for work."""

    kind: Kind
    row_id: int

    @property
    def name(self) -> str:
        """Its name in the job ledger; a second start under the same name is harmless."""
        return f"{self.kind}-{self.row_id}"


class Standing(NamedTuple):
    """How far a request has come."""

    state: RunState
    #: Steps or prompts done, and how many there are; 0 of 0 where that is not known yet.
    done: int
    total: int
    #: What is being done, in words.
    words: str
    error: str | None
    #: Figures of the newest step.
    figures: str = ""

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in FINAL


class RunFailed(Exception):
    """A run that was waited for did not succeed."""


def open_requests(session: Session) -> list[Request]:
    """Requests that are waiting or running, oldest first. Blind samples are not among them: their evaluation draws them itself."""
    found: list[tuple[datetime, Request]] = []
    for kind, table in TABLES.items():
        asked = select(table.created_at, table.id).where(col(table.state).in_(["waiting", "running"]))
        if kind == "sampling":
            asked = asked.where(col(SamplingRun.evaluation_id).is_(None))
        found += [(created_at, Request(kind, row_id)) for created_at, row_id in session.exec(asked).all()]
    return [request for _, request in sorted(found)]


def standing(session: Session, request: Request) -> Standing:
    """Where a request stands now."""
    if request.kind == "sampling":
        sampling = session.get_one(SamplingRun, request.row_id)
        return Standing(sampling.state, sampling.done, len(sampling.prompt_ids), "prompts answered", sampling.error)
    if request.kind == "correction":
        run = session.get_one(CorrectionRun, request.row_id)
        newest = select(RunMetric).where(RunMetric.run_id == run.id).order_by(col(RunMetric.step).desc()).limit(1)
        last = session.exec(newest).first()
        if last is None or run.stage != "train":
            return Standing(run.state, run.stage_done, run.stage_total, run.stage, run.error)
        figures = ", ".join(f"{name.replace('_', ' ')} {last.metrics[name]:.3g}" for name in SHOWN if name in last.metrics)
        return Standing(run.state, last.step, int(last.metrics.get("steps", 0)), "training steps", run.error, figures)
    evaluation = session.get_one(Evaluation, request.row_id)
    if not evaluation.stage_total:
        drawn = session.exec(select(SamplingRun).where(SamplingRun.evaluation_id == evaluation.id)).all()
        done, total = sum(run.done for run in drawn), sum(len(run.prompt_ids) for run in drawn)
        if done < total:
            return Standing(evaluation.state, done, total, evaluation.stage, evaluation.error)
    return Standing(evaluation.state, evaluation.stage_done, evaluation.stage_total, evaluation.stage, evaluation.error)


def silent_workers(session: Session, *, but: str, now: datetime) -> list[str]:
    """Workers that stopped, or were not heard of for a minute; `but` is the one who asks."""
    rows = session.exec(select(WorkerHeartbeat).where(WorkerHeartbeat.worker_id != but)).all()
    return [row.worker_id for row in rows if row.stopped or row.seen_at < now - SILENT]


def beat(store: Store, worker_id: str, *, now: datetime, stopped: bool = False) -> None:
    """Writes that a worker is alive, or that it stopped by itself."""
    with store.writing() as session:
        row = session.get(WorkerHeartbeat, worker_id)
        if row is None:
            row = WorkerHeartbeat(worker_id=worker_id, started_at=now)
        row.seen_at, row.stopped = now, stopped
        session.add(row)


def forget(store: Store, worker_ids: list[str], *, now: datetime) -> None:
    """Removes the heartbeats of workers whose runs were taken over, unless they have come back since."""
    with store.writing() as session:
        for worker_id in worker_ids:
            row = session.get(WorkerHeartbeat, worker_id)
            if row is not None and (row.stopped or row.seen_at < now - SILENT):
                session.delete(row)


def fail(store: Store, request: Request, error: str, *, now: datetime) -> None:
    """Marks an open request failed, with words for the maintainer."""
    with store.writing() as session:
        table = TABLES[request.kind]
        session.exec(
            update(table)
            .where(col(table.id) == request.row_id, col(table.state).not_in(FINAL))
            .values(state="failed", error=error, ended_at=now)
        )


def wait(
    store: Store,
    request: Request,
    *,
    clock: Callable[[], datetime],
    pause: Callable[[float], None],
    show: Callable[[Standing], None],
) -> Standing:
    """Waits while a worker does the request; returns early, with a standing that is not final, when no worker lives."""
    while True:
        with store.reading() as session:
            at = standing(session, request)
            alive = worker_alive(session, now=clock())
        show(at)
        if at.final or not alive:
            return at
        pause(0.3)
