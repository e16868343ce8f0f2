"""Commands about how many people judge an answer: `flagback overlap show`, `set`."""

from typing import Annotated, Any

import typer

from flagback.review_app.commands.shared import As, Json, actor, records, show

Prevalence = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Reckon the cost for this share of harmful answers.", show_default="from present reviews"),
]


def add_to(app: typer.Typer) -> None:
    """Adds this family."""
    overlap = typer.Typer(no_args_is_help=True, help="How many people judge an answer, and for whom seats are kept.")
    overlap.command("show")(show_overlap)
    overlap.command("set")(set_overlap)
    app.add_typer(overlap, name="overlap")


def show_overlap(context: typer.Context, prevalence: Prevalence = None, as_json: Json = False) -> None:
    """Show the policy in force and what it costs."""
    from flagback.review_app import overlap_policy
    from flagback.storage import overlap

    with records(context) as store, store.reading() as session:
        policy = overlap.newest(session)
        missing = overlap.open_seats(session)
        cost = overlap_policy.cost(session, policy.steps if policy else [], prevalence)
    found: dict[str, Any] = {
        "id": policy.id if policy else None,
        "steps": policy.steps if policy else [],
        "seats": policy.seats if policy else {},
        "relax_after_hours": policy.relax_after_hours if policy else None,
        "random_share": policy.random_share if policy else None,
        "set_by": policy.set_by if policy else None,
        "created_at": policy.created_at if policy else None,
        "open_seats": missing,
        "cost": cost,
    }
    if policy is None or not policy.steps:
        lines = ["Each sampling and import says how many people judge an answer (--reviews-per-item)."]
    else:
        lines = [
            overlap_policy.in_words(policy.steps, policy.seats, policy.relax_after_hours, policy.random_share),
            overlap_policy.cost_in_words(cost),
        ]
    lines += [
        f"Seats kept for {group} that are not answered, in tens: {count}." for group, count in missing.items() if group != "any"
    ]
    show(found, as_json=as_json, lines=lines)


def set_overlap(
    context: typer.Context,
    steps: Annotated[
        str, typer.Option(help="Odd numbers: reviews to begin with, and what contested answers go on to; 'off' for a fixed number.")
    ],
    seat: Annotated[
        list[str] | None, typer.Option(metavar="QUESTION=ANSWER:NUMBER", help="Seats of each step kept for a declared group.")
    ] = None,
    relax_after: Annotated[str, typer.Option(metavar="TIME", help="After so long (72h, 3d) it is open to anybody.")] = "72h",
    random_share: Annotated[
        float, typer.Option(help="Share of what is handed out that is drawn uniformly, whatever is expected of it.")
    ] = 0.5,
    prevalence: Prevalence = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what it would cost; nothing is set.")] = False,
    as_: As = None,
    as_json: Json = False,
) -> None:
    """Set how many people judge answers made from now on; says first what it costs.

    Blind samples of an evaluation keep the fixed number that its statistics assume.
    """
    from flagback.review_app import overlap_policy
    from flagback.storage import overlap
    from flagback.storage.records import now

    wanted, seats, kept = (
        overlap_policy.read_steps(steps),
        overlap_policy.read_seats(seat or []),
        overlap_policy.read_time(relax_after),
    )
    with records(context) as store:
        overlap.check_steps(wanted, seats)
        with store.reading() as session:
            cost = overlap_policy.cost(session, wanted, prevalence)
        if not as_json:
            print(overlap_policy.cost_in_words(cost) if wanted else "As many reviews as each sampling and import asks for.")
        number = None
        if not check:
            by = actor(store, as_)
            with store.writing() as session:
                number = overlap.set_overlap(
                    session, steps=wanted, seats=seats, relax_after=kept, random_share=random_share, by=by, now=now()
                ).id
    hours = kept.total_seconds() / 3600
    found = {"id": number, "steps": wanted, "seats": seats, "relax_after_hours": hours, "random_share": random_share, "cost": cost}
    done = "Nothing was set." if check else f"Set as policy {number}, for answers made from now on."
    show(found, as_json=as_json, lines=[*([overlap_policy.in_words(wanted, seats, hours, random_share)] if wanted else []), done])
