"""Commands that move the loop: model add, embedded build, sample, correct, evaluate, promote, rollback, rehearse."""

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flagback.review_app.commands.pairs import By, Drop, Policy, Seats, chosen
from flagback.review_app.commands.shared import As, Json, actor, columns, note, records, settings_of, show

if TYPE_CHECKING:
    from flagback.model.pair_sets import Choice
    from flagback.model.recipe import Recipe
    from flagback.review_app.jobs import Request
    from flagback.storage.records import CorrectionRun, Evaluation
    from flagback.storage.store import Store

NoWait = Annotated[bool, typer.Option("--no-wait", help="Only ask for it; a worker does it.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same input: same result.")]
Version = Annotated[int, typer.Argument(help="Its number in 'flagback versions'.")]


class NoCandidate(Exception):
    """There is no candidate to evaluate."""


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    model = typer.Typer(no_args_is_help=True, help="The model of this installation.")
    model.command()(add)
    app.add_typer(model, name="model")
    embedded = typer.Typer(no_args_is_help=True, help="The embedded model.")
    embedded.command()(build)
    app.add_typer(embedded, name="embedded")
    for command in (sample, correct, evaluate, promote, rollback, rehearse):
        app.command()(command)


def add(
    context: typer.Context,
    path_or_hub_id: Annotated[str, typer.Argument(help="A Hugging Face directory, a hub id, or 'embedded'.")],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Register the causal language model to start from.

    Safetensors only; the model is tried before anything is stored.
    """
    from flagback.model.cycle import add_model

    with records(context) as store:
        made = add_model(store, path_or_hub_id, by=actor(store, as_))
    show(
        {
            "id": made.id,
            "name": made.name,
            "state": made.state,
            "template": made.template,
            "facts": made.facts,
            "fingerprint": made.fingerprint,
        },
        as_json=as_json,
        lines=[
            f"Version {made.id} ({made.name}, {made.template} template) is {made.state}.",
            "Next: bring in prompts with 'flagback import prompts FILE', then 'flagback sample'.",
        ],
    )


def build(
    out: Annotated[Path, typer.Option(help="The folder to write; it must not hold anything.")],
    seed: Seed = 0,
    size: Annotated[Literal["full", "micro"], typer.Option(help="full: as shipped; micro: seconds, for plumbing tests.")] = "full",
    as_json: Json = False,
) -> None:
    """Train the embedded model anew, from its own grammar."""
    from flagback.model.embedded.build import build as build_model

    last = [0]

    def on_step(step: int, steps: int, loss: float) -> None:
        if step == steps or step - last[0] >= max(1, steps // 20):
            last[0] = step
            note(f"step {step} of {steps}, loss {loss:.3f}")

    report = build_model(out, seed=seed, size=size, on_step=on_step)
    show(
        asdict(report),
        as_json=as_json,
        lines=[f"{out}: {report.parameters} parameters, {report.steps} steps, loss {report.loss:.3f}, {report.seconds:.0f} s."],
    )


def sample(
    context: typer.Context,
    prompts: Annotated[int, typer.Option(min=1, help="How many prompts; those not answered yet come first.")] = 60,
    k: Annotated[int, typer.Option(min=1, max=64, help="Completions of each prompt.")] = 4,
    temperature: Annotated[float, typer.Option(min=0.0, max=5.0, help="0 always takes the likeliest token.")] = 1.0,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0, help="Draw from the likeliest tokens of this mass.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, max=4096, help="Longest completion.")] = 48,
    seed: Seed = 0,
    side: Annotated[Literal["all", "training", "held_out"], typer.Option(help="Which prompts, by their shard.")] = "all",
    reviews_per_item: Annotated[int, typer.Option(min=1, help="How many people judge each answer.")] = 3,
    version: Annotated[int | None, typer.Option(help="Which version writes.", show_default="the current one")] = None,
    no_wait: NoWait = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Have the model answer prompts, for people to review."""
    from flagback.review_app.jobs import Request
    from flagback.storage import runs
    from flagback.storage.records import now

    decoding = {"k": k, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
    with records(context) as store:
        with store.writing() as session:
            run = runs.request_sampling(
                session,
                by=actor(store, as_),
                now=now(),
                limit=prompts,
                decoding=decoding,
                side=side,
                reviews_per_item=reviews_per_item,
                version_id=version,
            )
        request = Request("sampling", run.id)
        found = {"run": request.name, "version": run.version_id, "prompts": len(run.prompt_ids), "decoding": decoding}
        if no_wait:
            asked(request, found, as_json=as_json)
            return
        done(context, store, request)
        counts = _written(store, run.id)
        show(
            found | counts,
            as_json=as_json,
            lines=[
                (
                    f"{request.name}: {len(run.prompt_ids)} prompts, {counts['answers']} different answers, "
                    f"{counts['items']} to review."
                )
            ],
        )


def correct(
    context: typer.Context,
    set_id: Annotated[int | None, typer.Option("--set", help="Learn from this set.", show_default="the reviews")] = None,
    kept: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME", help="Follow this recipe; other options change it.", show_default="default"),
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
        "steps": steps,
        "learning_rate": learning_rate,
        "beta": beta,
        "rank": rank,
        "replay_weight": replay_weight,
        "loss": loss,
        "label_noise": label_noise,
        "anchor_weight": anchor_weight,
        "group_weights": group_weights,
        "consistency_weight": consistency_weight,
        "adversary_weight": adversary_weight,
        "combine": combine,
        "find_rate": find_rate or None,
        "stop_every": stop_every,
        "stop_patience": stop_patience,
        "precision": precision,
        "processes": processes,
        "sharding": sharding,
    }
    if find_rate and learning_rate is not None:
        raise typer.BadParameter("--find-rate and --learning-rate are two answers to one question; give one of them.")
    recipe = {name: value for name, value in said.items() if value is not None}
    choice = chosen(policy, by, seats, drop_contaminated=drop_contaminated)
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
            asked(request, {"run": request.name, "parent": run.parent_id}, as_json=as_json)
            return
        done(context, store, request)
        with store.reading() as session:
            run = session.get_one(CorrectionRun, run.id)
        evaluation = evaluated(context, store, run.candidate_id)
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
            found["evaluation"] = figures(evaluation)
            lines += verdict(evaluation)
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
    )
    takes = found.needed
    lines = [
        (
            f"Version {found.parent} would learn from {found.pairs} pairs ({found.dropped} left out, {found.aside} kept aside) and "
            f"{found.replay} neutral lines."
        ),
        (
            f"{found.steps} steps of {found.pairs_per_step} pairs, each pair about {found.passes:g} times; a step is computed in "
            f"{found.parts_per_step} parts ({found.layout} layout); {found.trained_parameters:,} numbers are trained."
        ),
        (
            f"Memory: about {takes.total:,.0f} MB a process ({takes.program:,.0f} program, {takes.weights:,.0f} weights, "
            f"{takes.adapter:,.0f} adapter and optimiser, {takes.activations:,.0f} for {takes.tokens:,} tokens at once); "
            f"this machine has {found.machine.total:,.0f}, {found.machine.free:,.0f} of them free."
        ),
        f"Over several processes: {found.command}",
        f"  which starts: {found.torchrun}",
        "Nothing was stored.",
    ]
    if found.warning:
        lines.insert(3, found.warning)
    show(found.to_dict() | {"warning": found.warning}, as_json=as_json, lines=lines)


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
            asked(request, {"run": request.name, "candidate": version}, as_json=as_json)
            return
        done(context, store, request)
        with store.reading() as session:
            evaluation = session.get_one(Evaluation, evaluation.id)
        show({"run": request.name} | figures(evaluation), as_json=as_json, lines=verdict(evaluation))


def promote(
    context: typer.Context,
    version: Version,
    override: Annotated[str | None, typer.Option(metavar="REASON", help="Promote against the gate, for this reason.")] = None,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Make a candidate the current version, through the gate."""
    from flagback.storage import versions
    from flagback.storage.records import now

    with records(context) as store:
        made = versions.promote(store, version, by=actor(store, as_, needed_for="promote"), now=now(), override_reason=override)
    show(
        made.model_dump(),
        as_json=as_json,
        lines=[
            f"Version {made.version_id} is current ({made.kind} by {made.decided_by}).",
            "Next: 'flagback sample' lets people review what it writes.",
        ],
    )


def rollback(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Go back to the version that was current before."""
    from flagback.storage import versions
    from flagback.storage.records import now

    with records(context) as store:
        made = versions.roll_back(store, by=actor(store, as_, needed_for="rollback"), now=now(), reason=reason)
    show(
        made.model_dump(),
        as_json=as_json,
        lines=[f"Version {made.version_id} is current again; version {made.previous_id} is retired."],
    )


def rehearse(
    reviewers: Annotated[int, typer.Option(min=1, help="Simulated reviewers.")] = 10,
    reviews_per_item: Annotated[
        int | None, typer.Option(min=1, help="How many of them judge each answer.", show_default="3; 7 with --minority")
    ] = None,
    false_flags: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of fine answers flagged all the same.")] = 0.05,
    minority: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share who alone see some harm: compares all policies.", show_default="none")
    ] = 0.0,
    rounds: Annotated[int, typer.Option(min=1, help="Corrections in a row.")] = 1,
    prompts: Annotated[int, typer.Option(min=1, help="Prompts sampled in a round.")] = 600,
    seed: Seed = 0,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="With --minority: so many seeds, from --seed on, and their means.")] = 1,
    control: Annotated[
        Literal["none", "shuffled", "replay-only"],
        typer.Option(help="What should change nothing: verdicts dealt out at random, or no preference term."),
    ] = "none",
    as_json: Json = False,
) -> None:
    """Run the whole loop with simulated reviewers.

    On the embedded model, in a temporary home of which nothing is kept. Answers "does my installation work, and how many reviews
    will I need?". With --minority: what each policy leaves of harm that only one group of reviewers sees.
    """
    from flagback.model import minority_rehearsal
    from flagback.model.rehearsal import Plan
    from flagback.model.rehearsal import rehearse as run_rehearsal

    plan = Plan(
        reviewers=reviewers,
        reviews_per_item=reviews_per_item or (minority_rehearsal.REVIEWS if minority else 3),
        false_flags=false_flags,
        minority=minority,
        rounds=rounds,
        prompts=prompts,
        seed=seed,
        control=control,
    )
    if seeds > 1 and not minority:
        raise typer.BadParameter("several seeds are for --minority; repeat the command with another --seed for the rest.")
    lines, tables = ["SIMULATED reviewers; no person judged anything here."], []
    for one in range(seed, seed + seeds):
        if seeds > 1:
            note(f"rehearsal: seed {one}")
        with tempfile.TemporaryDirectory(prefix="flagback-rehearsal-") as home:
            run_one = minority_rehearsal.rehearse if minority else run_rehearsal
            found = run_one(replace(plan, seed=one), home=Path(home), say=lambda stage: note(f"rehearsal: {stage}"))
        lines += _minority_table(found) if minority else _rounds(found)
        tables.append(found)
    if seeds > 1:
        found = {"simulated": True, "seeds": tables, "policies": minority_rehearsal.over_seeds(tables)}
        lines += [f"Over {seeds} seeds, mean and 95 % interval:", *_seeds_table(found["policies"])]
    show(found, as_json=as_json, lines=lines)


def _rounds(found: dict[str, Any]) -> list[str]:
    lines = []
    for number, done in enumerate(found["rounds"], start=1):
        seconds = sum(done["seconds"].values())
        lines.append(f"Round {number}: {done['pairs']} pairs, gate: {done['gate']['verdict']}, {seconds:.0f} s")
        lines += [f"  {name}: {_number(done['base'][name])} -> {_number(done['candidate'][name])}" for name in done["base"]]
    return lines


def _minority_table(found: dict[str, Any]) -> list[str]:
    base = found["base"]
    nothing = dict.fromkeys(("pairs", "minority_pairs", "effective", "times_majority", "other_change"))
    rows: list[dict[str, Any]] = [{"policy": "(before)", **nothing, **base}]
    rows += found["policies"]
    shown = [{name: _ranged(value) if isinstance(value, dict) else value for name, value in row.items()} for row in rows]
    names = ["policy", "pairs", "minority_pairs", "effective", "minority_harm", "times_majority", "other_harm", "other_change"]
    return [
        "Harm that only the few see (minority) and all other harm, held out, after one correction of equal steps:",
        *columns(shown, names),
    ]


def _seeds_table(policies: list[dict[str, Any]]) -> list[str]:
    shown = [{name: _ranged(value) if isinstance(value, dict) else value for name, value in row.items()} for row in policies]
    return columns(shown, ["policy", "pairs", "minority_harm", "times_majority", "other_harm", "other_change"])


def _ranged(found: dict[str, float]) -> str:
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


# ---------------------------------------------------------------------- common


def done(context: typer.Context, store: "Store", request: "Request") -> None:
    """Waits until a request is done, by a worker or in this process. Raises RunFailed."""
    from flagback.review_app.waiting import see_done

    see_done(settings_of(context), store, request)


def asked(request: "Request", found: dict[str, Any], *, as_json: bool) -> None:
    words = f"{request.name} is asked for; a worker does it ('flagback worker'), 'flagback runs' shows how far it is."
    show(found, as_json=as_json, lines=[words])


def _written(store: "Store", run_id: int) -> dict[str, int]:
    from sqlalchemy import func
    from sqlmodel import col, select

    from flagback.storage.records import Generation, Item

    with store.reading() as session:
        answers = session.exec(select(func.count()).select_from(Generation).where(Generation.sampling_run_id == run_id)).one()
        items = session.exec(
            select(func.count())
            .select_from(Item)
            .join(Generation, col(Generation.id) == Item.generation_id)
            .where(Generation.sampling_run_id == run_id)
        ).one()
    return {"answers": answers, "items": items}


def evaluated(context: typer.Context, store: "Store", candidate_id: int | None) -> "Evaluation | None":
    """Waits for the evaluation that a correction asked for."""
    from sqlmodel import col, select

    from flagback.review_app.jobs import Request
    from flagback.storage.records import Evaluation

    with store.reading() as session:
        asked = session.exec(
            select(Evaluation.id).where(Evaluation.candidate_id == candidate_id).order_by(col(Evaluation.id).desc())
        ).first()
    if asked is None:
        return None
    done(context, store, Request("evaluation", asked))
    with store.reading() as session:
        return session.get_one(Evaluation, asked)


def figures(evaluation: "Evaluation") -> dict[str, Any]:
    return {
        "candidate": evaluation.candidate_id,
        "base": evaluation.base_id,
        "verdict": evaluation.verdict,
        "reasons": evaluation.reasons,
        "figures": evaluation.figures,
    }


def verdict(evaluation: "Evaluation") -> list[str]:
    words = (evaluation.verdict or "not_enough_data").replace("_", " ")
    onward = {"pass": f"Next: 'flagback promote {evaluation.candidate_id}'."}.get(
        evaluation.verdict or "",
        (f"Next: see the reasons; 'flagback evaluate {evaluation.candidate_id}' looks again when more is reviewed."),
    )
    return [
        f"Gate: {words}.",
        *(f"  {reason['check']}: {reason['verdict'].replace('_', ' ')}. {reason['words']}" for reason in evaluation.reasons),
        onward,
    ]


def _number(value: object) -> str:
    return "not enough data" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
