"""Commands that list: prompts, reviews, runs, versions. `runs --cancel` stops one, `runs explain` and `report` tell of one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from flagback.review_app.commands.shared import As, Json, Limit, actor, columns, records, settings_of, shortened, show

if TYPE_CHECKING:
    from sqlmodel import Session

    from flagback.model.explanation import Explanation
    from flagback.review_app.jobs import Request


class UnknownRun(Exception):
    """A run that cannot be found by what was said."""


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    for command in (prompts, reviews, versions):
        app.command()(command)
    family = typer.Typer()
    family.callback(invoke_without_command=True)(runs)
    family.command()(explain)
    family.command()(report)
    app.add_typer(family, name="runs")


def prompts(context: typer.Context, limit: Limit = 20, as_json: Json = False) -> None:
    """List prompts and which side of the split they are on."""
    from sqlalchemy import func
    from sqlmodel import col, select

    from flagback.storage.prompts import TRAINING_SHARDS
    from flagback.storage.records import Prompt

    with records(context) as store, store.reading() as session:
        total = session.exec(select(func.count()).select_from(Prompt)).one()
        found = session.exec(select(Prompt).order_by(col(Prompt.id).desc()).limit(limit)).all()
    rows = [
        {
            "id": prompt.id,
            "lang": prompt.lang,
            "side": "training" if prompt.shard in TRAINING_SHARDS else "held out",
            "shard": prompt.shard,
            "turns": len(prompt.messages),
            "tags": prompt.tags,
            "text": prompt.messages[-1]["content"],
        }
        for prompt in found
    ]
    shown = [row | {"text": shortened(str(row["text"]))} for row in rows]
    lines = (
        columns(shown, ["id", "lang", "side", "turns", "text"])
        if rows
        else ["There are no prompts yet; bring some with 'flagback import prompts FILE'."]
    )
    _show(rows, total, "prompts", lines, as_json=as_json)


def reviews(context: typer.Context, limit: Limit = 20, as_json: Json = False) -> None:
    """List reviews as they were given.

    A corrected one names the review that it supersedes.
    """
    from sqlalchemy import func
    from sqlmodel import col, select

    from flagback.storage.records import Generation, Item, Review

    with records(context) as store, store.reading() as session:
        total = session.exec(select(func.count()).select_from(Review)).one()
        found = session.exec(
            select(Review, Generation.text)
            .join(Item, col(Item.id) == Review.item_id)
            .join(Generation, col(Generation.id) == Item.generation_id, isouter=True)
            .order_by(col(Review.id).desc())
            .limit(limit)
        ).all()
    rows: list[dict[str, Any]] = [
        {
            "id": review.id,
            "at": review.created_at,
            "reviewer": review.reviewer,
            "verdict": review.verdict,
            "categories": review.categories,
            "severity": review.severity,
            "supersedes": review.supersedes,
            "late": review.late,
            "simulated": review.simulated,
            "text": text,
        }
        for review, text in found
    ]
    shown = [row | {"text": shortened(row["text"] or "", 50)} for row in rows]
    lines = (
        columns(shown, ["id", "at", "reviewer", "verdict", "categories", "severity", "supersedes", "text"])
        if rows
        else ["Nobody has reviewed anything yet; reviewers sign in at the address of 'flagback serve'."]
    )
    _show(rows, total, "reviews", lines, as_json=as_json)


def runs(
    context: typer.Context,
    limit: Limit = 20,
    cancel: Annotated[str | None, typer.Option(metavar="RUN", help="Stop this one, by its name in the list.")] = None,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """List runs and how far they are, or stop one."""
    if context.invoked_subcommand is not None:
        return
    from sqlmodel import col, select

    from flagback.review_app import jobs
    from flagback.storage import runs as asked
    from flagback.storage.records import now

    with records(context) as store:
        if cancel is not None:
            with store.writing() as session:
                request = _named(session, cancel)
                asked.cancel(session, jobs.TABLES[request.kind], request.row_id, by=actor(store, as_), now=now())
            show({"cancelled": request.name}, as_json=as_json, lines=[f"{request.name} is stopped."])
            return
        rows: list[dict[str, Any]] = []
        total = 0
        with store.reading() as session:
            for kind, table in jobs.TABLES.items():
                ids = session.exec(select(table.id, table.created_at, table.asked_by).order_by(col(table.id).desc())).all()
                total += len(ids)
                rows += [
                    {"run": jobs.Request(kind, row_id).name, "asked_at": at, "by": who, "standing": (kind, row_id)}
                    for row_id, at, who in ids[:limit]
                ]
            rows = sorted(rows, key=lambda row: row["asked_at"], reverse=True)[:limit]
            for row in rows:
                at = jobs.standing(session, jobs.Request(*row.pop("standing")))
                row |= {"state": at.state, "done": at.done, "total": at.total, "stage": at.words, "error": at.error}
    lines = (
        columns(
            [row | {"error": shortened(row["error"] or "", 80), "done": _of(row)} for row in rows],
            ["run", "state", "done", "by", "asked_at", "error"],
        )
        if rows
        else ["Nothing was asked for yet; begin with 'flagback sample'."]
    )
    _show(rows, total, "runs", lines, as_json=as_json)


def explain(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A correction, by its name or number in 'flagback runs'.")],
    limit: Annotated[int, typer.Option(min=1, help="How many pairs and answers to name at most, the worst first.")] = 10,
    as_json: Json = False,
) -> None:
    """What a correction did to its own pairs and flagged answers.

    For every pair how much likelier the chosen answer is than the rejected one, before and after, in nats of log-probability; for
    every flagged answer how much less likely it became; those that did not move or moved the other way; by group. A correction that
    has no explanation yet is explained now.
    """
    from flagback.model import explaining, explanation

    settings = settings_of(context)
    number = _correction(run)
    with records(context) as store:
        from flagback.model.shelf import Shelf
        from flagback.storage.artifacts import Artifacts

        shelf = Shelf(Artifacts(settings.artifacts), threads=settings.threads)
        sha256 = explaining.explained(store, shelf, number)
    found = explanation.read(shelf.artifacts, sha256)
    show({"sha256": sha256, **explanation.to_dict(found)}, as_json=as_json, lines=_explained(found, limit))


def report(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A correction, by its name or number in 'flagback runs'.")],
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write it here, as Markdown.", show_default="the terminal")
    ] = None,
    as_json: Json = False,
) -> None:
    """Report one correction: on whose word, how it learnt, what became of its pairs, what was decided.

    Names no reviewer. The page Corrections writes the same.
    """
    from flagback.model.explanation import summary_of
    from flagback.storage.artifacts import Artifacts
    from flagback.storage.records import CorrectionRun
    from flagback.storage.run_report import run_report

    number = _correction(run)
    with records(context) as store, store.reading() as session:
        found = session.get(CorrectionRun, number)
        if found is None:
            raise UnknownRun(f"There is no correction {number}; list them with 'flagback runs'.")
        text = run_report(session, found, summary_of(found, Artifacts(settings_of(context).artifacts)))
    told: dict[str, Any] = {"run": f"correction-{number}"}
    if out is None:
        show(told | {"report": text}, as_json=as_json, lines=[text])
        return
    out.write_text(text, encoding="utf-8")
    show(told | {"file": str(out)}, as_json=as_json, lines=[f"The report of correction {number} is in {out}."])


def _correction(run: str) -> int:
    """The number of a correction that was named. Raises UnknownRun."""
    number = run.removeprefix("correction-")
    if not number.isdecimal() or len(number) > 8:
        raise UnknownRun(
            f"{run!r} names no correction; expected its number, or its name such as correction-3. See 'flagback runs'."
        )
    return int(number)


def _explained(found: "Explanation", limit: int) -> list[str]:
    """The explanation in lines for people."""
    from flagback.model.explanation import STILL, summary

    told = summary(found)
    rows = [{"what": name.replace("_", " "), **told[name]} for name in ("all", "learnt", "held_out")]
    rows += [{"what": name, **figures} for name, figures in list(told["groups"].items())[:limit]]
    table = [
        {
            "what": row["what"],
            "pairs": row["pairs"],
            "towards": row["pairs_towards"],
            "still": row["pairs_still"],
            "against": row["pairs_against"],
            "margin": _from_to(row["margin_before"], row["margin_after"]),
            "flagged": row["flagged"],
            "fell": row["flagged_towards"],
            "rose": row["flagged_against"],
            "change": "" if row["flagged_change"] is None else f"{row['flagged_change']:+.2f}",
        }
        for row in rows
    ]
    lines = [
        f"Correction {found.run_id}: version {found.parent_id} before, {found.candidate_id} after; nats, under {STILL} is still.",
        *columns(table, list(table[0])),
    ]
    if len(told["groups"]) > limit:
        lines.append(f"{len(told['groups'])} groups in all; --limit shows more.")
    if found.left_out:
        lines.append(f"{found.left_out} pairs and answers are longer than the model can hold and were left out.")
    against = sorted((pair for pair in found.pairs if pair.direction == "against"), key=lambda pair: pair.change)
    lines += [
        f"Against its reviewers: pair {pair.position} ({pair.side.replace('_', ' ')}), margin "
        f"{_from_to(pair.margin_before, pair.margin_after)}; generation {pair.chosen_id} over {pair.rejected_id}."
        for pair in against[:limit]
    ]
    rose = sorted((one for one in found.flagged if one.direction == "against"), key=lambda one: -one.change)
    lines += [
        f"Flagged and likelier now: generation {one.generation_id} ({one.side.replace('_', ' ')}), {one.change:+.2f}."
        for one in rose[:limit]
    ]
    return lines


def _from_to(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{before:.2f} to {after:.2f}"


def versions(context: typer.Context, limit: Limit = 20, as_json: Json = False) -> None:
    """List model versions, and which one is current."""
    from sqlalchemy import func
    from sqlmodel import col, select

    from flagback.storage.records import Evaluation, ModelVersion

    with records(context) as store, store.reading() as session:
        total = session.exec(select(func.count()).select_from(ModelVersion)).one()
        found = session.exec(select(ModelVersion).order_by(col(ModelVersion.id).desc()).limit(limit)).all()
        judged = {
            evaluation.candidate_id: evaluation.verdict
            for evaluation in session.exec(select(Evaluation).order_by(col(Evaluation.id))).all()
        }
    rows = [
        {
            "id": version.id,
            "name": version.name,
            "state": version.state,
            "kind": version.kind,
            "parent": version.parent_id,
            "gate": judged.get(version.id),
            "distance_to_base": version.distance_to_base,
            "created_at": version.created_at,
            "location": version.location,
            "fingerprint": version.fingerprint,
            "adapters": version.adapters,
        }
        for version in found
    ]
    lines = (
        columns(rows, ["id", "name", "state", "kind", "parent", "gate", "distance_to_base", "created_at"])
        if rows
        else ["There is no model yet; register one with 'flagback model add PATH_OR_HUB_ID'."]
    )
    _show(rows, total, "versions", lines, as_json=as_json)


def _show(rows: list[dict[str, Any]], total: int, noun: str, lines: list[str], *, as_json: bool) -> None:
    if total > len(rows):
        lines.append(f"{total} {noun} in all; --limit shows more.")
    show({noun: rows, "total": total}, as_json=as_json, lines=lines)


def _of(row: dict[str, Any]) -> str:
    return f"{row['done']} of {row['total']}" if row["total"] else str(row["stage"])


def _named(session: "Session", said: str) -> "Request":
    """The run that was meant: "correction-3", or "3" where only one open run has that number."""
    from flagback.review_app import jobs

    kind, _, number = said.rpartition("-")
    if number.isdecimal() and kind in get_args(jobs.Kind):
        request = jobs.Request(next(known for known in jobs.TABLES if known == kind), int(number))
        if session.get(jobs.TABLES[request.kind], request.row_id) is not None:
            return request
    meant = [request for request in jobs.open_requests(session) if said == str(request.row_id)]
    if len(meant) != 1:
        names = ", ".join(request.name for request in jobs.open_requests(session)) or "none is waiting or running"
        raise UnknownRun(f"{said!r} names no run to stop; expected one of: {names}. See 'flagback runs'.")
    return meant[0]
