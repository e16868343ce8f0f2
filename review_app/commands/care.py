"""Commands of care for who reviews: `flagback care ...`, as on the page Care. Totals only; never a text that was taken away."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flagback.review_app.commands.shared import As, Json, actor, columns, records, show

if TYPE_CHECKING:
    from flagback.storage.wellbeing import Terms


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    care = typer.Typer(no_args_is_help=True, help="What reviewers are told and spared, and texts that were taken away.")
    care.command("show")(show_terms)
    care.command("set")(set_terms)
    care.command()(withdrawn)
    care.command()(give_back)
    app.add_typer(care, name="care")


def show_terms(context: typer.Context, as_json: Json = False) -> None:
    """Show what holds for everybody, and what people met in the last 30 days."""
    from flagback.storage import wellbeing
    from flagback.storage.records import now

    with records(context) as store, store.reading() as session:
        terms, lately = wellbeing.terms(session), wellbeing.lately(session, now=now())
    shown = {**terms._asdict(), "lately": lately._asdict()}
    lines = [
        *_words(terms),
        f"In the last 30 days {lately.judged:,} answers were judged; {lately.severe:,} were severe to somebody.",
    ]
    show(shown, as_json=as_json, lines=lines)


def set_terms(
    context: typer.Context,
    support: Annotated[
        Path | None, typer.Option(help="A text file: whom reviewers can turn to.", show_default=False, dir_okay=False)
    ] = None,
    severe_a_day: Annotated[
        int | None, typer.Option(help="Severe answers one person meets in 24 hours, then no more.", show_default=False)
    ] = None,
    cover_from: Annotated[
        float | None, typer.Option(help="Expected harm from which answers are covered.", show_default=False)
    ] = None,
    sensitive: Annotated[
        list[str] | None,
        typer.Option(
            help="A topic that is covered while nothing is known of an answer. Once a topic; replaces all.", show_default=False
        ),
    ] = None,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Change what holds for everybody; what is not named stays. It holds from the next answer that is handed out."""
    from flagback.storage import wellbeing
    from flagback.storage.records import now

    given: dict[str, Any] = {
        "support": None if support is None else support.read_text(encoding="utf-8"),
        "severe_a_day": severe_a_day,
        "cover_from": cover_from,
        "sensitive_topics": sensitive,
    }
    if all(value is None for value in given.values()):
        raise wellbeing.BadTerms(
            "Nothing was named to change; expected one of --support FILE, --severe-a-day, --cover-from and --sensitive. "
            "'flagback care show' says what holds."
        )
    with records(context) as store:
        by = actor(store, as_, needed_for="care set")
        with store.writing() as session:
            wanted = wellbeing.terms(session)._replace(**{name: value for name, value in given.items() if value is not None})
            wellbeing.set_terms(session, wanted, by=by, now=now())
            terms = wellbeing.terms(session)
    show(terms._asdict(), as_json=as_json, lines=_words(terms))


def withdrawn(context: typer.Context, as_json: Json = False) -> None:
    """List texts that a reviewer's tick took away from everybody; the texts themselves are never shown."""
    from flagback.storage import withdrawals

    with records(context) as store, store.reading() as session:
        rows = [row._asdict() for row in withdrawals.in_force(session)]
    lines = columns(rows, ["id", "item_id", "category", "length", "created_at"]) if rows else ["Nothing is taken away."]
    show(rows, as_json=as_json, lines=lines)


def give_back(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="Its number in 'flagback care withdrawn'.")],
    reason: Annotated[str, typer.Option(help="Why it was taken away by mistake; it is recorded.")],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Give a text back that was taken away by mistake: everybody can meet it again."""
    from flagback.storage import withdrawals
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, needed_for="care give-back", leading=True)
        with store.writing() as session:
            row = withdrawals.give_back(session, number, by=by, reason=reason, now=now())
    shown = {"id": row.id, "restored_at": row.restored_at, "restored_by": row.restored_by, "reason": row.reason}
    show(shown, as_json=as_json, lines=[f"Withdrawal {row.id} has ended; people are asked about the text once more."])


def _words(terms: "Terms") -> list[str]:
    topics = ", ".join(terms.sensitive_topics) or "no topic"
    return [
        f"Nothing more is handed out to who met {terms.severe_a_day:,} severe answers in 24 hours.",
        f"Answers are covered from an expected harm of {terms.cover_from:g}, and while nothing is known, on: {topics}.",
        f"Whom to turn to: {terms.support or 'not said yet; --support FILE says it'}",
    ]
