"""Asking for work: sampling runs, correction runs and evaluations. The row in state `waiting` is the request.

Knows what may be asked for and by whom; knows nothing of how it is done. The web and the command line write these rows, a worker
takes them up.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from sqlalchemy import func
from sqlmodel import Session, col, select

from flagback.storage import audit, counting, versions
from flagback.storage.preferences import NoPairs, check_set
from flagback.storage.prompts import HELD_OUT_SHARDS, TRAINING_SHARDS, check_storable
from flagback.storage.records import (
    CorrectionRun,
    Evaluation,
    Generation,
    Item,
    ModelVersion,
    Prompt,
    Record,
    Review,
    SamplingPurpose,
    SamplingRun,
    WorkerHeartbeat,
)

#: all = every prompt; training and held_out = by shard.
Side = Literal["all", "training", "held_out"]

#: What `flagback sample` and the page offer when nothing is said.
DECODING: dict[str, Any] = {"k": 4, "temperature": 1.0, "top_p": 1.0, "max_tokens": 48, "seed": 0}


Row = TypeVar("Row", bound=Record)

#: A worker silent for longer is not counted on.
COUNTED_ON = timedelta(seconds=15)


class NoPrompts(Exception):
    """There is no prompt to answer."""


class RunUnderWay(Exception):
    """One correction at a time: the parent must not change under a run."""


class PartOfEvaluation(Exception):
    """Blind samples are stopped with their evaluation, never alone."""


class UnknownRow(Exception):
    """A number that names nothing."""


def choose_prompts(session: Session, *, version_id: int, limit: int, seed: int, side: Side = "all") -> list[Prompt]:
    """Up to `limit` prompts of a side: those this version has not answered first, each part in an order drawn by (seed, content).

    The order follows content hashes, never row ids, so that two installations with the same prompts choose alike.
    """
    shards = {"all": range(100), "training": TRAINING_SHARDS, "held_out": HELD_OUT_SHARDS}[side]
    prompts = session.exec(select(Prompt).where(col(Prompt.shard).in_(shards))).all()
    answered = set(session.exec(select(Generation.prompt_id).where(Generation.version_id == version_id).distinct()).all())
    ranked = sorted(prompts, key=lambda p: (p.id in answered, hashlib.sha256(f"{seed}:{p.content_hash}".encode()).digest()))
    return ranked[:limit]


def request_sampling(
    session: Session,
    *,
    by: str,
    now: datetime,
    limit: int = 60,
    decoding: dict[str, Any] | None = None,
    side: Side = "all",
    reviews_per_item: int = 3,
    purpose: SamplingPurpose = "loop",
    version_id: int | None = None,
    evaluation_id: int | None = None,
    prompt_ids: Sequence[int] | None = None,
    simulated: bool = False,
) -> SamplingRun:
    """Asks for k completions of each chosen prompt by a version (the current one when none is named)."""
    check_storable(by=by)
    settings = DECODING | (decoding or {})
    _check_decoding(settings)
    if limit < 1 or reviews_per_item < 1:
        raise ValueError(f"{limit} prompts with {reviews_per_item} reviews an item were asked for; both must be at least 1.")
    version = versions.current(session) if version_id is None else _named(session, ModelVersion, version_id)
    if prompt_ids is None:
        chosen = choose_prompts(session, version_id=version.id, limit=limit, seed=int(settings["seed"]), side=side)
        prompt_ids = [prompt.id for prompt in chosen]
    if not prompt_ids:
        raise NoPrompts(
            f"There are no {'' if side == 'all' else side.replace('_', '-') + ' '}prompts to answer; bring some with "
            "'flagback import prompts FILE'."
        )
    run = SamplingRun(
        version_id=version.id,
        purpose=purpose,
        evaluation_id=evaluation_id,
        decoding=settings,
        prompt_ids=list(prompt_ids),
        reviews_per_item=reviews_per_item,
        asked_by=by,
        simulated=simulated,
        created_at=now,
    )
    session.add(run)
    session.flush()
    audit.record(
        session,
        actor=by,
        action="sampling.asked",
        now=now,
        details={"run": run.id, "version": version.id, "prompts": len(run.prompt_ids), "decoding": settings},
    )
    return run


def request_correction(
    session: Session,
    *,
    by: str,
    now: datetime,
    seed: int = 0,
    recipe: dict[str, Any] | None = None,
    set_id: int | None = None,
    recipe_id: int | None = None,
    pairs: dict[str, Any] | None = None,
    simulated: bool = False,
) -> CorrectionRun:
    """Asks for a correction of the current version, on a frozen set or on the reviews as they are when the run starts.

    `pairs` says how votes then become pairs, as `CorrectionRun.pairs` has it; the majority where nothing is said.

    Raises NoPairs when nobody has flagged an answer of the current version, RunUnderWay while another correction runs.
    """
    check_storable(by=by)
    parent = versions.current(session)
    _check_idle(session, now)
    if set_id is not None:
        check_set(session, set_id)
    elif not flags_to_learn_from(session, parent.id):
        raise NoPairs(
            f"Nobody has flagged an answer of version {parent.id} ({parent.name}), so there is no pair to learn from; "
            "let reviewers flag some answers first, or name an imported set with --set."
        )
    run = CorrectionRun(
        set_id=set_id,
        parent_id=parent.id,
        pairs=pairs or {},
        recipe=recipe or {},
        recipe_id=recipe_id,
        seed=seed,
        asked_by=by,
        simulated=simulated,
        created_at=now,
    )
    session.add(run)
    session.flush()
    audit.record(
        session,
        actor=by,
        action="correction.asked",
        now=now,
        details={"run": run.id, "parent": parent.id, "set": set_id, "seed": seed, "recipe": run.recipe, "pairs": run.pairs},
    )
    return run


def request_distillation(
    session: Session,
    *,
    by: str,
    now: datetime,
    teacher: dict[str, Any],
    recipe: dict[str, Any],
    recipe_id: int | None = None,
    seed: int = 0,
    simulated: bool = False,
) -> CorrectionRun:
    """Asks that the current version learn what a teacher writes, as `CorrectionRun.teacher` has it. Raises RunUnderWay."""
    check_storable(by=by, teacher=str(teacher.get("name", "")))
    parent = versions.current(session)
    _check_idle(session, now)
    run = CorrectionRun(
        parent_id=parent.id,
        teacher=teacher,
        recipe=recipe,
        recipe_id=recipe_id,
        seed=seed,
        asked_by=by,
        simulated=simulated,
        created_at=now,
    )
    session.add(run)
    session.flush()
    details = {"run": run.id, "parent": parent.id, "teacher": teacher, "seed": seed, "recipe": recipe}
    audit.record(session, actor=by, action="distillation.asked", now=now, details=details)
    return run


def worker_alive(session: Session, *, now: datetime) -> bool:
    """Whether some worker was heard of lately."""
    count = session.exec(
        select(func.count())
        .select_from(WorkerHeartbeat)
        .where(col(WorkerHeartbeat.stopped).is_(False), WorkerHeartbeat.seen_at > now - COUNTED_ON)
    ).one()
    return count > 0


def _check_idle(session: Session, now: datetime) -> None:
    """One correction at a time. Raises RunUnderWay, with what to do where nobody is at that one."""
    busy = session.exec(select(CorrectionRun).where(col(CorrectionRun.state).in_(["waiting", "running"]))).first()
    if busy is not None and not worker_alive(session, now=now):
        raise RunUnderWay(
            f"Correction {busy.id} is {busy.state} (stage {busy.stage}) and no worker is at it; 'flagback worker' goes on with it "
            f"where it stands, 'flagback runs --cancel {busy.id}' stops it."
        )
    if busy is not None:
        raise RunUnderWay(
            f"Correction {busy.id} is {busy.state} (stage {busy.stage}); wait for it, or stop it with "
            f"'flagback runs --cancel {busy.id}'."
        )


def request_evaluation(
    session: Session,
    *,
    candidate_id: int,
    by: str,
    now: datetime,
    seed: int = 0,
    set_id: int | None = None,
    simulated: bool = False,
) -> Evaluation:
    """Asks for a paired comparison of a version with its parent."""
    check_storable(by=by)
    candidate = _named(session, ModelVersion, candidate_id)
    if candidate.parent_id is None:
        raise UnknownRow(
            f"Version {candidate.id} ({candidate.name}) is a base and has no parent to be compared with; name a "
            "correction (see 'flagback versions')."
        )
    evaluation = Evaluation(
        candidate_id=candidate.id,
        base_id=candidate.parent_id,
        set_id=set_id,
        seed=seed,
        asked_by=by,
        simulated=simulated,
        created_at=now,
    )
    session.add(evaluation)
    session.flush()
    audit.record(
        session, actor=by, action="evaluation.asked", now=now, details={"evaluation": evaluation.id, "version": candidate.id}
    )
    return evaluation


def flags_to_learn_from(session: Session, version_id: int) -> int:
    """How many flags stand on a version's answers (superseded ones included: an upper bound, one count query)."""
    return session.exec(
        select(func.count())
        .select_from(Review)
        .join(Item, col(Item.id) == Review.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .where(Generation.version_id == version_id, Item.purpose == "loop", Review.verdict == "flag", counting.counts())
    ).one()


def enter(run: CorrectionRun | Evaluation, stage: str) -> None:
    """Moves a run on to a stage, of which nothing is known to be done yet."""
    run.stage, run.stage_done, run.stage_total = stage, 0, 0


def cancel(
    session: Session, kind: type[SamplingRun] | type[CorrectionRun] | type[Evaluation], row_id: int, *, by: str, now: datetime
) -> None:
    """Stops a waiting or running request; a worker polls for it between steps. A finished one is left as it is.

    Raises PartOfEvaluation for blind samples: their evaluation would wait for them for ever.
    """
    check_storable(by=by)
    row = _named(session, kind, row_id)
    if isinstance(row, SamplingRun) and row.evaluation_id is not None:
        raise PartOfEvaluation(
            f"Sampling run {row_id} writes the blind samples of evaluation {row.evaluation_id}; stop that: "
            f"flagback runs --cancel evaluation-{row.evaluation_id}."
        )
    if row.state in ("waiting", "running"):
        row.state = "cancelled"
        row.ended_at = now
        row.error = f"Stopped by {by}."
        session.add(row)
        audit.record(session, actor=by, action="run.cancelled", now=now, details={"kind": kind.__name__, "id": row_id})


def _check_decoding(decoding: dict[str, Any]) -> None:
    limits = {"k": (1, 64), "temperature": (0.0, 5.0), "top_p": (0.01, 1.0), "max_tokens": (1, 4096)}
    for name, (low, high) in limits.items():
        if not low <= decoding[name] <= high:
            raise ValueError(f"{name} is {decoding[name]}; expected {low} to {high}.")


def _named(session: Session, kind: type[Row], row_id: int) -> Row:
    row = session.get(kind, row_id)
    if row is None:
        raise UnknownRow(f"There is no {kind.__name__} {row_id}; list them with 'flagback versions' or 'flagback runs'.")
    return row
