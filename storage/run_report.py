"""The report of one correction in Markdown: who asked, on whose word, how it learnt, what became of its pairs, what was decided.

Knows records and Markdown; knows no weights. Names from outside are shown as code where they could be Markdown. No person is named
who only reviewed.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from flagback.storage import model_card, preferences
from flagback.storage.card import inert
from flagback.storage.moves import LOST, moved_lines
from flagback.storage.prompts import AT_A_TIME
from flagback.storage.recipes import in_use
from flagback.storage.records import CorrectionRun, Decision, ModelVersion, PreferencePair, Review, RunMetric, UnpairedAnswer


def run_report(session: Session, run: CorrectionRun, moved: Mapping[str, Any] | None) -> str:
    """The report as it stands; `moved` is the summary of the run's explanation (`flagback.model.explanation`), if it has one."""
    candidate = session.get(ModelVersion, run.candidate_id) if run.candidate_id is not None else None
    lines = [f"# Correction {run.id}", "", *_asked(run), ""]
    lines += ["## What it learnt from", "", *_learnt_from(session, run, candidate), ""]
    lines += ["## How it learnt", "", *_learning(session, run), ""]
    if run.explanation_sha256 is not None:
        lines += ["## What became of its pairs", "", *(LOST if moved is None else moved_lines(moved)), ""]
    if candidate is not None:
        told = model_card.told_of(session, candidate)
        lines += ["## What the gate found", "", *model_card.found_lines(told), ""]
        lines += ["## What was decided", "", *_decided(session, candidate), ""]
    lines += ["## To do it again", "", *_again(run, candidate)]
    return "\n".join(lines) + "\n"


def _asked(run: CorrectionRun) -> list[str]:
    ended = f", ended {run.ended_at:%Y-%m-%d %H:%M} UTC" if run.ended_at else ""
    lines = [f"Asked for by {inert(run.asked_by)} on {run.created_at:%Y-%m-%d %H:%M} UTC{ended}: **{run.state}**."]
    if run.simulated:
        lines += ["", "**The reviewers were simulated; no person judged anything.**"]
    if run.error:
        lines += ["", f"It said: {inert(run.error)}"]
    for alarm in run.environment.get("alarms", []):
        lines += ["", f"Step {alarm['step']}: {inert(str(alarm['advice']))}"]
    return lines


def _learnt_from(session: Session, run: CorrectionRun, candidate: ModelVersion | None) -> list[str]:
    lines = [f"- parent: version {run.parent_id}"]
    if run.teacher:
        teacher = run.teacher
        return [*lines, f"- teacher: {inert(str(teacher.get('name')))}, fingerprint `{teacher.get('fingerprint')}`"]
    sets = model_card.sets_of(session, run, candidate)
    if not sets:
        return [*lines, "- no set was frozen"]
    kinds: Counter[str] = Counter()
    words: set[int] = set()
    numbers = [one.id for one in sets]
    rows = select(PreferencePair.kind, PreferencePair.review_ids).where(col(PreferencePair.set_id).in_(numbers))
    for kind, review_ids in session.exec(rows.execution_options(yield_per=AT_A_TIME)):
        kinds[kind] += 1
        words.update(review_ids)
    alone = select(UnpairedAnswer.harmful, UnpairedAnswer.review_ids).where(col(UnpairedAnswer.set_id).in_(numbers))
    verdicts: Counter[bool] = Counter()
    for harmful, review_ids in session.exec(alone.execution_options(yield_per=AT_A_TIME)):
        verdicts[harmful] += 1
        words.update(review_ids)
    for found in sets:
        how = f"policy {inert(found.policy)} {inert(found.policy_version)}, guideline {inert(found.guideline_version)}"
        lines.append(f"- set {found.id}: {preferences.held_in(found)}, {how}, fingerprint `{found.fingerprint}`")
    if kinds:
        lines.append("- kinds of pairs: " + ", ".join(f"{inert(kind)} {count:,}" for kind, count in sorted(kinds.items())))
    if verdicts:
        lines.append(f"- answers without a counterpart: {verdicts[True]:,} harmful, {verdicts[False]:,} fine")
    if words:
        people = _people(session, sorted(words))
        whose = "one person" if people == 1 else f"{people:,} people"
        lines.append(f"- on the word of {whose}, in {len(words):,} reviews")
    if kinds and "pairs" in run.environment:
        aside = run.environment.get("early_stop", {}).get("pairs", 0)
        held_out = sum(kept for _, kept in preferences.sizes(session, [one.id for one in sets]).values())
        said = [f"{run.environment['pairs']:,} learnt", f"{held_out:,} held out to test on"]
        said += [f"{aside:,} kept aside to tell when to stop"] if aside else []
        dropped = run.environment.get("dropped", 0)
        said += [f"{dropped:,} rows of all kinds could not be used"] if dropped else []
        lines.append(f"- of these pairs: {', '.join(said)}")
    if verdicts and "unpaired" in run.environment:
        learnt, harmful = (run.environment.get(name, 0) for name in ("unpaired", "unpaired_harmful"))
        weight = run.environment.get("unpaired_weight", 0.0)
        lines.append(
            f"- of the answers without a counterpart: {learnt:,} learnt, {harmful:,} of them as harmful; beside the pairs' their "
            f"loss counted {weight:.3g} times"
        )
    return lines


def _people(session: Session, review_ids: list[int]) -> int:
    """How many people gave these reviews."""
    found: set[str] = set()
    for start in range(0, len(review_ids), AT_A_TIME):
        some = review_ids[start : start + AT_A_TIME]
        found.update(session.exec(select(Review.reviewer).where(col(Review.id).in_(some)).distinct()).all())
    return len(found)


def _learning(session: Session, run: CorrectionRun) -> list[str]:
    steps = select(func.min(RunMetric.step), func.max(RunMetric.step)).where(RunMetric.run_id == run.id)
    earliest, last = session.exec(steps).one()
    lines = []
    if last is not None:
        first, end = (session.get_one(RunMetric, (run.id, step)).metrics for step in (earliest, last))
        lines.append(f"- {last:,} of {int(end.get('steps', last)):,} steps")
        known = [name for name in ("loss", "margin") if name in first and name in end]
        if run.environment.get("pairs") == 0:
            known.remove("margin")
        lines += [f"- {name}: {first[name]:.3f} to {end[name]:.3f}" for name in known]
    swept, stopped = run.environment.get("rate_sweep"), run.environment.get("early_stop")
    if swept is not None:
        lines.append(f"- learning rate {swept['suggestion']:.2g} was found; {len(swept['tried'])} rates were tried")
    if stopped is not None:
        lines.append(f"- step {stopped['best_step']} was best on {stopped['pairs']} pairs kept aside, and is what is kept")
    lines += [f"- {stage}: {seconds:,.1f} s" for stage, seconds in run.seconds.items()]
    return lines or ["It did not come to a step."]


def _decided(session: Session, candidate: ModelVersion) -> list[str]:
    found = session.exec(
        select(Decision)
        .where((Decision.version_id == candidate.id) | (Decision.previous_id == candidate.id))
        .order_by(col(Decision.id))
    ).all()
    return [_decision(row) for row in found] or [f"Nothing yet: version {candidate.id} is {candidate.state}."]


def _decision(row: Decision) -> str:
    instead = f" instead of {row.previous_id}" if row.previous_id is not None else ""
    reason = f": {inert(row.reason)}" if row.reason else ""
    return (
        f"- {row.created_at:%Y-%m-%d %H:%M} UTC, {row.kind.replace('_', ' ')} by {inert(row.decided_by)}, version "
        f"{row.version_id}{instead}{reason}"
    )


def _again(run: CorrectionRun, candidate: ModelVersion | None) -> list[str]:
    def told(settings: Iterable[tuple[str, Any]]) -> str:
        return ", ".join(f"{name} {json.dumps(value)}" for name, value in settings)

    built = {name: value for name, value in run.environment.items() if isinstance(value, (str, int, float))}
    lines = [f"- recipe: {told(in_use(run.recipe).items())}", f"- seed: {run.seed}"]
    if built:
        lines.append(f"- built with: {told(sorted(built.items()))}")
    if run.adapter_sha256:
        lines.append(f"- adapter: `{run.adapter_sha256}`")
    if run.explanation_sha256:
        lines.append(f"- explanation: `{run.explanation_sha256}`")
    if candidate is not None:
        lines.append(f"- version {candidate.id}: `{candidate.fingerprint}`")
    return lines
