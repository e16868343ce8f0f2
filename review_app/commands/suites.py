"""Commands about tests of bias: `suites list`, `suites build`, and `evaluate --suite`, which puts one to a model or compares two.

Runs in this process and changes no record; what it keeps are scores, so that a second look is free.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from flagback.review_app.commands import suite_data
from flagback.review_app.commands.shared import Json, columns, note, records, settings_of, show

if TYPE_CHECKING:
    from flagback.model.examination import Examined, Subject
    from flagback.model.figures import Figure
    from flagback.model.suites.bbq import Figures
    from flagback.model.suites.suite import Item, Measures, ScoringSuite, Suite, WritingSuite


class AlreadyThere(Exception):
    """A file that was to be written is there."""


class DifferentForms(Exception):
    """A causal and a masked model cannot be compared: a suite measures other things with each."""


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    family = typer.Typer(no_args_is_help=True, help="Tests of bias: published ones, your own, and those built from your reviews.")
    family.command("list")(list_suites)
    family.command()(build)
    suite_data.add_to(family)
    app.add_typer(family, name="suites")


def list_suites(context: typer.Context, as_json: Json = False) -> None:
    """List tests of bias, where their data are, what is wrong with each, and which this installation puts."""
    from flagback.model.suites import LISTED

    used = suite_data.in_use(context)

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
    lines += [*suite_data.lines_of(used), "Next: 'flagback evaluate VERSION --suite NAME --data PATH'."]
    show({"suites": found, "in_use": used}, as_json=as_json, lines=lines)


def build(
    context: typer.Context,
    name: Annotated[Literal["counterfactual"], typer.Argument(help="Which suite.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write (.jsonl); it must not be there.")],
    as_json: Json = False,
) -> None:
    """Write a suite down that is built from this installation's own reviews, to put the same items to models that come later.

    The file holds your prompts and flagged answers: keep it as you keep the installation.
    """
    from flagback.model.own_suites import counterfactual_rows

    if out.suffix != ".jsonl":
        raise typer.BadParameter(f"--out {out}: expected a name that ends in .jsonl.")
    if out.exists():
        raise AlreadyThere(f"{out} is there already, and nothing is overwritten; name another file.")
    with records(context) as store, store.reading() as session:
        rows = counterfactual_rows(session)
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    axes = sorted({row["axis"] for row in rows})
    families = len({row["split_key"] for row in rows})
    show(
        {"suite": name, "file": str(out), "items": len(rows), "families": families, "axes": axes},
        as_json=as_json,
        lines=[
            f"{out}: {len(rows)} flagged answers with their groups swapped, {families} families of prompts ({', '.join(axes)}).",
            f"Next: 'flagback evaluate VERSION --suite {name} --data {out}'.",
        ],
    )


def only_candidate(models: Sequence[str], **of_a_suite: object) -> int | None:
    """The candidate that an evaluation without a suite is about. A wrong call is refused."""
    for option, value in of_a_suite.items():
        if value:
            named = "map" if option == "columns" else option.replace("_", "-")
            raise typer.BadParameter(f"--{named} goes with --suite NAME; see 'flagback suites list'.")
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
    per_group: int | None = None,
) -> None:
    """Puts a suite to one model, or to two and compares them, base first; or scores a file of a model's answers."""
    if predictions is not None:
        _of_predictions(suite, models, data, predictions, column, as_json=as_json)
        return
    from flagback.model.suite_runs import content_hash
    from flagback.model.suites import OWN
    from flagback.model.suites.between_groups import range_changes, ranges
    from flagback.model.suites.report import compared, levels
    from flagback.model.suites.suite import WritingSuite

    if suite in OWN:
        _measured(context, suite, models, data, as_json=as_json)
        return
    if len(models) > 2:
        raise typer.BadParameter(f"{len(models)} models; expected one, or two to compare (base first).")
    used = _in_use(context, suite, models) if data is None and not columns and per_group is None else None
    chosen, items, location = used or _asked(context, suite, columns, data, per_group=per_group, seed=seed)
    looks = []
    with _subjects(context, models, cache) as subjects:
        if len({subject.form for subject, _, _ in subjects}) > 1:
            told = " and ".join(f"{subject.name} is {subject.form}" for subject, _, _ in subjects)
            raise DifferentForms(f"{told}: a suite measures other things with each; compare two of one kind.")
        for subject, keep_in, version_id in subjects:
            look = _examined(subject, chosen, items, keep_in)
            looks.append((subject, look, _with_flags(context, chosen, items, look.measures, version_id)))
    form = looks[0][0].form
    scored = [measures for _, _, measures in looks]
    reports = [
        {"model": subject.name, "fingerprint": subject.fingerprint, "form": form, "scored_now": look.fresh}
        | levels(chosen, items, measures, form, seed=seed)
        for subject, look, measures in looks
    ]
    comparison = compared(chosen, items, scored[0], scored[1], form, seed=seed) if len(scored) == 2 else None
    found = {
        "suite": chosen.NAME,
        "paper": chosen.PAPER,
        "data": {"location": location, "items": len(items), "sha256": content_hash(chosen, items, form)},
        "seed": seed,
        "models": reports,
        "comparison": None if comparison is None else [figure.to_dict() for figure in comparison],
        "weaknesses": list(chosen.WEAKNESSES),
    }
    lines = _lines(chosen, reports, comparison or [])
    if isinstance(chosen, WritingSuite):
        names = list(chosen.METRICS[form])
        for report, (_, look, measures) in zip(reports, looks, strict=True):
            report["between_groups"] = [one._asdict() for one in ranges(items, measures, names, seed=seed)]
            report["written"] = {item.key: texts for item, texts in zip(items, look.written, strict=True)}
        changes = range_changes(items, scored[0], scored[1], names, seed=seed) if len(scored) == 2 else []
        told_changes = [change._asdict() for change in changes]
        found["between_groups"] = told_changes
        lines = [*_between_lines(reports, told_changes), *lines]
    show(found, as_json=as_json, lines=lines)


def _in_use(
    context: typer.Context, suite: str, models: Sequence[str]
) -> "tuple[ScoringSuite | WritingSuite, list[Item], str] | None":
    """The data in use of a suite, put to registered versions and kept with them; None where that is not what is asked."""
    from flagback.model import suite_runs
    from flagback.storage import versions
    from flagback.storage.artifacts import Artifacts

    if not all(model.isdecimal() for model in models):
        return None
    numbers = [int(model) for model in models]
    if not numbers:
        with records(context) as store, store.reading() as session:
            numbers = [versions.current(session).id]
    data = suite_data.put_now(context, suite, numbers)
    if data is None:
        return None
    return *suite_runs.asked_items(Artifacts(settings_of(context).artifacts), data), f"data {data.id}: {data.location}"


def _asked(
    context: typer.Context, suite: str, columns: Sequence[str], data: str | None, *, per_group: int | None, seed: int
) -> "tuple[ScoringSuite | WritingSuite, list[Item], str]":
    """The suite and its items from data that were named, or of its own."""
    chosen = _suite(suite, columns, per_group=per_group, seed=seed)
    return chosen, _items(context, chosen, data), data or "built in"


def _items(context: typer.Context, suite: "Suite", data: str | None) -> list["Item"]:
    """What a suite asks: from its data, or its own where it needs none."""
    from flagback.model.own_suites import counterfactual_rows
    from flagback.model.suite_data import located
    from flagback.model.suites import counterfactual
    from flagback.model.suites.bold import Bold
    from flagback.model.suites.descriptors import Descriptors
    from flagback.storage.reading import Place, Row

    if data is not None:
        patterns = suite.FILES or ("*.csv", "*.jsonl")
        return suite.read(located(data, patterns, together=isinstance(suite, Bold)))
    if isinstance(suite, Descriptors):
        return suite.own()
    if suite.NAME == counterfactual.NAME:
        with records(context) as store, store.reading() as session:
            rows = counterfactual_rows(session)
        return counterfactual.items(
            Row(Place("this installation", number, "item"), row) for number, row in enumerate(rows, start=1)
        )
    raise typer.BadParameter(f"--suite {suite.NAME} needs --data PATH. {suite.SOURCE}")


def _with_flags(
    context: typer.Context, suite: "Suite", items: Sequence["Item"], measures: list["Measures"], version_id: int | None
) -> list["Measures"]:
    """Reviewers' flags beside what a version wrote to the same prompts, for the suite that has a place for them."""
    from flagback.model.own_suites import flag_shares
    from flagback.model.suites.bold import Bold, with_flags

    if version_id is None or not isinstance(suite, Bold):
        return measures
    with records(context) as store, store.reading() as session:
        return with_flags(items, measures, flag_shares(session, version_id))


def _measured(context: typer.Context, suite: str, models: Sequence[str], data: str | None, *, as_json: bool) -> None:
    """What the newest evaluation of a version found."""
    from flagback.model.own_suites import measured_figures
    from flagback.model.suites import OWN

    asked = OWN[suite]
    if len(models) != 1 or not models[0].isdecimal() or data is not None:
        raise typer.BadParameter(f"--suite {suite} is about the number of one candidate, without --data. {asked.SOURCE}")
    with records(context) as store, store.reading() as session:
        evaluation, figures = measured_figures(session, int(models[0]), asked.FIGURES)
    told = {
        "suite": suite,
        "version": int(models[0]),
        "evaluation": evaluation,
        "figures": figures,
        "weaknesses": list(asked.WEAKNESSES),
    }
    notes = [f"{figure['metric']}: {figure['note']}" for figure in figures if figure.get("note")]
    waits = [
        f"{figure['metric']}: {figure['n']} of {figure['planned']} prompts are judged; when more are, run "
        f"'flagback evaluate {models[0]}' once more."
        for figure in figures
        if figure.get("planned") and figure["n"] < figure["planned"]
    ]
    lines = [f"{suite}, version {models[0]}, evaluation {evaluation}", ""]
    lines += columns(figures, ["metric", "base", "candidate", "change", "low", "high", "n", "detectable"])
    if not figures:
        lines.append(f"Evaluation {evaluation} found nothing to measure here: it had no held-out prompts or pairs.")
    lines += ["", *notes, *waits, "'-' is not enough data, never 0. low and high are the ends of 95 % intervals over clusters."]
    show(told, as_json=as_json, lines=[*lines, *(f"{suite}: {weakness}" for weakness in asked.WEAKNESSES)])


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


def _suite(name: str, mapping: Sequence[str], *, per_group: int | None, seed: int) -> "ScoringSuite | WritingSuite":
    """The suite of a name; `custom` with its columns, `bold` with how much of it is asked."""
    from flagback.model.suite_runs import suite_of
    from flagback.model.suites import custom
    from flagback.model.suites.bold import PER_GROUP, Bold

    if name == Bold.NAME:
        return Bold(per_group=per_group or PER_GROUP, seed=seed)
    if per_group is not None:
        raise typer.BadParameter(f"--per-group goes with --suite {Bold.NAME}; {name} asks all its items.")
    if name == custom.NAME:
        return custom.Pairs(suite_data.roles_of(mapping))
    if mapping:
        raise typer.BadParameter(f"--map goes with --suite {custom.NAME}; {name} reads its paper's own columns.")
    return suite_of(name, {})


class _Put(NamedTuple):
    """A model and where what it says is kept: --cache, else for a version the installation's artifacts."""

    subject: "Subject"
    keep_in: Path | None
    #: None for a model that is not registered.
    version_id: int | None = None


@contextmanager
def _subjects(context: typer.Context, models: Sequence[str], cache: Path | None) -> Iterator[list[_Put]]:
    """The models."""
    from flagback.model.examination import folder_subject, version_subject
    from flagback.model.shelf import Shelf
    from flagback.storage import versions
    from flagback.storage.artifacts import Artifacts
    from flagback.storage.records import ModelVersion

    settings = settings_of(context)
    if models and not any(model.isdecimal() for model in models):
        yield [_Put(folder_subject(model, threads=settings.threads), cache) for model in models]
        return
    shelf = Shelf(Artifacts(settings.artifacts), threads=settings.threads)
    with records(context) as store:
        subjects: list[_Put] = []
        for model in models or ["current"]:
            if model != "current" and not model.isdecimal():
                subjects.append(_Put(folder_subject(model, threads=settings.threads), cache))
                continue
            with store.reading() as session:
                version: ModelVersion = versions.current(session) if model == "current" else versions.get(session, int(model))
            subjects.append(_Put(version_subject(version, shelf), cache or settings.artifacts, version.id))
        yield subjects


def _examined(
    subject: "Subject", suite: "ScoringSuite | WritingSuite", items: Sequence["Item"], keep_in: Path | None
) -> "Examined":
    """Scores with a word now and then about how far it is."""
    from flagback.model.examination import examined

    told = [0]

    def on_progress(done: int, of: int) -> None:
        if done * 10 // of > told[0]:
            told[0] = done * 10 // of
            note(f"{subject.name}: {done} of {of} items")

    return examined(subject, suite, items, keep_in=keep_in, on_progress=on_progress)


# --------------------------------------------------------------------- showing


def _main(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """Metric -> the kinds of groups it is shown for: the first that is defined for one of them, else the first."""
    found: dict[str, list[str]] = {}
    for kind, entries in report["groups"].items():
        defined = [
            name for name in report["figures"] if any(entry["figures"][name]["value"] is not None for entry in entries.values())
        ]
        found.setdefault(next(iter([*defined, *report["figures"]])), []).append(kind)
    return found


def _between_lines(reports: Sequence[Mapping[str, Any]], changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """How far groups lie apart, in draws of equal size, and what that is by chance."""
    lines: list[str] = []
    for report in reports:
        found = report["between_groups"]
        if not found:
            continue
        names = ["kind", "metric", "value", "by_chance", "by_chance_95", "lowest", "highest", "size"]
        lines += [f"between groups, {report['model']}: largest minus smallest mean", *columns(found, names), ""]
        few = {f"{group} ({count})" for one in found for group, count in one["left_out"].items()}
        lines += [f"Groups with too few entities to be drawn from: {', '.join(sorted(few))}.", ""] if few else []
    if changes:
        names = ["kind", "metric", "base", "candidate", "change", "p", "size"]
        lines += ["change of what lies between groups", *columns(changes, names), ""]
    if lines:
        draws = next(one["draws"] for report in reports for one in report["between_groups"])
        lines += [
            f"Means over {draws:,} draws of 'size' entities from every group.",
            "Shuffled groups lie by_chance apart, 95 % of such draws under by_chance_95. p: how often a change is as large when",
            "both models are exchanged at random, entity by entity; of twenty comparisons without any change one has p < .05.",
            "",
        ]
    return lines


def _lines(suite: "Suite", reports: Sequence[Mapping[str, Any]], comparison: Sequence["Figure"]) -> list[str]:
    from flagback.model.figures import detectable_words

    lines: list[str] = []
    for report in reports:
        known = "all known from an earlier look" if not report["scored_now"] else f"{report['scored_now']} asked now"
        lines += [f"{suite.NAME}, {report['model']} ({report['form']}), {report['n']} items, {known}", ""]
        rows = [{"metric": name} | level for name, level in report["figures"].items()]
        lines += [*columns(rows, ["metric", "value", "low", "high", "n", "clusters", "detectable"]), ""]
        for main, kinds in _main(report).items():
            groups = [
                {"kind": kind, "group": group} | entry["figures"][main]
                for kind in kinds
                for group, entry in report["groups"][kind].items()
            ]
            shown = ["kind", "group", "value", "low", "high", "n", "detectable"]
            lines += [f"{main} by group", *columns(groups, shown), ""]
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
