"""Published tests in the store: whose data are taken in, what each version answered, what changed between two.

Knows rows and rules; knows neither what a test asks nor how a model is scored (`flagback.model.suite_runs`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete
from sqlmodel import Session, col, select

from flagback.storage import audit
from flagback.storage.records import SuiteComparison, SuiteData, SuiteItem, SuiteRun
from flagback.storage.store import insert_all


class UnknownSuiteData(Exception):
    """No test's data have this number."""


class Answered(NamedTuple):
    """One item as a version answered it."""

    key: str
    #: {metric: value, None where the item says nothing about it}
    measures: Mapping[str, float | None]
    #: What the model wrote, where the test has it write.
    written: Sequence[str]


class NewData(NamedTuple):
    """A test's data to take in."""

    suite: str
    location: str
    #: Roles of columns of a user's own pairs.
    columns: Mapping[str, str]
    #: The folder with its files, None where the items are Flagback's own.
    artifact: str | None
    content_hash: str
    n_items: int


def take_in(session: Session, new: NewData, *, by: str, now: datetime) -> SuiteData:
    """The row of these data; taken in before, it is the same row, no longer withdrawn if it was."""
    same = select(SuiteData).where(SuiteData.suite == new.suite, SuiteData.content_hash == new.content_hash)
    data = session.exec(same).first()
    if data is not None and data.withdrawn_at is None:
        return data
    if data is None:
        data = SuiteData(**new._asdict() | {"columns": dict(new.columns)}, added_by=by, created_at=now)
    data.withdrawn_at = None
    session.add(data)
    session.flush()
    _say(session, data, "suite.add", by, now)
    return data


def withdraw(session: Session, data_id: int, *, by: str, now: datetime) -> SuiteData:
    """Evaluations stop putting these data; what was found stays. Twice is once. Raises UnknownSuiteData."""
    data = get(session, data_id)
    if data.withdrawn_at is None:
        data.withdrawn_at = now
        session.add(data)
        _say(session, data, "suite.withdraw", by, now)
    return data


def get(session: Session, data_id: int) -> SuiteData:
    """Raises UnknownSuiteData."""
    data = session.get(SuiteData, data_id)
    if data is None:
        known = ", ".join(str(one.id) for one in in_use(session)) or "none"
        raise UnknownSuiteData(f"No test's data have the number {data_id}; in use: {known}. See 'flagback suites list'.")
    return data


def in_use(session: Session, suite: str | None = None) -> list[SuiteData]:
    """Data that evaluations put to versions, of one test or of all, oldest first."""
    rows = select(SuiteData).where(col(SuiteData.withdrawn_at).is_(None)).order_by(col(SuiteData.id))
    return list(session.exec(rows if suite is None else rows.where(SuiteData.suite == suite)).all())


def all_data(session: Session) -> list[SuiteData]:
    """Data in use and withdrawn ones, oldest first."""
    return list(session.exec(select(SuiteData).order_by(col(SuiteData.id))).all())


def run_of(session: Session, version_id: int, data_id: int) -> SuiteRun | None:
    """What a version answered, None where it was not asked."""
    return session.exec(select(SuiteRun).where(SuiteRun.version_id == version_id, SuiteRun.data_id == data_id)).first()


def runs_of(session: Session, data_id: int) -> dict[int, SuiteRun]:
    """Version -> what it answered to these data."""
    return {run.version_id: run for run in session.exec(select(SuiteRun).where(SuiteRun.data_id == data_id)).all()}


def keep(
    session: Session,
    *,
    version_id: int,
    data_id: int,
    form: str,
    figures: Mapping[str, Any],
    items: Iterable[Answered],
    now: datetime,
) -> SuiteRun:
    """Keeps a version's answers in the place of earlier ones to the same data; comparisons with those are forgotten."""
    run = run_of(session, version_id, data_id)
    if run is None:
        run = SuiteRun(version_id=version_id, data_id=data_id, form=form)
    else:
        session.execute(delete(SuiteItem).where(col(SuiteItem.run_id) == run.id))
        mine = (col(SuiteComparison.base_run_id) == run.id) | (col(SuiteComparison.candidate_run_id) == run.id)
        session.execute(delete(SuiteComparison).where(mine))
    run.form, run.figures, run.created_at = form, dict(figures), now
    session.add(run)
    session.flush()
    rows = [
        {"run_id": run.id, "item_key": item.key, "measures": dict(item.measures), "written": list(item.written)} for item in items
    ]
    insert_all(session, "suite_item", rows)
    return run


def answers(session: Session, run_id: int) -> dict[str, Answered]:
    """A run's items by key."""
    rows = session.exec(select(SuiteItem).where(SuiteItem.run_id == run_id)).all()
    return {row.item_key: Answered(row.item_key, row.measures, row.written) for row in rows}


def comparison(session: Session, base_run_id: int, candidate_run_id: int) -> list[dict[str, Any]] | None:
    """Figures of what changed from one run to another of the same data; None where nobody reckoned it."""
    found = session.get(SuiteComparison, (base_run_id, candidate_run_id))
    return None if found is None else found.figures


def keep_comparison(session: Session, base_run_id: int, candidate_run_id: int, figures: Sequence[Mapping[str, Any]]) -> None:
    """Keeps what changed; done twice it stands once."""
    session.merge(
        SuiteComparison(base_run_id=base_run_id, candidate_run_id=candidate_run_id, figures=[dict(figure) for figure in figures])
    )


def _say(session: Session, data: SuiteData, action: str, by: str, now: datetime) -> None:
    details = {"data": data.id, "suite": data.suite, "items": data.n_items, "content_hash": data.content_hash}
    audit.record(session, actor=by, action=action, details=details, now=now)
