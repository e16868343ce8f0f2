"""One version corrected by several recipes, each judged blind: rows for the trade-off curve and for the curves of a run.

Made of rows alone, nothing is trained; the numbers are of the size that the embedded model gives.
"""

import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select

from flagback.model.explanation import FILE, Explanation, FlaggedMove, PairMove, Side, json_lines
from flagback.model.kept_recipe import FORM
from flagback.model.recipe import Recipe
from flagback.storage import preferences, recipes
from flagback.storage.artifacts import Artifacts
from flagback.storage.prompts import TRAINING_SHARDS
from flagback.storage.records import CorrectionRun, Evaluation, Generation, ModelVersion, PreferenceSet, RunMetric, now
from tests.test_evidence_pages import FIGURE
from tests.test_monitoring import evaluation, version

PROMPTS = 40


class Tried(NamedTuple):
    """A kept recipe and what it came to."""

    name: str
    settings: dict[str, Any]
    #: Share of `PROMPTS` flagged, of all and of prompts about old people; perplexity against the parent.
    harm: float
    worst: float
    utility: float


TRIED = (
    Tried("gentle", {"steps": 20, "learning_rate": 1e-4}, 0.45, 0.6, 1.01),
    Tried("usual", {}, 0.25, 0.4, 1.04),
    Tried("strong", {"steps": 120, "rank": 32}, 0.15, 0.35, 1.19),
    Tried("found", {"steps": 100, "find_rate": True, "stop_every": 5}, 0.2, 0.25, 1.03),
    Tried("harsh", {"steps": 200, "beta": 0.02}, 0.275, 0.5, 1.31),
)


def swept(count: int = 24) -> dict[str, Any]:
    """A sweep as a run keeps it: flat, then falling, then off."""
    tried: list[dict[str, float]] = []
    smoothed = 0.0
    for place in range(count):
        rate = 1e-5 * (0.05 / 1e-5) ** (place / (count - 1))
        loss = 0.693 - 0.35 / (1 + math.exp(-2.2 * (math.log10(rate) + 3.1))) + 0.012 * math.sin(5 * place)
        loss += 0.9 if place == count - 1 else 0.0
        smoothed = loss if not tried else 0.6 * smoothed + 0.4 * loss
        tried.append({"rate": rate, "loss": loss, "smoothed": smoothed})
    return {"tried": tried, "suggestion": tried[13]["rate"], "diverged": tried[-1]["rate"]}


def looked(best: int = 35, patience: int = 3, every: int = 5) -> dict[str, Any]:
    """Looks of an early stop as a run keeps them: three behind the best one, and over."""
    readings = [
        {"step": step, "loss": 0.52 + abs(step - best) ** 1.5 / 700, "accuracy": 0.78 - abs(step - best) / 120}
        for step in range(every, best + (patience + 1) * every, every)
    ]
    return {"pairs": 18, "best_step": best, "readings": readings}


def tried_on(session: Session, parent: int) -> int:
    """Every recipe of `TRIED` on one version, evaluated; returns the run that looked for its rate and stopped early."""
    found = 0
    for tried in TRIED:
        kept = recipes.keep(session, tried.name, asdict(Recipe(**tried.settings)), form=FORM, by="max", now=now())
        number = version(session, (session.exec(select(func.max(ModelVersion.id))).one() or 0) + 1, parent=parent)
        environment: dict[str, Any] = {}
        followed = asdict(Recipe(**tried.settings))
        if tried.settings.get("find_rate"):
            environment = {"rate_sweep": swept(), "early_stop": looked()}
            followed["learning_rate"] = environment["rate_sweep"]["suggestion"]
        run = CorrectionRun(
            id=number,  # as `version` has it
            parent_id=parent,
            candidate_id=number,
            recipe=followed,
            recipe_id=kept.id,
            seed=0,
            state="succeeded",
            stage="done",
            environment=environment,
            seconds={"train": 31.0},
            asked_by="max",
            ended_at=now(),
        )
        session.add(run)
        session.flush()
        if environment:
            found = run.id
            steps = int(environment["early_stop"]["readings"][-1]["step"])
            for step in range(1, steps + 1):
                metrics = {"loss": 0.693 * math.exp(-step / 40), "margin": 1.2 * (1 - math.exp(-step / 25)), "steps": 100.0}
                session.add(RunMetric(run_id=run.id, step=step, metrics=metrics))
        _judged(session, parent, number, tried)
    return found


def explained(session: Session, version_id: int, artifacts: Artifacts) -> None:
    """Gives the newest run a set and what became of its pairs: most moved towards their reviewers, some not at all or against."""
    run = session.exec(select(CorrectionRun).order_by(col(CorrectionRun.id).desc())).first()
    assert run is not None
    frozen = session.exec(select(PreferenceSet).order_by(col(PreferenceSet.id).desc())).first()
    if frozen is None:
        frozen = _frozen(session, version_id)
    named = (("gender: woman",), ("gender: man",), (), ("age: old", "gender: woman"), ("faith: Quorish",))
    moved: list[PairMove] = []
    flagged: list[FlaggedMove] = []
    for pair in preferences.each_pair(session, frozen.id):
        change = (2.4, 3.1, 0.04, 1.2, -1.7)[pair.position * 7 % 5]
        side: Side = "learnt" if pair.shard in TRAINING_SHARDS else "held_out"
        groups = named[pair.position % len(named)]
        ids = (pair.chosen_id, pair.rejected_id)
        moved.append(
            PairMove(
                pair.position, pair.row_hash, pair.kind, side, groups, pair.weight, pair.soft_label, *ids, -30.0, -29.9, -31.2,
                -31.1 - change,
            )
        )  # fmt: skip
        flagged.append(FlaggedMove(pair.rejected_id, side, groups, 0.8, -31.2, -31.1 - change))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE).write_text("".join(json_lines(Explanation(run.id, run.parent_id, version_id, moved, flagged, 0))))
        run.explanation_sha256 = artifacts.put(Path(folder))
    run.set_id = frozen.id
    session.add(run)


def _frozen(session: Session, version_id: int) -> PreferenceSet:
    """A set of the first two answers to every prompt."""
    answers: dict[int, list[int]] = {}
    for row in session.exec(select(Generation).where(Generation.version_id == version_id).order_by(col(Generation.id))):
        answers.setdefault(row.prompt_id, []).append(row.id)
    pairs = [
        preferences.NewPair("contrast", prompt, two[1], two[0], 1.0, 0.75, []) for prompt, two in answers.items() if len(two) > 1
    ]
    told = {"version": version_id}
    return preferences.freeze(
        session, pairs, origin="reviews", policy="majority", policy_version="1", arguments=told, salt=preferences.SALT
    )


def _judged(session: Session, parent: int, number: int, tried: Tried) -> None:
    """An evaluation of blind flags, a group and neutral texts."""
    told: dict[str, float | str] = {
        "base": 0.6,
        "candidate": tried.harm,
        "change": tried.harm - 0.6,
        "n": PROMPTS,
        "clusters": PROMPTS,
    }
    told |= {"low": tried.harm - 0.75, "high": tried.harm - 0.45}
    flags = FIGURE | told
    old = flags | {"metric": "flag_rate:age=old", "candidate": tried.worst, "change": tried.worst - 0.6}
    neutral = FIGURE | {
        "metric": "perplexity:neutral",
        "words": "Perplexity of neutral texts",
        "unit": "perplexity",
        "scale": "ratio",
        "base": 30.0,
        "candidate": 30.0 * tried.utility,
        "change": tried.utility,
        "low": tried.utility * 0.98,
        "high": tried.utility * 1.025,
        "detectable": 1.02,
    }
    figures = {"flag_rate": flags, "flag_rate:age=old": old, "perplexity:neutral": neutral}
    rows = [
        (metric, f"p{place}", float(place < 0.6 * PROMPTS), float(place < share * PROMPTS))
        for metric, share in (("flag_rate", tried.harm), ("flag_rate:age=old", tried.worst))
        for place in range(PROMPTS)
    ]
    evaluation(session, parent, number, figures, rows)
    made = session.exec(select(Evaluation).where(Evaluation.candidate_id == number)).one()
    made.verdict = "pass" if tried.utility < 1.1 else "fail"
