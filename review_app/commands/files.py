"""Commands that bring files in and take them out: `flagback import`, `flagback export`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flagback.review_app.commands.agreement import import_ratings
from flagback.review_app.commands.outputs import import_outputs
from flagback.review_app.commands.shared import As, Json, actor, records, settings_of, show

if TYPE_CHECKING:
    from flagback.storage.importing import ImportReport
    from flagback.storage.set_export import Rows

#: flagback.storage.records.TextPurpose, written out: importing the records would slow every --help (a test compares).
TextPurpose = Literal["replay", "perplexity"]
Format = Literal["jsonl", "csv", "parquet"]
File = Annotated[Path, typer.Argument(help="The file; .gz of it is read too.")]
Folder = Annotated[Path, typer.Argument(help="The folder to write; made where there is none.")]
SetFormat = Annotated[Format, typer.Option("--format", help="How the rows are written.")]
SetId = Annotated[int | None, typer.Option("--set", help="Which frozen set.", show_default="the newest")]
Conversational = Annotated[bool, typer.Option("--conversational", help="Prompts and answers as lists of messages.")]
GroupsMayShow = Annotated[
    bool, typer.Option("--groups-may-show", help="Also where beside exported reviews they tell who is of which group.")
]


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    bring = typer.Typer(no_args_is_help=True, help="Bring in prompts, pairs, reference texts, logged answers and finished ratings.")
    bring.command()(prompts)
    bring.command()(preferences)
    bring.command()(texts)
    bring.command("outputs")(import_outputs)
    bring.command("ratings")(import_ratings)
    app.add_typer(bring, name="import")
    take = typer.Typer(no_args_is_help=True, help="Write reviews, pairs and versions for other tools.")
    take.command()(reviews)
    take.command()(pairs)
    take.command()(unpaired)
    take.command()(model)
    app.add_typer(take, name="export")


def prompts(
    context: typer.Context,
    file: File,
    source: Annotated[str | None, typer.Option(help="Where they come from; kept as a tag.")] = None,
    licence: Annotated[str | None, typer.Option(help="Their licence; kept as a tag.")] = None,
    trim: Annotated[bool, typer.Option("--trim", help="Drop white space at the end of prompts.")] = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Add prompts from CSV, JSONL or the BOLD layout.

    All of a file or nothing; exact duplicates are counted and skipped.
    """
    from flagback.storage.importing import import_prompts
    from flagback.storage.records import now

    with records(context) as store:
        report = import_prompts(store, file, source=source, licence=licence, trim=trim, by=actor(store, as_), now=now())
    _tell(report, as_json=as_json, onward="sample answers with 'flagback sample'")


def preferences(
    context: typer.Context,
    file: File,
    name: Annotated[str, typer.Option(help="What the set is called: letters, digits, dots, dashes, underscores.")],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Add preference pairs as one frozen set.

    Reads TRL's format, plain and conversational, hh-rlhf dialogues and CSV.
    """
    from flagback.storage.importing import import_preferences
    from flagback.storage.records import now

    with records(context) as store:
        report = import_preferences(store, file, name=name, by=actor(store, as_), now=now())
    _tell(report, as_json=as_json, onward=f"learn from it with 'flagback correct --set {report.set_id}'")


def texts(
    context: typer.Context,
    file: File,
    purpose: Annotated[TextPurpose, typer.Option(help="perplexity: the gate measures; replay: training keeps to them.")],
    name: Annotated[str, typer.Option(help="One figure of the gate a name.")],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Add reference texts for training or for the gate.

    One text a line, or a column `text` in CSV or JSONL. A text serves one purpose only.
    """
    from flagback.storage.importing import import_texts
    from flagback.storage.records import now

    with records(context) as store:
        report = import_texts(store, file, purpose=purpose, name=name, by=actor(store, as_), now=now())
    _tell(report, as_json=as_json, onward=None)


def _tell(report: "ImportReport", *, as_json: bool, onward: str | None) -> None:
    skipped = f", {sum(report.skipped.values())} left out" if report.skipped else ""
    lines = [f"{report.file}: {report.rows} records, {report.added} added, {report.duplicates} were there already{skipped}."]
    if report.set_id is not None:
        lines.append(f"Set {report.set_id} ({'new' if report.new_set else 'as before'}), {report.prompts_added} new prompts.")
    lines += report.skipped_rows
    if onward and report.added:
        lines.append(f"Next: {onward}.")
    show(asdict(report), as_json=as_json, lines=lines)


def reviews(
    context: typer.Context,
    folder: Folder,
    format_: Annotated[Format, typer.Option("--format", help="How the rows are written.")] = "jsonl",
    background: Annotated[
        bool, typer.Option("--background", help="Add reviewers' background, of those who agreed, in groups of five or more.")
    ] = False,
    spreadsheet: Annotated[
        bool, typer.Option("--spreadsheet", help="Add a copy for Excel and the like, formulas made harmless (csv).")
    ] = False,
    second_looks: Annotated[
        bool, typer.Option("--second-looks", help="Add what was asked a second time: gold and own earlier answers, marked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write every review, under pseudonyms.

    With guideline, taxonomy and policy versions in every file, and a dataset card.
    """
    from flagback.storage.export import export_reviews

    with records(context) as store:
        key = settings_of(context).pseudonym_key() if background else None
        report = export_reviews(
            store, folder, format=format_, spreadsheet=spreadsheet, background_key=key, second_looks=second_looks
        )
    show(asdict(report), as_json=as_json, lines=[f"{sum(report.rows.values())} reviews are in {folder}."])


def pairs(
    context: typer.Context,
    folder: Folder,
    format_: SetFormat = "jsonl",
    set_id: SetId = None,
    conversational: Conversational = False,
    groups_may_show: GroupsMayShow = False,
    as_json: Json = False,
) -> None:
    """Write the pairs of a frozen set in TRL's format, with their weights."""
    _write_set(context, folder, "pairs", format_, set_id, conversational, groups_may_show, as_json)


def unpaired(
    context: typer.Context,
    folder: Folder,
    format_: SetFormat = "jsonl",
    set_id: SetId = None,
    conversational: Conversational = False,
    groups_may_show: GroupsMayShow = False,
    as_json: Json = False,
) -> None:
    """Write the answers of a frozen set that have no counterpart, in TRL's unpaired format, with their weights."""
    _write_set(context, folder, "unpaired", format_, set_id, conversational, groups_may_show, as_json)


def _write_set(
    context: typer.Context,
    folder: Path,
    what: "Rows",
    format_: Format,
    set_id: int | None,
    conversational: bool,
    groups_may_show: bool,
    as_json: bool,
) -> None:
    from flagback.storage.set_export import export_set

    with records(context) as store:
        report = export_set(
            store,
            folder,
            what=what,
            set_id=set_id,
            format=format_,
            conversational=conversational,
            groups_may_show=groups_may_show,
        )
    called = "pairs" if what == "pairs" else "answers without a counterpart"
    lines = [f"{sum(report.rows.values())} {called} are in {folder}."]
    if report.left_out:
        lines.append(f"{report.left_out} of the set are not: reviews they rest on were left out since it was frozen.")
    show(asdict(report), as_json=as_json, lines=lines)


def model(
    context: typer.Context,
    version: Annotated[int, typer.Argument(help="Its number in 'flagback versions'.")],
    folder: Folder,
    shape: Annotated[
        Literal["merged", "adapter"],
        typer.Option("--as", help="merged: weights that transformers loads by itself; adapter: what PEFT puts on the first base."),
    ] = "merged",
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="How merged weights are stored; float32 is exact.")
    ] = "float32",
    as_json: Json = False,
) -> None:
    """Write a version as a plain Hugging Face folder, with a model card.

    Nothing in it needs Flagback: AutoModelForCausalLM loads merged weights, PeftModel the adapter.
    """
    from flagback.model import plain_folder
    from flagback.model.explanation import summary_of
    from flagback.model.shelf import Shelf
    from flagback.storage import model_card, versions
    from flagback.storage.artifacts import Artifacts

    settings = settings_of(context)
    artifacts = Artifacts(settings.artifacts)
    with records(context) as store, store.reading() as session:
        told = model_card.told_of(session, versions.get(session, version))
    moved = summary_of(told.run, artifacts) if told.run is not None else None
    card = model_card.model_card(told, shape=shape, dtype=dtype if shape == "merged" else "float32", moved=moved)
    if shape == "adapter":
        paths = [artifacts.path(address) for address in told.version.adapters]
        plain_folder.write_adapter(paths, folder, card=card, base=model_card.hub_id(told.first))
    else:
        loaded = Shelf(artifacts, threads=settings.threads).get(told.version)
        plain_folder.write_merged(loaded, folder, card=card, dtype=dtype)
    files = sorted(path.name for path in folder.iterdir())
    report = {"version": version, "folder": str(folder), "as": shape, "files": files}
    show(report, as_json=as_json, lines=[f"Version {version} is in {folder} ({shape}): {', '.join(files)}."])
