"""Commands about finished ratings and about agreement: `import ratings`, `study list`, `study remove`, `agreement`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flagback.review_app.commands.shared import As, Json, actor, columns, note, records, settings_of, show

if TYPE_CHECKING:
    from flagback.review_app.agreement import Figure, Measure, Report

#: flagback.storage.records.ScaleType, written out: importing the records would slow every --help (a test compares).
Scale = Literal["nominal", "ordinal", "interval"]
Study = Annotated[str, typer.Argument(help="Which study; 'flagback study list' has them.")]


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    family = typer.Typer(no_args_is_help=True, help="Finished ratings from elsewhere, brought in to be analysed.")
    family.command("list")(list_studies)
    family.command()(remove)
    app.add_typer(family, name="study")
    app.command()(agreement)


def import_ratings(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="One rating a row: .csv, .jsonl (.gz of them) or .parquet.")],
    study: Annotated[str, typer.Option(metavar="NAME", help="What the study is called from now on.")],
    item: Annotated[str, typer.Option(metavar="COL", help="The column that names what was rated.")],
    rater: Annotated[str, typer.Option(metavar="COL", help="The column that tells raters apart; it is hashed.")],
    label: Annotated[str, typer.Option(metavar="COL", help="The column with the rating; a row without one is left out.")],
    scale: Annotated[Scale, typer.Option(help="nominal: names; ordinal: ranks; interval: numbers.")],
    text: Annotated[str | None, typer.Option(metavar="COL", help="The column with the item's text.")] = None,
    background: Annotated[str, typer.Option(metavar="COL,COL", help="Columns with facts about raters, to compare groups by.")] = "",
    levels: Annotated[
        str, typer.Option(metavar="LABEL,LABEL", help="An ordinal scale's labels from low to high, where they are no numbers.")
    ] = "",
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Bring in finished ratings of a study, to see how far its raters agree.

    All of a file or nothing. Raters are kept under a hash that nobody can undo or guess. The reviews of this installation are not
    touched.
    """
    from flagback.storage.ratings import Columns
    from flagback.storage.ratings import import_ratings as bring
    from flagback.storage.records import now

    with records(context) as store:
        report = bring(
            store,
            file,
            study=study,
            columns=Columns(item, rater, label, text, _parts(background)),
            scale=scale,
            levels=_parts(levels),
            by=actor(store, as_),
            now=now(),
        )
    without = f"; {report.without_label:,} rows without a label were left out" if report.without_label else ""
    show(
        report._asdict(),
        as_json=as_json,
        lines=[
            f"{file}: {report.ratings:,} ratings of {report.items:,} items by {report.raters:,} raters{without}.",
            f"Next: 'flagback agreement --study {study}'.",
        ],
    )


def _parts(said: str) -> list[str]:
    return [part.strip() for part in said.split(",") if part.strip()]


def list_studies(context: typer.Context, as_json: Json = False) -> None:
    """List the studies that were brought in."""
    from flagback.storage import ratings

    with records(context) as store, store.reading() as session:
        found = [one._asdict() for one in ratings.studies(session)]
    names = ["study", "scale", "ratings", "items", "raters", "background", "brought_by", "created_at"]
    lines = columns(found, names) if found else ["No study yet: 'flagback import ratings FILE --study NAME ...' brings one in."]
    show(found, as_json=as_json, lines=lines)


def remove(
    context: typer.Context,
    name: Study,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Delete a study, for good."""
    from flagback.storage import ratings
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_)
        with store.reading() as session:
            known = len(ratings.ratings_of(session, name).rows)
        if not yes and not typer.confirm(f"Delete the study {name} with its {known:,} ratings, for good?", err=True):
            note("Nothing was deleted.")
            raise typer.Exit(1)
        gone = ratings.remove(store, name, by=by, now=now())
    show({"study": name, "ratings": gone}, as_json=as_json, lines=[f"{name} and its {gone:,} ratings are deleted."])


def agreement(
    context: typer.Context,
    study: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which study.", show_default="this installation's reviews")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say how far people agree, over all and by declared group.

    Krippendorff's alpha (1: full agreement, 0: chance), its interval over raters, and differences between groups beside what groups
    drawn by lot would show. Nothing is said of fewer than five people.
    """
    from flagback.review_app import agreement as reports
    from flagback.storage import ratings

    settings = settings_of(context)
    with records(context) as store:
        with store.reading() as session:
            if study is None:
                key = settings.pseudonym_key()
                rated = reports.own(session)
                groups = reports.shareable(session, key, rated.names)
            else:
                kept = ratings.ratings_of(session, study)
                rated, groups = reports.of_study(kept, study), kept.background
        found = reports.report(rated, groups)
    show(reports.as_json(found), as_json=as_json, lines=_lines(found))


def _lines(found: "Report") -> list[str]:
    if not found.n_ratings:
        return ["Nobody has judged an answer yet: 'flagback serve' opens the review board."]
    whose = f"Study {found.study}" if found.study is not None else "Reviews"
    lines = [f"{whose}: {found.n_ratings:,} ratings of {found.n_items:,} items by {found.n_raters:,} raters."]
    lines += [f"alpha, {scale}: {_figure(figure)}" for scale, figure in found.alpha.items() if figure.n_items or not figure.note]
    again = found.self_consistency
    if again is not None and again.repeated:
        said = f"{again.value:.1%} ({again.low:.1%} to {again.high:.1%})" if again.value is not None else "not enough raters"
        lines.append(f"judged alike when seen again: {said}, {again.repeated:,} repetitions")
    column = ""
    for group in found.groups:
        if group.column != column:
            column = group.column
            lines.append(f"{column}:")
        if group.suppressed:
            lines.append(f"  {group.group or 'others'}: suppressed, too few raters")
            continue
        lines.append(f"  {group.group}: {group.raters} raters")
        lines += [f"    {_measure(measure)}" for measure in group.measures]
        lines += [f"    alpha within, {scale}: {_figure(figure)}" for scale, figure in group.alpha.items()]
        lines += [f"    alpha across, {scale}: {_figure(figure)}" for scale, figure in group.across.items()]
    return lines


def _figure(figure: "Figure") -> str:
    if figure.value is None:
        return figure.note
    ends = f" ({figure.low:.3f} to {figure.high:.3f})" if figure.low is not None else f" ({figure.note})"
    return f"{figure.value:.3f}{ends}, {figure.n_items:,} items"


def _measure(measure: "Measure") -> str:
    def said(*numbers: float | None) -> list[str]:
        return ["unknown" if number is None else f"{number:.3f}" for number in numbers]

    mean, low, high = said(measure.mean, measure.low, measure.high)
    line = f"{measure.of}: {mean} ({low} to {high})"
    if measure.difference is None:
        return line
    apart, apart_low, apart_high = said(measure.difference, measure.difference_low, measure.difference_high)
    null_low, null_high, p = said(measure.null_low, measure.null_high, measure.p)
    by_lot = f"by lot {null_low} to {null_high}, p = {p}"
    return f"{line}; {apart} from the others on the same items ({apart_low} to {apart_high}); {by_lot}"
