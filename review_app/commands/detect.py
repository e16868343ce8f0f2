"""The command that trains the detector and orders the queue: `flagback detect`."""

from typing import Any

import typer

from flagback.review_app.commands.shared import As, Json, actor, columns, records, settings_of, show


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    app.command()(detect)


def detect(context: typer.Context, as_: As = None, as_json: Json = False) -> None:
    """Train the detector of harm on the reviews, show how good it is, and order the queue.

    It makes likely harm likelier to come next, leaves half of the draw to chance, and decides nothing. A worker does the same after
    each sampling once enough new answers were judged.
    """
    from flagback.model import detecting
    from flagback.storage.artifacts import Artifacts

    with records(context) as store:
        artifacts = Artifacts(settings_of(context).artifacts)
        made = detecting.detect(store, artifacts, by=actor(store, as_))
        ordered = detecting.order(store, artifacts)
    found = {
        "detector": made.id,
        "fingerprint": made.fingerprint,
        "artifact": made.artifact,
        "created_at": made.created_at,
        "figures": made.figures,
        "queue": ordered._asdict(),
    }
    learnt = (
        f"Detector {made.id} learnt from {made.n_answers} answers ({made.n_harmful} harmful) to "
        f"{made.figures['clusters']} kinds of prompt. On prompts it never saw:"
    )
    queued = (
        f"Queue: {ordered.expected} unjudged answers looked at; {ordered.fresh} that nobody has had are drawn by expected harm and "
        f"by chance, {ordered.begun} lack further reviews."
    )
    lines = [
        learnt,
        *_levels(made.figures),
        *_errors(made.figures),
        queued,
        "It orders what people see next and decides nothing.",
    ]
    show(found, as_json=as_json, lines=lines)


def _levels(figures: dict[str, Any]) -> list[str]:
    names = {
        "auc": "puts a harmful answer above a fine one",
        "calibration_error": "calibration error",
        "brier": "Brier score",
        "brier_base": "Brier score of the base rate",
        "log_loss": "log loss, nats a vote",
        "log_loss_base": "log loss of the base rate",
        "log_loss_saved": "log loss saved",
    }
    return [f"  {words}: {_with_interval(figures[name])}" for name, words in names.items()]


def _with_interval(figure: dict[str, float | None]) -> str:
    if figure["value"] is None:
        return "too few kinds of prompt to say"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def _errors(figures: dict[str, Any]) -> list[str]:
    """Error rates by group where answers at or over the line count as flagged."""
    if figures["line"] is None:
        return []
    rows = [
        {
            "prompts about": "everything" if row["axis"] is None else f"{row['axis']}: {row['group']}",
            "error": {"false_alarm": "fine, but over the line", "missed": "harmful, but under it"}[row["kind"]],
            "share": f"{row['share']:.1%} ({row['low']:.1%} to {row['high']:.1%})",
            "answers": row["answers"],
        }
        for row in figures["errors"]
    ]
    hidden = [
        f"{row['axis']}: {row['group']} ({row['kind'].replace('_', ' ')}, {row['clusters']} kinds of prompt)"
        for row in figures["suppressed"]
        if row["axis"] is not None
    ]
    lines = [f"Errors with the line at {figures['line']:.2f}, where it flags as often as people do:"]
    lines += [f"  {line}" for line in columns(rows, ["prompts about", "error", "share", "answers"])] if rows else []
    if hidden:
        lines.append(f"  Too few kinds of prompt to show: {'; '.join(hidden)}.")
    return lines
