"""`flagback correct`: learns from the reviews, or says what that would do and take."""

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flagback.review_app.commands import outcome
from flagback.review_app.commands.outcome import NoWait, Seed
from flagback.review_app.commands.pairs import By, Drop, Policy, Seats, Unpaired, chosen
from flagback.review_app.commands.shared import As, Json, actor, note, records, settings_of, show

if TYPE_CHECKING:
    from flagback.model.pair_sets import Choice
    from flagback.model.recipe import Recipe
    from flagback.storage.records import CorrectionRun
    from flagback.storage.store import Store


#: Options that say how to ask, and the one that a dry run proposes.
NOT_OF_THE_RUN = ("dry_run", "as_json", "no_wait", "as_", "processes")


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    app.command()(correct)


def correct(
    context: typer.Context,
    set_id: Annotated[int | None, typer.Option("--set", help="Learn from this set.", show_default="the reviews")] = None,
    kept: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME", help="Follow this recipe; other options change it.", show_default="default"),
    ] = None,
    tuning: Annotated[
        Literal["lora", "full"] | None,
        typer.Option(help="Train an adapter, or every weight (give a learning rate for that).", show_default="lora"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.", show_default="24")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Step size.", show_default="0.0032")] = None,
    beta: Annotated[float | None, typer.Option(help="Strength of the tie to the parent.", show_default="0.4")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Rank of the adapter.", show_default="8")] = None,
    replay_weight: Annotated[float | None, typer.Option(help="Weight of the neutral lines.", show_default="1.0")] = None,
    loss: Annotated[
        Literal["dpo", "cdpo", "robust", "ipo", "apo_zero", "apo_down"] | None,
        typer.Option(help="What is learnt from a pair.", show_default="dpo"),
    ] = None,
    label_noise: Annotated[
        float | None, typer.Option(help="For cdpo and robust: share of labels taken for wrong.", show_default="0.0")
    ] = None,
    anchor_weight: Annotated[
        float | None, typer.Option(help="Weight of what chosen answers lose in likelihood.", show_default="0.0")
    ] = None,
    flag_weight: Annotated[
        float | None, typer.Option(help="With --unpaired: weight of answers without a counterpart.", show_default="1.0")
    ] = None,
    group_weights: Annotated[
        Literal["given", "even", "worst"] | None,
        typer.Option(help="What groups of pairs count: as given, alike, or more the worse they fare.", show_default="given"),
    ] = None,
    consistency_weight: Annotated[
        float | None, typer.Option(help="Weight of what swapped group terms change in the next word.", show_default="0.0")
    ] = None,
    adversary_weight: Annotated[
        float | None, typer.Option(help="Weight of hiding swapped terms from a probe of the states.", show_default="0.0")
    ] = None,
    combine: Annotated[
        Literal["sum", "mgda"] | None,
        typer.Option(help="How terms make one step: their sum, or a direction that worsens none.", show_default="sum"),
    ] = None,
    find_rate: Annotated[
        bool, typer.Option("--find-rate", help="Find the step size first, by a sweep on an adapter that is thrown away.")
    ] = False,
    stop_every: Annotated[
        int | None,
        typer.Option(min=0, help="Steps between looks at pairs kept aside, to stop early; 0: all steps.", show_default="0"),
    ] = None,
    stop_patience: Annotated[
        int | None, typer.Option(min=1, help="Looks without a lower loss that end the run.", show_default="3")
    ] = None,
    precision: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(help="In which numbers the model is computed; weights stay float32.", show_default="float32"),
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Compute inner values twice and keep fewer: less memory, more time.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Spread over so many processes, one a GPU (docs/scale-out.md).", show_default="1")
    ] = None,
    sharding: Annotated[
        Literal["none", "full"] | None,
        typer.Option(help="Whether each process holds all weights, or a share of them.", show_default="none"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do and take; nothing is stored.")] = False,
    policy: Policy = "majority",
    by: By = None,
    seats: Seats = None,
    drop_contaminated: Drop = False,
    unpaired: Unpaired = False,
    seed: Seed = 0,
    no_wait: NoWait = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Learn from the reviews: a new candidate version.

    What a policy would change is shown by 'flagback pairs preview'.

    Freezes the pairs, fine-tunes the current version on them, registers the candidate and evaluates it.
    """
    from flagback.model.kept_recipe import read_recipe
    from flagback.model.recipe import rate_cost
    from flagback.review_app.commands.recipes import named
    from flagback.review_app.jobs import Request
    from flagback.storage import recipes, runs
    from flagback.storage.records import CorrectionRun, now

    said: dict[str, Any] = {
        "tuning": tuning,
        "steps": steps,
        "learning_rate": learning_rate,
        "beta": beta,
        "rank": rank,
        "replay_weight": replay_weight,
        "loss": loss,
        "label_noise": label_noise,
        "anchor_weight": anchor_weight,
        "flag_weight": flag_weight,
        "group_weights": group_weights,
        "consistency_weight": consistency_weight,
        "adversary_weight": adversary_weight,
        "combine": combine,
        "find_rate": find_rate or None,
        "stop_every": stop_every,
        "stop_patience": stop_patience,
        "precision": precision,
        "gradient_checkpointing": gradient_checkpointing or None,
        "processes": processes,
        "sharding": sharding,
    }
    if tuning == "full" and rank is not None:
        raise typer.BadParameter("--rank is the adapter's, and with --tuning full there is none; give one of them.")
    if find_rate and learning_rate is not None:
        raise typer.BadParameter("--find-rate and --learning-rate are two answers to one question; give one of them.")
    if set_id is not None and unpaired:
        raise typer.BadParameter("--unpaired says what is frozen of the reviews, and --set names a set that is; give one of them.")
    if flag_weight is not None and set_id is None and not unpaired:
        raise typer.BadParameter("--flag-weight weighs answers without a counterpart, and none would teach; add --unpaired.")
    recipe = {name: value for name, value in said.items() if value is not None}
    choice = chosen(policy, by, seats, drop_contaminated=drop_contaminated, unpaired=unpaired)
    with records(context) as store:
        followed = None
        if kept is not None:
            with store.reading() as session:
                start, title = named(session, kept)
                followed = recipes.find(session, title).id if "@" in title else None
            recipe = asdict(start) | ({} if learning_rate is None else {"find_rate": False}) | recipe
        wanted = read_recipe(recipe)  # refuses what cannot work before it is stored
        if wanted.find_rate:
            note(rate_cost(wanted))
        if dry_run:
            note("Gathering the pairs and laying them out for the model; nothing is stored.")
            _forecast(context, store, wanted, seed=seed, set_id=set_id, choice=choice, as_json=as_json)
            return
        by_whom = actor(store, as_)
        with store.writing() as session:
            run = runs.request_correction(
                session,
                by=by_whom,
                now=now(),
                seed=seed,
                recipe=recipe,
                recipe_id=followed,
                set_id=set_id,
                pairs=choice.to_dict(),
            )
        request = Request("correction", run.id)
        if no_wait:
            outcome.asked(request, {"run": request.name, "parent": run.parent_id}, as_json=as_json)
            return
        outcome.done(context, store, request)
        with store.reading() as session:
            run = session.get_one(CorrectionRun, run.id)
        evaluation = outcome.evaluated(context, store, run.candidate_id)
        found = {
            "run": request.name,
            "parent": run.parent_id,
            "candidate": run.candidate_id,
            "set": run.set_id,
            "adapter_sha256": run.adapter_sha256,
            "recipe": run.recipe,
            "seconds": run.seconds,
            "alarms": run.environment.get("alarms", []),
        }
        lines = [f"Step {alarm['step']}: {alarm['advice']}" for alarm in found["alarms"]]
        lines += _settled(run)
        lines += [f"Correction {run.id}: version {run.candidate_id} is a candidate, learnt from set {run.set_id}."]
        if evaluation is not None:
            found["evaluation"] = outcome.figures(evaluation)
            lines += outcome.verdict(evaluation)
        show(found, as_json=as_json, lines=lines)


def _settled(run: "CorrectionRun") -> list[str]:
    """What the run found out by itself: its learning rate, and when to stop."""
    lines = []
    swept, stopped = run.environment.get("rate_sweep"), run.environment.get("early_stop")
    if swept is not None:
        lines.append(f"Learning rate {swept['suggestion']:.2g} was found; {len(swept['tried'])} rates were tried.")
    if stopped is not None:
        looks = stopped["readings"]
        lines.append(
            f"Step {stopped['best_step']} of {run.recipe['steps']} was best on {stopped['pairs']} pairs kept aside; "
            f"the run ended after step {looks[-1]['step'] if looks else 0}."
        )
    return lines


def _asked(context: typer.Context) -> str:
    """The command line that asks for this correction itself, without its number of processes."""
    words = ["flagback", "correct"]
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in NOT_OF_THE_RUN:
            continue
        value = context.params[name]
        for one in value if isinstance(value, (list, tuple)) else [value]:
            words += [option.opts[0]] if one is True else [option.opts[0], shlex.quote(str(one))]
    return " ".join(words)


def _forecast(
    context: typer.Context, store: "Store", recipe: "Recipe", *, seed: int, set_id: int | None, choice: "Choice", as_json: bool
) -> None:
    """What a correction would do and take."""
    from flagback.review_app.steps import import_torch

    settings = settings_of(context)
    import_torch(settings.threads)
    from flagback.model.forecast import forecast
    from flagback.model.shelf import Shelf
    from flagback.storage.artifacts import Artifacts

    found = forecast(
        store,
        Shelf(Artifacts(settings.artifacts), threads=settings.threads),
        recipe=recipe,
        seed=seed,
        set_id=set_id,
        choice=choice,
        key=settings.pseudonym_key(),
        work=settings.home / "work",
        command=_asked(context),
    )
    takes = found.needed
    lines = [
        (
            f"Version {found.parent} would learn from {found.pairs} pairs ({found.dropped} left out, {found.aside} kept aside), "
            f"{found.unpaired} answers without one, and {found.replay} neutral lines."
        ),
        (
            f"{found.steps} steps of {found.step}; a step is computed in "
            f"{found.parts_per_step} parts ({found.layout} layout); {found.trained_parameters:,} numbers are trained."
        ),
        (
            f"Memory: about {takes.total:,.0f} MB a process ({takes.program:,.0f} program, {takes.weights:,.0f} weights, "
            f"{takes.adapter:,.0f} what is trained and its optimiser, {takes.activations:,.0f} for {takes.tokens:,} tokens at "
            f"once); this machine has {found.machine.total:,.0f}, {found.machine.free:,.0f} of them free."
        ),
        f"Disk: up to {found.disk:,.0f} MB, two checkpoints included; {found.disk_free:,.0f} are free.",
        f"Over several processes: {found.command}",
        f"  which starts: {found.torchrun}",
        "Nothing was stored.",
    ]
    if found.warning:
        lines.insert(3, found.warning)
    show(found.to_dict() | {"warning": found.warning}, as_json=as_json, lines=lines)
