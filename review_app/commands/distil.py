"""`flagback distil TEACHER`: the current version learns what a larger, corrected model writes, and goes through the same gate."""

from typing import Annotated, Any

import typer

from flagback.review_app.commands import outcome
from flagback.review_app.commands.recipes import named
from flagback.review_app.commands.shared import As, Json, actor, records, show


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    app.command()(distil)


def distil(
    context: typer.Context,
    teacher: Annotated[str, typer.Argument(help="A Hugging Face directory ('flagback export model'), a hub id, or 'embedded'.")],
    prompts: Annotated[int, typer.Option(min=1, help="Prompts of training shards that the teacher answers.")] = 200,
    answers: Annotated[int, typer.Option(min=1, max=64, help="Answers to each.")] = 4,
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Longest answer.")] = 48,
    sequence_weight: Annotated[float, typer.Option(min=0.0, help="Weight of the likelihood of the teacher's answers.")] = 1.0,
    distribution_weight: Annotated[
        float, typer.Option(min=0.0, help="Weight of the distance to its next-word distributions, where tokenizers agree.")
    ] = 1.0,
    kept: Annotated[
        str,
        typer.Option("--recipe", metavar="NAME", help="Steps, learning rate, adapter, replay and gradient checkpointing alone."),
    ] = "default",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.", show_default="24")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Step size.", show_default="0.0032")] = None,
    seed: outcome.Seed = 0,
    no_wait: outcome.NoWait = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Learn what a larger, corrected model writes: a new candidate version.

    The teacher answers prompts of training shards. Its answers are learnt, and where both models have the same tokenizer its
    next-word distributions too. The candidate is then evaluated like any correction.
    """
    from dataclasses import asdict

    from flagback.model.distillation import Share, check_recipe
    from flagback.model.distilling import teacher_of
    from flagback.model.kept_recipe import read_recipe
    from flagback.review_app.jobs import Request
    from flagback.storage import recipes, runs
    from flagback.storage.records import CorrectionRun, now

    if sequence_weight == distribution_weight == 0:
        raise typer.BadParameter("--sequence-weight and --distribution-weight are both 0, so nothing would be learnt.")
    share = Share(sequence_weight, distribution_weight)
    said = {name: value for name, value in {"steps": steps, "learning_rate": learning_rate}.items() if value is not None}
    if learning_rate is not None:
        said["find_rate"] = False  # a recipe may look for one; this run is given it
    with records(context) as store:
        by = actor(store, as_)
        with store.reading() as session:
            start, title = named(session, kept)
            recipe = read_recipe(asdict(start) | said)
            check_recipe(recipe)
            recipe_id = recipes.find(session, title).id if "@" in title else None
        told = teacher_of(teacher, answers=answers, prompts=prompts, max_tokens=max_tokens, share=share)
        with store.writing() as session:
            run = runs.request_distillation(
                session, by=by, now=now(), teacher=told, recipe=asdict(recipe), recipe_id=recipe_id, seed=seed
            )
        request = Request("correction", run.id)
        if no_wait:
            outcome.asked(request, {"run": request.name, "parent": run.parent_id, "teacher": told}, as_json=as_json)
            return
        outcome.done(context, store, request)
        with store.reading() as session:
            run = session.get_one(CorrectionRun, run.id)
        evaluation = outcome.evaluated(context, store, run.candidate_id)
        way = run.environment["distillation"]
        found: dict[str, Any] = {
            "run": request.name,
            "parent": run.parent_id,
            "candidate": run.candidate_id,
            "teacher": run.teacher,
        }
        found |= {"distillation": way, "recipe": run.recipe, "seconds": run.seconds}
        lines = [f"Version {run.candidate_id} is a candidate, learnt from {run.teacher['name']} ({way['way']})."]
        if way["why_words_alone"]:
            lines.append(f"Note: {way['why_words_alone']}.")
        if evaluation is not None:
            found["evaluation"] = outcome.figures(evaluation)
            lines += outcome.verdict(evaluation)
        show(found, as_json=as_json, lines=lines)
