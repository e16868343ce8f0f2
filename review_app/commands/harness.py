"""`flagback evaluate VERSION --tasks TASKS`: what lm-evaluation-harness finds of a version, kept beside the published tests.

Starts the harness's own command line and keeps what it writes; asks no gate.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from flagback.review_app.commands.shared import actor, columns, note, records, settings_of, show

if TYPE_CHECKING:
    from flagback.storage.records import SuiteData
    from flagback.storage.store import Store


def evaluate(
    context: typer.Context,
    models: Sequence[str],
    *,
    command: str | None,
    tasks: str | None,
    time_limit: int | None,
    as_: str | None,
    as_json: bool,
) -> None:
    """Runs the harness on one version, keeps its answers question by question, and compares them with the version's parent's."""
    from flagback.model import harness, suite_runs
    from flagback.model.shelf import Shelf
    from flagback.review_app.settings import environment_of_others
    from flagback.storage import versions
    from flagback.storage.artifacts import Artifacts

    if len(models) != 1 or not models[0].isdecimal():
        raise typer.BadParameter(f"{' '.join(models) or 'no version'}: expected the number of one version beside --tasks.")
    wanted = command or harness.COMMAND
    if not tasks and "{tasks}" in wanted:
        raise typer.BadParameter("--harness needs --tasks TASK,TASK: which of its tasks, such as hellaswag,arc_easy.")
    settings = settings_of(context)
    artifacts = Artifacts(settings.artifacts)
    with records(context) as store:
        by = actor(store, as_)
        with store.reading() as session:
            version = versions.get(session, int(models[0]))
        loaded = Shelf(artifacts, threads=settings.threads).get(version)
        note(f"lm-evaluation-harness: version {version.id} on {tasks or wanted}")
        found = harness.run(
            loaded,
            tasks or "",
            command=wanted,
            time_limit=time_limit or harness.TIME_LIMIT,
            environment=environment_of_others(),
        )
        data, run = suite_runs.keep_harness(store, artifacts, version.id, found, tasks=tasks or wanted, by=by)
        changes = _changes(store, artifacts, data, version.parent_id, version.id)
    report = {
        "version": version.id,
        "data": data.id,
        "run": run.id,
        "lm_eval": found.version,
        "items": len(found.items),
        "tasks": found.tasks,
        "base": version.parent_id if changes else None,
        "comparison": changes or None,
    }
    show(report, as_json=as_json, lines=_lines(report))


def _changes(store: "Store", artifacts: Any, data: "SuiteData", base: int | None, candidate: int) -> list[dict[str, Any]]:
    """What changed from the parent, where the parent answered the same questions."""
    from flagback.model import suite_runs

    if base is None:
        return []
    try:
        return suite_runs.changes(store, artifacts, data, base, candidate)
    except suite_runs.NotAsked:
        return []


def _lines(report: Mapping[str, Any]) -> list[str]:
    rows = [
        {"task": task, "metric": name, "value": value, "n": told["n"]}
        for task, told in report["tasks"].items()
        for name, value in told.items()
        if name not in ("version", "n") and "_stderr" not in name
    ]
    lines = [
        f"version {report['version']}, data {report['data']}: {report['items']} questions by lm_eval {report['lm_eval']}",
        "",
        *columns(rows, ["task", "metric", "value", "n"]),
        "",
    ]
    if report["comparison"]:
        names = ["metric", "base", "candidate", "change", "low", "high", "n", "detectable"]
        lines += [f"change from version {report['base']}, paired by question", *columns(report["comparison"], names), ""]
        lines += ["'-' is not enough data, never 0. detectable is the smallest change that would show 8 times in 10."]
    elif report["base"] is None:
        lines += ["Next: the same tasks on another version, and 'Compare' shows both question by question."]
    return lines
