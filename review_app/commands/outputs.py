"""Commands about live outputs: `flagback import outputs`, `flagback outputs ...`, and the keys of programs that send them."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flagback.review_app.commands.shared import As, Json, actor, columns, records, settings_of, show, tell

if TYPE_CHECKING:
    from flagback.storage.outputs import OutputReport

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def add_to(app: typer.Typer) -> None:
    """Adds this family; `import outputs` is added by files."""
    live = typer.Typer(no_args_is_help=True, help="Logged answers of models in use, and the programs that send them.")
    live.command("list")(list_batches)
    live.command("withdraw-batch")(withdraw_batch)
    key = typer.Typer(no_args_is_help=True, help="Keys of programs that send logged answers.")
    key.command()(create)
    key.command("list")(list_keys)
    key.command()(withdraw)
    live.add_typer(key, name="key")
    app.add_typer(live, name="outputs")


def import_outputs(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file: .jsonl, .csv or .parquet; .gz of the first two is read too.")],
    name: Annotated[str, typer.Option(help="What the batch is called: letters, digits, dots, dashes, underscores.")],
    consent: Annotated[str, typer.Option(help="What the people whose prompts these are agreed to, in words; kept with the batch.")],
    review: Annotated[int, typer.Option(min=0, help="How many of them people review, drawn by chance.")] = 0,
    reviews_per_item: Annotated[int, typer.Option(min=1, help="How many people judge each answer.")] = 3,
    seed: Annotated[int, typer.Option(help="Decides which are drawn.")] = 0,
    keep_contacts: Annotated[
        bool, typer.Option("--keep-contacts", help="Take in what holds an e-mail address or a telephone number.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be taken in.")] = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Add logged answers of a model in use, and draw some for review.

    Prompts of users may hold personal data: reviewers will read them. Needs their agreement, for all in words or row by row in a
    column `consent` as well. The same file again adds nothing.
    """
    from flagback.storage.outputs import Terms, import_outputs
    from flagback.storage.records import now

    with records(context) as store:
        terms = Terms(name, consent, actor(store, as_), number=review, seed=seed, reviews_per_item=reviews_per_item)
        report = import_outputs(store, file, terms, keep_contacts=keep_contacts, check=check, now=now())
    show(asdict(report) | {"file": str(file), "checked_only": check}, as_json=as_json, lines=_said(report, file, checked=check))


def _said(report: "OutputReport", file: Path, *, checked: bool) -> list[str]:
    refused = sum(report.refused.values())
    kept = f"{report.added} added to {report.batch}, {report.duplicates} were there already, {refused} refused"
    lines = [f"{file}: {report.rows} answers, {kept}; {report.drawn} drawn for review."]
    lines += [f"Refused: {count}, {reason}." for reason, count in report.refused.items()]
    lines += report.refused_rows
    if report.columns_left:
        lines.append(f"Not taken in: the columns {', '.join(report.columns_left)}.")
    if checked:
        lines.append("Only looked: nothing was stored.")
    elif report.drawn:
        lines.append("Next: have people review them on the page Review; 'flagback outputs list' says what they found.")
    return lines


def list_batches(context: typer.Context, as_json: Json = False) -> None:
    """List what came in, and what people said of it."""
    from flagback.storage import live_batches

    with records(context) as store, store.reading() as session:
        found = live_batches.batches(session)
    rows = [
        {
            "batch": one.name,
            "from": one.brought_by,
            "since": one.created_at,
            "answers": one.n_answers,
            "drawn": one.n_drawn,
            "reviewed": one.reviewed,
            "reviews": one.reviews,
            "flags": one.flags,
            "waiting": one.waiting,
            "review_share": one.review_share,
            "consent": one.consent,
            "withdrawn_at": one.withdrawn_at,
        }
        for one in found
    ]
    shown = ["batch", "from", "since", "answers", "drawn", "reviewed", "reviews", "flags", "waiting", "withdrawn_at"]
    nothing = (
        "No logged answer came in yet; bring some with 'flagback import outputs FILE', or make a key for a program that sends them."
    )
    show(rows, as_json=as_json, lines=columns(rows, shown) if rows else [nothing])


def withdraw_batch(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The batch.")],
    yes: Yes = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Take a batch back from review: nobody is handed one of its answers any more.

    Its texts and what people said of them stay; nothing can be added to it.
    """
    from flagback.storage import live_batches
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_)
        if not yes and not typer.confirm(f"Take the batch {name} back from review, for good?", err=True):
            raise typer.Exit(1)
        with store.writing() as session:
            done = live_batches.withdraw(session, name, by=by, now=now())
    held = f"; {done.held} were being read, and what is answered there is kept" if done.held else ""
    show({"batch": name} | done._asdict(), as_json=as_json, lines=[f"{done.closed} reviews of {name} are wanted no more{held}."])


def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the program is called; its batches name it.")],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Make a key with which a program sends logged answers. It is shown once.

    It opens POST /api/v1/outputs and nothing else.
    """
    from flagback.storage import output_keys
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, administering=True)
        with store.writing() as session:
            key = output_keys.make(session, name, by=by, now=now())
    address = f"{settings_of(context).address}/api/v1/outputs"
    lines = [f"The key {name}, shown this once:", key, f"The program sends it to {address} as 'Authorization: Bearer KEY'."]
    show({"name": name, "key": key, "address": address}, as_json=as_json, lines=lines)


def list_keys(context: typer.Context, as_json: Json = False) -> None:
    """List the keys that were made, and when each was last used, to the hour."""
    from flagback.storage import output_keys

    with records(context) as store, store.reading() as session:
        found = output_keys.known(session)
    names = ["name", "made_by", "created_at", "seen_at", "ended_at"]
    rows = [{name: getattr(key, name) for name in names} for key in found]
    nothing = "No program has a key yet; make one with 'flagback outputs key create NAME'."
    show(rows, as_json=as_json, lines=columns(rows, names) if rows else [nothing])


def withdraw(
    context: typer.Context, name: Annotated[str, typer.Argument(help="Which key.")], yes: Yes = False, as_: As = None
) -> None:
    """End a key at once. What it brought stays."""
    from flagback.storage import output_keys
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, administering=True)
        if not yes and not typer.confirm(f"Withdraw the key {name}? The program that has it can send nothing more.", err=True):
            raise typer.Exit(1)
        with store.writing() as session:
            output_keys.withdraw(session, name, by=by, now=now())
    tell(f"The key {name} opens nothing any more.")
