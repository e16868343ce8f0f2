"""Commands of what guides reviewers: `flagback guidelines ...`, `flagback practice ...` and `flagback checks ...`, as on
the pages."""

import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flagback.review_app.commands.shared import As, Json, actor, columns, records, shortened, show

if TYPE_CHECKING:
    from flagback.storage.second_looks import Rates

Lang = Annotated[str | None, typer.Option(help="Primary subtag, such as en or es.", show_default="the first language")]
Note = Annotated[str, typer.Option(help="What changed, in one line; reviewers are told it.")]
Number = Annotated[int | None, typer.Option("--version", help="Which version.", show_default="the one in force")]
#: "-" stands for what is piped in.
File = Annotated[Path, typer.Argument(metavar="FILE", help="A file, or - for what is piped in.", allow_dash=True)]


class UnreadableFile(ValueError):
    """A file cannot be read as text."""


def add_to(app: typer.Typer) -> None:
    """Adds these families."""
    written = typer.Typer(no_args_is_help=True, help="What reviewers read before they judge, in versions that never change.")
    written.command("show")(show_guidelines)
    written.command("set")(set_guidelines)
    written.command("history")(guideline_history)
    written.command("bring-back")(bring_back)
    app.add_typer(written, name="guidelines")
    practised = typer.Typer(no_args_is_help=True, help="Made-up answers that reviewers go through before the first real one.")
    practised.command("show")(show_practice)
    practised.command("set")(set_practice)
    practised.command("history")(practice_history)
    practised.command("off")(no_practice)
    app.add_typer(practised, name="practice")
    checks = typer.Typer(no_args_is_help=True, help="Answers asked a second time, to see how steadily one person judges.")
    checks.command("show")(show_checks)
    checks.command("set")(set_checks)
    checks.command("candidates")(candidates)
    checks.command("add")(add_gold)
    checks.command("import")(import_gold)
    checks.command("end")(end_gold)
    app.add_typer(checks, name="checks")


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(
            f"{file} cannot be read ({error}); expected a text file in UTF-8, or - for what is piped in."
        ) from error


# --------------------------------------------------------------------- guidelines


def show_guidelines(context: typer.Context, lang: Lang = None, version: Number = None, as_json: Json = False) -> None:
    """Print a version of the guidelines as it was written: Markdown."""
    from flagback.storage import guidelines

    with records(context) as store, store.reading() as session:
        found = guidelines.in_force(session) if version is None else guidelines.version(session, version)
    chosen = lang or found.default_lang
    if chosen not in found.texts:
        raise guidelines.UnknownGuideline(
            f"Version {found.version} has no words in {chosen!r}; it has some in: {', '.join(sorted(found.texts))}."
        )
    show(found._asdict(), as_json=as_json, lines=found.texts[chosen].splitlines())


def set_guidelines(
    context: typer.Context,
    file: File,
    note: Note,
    lang: Lang = None,
    default: Annotated[bool, typer.Option("--default", help="Show this language to who reads none of the others.")] = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Make a new version from a file of Markdown. Words in other languages stay as they were; an empty file takes its
    language away."""
    from flagback.storage import guidelines
    from flagback.storage.records import now

    text = _text(file)
    with records(context) as store:
        by = actor(store, as_, needed_for="guidelines set", leading=True)
        with store.writing() as session:
            before = guidelines.in_force(session)
            chosen = lang or before.default_lang
            made = guidelines.set_text(session, text, lang=chosen, note=note, by=by, now=now(), default=default)
    said = "is in force" if made.version != before.version else "says so already; nothing was changed"
    show(made._asdict(), as_json=as_json, lines=[f"Version {made.version} {said}. Languages: {', '.join(sorted(made.texts))}."])


def guideline_history(
    context: typer.Context,
    lang: Lang = None,
    difference: Annotated[bool, typer.Option("--difference", help="Print what changed from version to version.")] = False,
    as_json: Json = False,
) -> None:
    """List every version: who wrote it, when, and what changed."""
    from flagback.storage import guidelines

    with records(context) as store, store.reading() as session:
        found = guidelines.history(session)
    rows = [{**one._asdict(), "languages": sorted(one.texts)} for one in found]
    lines = columns(rows, ["version", "created_at", "set_by", "languages", "note"])
    if difference:
        chosen = lang or found[0].default_lang
        for later, earlier in pairwise(found):
            lines += ["", f"Version {later.version} against {earlier.version}, {chosen}:"]
            changed = guidelines.differences(earlier.texts.get(chosen, ""), later.texts.get(chosen, ""))
            lines += [f"{sign} {line}" for sign, line in changed if sign != " "] or ["  no change in this language"]
    show(rows, as_json=as_json, lines=lines)


def bring_back(
    context: typer.Context,
    version: Annotated[int, typer.Argument(help="Its number in 'flagback guidelines history'.")],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Make a new version that says what an old one said."""
    from flagback.storage import guidelines
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, needed_for="guidelines bring-back", leading=True)
        with store.writing() as session:
            made = guidelines.bring_back(session, version, by=by, now=now())
    show(made._asdict(), as_json=as_json, lines=[f"Version {made.version} is in force, and says what version {version} said."])


# ----------------------------------------------------------------------- practice


def show_practice(context: typer.Context, lang: Lang = None, version: Number = None, as_json: Json = False) -> None:
    """Print the practice of one language; with --json the list that 'flagback practice set' reads."""
    from flagback.storage import practice

    with records(context) as store, store.reading() as session:
        found = practice.in_force(session) if version is None else practice.version(session, version)
    items = [item._asdict() for item in found.items.get(lang or found.default_lang, ())]
    lines = [f"Version {found.version}: {found.note}"]
    for number, item in enumerate(items, 1):
        said = "looks fine" if item["verdict"] == "fine" else f"flag: {', '.join(item['categories'])}"
        lines += ["", f"{number}. {item['prompt']}", f"   {item['answer'].strip()}", f"   {said}. {item['explanation']}"]
    if not items:
        lines.append("No practice is offered in this language.")
    show(items, as_json=as_json, lines=lines)


def set_practice(context: typer.Context, file: File, note: Note, lang: Lang = None, as_: As = None, as_json: Json = False) -> None:
    """Make a new version from a file of JSON, as 'flagback practice show --json' prints it. Other languages stay as they were."""
    import json

    from flagback.storage import practice
    from flagback.storage.records import now

    try:
        items = practice.parsed(json.loads(_text(file)))
    except json.JSONDecodeError as error:
        raise practice.BadPractice(
            f"{file} is no JSON ({error}); 'flagback practice show --json' prints what is expected."
        ) from error
    with records(context) as store:
        by = actor(store, as_, needed_for="practice set", leading=True)
        with store.writing() as session:
            chosen = lang or practice.in_force(session).default_lang
            made = practice.set_items(session, items, lang=chosen, note=note, by=by, now=now())
    lines = [f"Version {made.version} is in force for who begins from now on: {len(items)} items in {chosen}."]
    show(made._asdict(), as_json=as_json, lines=lines)


def practice_history(context: typer.Context, as_json: Json = False) -> None:
    """List every version: who wrote it, when, and what changed."""
    from flagback.storage import practice

    with records(context) as store, store.reading() as session:
        found = practice.history(session)
    rows = [
        {**one._asdict(), "languages": sorted(one.items), "n_items": sum(len(items) for items in one.items.values())}
        for one in found
    ]
    show(rows, as_json=as_json, lines=columns(rows, ["version", "created_at", "set_by", "languages", "n_items", "note"]))


def no_practice(context: typer.Context, as_: As = None, as_json: Json = False) -> None:
    """Offer no practice from now on; 'flagback practice set' offers some again."""
    from flagback.storage import practice
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, needed_for="practice off", leading=True)
        with store.writing() as session:
            practice.offer_none(session, by=by, now=now())
            made = practice.in_force(session)
    show(made._asdict(), as_json=as_json, lines=["No practice is offered from now on; who is on the way goes through it."])


# ------------------------------------------------------------------------- checks


def _rates(rates: "Rates") -> list[str]:
    def often(what: str, every: int) -> str:
        return f"{what}: one in {every:,} of what is handed out." if every else f"{what}: none."

    return [
        often("Own earlier answers", rates.repeat_every),
        often("Gold", rates.gold_every),
        f"An own answer comes again after {rates.days_apart} days and {rates.answers_apart} further answers.",
    ]


def show_checks(context: typer.Context, as_json: Json = False) -> None:
    """Show how often answers are asked a second time, and which are gold. What comes of it is in 'flagback reviewers'."""
    from flagback.storage import gold, second_looks

    with records(context) as store, store.reading() as session:
        rates, known = second_looks.rates(session), gold.in_force(session)
    rows: list[dict[str, Any]] = [
        {
            "gold": one.gold.id,
            "expected": one.gold.expected,
            "source": one.gold.source,
            "asked": one.asked,
            "met": one.met,
            "answer": shortened(one.text, 50),
        }
        for one in known
    ]
    table = columns(rows, ["gold", "expected", "source", "asked", "met", "answer"]) if rows else ["No answer is gold yet."]
    show({**rates._asdict(), "gold": rows}, as_json=as_json, lines=[*_rates(rates), "", *table])


def set_checks(
    context: typer.Context,
    repeat_every: Annotated[
        int | None, typer.Option(help="An own earlier answer: one in so many; 0 for none.", show_default=False)
    ] = None,
    gold_every: Annotated[int | None, typer.Option(help="Gold: one in so many; 0 for none.", show_default=False)] = None,
    days_apart: Annotated[int | None, typer.Option(help="Days before an own answer comes again.", show_default=False)] = None,
    answers_apart: Annotated[int | None, typer.Option(help="Further answers before it comes again.", show_default=False)] = None,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Change how often answers are asked a second time; what is not named stays."""
    from flagback.storage import second_looks
    from flagback.storage.records import now

    given = {
        name: value
        for name, value in (
            ("repeat_every", repeat_every),
            ("gold_every", gold_every),
            ("days_apart", days_apart),
            ("answers_apart", answers_apart),
        )
        if value is not None
    }
    if not given:
        raise second_looks.BadRates(
            "Nothing was named to change; expected one of --repeat-every, --gold-every, --days-apart and --answers-apart. "
            "'flagback checks show' says what holds."
        )
    with records(context) as store:
        by = actor(store, as_, needed_for="checks set", leading=True)
        with store.writing() as session:
            second_looks.set_rates(session, second_looks.rates(session)._replace(**given), by=by, now=now())
            rates = second_looks.rates(session)
    show(rates._asdict(), as_json=as_json, lines=_rates(rates))


def candidates(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, most votes first.")] = 20,
    as_json: Json = False,
) -> None:
    """List answers that could be gold: judged by several people, all alike."""
    from flagback.storage import gold

    with records(context) as store, store.reading() as session:
        found = gold.candidates(session, limit=limit)
    rows: list[dict[str, Any]] = [
        {
            "answer": one.generation_id,
            "expected": one.expected,
            "votes": one.votes,
            "prompt": shortened(one.messages[-1]["content"], 40),
            "text": shortened(one.text, 50),
        }
        for one in found
    ]
    nothing = [f"No answer was judged by {gold.AGREED_BY} people or more, all alike."]
    show(rows, as_json=as_json, lines=columns(rows, ["answer", "expected", "votes", "prompt", "text"]) if rows else nothing)


def add_gold(
    context: typer.Context,
    answer: Annotated[int, typer.Argument(help="Its number in 'flagback checks candidates'.")],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Make an answer gold: people who have not met it may be asked about it."""
    from flagback.storage import gold
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, needed_for="checks add", leading=True)
        row = store.settle(lambda session: gold.add(session, answer, by=by, now=now()))
    shown = {"gold": row.id, "answer": answer, "expected": row.expected}
    show(shown, as_json=as_json, lines=[f"Answer {answer} is gold {row.id}; expected: {row.expected}."])


def import_gold(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON lines.", dir_okay=False)],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Bring gold along: lines of {"prompt", "answer", "expected": "flag" or "fine", "lang"}. All of a file or nothing of it."""
    from flagback.storage import gold
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, needed_for="checks import", leading=True)
        count = store.settle(lambda session: gold.import_gold(session, file, by=by, now=now()))
    show({"added": count}, as_json=as_json, lines=[f"{count:,} answers are gold that were not before."])


def end_gold(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="Its number in 'flagback checks show'.")],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Hand one out no more; what was said of it stays."""
    from flagback.storage import gold
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_, needed_for="checks end", leading=True)
        with store.writing() as session:
            row = gold.end(session, number, by=by, now=now())
    show({"gold": row.id, "ended_by": row.ended_by}, as_json=as_json, lines=[f"Gold {row.id} is handed out no more."])
