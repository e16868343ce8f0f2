"""Commands of recipes: `flagback recipes ...`, settings under a name; `flagback tradeoff`, what each came to."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flagback.review_app.commands.shared import As, Json, actor, columns, records, show

if TYPE_CHECKING:
    from sqlmodel import Session

    from flagback.model.recipe import Recipe

Named = Annotated[
    str, typer.Argument(metavar="NAME", help="default, a kept one (NAME or NAME@NUMBER), or what a run followed (correction-3).")
]


class UnreadableSettings(ValueError):
    """Settings that are not written as they must be."""


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    family = typer.Typer(no_args_is_help=True, help="Settings of corrections, kept by name.")
    family.command("list")(listed)
    family.command("show")(shown)
    family.command()(diff)
    family.command()(keep)
    app.add_typer(family, name="recipes")
    app.command()(tradeoff)


def listed(context: typer.Context, as_json: Json = False) -> None:
    """List recipes, the newest number of each."""
    from flagback.model.kept_recipe import FORM, differences, read_recipe
    from flagback.model.recipe import Recipe
    from flagback.storage import recipes

    with records(context) as store, store.reading() as session:
        kept = recipes.newest(session)
    rows: list[dict[str, Any]] = [{"name": "default", "form": FORM, "changes": {}, "kept_by": None, "created_at": None, "note": ""}]
    for row in kept:
        changed = differences(Recipe(), read_recipe(row.settings, form=row.form))
        rows.append(
            {
                "name": f"{row.name}@{row.number}",
                "form": row.form,
                "changes": {one.setting: one.after for one in changed},
                "kept_by": row.kept_by,
                "created_at": row.created_at,
                "note": row.note,
            }
        )
    told = [row | {"beside the default": _pairs(row["changes"])} for row in rows]
    show({"recipes": rows}, as_json=as_json, lines=columns(told, ["name", "beside the default", "kept_by", "created_at", "note"]))


def shown(context: typer.Context, name: Named, as_json: Json = False) -> None:
    """Show every setting of a recipe."""
    with records(context) as store, store.reading() as session:
        recipe, title = named(session, name)
    settings = asdict(recipe)
    rows = [{"setting": setting, "value": json.dumps(value)} for setting, value in settings.items()]
    show({"recipe": title, "settings": settings}, as_json=as_json, lines=[title, *columns(rows, ["setting", "value"])])


def diff(context: typer.Context, before: Named, after: Named, as_json: Json = False) -> None:
    """Show in which settings two recipes differ."""
    from flagback.model.kept_recipe import differences

    with records(context) as store, store.reading() as session:
        (one, title), (other, other_title) = named(session, before), named(session, after)
    found = differences(one, other)
    rows = [{"setting": row.setting, title: json.dumps(row.before), other_title: json.dumps(row.after)} for row in found]
    lines = columns(rows, ["setting", title, other_title]) if rows else [f"{title} and {other_title} are the same settings."]
    report = {"before": title, "after": other_title, "differences": [row._asdict() for row in found]}
    show(report, as_json=as_json, lines=lines)


def keep(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Small letters, digits, dots, dashes, underscores.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="SETTING=VALUE", help="A setting; may be given again.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NAME", help="Whose other settings it takes over.", show_default="its last number, or default"
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(dir_okay=False, exists=True, help="Settings as a JSON object, before those of --set.")
    ] = None,
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Keep a recipe under a name; a name that is taken gets its next number.

    All settings are kept, so that it stays what it is when a default changes. Follow it with 'flagback correct --recipe NAME'.
    """
    from flagback.model.kept_recipe import FORM, differences, read_recipe, recipe_words
    from flagback.storage import recipes
    from flagback.storage.records import now

    given = (_read(file) if file is not None else {}) | recipe_words(_words(settings or []))
    with records(context) as store:
        by = actor(store, as_)
        with store.writing() as session:
            taken = name in {row.name for row in recipes.newest(session)}
            before, title = named(session, start or (name if taken else "default"))
            found = {"find_rate": False} if "learning_rate" in given else {}  # "find" sets it again
            recipe = read_recipe(asdict(before) | found | given)
            made = recipes.keep(session, name, asdict(recipe), form=FORM, note=note, by=by, now=now())
    full = f"{made.name}@{made.number}"
    changed = ", ".join(f"{row.setting} {row.after}" for row in differences(before, recipe))
    words = f"{title} with {changed}" if changed else "these settings" if full == title else f"the same as {title}"
    lines = [f"Recipe {full} is kept: {words}.", f"Next: 'flagback correct --recipe {made.name}'."]
    show({"recipe": full, "from": title, "settings": made.settings}, as_json=as_json, lines=lines)


def tradeoff(
    context: typer.Context,
    parent: Annotated[int | None, typer.Option(help="Only corrections of this version.", show_default="all")] = None,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the picture here, as SVG.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Show what each evaluated version gave up for what: harm, usefulness, worst group.

    Reads evaluations that exist. Those that no other version of the same parent beats in all three are marked. The page Corrections
    draws the same, with intervals.
    """
    from flagback.review_app.tradeoff import picture, points

    with records(context) as store, store.reading() as session:
        found = points(session, parent=parent)
    if out is not None:
        out.write_text(picture(found), encoding="utf-8")
    rows = [point.told() for point in found]
    names = ["version", "parent", "harm", "parent_harm", "utility", "worst_harm", "worst_group", "best", "recipe"]
    nothing = ["No version has both blind flags and neutral texts yet; see 'flagback versions', and 'flagback evaluate' later."]
    show(
        {"points": rows, "picture": None if out is None else str(out)},
        as_json=as_json,
        lines=columns(rows, names) if rows else nothing,
    )


def named(session: "Session", name: str) -> tuple["Recipe", str]:
    """A recipe by what it is called, and its full name. Raises UnknownRecipe and BadRecipe."""
    from flagback.model.kept_recipe import read_recipe
    from flagback.model.recipe import Recipe
    from flagback.storage import recipes
    from flagback.storage.records import CorrectionRun

    if name == "default":
        return Recipe(), "default"
    kind, _, number = name.partition("-")
    if kind == "correction" and number.isdecimal() and len(number) < 9:
        run = session.get(CorrectionRun, int(number))
        if run is None:
            raise recipes.UnknownRecipe(f"There is no correction {number}; list them with 'flagback runs'.")
        return read_recipe(run.recipe), name
    kept = recipes.find(session, name)
    return read_recipe(kept.settings, form=kept.form), f"{kept.name}@{kept.number}"


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnreadableSettings(f"{file} cannot be read as JSON ({error}); expected an object of settings.") from error
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise UnreadableSettings(f'{file} holds a {kind}; expected an object of settings, such as {{"steps": 40}}.')
    return found


def _words(settings: list[str]) -> dict[str, str]:
    """SETTING=VALUE, each."""
    found = {}
    for word in settings:
        setting, sign, value = word.partition("=")
        if not sign:
            raise UnreadableSettings(f"--set {word!r} has no '='; expected SETTING=VALUE, such as steps=40.")
        found[setting.strip()] = value.strip()
    return found


def _pairs(changes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in changes.items()) or "-"
