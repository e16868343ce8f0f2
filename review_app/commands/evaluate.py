"""`flagback evaluate`: asks the gate about a candidate, or puts a published test or another harness's tasks to any version."""

from pathlib import Path
from typing import Annotated

import typer

from flagback.review_app.commands import outcome
from flagback.review_app.commands.outcome import NoWait, Seed
from flagback.review_app.commands.shared import As, Json, actor, records, show


class NoCandidate(Exception):
    """There is no candidate to evaluate."""


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    app.command()(evaluate)


def evaluate(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VERSION_OR_DIRECTORY",
            help="Which candidate. With --suite: a version's number, a model directory or a hub id; two are compared.",
            show_default="the newest candidate; with --suite the current version",
        ),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(metavar="NAME", help="Put a suite to it instead; see 'flagback suites list'.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="The suite's data: a file, a folder, or a hub id (organisation/name[:FILE]).")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="ROLE=COLUMN", help="For --suite custom: more, less, context, group, cluster."),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For --suite bbq: score these answers of a model instead of asking one.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which column of --predictions, where it holds several models.")
    ] = None,
    per_group: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="For --suite bold: prompts of each group.", show_default="20"),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the suite's scores here.", show_default="a version's: the installation"),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(metavar="TASKS", help="Have lm-evaluation-harness put tasks to it, such as hellaswag,arc_easy."),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            "--harness",
            metavar="COMMAND",
            help="For --tasks: how to start the harness; {model}, {tasks} and {output} are filled in.",
            show_default="lm_eval --model hf --model_args pretrained={model} --tasks {tasks} --output_path {output} --log_samples",
        ),
    ] = None,
    time_limit: Annotated[
        int | None, typer.Option(min=1, metavar="SECONDS", help="For --tasks: stop the harness then.", show_default="3600")
    ] = None,
    seed: Seed = 0,
    no_wait: NoWait = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Compare a candidate with its parent, and ask the gate.

    With --suite: put a published test of bias to one model, or compare two on it. With --tasks: have lm-evaluation-harness look at
    a version, and keep what it finds. Neither asks the gate or stores a verdict.
    """
    from flagback.review_app.commands import harness, suites

    if tasks is not None or command is not None:
        if suite is not None:
            raise typer.BadParameter("--suite and --tasks are two evaluations; ask for one at a time.")
        harness.evaluate(context, models or [], command=command, tasks=tasks, time_limit=time_limit, as_=as_, as_json=as_json)
        return
    if time_limit is not None:
        raise typer.BadParameter("--time-limit goes with --tasks.")
    if suite is not None:
        suites.evaluate(
            context,
            models or [],
            suite=suite,
            data=data,
            columns=columns or [],
            cache=cache,
            seed=seed,
            as_json=as_json,
            predictions=predictions,
            column=column,
            per_group=per_group,
        )
        return
    version = suites.only_candidate(
        models or [], data=data, columns=columns or [], cache=cache, predictions=predictions, per_group=per_group
    )
    _gate(context, version, seed=seed, no_wait=no_wait, as_=as_, as_json=as_json)


def _gate(context: typer.Context, version: int | None, *, seed: int, no_wait: bool, as_: str | None, as_json: bool) -> None:
    """The gate's evaluation of one candidate."""
    from sqlmodel import col, select

    from flagback.review_app.jobs import Request
    from flagback.storage import runs
    from flagback.storage.records import CorrectionRun, Evaluation, ModelVersion, now

    with records(context) as store:
        with store.writing() as session:
            if version is None:
                version = session.exec(
                    select(ModelVersion.id).where(ModelVersion.state == "candidate").order_by(col(ModelVersion.id).desc())
                ).first()
            if version is None:
                raise NoCandidate("There is no candidate to evaluate; make one with 'flagback correct'.")
            made_by = session.exec(select(CorrectionRun).where(CorrectionRun.candidate_id == version)).first()
            evaluation = runs.request_evaluation(
                session,
                candidate_id=version,
                by=actor(store, as_),
                now=now(),
                seed=seed,
                set_id=made_by.set_id if made_by else None,
            )
        request = Request("evaluation", evaluation.id)
        if no_wait:
            outcome.asked(request, {"run": request.name, "candidate": version}, as_json=as_json)
            return
        outcome.done(context, store, request)
        with store.reading() as session:
            evaluation = session.get_one(Evaluation, evaluation.id)
        show({"run": request.name} | outcome.figures(evaluation), as_json=as_json, lines=outcome.verdict(evaluation))
