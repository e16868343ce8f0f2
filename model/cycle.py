"""The loop's steps between people: sample, freeze, train, register. With evaluating.py and rehearsal.py the
only computing that touches the store.

Every step is keyed by its run and may be repeated: killed anywhere and started again, nothing is lost and nothing doubled. Knows
nothing of workers or screens; a step is told by `should_stop` when its run was cancelled.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from flagback.model import (
    checkpoint,
    dialogue,
    distilling,
    joint_run,
    lesson,
    pair_sets,
    rate_sweep,
    rounds,
    sampling,
    shortage,
    training,
)
from flagback.model.progress import Doing, Progress
from flagback.model.reference import KeptReference, tokenizer_fingerprint
from flagback.model.resume import clear_checkpoints
from flagback.model.shelf import Shelf
from flagback.storage import runs, versions
from flagback.storage.artifacts import Artifacts
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.records import (
    CorrectionRun,
    Evaluation,
    Generation,
    Item,
    ModelVersion,
    PreferenceSet,
    Prompt,
    Record,
    RunMetric,
    SamplingRun,
    now,
)
from flagback.storage.store import Store

Clock = Callable[[], datetime]
Row = TypeVar("Row", bound=Record)

#: Prompts whose completions are stored in one transaction: what a kill can cost.
PROMPTS_AT_A_TIME = 32


class Cancelled(Exception):
    """The run was stopped by a person."""


# --------------------------------------------------------------------- models


def add_model(store: Store, location: str, *, by: str, cache: Path | None = None) -> ModelVersion:
    """Registers a Hugging Face directory, a hub id or "embedded" as the base of this installation; it becomes current.

    Raises UnusableModel before anything is stored, OneLineOnly where there is a base already.
    """
    found = checkpoint.inspect(location, cache=cache)
    with store.writing() as session:
        return versions.register_base(
            session,
            versions.NewBase(
                name=found.name,
                location=found.location,
                template=found.template,
                files=found.files,
                facts=found.facts,
                fingerprint=found.fingerprint,
            ),
            by=by,
        )


# ------------------------------------------------------------------- sampling


def sample(
    store: Store, shelf: Shelf, run_id: int, *, clock: Clock = now, should_stop: Callable[[], bool] | None = None
) -> SamplingRun:
    """Answers every prompt of a run that has no answer from it yet, makes items, and marks it succeeded."""
    stop = should_stop or cancelled(store, SamplingRun, run_id)
    with store.writing() as session:
        run = _row(session, SamplingRun, run_id)
        if run.state in ("succeeded", "cancelled"):
            return run
        run.state, run.started_at, run.error = "running", run.started_at or clock(), None
        session.add(run)
        version = _row(session, ModelVersion, run.version_id)
        answered = set(session.exec(select(Generation.prompt_id).where(Generation.sampling_run_id == run_id)).all())
        prompts = {prompt.content_hash: prompt for prompt in _in_chunks(session, run.prompt_ids) if prompt.id not in answered}
    decoding = sampling.Decoding(**run.decoding)
    if prompts:
        loaded = shelf.get(version)
        wanted = [
            sampling.SamplePrompt(key, dialogue.prompt_ids(loaded.tokenizer, prompt.messages, loaded.template))
            for key, prompt in prompts.items()
        ]
        waiting: dict[str, list[sampling.Completion]] = {}
        for completion in sampling.sample(loaded, wanted, decoding, should_stop=stop):
            waiting.setdefault(completion.key, []).append(completion)
            whole = [key for key, draws in waiting.items() if len(draws) == decoding.k]
            if len(whole) >= PROMPTS_AT_A_TIME:
                _keep(store, run, loaded, [(prompts[key], waiting.pop(key)) for key in whole])
        # What was finished before a stop is kept too: the run may be asked for again.
        if stop():
            raise Cancelled(f"Sampling run {run_id} was stopped.")
        _keep(store, run, loaded, [(prompts[key], draws) for key, draws in waiting.items()])
    with store.writing() as session:
        run = _row(session, SamplingRun, run_id)
        if run.state == "cancelled":
            raise Cancelled(f"Sampling run {run_id} was stopped.")
        run.state, run.ended_at, run.done = "succeeded", clock(), len(run.prompt_ids)
        session.add(run)
    return run


def _keep(
    store: Store, run: SamplingRun, loaded: checkpoint.Loaded, answers: Sequence[tuple[Prompt, list[sampling.Completion]]]
) -> None:
    """Stores some prompts' completions: equal ones as one generation with a count, each with its item."""
    # Equal texts are merged by add_generations: one generation with a count, the lowest draw and its ids.
    new = [
        NewGeneration(
            prompt_id=prompt.id,
            text=dialogue.answer_text(loaded.tokenizer, done.token_ids),
            finish_reason=done.finish_reason,
            source="sampled",
            origin=f"run:{run.id}",
            token_ids=done.token_ids,
            sampling_run_id=run.id,
            version_id=run.version_id,
            draw=done.draw,
        )
        for prompt, draws in answers
        for done in draws
    ]
    with store.writing() as session:
        ids_made = add_generations(session, new)
        # Blind runs get their items from the evaluation, which shows a text that both versions wrote only once.
        if run.purpose == "loop":
            fresh = _not_yet_shown(session, run.version_id, ids_made)
            make_items(session, fresh, purpose="loop", reviews_per_item=run.reviews_per_item, seed=int(run.decoding["seed"]))
        row = _row(session, SamplingRun, run.id)
        row.done = min(len(row.prompt_ids), row.done + len(answers))
        session.add(row)


def _not_yet_shown(session: Session, version_id: int, generation_ids: Sequence[int]) -> list[int]:
    """Those generations whose text no earlier run of this version put before reviewers: nobody judges the same text twice."""
    written = session.exec(select(Generation).where(col(Generation.id).in_(generation_ids))).all()
    shown = session.exec(
        select(Generation.prompt_id, Generation.text_hash)
        .join(Item, col(Item.generation_id) == Generation.id)
        .where(Generation.version_id == version_id, Item.purpose == "loop")
        .where(col(Generation.prompt_id).in_({row.prompt_id for row in written}))
    ).all()
    before = {(prompt_id, text_hash) for prompt_id, text_hash in shown}
    return [row.id for row in written if (row.prompt_id, row.text_hash) not in before]


# ------------------------------------------------------------------ correction


def freeze(
    store: Store, run_id: int, *, key: bytes | None = None, artifacts: Artifacts | None = None, clock: Clock = now
) -> PreferenceSet:
    """Builds the pairs of a run from the reviews as they stand and freezes them; a run with a set keeps it.

    On-policy: only answers of the run's parent version count (Tajwar 2024, "Preference fine-tuning should leverage suboptimal,
    on-policy data"); what older versions wrote taught their own corrections. `key` ties reviewers to backgrounds they let be used;
    with `artifacts` no pair may overlap a published test in use. Raises NoPairs, NoGroups, Contaminated.
    """
    with staged(store, run_id, "freeze", clock), store.writing() as session:
        run = _row(session, CorrectionRun, run_id)
        if run.set_id is None:
            choice = pair_sets.Choice(**run.pairs)
            found = pair_sets.freeze(session, run.parent_id, simulated=run.simulated, choice=choice, key=key, artifacts=artifacts)
            run.set_id = found.id
            session.add(run)
        elif artifacts is not None:
            pair_sets.check_frozen(session, run.set_id, artifacts)
        return _row(session, PreferenceSet, run.set_id)


def train(
    store: Store, shelf: Shelf, run_id: int, *, work: Path, clock: Clock = now, should_stop: Callable[[], bool] | None = None
) -> str:
    """Fine-tunes the parent on the set's training pairs; returns the adapter's sha256. Resumes from checkpoints under `work`."""
    stop = should_stop or cancelled(store, CorrectionRun, run_id)
    with staged(store, run_id, "train", clock):
        with store.reading() as session:
            run = _row(session, CorrectionRun, run_id)
            parent = _row(session, ModelVersion, run.parent_id)
        folder = work / f"correction-{run_id}"
        if run.adapter_sha256 is not None:
            clear_checkpoints(folder)  # a kill may have come before it
            return run.adapter_sha256
        recipe = training.Recipe(**run.recipe)
        rounds.check_stack(parent, recipe, shelf.artifacts)
        if run.teacher:
            return _distilled(store, shelf, run, parent, folder, stop)
        with store.reading() as session:
            assert run.set_id is not None, "freeze comes before train"  # nosec B101 # the order of steps is ours
            line = rounds.line_of(session, parent)
            with shortage.room_on_disk(folder):
                given = lesson.records_of(session, rounds.sets_to_learn(line, run.set_id, recipe), recipe, folder=folder)
        start = rounds.start_of(line, parent, recipe)
        loaded = shelf.fresh(start)
        with shortage.room_on_disk(folder):
            learnt = lesson.lesson_of(given, recipe, loaded)
        del given  # the texts of all pairs
        named = (str(shelf.artifacts.root), start.fingerprint, tokenizer_fingerprint(loaded.tokenizer))
        kept = KeptReference(Path(named[0]), weights=named[1], tokenizer=named[2])
        on_progress = progress_keeper(store, CorrectionRun, run_id)
        recipe = learnt.weighed(_settled(store, run_id, recipe, loaded, learnt, kept, stop, folder, on_progress))
        on_step, on_alarm = _step_keeper(store, run_id), _alarm_keeper(store, run_id)
        if recipe.processes > 1:
            adapters = [str(shelf.artifacts.path(address)) for address in start.adapters]
            asked = joint_run.Asked(
                start.location, adapters, start.template, asdict(recipe), run.seed, torch.get_num_threads(), named
            )
            joint_run.write(folder, asked, learnt.pairs, flags=learnt.flags, swaps=learnt.swaps, replay=learnt.replay)
            trained = joint_run.correct(
                folder, recipe.processes, on_step=on_step, on_alarm=on_alarm, on_progress=on_progress, should_stop=stop
            )
        else:
            trained = training.correct(
                loaded,
                learnt.pairs,
                aside=learnt.aside,
                flags=learnt.flags,
                swaps=learnt.swaps,
                replay=learnt.replay,
                recipe=recipe,
                seed=run.seed,
                folder=folder,
                kept=kept,
                on_step=on_step,
                on_alarm=on_alarm,
                on_progress=on_progress,
                should_stop=stop,
            )
        with shortage.room_on_disk(shelf.artifacts.root):
            sha256 = shelf.artifacts.put(trained.adapter)
        with store.writing() as session:
            run = _row(session, CorrectionRun, run_id)
            swept = {name: run.environment[name] for name in ("rate_sweep",) if name in run.environment}
            weighed = {"unpaired_weight": recipe.flag_weight} if learnt.flags else {}
            run.adapter_sha256, run.environment = sha256, trained.environment | weighed | swept
            session.add(run)
        clear_checkpoints(folder)
    return sha256


def _distilled(
    store: Store, shelf: Shelf, run: CorrectionRun, parent: ModelVersion, folder: Path, should_stop: Callable[[], bool]
) -> str:
    """Has the parent learn what the run's teacher writes; returns the adapter's sha256."""

    def keep(figures: dict[str, float]) -> None:
        with store.writing() as session:
            shown = {name: value for name, value in figures.items() if name != "step"}
            session.merge(RunMetric(run_id=run.id, step=int(figures["step"]), metrics=shown))

    with shortage.room_on_disk(folder, distilling.AGAIN):
        made, told = distilling.train(store, shelf, run, parent, folder=folder, keep=keep, should_stop=should_stop)
    with shortage.room_on_disk(shelf.artifacts.root, distilling.AGAIN):
        sha256 = shelf.artifacts.put(made.adapter)
    with store.writing() as session:
        kept = _row(session, CorrectionRun, run.id)
        kept.adapter_sha256, kept.recipe = sha256, told["recipe"]
        kept.environment = made.environment | {"distillation": told["distillation"]}
        session.add(kept)
    clear_checkpoints(folder)
    return sha256


def _settled(
    store: Store,
    run_id: int,
    recipe: training.Recipe,
    loaded: checkpoint.Loaded,
    learnt: lesson.Lesson,
    kept: KeptReference,
    should_stop: Callable[[], bool],
    folder: Path,
    on_progress: Progress,
) -> training.Recipe:
    """The recipe as it is trained by, kept with the run. A learning rate that was to be found is looked for once a run."""
    with store.reading() as session:
        run = _row(session, CorrectionRun, run_id)
    swept = run.environment.get("rate_sweep")
    if recipe.find_rate and swept is None:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{rate_sweep.FOLDER}*"):  # by a kill
            shutil.rmtree(left)
        swept = rate_sweep.sweep(
            loaded,
            learnt.pairs,
            flags=learnt.flags,
            swaps=learnt.swaps,
            replay=learnt.replay,
            recipe=learnt.weighed(recipe),
            seed=run.seed,
            kept=kept,
            on_progress=on_progress,
            should_stop=should_stop,
            folder=folder,
        ).told()
    if swept is not None:
        recipe = replace(recipe, learning_rate=swept["suggestion"])
    with store.writing() as session:
        run = _row(session, CorrectionRun, run_id)
        run.recipe = asdict(recipe)
        if swept is not None:
            run.environment = run.environment | {"rate_sweep": swept}
        session.add(run)
    return recipe


def register(store: Store, shelf: Shelf, run_id: int, *, clock: Clock = now) -> ModelVersion:
    """Makes the run's adapter a candidate version, with its distance to the first base. Does so once."""
    with staged(store, run_id, "register", clock):
        with store.reading() as session:
            run = _row(session, CorrectionRun, run_id)
            if run.candidate_id is not None:
                return _row(session, ModelVersion, run.candidate_id)
            parent = _row(session, ModelVersion, run.parent_id)
            line = rounds.line_of(session, parent)
            texts = rounds.neutral_texts(session)
        assert run.adapter_sha256 is not None, "train comes before register"  # nosec B101 # the order of steps is ours
        recipe = training.Recipe(**run.recipe)
        if run.teacher and recipe.rounds == "rebase":
            # A distillation is trained on its parent, whatever a recipe says of pairs of all rounds.
            recipe = replace(recipe, rounds="merge")
        with tempfile.TemporaryDirectory(prefix="flagback-adapters-") as aside:
            adapters = rounds.adapters_of(parent, run.adapter_sha256, recipe, shelf.artifacts, aside=Path(aside))
        made = checkpoint.load(parent.location, [shelf.artifacts.path(sha) for sha in adapters], template=parent.template)
        drift = rounds.drift_of(made, shelf.get(line.first), texts)
        with store.writing() as session:
            run = _row(session, CorrectionRun, run_id)
            run.environment = run.environment | {"drift": drift.told()}
            session.add(run)
        rounds.check_drift(drift, recipe, line.first)
        with store.writing() as session:
            run = _row(session, CorrectionRun, run_id)
            candidate = versions.register_candidate(
                session,
                run=run,
                adapter_sha256=run.adapter_sha256 or "",
                adapters=adapters,
                distance_to_base=drift.distance,
                facts=parent.facts | {"round": _told_of_round(line, run, recipe, drift)},
            )
            run.candidate_id = candidate.id
            session.add(run)
    return candidate


def _told_of_round(line: rounds.Line, run: CorrectionRun, recipe: training.Recipe, drift: rounds.Drift) -> dict[str, Any]:
    """What a version's facts say of its place in its line: every round's own adapter, whatever was merged, stacked or replaced."""
    before = [one.facts.get("round", {}).get("adapter", one.adapters[-1]) for one in line.corrections]
    return {
        "number": len(line.corrections) + 1,
        "way": recipe.rounds,
        "adapter": run.adapter_sha256,
        "adapters_before": before,
        "trained_on": rounds.start_of(line, line.corrections[-1] if line.corrections else line.first, recipe).id,
        "sets": rounds.sets_to_learn(line, run.set_id, recipe) if run.set_id is not None else [],
        "drift": drift.told(),
    }


def finish(store: Store, run_id: int, *, by: str, clock: Clock = now) -> int:
    """Marks a correction succeeded and asks for the evaluation of its candidate; returns the evaluation's id."""
    with store.writing() as session:
        run = _row(session, CorrectionRun, run_id)
        assert run.candidate_id is not None, "register comes before finish"  # nosec B101 # the order of steps is ours
        if run.state == "cancelled":
            raise Cancelled(f"Correction {run_id} was stopped.")
        run.state, run.ended_at = "succeeded", run.ended_at or clock()
        runs.enter(run, "done")
        session.add(run)
        # The same pairs, recipe and seed give the same candidate, which may have its evaluation already.
        known = session.exec(select(Evaluation).where(Evaluation.candidate_id == run.candidate_id)).first()
        if known is not None:
            return known.id
        return runs.request_evaluation(
            session, candidate_id=run.candidate_id, by=by, now=clock(), seed=run.seed, set_id=run.set_id, simulated=run.simulated
        ).id


# ---------------------------------------------------------------------- common


def cancelled(store: Store, kind: type[SamplingRun] | type[CorrectionRun] | type[Evaluation], row_id: int) -> Callable[[], bool]:
    """A question to ask between steps: was this run stopped? Looks at most twice a second."""
    last = [0.0, False]

    def asked() -> bool:
        if time.monotonic() - last[0] > 0.5:
            with store.reading() as session:
                state = session.exec(select(kind.state).where(kind.id == row_id)).first()
            last[:] = [time.monotonic(), state == "cancelled"]
        return bool(last[1])

    return asked


def progress_keeper(store: Store, kind: type[CorrectionRun] | type[Evaluation], row_id: int) -> Progress:
    """Keeps how far a run is where screens and commands find it: each part's first word, and then at most one a second."""
    last: tuple[str, float] = ("", -math.inf)

    def keep(doing: Doing, done: int, total: int) -> None:
        nonlocal last
        if doing == last[0] and time.monotonic() - last[1] < 1.0:
            return
        last = (doing, time.monotonic())
        far = update(kind).where(col(kind.id) == row_id, col(kind.state) == "running")
        with suppress(OperationalError), store.writing() as session:  # to be looked at only: no run ends for it
            session.exec(far.values(stage=doing, stage_done=done, stage_total=total))

    return keep


@contextmanager
def staged(store: Store, run_id: int, stage: str, clock: Clock) -> Iterator[None]:
    """Shows the stage under way and keeps its seconds."""
    with store.writing() as session:
        run = _row(session, CorrectionRun, run_id)
        if run.state == "cancelled":
            raise Cancelled(f"Correction {run_id} was stopped.")
        run.state, run.started_at = "running", run.started_at or clock()
        runs.enter(run, stage)
        session.add(run)
    began = time.perf_counter()
    yield
    with store.writing() as session:
        run = _row(session, CorrectionRun, run_id)
        run.seconds = {**run.seconds, stage: round(run.seconds.get(stage, 0.0) + time.perf_counter() - began, 3)}
        session.add(run)


def _step_keeper(store: Store, run_id: int) -> Callable[[training.StepMetrics], None]:
    def keep(metrics: training.StepMetrics) -> None:
        with store.writing() as session:
            session.merge(RunMetric(run_id=run_id, step=metrics.step, metrics=metrics.shown()))

    return keep


def _alarm_keeper(store: Store, run_id: int) -> Callable[[training.Alarm], None]:
    """Keeps an alarm with the run at once; when the run ends its environment holds all of them."""

    def keep(alarm: training.Alarm) -> None:
        with store.writing() as session:
            run = _row(session, CorrectionRun, run_id)
            others = [kept for kept in run.environment.get("alarms", []) if kept["kind"] != alarm.kind]
            run.environment = {**run.environment, "alarms": [*others, alarm._asdict()]}
            session.add(run)

    return keep


def _in_chunks(session: Session, ids: Sequence[int], size: int = 500) -> Iterator[Prompt]:
    for start in range(0, len(ids), size):
        found = {p.id: p for p in session.exec(select(Prompt).where(col(Prompt.id).in_(ids[start : start + size]))).all()}
        yield from (found[prompt_id] for prompt_id in ids[start : start + size])


def _row(session: Session, kind: type[Row], row_id: int) -> Row:
    row = session.get(kind, row_id)
    assert row is not None, f"{kind.__name__} {row_id} is gone"  # nosec B101 # a foreign key holds it
    return row
