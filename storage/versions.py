"""Model versions: registering, promoting and rolling back. Knows states, fingerprints and decisions; knows no weights.

One line of versions: a base, and corrections each of its parent. Whoever makes a version current does it by compare-and-swap on
the one that is, and writes a Decision and an audit entry in the same transaction.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import update
from sqlmodel import Session, col, select

from flagback.storage import audit
from flagback.storage.invisible import blank
from flagback.storage.prompts import check_storable
from flagback.storage.records import CorrectionRun, Decision, DecisionKind, Evaluation, ModelVersion, Template
from flagback.storage.records import now as present
from flagback.storage.store import Store, one_at_a_time


class NewBase(NamedTuple):
    """A model to start a line from, as `flagback.model.checkpoint.inspect` found it."""

    name: str
    #: A directory, a hub id, or "embedded".
    location: str
    template: Template
    #: sha256 of every file, by name.
    files: dict[str, str]
    facts: dict[str, Any]
    fingerprint: str


class NoModel(Exception):
    """No model has been registered yet."""


class OneLineOnly(Exception):
    """This installation has a base already; one installation serves one model line."""


class UnknownVersion(Exception):
    """No version has this number."""


class StaleCandidate(Exception):
    """The version does not correct the one that is current now, or is no candidate any more."""


class GateNotPassed(Exception):
    """The newest evaluation does not say 'pass', and no reason to override it was given."""


class NothingToRollBack(Exception):
    """The current version has no predecessor."""


class MissingReason(ValueError):
    """An override or a roll-back without a name or a reason."""


def fingerprint_of(files: Mapping[str, str], adapters: Sequence[str]) -> str:
    """sha256 in hex of {"adapters": [...], "files": {...}} as JSON, keys sorted, no spaces: equal weights, equal fingerprints."""
    content = json.dumps({"files": dict(files), "adapters": list(adapters)}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode("ascii")).hexdigest()


def register_base(session: Session, base: NewBase, *, by: str) -> ModelVersion:
    """Registers the installation's base and makes it current. The same weights again give the same row; others: OneLineOnly."""
    check_storable(by=by, name=base.name, location=base.location)
    one_at_a_time(session, "versions")
    first = session.exec(select(ModelVersion).where(ModelVersion.kind == "base")).first()
    if first is not None:
        if first.fingerprint == base.fingerprint:
            return first
        raise OneLineOnly(
            f"This installation serves '{first.name}' ({first.location}) and its corrections; start another line "
            "in "
            f"another home: FLAGBACK_HOME=FOLDER flagback model add {base.location}."
        )
    version = ModelVersion(
        kind="base",
        state="current",
        name=base.name,
        location=base.location,
        template=base.template,
        files=base.files,
        facts=base.facts,
        fingerprint=base.fingerprint,
    )
    session.add(version)
    session.flush()
    version.first_base_id = version.id
    session.add(version)
    _decide(
        session,
        "promote",
        version,
        previous_id=None,
        evaluation_id=None,
        by=by,
        now=present(),
        reason="The first model of this installation.",
    )
    return version


def register_candidate(
    session: Session,
    *,
    run: CorrectionRun,
    adapter_sha256: str,
    adapters: Sequence[str] | None = None,
    distance_to_base: float,
    facts: dict[str, Any],
) -> ModelVersion:
    """Registers what a correction run made, and notes it on the run. Once a run, however often it is called.

    `adapters` are those of the version on the first base, where they are not the parent's with the run's behind them.

    A run that made the very weights of an earlier version (same set, seed and recipe) gets that version.
    """
    one_at_a_time(session, "versions")
    known = session.exec(select(ModelVersion).where(ModelVersion.correction_run_id == run.id)).first()
    if known is None:
        parent = get(session, run.parent_id)
        adapters = [*parent.adapters, adapter_sha256] if adapters is None else list(adapters)
        fingerprint = fingerprint_of(parent.files, adapters)
        known = session.exec(select(ModelVersion).where(ModelVersion.fingerprint == fingerprint)).first() or ModelVersion(
            kind="correction",
            state="candidate",
            parent_id=parent.id,
            first_base_id=parent.first_base_id,
            name=f"{'distillation' if run.teacher else 'correction'} {run.id}",
            location=parent.location,
            template=parent.template,
            adapters=adapters,
            files=parent.files,
            fingerprint=fingerprint,
            correction_run_id=run.id,
            distance_to_base=distance_to_base,
            facts=facts,
        )
        session.add(known)
        session.flush()
    session.exec(
        update(CorrectionRun).where(col(CorrectionRun.id) == run.id).values(candidate_id=known.id, adapter_sha256=adapter_sha256)
    )
    return known


def get(session: Session, version_id: int) -> ModelVersion:
    """The version of this number. Raises UnknownVersion."""
    version = session.get(ModelVersion, version_id)
    if version is None:
        raise UnknownVersion(f"There is no version {version_id}; list them with 'flagback versions'.")
    return version


def current(session: Session) -> ModelVersion:
    """The version that is sampled now. Raises NoModel."""
    version = session.exec(select(ModelVersion).where(ModelVersion.state == "current")).first()
    if version is None:
        raise NoModel(
            "No model has been registered; run 'flagback model add embedded', or name a Hugging Face directory or hub id."
        )
    return version


def promote(store: Store, version_id: int, *, by: str, now: datetime, override_reason: str | None = None) -> Decision:
    """Makes a candidate current and retires the one before.

    Its newest evaluation must say "pass", or a named person must give a reason to override it; its parent must be the current
    version. A version rolled back earlier can come back by override only.
    """
    check_storable(by=by, reason=override_reason or "")
    if blank(by) or (override_reason is not None and blank(override_reason)):
        raise MissingReason("A promotion needs the name of who decides, and an override a reason; give --as and --override TEXT.")
    with store.writing() as session:
        one_at_a_time(session, "versions")
        version = get(session, version_id)
        before = current(session)
        if version.parent_id != before.id:
            raise StaleCandidate(_why_stale(version, before))
        evaluation = session.exec(
            select(Evaluation)
            .where(Evaluation.candidate_id == version.id, Evaluation.base_id == before.id)
            .order_by(col(Evaluation.id).desc())
            .limit(1)
        ).first()
        reason = override_reason or f"Evaluation {_passed(version, evaluation).id} passed the gate."
        _swap(session, before, version)
        return _decide(
            session,
            "promote" if override_reason is None else "override",
            version,
            previous_id=before.id,
            evaluation_id=evaluation.id if evaluation else None,
            by=by,
            now=now,
            reason=reason,
        )


def roll_back(store: Store, *, by: str, now: datetime, reason: str) -> Decision:
    """Makes the version current again that was so before the present one was promoted; the present one is retired."""
    check_storable(by=by, reason=reason)
    if blank(by) or blank(reason):
        raise MissingReason("A roll-back needs the name of who decides and a reason; give --as and --reason TEXT.")
    with store.writing() as session:
        one_at_a_time(session, "versions")
        before = current(session)
        how = session.exec(
            select(Decision)
            .where(Decision.version_id == before.id, Decision.kind != "roll_back")
            .order_by(col(Decision.id).desc())
            .limit(1)
        ).first()
        if how is None or how.previous_id is None:
            raise NothingToRollBack(f"Version {before.id} ({before.name}) is the first of its line; there is nothing before it.")
        target = get(session, how.previous_id)
        _swap(session, before, target)
        return _decide(session, "roll_back", target, previous_id=before.id, evaluation_id=None, by=by, reason=reason, now=now)


def _swap(session: Session, before: ModelVersion, after: ModelVersion) -> None:
    """Compare-and-swap of the current version; the partial UNIQUE index on state stands behind it."""
    retired = session.exec(
        update(ModelVersion).where(col(ModelVersion.id) == before.id, col(ModelVersion.state) == "current").values(state="retired")
    )
    if retired.rowcount != 1:
        raise StaleCandidate(
            f"Version {before.id} ({before.name}) stopped being current while this was decided; look again with "
            "'flagback versions'."
        )
    session.exec(update(ModelVersion).where(col(ModelVersion.id) == after.id).values(state="current"))


def _why_stale(version: ModelVersion, before: ModelVersion) -> str:
    if version.id == before.id:
        return f"Version {version.id} ({version.name}) is the current one already."
    if version.parent_id is None:
        return f"Version {version.id} ({version.name}) is the base of the line; go back with 'flagback rollback'."
    return (
        f"Version {version.id} ({version.name}) corrects version {version.parent_id}, but version {before.id} "
        f"({before.name}) is current: "
        "its evaluation compared it with another model. Correct the current version anew with 'flagback correct'."
    )


def _passed(version: ModelVersion, evaluation: Evaluation | None) -> Evaluation:
    """The evaluation, if it lets the version through; else GateNotPassed."""
    named = f"Version {version.id} ({version.name})"
    override = "or override with a reason: 'flagback promote --override TEXT'"
    if version.state == "retired":
        raise GateNotPassed(f"{named} was current and was rolled back; correct the current version anew, {override}.")
    if evaluation is None:
        raise GateNotPassed(f"{named} has not been evaluated against its parent; run 'flagback evaluate {version.id}', {override}.")
    if evaluation.state != "succeeded":
        raise GateNotPassed(
            f"Evaluation {evaluation.id} of {named[0].lower() + named[1:]} is {evaluation.state}; wait for its "
            "end, or "
            f"run 'flagback evaluate {version.id}' again, {override}."
        )
    if evaluation.verdict != "pass":
        said = (evaluation.verdict or "nothing").replace("_", " ")
        words = " ".join(reason.get("words", "") for reason in evaluation.reasons if reason.get("verdict") != "pass")
        raise GateNotPassed(
            f"The gate said '{said}' of {named[0].lower() + named[1:]} (evaluation {evaluation.id}). {words} "
            "Mend the cause, "
            f"{override}."
        )
    return evaluation


def _decide(
    session: Session,
    kind: DecisionKind,
    version: ModelVersion,
    *,
    previous_id: int | None,
    evaluation_id: int | None,
    by: str,
    reason: str,
    now: datetime,
) -> Decision:
    decision = Decision(
        kind=kind,
        version_id=version.id,
        previous_id=previous_id,
        evaluation_id=evaluation_id,
        decided_by=by,
        reason=reason,
        created_at=now,
    )
    session.add(decision)
    session.flush()
    audit.record(
        session,
        actor=by,
        action=f"version.{kind}",
        now=now,
        details={
            "decision": decision.id,
            "version": version.id,
            "fingerprint": version.fingerprint,
            "previous": previous_id,
            "evaluation": evaluation_id,
            "reason": reason,
        },
    )
    return decision
