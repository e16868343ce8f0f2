"""Where the loop stands: the figures of the maintainer's first page, and what to do next. Reads only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from flagback.storage import counting
from flagback.storage.records import (
    CorrectionRun,
    Decision,
    Evaluation,
    Generation,
    Item,
    ModelVersion,
    PreferenceSet,
    Prompt,
    Review,
    SamplingRun,
    Slot,
)

#: What a maintainer would do now, one word a page can link from.
NextCode = Literal["add_model", "import_prompts", "sample", "wait", "review", "correct", "evaluate", "decide"]
#: Flags on the current version's answers from which a correction is proposed; fewer teach little and measure nothing.
ENOUGH_FLAGS = 20


class Next(NamedTuple):
    """The next step."""

    code: NextCode
    words: str


@dataclass(frozen=True)
class LoopState:
    """Everything on the maintainer's first page. Counts are of rows in force that count; simulated ones are counted apart."""

    prompts: int
    #: Prompts by language tag.
    languages: Mapping[str, int]
    #: Answers sampled or imported, rewrites left out.
    generations: int
    #: Items that still have an open or claimed seat.
    items_waiting: int
    #: Seats that anyone could take now.
    seats_open: int
    #: Answers in force by people, skips left out.
    reviews: int
    #: Simulated answers in force (rehearsals only), skips left out.
    simulated_reviews: int
    #: Flags among the reviews, 0-1; None without reviews.
    flag_share: float | None
    #: Flags in force on loop answers of the current version that no correction of it has learnt from yet.
    flags_on_current: int
    #: The newest frozen set and its size, None before the first.
    newest_set: int | None
    newest_set_pairs: int
    #: Answers without a counterpart in it.
    newest_set_unpaired: int
    #: Correction runs by state.
    corrections: Mapping[str, int]
    #: Sampling runs by state.
    samplings: Mapping[str, int]
    #: The current version's number, name and when it became so; None before the first.
    current_id: int | None
    current_name: str | None
    current_since: datetime | None
    next: Next


def loop_state(session: Session) -> LoopState:
    """Counts everything once: a dozen aggregate queries."""
    current = session.exec(select(ModelVersion).where(ModelVersion.state == "current")).first()
    since = (
        None
        if current is None
        else session.exec(
            select(Decision.created_at).where(Decision.version_id == current.id).order_by(col(Decision.id).desc()).limit(1)
        ).first()
    )
    newest = session.exec(select(PreferenceSet).order_by(col(PreferenceSet.id).desc()).limit(1)).first()
    languages = dict(session.exec(select(Prompt.lang, func.count()).group_by(col(Prompt.lang)).order_by(col(Prompt.lang))).all())
    verdicts = _verdicts(session)
    reviews = sum(count for (simulated, _), count in verdicts.items() if not simulated)
    flags = verdicts.get((False, "flag"), 0)
    on_current = 0 if current is None else _flags_on(session, current.id)
    corrections, samplings = _by_state(session, CorrectionRun), _by_state(session, SamplingRun)
    to_fill = (Slot.state != "done", Slot.mode != "own")
    seats = dict(session.exec(select(Slot.state, func.count()).where(*to_fill).group_by(col(Slot.state))).all())
    return LoopState(
        prompts=sum(languages.values()),
        languages=languages,
        generations=session.exec(select(func.count()).select_from(Generation).where(Generation.source != "rewrite")).one(),
        items_waiting=session.exec(select(func.count(func.distinct(Slot.item_id))).where(*to_fill)).one(),
        seats_open=seats.get("open", 0),
        reviews=reviews,
        simulated_reviews=sum(verdicts.values()) - reviews,
        flag_share=flags / reviews if reviews else None,
        flags_on_current=on_current,
        newest_set=newest.id if newest else None,
        newest_set_pairs=newest.n_pairs if newest else 0,
        newest_set_unpaired=newest.n_unpaired if newest else 0,
        corrections=corrections,
        samplings=samplings,
        current_id=current.id if current else None,
        current_name=current.name if current else None,
        current_since=since,
        next=_next(
            session,
            current,
            prompts=sum(languages.values()),
            seats_open=seats.get("open", 0),
            seats_held=seats.get("claimed", 0),
            flags=on_current,
            corrections=corrections,
            samplings=samplings,
        ),
    )


def _verdicts(session: Session) -> dict[tuple[bool, str], int]:
    """Answers in force that count, by (simulated, verdict), skips left out."""
    newer = aliased(Review)
    rows = session.exec(
        select(Review.simulated, Review.verdict, func.count())
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .where(col(newer.id).is_(None), Review.verdict != "skip", counting.counts())
        .group_by(col(Review.simulated), col(Review.verdict))
    ).all()
    return {(simulated, verdict): count for simulated, verdict, count in rows}


def _flags_on(session: Session, version_id: int) -> int:
    """Flags in force on what a version wrote for the loop, given since its last correction."""
    learnt = session.exec(
        select(func.max(CorrectionRun.created_at)).where(
            CorrectionRun.parent_id == version_id, CorrectionRun.state == "succeeded", col(CorrectionRun.simulated).is_(False)
        )
    ).one()
    newer = aliased(Review)
    flags = (
        select(func.count())
        .select_from(Review)
        .outerjoin(newer, col(newer.supersedes) == Review.id)
        .join(Item, col(Item.id) == Review.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .where(col(newer.id).is_(None), Review.verdict == "flag", counting.counts())
        .where(Item.purpose == "loop", Generation.version_id == version_id)
    )
    return session.exec(flags if learnt is None else flags.where(Review.created_at > learnt)).one()


def _by_state(session: Session, kind: type[CorrectionRun] | type[SamplingRun]) -> dict[str, int]:
    rows = session.exec(select(kind.state, func.count()).group_by(col(kind.state)).order_by(col(kind.state))).all()
    return {state: count for state, count in rows}  # noqa: C416 - a Row is no tuple to dict()'s type


def _next(
    session: Session,
    current: ModelVersion | None,
    *,
    prompts: int,
    seats_open: int,
    seats_held: int,
    flags: int,
    corrections: Mapping[str, int],
    samplings: Mapping[str, int],
) -> Next:
    """The first step of the loop that is not done."""
    if current is None:
        return Next("add_model", "Register the model to work on: flagback model add PATH_OR_HUB_ID.")
    if prompts == 0:
        return Next("import_prompts", "Bring prompts for it to answer: flagback import prompts FILE.")
    if corrections.get("waiting", 0) + corrections.get("running", 0):
        return Next("wait", "A correction is under way.")
    candidate = session.exec(
        select(ModelVersion)
        .where(ModelVersion.state == "candidate", ModelVersion.parent_id == current.id)
        .order_by(col(ModelVersion.id).desc())
        .limit(1)
    ).first()
    if candidate is not None and (step := _next_of(session, candidate, seats_open)) is not None:
        return step
    if samplings.get("waiting", 0) + samplings.get("running", 0):
        return Next("wait", "The model is answering prompts.")
    if flags >= ENOUGH_FLAGS:
        return Next("correct", f"{flags} new flags stand on what version {current.id} wrote: start a correction.")
    wanted = seats_open + seats_held  # what reviewers hold at this moment is still to be judged
    if wanted:
        counted = f"{flags} new flag{'s' * (flags != 1)}"
        return Next("review", f"{wanted} reviews are wanted; version {current.id} has {counted}, {ENOUGH_FLAGS} are a start.")
    return Next("sample", f"Have version {current.id} answer some prompts, for people to review.")


def _next_of(session: Session, candidate: ModelVersion, seats_open: int) -> Next | None:
    """What a waiting candidate needs; None for one that did not pass and that the loop has gone past since."""
    evaluation = session.exec(
        select(Evaluation).where(Evaluation.candidate_id == candidate.id).order_by(col(Evaluation.id).desc()).limit(1)
    ).first()
    named = f"version {candidate.id} ({candidate.name})"
    if evaluation is None or evaluation.state in ("failed", "cancelled"):
        return Next("evaluate", f"Compare {named} with its parent: flagback evaluate {candidate.id}.")
    if evaluation.state in ("waiting", "running"):
        blind = f" If it waits for blind samples to be judged, {seats_open} seats are open to reviewers." if seats_open else ""
        return Next("wait", f"{named[0].upper() + named[1:]} is being evaluated.{blind}")
    if evaluation.verdict != "pass" and _gone_on(session, evaluation):
        return None
    said = (evaluation.verdict or "nothing").replace("_", " ")
    if evaluation.verdict == "not_enough_data":
        waiting, judged = _blind_seats(session, candidate.id), _judged_since(session, candidate.id, evaluation)
        if waiting:
            return Next(
                "review",
                f"The gate waits for {waiting} blind reviews of {named} and its parent. When they are done, evaluate again.",
            )
        if judged:
            return Next("evaluate", f"{judged} blind reviews of {named} came in since: evaluate it again.")
    return Next("decide", f"The gate said '{said}' of {named}: look at the comparison, then promote it, or sample and review more.")


def _blind_seats(session: Session, candidate_id: int) -> int:
    """Seats of a candidate's blind comparison that nobody has filled."""
    return session.exec(
        select(func.count())
        .select_from(Slot)
        .join(Item, col(Item.id) == Slot.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .join(SamplingRun, col(SamplingRun.id) == Generation.sampling_run_id)
        .join(Evaluation, col(Evaluation.id) == SamplingRun.evaluation_id)
        .where(Evaluation.candidate_id == candidate_id, Item.purpose == "blind", Slot.state != "done")
    ).one()


def _judged_since(session: Session, candidate_id: int, evaluation: Evaluation) -> int:
    """Blind reviews of a candidate's comparison that came in after an evaluation ended."""
    return session.exec(
        select(func.count())
        .select_from(Review)
        .join(Item, col(Item.id) == Review.item_id)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .join(SamplingRun, col(SamplingRun.id) == Generation.sampling_run_id)
        .join(Evaluation, col(Evaluation.id) == SamplingRun.evaluation_id)
        .where(Evaluation.candidate_id == candidate_id, Item.purpose == "blind", Review.verdict != "skip")
        .where(Review.created_at > (evaluation.ended_at or evaluation.created_at), counting.counts())
    ).one()


def _gone_on(session: Session, evaluation: Evaluation) -> bool:
    """Whether people sampled for the loop or reviewed for it after an evaluation ended."""
    since = evaluation.ended_at or evaluation.created_at
    sampled = select(SamplingRun.id).where(SamplingRun.purpose == "loop", SamplingRun.created_at > since)
    reviewed = select(Review.id).join(Item, col(Item.id) == Review.item_id).where(Item.purpose == "loop", Review.created_at > since)
    return session.exec(sampled.limit(1)).first() is not None or session.exec(reviewed.limit(1)).first() is not None
