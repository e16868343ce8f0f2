"""Commands that move the loop: model add, embedded build, sample, promote, rollback. Its other steps have files of their own."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flagback.review_app.commands import outcome
from flagback.review_app.commands.outcome import NoWait, Seed
from flagback.review_app.commands.shared import As, Json, actor, note, records, show

if TYPE_CHECKING:
    from flagback.storage.store import Store

Version = Annotated[int, typer.Argument(help="Its number in 'flagback versions'.")]


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    model = typer.Typer(no_args_is_help=True, help="The model of this installation.")
    model.command()(add)
    app.add_typer(model, name="model")
    embedded = typer.Typer(no_args_is_help=True, help="The embedded model.")
    embedded.command()(build)
    app.add_typer(embedded, name="embedded")
    for command in (sample, promote, rollback):
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
            outcome.asked(request, found, as_json=as_json)
            return
        outcome.done(context, store, request)
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
