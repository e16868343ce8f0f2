"""What became of a person's flags, read off the records: from the review to the frozen set, the run, the version and its test.

Tells a person of their own flag only. Of what others said it tells nothing but that the answers taken together came out another
way, and that only once a set was frozen from them and at least two others had judged the text: of one other person it would be
their vote. A flag on a text that was written to test a correction is told of as such once that test is over, never before.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlmodel import Session, col, select

from flagback.storage.counting import left_out
from flagback.storage.prompts import HELD_OUT_SHARDS, TRAINING_SHARDS
from flagback.storage.quarantine import withdrawn_items
from flagback.storage.records import (
    CorrectionRun,
    Decision,
    Evaluation,
    Generation,
    Item,
    ModelVersion,
    PolicyScore,
    PreferencePair,
    PreferenceSet,
    Prompt,
    Review,
    SamplingRun,
    Slot,
    UnpairedAnswer,
)
from flagback.storage.taxonomy import CATEGORIES

#: From little to much:
#: waiting = no set was made since; moved_on = the model that wrote it is not in use any more, and no set held it; taken_away =
#: the text was withdrawn from everybody; left_out = answers of this person, or this one, count nowhere; not_taught = of a kind
#: that no correction learns from; differed = taken together, people saw it otherwise; too_few = a set was made while too few
#: had judged it to say whether it is in it; no_pair = there was nothing better to the same prompt to put beside it, or it was
#: too like a published test; in_set = in a set; kept_aside = in a set, on the side that corrections are tried on; learning = a
#: correction learns from it now; stopped = learnt from, and the correction came to nothing; learnt = learnt from, and the
#: correction is being tested; was_in_use, in_use = learnt from, and the model was or is in use; tested = it helped to test a
#: correction.
State = Literal[
    "waiting",
    "moved_on",
    "taken_away",
    "left_out",
    "not_taught",
    "differed",
    "no_pair",
    "too_few",
    "in_set",
    "kept_aside",
    "learning",
    "stopped",
    "learnt",
    "was_in_use",
    "in_use",
    "tested",
]
#: Of several runs that learnt from a flag, the one that led furthest is told.
_FURTHEST: dict[State, int] = {"in_set": 0, "learning": 1, "stopped": 2, "learnt": 3, "was_in_use": 4, "in_use": 5}
#: Fewer votes than these tell too much of a single other person.
FEWEST_VOTES = 3
_TRAINS = {one.code for one in CATEGORIES if one.trains}
_AT_A_TIME = 500


class Again(NamedTuple):
    """What the model in use answers to the same prompt now."""

    generation_id: int
    text: str


class Fate(NamedTuple):
    """What became of one flag."""

    state: State
    #: The correction it is about ("correction 3"); "" where there is none.
    version: str = ""
    #: When the set was frozen, or since when the corrected model is in use.
    since: datetime | None = None
    #: Until when it was in use.
    until: datetime | None = None
    #: The model in use now, where it goes on from `version`; "" where it is that one itself.
    goes_on_in: str = ""
    #: For tested: what the gate said.
    verdict: str | None = None
    again: Again | None = None


class _Ways(NamedTuple):
    """What is the same for all flags: the line of versions and how each came to be."""

    versions: dict[int, ModelVersion]
    current: ModelVersion | None
    #: The current version and those it goes on from.
    line: set[int]
    decisions: Sequence[Decision]
    #: Candidate -> its newest evaluation.
    evaluations: dict[int, Evaluation]
    #: Set -> its runs by people, oldest first.
    runs: dict[int, list[CorrectionRun]]
    sets: dict[int, PreferenceSet]


def of_flags(session: Session, flags: Sequence[Review]) -> dict[int, Fate]:
    """Review number -> what became of it, of some flags in force."""
    ways = _ways(session)
    out = left_out(session)
    found: dict[int, Fate] = {}
    for start in range(0, len(flags), _AT_A_TIME):
        found |= _of_some(session, flags[start : start + _AT_A_TIME], ways, out)
    return found


def _of_some(session: Session, flags: Sequence[Review], ways: _Ways, out: Iterable[int]) -> dict[int, Fate]:
    rows = session.exec(
        select(Item.id, Item.purpose, Generation, Prompt.shard)
        .join(Generation, col(Generation.id) == Item.generation_id)
        .join(Prompt, col(Prompt.id) == Item.prompt_id)
        .where(col(Item.id).in_([flag.item_id for flag in flags]))
    ).all()
    about = {item: (purpose, generation, shard) for item, purpose, generation, shard in rows}
    numbers = [generation.id for _, _, generation, _ in rows]
    away = set(session.exec(select(Item.id).where(col(Item.id).in_(withdrawn_items()), col(Item.id).in_(about))).all())
    held: dict[int, list[PreferencePair | UnpairedAnswer]] = {}
    for pair in session.exec(select(PreferencePair).where(col(PreferencePair.rejected_id).in_(numbers))).all():
        held.setdefault(pair.rejected_id, []).append(pair)
    alone = select(UnpairedAnswer).where(col(UnpairedAnswer.generation_id).in_(numbers), col(UnpairedAnswer.harmful))
    for one in session.exec(alone).all():
        held.setdefault(one.generation_id, []).append(one)
    scores: dict[int, list[PolicyScore]] = {}
    for score in session.exec(select(PolicyScore).where(col(PolicyScore.generation_id).in_(numbers))).all():
        scores.setdefault(score.generation_id, []).append(score)
    tests = _tests(session, [generation for purpose, generation, _ in about.values() if purpose == "blind"])
    found: dict[int, Fate] = {}
    for flag in flags:
        purpose, generation, shard = about[flag.item_id]
        if flag.item_id in away:
            found[flag.id] = Fate("taken_away")
        elif flag.id in out:
            found[flag.id] = Fate("left_out")
        elif purpose == "blind":
            found[flag.id] = _tested(tests.get(generation.sampling_run_id or 0), ways)
        elif not flag.categories or flag.categories[0] not in _TRAINS:
            found[flag.id] = Fate("not_taught")
        else:
            mine = [row for row in held.get(generation.id, []) if flag.id in row.review_ids and row.set_id in ways.sets]
            since = [score for score in scores.get(generation.id, []) if _counted(flag, score, ways)]
            # Where the other one of two flagged it too it is in a set, and else it is not: that would be their vote.
            hushed = {score.set_id for score in scores.get(generation.id, []) if 1 < score.votes < FEWEST_VOTES}
            told = [row for row in mine if row.set_id not in hushed]
            found[flag.id] = _in_sets(told, ways, shard) if told else _in_no_set(since, generation, ways)
    return _with_new_answers(session, found, {flag.id: about[flag.item_id][1] for flag in flags}, ways)


def _counted(flag: Review, score: PolicyScore, ways: _Ways) -> bool:
    frozen = ways.sets.get(score.set_id)
    return frozen is not None and frozen.created_at >= flag.created_at


def _in_sets(rows: Sequence[PreferencePair | UnpairedAnswer], ways: _Ways, shard: int) -> Fate:
    """A flag that stands in some sets."""
    in_pairs = {row.set_id for row in rows if isinstance(row, PreferencePair)}
    known = sorted({row.set_id for row in rows})
    first = ways.sets[known[0]].created_at
    if shard in HELD_OUT_SHARDS:
        return Fate("kept_aside", since=first)
    runs = [run for number in known for run in ways.runs.get(number, []) if run.state not in ("failed", "cancelled")]
    told = [_of_run(run, ways) for run in runs if run.set_id in in_pairs or _teaches_alone(run.recipe, shard)]
    return max(told, key=lambda fate: _FURTHEST[fate.state]) if told else Fate("in_set", since=first)


def _teaches_alone(recipe: Mapping[str, Any], shard: int) -> bool:
    """Whether a run with these settings learns from an answer of this shard that has no counterpart; what is not said is as by
    default (`flagback.model.recipe`)."""
    aside = TRAINING_SHARDS[-recipe["stop_shards"] :] if recipe.get("stop_every") and recipe.get("stop_shards") else ()
    return bool(recipe.get("flag_weight", 1) and recipe.get("flags_per_step", 1)) and shard not in aside


def _of_run(run: CorrectionRun, ways: _Ways) -> Fate:
    version = ways.versions.get(run.candidate_id or 0)
    if version is None:
        return Fate("learning", f"correction {run.id}")
    put = [one for one in ways.decisions if one.version_id == version.id and one.kind != "roll_back"]
    if put and version.id in ways.line:
        now = ways.current.name if ways.current is not None and ways.current.id != version.id else ""
        return Fate("in_use", version.name, since=put[-1].created_at, goes_on_in=now)
    if put:
        left = [one for one in ways.decisions if one.previous_id == version.id and one.id > put[-1].id]
        return Fate("was_in_use", version.name, since=put[-1].created_at, until=left[-1].created_at if left else None)
    evaluation = ways.evaluations.get(version.id)
    failed = evaluation is not None and evaluation.verdict == "fail"
    passed_by = version.parent_id is not None and ways.current is not None and version.parent_id != ways.current.id
    return Fate("stopped" if failed or passed_by else "learnt", version.name)


def _in_no_set(since: Sequence[PolicyScore], generation: Generation, ways: _Ways) -> Fate:
    """A flag that nothing in a set rests on; `since` is what policies made of its text in sets frozen after it."""
    if not since:
        moved = generation.version_id is None or ways.current is None or generation.version_id != ways.current.id
        return Fate("moved_on" if moved else "waiting")
    score = max(since, key=lambda one: one.set_id)
    frozen = ways.sets[score.set_id]
    if score.votes < FEWEST_VOTES:
        return Fate("too_few", since=frozen.created_at)
    if score.harm <= 0.5:
        return Fate("differed", since=frozen.created_at)
    return Fate("no_pair", since=frozen.created_at)


def _tested(evaluation: Evaluation | None, ways: _Ways) -> Fate:
    """A flag on a text that was written for a test: until the test has its word it waits like any other."""
    if evaluation is None or evaluation.verdict not in ("pass", "fail"):
        return Fate("waiting")
    version = ways.versions.get(evaluation.candidate_id)
    return Fate("tested", version.name if version else "", since=evaluation.ended_at, verdict=evaluation.verdict)


def _tests(session: Session, blind: Sequence[Generation]) -> dict[int, Evaluation]:
    """Sampling run -> the evaluation that had its texts written."""
    runs = {generation.sampling_run_id for generation in blind if generation.sampling_run_id is not None}
    rows = (
        select(SamplingRun.id, Evaluation)
        .join(Evaluation, col(Evaluation.id) == SamplingRun.evaluation_id)
        .where(col(SamplingRun.id).in_(runs))
    )
    return dict(session.exec(rows).all())


def _with_new_answers(session: Session, found: Mapping[int, Fate], about: Mapping[int, Generation], ways: _Ways) -> dict[int, Fate]:
    """The same, with what the model in use answers now, where it answered the prompt and nobody is still to judge that answer."""
    asked = {about[flag].prompt_id for flag, fate in found.items() if fate.state == "in_use"}
    if not asked or ways.current is None:
        return dict(found)
    waits = (
        select(Slot.id)
        .join(Item, col(Item.id) == Slot.item_id)
        .where(Item.generation_id == Generation.id, Slot.state != "done")
        .exists()
    )
    rows = session.exec(
        select(Generation)
        .where(Generation.version_id == ways.current.id, col(Generation.prompt_id).in_(asked), ~waits)
        .order_by(col(Generation.sampling_run_id).desc(), col(Generation.draw))
    ).all()
    gone = set(session.exec(select(Item.generation_id).where(col(Item.id).in_(withdrawn_items()))).all())
    newest: dict[int, Again] = {}
    for row in rows:
        if row.id not in gone:
            newest.setdefault(row.prompt_id, Again(row.id, row.text))
    return {
        flag: fate._replace(again=newest.get(about[flag].prompt_id)) if fate.state == "in_use" else fate
        for flag, fate in found.items()
    }


def _ways(session: Session) -> _Ways:
    versions = {version.id: version for version in session.exec(select(ModelVersion)).all()}
    current = next((version for version in versions.values() if version.state == "current"), None)
    line: set[int] = set()
    at = current
    while at is not None and at.id not in line:
        line.add(at.id)
        at = versions.get(at.parent_id or 0)
    newest: dict[int, Evaluation] = {}
    for evaluation in session.exec(select(Evaluation).order_by(col(Evaluation.id))).all():
        newest[evaluation.candidate_id] = evaluation
    runs: dict[int, list[CorrectionRun]] = {}
    for run in session.exec(
        select(CorrectionRun).where(col(CorrectionRun.set_id).is_not(None)).order_by(col(CorrectionRun.id))
    ).all():
        runs.setdefault(run.set_id or 0, []).append(run)
    sets = {row.id: row for row in session.exec(select(PreferenceSet).where(col(PreferenceSet.simulated).is_(False))).all()}
    decisions = session.exec(select(Decision).order_by(col(Decision.id))).all()
    return _Ways(versions, current, line, decisions, newest, runs, sets)
