"""What commands that ask for a run have in common: they wait for it, or do not, and tell what came of it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flagback.review_app.commands.shared import settings_of, show

if TYPE_CHECKING:
    from flagback.review_app.jobs import Request
    from flagback.storage.records import Evaluation
    from flagback.storage.store import Store

NoWait = Annotated[bool, typer.Option("--no-wait", help="Only ask for it; a worker does it.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same input: same result.")]


def done(context: typer.Context, store: "Store", request: "Request") -> None:
    """Waits until a request is done, by a worker or in this process. Raises RunFailed."""
    from flagback.review_app.waiting import see_done

    see_done(settings_of(context), store, request)


def asked(request: "Request", found: dict[str, Any], *, as_json: bool) -> None:
    words = f"{request.name} is asked for; a worker does it ('flagback worker'), 'flagback runs' shows how far it is."
    show(found, as_json=as_json, lines=[words])


def evaluated(context: typer.Context, store: "Store", candidate_id: int | None) -> "Evaluation | None":
    """Waits for the evaluation that a correction asked for."""
    from sqlmodel import col, select

    from flagback.review_app.jobs import Request
    from flagback.storage.records import Evaluation

    with store.reading() as session:
        asked = session.exec(
            select(Evaluation.id).where(Evaluation.candidate_id == candidate_id).order_by(col(Evaluation.id).desc())
        ).first()
    if asked is None:
        return None
    done(context, store, Request("evaluation", asked))
    with store.reading() as session:
        return session.get_one(Evaluation, asked)


def figures(evaluation: "Evaluation") -> dict[str, Any]:
    return {
        "candidate": evaluation.candidate_id,
        "base": evaluation.base_id,
        "verdict": evaluation.verdict,
        "reasons": evaluation.reasons,
        "figures": evaluation.figures,
    }


def verdict(evaluation: "Evaluation") -> list[str]:
    words = (evaluation.verdict or "not_enough_data").replace("_", " ")
    onward = {"pass": f"Next: 'flagback promote {evaluation.candidate_id}'."}.get(
        evaluation.verdict or "",
        (f"Next: see the reasons; 'flagback evaluate {evaluation.candidate_id}' looks again when more is reviewed."),
    )
    return [
        f"Gate: {words}.",
        *(f"  {reason['check']}: {reason['verdict'].replace('_', ' ')}. {reason['words']}" for reason in evaluation.reasons),
        onward,
    ]
