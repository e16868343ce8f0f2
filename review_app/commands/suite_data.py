"""Commands about the data of tests: `suites add` takes them in for every evaluation to come, `suites withdraw` ends that."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flagback.review_app.commands.shared import As, Json, actor, columns, note, records, settings_of, show

if TYPE_CHECKING:
    from flagback.storage.records import SuiteData
    from flagback.storage.store import Store


def add_to(family: typer.Typer) -> None:
    """Adds these to `flagback suites`."""
    family.command()(add)
    family.command()(withdraw)


def roles_of(mapping: Sequence[str]) -> dict[str, str]:
    """{"more": "sentence_a", ...} of "more=sentence_a" and others."""
    parted = [one.partition("=") for one in mapping]
    wrong = next((one for one, (role, _, column) in zip(mapping, parted, strict=True) if not (role and column)), None)
    if wrong is not None:
        raise typer.BadParameter(f"--map {wrong}: expected ROLE=COLUMN, such as more=sentence_a.")
    return {role: column for role, _, column in parted}


def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Which suite; see 'flagback suites list'.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="A path or hub id; without one, what Flagback builds itself."),
    ] = None,
    mapping: Annotated[list[str] | None, typer.Option("--map", metavar="ROLE=COLUMN", help="Columns of your own pairs.")] = None,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Take a test's data in: from now on every evaluation puts it to both versions.

    A copy of the data is kept in the home. No gate reads a test; its figures are under Evidence in the browser.
    """
    from flagback.model import suite_runs
    from flagback.storage import suites
    from flagback.storage.artifacts import Artifacts

    settings = settings_of(context)
    suite = suite_runs.suite_of(name, roles_of(mapping or []))
    with records(context) as store, tempfile.TemporaryDirectory() as folder:
        with store.reading() as session:
            known = {one.id for one in suites.in_use(session)}
        place, location = _located(store, name, data, suite.FILES, Path(folder), suite.SOURCE)
        taken = suite_runs.take_in(
            store,
            Artifacts(settings.artifacts),
            name,
            place,
            location=location,
            columns=roles_of(mapping or []),
            by=actor(store, as_),
        )
    show(
        {"data": taken.id, "suite": name, "items": taken.n_items, "location": location, "content_hash": taken.content_hash},
        as_json=as_json,
        lines=[
            f"{name}: {taken.n_items:,} items, data {taken.id}"
            + (", in use already." if taken.id in known else ". Every evaluation puts them to both versions from now on."),
            f"Next: 'flagback evaluate VERSION --suite {name}' puts them to a version now.",
        ],
    )


def _located(
    store: "Store", name: str, data: str | None, files: Sequence[str], folder: Path, source: str
) -> tuple[Path | None, str]:
    """Where the data are, or None for a suite's own items; the counterfactual suite is written down from this installation."""
    from flagback.model.suites import counterfactual
    from flagback.model.suites.bold import Bold

    if data is not None:
        from flagback.model.suite_data import located

        return located(data, files or ("*.csv", "*.jsonl"), together=name == Bold.NAME), data
    if not files:
        return None, "built in"
    if name == counterfactual.NAME:
        from flagback.model.own_suites import counterfactual_rows

        with store.reading() as session:
            rows = counterfactual_rows(session)
        place = folder / "counterfactual.jsonl"
        place.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return place, "built from this installation"
    raise typer.BadParameter(f"{name} needs --data PATH. {source}")


def withdraw(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="The data's number in 'flagback suites list'.")],
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Have evaluations put a test's data no longer. What was found stays; 'suites add' takes the data up again."""
    from flagback.storage import suites
    from flagback.storage.records import now

    with records(context) as store:
        by = actor(store, as_)
        with store.writing() as session:
            data = suites.withdraw(session, number, by=by, now=now())
    show(
        {"data": data.id, "suite": data.suite, "withdrawn_at": data.withdrawn_at},
        as_json=as_json,
        lines=[f"{data.suite} (data {data.id}) is put no longer; what was found stays."],
    )


def in_use(context: typer.Context) -> list[dict[str, Any]]:
    """The data that evaluations put, of the installation at hand; none where there is no installation."""
    from flagback.review_app.home import NoInstallation
    from flagback.storage import suites

    try:
        with records(context) as store, store.reading() as session:
            return [
                {"data": one.id, "suite": one.suite, "items": one.n_items, "location": one.location, "since": one.created_at}
                for one in suites.in_use(session)
            ]
    except NoInstallation:
        return []


def lines_of(listed: Sequence[dict[str, Any]]) -> list[str]:
    """What is in use, for people."""
    if not listed:
        return ["No test is put by evaluations yet: 'flagback suites add NAME --data PATH'."]
    return ["Put by every evaluation:", *columns(listed, ["data", "suite", "items", "location", "since"])]


def put_now(context: typer.Context, name: str, versions: Sequence[int]) -> "SuiteData | None":
    """Puts the newest data in use of a suite to versions and keeps their answers; None where no data of it are in use."""
    from flagback.model import suite_runs
    from flagback.model.shelf import Shelf
    from flagback.storage import suites
    from flagback.storage import versions as known
    from flagback.storage.artifacts import Artifacts

    settings = settings_of(context)
    with records(context) as store:
        with store.reading() as session:
            listed = suites.in_use(session, name)
            asked = [known.get(session, number) for number in versions]
        if not listed:
            return None
        shelf = Shelf(Artifacts(settings.artifacts), threads=settings.threads)
        for version in asked:
            told = [0]

            def on_progress(done: int, of: int, told: list[int] = told, number: int = version.id) -> None:
                if done * 10 // of > told[0]:
                    told[0] = done * 10 // of
                    note(f"version {number}: {done} of {of} items")

            suite_runs.put(store, shelf, version, listed[-1], on_progress=on_progress)
        for version in asked[1:]:
            suite_runs.changes(store, shelf.artifacts, listed[-1], asked[0].id, version.id)
    return listed[-1]
