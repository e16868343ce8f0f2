"""Commands about published tests of bias: `suites` lists them, `evaluate --suite` puts one to a model or compares two.

Runs in this process and changes no record; what it keeps are scores, so that a second look is free.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from flagback.review_app.commands.shared import Json, columns, note, records, settings_of, show

if TYPE_CHECKING:
    from flagback.model.examination import Examined, Subject
    from flagback.model.figures import Figure
    from flagback.model.suites.bbq import Figures
    from flagback.model.suites.suite import Form, Item, Suite


class UnknownSuite(Exception):
    """No suite has this name."""


class DifferentForms(Exception):
    """A causal and a masked model cannot be compared: a suite measures other things with each."""


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    app.command()(suites)


def suites(as_json: Json = False) -> None:
    """List published tests of bias, where their data are, and what is wrong with each."""
    from flagback.model.suites import LISTED

    found = [
        {
            "suite": suite.NAME,
            "paper": suite.PAPER,
            "licence": suite.LICENCE,
            "source": suite.SOURCE,
            "weaknesses": list(suite.WEAKNESSES),
        }
        for suite in LISTED.values()
    ]
    lines: list[str] = []
    for suite in LISTED.values():
        lines += [suite.NAME, f"  paper: {suite.PAPER}", f"  data: {suite.SOURCE}", f"  licence: {suite.LICENCE}", "  weaknesses:"]
        lines += [f"  - {weakness}" for weakness in suite.WEAKNESSES]
    show({"suites": found}, as_json=as_json, lines=[*lines, "Next: 'flagback evaluate VERSION --suite NAME --data PATH'."])


def only_candidate(models: Sequence[str], **of_a_suite: object) -> int | None:
    """The candidate that an evaluation without a suite is about. A wrong call is refused."""
    for option, value in of_a_suite.items():
        if value:
            raise typer.BadParameter(f"--{'map' if option == 'columns' else option} goes with --suite NAME; see 'flagback suites'.")
    if len(models) > 1 or (models and not models[0].isdecimal()):
        raise typer.BadParameter(
            f"{' '.join(models)}: expected the number of one candidate; with --suite NAME also a directory, or two to compare."
        )
    return int(models[0]) if models else None


def evaluate(
    context: typer.Context,
    models: Sequence[str],
    *,
    suite: str,
    data: str | None,
    columns: Sequence[str],
    cache: Path | None,
    seed: int,
    as_json: bool,
    predictions: Path | None = None,
    column: str | None = None,
) -> None:
    """Puts a suite to one model, or to two and compares them, base first; or scores a file of a model's answers."""
    if predictions is not None:
        _of_predictions(suite, models, data, predictions, column, as_json=as_json)
        return
    from flagback.model.suite_data import located
    from flagback.model.suites.report import compared, levels

    if len(models) > 2:
        raise typer.BadParameter(f"{len(models)} models; expected one, or two to compare (base first).")
    chosen = _suite(suite, columns)
    if data is None:
        raise typer.BadParameter(f"--suite {suite} needs --data PATH. {chosen.SOURCE}")
    items = chosen.read(located(data, chosen.FILES))
    looks = []
    with _subjects(context, models, cache) as subjects:
        if len({subject.form for subject, _ in subjects}) > 1:
            told = " and ".join(f"{subject.name} is {subject.form}" for subject, _ in subjects)
            raise DifferentForms(f"{told}: a suite measures other things with each; compare two of one kind.")
        for subject, keep_in in subjects:
            looks.append((subject, _examined(subject, chosen, items, keep_in)))
    form = looks[0][0].form
    scored = [look.measures for _, look in looks]
    reports = [
        {"model": subject.name, "fingerprint": subject.fingerprint, "form": form, "scored_now": look.fresh}
        | levels(chosen, items, measures, form, seed=seed)
        for (subject, look), measures in zip(looks, scored, strict=True)
    ]
    comparison = compared(chosen, items, scored[0], scored[1], form, seed=seed) if len(scored) == 2 else None
    found = {
        "suite": chosen.NAME,
        "paper": chosen.PAPER,
        "data": {"location": data, "items": len(items), "sha256": _hash_of(chosen, items, form)},
        "seed": seed,
        "models": reports,
        "comparison": None if comparison is None else [figure.to_dict() for figure in comparison],
        "weaknesses": list(chosen.WEAKNESSES),
    }
    show(found, as_json=as_json, lines=_lines(chosen, reports, comparison or []))


def _of_predictions(
    suite: str, models: Sequence[str], data: str | None, predictions: Path, column: str | None, *, as_json: bool
) -> None:
    """BBQ's figures of answers that a model gave elsewhere."""
    from flagback.model.suite_data import located
    from flagback.model.suites import bbq

    if suite != bbq.NAME or models or data is None:
        raise typer.BadParameter("--predictions FILE goes with --suite bbq --data ITEMS, and without a model.")
    items = bbq.read(located(data, ()))
    report = bbq.aggregate(items, bbq.match(items, bbq.read_predictions(predictions, column=column)))
    found = {
        "suite": bbq.NAME,
        "paper": bbq.PAPER,
        "data": {"location": data, "items": len(items)},
        "predictions": str(predictions),
        "dropped": report.dropped,
        "overall": _plain(report.overall),
        "by_category": {name: _plain(figures) for name, figures in report.by_category.items()},
        "by_label": {f"{category}: {label}": _plain(figures) for (category, label), figures in report.by_label.items()},
        "weaknesses": list(bbq.WEAKNESSES),
    }
    rows = [
        {"of": name, **{key: value for key, value in figures.items() if key != "strict"}}
        for name, figures in [("all", found["overall"]), *found["by_category"].items()]  # type: ignore[attr-defined]
    ]
    lines = [*columns(rows, list(rows[0])), *(f"Known fault: {weakness}" for weakness in bbq.WEAKNESSES)]
    show(found, as_json=as_json, lines=lines)


def _plain(figures: "Figures") -> dict[str, Any]:
    """Named figures as JSON has them; undefined stays null."""
    return figures._asdict() | {"strict": figures.strict._asdict()}


def _suite(name: str, mapping: Sequence[str]) -> "Suite":
    """The suite of a name; `custom` with its columns."""
    from flagback.model.suites import SUITES, custom

    if name == custom.NAME:
        parted = [one.partition("=") for one in mapping]
        wrong = next((one for one, (role, _, column) in zip(mapping, parted, strict=True) if not (role and column)), None)
        if wrong is not None:
            raise typer.BadParameter(f"--map {wrong}: expected ROLE=COLUMN, such as more=sentence_a.")
        return custom.Pairs({role: column for role, _, column in parted})
    if mapping:
        raise typer.BadParameter(f"--map goes with --suite {custom.NAME}; {name} reads its paper's own columns.")
    if name not in SUITES:
        raise UnknownSuite(
            f"No suite is called {name!r}; expected one of: {', '.join([*SUITES, custom.NAME])}. See 'flagback suites'."
        )
    return SUITES[name]


@contextmanager
def _subjects(context: typer.Context, models: Sequence[str], cache: Path | None) -> Iterator[list[tuple["Subject", Path | None]]]:
    """The models, each with the folder that keeps its scores: --cache, else for a version the installation's artifacts."""
    from flagback.model.examination import folder_subject, version_subject
    from flagback.model.shelf import Shelf
    from flagback.storage import versions
    from flagback.storage.artifacts import Artifacts
    from flagback.storage.records import ModelVersion

    settings = settings_of(context)
    if models and not any(model.isdecimal() for model in models):
        yield [(folder_subject(model, threads=settings.threads), cache) for model in models]
        return
    shelf = Shelf(Artifacts(settings.artifacts), threads=settings.threads)
    with records(context) as store:
        subjects: list[tuple[Subject, Path | None]] = []
        for model in models or ["current"]:
            if model != "current" and not model.isdecimal():
                subjects.append((folder_subject(model, threads=settings.threads), cache))
                continue
            with store.reading() as session:
                version: ModelVersion = versions.current(session) if model == "current" else versions.get(session, int(model))
            subjects.append((version_subject(version, shelf), cache or settings.artifacts))
        yield subjects


def _examined(subject: "Subject", suite: "Suite", items: Sequence["Item"], keep_in: Path | None) -> "Examined":
    """Scores with a word now and then about how far it is."""
    from flagback.model.examination import examined

    told = [0]

    def on_progress(done: int, of: int) -> None:
        if done * 10 // of > told[0]:
            told[0] = done * 10 // of
            note(f"{subject.name}: {done} of {of} items")

    return examined(subject, suite, items, keep_in=keep_in, on_progress=on_progress)


def _hash_of(suite: "Suite", items: Sequence["Item"], form: "Form") -> str:
    """sha256 over what was asked, whatever the order."""
    from flagback.model.kept_scores import item_hash

    return hashlib.sha256("".join(sorted(item_hash(suite.texts(item, form)) for item in items)).encode("ascii")).hexdigest()


# --------------------------------------------------------------------- showing


def _lines(suite: "Suite", reports: Sequence[Mapping[str, Any]], comparison: Sequence["Figure"]) -> list[str]:
    from flagback.model.figures import detectable_words

    lines: list[str] = []
    for report in reports:
        known = "all known from an earlier look" if not report["scored_now"] else f"{report['scored_now']} scored now"
        lines += [f"{suite.NAME}, {report['model']} ({report['form']}), {report['n']} items, {known}", ""]
        rows = [{"metric": name} | level for name, level in report["figures"].items()]
        lines += [*columns(rows, ["metric", "value", "low", "high", "n", "clusters", "detectable"]), ""]
        main = next(iter(report["figures"]))
        groups = [
            {"kind": kind, "group": group} | entry["figures"][main]
            for kind, entries in report["groups"].items()
            for group, entry in entries.items()
        ]
        shown = ["kind", "group", "value", "low", "high", "n", "detectable"]
        lines += [f"{main} by group", *columns(groups, shown), ""] if groups else []
        few = [f"{one['group']} ({one['n']})" for one in report["suppressed"]]
        lines += [f"Two groups at once, too few to say anything: {', '.join(few)}.", ""] if few else []
    if comparison:
        told = [figure.to_dict() for figure in comparison]
        lines += [
            f"change from {reports[0]['model']} to {reports[1]['model']}, paired by item",
            *columns(told, ["metric", "base", "candidate", "change", "low", "high", "n", "detectable"]),
            "",
            *(f"{one.metric}: {detectable_words(one)} {one.note}".strip() for one in comparison if "[" not in one.metric),
            "",
        ]
    return [
        *lines,
        "'-' is not enough data, never 0. low and high are the ends of 95 % intervals over independent clusters.",
        "detectable is the smallest change that so much data would show 8 times in 10.",
        *(f"{suite.NAME}: {weakness}" for weakness in suite.WEAKNESSES),
    ]
